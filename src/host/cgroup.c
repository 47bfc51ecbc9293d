/* host/cgroup.c - making, finding and joining a guest's control groups.
 *
 * What a start costs decides the order of things.  Making and removing a
 * directory takes some ten microseconds in any hierarchy; moving a process by
 * `cgroup.procs` takes a grace period of the kernel (milliseconds) as it stops
 * all forks and exits meanwhile.  So a process is born in the v2 leaf
 * (CLONE_INTO_CGROUP), and enters v1 directories by writing "0" to `tasks`,
 * which moves the writing thread alone and waits for nobody.
 *
 * A controller is used where the host has it: on v2 if its root lists it, else
 * on v1, else not at all, with a line for the caller. */
#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup_private.h"
#include "host/file.h"

#define DIR_MODE   0755
#define MAKE_TRIES 4
#define TEXT_PID   24

static struct cgroup *new_handle(void)
{
    struct cgroup *cg = fault_calloc(1, sizeof *cg);

    if (cg == NULL) {
        return NULL;
    }
    cg->watch = cg->watch_files = cg->watch_oom = -1;
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        cg->dir[i].fd = cg->dir[i].tasks = -1;
    }
    return cg;
}

void cgroup_close(struct cgroup *cg)
{
    if (cg == NULL) {
        return;
    }
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        scope_close(&cg->dir[i].fd);
        scope_close(&cg->dir[i].tasks);
        free(cg->dir[i].path);
    }
    scope_close(&cg->watch);
    scope_close(&cg->watch_files);
    scope_close(&cg->watch_oom);
    strv_fini(&cg->warnings);
    free(cg);
}

const struct strv *cgroup_warnings(const struct cgroup *cg)
{
    return &cg->warnings;
}

int cgroup_birth_fd(const struct cgroup *cg)
{
    return cg->dir[CGROUP_CTL_CORE].fd;
}

static int open_dir(struct cgroup_dir *d, bool v1)
{
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd >= 0 && v1) {
        d->tasks = openat(d->fd, "tasks", O_WRONLY | O_CLOEXEC);
    }
    return d->fd < 0 ? -errno : 0;
}

/* A new cpuset has no processors and takes no process: copy the parent's. */
static int fill_cpuset(const char *path)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char parent[PATH_MAX];
    int r = str_print(parent, sizeof parent, "%s", path);
    char *slash = r == 0 ? strrchr(parent, '/') : NULL;

    if (slash == NULL) {
        return -EINVAL;
    }
    *slash = '\0';
    for (size_t i = 0; i < 2; i++) {
        SCOPED(scope_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        SCOPED(scope_close) int up = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct cgroup_dir here = {.fd = fd};
        struct cgroup_dir above = {.fd = up};
        char text[1024];

        r = cgroup_read(&here, files[i], text, sizeof text);
        if (r == 0 && text[0] == '\0') {
            r = cgroup_read(&above, files[i], text, sizeof text);
            r = r == 0 ? cgroup_write(&here, files[i], text) : r;
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Parents from the mount point down. */
static int make_parents(const char *path, size_t mount_len, bool cpuset)
{
    char part[PATH_MAX];
    int r = str_print(part, sizeof part, "%s", path);

    for (char *p = part + mount_len + 1; r == 0 && *p != '\0'; p++) {
        if (*p != '/') {
            continue;
        }
        *p = '\0';
        r = mkdir(part, DIR_MODE) < 0 && errno != EEXIST ? -errno : 0;
        r = r == 0 && cpuset ? fill_cpuset(part) : r;
        *p = '/';
    }
    return r;
}

/* mkdir with parents, which a sweep may remove in between.  -EEXIST: it was
 * there. */
static int make_dirs(const char *path, size_t mount_len, bool cpuset)
{
    int r = -ENOENT;

    for (int i = 0; i < MAKE_TRIES && r == -ENOENT; i++) {
        r = mkdir(path, DIR_MODE) < 0 ? -errno : 0;
        if (r == -ENOENT) {
            int up = make_parents(path, mount_len, cpuset);

            r = up < 0 ? up : r;
        }
    }
    return r == 0 && cpuset ? fill_cpuset(path) : r;
}

/* A directory that was there before may be used when nobody lives in it. */
static int check_empty(const struct cgroup_dir *d, struct err *e)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    size_t n = 0;
    size_t cap = 0;
    int r = cgroup_list_pids(d->fd, "cgroup.procs", &pids, &n, &cap);

    if (r == 0 && n > 0) {
        return err_set(e, -EBUSY, "control group '%s' already has %zu processes", d->path,
                       n);
    }
    return 0;
}

static int enter_hierarchy(struct cgroup *cg, enum cgroup_ctl ctl, const char *mount,
                           struct err *e)
{
    struct cgroup_dir *d = &cg->dir[ctl];
    char own[PATH_MAX / 2] = "";
    char path[PATH_MAX];
    int r = 0;

    if (cg->at[0] != '/') {
        r = cgroup_own_path(&cg->layout, ctl, own, sizeof own);
    }
    if (r == 0) {
        r = str_print(path, sizeof path, "%s%s%s%s", mount, strcmp(own, "/") ? own : "",
                      cg->at[0] == '/' ? "" : "/", cg->at);
    }
    if (r == 0) {
        r = make_dirs(path, strlen(mount), ctl == CGROUP_CTL_CPUSET);
    }
    if (r < 0 && r != -EEXIST) {
        return err_sys(e, r, "cannot make control group '%s' in '%s'", cg->at, mount);
    }
    d->made = r == 0;
    d->path = fault_strdup(path);
    r = d->path == NULL ? -ENOMEM : open_dir(d, ctl != CGROUP_CTL_CORE);
    if (r < 0) {
        if (d->made) {
            (void)rmdir(path);
        }
        return err_sys(e, r, "cannot open control group '%s'", path);
    }
    return d->made ? 0 : check_empty(d, e);
}

/* Where an ordinary user, or a relative path, may have a leaf: beside the
 * caller's own directory, else below it; the first that is writable. */
static int find_delegated(struct cgroup *cg)
{
    char own[CGROUP_PATH_BYTES / 2];
    char dir[PATH_MAX];
    char *slash;
    int r = cgroup_own_path(&cg->layout, CGROUP_CTL_CORE, own, sizeof own);

    for (int up = 1; r == 0 && up >= 0; up--) {
        char at[CGROUP_PATH_BYTES];
        char base[CGROUP_PATH_BYTES / 2];

        (void)str_print(base, sizeof base, "%s", own);
        slash = strrchr(base, '/');
        if (up == 1 && slash != NULL) {
            *slash = '\0';
        }
        if (str_print(dir, sizeof dir, "%s%s", cg->layout.unified, base) == 0 &&
            access(dir, W_OK) == 0 &&
            str_print(at, sizeof at, "%s%s%s", base, cg->at[0] == '/' ? "" : "/",
                      cg->at) == 0) {
            memcpy(cg->at, at, sizeof at);
            return 0;
        }
    }
    return r < 0 ? r : -EACCES;
}

static bool is_withheld(int r)
{
    return r == -EACCES || r == -EPERM || r == -EROFS;
}

/* The v2 leaf; on a host without v2, a v1 freezer stands in for it. */
static int enter_core(struct cgroup *cg, struct err *e)
{
    char mount[PATH_MAX];
    struct err first = {0};
    int r;

    if (cg->layout.unified[0] == '\0') {
        r = cgroup_layout_v1(&cg->layout, CGROUP_CTL_FREEZER, mount, sizeof mount);
        return r == 0 ? enter_hierarchy(cg, CGROUP_CTL_FREEZER, mount, e)
                      : err_set(e, r,
                                "this host has no control groups to freeze or kill "
                                "processes with");
    }
    if (cg->at[0] != '/' && (r = find_delegated(cg)) < 0 && !is_withheld(r)) {
        return err_sys(e, r, "cannot tell the caller's own control group");
    }
    r = enter_hierarchy(cg, CGROUP_CTL_CORE, cg->layout.unified, &first);
    if (is_withheld(r) && geteuid() != 0 && cg->at[0] == '/' && find_delegated(cg) == 0) {
        err_clear(&first);
        r = enter_hierarchy(cg, CGROUP_CTL_CORE, cg->layout.unified, &first);
    }
    return r < 0 ? err_set(e, r, "%s", first.text) : 0;
}

/* "+memory" into every directory above the leaf that lacks it.  Those on the way to a
 * delegated place belong to somebody else, and have it already. */
static int enable_v2(const struct cgroup *cg, enum cgroup_ctl ctl)
{
    const char *path = cg->dir[CGROUP_CTL_CORE].path;
    char part[PATH_MAX];
    char word[32];
    int r = str_print(word, sizeof word, "+%s", cgroup_ctl_names[ctl].v2);

    for (size_t len = strlen(cg->layout.unified); r == 0 && path[len] == '/';
         len += 1 + strcspn(path + len + 1, "/")) {
        r = str_print(part, sizeof part, "%.*s", (int)len, path);
        if (r < 0 ||
            (cgroup_listed(part, "cgroup.subtree_control") & CGROUP_BIT(ctl)) != 0) {
            continue;
        }
        r = str_print(part, sizeof part, "%.*s/cgroup.subtree_control", (int)len, path);
        r = r == 0 ? file_write_existing(AT_FDCWD, part, word) : r;
    }
    return r;
}

static unsigned v2_here(const struct cgroup *cg)
{
    const struct cgroup_dir *leaf = &cg->dir[CGROUP_CTL_CORE];

    return leaf->fd < 0 ? 0 : cgroup_listed(leaf->path, "cgroup.controllers");
}

bool cgroup_on_v2(const struct cgroup *cg, enum cgroup_ctl ctl)
{
    return ctl == CGROUP_CTL_CORE ? cg->dir[ctl].fd >= 0
                                  : (v2_here(cg) & CGROUP_BIT(ctl)) != 0;
}

static int withheld(struct cgroup *cg, enum cgroup_ctl ctl, bool strict, const char *why,
                    struct err *e)
{
    const char *name = cgroup_ctl_names[ctl].v1;

    if (strict) {
        return err_set(e, -EOPNOTSUPP, "cannot use control group controller '%s': %s",
                       name, why);
    }
    strv_addf(&cg->warnings,
              "control group controller '%s' is not usable (%s): limits "
              "and figures that need it are left out",
              name, why);
    return 0;
}

static int add_v1(struct cgroup *cg, enum cgroup_ctl ctl, bool strict, struct err *e)
{
    char mount[PATH_MAX];
    struct err why = {0};
    int r = cgroup_layout_v1(&cg->layout, ctl, mount, sizeof mount);

    if (r < 0) {
        return withheld(cg, ctl, strict, "this host does not offer it", e);
    }
    r = enter_hierarchy(cg, ctl, mount, &why);
    if (is_withheld(r)) {
        return withheld(cg, ctl, strict, why.text, e);
    }
    return r < 0 ? err_set(e, r, "%s", why.text) : 0;
}

int cgroup_add_controllers(struct cgroup *cg, unsigned need, bool strict, struct err *e)
{
    unsigned v2 = need == 0 ? 0 : cgroup_layout_v2(&cg->layout) & need;
    unsigned missing = v2 == 0 ? 0 : v2 & ~v2_here(cg);
    int r = 0;

    for (unsigned i = 0; r == 0 && i < CGROUP_CTL_CORE; i++) {
        if ((missing & CGROUP_BIT(i)) != 0 && cg->dir[CGROUP_CTL_CORE].fd >= 0 &&
            enable_v2(cg, i) < 0) {
            r = withheld(cg, i, strict, "it is not delegated to this place", e);
        }
    }
    for (unsigned i = 0; r == 0 && i < CGROUP_CTL_CORE; i++) {
        bool wanted = (need & ~v2 & CGROUP_BIT(i)) != 0;

        if (wanted && cg->dir[i].fd < 0) {
            r = add_v1(cg, i, strict, e);
        }
    }
    return r;
}

static unsigned account_need(const struct cgroup *cg, unsigned account)
{
    bool v2 = cg->dir[CGROUP_CTL_CORE].fd >= 0; /* has cpu.stat and a list of threads */
    unsigned need = 0;

    need |= (account & CGROUP_ACCOUNT_CPU) && !v2 ? CGROUP_BIT(CGROUP_CTL_CPUACCT) : 0;
    need |= (account & CGROUP_ACCOUNT_MEMORY) ? CGROUP_BIT(CGROUP_CTL_MEMORY) : 0;
    need |= (account & CGROUP_ACCOUNT_IO) ? CGROUP_BIT(CGROUP_CTL_IO) : 0;
    return need;
}

static int give_leaf(const struct cgroup *cg, const struct cgroup_want *want,
                     struct err *e)
{
    static const char *const files[] = {"", "cgroup.procs", "cgroup.threads",
                                        "cgroup.subtree_control"};
    int fd = cg->dir[CGROUP_CTL_CORE].fd;

    for (size_t i = 0; want->delegate && fd >= 0 && i < 4; i++) {
        if (fchownat(fd, files[i], want->owner_uid, want->owner_gid, AT_EMPTY_PATH) < 0 &&
            errno != ENOENT) {
            return err_sys(e, -errno, "cannot give control group '%s' away", cg->at);
        }
    }
    return 0;
}

static void remove_made(struct cgroup *cg)
{
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        if (cg->dir[i].made && cg->dir[i].path != NULL) {
            (void)rmdir(cg->dir[i].path);
        }
    }
}

static int build(struct cgroup *cg, const struct cgroup_want *want, struct err *e)
{
    struct err why = {0};
    int r = enter_core(cg, &why);

    if (r < 0 && want->optional && !want->strict && (is_withheld(r) || r == -ENOENT)) {
        strv_addf(&cg->warnings, "no limits and figures: %s", why.text);
        return 0;
    }
    if (r < 0) {
        return err_set(e, r, "%s", why.text);
    }
    r = cgroup_add_controllers(cg, account_need(cg, want->account), want->strict, e);
    if (r == 0 && want->limits != NULL) {
        r = cgroup_apply_limits(cg, want->limits, want->strict, e);
    }
    return r == 0 ? give_leaf(cg, want, e) : r;
}

int cgroup_create_in(const struct cgroup_layout *l, const char *path,
                     const struct cgroup_want *want, struct cgroup **ret, struct err *e)
{
    struct cgroup *cg = new_handle();
    int r;

    if (cg == NULL) {
        return err_sys(e, -ENOMEM, "cannot make control group '%s'", path);
    }
    cg->layout = *l;
    r = str_print(cg->at, sizeof cg->at, "%s", path);
    r = r < 0 ? err_sys(e, r, "cannot make control group '%s'", path)
              : build(cg, want, e);
    if (r == 0 && strv_failed(&cg->warnings)) {
        r = err_sys(e, -ENOMEM, "cannot make control group '%s'", path);
    }
    if (r < 0) {
        remove_made(cg);
        cgroup_close(cg);
        return r;
    }
    *ret = cg;
    return 0;
}

int cgroup_create(const char *path, const struct cgroup_want *want, struct cgroup **ret,
                  struct err *e)
{
    struct cgroup_layout l = {0};

    cgroup_layout_find(&l);
    return cgroup_create_in(&l, path, want, ret, e);
}

char *cgroup_place(const struct cgroup *cg)
{
    struct str s = {0};

    str_add(&s, "");
    for (size_t i = CGROUP_CTL_COUNT; i-- > 0;) {
        const struct cgroup_ctl_name *name = &cgroup_ctl_names[i];

        if (cg->dir[i].path != NULL) {
            str_addf(&s, "%s %s\n", name->v1 != NULL ? name->v1 : name->v2,
                     cg->dir[i].path);
        }
    }
    return s.data == NULL && !s.failed ? fault_strdup("") : str_take(&s);
}

/* One line, "memory /sys/fs/cgroup/memory/strata/x". */
static int take_line(struct cgroup *cg, const char *line, size_t len)
{
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        const char *name = cgroup_ctl_names[i].v1;
        size_t n;

        name = name != NULL ? name : cgroup_ctl_names[i].v2;
        n = strlen(name);
        if (len > n + 1 && strncmp(line, name, n) == 0 && line[n] == ' ' &&
            line[n + 1] == '/' && cg->dir[i].path == NULL) {
            cg->dir[i].path = strndup(line + n + 1, len - n - 1);
            if (cg->dir[i].path == NULL) {
                return -ENOMEM;
            }
            (void)open_dir(&cg->dir[i], i != CGROUP_CTL_CORE);
            return 0;
        }
    }
    return -EINVAL;
}

int cgroup_open(const char *place, struct cgroup **ret, struct err *e)
{
    struct cgroup *cg = new_handle();
    int r = cg == NULL ? -ENOMEM : 0;

    for (const char *line = place; r == 0 && *line != '\0';) {
        size_t len = strcspn(line, "\n");

        r = take_line(cg, line, len);
        line += len + (line[len] == '\n');
    }
    if (r < 0) {
        cgroup_close(cg);
        return err_sys(e, r, "cannot read the place of a control group");
    }
    *ret = cg;
    return 0;
}

int cgroup_join_self(const struct cgroup *cg, bool born)
{
    for (size_t i = 0; i < CGROUP_CTL_CORE; i++) {
        if (cg->dir[i].tasks >= 0 && write(cg->dir[i].tasks, "0", 1) < 0) {
            return -errno;
        }
    }
    return born || cg->dir[CGROUP_CTL_CORE].fd < 0
               ? 0
               : cgroup_write(&cg->dir[CGROUP_CTL_CORE], "cgroup.procs", "0");
}

int cgroup_add_pid(const struct cgroup *cg, pid_t pid, struct err *e)
{
    char text[TEXT_PID];

    (void)str_print(text, sizeof text, "%d", (int)pid);
    for (size_t i = 0; i < CGROUP_CTL_COUNT; i++) {
        int r;

        if (cg->dir[i].fd < 0) {
            continue;
        }
        r = cgroup_write(&cg->dir[i], "cgroup.procs", text);
        if (r < 0) {
            return err_sys(e, r, "cannot move process %d into control group '%s'",
                           (int)pid, cg->dir[i].path);
        }
    }
    return 0;
}
