/* process.c - the last steps before the program: limits, ids, capabilities, filter.
 *
 * Order matters and is this: what needs privileges first (limits, scores, labels),
 * then the working directory, the bounding set, groups and user, the remaining
 * sets, no_new_privs, Landlock, and the system-call filter last, so that it need
 * not allow any of it; without no_new_privs it must come before the capabilities
 * go, and allows what follows as other runtimes' filters do. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/confine/landlock.h"
#include "virt/container/confine/seccomp.h"
#include "virt/container/setup.h"

#define GROUPS_MOST 65536

static const struct {
    const char *name;
    int resource;
} limit_names[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

int process_limit(const char *name)
{
    for (size_t i = 0; i < sizeof limit_names / sizeof limit_names[0]; i++) {
        if (strcmp(limit_names[i].name, name) == 0) {
            return limit_names[i].resource;
        }
    }
    return -1;
}

bool container_has_limit(const char *type)
{
    return process_limit(type) >= 0;
}

bool container_limit_stays(const char *type, uint64_t hard, uint64_t *ret_most)
{
    int resource = process_limit(type);
    struct rlimit now;
    struct rlimit want;

    if (resource < 0 || getrlimit((__rlimit_resource_t)resource, &now) < 0 ||
        hard <= now.rlim_max) {
        return false;
    }
    want = (struct rlimit){now.rlim_cur, hard};
    if (setrlimit((__rlimit_resource_t)resource, &want) == 0) {
        (void)setrlimit((__rlimit_resource_t)resource, &now);
        return false;
    }
    *ret_most = now.rlim_max;
    return errno == EPERM;
}

int process_check_limits(struct setup *s, struct err *e)
{
    struct str named = {0};
    size_t i;
    json_t *item;

    json_array_foreach(config_get(s->process, "rlimits"), i, item)
    {
        const char *type = config_text(item, "type", "");
        int resource = process_limit(type);
        uint64_t most;

        if (resource < 0) {
            str_fini(&named);
            return err_set(e, -EINVAL, "'%s' is not a resource limit", type);
        }
        if (config_number(item, "soft", 0) > config_number(item, "hard", 0) &&
            config_number(item, "hard", 0) >= 0) {
            str_fini(&named);
            return err_set(e, -EINVAL, "the soft limit of %s is above the hard one",
                           type);
        }
        if (container_limit_stays(type, (uint64_t)config_number(item, "hard", 0),
                                  &most)) {
            str_addf(&named, "%s%s", named.len != 0 ? ", " : "", type);
        }
    }
    if (named.len != 0) {
        strv_addf(&s->warnings,
                  "the host does not let %s be raised: the hard limit of the host stays",
                  str_text(&named));
    }
    str_fini(&named);
    return 0;
}

static int set_limits(struct setup *s, struct err *e)
{
    size_t i;
    json_t *item;

    json_array_foreach(config_get(s->process, "rlimits"), i, item)
    {
        const char *type = config_text(item, "type", "");
        __rlimit_resource_t resource = (__rlimit_resource_t)process_limit(type);
        struct rlimit now;
        struct rlimit want = {(rlim_t)config_number(item, "soft", 0),
                              (rlim_t)config_number(item, "hard", 0)};

        if (setrlimit(resource, &want) == 0) {
            continue;
        }
        if (errno != EPERM || getrlimit(resource, &now) < 0) {
            return err_sys(e, -errno, "cannot set %s", type);
        }
        want.rlim_max = want.rlim_max < now.rlim_max ? want.rlim_max : now.rlim_max;
        want.rlim_cur = want.rlim_cur < want.rlim_max ? want.rlim_cur : want.rlim_max;
        if (setrlimit(resource, &want) < 0) {
            return err_sys(e, -errno, "cannot set %s", type);
        }
    }
    return 0;
}

/* Write below the container's own /proc, or the one at hand for another program: only
 * if it is one, and nothing is mounted or linked on the way. */
static int write_proc(struct setup *s, const char *path, const char *text)
{
    struct open_how how = {.flags = O_WRONLY | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
    SCOPED(scope_close) int own = -1;
    SCOPED(scope_close) int fd = -1;
    struct statfs fs;
    int proc = s->proc;

    if (proc < 0) {
        proc = own = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (proc < 0 || fstatfs(proc, &fs) < 0) {
        return -errno;
    }
    if (fs.f_type != PROC_SUPER_MAGIC) {
        return -ENODEV;
    }
    fd = (int)syscall(SYS_openat2, proc, path, &how, sizeof how);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int set_score(struct setup *s, struct err *e)
{
    const json_t *score = config_get(s->process, "oomScoreAdj");
    char text[24];
    int r;

    if (score == NULL) {
        return 0;
    }
    (void)str_print(text, sizeof text, "%lld", (long long)json_integer_value(score));
    r = write_proc(s, "self/oom_score_adj", text);
    if (r == -EACCES || r == -EPERM) {
        return 0; /* lowering needs CAP_SYS_RESOURCE: the parent said so */
    }
    return r < 0 ? err_sys(e, r, "cannot set oomScoreAdj") : 0;
}

static int set_labels(struct setup *s, struct err *e)
{
    const char *profile = config_text(s->process, "apparmorProfile", "");
    const char *label = config_text(s->process, "selinuxLabel", "");
    char text[512];
    int r = 0;

    if (profile[0] != '\0') {
        (void)str_print(text, sizeof text, "exec %s", profile);
        r = write_proc(s, "self/attr/apparmor/exec", text);
        if (r < 0) {
            return err_sys(e, r, "cannot use the AppArmor profile '%s'", profile);
        }
    }
    if (label[0] != '\0') {
        r = write_proc(s, "self/attr/exec", label);
    }
    return r < 0 ? err_sys(e, r, "cannot use the SELinux label '%s'", label) : 0;
}

/* Links of /proc are not followed: they lead to whatever a descriptor is open at. */
static int change_directory(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_MAGICLINKS};
    SCOPED(scope_close) int fd = -1;

    fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 || fchdir(fd) < 0 ? -errno : 0;
}

/* Enter the working directory and make sure that it is inside the root. */
static int enter_cwd(struct setup *s, struct err *e)
{
    const char *cwd = config_text(s->process, "cwd", "/");
    char now[PATH_MAX];
    int r = change_directory(cwd);

    if (r == -ENOENT && !s->is_exec) {
        r = file_make_dirs(cwd, 0755);
        r = r == 0 ? change_directory(cwd) : r;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot enter the working directory '%s'", cwd);
    }
    if (syscall(SYS_getcwd, now, sizeof now) < 0 || now[0] != '/') {
        return err_set(e, -EPERM, "the working directory '%s' is outside the container",
                       cwd);
    }
    return 0;
}

static int set_user(struct setup *s, struct err *e)
{
    const json_t *more = config_get(s->process, "user.additionalGids");
    uid_t uid = (uid_t)config_number(s->process, "user.uid", 0);
    gid_t gid = (gid_t)config_number(s->process, "user.gid", 0);
    const json_t *mask = config_get(s->process, "user.umask");
    SCOPED(scope_free) gid_t *list = calloc(json_array_size(more) + 1, sizeof *list);
    size_t i;
    json_t *item;

    if (list == NULL || json_array_size(more) > GROUPS_MOST) {
        return err_set(e, -ENOMEM, "too many groups");
    }
    json_array_foreach(more, i, item)
    {
        list[i] = (gid_t)json_integer_value(item);
    }
    /* Where setgroups is denied (a single mapped group) there is nothing to set. */
    if (setgroups(json_array_size(more), list) < 0 &&
        !(errno == EPERM && s->rootless && json_array_size(more) == 0)) {
        return err_sys(e, -errno, "cannot set the supplementary groups");
    }
    if (setresgid(gid, gid, gid) < 0) {
        return err_sys(e, -errno, "cannot become group %u", (unsigned)gid);
    }
    if (setresuid(uid, uid, uid) < 0) {
        return err_sys(e, -errno, "cannot become user %u", (unsigned)uid);
    }
    if (mask != NULL) {
        (void)umask((mode_t)json_integer_value(mask) & 0777);
    } else {
        (void)umask(022);
    }
    return 0;
}

static int take_stdio(struct setup *s, struct err *e)
{
    if (s->terminal) {
        if (ioctl(s->stdio[0], TIOCSCTTY, 0) < 0) {
            return err_sys(e, -errno, "cannot make the terminal the controlling one");
        }
    }
    for (int i = 0; i < 3; i++) {
        if (s->stdio[i] == i) {
            (void)fcntl(i, F_SETFD, 0);
        } else if (s->stdio[i] >= 0 && dup2(s->stdio[i], i) < 0) {
            return err_sys(e, -errno, "cannot set up standard input and output");
        }
    }
    return 0;
}

static int load_filter(struct setup *s, struct err *e)
{
    int notify = -1;
    int r;

    if (s->seccomp == NULL) {
        return 0;
    }
    r = seccomp_filter_load(s->seccomp, &notify);
    if (r < 0) {
        return err_sys(e, r, "cannot install the system-call filter");
    }
    if (notify >= 0) {
        r = sync_send(s->report >= 0 ? s->report : s->sync[1], SYNC_NOTIFY, notify);
        (void)close(notify);
    }
    return r;
}

/* With no_new_privs the filter comes last; without, it needs CAP_SYS_ADMIN and so
 * has come before the capabilities went. */
int process_lock_down(struct setup *s, struct err *e)
{
    bool last = config_flag(s->process, "noNewPrivileges");
    int r = 0;

    if (last && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return err_sys(e, -errno, "cannot set no_new_privs");
    }
    if (s->landlock != NULL) {
        r = landlock_apply(s->landlock, NULL, e);
    }
    return r == 0 && last ? load_filter(s, e) : r;
}

int process_prepare(struct setup *s, struct err *e)
{
    static int (*const steps[])(struct setup *, struct err *) = {
        set_limits, set_score, set_labels, process_schedule, take_stdio};
    struct err refused = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof steps / sizeof steps[0]; i++) {
        r = steps[i](s, e);
    }
    if (r < 0) {
        return r;
    }
    /* Entered as root, and if that may not, as the user. */
    r = enter_cwd(s, &refused);
    if (r < 0 && r != -EACCES) {
        return err_set(e, r, "%s", refused.text);
    }
    r = config_flag(s->process, "noNewPrivileges") ? 0 : load_filter(s, e);
    if (r < 0) {
        return r;
    }
    if (caps_before_setuid(&s->caps) < 0) {
        return err_sys(e, -errno, "cannot drop capabilities");
    }
    r = set_user(s, e);
    if (r < 0) {
        return r;
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the change of user may undo it */
    if (refused.code != 0) {
        r = enter_cwd(s, e);
        if (r < 0) {
            return r;
        }
    }
    r = caps_after_setuid(&s->caps);
    return r < 0 ? err_sys(e, r, "cannot set capabilities") : 0;
}
