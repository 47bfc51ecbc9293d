/* host/cgroup_apply.c - carrying limits out, all or none.
 *
 * Limits become a plan of writes.  Before each write the present text of the
 * file is kept, so that a refused write can take back the ones before it.  Two
 * limits that bound each other (memory and memory with swap, period and quota)
 * stand side by side in the plan as a pair: if the first is refused with EINVAL,
 * the second goes first. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup_private.h"

#define OLD_BYTES   512
#define DEVICE_LINE 64

void cgroup_plan_add(struct cgroup_plan *p, enum cgroup_ctl ctl, unsigned flags,
                     const char *file, const char *fmt, ...)
{
    struct cgroup_step *grown = fault_realloc(p->items, (p->n + 1) * sizeof *grown);
    struct cgroup_step *s;
    va_list args;

    if (grown == NULL) {
        p->failed = true;
        return;
    }
    p->items = grown;
    s = &grown[p->n++];
    *s = (struct cgroup_step){
        .ctl = ctl,
        .v2 = (flags & CGROUP_STEP_V2) != 0,
        .pair = (flags & CGROUP_STEP_PAIR) != 0,
        .soft = (flags & CGROUP_STEP_SOFT) != 0,
        .file = fault_strdup(file),
    };
    va_start(args, fmt);
    if (vasprintf(&s->text, fmt, args) < 0) {
        s->text = NULL;
    }
    va_end(args);
    p->failed = p->failed || s->file == NULL || s->text == NULL;
}

void cgroup_plan_fini(struct cgroup_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->items[i].file);
        free(p->items[i].text);
        free(p->items[i].old);
    }
    free(p->items);
}

static const struct cgroup_dir *dir_of(const struct cgroup *cg,
                                       const struct cgroup_step *s)
{
    return &cg->dir[s->v2 ? CGROUP_CTL_CORE : s->ctl];
}

static int write_step(const struct cgroup *cg, struct cgroup_step *s)
{
    const struct cgroup_dir *d = dir_of(cg, s);
    char old[OLD_BYTES];
    int r;

    if (cgroup_read(d, s->file, old, sizeof old) == 0 && strchr(old, '\n') == NULL) {
        free(s->old);
        s->old = fault_strdup(old);
    }
    r = cgroup_write(d, s->file, s->text);
    s->done = r == 0;
    return r;
}

static void take_back(const struct cgroup *cg, struct cgroup_plan *p)
{
    for (size_t i = p->n; i-- > 0;) {
        const struct cgroup_step *s = &p->items[i];

        if (s->done && s->old != NULL) {
            (void)cgroup_write(dir_of(cg, s), s->file, s->old);
        }
    }
}

/* What a file refuses because the kernel was built or booted without it. */
static bool is_absent(int r)
{
    return r == -ENOENT || r == -EOPNOTSUPP || r == -ENOTSUP || r == -EACCES;
}

static int run_step(struct cgroup *cg, struct cgroup_plan *p, size_t i, bool strict,
                    struct err *e)
{
    struct cgroup_step *s = &p->items[i];
    int r;

    if (s->done) {
        return 0;
    }
    r = write_step(cg, s);
    if (r == -EINVAL && s->pair && i + 1 < p->n &&
        write_step(cg, &p->items[i + 1]) == 0) {
        r = write_step(cg, s);
    }
    if (is_absent(r) && s->soft && !strict) {
        strv_addf(&cg->warnings, "limit '%s' is not known to this kernel and left out",
                  s->file);
        return 0;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot set '%s' to '%s'", s->file, s->text);
    }
    return 0;
}

static int run_plan(struct cgroup *cg, struct cgroup_plan *p, bool strict, struct err *e)
{
    int r = p->failed ? err_sys(e, -ENOMEM, "cannot set limits") : 0;

    for (size_t i = 0; r == 0 && i < p->n; i++) {
        r = run_step(cg, p, i, strict, e);
    }
    if (r < 0) {
        take_back(cg, p);
    }
    return r;
}

static int plan_unified(struct cgroup *cg, struct cgroup_plan *p,
                        const struct cgroup_limits *l, bool strict, struct err *e)
{
    for (size_t i = 0; i < l->unified.n; i++) {
        const struct cgroup_pair *pair = &l->unified.items[i];
        char seen[OLD_BYTES];

        if (cgroup_read(&cg->dir[CGROUP_CTL_CORE], pair->name, seen, sizeof seen) ==
            -ENOENT) {
            if (strict) {
                return err_set(e, -EOPNOTSUPP,
                               "cannot set '%s': the host's cgroup v2 does "
                               "not have it",
                               pair->name);
            }
            strv_addf(&cg->warnings,
                      "cgroup v2 of this host does not have '%s': it is "
                      "left out",
                      pair->name);
            continue;
        }
        cgroup_plan_add(p, CGROUP_CTL_CORE, CGROUP_STEP_V2, pair->name, "%s", pair->text);
    }
    return 0;
}

static int plan_all(struct cgroup *cg, struct cgroup_plan *p,
                    const struct cgroup_limits *l, unsigned need, bool strict,
                    struct err *e)
{
    unsigned v2 = 0;
    int r = 0;

    for (unsigned i = 0; need != 0 && i < CGROUP_CTL_CORE; i++) {
        v2 |= cgroup_on_v2(cg, i) ? CGROUP_BIT(i) : 0;
    }
    for (unsigned i = 0; r == 0 && i < CGROUP_CTL_CORE; i++) {
        unsigned bit = need & CGROUP_BIT(i);

        if (bit != 0 && (v2 & bit) != 0) {
            r = cgroup_plan_v2(p, cg, l, i, &cg->warnings, e);
        } else if (bit != 0 && cg->dir[i].fd >= 0) {
            r = cgroup_plan_v1(p, cg, l, i, e);
        }
    }
    return r == 0 ? plan_unified(cg, p, l, strict, e) : r;
}

static int write_device(const struct cgroup_dir *d, const struct device_rule *rule)
{
    char line[DEVICE_LINE];
    char major[24] = "*";
    char minor[24] = "*";

    if (rule->access == 0) {
        return 0;
    }
    if (rule->major != DEVICE_ANY) {
        (void)str_print(major, sizeof major, "%lld", (long long)rule->major);
    }
    if (rule->minor != DEVICE_ANY) {
        (void)str_print(minor, sizeof minor, "%lld", (long long)rule->minor);
    }
    (void)str_print(line, sizeof line, "%c %s:%s %s%s%s", rule->type, major, minor,
                    (rule->access & DEVICE_ACCESS_READ) != 0 ? "r" : "",
                    (rule->access & DEVICE_ACCESS_WRITE) != 0 ? "w" : "",
                    (rule->access & DEVICE_ACCESS_MKNOD) != 0 ? "m" : "");
    return cgroup_write(d, rule->allow ? "devices.allow" : "devices.deny", line);
}

/* The v1 list starts closed as the v2 program does. */
static int write_devices(const struct cgroup_dir *d, const struct cgroup_limits *l,
                         struct err *e)
{
    int r = cgroup_write(d, "devices.deny", "a");

    for (size_t i = 0; r == 0 && i < l->n_devices; i++) {
        r = write_device(d, &l->devices[i]);
    }
    return r < 0 ? err_sys(e, r, "cannot set the device rules of '%s'", d->path) : 0;
}

static int apply_devices(struct cgroup *cg, const struct cgroup_limits *l, bool strict,
                         struct err *e)
{
    struct cgroup_dir *v1 = &cg->dir[CGROUP_CTL_DEVICES];
    struct err why = {0};
    int r = -EOPNOTSUPP;

    if (!l->has_devices) {
        return 0;
    }
    if (cg->dir[CGROUP_CTL_CORE].fd >= 0) {
        r = device_bpf_attach(cg->dir[CGROUP_CTL_CORE].fd, l->devices, l->n_devices,
                              &why);
    }
    if (r == 0) {
        return 0;
    }
    if (v1->fd < 0) {
        r = cgroup_add_controllers(cg, CGROUP_BIT(CGROUP_CTL_DEVICES), strict, e);
    }
    if (v1->fd >= 0) {
        return write_devices(v1, l, e);
    }
    if (why.code != 0 && !strict) {
        strv_add(&cg->warnings, why.text);
    }
    return strict ? err_set(e, -EOPNOTSUPP, "cannot restrict devices: %s", why.text) : 0;
}

int cgroup_apply_limits(struct cgroup *cg, const struct cgroup_limits *l, bool strict,
                        struct err *e)
{
    SCOPED(cgroup_plan_fini) struct cgroup_plan p = {0};
    unsigned need = cgroup_limits_need(l);
    int r = cgroup_add_controllers(cg, need, strict, e);

    if (r == 0) {
        r = plan_all(cg, &p, l, need, strict, e);
    }
    if (r == 0) {
        r = run_plan(cg, &p, strict, e);
    }
    return r == 0 ? apply_devices(cg, l, strict, e) : r;
}

/* Directories that this call added take the guest's processes in. */
static int move_in(struct cgroup *cg, unsigned had, struct err *e)
{
    SCOPED(scope_free) pid_t *pids = NULL;
    size_t n = 0;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < CGROUP_CTL_CORE; i++) {
        if (cg->dir[i].fd < 0 || (had & CGROUP_BIT(i)) != 0) {
            continue;
        }
        r = pids == NULL ? cgroup_pids(cg, &pids, &n, e) : 0;
        for (size_t k = 0; r == 0 && k < n; k++) {
            char text[24];

            (void)str_print(text, sizeof text, "%d", (int)pids[k]);
            r = cgroup_write(&cg->dir[i], "cgroup.procs", text);
            r = r == -ESRCH ? 0 : r;
        }
    }
    return r < 0 ? err_sys(e, r, "cannot move the guest's processes") : 0;
}

/* A handle of `cgroup_open` knows directories only: find mount and path again. */
static void find_place(struct cgroup *cg)
{
    const char *path = cg->dir[CGROUP_CTL_CORE].path;

    if (cg->layout.base == NULL) {
        cgroup_layout_find(&cg->layout);
    }
    if (cg->at[0] == '\0' && path != NULL && str_starts(path, cg->layout.unified)) {
        (void)str_print(cg->at, sizeof cg->at, "%s", path + strlen(cg->layout.unified));
    } else if (cg->at[0] == '\0' && cg->dir[CGROUP_CTL_FREEZER].path != NULL) {
        char mount[PATH_MAX];

        path = cg->dir[CGROUP_CTL_FREEZER].path;
        if (cgroup_layout_v1(&cg->layout, CGROUP_CTL_FREEZER, mount, sizeof mount) == 0 &&
            str_starts(path, mount)) {
            (void)str_print(cg->at, sizeof cg->at, "%s", path + strlen(mount));
        }
    }
}

int cgroup_apply(struct cgroup *cg, const struct cgroup_limits *l, bool strict,
                 struct err *e)
{
    unsigned had = 0;
    int r;

    find_place(cg);
    if (cg->at[0] == '\0') {
        return strict ? err_set(e, -EOPNOTSUPP,
                                "cannot limit a guest that has no control "
                                "group")
                      : 0;
    }
    for (unsigned i = 0; i < CGROUP_CTL_CORE; i++) {
        had |= cg->dir[i].fd >= 0 ? CGROUP_BIT(i) : 0;
    }
    r = cgroup_apply_limits(cg, l, strict, e);
    if (r == 0) {
        r = move_in(cg, had, e);
    }
    return r;
}
