/* host/cgroup_run.c - freezing, killing, watching and removing.
 *
 * On v2 the kernel tells by the file cgroup.events (poll gives POLLPRI) when all
 * stand still and when nobody is left.  A v1 freezer tells nothing, so there its
 * state is read again, at first at once and then with growing pauses of at most
 * ten milliseconds; the end of processes is seen through pidfds. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/cgroup_private.h"

#define EVENTS_BYTES  256
#define FREEZE_MS     10000
#define SWEEP_MS      5000
#define KILL_ROUNDS   16
#define WAIT_AT_ONCE  64 /* pidfds that one poll watches */
#define PAUSE_MOST_MS 10
#define RETRY_MS      1

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int left_ms(int64_t deadline)
{
    int64_t left = deadline - now_ms();

    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Read `key` of an open cgroup.events from its start. */
static int event_value(int fd, const char *key, uint64_t *ret)
{
    char text[EVENTS_BYTES];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n < 0) {
        return -errno;
    }
    text[n] = '\0';
    return cgroup_find_u64(text, key, ret) ? 0 : -ENODATA;
}

/* Until `key` has the value.  -ENODEV, which a removed directory gives, is the
 * caller's to judge. */
static int wait_event(const struct cgroup_dir *d, const char *key, uint64_t want,
                      int64_t deadline)
{
    SCOPED(scope_close) int fd = openat(d->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        uint64_t value = 0;
        int r = event_value(fd, key, &value);

        if (r < 0 || value == want) {
            return r;
        }
        if (left_ms(deadline) == 0) {
            return -ETIMEDOUT;
        }
        if (poll(&p, 1, left_ms(deadline)) < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

static int wait_freezer(const struct cgroup_dir *d, const char *want, int64_t deadline)
{
    for (int pause = 0;; pause += pause < PAUSE_MOST_MS) {
        char text[32];
        int r = cgroup_read(d, "freezer.state", text, sizeof text);

        if (r < 0 || strcmp(text, want) == 0) {
            return r;
        }
        if (left_ms(deadline) == 0) {
            return -ETIMEDOUT;
        }
        (void)poll(NULL, 0, pause);
    }
}

static int set_frozen(struct cgroup *cg, bool frozen)
{
    const struct cgroup_dir *core = &cg->dir[CGROUP_CTL_CORE];
    const struct cgroup_dir *freezer = &cg->dir[CGROUP_CTL_FREEZER];
    int64_t deadline = now_ms() + FREEZE_MS;
    int r;

    if (core->fd >= 0) {
        r = cgroup_write(core, "cgroup.freeze", frozen ? "1" : "0");
        return r < 0 ? r : wait_event(core, "frozen", frozen, deadline);
    }
    if (freezer->fd >= 0) {
        r = cgroup_write(freezer, "freezer.state", frozen ? "FROZEN" : "THAWED");
        return r < 0 ? r : wait_freezer(freezer, frozen ? "FROZEN" : "THAWED", deadline);
    }
    return -EOPNOTSUPP;
}

int cgroup_freeze(struct cgroup *cg, struct err *e)
{
    int r = set_frozen(cg, true);

    if (r == -ETIMEDOUT) {
        (void)set_frozen(cg, false);
    }
    return r < 0 ? err_sys(e, r, "cannot freeze the guest's processes") : 0;
}

int cgroup_thaw(struct cgroup *cg, struct err *e)
{
    int r = set_frozen(cg, false);

    return r < 0 ? err_sys(e, r, "cannot thaw the guest's processes") : 0;
}

static const struct cgroup_dir *any_dir(const struct cgroup *cg)
{
    for (size_t i = CGROUP_CTL_COUNT; i-- > 0;) {
        if (cg->dir[i].fd >= 0) {
            return &cg->dir[i];
        }
    }
    return NULL;
}

int cgroup_pids(const struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e)
{
    const struct cgroup_dir *d = any_dir(cg);
    pid_t *pids = NULL;
    size_t n = 0;
    size_t cap = 0;
    int r = d == NULL ? 0 : cgroup_list_pids(d->fd, "cgroup.procs", &pids, &n, &cap);

    if (r < 0) {
        free(pids);
        return err_sys(e, r, "cannot list the guest's processes");
    }
    *ret = pids;
    *ret_n = n;
    return 0;
}

int cgroup_signal(struct cgroup *cg, int signal, struct err *e)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    size_t n = 0;
    int r = cgroup_pids(cg, &pids, &n, e);

    for (size_t i = 0; r == 0 && i < n; i++) {
        if (kill(pids[i], signal) < 0 && errno != ESRCH) {
            r = err_sys(e, -errno, "cannot signal process %d", (int)pids[i]);
        }
    }
    return r;
}

/* Without cgroup.kill: while all stand still nobody forks, so one round is
 * enough; where they cannot be stopped, rounds until a list comes out empty. */
static int kill_by_signals(struct cgroup *cg, struct err *e)
{
    bool stopped = set_frozen(cg, true) == 0;
    int r = 0;

    for (int i = 0; r == 0 && i < KILL_ROUNDS; i++) {
        SCOPED(scope_free) pid_t *pids = NULL;
        size_t n = 0;

        r = cgroup_pids(cg, &pids, &n, e);
        for (size_t k = 0; r == 0 && k < n; k++) {
            (void)kill(pids[k], SIGKILL);
        }
        if (stopped || n == 0) {
            break;
        }
    }
    (void)set_frozen(cg, false);
    return r;
}

int cgroup_kill(struct cgroup *cg, struct err *e)
{
    int r = cgroup_write(&cg->dir[CGROUP_CTL_CORE], "cgroup.kill", "1");

    if (r == 0 || r == -ENODEV) {
        return 0;
    }
    return any_dir(cg) == NULL ? 0 : kill_by_signals(cg, e);
}

/* The end of all processes by their pidfds. */
static int wait_pids(const struct cgroup *cg, int64_t deadline)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    size_t n = 0;
    int r = cgroup_pids(cg, &pids, &n, NULL);

    for (size_t i = 0; r == 0 && i < n; i++) {
        SCOPED(scope_close) int fd = (int)syscall(SYS_pidfd_open, pids[i], 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (fd >= 0 && poll(&p, 1, left_ms(deadline)) == 0) {
            r = -ETIMEDOUT;
        }
    }
    return r;
}

static int wait_empty(const struct cgroup *cg, int64_t deadline)
{
    const struct cgroup_dir *core = &cg->dir[CGROUP_CTL_CORE];
    int r = core->fd >= 0 ? wait_event(core, "populated", 0, deadline) : -ENODATA;

    if (r == -ENODEV || r == -ENOENT) {
        r = 0;
    }
    return r == -ENODATA ? wait_pids(cg, deadline) : r;
}

/* One directory tree; a dying process may hold it for a moment longer than the
 * events say. */
static int remove_tree(const struct cgroup *cg, const struct cgroup_dir *d,
                       int64_t deadline)
{
    for (;;) {
        int r = cgroup_remove_dirs(d->path);

        if (r != -EBUSY) {
            return r;
        }
        if (left_ms(deadline) == 0) {
            return -ETIMEDOUT;
        }
        r = wait_pids(cg, deadline);
        if (r < 0) {
            return r;
        }
        (void)poll(NULL, 0, RETRY_MS);
    }
}

static int remove_all(struct cgroup *cg, int64_t deadline, struct err *e)
{
    const struct cgroup_dir *core = &cg->dir[CGROUP_CTL_CORE];
    int r = 0;

    /* Nobody lives in a leaf that can be removed at once. */
    if (core->path == NULL || (rmdir(core->path) < 0 && errno != ENOENT)) {
        r = cgroup_kill(cg, e);
        r = r == 0 ? wait_empty(cg, deadline) : r;
    }
    for (size_t i = CGROUP_CTL_COUNT; r == 0 && i-- > 0;) {
        if (cg->dir[i].path != NULL) {
            r = remove_tree(cg, &cg->dir[i], deadline);
            r = r < 0 ? err_sys(e, r, "cannot remove control group '%s'", cg->dir[i].path)
                      : 0;
        }
    }
    return r < 0 ? err_sys(e, r, "cannot end the guest's processes") : 0;
}

int cgroup_destroy(struct cgroup *cg, int timeout_ms, struct err *e)
{
    int r = cg == NULL ? 0 : remove_all(cg, now_ms() + timeout_ms, e);

    cgroup_close(cg);
    return r;
}

static int watch_v1_oom(struct cgroup *cg)
{
    const struct cgroup_dir *d = &cg->dir[CGROUP_CTL_MEMORY];
    SCOPED(scope_close) int control = -1;
    char text[48];

    if (d->fd < 0) {
        return 0;
    }
    control = openat(d->fd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
    cg->watch_oom = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control < 0 || cg->watch_oom < 0) {
        return -errno;
    }
    (void)str_print(text, sizeof text, "%d %d", cg->watch_oom, control);
    return cgroup_write(d, "cgroup.event_control", text);
}

static int watch_v2_files(struct cgroup *cg)
{
    static const char *const files[] = {"cgroup.events", "memory.events"};
    const struct cgroup_dir *d = &cg->dir[CGROUP_CTL_CORE];

    if (d->fd < 0) {
        return 0;
    }
    cg->watch_files = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (size_t i = 0; cg->watch_files >= 0 && i < 2; i++) {
        char path[PATH_MAX];

        if (str_print(path, sizeof path, "%s/%s", d->path, files[i]) < 0 ||
            (inotify_add_watch(cg->watch_files, path, IN_MODIFY) < 0 && i == 0)) {
            return -errno;
        }
    }
    return cg->watch_files < 0 ? -errno : 0;
}

static int watch_one(int watch, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};

    return fd >= 0 && epoll_ctl(watch, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int cgroup_watch_fd(struct cgroup *cg, struct err *e)
{
    int r;

    if (cg->watch >= 0) {
        return cg->watch;
    }
    r = watch_v2_files(cg);
    r = r == 0 ? watch_v1_oom(cg) : r;
    if (r == 0 && cg->watch_files < 0 && cg->watch_oom < 0) {
        r = -EOPNOTSUPP;
    }
    if (r == 0) {
        cg->watch = epoll_create1(EPOLL_CLOEXEC);
        r = cg->watch < 0 ? -errno : watch_one(cg->watch, cg->watch_files);
        r = r == 0 ? watch_one(cg->watch, cg->watch_oom) : r;
    }
    return r < 0 ? err_sys(e, r, "cannot watch the guest's control group") : cg->watch;
}

int cgroup_events(struct cgroup *cg, struct cgroup_events *ret)
{
    char text[1024];
    uint64_t value = 0;
    struct cgroup_events ev = {0};

    while (cg->watch_files >= 0 && read(cg->watch_files, text, sizeof text) > 0) {
    }
    while (cg->watch_oom >= 0 && read(cg->watch_oom, &value, sizeof value) > 0) {
    }
    if (cgroup_read(&cg->dir[CGROUP_CTL_CORE], "cgroup.events", text, sizeof text) == 0) {
        ev.populated = cgroup_find_u64(text, "populated", &value) && value == 1;
        ev.frozen = cgroup_find_u64(text, "frozen", &value) && value == 1;
    } else {
        SCOPED(scope_free) pid_t *pids = NULL;
        size_t n = 0;
        int r = cgroup_pids(cg, &pids, &n, NULL);

        ev.populated = r == 0 && n > 0;
        ev.frozen = cgroup_read(&cg->dir[CGROUP_CTL_FREEZER], "freezer.state", text,
                                sizeof text) == 0 &&
                    strcmp(text, "FROZEN") == 0;
    }
    if (cgroup_read(&cg->dir[CGROUP_CTL_CORE], "memory.events", text, sizeof text) == 0 ||
        cgroup_read(&cg->dir[CGROUP_CTL_MEMORY], "memory.oom_control", text,
                    sizeof text) == 0) {
        (void)cgroup_find_u64(text, "oom_kill", &ev.oom_kills);
    }
    *ret = ev;
    return 0;
}

/* Names below `parent` in one hierarchy. */
static void list_names(const char *mount, const char *parent, struct strv *names)
{
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *entry;
    char path[PATH_MAX];

    if (str_print(path, sizeof path, "%s%s", mount, parent) == 0) {
        d = opendir(path);
    }
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 && !strv_has(names, entry->d_name)) {
            strv_add(names, entry->d_name);
        }
    }
}

static int mount_of(const struct cgroup_layout *l, size_t i, char *out, size_t size)
{
    if (i == CGROUP_CTL_CORE) {
        return l->unified[0] != '\0' ? str_print(out, size, "%s", l->unified) : -ENOENT;
    }
    return cgroup_layout_v1(l, i, out, size);
}

static int sweep_name(const struct cgroup_layout *l, const char *parent, const char *name,
                      struct err *e)
{
    struct str place = {0};
    struct cgroup *cg = NULL;
    int r;

    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        const struct cgroup_ctl_name *ctl = &cgroup_ctl_names[i];
        char mount[PATH_MAX / 2];
        char path[PATH_MAX];

        if (mount_of(l, i, mount, sizeof mount) == 0 &&
            str_print(path, sizeof path, "%s%s/%s", mount, parent, name) == 0 &&
            access(path, F_OK) == 0) {
            str_addf(&place, "%s %s\n", ctl->v1 != NULL ? ctl->v1 : ctl->v2, path);
        }
    }
    r = str_failed(&place) ? -ENOMEM : cgroup_open(str_text(&place), &cg, e);
    str_fini(&place);
    return r == 0 ? cgroup_destroy(cg, SWEEP_MS, e) : r;
}

int cgroup_sweep(const char *parent, bool (*is_live)(void *arg, const char *name),
                 void *arg, struct err *e)
{
    struct cgroup_layout l = {0};
    struct strv names = {0};
    char path[PATH_MAX];
    int removed = 0;
    int r = 0;

    cgroup_layout_find(&l);
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        if (mount_of(&l, i, path, sizeof path) == 0) {
            list_names(path, parent, &names);
        }
    }
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        if (!is_live(arg, names.items[i])) {
            r = sweep_name(&l, parent, names.items[i], e);
            removed += r == 0;
        }
    }
    strv_fini(&names);
    for (size_t i = 0; r == 0 && i < CGROUP_CTL_COUNT; i++) {
        size_t len;

        if (mount_of(&l, i, path, sizeof path) == 0) {
            len = strlen(path);
            (void)str_print(path + len, sizeof path - len, "%s", parent);
            (void)rmdir(path); /* others may live in it */
        }
    }
    return r < 0 ? r : removed;
}
