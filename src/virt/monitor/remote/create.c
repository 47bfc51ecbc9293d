/* create.c - the process of a machine's worker, and what it is born with.
 *
 * By one clone3 into new namespaces and a control group; then the worker's program, which
 * does the rest itself before the first instruction of the guest (node/machine/confine.c).
 * An ordinary user's worker needs a user namespace for the others; root's has none: it
 * takes an unused user of the host instead.
 *
 * Three things go between the two processes: a byte that the user namespace has its map, the
 * plan in a memfd, and on a pipe what the worker reports: lines "w TEXT" (something
 * that this host withholds), then "+" (it runs the guest now) or "e ERRNO TEXT". */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup.h"
#include "host/file.h"
#include "virt/monitor/remote/private.h"

#define REPORT_MOST_BYTES 8192
#define CPU_PERIOD_US     100000 /* in which a bound on processor time is counted */

#define NAMESPACES                                                                       \
    (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

struct birth {
    const struct far_new *n;
    struct cgroup *cgroup; /* owned; NULL: none */
    uint64_t namespaces;   /* flags of clone */
    bool into_cgroup;
    int plan, report[2], map[2]; /* owned */
    pid_t pid;
};

static void close_birth(struct birth *b)
{
    int *fds[] = {&b->plan, &b->report[0], &b->report[1], &b->map[0], &b->map[1]};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        scope_close(fds[i]);
        *fds[i] = -1;
    }
    cgroup_close(b->cgroup);
    b->cgroup = NULL;
}

/* ---- before it is born ---- */

static void warn(const struct far_new *n, const char *text)
{
    if (n->log != NULL) {
        log_warn(n->log, "%s", text);
    }
}

static void limit(struct cgroup_value *v, uint64_t value)
{
    if (value != 0) {
        *v = (struct cgroup_value){true, (int64_t)value};
    }
}

static int make_cgroup(struct birth *b, struct err *e)
{
    struct cgroup_limits limits = {.has_devices = false};
    const struct cgroup_want want = {
        .limits = &limits,
        .account = CGROUP_ACCOUNT_CPU | CGROUP_ACCOUNT_MEMORY | CGROUP_ACCOUNT_PIDS,
        .optional = b->n->rootless};
    const struct strv *said;
    char path[CGROUP_PATH_BYTES];
    int r = cgroup_path(b->n->cgroup, b->n->id, path, e);

    limit(&limits.memory_bytes, b->n->memory_most);
    limit(&limits.cpu_weight, b->n->cpu_weight);
    limit(&limits.cpu_quota_us, b->n->cpu_millis * (CPU_PERIOD_US / 1000));
    limit(&limits.cpu_period_us, b->n->cpu_millis != 0 ? CPU_PERIOD_US : 0);
    limit(&limits.pids, b->n->tasks_most);
    r = r == 0 ? cgroup_create(path, &want, &b->cgroup, e) : r;
    if (r < 0) {
        return r;
    }
    said = cgroup_warnings(b->cgroup);
    for (size_t i = 0; i < said->n; i++) {
        warn(b->n, said->items[i]);
    }
    (void)fault_step("far.create.cgroup");
    return 0;
}

/* The plan in a file of its own, with the numbers of the descriptors in it. */
static int write_plan(struct birth *b, struct err *e)
{
    json_t *fds = json_object();
    SCOPED(scope_free) char *text = NULL;

    for (unsigned i = 0; i < b->n->n_fds; i++) {
        (void)json_object_set_new(fds, b->n->fds[i].name, json_integer(b->n->fds[i].fd));
    }
    (void)json_object_set_new(fds, "report", json_integer(b->report[1]));
    (void)json_object_set_new(b->n->plan, "fds", fds);
    (void)json_object_set_new(b->n->plan, "born", json_boolean(b->namespaces != 0));
    text = json_dumps(b->n->plan, JSON_COMPACT);
    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot write the machine's plan: no memory");
    }
    if (b->plan < 0) {
        b->plan = memfd_create("plan", MFD_CLOEXEC);
    }
    if (b->plan < 0 || ftruncate(b->plan, 0) < 0 ||
        pwrite(b->plan, text, strlen(text), 0) != (ssize_t)strlen(text)) {
        return err_sys(e, -errno, "cannot write the machine's plan");
    }
    return 0;
}

/* ---- the child ---- */

static void be_worker(struct birth *b) __attribute__((noreturn));

static void give_up(const struct birth *b, const char *what)
{
    (void)dprintf(b->report[1], "e %d cannot %s", errno, what);
    _exit(125);
}

static void keep_open(int fd)
{
    (void)fcntl(fd, F_SETFD, 0);
}

static void be_worker(struct birth *b)
{
    char number[16];
    char *argv[] = {(char[]){"machine"}, (char[]){"--plan"}, number, NULL};
    char *env[] = {NULL, NULL};
    const char *fault = getenv("STRATA_FAULT");
    char word[256];
    char byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (cgroup_join_self(b->cgroup, b->into_cgroup) < 0) {
        give_up(b, "join the control group");
    }
    (void)close(b->map[1]);
    if ((b->namespaces & CLONE_NEWUSER) != 0 && read(b->map[0], &byte, 1) != 1) {
        _exit(125);
    }
    for (int i = 0; i < 3; i++) {
        if (dup2(b->n->stdio[i], i) < 0) {
            give_up(b, "pass on its standard streams");
        }
    }
    (void)syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    for (unsigned i = 0; i < b->n->n_fds; i++) {
        keep_open(b->n->fds[i].fd);
    }
    keep_open(b->plan);
    keep_open(b->report[1]);
    if (fault != NULL) { /* a test's */
        (void)snprintf(word, sizeof word, "STRATA_FAULT=%s", fault);
        env[0] = word;
    }
    (void)snprintf(number, sizeof number, "%d", b->plan);
    (void)execve(b->n->program, argv, env);
    give_up(b, "execute its program");
    _exit(125);
}

/* ---- the birth ---- */

static pid_t try_clone(struct birth *b)
{
    int birth = b->cgroup != NULL ? cgroup_birth_fd(b->cgroup) : -1;
    struct clone_args args = {.flags = b->namespaces, .exit_signal = SIGCHLD};
    long pid;

    if (birth >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)birth;
    }
    b->into_cgroup = birth >= 0;
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        be_worker(b);
    }
    return pid < 0 ? -errno : (pid_t)pid;
}

/* The user of the namespace is the one who called us. */
static int write_maps(const struct birth *b, struct err *e)
{
    const struct {
        const char *file;
        int id; /* -1: no map */
    } rows[] = {
        {"uid_map", (int)geteuid()}, {"setgroups", -1}, {"gid_map", (int)getegid()}};

    char path[64];
    char text[32];
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof rows / sizeof rows[0]; i++) {
        (void)str_print(path, sizeof path, "/proc/%d/%s", (int)b->pid, rows[i].file);
        (void)str_print(text, sizeof text, rows[i].id < 0 ? "deny" : "0 %d 1",
                        rows[i].id);
        r = file_write_existing(AT_FDCWD, path, text);
    }
    return r < 0 ? err_sys(e, r, "cannot map users of the machine's worker") : 0;
}

static int bear(struct birth *b, struct err *e)
{
    char text[160];
    pid_t pid;
    int r;

    b->namespaces = NAMESPACES | (b->n->rootless ? CLONE_NEWUSER : 0);
    r = write_plan(b, e);
    if (r < 0) {
        return r;
    }
    pid = try_clone(b);
    if (pid == -EPERM || pid == -ENOSPC || pid == -EINVAL || pid == -EUSERS) {
        (void)str_print(text, sizeof text,
                        "the machine's worker has no process namespace of its own: %s",
                        strerror(-pid));
        warn(b->n, text);
        b->namespaces = 0;
        r = write_plan(b, e);
        pid = r < 0 ? r : try_clone(b);
    }
    if (pid < 0) {
        return err_sys(e, pid, "cannot make the machine's worker");
    }
    b->pid = pid;
    (void)close(b->report[1]);
    b->report[1] = -1;
    (void)fault_step("far.create.born");
    r = far_record_write(b->n->directory, pid, b->cgroup, e);
    if (r == 0 && (b->namespaces & CLONE_NEWUSER) != 0) {
        r = write_maps(b, e);
        (void)!write(b->map[1], "", 1);
    }
    (void)fault_step("far.create.recorded");
    return r;
}

/* One line of its report; 1: there is more to come. */
static int hear_line(const struct birth *b, const char *line, struct err *e)
{
    char *text = NULL;
    long code;

    switch (line[0]) {
    case 'w':
        warn(b->n, line[1] != '\0' ? line + 2 : "");
        return 1;
    case '+':
        return 0;
    case 'e':
        code = strtol(line + 1, &text, 10);
        return err_set(e, code > 0 && code < 4096 ? (int)-code : -EIO, "%s",
                       *text == ' ' ? text + 1 : text);
    default:
        return err_set(e, -EPROTO, "the machine's worker said something strange");
    }
}

static int hear(const struct birth *b, struct err *e)
{
    char text[REPORT_MOST_BYTES];
    size_t have = 0;
    ssize_t n = 1;

    /* it goes on once it has said "+", and closes its end */
    while (n > 0 && have < sizeof text - 1) {
        n = read(b->report[0], text + have, sizeof text - 1 - have);
        have += n > 0 ? (size_t)n : 0;
        n = n < 0 && errno == EINTR ? 1 : n;
    }
    text[have] = '\0';
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        int r = hear_line(b, line, e);

        if (r <= 0) {
            return r;
        }
    }
    return err_set(e, -EIO, "the machine's worker died while it was starting");
}

int far_create(const struct far_new *n, pid_t *ret_pid, struct err *e)
{
    struct birth b = {.n = n, .plan = -1, .report = {-1, -1}, .map = {-1, -1}, .pid = -1};
    int r = 0;

    if (pipe2(b.report, O_CLOEXEC) < 0 || pipe2(b.map, O_CLOEXEC) < 0) {
        r = err_sys(e, -errno, "cannot make a pipe");
    }
    r = r == 0 ? make_cgroup(&b, e) : r;
    r = r == 0 ? bear(&b, e) : r;
    r = r == 0 ? hear(&b, e) : r;
    if (r < 0) {
        if (b.pid > 0) {
            (void)kill(b.pid, SIGKILL);
            (void)waitpid(b.pid, NULL, 0);
        }
        if (b.cgroup != NULL) {
            (void)cgroup_destroy(b.cgroup, 1000, NULL);
            b.cgroup = NULL;
        }
        far_record_remove(n->directory);
    } else {
        *ret_pid = b.pid;
    }
    close_birth(&b);
    return r;
}
