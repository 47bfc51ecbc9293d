/* task.c - a container under the contract of all guests. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/setup.h"

#define END_WAIT_MS 10000

struct task *container_task(struct container *c)
{
    return &c->task;
}

static struct container *of(struct task *t)
{
    return (struct container *)t; /* the first member */
}

pid_t container_pid(const struct container *c)
{
    return state_is_alive(c) ? c->pid : 0;
}

int container_open(const char *root, const char *id, struct container **ret,
                   struct err *e)
{
    int r = state_load(root, id, ret, e);

    if (r == 0) {
        (*ret)->task.ops = &container_task_ops;
    }
    return r;
}

static int open_namespace(const struct container *c, int held, const char *name)
{
    char path[64];
    int fd;

    if (held >= 0) {
        fd = fcntl(held, F_DUPFD_CLOEXEC, 3);
        return fd >= 0 ? fd : -errno;
    }
    (void)str_print(path, sizeof path, "/proc/%d/ns/%s", (int)c->pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int container_netns(const struct container *c)
{
    return open_namespace(c, c->netns, "net");
}

int container_userns(const struct container *c)
{
    return open_namespace(c, c->userns, "user");
}

int start_connect(struct container *c, bool wait, int *ret_fd)
{
    SCOPED(scope_close)
    int fd =
        socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    SCOPED(scope_close) int dir = -1;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char path[PATH_MAX];

    (void)state_path(c, "", path);
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)str_print(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/start.sock", dir);
    if (fd < 0 || dir < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        return -errno;
    }
    *ret_fd = scope_take_fd(&fd);
    return 0;
}

/* The listener of a filter goes to who is named in the profile. */
int listener_pass(struct container *c, pid_t pid, int notify, struct err *e)
{
    SCOPED(scope_json) json_t *state = NULL;
    int r = state_need_config(c, e);

    if (r < 0) {
        return r;
    }
    state = container_state(c);
    return seccomp_filter_send_notify(config_get(c->config, "linux.seccomp"), notify, pid,
                                      state, e);
}

/* Serve what the child still says; the end of the connection is its execve. */
static int hear_start(struct container *c, int fd, struct err *e)
{
    char path[PATH_MAX];

    /* Whoever else was faster is answered, and we are not. */
    if (sync_receive(fd, NULL, NULL) != (int)SYNC_STARTING) {
        return err_set(e, -EBUSY,
                       "cannot start container '%s': it is not in the state 'created'",
                       c->id);
    }
    (void)state_path(c, "start.sock", path);
    (void)unlink(path);
    for (;;) {
        SCOPED(scope_close) int came = -1;
        int r = sync_receive(fd, &came, e);

        if (r == -ECONNRESET) {
            return 0; /* it runs, or ran and ended already */
        }
        if (r == (int)SYNC_NOTIFY && came >= 0) {
            r = listener_pass(c, c->pid, came, e);
        }
        if (r < 0) {
            return r;
        }
    }
}

static int start(struct task *t, struct err *e)
{
    struct container *c = of(t);
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_json) json_t *state = NULL;
    int r;

    /* Asked before the word is sent: a short program may have ended right after. */
    r = state_is_alive(c) ? 0 : -ESRCH;
    if (r == 0 && c->sync >= 0) {
        fd = scope_take_fd(&c->sync);
    } else if (r == 0) {
        r = start_connect(c, true, &fd);
    }
    r = r < 0 ? r : sync_send(fd, SYNC_START, -1);
    if (r < 0) {
        return err_set(e, -EBUSY,
                       "cannot start container '%s': it is not in the state 'created'",
                       c->id);
    }
    r = hear_start(c, fd, e);
    if (r < 0) {
        return r;
    }
    (void)fault_step("container.start.executed");
    if (!config_flag(c->state, "noHooks") && state_need_config(c, NULL) == 0 &&
        config_get(c->config, "hooks.poststart") != NULL) {
        state = container_state(c);
        r = hooks_run(c->config, "poststart", state, e);
    }
    return r;
}

static int send_signal(struct task *t, int signal, bool all, struct err *e)
{
    struct container *c = of(t);
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    int r;

    if (all) {
        r = state_cgroup(c, e);
        return r < 0 || c->cgroup == NULL ? r
               : signal == SIGKILL        ? cgroup_kill(c->cgroup, e)
                                          : cgroup_signal(c->cgroup, signal, e);
    }
    if (pidfd < 0 || !state_is_alive(c)) {
        return err_set(e, -ESRCH, "container '%s' is not running", c->id);
    }
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0) {
        return err_sys(e, -errno, "cannot send signal %d to container '%s'", signal,
                       c->id);
    }
    return 0;
}

static int need_cgroup(struct container *c, const char *what, struct err *e)
{
    int r = state_cgroup(c, e);

    if (r == 0 && c->cgroup == NULL) {
        r = err_set(e, -EOPNOTSUPP, "cannot %s container '%s': it has no control group",
                    what, c->id);
    }
    return r;
}

static int pause_all(struct task *t, struct err *e)
{
    int r = need_cgroup(of(t), "pause", e);

    return r < 0 ? r : cgroup_freeze(of(t)->cgroup, e);
}

static int resume_all(struct task *t, struct err *e)
{
    int r = need_cgroup(of(t), "resume", e);

    return r < 0 ? r : cgroup_thaw(of(t)->cgroup, e);
}

/* The groups may have changed (a controller was added): keep where they are. */
static int keep_place(struct container *c, struct err *e)
{
    char *place = cgroup_place(c->cgroup);
    int r = 0;

    container_warn(c->log, cgroup_warnings(c->cgroup));
    if (place != NULL && strcmp(place, config_text(c->state, "cgroup", "")) != 0) {
        (void)json_object_set_new(c->state, "cgroup", json_string(place));
        r = state_save(c, e);
    }
    free(place);
    return r;
}

static int apply_limits(struct container *c, const struct cgroup_limits *l, struct err *e)
{
    int r = need_cgroup(c, "resize", e);

    if (r == 0) {
        r = cgroup_apply(c->cgroup, l, false, e);
    }
    return r < 0 ? r : keep_place(c, e);
}

static int resize(struct task *t, const struct task_limits *limits, struct err *e)
{
    struct cgroup_limits l;
    int r = cgroup_limits_from_task(limits, &l, e);

    if (r == 0) {
        r = apply_limits(of(t), &l, e);
        cgroup_limits_fini(&l);
    }
    return r;
}

int container_update(struct container *c, const json_t *resources, struct err *e)
{
    struct cgroup_limits l;
    int r = cgroup_limits_parse(resources, "resources", false, &l, e);

    if (r == 0) {
        r = apply_limits(c, &l, e);
        cgroup_limits_fini(&l);
    }
    return r;
}

static int stats(struct task *t, struct task_stats *ret, struct err *e)
{
    int r = need_cgroup(of(t), "measure", e);

    return r < 0 ? r : cgroup_stats(of(t)->cgroup, ret, e);
}

int container_pids(struct container *c, pid_t **ret, size_t *ret_n, struct err *e)
{
    int r = need_cgroup(c, "list the processes of", e);

    return r < 0 ? r : cgroup_pids(c->cgroup, ret, ret_n, e);
}

static enum task_state state(struct task *t)
{
    SCOPED(scope_json) json_t *now = container_state(of(t));
    const char *word = config_text(now, "status", "stopped");

    return strcmp(word, "running") == 0   ? TASK_RUNNING
           : strcmp(word, "paused") == 0  ? TASK_PAUSED
           : strcmp(word, "created") == 0 ? TASK_CREATED
                                          : TASK_STOPPED;
}

static int exec_task(struct task *t, const struct task_exec *x, int *ret_pidfd,
                     int *ret_master, struct err *e)
{
    SCOPED(scope_json) json_t *process = json_object();
    struct container_exec c = {
        .process = process, .want_master = x->terminal, .log = of(t)->log};
    json_t *args = json_array();
    pid_t pid = 0;
    int r;

    for (size_t i = 0; x->argv[i] != NULL; i++) {
        (void)json_array_append_new(args, json_string(x->argv[i]));
    }
    (void)json_object_set_new(process, "args", args);
    (void)json_object_set_new(process, "terminal", json_boolean(x->terminal));
    if (x->cwd != NULL) {
        (void)json_object_set_new(process, "cwd", json_string(x->cwd));
    }
    if (x->env != NULL) {
        json_t *env = json_array();

        for (size_t i = 0; x->env[i] != NULL; i++) {
            (void)json_array_append_new(env, json_string(x->env[i]));
        }
        (void)json_object_set_new(process, "addEnv", env);
    }
    if (x->user != NULL) {
        (void)json_object_set_new(process, "userName", json_string(x->user));
    }
    memcpy(c.stdio, x->stdio, sizeof c.stdio);
    r = container_exec(of(t), &c, &pid, ret_master, e);
    if (r < 0) {
        return r;
    }
    *ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return *ret_pidfd < 0 ? err_sys(e, -errno, "cannot follow the program") : 0;
}

static int wait_end(struct container *c, struct err *e)
{
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    if (pidfd < 0 || !state_is_alive(c)) {
        return 0;
    }
    if (poll(&p, 1, END_WAIT_MS) == 0) {
        return err_set(e, -ETIMEDOUT, "container '%s' does not end", c->id);
    }
    (void)waitpid(c->pid, NULL, WNOHANG); /* if it is our child */
    return 0;
}

int container_delete(struct container *c, bool force, struct err *e)
{
    SCOPED(scope_json) json_t *last = NULL;
    bool alive = state_is_alive(c);
    int r;

    if (alive && !force && state(&c->task) != TASK_STOPPED) {
        return err_set(e, -EBUSY, "cannot delete container '%s': it is %s", c->id,
                       task_state_name(state(&c->task)));
    }
    r = state_cgroup(c, e);
    if (r < 0) {
        return r;
    }
    if (alive && c->cgroup != NULL) {
        r = cgroup_kill(c->cgroup, NULL);
    }
    if (alive && (c->cgroup == NULL || r < 0)) {
        (void)kill(c->pid, SIGKILL);
    }
    r = alive ? wait_end(c, e) : 0;
    if (r < 0) {
        return r;
    }
    (void)fault_step("container.delete.killed");
    if (c->cgroup != NULL) {
        r = cgroup_destroy(c->cgroup, END_WAIT_MS, e);
        c->cgroup = NULL;
    }
    if (r == 0 && !config_flag(c->state, "noHooks") && state_need_config(c, NULL) == 0 &&
        config_get(c->config, "hooks.poststop") != NULL) {
        struct err said = {0};

        last = container_state(c);
        if (hooks_run(c->config, "poststop", last, &said) < 0) {
            log_warn(c->log, "%s", said.text); /* runtime-spec: warn and go on */
        }
    }
    return r < 0 ? r : state_remove(c);
}

static int destroy(struct task *t, struct err *e)
{
    return container_delete(of(t), true, e);
}

static void close_handle(struct task *t)
{
    state_free(of(t));
}

const struct task_ops container_task_ops = {
    .kind = "container",
    .start = start,
    .signal = send_signal,
    .pause = pause_all,
    .resume = resume_all,
    .resize = resize,
    .stats = stats,
    .exec = exec_task,
    .state = state,
    .destroy = destroy,
    .close = close_handle,
};

static bool is_other(void *arg, const char *name)
{
    return strcmp(arg, name) != 0;
}

int container_sweep(const char *root, const char *id, const char *cgroups_path,
                    struct err *e)
{
    char path[PATH_MAX];
    char parent[PATH_MAX];
    const char *slash = cgroups_path != NULL ? strrchr(cgroups_path, '/') : NULL;
    int r;

    (void)str_print(path, sizeof path, "%s/%s", root, id);
    r = file_remove_tree(AT_FDCWD, path);
    if (r < 0) {
        return err_sys(e, r, "cannot remove '%s'", path);
    }
    if (slash == NULL || slash == cgroups_path) {
        return 0;
    }
    (void)str_print(parent, sizeof parent, "%.*s", (int)(slash - cgroups_path),
                    cgroups_path);
    r = cgroup_sweep(parent, is_other, (void *)(uintptr_t)(slash + 1), e);
    return r < 0 ? r : 0;
}
