/* task.c - a machine's worker under the contract of all guests. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/monitor/remote/private.h"

#define END_WAIT_MS     10000
#define MILLIS_OF_A_CPU 1000
#define PLUG_STEPS      200 /* of that long, until a guest has let go of processors */
#define PLUG_STEP_NS    50000000

struct task *far_task(struct far *f)
{
    return &f->task;
}

static struct far *of(struct task *t)
{
    return (struct far *)t; /* the first member */
}

static bool is_alive(const struct far *f)
{
    return f->started != 0 && far_started(f->pid) == f->started;
}

static int send_signal(struct task *t, int signal, bool all, struct err *e)
{
    const struct far *f = of(t);
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);

    (void)all; /* it is one process */
    if (pidfd < 0 || !is_alive(f)) {
        return err_set(e, -ESRCH, "machine '%s' is not running", f->id);
    }
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0) {
        return err_sys(e, -errno, "cannot send signal %d to machine '%s'", signal, f->id);
    }
    return 0;
}

static int need_cgroup(const struct far *f, const char *what, struct err *e)
{
    return f->cgroup != NULL
               ? 0
               : err_set(e, -EOPNOTSUPP,
                         "cannot %s machine '%s': it has no control group", what, f->id);
}

static bool is_frozen(const struct far *f)
{
    struct cgroup_events events = {0};

    return f->cgroup != NULL && cgroup_events(f->cgroup, &events) == 0 && events.frozen;
}

/* It does not answer: it is stopped from outside instead, its clock running on. */
static bool is_deaf(int r)
{
    return r == -ESRCH || r == -ETIMEDOUT || r == -EOPNOTSUPP;
}

static int pause_it(struct task *t, struct err *e)
{
    struct err said = {0};
    int r = far_ask(of(t)->directory, FAR_PAUSE, NULL, NULL, &said);

    if (!is_deaf(r)) {
        return r < 0 ? err_set(e, r, "%s", said.text) : 0;
    }
    r = need_cgroup(of(t), "pause", e);
    return r < 0 ? r : cgroup_freeze(of(t)->cgroup, e);
}

static int resume_it(struct task *t, struct err *e)
{
    return is_frozen(of(t)) ? cgroup_thaw(of(t)->cgroup, e)
                            : far_ask(of(t)->directory, FAR_RESUME, NULL, NULL, e);
}

/* What it wrote when that last changed; asked it would have to run. */
static bool says_paused(const struct far *f)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_json) json_t *told = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    const char *word;

    (void)str_print(path, sizeof path, "%s/" FAR_COUNTERS, f->directory);
    if (file_read(AT_FDCWD, path, FAR_MOST_BYTES, &text, &len) < 0 ||
        json_parse(text, len, path, &told, NULL) < 0) {
        told = NULL; /* it is just being written */
        (void)far_ask(f->directory, FAR_STATE, NULL, &told, NULL);
    }
    word = json_string_value(json_object_get(told, "state"));
    return word != NULL && strcmp(word, "paused") == 0;
}

/* -1: it does not tell. */
static json_int_t processors(const struct far *f)
{
    SCOPED(scope_json) json_t *told = NULL;
    json_t *n;

    (void)far_ask(f->directory, FAR_STATS, NULL, &told, NULL);
    n = json_object_get(json_object_get(told, "processors"), "now");
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

static int ask_processors(const struct far *f, json_int_t n, struct err *e)
{
    SCOPED(scope_json) json_t *arg = json_pack("{s:I}", "cpus", n);

    return far_ask(f->directory, FAR_RESIZE, arg, NULL, e);
}

/* New ones are there at once; a guest that runs lets go of others by itself, or does not.  Of a
 * part of a processor it has a whole one, and the kernel holds it back. */
static int resize_processors(const struct far *f, uint64_t millis, struct err *e)
{
    const struct timespec pause = {.tv_nsec = PLUG_STEP_NS};
    json_int_t n = (json_int_t)((millis + MILLIS_OF_A_CPU - 1) / MILLIS_OF_A_CPU);
    json_int_t now = -1;
    int r;

    if (millis == UINT64_MAX) {
        return err_set(e, -EINVAL, "cannot take the processors of machine '%s' away",
                       f->id);
    }
    if (millis % MILLIS_OF_A_CPU != 0 && f->cgroup == NULL) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot give machine '%s' a part of a processor: there is no "
                       "control group for it",
                       f->id);
    }
    r = ask_processors(f, n, e);
    for (unsigned i = 0; r == 0 && i < PLUG_STEPS; i++) {
        now = processors(f);
        if ((now >= 0 && now <= n) || says_paused(f)) {
            return 0;
        }
        (void)nanosleep(&pause, NULL);
    }
    if (r == 0 && now < 0) {
        r = err_set(e, -ETIMEDOUT, "machine '%s' does not tell its processors", f->id);
    } else if (r == 0) {
        (void)ask_processors(f, now, NULL);
        r = err_set(e, -ETIMEDOUT,
                    "machine '%s' does not let go of its processors: it has %lld", f->id,
                    (long long)now);
    }
    return r;
}

/* Processors and memory by its own word; else what the kernel limits of its worker. */
static int resize(struct task *t, const struct task_limits *limits, struct err *e)
{
    struct task_limits rest = *limits;
    struct cgroup_limits l;
    bool needs_cpu;
    int r = 0;

    if (limits->cpu_millis != 0) {
        r = resize_processors(of(t), limits->cpu_millis, e);
    }
    if (r < 0) {
        return r;
    }
    if (limits->memory_bytes == UINT64_MAX) {
        return err_set(e, -EINVAL, "cannot take the memory of machine '%s' away",
                       of(t)->id);
    }
    if (limits->memory_bytes != 0) {
        SCOPED(scope_json)
        json_t *arg = json_pack("{s:I}", "memory", (json_int_t)limits->memory_bytes);

        r = far_ask(of(t)->directory, FAR_RESIZE, arg, NULL, e);
    }
    rest.memory_bytes = 0;
    needs_cpu = rest.cpu_millis % MILLIS_OF_A_CPU != 0 && rest.cpu_millis != UINT64_MAX;
    if (rest.cpu_millis != 0 && rest.cpu_millis % MILLIS_OF_A_CPU == 0) {
        rest.cpu_millis = UINT64_MAX; /* as much as its processors can take */
    }
    if (r < 0 || of(t)->cgroup == NULL) {
        return r;
    }
    r = cgroup_limits_from_task(&rest, &l, e);
    if (r == 0) {
        r = cgroup_apply(of(t)->cgroup, &l, needs_cpu, e);
        cgroup_limits_fini(&l);
    }
    if (r == 0) { /* it may have places of more controllers now */
        r = far_record_write(of(t)->directory, of(t)->pid, of(t)->cgroup, e);
    }
    return r;
}

static int stats(struct task *t, struct task_stats *ret, struct err *e)
{
    int r = need_cgroup(of(t), "measure", e);

    return r < 0 ? r : cgroup_stats(of(t)->cgroup, ret, e);
}

static enum task_state state(struct task *t)
{
    struct far *f = of(t);

    if (!is_alive(f)) {
        return TASK_STOPPED;
    }
    return is_frozen(f) || says_paused(f) ? TASK_PAUSED : TASK_RUNNING;
}

static int await_end(const struct far *f, int pidfd, struct err *e)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    if (poll(&p, 1, END_WAIT_MS) == 0) {
        return err_set(e, -ETIMEDOUT, "machine '%s' does not end", f->id);
    }
    (void)waitpid(f->pid, NULL, WNOHANG); /* if it is our child */
    return 0;
}

static int destroy(struct task *t, struct err *e)
{
    struct far *f = of(t);
    SCOPED(scope_close) int pidfd = (int)syscall(SYS_pidfd_open, f->pid, 0);
    bool alive = pidfd >= 0 && is_alive(f);
    int r = 0;

    if (f->cgroup != NULL) {
        (void)cgroup_kill(f->cgroup, NULL); /* also a frozen one */
    }
    if (alive) {
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        r = await_end(f, pidfd, e);
    }
    (void)fault_step("far.destroy.killed");
    if (r == 0 && f->cgroup != NULL) {
        r = cgroup_destroy(f->cgroup, END_WAIT_MS, e);
        f->cgroup = NULL;
    }
    if (r == 0) {
        far_record_remove(f->directory);
    }
    return r;
}

static void close_handle(struct task *t)
{
    cgroup_close(of(t)->cgroup);
    free(t);
}

const struct task_ops far_task_ops = {
    .kind = "machine",
    .signal = send_signal,
    .pause = pause_it,
    .resume = resume_it,
    .resize = resize,
    .stats = stats,
    .exec = far_exec,
    .state = state,
    .destroy = destroy,
    .close = close_handle,
};

static bool is_other(void *arg, const char *name)
{
    return strcmp(arg, name) != 0;
}

int far_clean(const char *directory, const char *id, const char *cgroup, struct err *e)
{
    const char *slash = cgroup != NULL ? strrchr(cgroup, '/') : NULL;
    struct far *f = NULL;
    struct err why = {0};
    char parent[PATH_MAX];
    int r = far_open(directory, id, &f, &why);

    if (r == 0) {
        r = destroy(&f->task, e);
        close_handle(&f->task);
        return r;
    }
    if (r != -ENOENT) {
        return err_set(e, r, "%s", why.text);
    }
    far_record_remove(directory);
    if (slash == NULL || slash == cgroup) {
        return 0;
    }
    /* killed before its record was written: the group may be there */
    (void)str_print(parent, sizeof parent, "%.*s", (int)(slash - cgroup), cgroup);
    r = cgroup_sweep(parent, is_other, (void *)(uintptr_t)(slash + 1), e);
    return r < 0 ? r : 0;
}
