/* exec.c - one more program in a running container.
 *
 * A stage process enters the container's control group and, by one setns on the
 * first program's pidfd, all of its namespaces; then it makes the program's
 * process as a sibling of itself (CLONE_PARENT), so that it is born in the PID
 * namespace and is a child of the caller.  From before the setns the process
 * cannot be traced (PR_SET_DUMPABLE 0), and it has closed every descriptor but those it
 * hands on and the connection it reports by.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/setup.h"

static void be_program(struct setup *s) __attribute__((noreturn));

static void be_program(struct setup *s)
{
    struct err e = {0};
    bool ok = true;

    (void)close(s->stage[1]);
    (void)setsid();
    if (s->joined_user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)) {
        (void)err_sys(&e, -errno, "cannot become root of the user namespace");
        ok = false;
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the change of user may undo it */
    if (s->terminal && ok) {
        ok = console_make(s, &e) == 0;
    }
    if (ok) {
        ok = sync_tell(s, SYNC_READY, s->master, &e) == 0;
    }
    if (ok && process_prepare(s, &e) == 0) {
        (void)process_execute(s, &e);
    }
    (void)sync_send_err(s->sync[1], &e);
    _exit(e.code == -ENOENT ? 127 : 126);
}

/* The namespaces that differ from our own; setns refuses some that are the same. */
static int foreign_namespaces(pid_t pid, bool *ret_user)
{
    int flags = 0;

    for (int i = 0; i < NS_COUNT; i++) {
        char path[64];
        struct stat own;
        struct stat theirs;

        (void)str_print(path, sizeof path, "/proc/%d/ns/%s", (int)pid, ns_table[i].proc);
        if (stat(path, &theirs) < 0) {
            continue;
        }
        (void)str_print(path, sizeof path, "/proc/self/ns/%s", ns_table[i].proc);
        if (stat(path, &own) == 0 && own.st_ino != theirs.st_ino) {
            flags |= (int)ns_table[i].flag;
        }
    }
    *ret_user = (flags & CLONE_NEWUSER) != 0;
    return flags;
}

static void be_stage(struct setup *s, int pidfd) __attribute__((noreturn));

static void be_stage(struct setup *s, int pidfd)
{
    struct err e = {0};
    int flags = foreign_namespaces(s->c->pid, &s->joined_user);
    pid_t pid = -1;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)close(s->sync[0]);
    s->sync[0] = -1;
    if (s->c->cgroup != NULL) {
        int r = cgroup_join_self(s->c->cgroup, s->born);

        if (r < 0) {
            (void)err_sys(&e, r, "cannot enter the control group");
        }
    }
    s->c->cgroup = NULL;
    setup_let_go(s, pidfd);
    if (e.code == 0 && setns(pidfd, flags) < 0) {
        (void)err_sys(&e, -errno, "cannot enter the container's namespaces");
    }
    (void)close(pidfd);
    if (e.code == 0) {
        pid = ns_clone(CLONE_PARENT, -1, NULL);
        if (pid == 0) {
            be_program(s);
        }
        if (pid < 0) {
            (void)err_sys(&e, pid, "cannot make a process");
        }
    }
    (void)!write(s->stage[1], &pid, sizeof pid);
    if (e.code != 0) {
        (void)sync_send_err(s->sync[1], &e);
    }
    _exit(0);
}

static int spawn_stage(struct setup *s, pid_t *ret_pid, struct err *e)
{
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, s->c->pid, 0);
    int birth = s->c->cgroup != NULL ? cgroup_birth_fd(s->c->cgroup) : -1;
    pid_t stage;
    pid_t pid = -1;

    if (pidfd < 0 || !state_is_alive(s->c)) {
        return err_set(e, -ESRCH, "container '%s' is not running", s->c->id);
    }
    if (pipe2(s->stage, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->sync) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    s->born = birth >= 0;
    stage = ns_clone(0, birth, NULL);
    if (stage == 0) {
        be_stage(s, pidfd);
    }
    (void)close(s->stage[1]);
    (void)close(s->sync[1]);
    s->sync[1] = -1;
    if (stage > 0) {
        (void)file_read_all(s->stage[0], &pid, sizeof pid);
        (void)waitpid(stage, NULL, 0);
    }
    (void)close(s->stage[0]);
    *ret_pid = pid;
    return stage < 0 ? err_sys(e, stage, "cannot make a process") : 0;
}

/* Until the program runs, or it is known why not. */
static int hear(struct setup *s, const struct container_exec *x, pid_t pid,
                int *ret_master, struct err *e)
{
    for (;;) {
        SCOPED(scope_close) int came = -1;
        int r = sync_receive(s->sync[0], &came, e);

        if (r == -ECONNRESET) {
            return pid > 0 ? 0 : err_set(e, -EIO, "the program's process ended early");
        }
        if (r < 0) {
            return r;
        }
        if (r == (int)SYNC_READY && came >= 0 && x->console_socket != NULL) {
            r = console_send(x->console_socket, came, e);
            if (r < 0) {
                return r;
            }
        } else if (r == (int)SYNC_NOTIFY && came >= 0) {
            r = listener_pass(s->c, pid, came, e);
            if (r < 0) {
                return r;
            }
        } else if (r == (int)SYNC_READY && came >= 0 && ret_master != NULL) {
            *ret_master = scope_take_fd(&came);
        }
    }
}

static int make(struct setup *s, const struct container_exec *x, pid_t *ret_pid,
                int *ret_master, struct err *e)
{
    static setup_step *const steps[] = {setup_process, setup_filter};
    int r = ns_plan_read_kinds(s->config, &s->ns, e);

    r = r == 0 ? SETUP_RUN(steps, s, e) : r;
    r = r == 0 ? spawn_stage(s, ret_pid, e) : r;
    return r == 0 ? hear(s, x, *ret_pid, ret_master, e) : r;
}

int container_exec(struct container *c, const struct container_exec *x, pid_t *ret_pid,
                   int *ret_master, struct err *e)
{
    static const struct container_new nothing;
    SCOPED(scope_json) json_t *process = NULL;
    struct setup s;
    pid_t pid = -1;
    int r = setup_preserved(x->preserve_fds, e);

    r = r == 0 ? state_need_config(c, e) : r;
    if (ret_master != NULL) {
        *ret_master = -1;
    }
    if (r == 0) {
        r = state_cgroup(c, e);
    }
    if (r < 0) {
        return r;
    }
    r = exec_complete(c, x->process, &process, e);
    r = r == 0 ? config_check_process(process, "process", e) : r;
    if (r < 0) {
        return r;
    }
    setup_init(&s);
    s.n = &nothing;
    s.c = c;
    s.config = c->config;
    s.process = process;
    s.is_exec = true;
    s.preserve_fds = x->preserve_fds;
    memcpy(s.stdio, x->stdio, sizeof s.stdio);
    r = make(&s, x, &pid, ret_master, e);
    container_warn(x->log, &s.warnings);
    if (r < 0 && pid > 0) { /* it may be at work already, or wait for a listener */
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    if (r == 0) {
        *ret_pid = pid;
    }
    setup_fini(&s);
    return r;
}
