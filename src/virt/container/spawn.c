/* spawn.c - the clone that makes a container's first process.
 *
 * It is born by one clone3 into all new namespaces and the control group.  A joined
 * user namespace must be entered before others are made, so then a stage process
 * enters it and makes the child as a sibling of itself (CLONE_PARENT).  A joined PID
 * namespace has inhabitants that could look at the child at once: it is born into that one
 * already closed to them (PR_SET_DUMPABLE 0). */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/setup.h"

/* Namespaces that are made by the clone itself; time must wait for its offsets,
 * cgroup for the groups to be entered, and a joined user namespace must come before all others. */
static uint64_t clone_flags(const struct setup *s)
{
    if (s->ns.join[NS_USER] >= 0) {
        return 0;
    }
    return s->ns.fresh & ~(uint64_t)(CLONE_NEWTIME | CLONE_NEWCGROUP |
                                     (sync_happens(s, SYNC_NETWORK) ? CLONE_NEWNET : 0));
}

/* In a joined user namespace: make the rest there, as a sibling of this process. */
static void be_staged(struct setup *s)
{
    struct err e = {0};
    bool ordinary = s->rootless && s->new_user; /* its maps are written by its parent */
    uint64_t flags =
        (s->ns.fresh & ~(uint64_t)(CLONE_NEWTIME | CLONE_NEWCGROUP)) | CLONE_PARENT;
    pid_t pid;

    if (setns(s->ns.join[NS_USER], CLONE_NEWUSER) < 0) {
        (void)err_sys(&e, -errno, "cannot join the user namespace");
    }
    if (!ordinary) {
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
    if (e.code == 0 && s->ns.join[NS_PID] >= 0 &&
        setns(s->ns.join[NS_PID], CLONE_NEWPID) < 0) {
        (void)err_sys(&e, -errno, "cannot join the pid namespace");
    }
    if (e.code != 0) {
        (void)sync_send_err(s->sync[1], &e);
        _exit(1);
    }
    (void)close(s->ns.join[NS_USER]);
    s->joined_user = true;
    s->ns.join[NS_USER] = -1;
    if (s->ns.join[NS_PID] >= 0) {
        (void)close(s->ns.join[NS_PID]);
        s->ns.join[NS_PID] = -1;
    }
    pid = ns_clone(flags, -1, NULL);
    if (pid == 0) {
        init_main(s);
    }
    (void)!write(s->stage[1], &pid, sizeof pid);
    _exit(0);
}

static int spawn_staged(struct setup *s, struct err *e)
{
    pid_t stage;
    pid_t pid = -1;
    int status;

    if (pipe2(s->stage, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    stage = ns_clone(0, -1, NULL);
    if (stage == 0) {
        be_staged(s);
    }
    (void)close(s->stage[1]);
    if (stage > 0) {
        (void)file_read_all(s->stage[0], &pid, sizeof pid);
        (void)waitpid(stage, &status, 0);
    }
    (void)close(s->stage[0]);
    if (stage < 0 || pid < 0) {
        return stage < 0
                   ? err_sys(e, stage, "cannot make a process")
                   : err_set(e, -EIO, "cannot make a process in the joined namespaces");
    }
    s->c->pid = pid;
    return 0;
}

/* The PID namespace for children; the caller's own, to come back to, or -1. */
static int enter_pid_namespace(struct setup *s, struct err *e)
{
    SCOPED(scope_close) int own = -1;

    own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(s->ns.join[NS_PID], CLONE_NEWPID) < 0) {
        return err_sys(e, -errno, "cannot join the pid namespace");
    }
    (void)close(s->ns.join[NS_PID]);
    s->ns.join[NS_PID] = -1;
    return scope_take_fd(&own);
}

int spawn_child(struct setup *s, struct err *e)
{
    int birth = s->c->cgroup != NULL ? cgroup_birth_fd(s->c->cgroup) : -1;
    int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    SCOPED(scope_close) int own_pid_ns = -1;
    pid_t pid;

    if (s->ns.join[NS_USER] >= 0) {
        return spawn_staged(s, e);
    }
    if (s->ns.join[NS_PID] >= 0) {
        own_pid_ns = enter_pid_namespace(s, e);
        if (own_pid_ns < 0) {
            return own_pid_ns;
        }
        if (!s->rootless) {
            (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        }
    }
    s->born = birth >= 0;
    pid = ns_clone(clone_flags(s), birth, NULL);
    if (pid == 0) {
        init_main(s);
    }
    if (own_pid_ns >= 0) {
        (void)setns(own_pid_ns, CLONE_NEWPID);
        (void)prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0);
    }
    if (pid < 0) {
        return err_sys(e, pid, "cannot make the container's process%s",
                       (clone_flags(s) & CLONE_NEWUSER) != 0
                           ? " in a user namespace of its own (see 'strata doctor')"
                           : "");
    }
    s->c->pid = pid;
    return 0;
}
