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
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/landlock.h"
#include "virt/container/private.h"
#include "virt/container/seccomp.h"

#define GROUPS_MOST  65536
#define SCRIPTS_MOST 4 /* BINPRM recursion of the kernel, fs/exec.c */

/* sched_setattr(2); <linux/sched/types.h> cannot be included beside <sched.h>. */
struct sched_attr {
    uint32_t size;
    uint32_t sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime;
    uint64_t sched_deadline;
    uint64_t sched_period;
};

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

static int limit_named(const char *name)
{
    for (size_t i = 0; i < sizeof limit_names / sizeof limit_names[0]; i++) {
        if (strcmp(limit_names[i].name, name) == 0) {
            return limit_names[i].resource;
        }
    }
    return -1;
}

int process_check_limits(struct setup *s, struct err *e)
{
    struct str named = {0};
    size_t i;
    json_t *item;

    json_array_foreach(config_get(s->process, "rlimits"), i, item)
    {
        const char *type = config_text(item, "type", "");
        int resource = limit_named(type);
        struct rlimit now;

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
        if (getrlimit((__rlimit_resource_t)resource, &now) == 0 &&
            (rlim_t)config_number(item, "hard", 0) > now.rlim_max &&
            (s->host_caps & (1ULL << 24)) == 0) { /* CAP_SYS_RESOURCE */
            str_addf(&named, "%s%s", named.len != 0 ? ", " : "", type);
        }
    }
    if (named.len != 0) {
        strv_addf(&s->warnings,
                  "the host withholds CAP_SYS_RESOURCE: %s stay at the host's hard limit",
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
        __rlimit_resource_t resource = (__rlimit_resource_t)limit_named(type);
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

/* Write below the container's own /proc, or the one at hand for another program. */
static int write_proc(struct setup *s, const char *path, const char *text)
{
    char full[PATH_MAX];

    if (s->proc >= 0) {
        return file_write_existing(s->proc, path, text);
    }
    (void)str_print(full, sizeof full, "/proc/%s", path);
    return file_write_existing(AT_FDCWD, full, text);
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

static int word_index(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] != NULL && strcmp(list[i], word) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int set_scheduler(struct setup *s, struct err *e)
{
    static const char *const policies[] = {"SCHED_OTHER",   "SCHED_FIFO", "SCHED_RR",
                                           "SCHED_BATCH",   "SCHED_ISO",  "SCHED_IDLE",
                                           "SCHED_DEADLINE"};
    static const char *const io_classes[] = {NULL, "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
                                             "IOPRIO_CLASS_IDLE"};
    const char *policy = config_text(s->process, "scheduler.policy", NULL);
    const char *io = config_text(s->process, "ioPriority.class", NULL);

    if (policy != NULL) {
        int index = word_index(policy, policies, 7);
        struct sched_attr a = {
            .size = sizeof a,
            .sched_policy = (uint32_t)index,
            .sched_nice = (int32_t)config_number(s->process, "scheduler.nice", 0),
            .sched_priority =
                (uint32_t)config_number(s->process, "scheduler.priority", 0),
            .sched_runtime = (uint64_t)config_number(s->process, "scheduler.runtime", 0),
            .sched_deadline =
                (uint64_t)config_number(s->process, "scheduler.deadline", 0),
            .sched_period = (uint64_t)config_number(s->process, "scheduler.period", 0)};

        if (index < 0) {
            return err_set(e, -EINVAL, "'%s' is not a scheduler policy", policy);
        }
        if (syscall(SYS_sched_setattr, 0, &a, 0U) < 0) {
            return err_sys(e, -errno, "cannot use the scheduler policy %s", policy);
        }
    }
    if (io != NULL) {
        int class = word_index(io, io_classes, 4);
        int64_t level = config_number(s->process, "ioPriority.priority", 0);

        if (class < 0 || level > 7) {
            return err_set(e, -EINVAL, "'%s' %lld is not an I/O priority", io,
                           (long long)level);
        }
        if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                    IOPRIO_PRIO_VALUE(class, (int)level)) < 0) {
            return err_sys(e, -errno, "cannot set the I/O priority");
        }
    }
    return 0;
}

/* "0-3,5" */
static int parse_cpus(const char *text, cpu_set_t *set)
{
    CPU_ZERO(set);
    while (*text != '\0') {
        char *end;
        long first = strtol(text, &end, 10);
        long last = first;

        if (end == text || first < 0) {
            return -EINVAL;
        }
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text) {
                return -EINVAL;
            }
        }
        for (long i = first; i <= last && i < CPU_SETSIZE; i++) {
            CPU_SET((size_t)i, set);
        }
        text = *end == ',' ? end + 1 : end;
        if (*end != ',' && *end != '\0') {
            return -EINVAL;
        }
    }
    return 0;
}

static int set_affinity(struct setup *s, struct err *e)
{
    const char *final = config_text(s->process, "execCPUAffinity.final", NULL);
    cpu_set_t set;

    if (!s->is_exec || final == NULL) {
        return 0;
    }
    if (parse_cpus(final, &set) < 0) {
        return err_set(e, -EINVAL, "'%s' is not a list of processors", final);
    }
    return sched_setaffinity(0, sizeof set, &set) < 0
               ? err_sys(e, -errno, "cannot run on processors '%s'", final)
               : 0;
}

static int set_personality(struct setup *s, struct err *e)
{
    const char *domain = config_text(s->config, "linux.personality.domain", NULL);

    if (domain == NULL) {
        return 0;
    }
    if (strcmp(domain, "LINUX") != 0 && strcmp(domain, "LINUX32") != 0) {
        return err_set(e, -EINVAL, "'%s' is not a personality", domain);
    }
    return personality(strcmp(domain, "LINUX32") == 0 ? PER_LINUX32 : PER_LINUX) < 0
               ? err_sys(e, -errno, "cannot set the personality")
               : 0;
}

/* Enter the working directory and make sure that it is inside the root. */
static int enter_cwd(struct setup *s, struct err *e)
{
    const char *cwd = config_text(s->process, "cwd", "/");
    char now[PATH_MAX];

    if (chdir(cwd) < 0) {
        if (errno != ENOENT || s->is_exec || file_make_dirs(cwd, 0755) < 0 ||
            chdir(cwd) < 0) {
            return err_sys(e, -errno, "cannot enter the working directory '%s'", cwd);
        }
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
        r = sync_send(s->sync[1], SYNC_NOTIFY, notify);
        (void)close(notify);
    }
    return r;
}

/* With no_new_privs the filter comes last; without, it needs CAP_SYS_ADMIN and so
 * has come before the capabilities went. */
static int lock_down(struct setup *s, struct err *e)
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
        set_limits,   set_score,       set_labels, set_scheduler,
        set_affinity, set_personality, take_stdio};
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
    if (refused.code != 0) {
        r = enter_cwd(s, e);
        if (r < 0) {
            return r;
        }
    }
    r = caps_after_setuid(&s->caps);
    return r < 0 ? err_sys(e, r, "cannot set capabilities") : 0;
}

/* ---- what may be executed ---- */

/* The file is not the runtime itself, nor a script that it would interpret
 * (CVE-2019-5736): "#!" chains are followed as the kernel does. */
static int check_file(const struct setup *s, const char *path, int depth)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char head[256];
    struct stat st;
    ssize_t n;

    if (fd < 0) {
        return errno == EACCES ? 0 : -errno; /* may be executable though not readable */
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if ((uint64_t)st.st_dev == s->own_dev && (uint64_t)st.st_ino == s->own_ino) {
        return -EXDEV;
    }
    n = S_ISREG(st.st_mode) ? read(fd, head, sizeof head - 1) : 0;
    if (n > 2 && head[0] == '#' && head[1] == '!' && depth < SCRIPTS_MOST) {
        char *from = head + 2;

        head[n] = '\0';
        from += strspn(from, " \t");
        from[strcspn(from, " \t\n")] = '\0';
        return from[0] != '\0' ? check_file(s, from, depth + 1) : 0;
    }
    return 0;
}

static const char *path_variable(char *const *env)
{
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], "PATH=", 5) == 0) {
            return env[i] + 5;
        }
    }
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* The file that `name` means; as execvpe looks for it. */
static int find_program(const char *name, char *const *env, char out[PATH_MAX])
{
    const char *at = path_variable(env);
    int best = -ENOENT;

    if (strchr(name, '/') != NULL) {
        return str_print(out, PATH_MAX, "%s", name);
    }
    for (;;) {
        size_t len = strcspn(at, ":");
        struct stat st;

        if (str_print(out, PATH_MAX, "%.*s/%s", (int)len, at, name) == 0 &&
            stat(out, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(out, X_OK) == 0) {
                return 0;
            }
            best = -EACCES;
        }
        if (at[len] == '\0') {
            return best;
        }
        at += len + 1;
    }
}

static char **texts(const json_t *list)
{
    char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = (char *)(uintptr_t)json_string_value(item);
        }
    }
    return out;
}

int process_execute(struct setup *s, struct err *e)
{
    char **argv = texts(config_get(s->process, "args"));
    char **env = texts(config_get(s->process, "env"));
    char path[PATH_MAX];
    int r;

    if (argv == NULL || env == NULL || argv[0] == NULL) {
        return err_set(e, -EINVAL, "no program to run was named");
    }
    r = find_program(argv[0], env, path);
    if (r == 0) {
        r = check_file(s, path, 0);
    }
    if (r == -EXDEV) {
        return err_set(e, -EPERM, "cannot run '%s': it is the container runtime itself",
                       argv[0]);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot run '%s'", argv[0]);
    }
    (void)syscall(SYS_close_range, 3U + (unsigned)s->preserve_fds, ~0U,
                  CLOSE_RANGE_CLOEXEC);
    for (int i = 0; i < s->preserve_fds; i++) {
        (void)fcntl(3 + i, F_SETFD, 0);
    }
    if (s->die_with_parent) { /* the change of user has undone it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
    r = lock_down(s, e);
    if (r < 0) {
        return r;
    }
    (void)execve(path, argv, env);
    return err_sys(e, -errno, "cannot run '%s'", argv[0]);
}
