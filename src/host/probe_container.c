/* host/probe_container.c - namespaces, mounts, confinement and control groups, tried. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/cgroup_private.h"
#include "host/file.h"
#include "host/probe_private.h"

#define NOBODY      65534
#define FILTER_CODE 77
#define KILL_MS     1500

static int write_map(const char *file, unsigned inside, unsigned outside)
{
    char text[48];

    (void)str_print(text, sizeof text, "%u %u 1", inside, outside);
    return file_write_existing(AT_FDCWD, file, text);
}

static int enter_user(void)
{
    unsigned uid = geteuid();
    unsigned gid = getegid();
    int r;

    if (unshare(CLONE_NEWUSER) < 0) {
        return -errno;
    }
    r = file_write_existing(AT_FDCWD, "/proc/self/setgroups", "deny");
    r = r == 0 || r == -ENOENT ? write_map("/proc/self/uid_map", 0, uid) : r;
    return r == 0 ? write_map("/proc/self/gid_map", 0, gid) : r;
}

int probe_enter(bool user, bool net)
{
    int r = user || geteuid() != 0 ? enter_user() : 0;

    if (r < 0) {
        return r;
    }
    if (unshare(CLONE_NEWNS | (net ? CLONE_NEWNET : 0)) < 0 ||
        mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0) {
        return -errno;
    }
    return 0;
}

void probe_namespace(struct probe_result *r, long flag)
{
    bool user = geteuid() != 0 && flag != CLONE_NEWUSER;

    if (user && enter_user() < 0) {
        probe_no(r, "user namespace for it");
    } else if (unshare((int)flag) < 0) {
        probe_no(r, "unshare");
    } else {
        probe_say(r, PROBE_YES, "made one%s", user ? " inside a user namespace" : "");
    }
}

void probe_userns(struct probe_result *r, long arg)
{
    int result;

    (void)arg;
    if (geteuid() == 0 &&
        (setgid(NOBODY) < 0 || setuid(NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)) {
        probe_no(r, "cannot become an ordinary user");
        return;
    }
    result = enter_user();
    if (result < 0) {
        errno = -result;
        probe_no(r, "as an ordinary user");
    } else {
        probe_say(r, PROBE_YES, "made one as user %d", NOBODY);
    }
}

/* Whether /etc/subuid gives this user a range, by name or by number. */
static bool has_range(const char *file, unsigned uid, const char *name)
{
    SCOPED(scope_file) FILE *f = fopen(file, "re");
    char line[256];
    char number[16];

    (void)str_print(number, sizeof number, "%u", uid);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, ":")] = '\0';
        if (strcmp(line, number) == 0 || (name != NULL && strcmp(line, name) == 0)) {
            return true;
        }
    }
    return false;
}

void probe_subuid(struct probe_result *r, long arg)
{
    bool tools = access("/usr/bin/newuidmap", X_OK) == 0 &&
                 access("/usr/bin/newgidmap", X_OK) == 0;
    const char *name = getenv("USER");
    bool range = has_range("/etc/subuid", geteuid(), name) &&
                 has_range("/etc/subgid", geteuid(), name);

    (void)arg;
    if (geteuid() == 0) {
        probe_say(r, tools ? PROBE_YES : PROBE_PARTIAL, "root maps any; newuidmap is %s",
                  tools ? "there for others" : "missing for others");
    } else if (tools && range) {
        probe_say(r, PROBE_YES, "newuidmap, and a range in /etc/subuid and /etc/subgid");
    } else {
        probe_say(r, PROBE_PARTIAL, "one id only: %s",
                  tools ? "no range in /etc/subuid" : "newuidmap is missing");
    }
}

void probe_overlay(struct probe_result *r, long user)
{
    char options[128] = "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w";
    int result = probe_enter(user != 0, false);

    if (result < 0) {
        errno = -result;
        probe_no(r, "mount namespace");
        return;
    }
    if (user != 0 || geteuid() != 0) {
        (void)strcat(options, ",userxattr");
    }
    if (mkdir("/tmp/l", 0755) < 0 || mkdir("/tmp/u", 0755) < 0 ||
        mkdir("/tmp/w", 0755) < 0 || mkdir("/tmp/m", 0755) < 0 ||
        mount("overlay", "/tmp/m", "overlay", 0, options) < 0 ||
        mkdir("/tmp/m/new", 0755) < 0 || access("/tmp/u/new", F_OK) < 0) {
        probe_no(r, "overlay");
    } else {
        probe_say(r, PROBE_YES, "mounted one and wrote to it");
    }
}

static int make_tmpfs(void)
{
    SCOPED(scope_close) int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) {
        return -1;
    }
    return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
}

void probe_mount_api(struct probe_result *r, long arg)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    SCOPED(scope_close) int fd = -1;
    int result = probe_enter(false, false);

    (void)arg;
    if (result < 0) {
        errno = -result;
        probe_no(r, "mount namespace");
        return;
    }
    fd = make_tmpfs();
    if (fd < 0 ||
        syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
        probe_no(r, "fsopen, fsmount, mount_setattr");
    } else {
        probe_say(r, PROBE_YES, "fsopen, fsmount, mount_setattr");
    }
}

/* A user namespace with one mapping, held by a child that waits to be killed. */
static int open_userns(void)
{
    char path[64];
    int ready[2];
    char byte;
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) < 0) {
        return -1;
    }
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWUSER) < 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        (void)pause();
        _exit(0);
    }
    (void)close(ready[1]);
    if (pid < 0 || read(ready[0], &byte, 1) != 1) {
        return -1;
    }
    (void)str_print(path, sizeof path, "/proc/%d/uid_map", (int)pid);
    (void)write_map(path, 0, 1000);
    (void)str_print(path, sizeof path, "/proc/%d/gid_map", (int)pid);
    (void)write_map(path, 0, 1000);
    (void)str_print(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

void probe_idmap(struct probe_result *r, long arg)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};
    SCOPED(scope_close) int user = open_userns();
    SCOPED(scope_close) int fd = -1;
    int result = probe_enter(false, false);
    struct stat st;

    (void)arg;
    if (user < 0 || result < 0) {
        errno = result < 0 ? -result : errno;
        probe_no(r, "namespaces");
        return;
    }
    fd = make_tmpfs();
    attr.userns_fd = (uint64_t)user;
    if (fd < 0 ||
        syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
        probe_no(r, "mount_setattr with MOUNT_ATTR_IDMAP on tmpfs");
    } else if (fstat(fd, &st) < 0 || st.st_uid != 1000) {
        probe_say(r, PROBE_NO, "the owner is not shifted");
    } else {
        probe_say(r, PROBE_YES, "the owner 0 on tmpfs appears as 1000");
    }
}

static int load_filter(unsigned flags, unsigned action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = 4, .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

void probe_seccomp(struct probe_result *r, long arg)
{
    (void)arg;
    if (load_filter(0, SECCOMP_RET_ERRNO | FILTER_CODE) < 0) {
        probe_no(r, "seccomp");
    } else if (syscall(SYS_getppid) >= 0 || errno != FILTER_CODE) {
        probe_say(r, PROBE_NO, "a filter is accepted but not in force");
    } else {
        probe_say(r, PROBE_YES, "a filter is in force");
    }
}

void probe_notify(struct probe_result *r, long arg)
{
    (void)arg;
    if (load_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_RET_USER_NOTIF) < 0) {
        probe_no(r, "seccomp with a listener");
    } else {
        probe_say(r, PROBE_YES, "a listener was given");
    }
}

void probe_landlock(struct probe_result *r, long arg)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs =
                                             LANDLOCK_ACCESS_FS_READ_DIR};
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    SCOPED(scope_close) int set = -1;
    SCOPED(scope_close) int fd = -1;

    (void)arg;
    set = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (abi < 0 || set < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, set, 0) < 0) {
        probe_no(r, "landlock");
        return;
    }
    fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 || errno != EACCES) {
        probe_say(r, PROBE_NO, "rules are accepted but not in force");
    } else {
        probe_say(r, abi >= 4 ? PROBE_YES : PROBE_PARTIAL, "ABI %ld%s", abi,
                  abi >= 6   ? ": files, ports, scopes"
                  : abi >= 4 ? ": files, ports"
                             : ": files only");
    }
}

void probe_cgroup_layout(struct probe_result *r, long arg)
{
    struct cgroup_layout l = {0};
    struct str v1 = {0};
    struct str v2 = {0};
    unsigned bits;

    (void)arg;
    cgroup_layout_find(&l);
    bits = cgroup_layout_v2(&l);
    for (unsigned i = 0; i < CGROUP_CTL_CORE; i++) {
        char mount_dir[PATH_MAX];

        if ((bits & CGROUP_BIT(i)) != 0) {
            str_addf(&v2, " %s", cgroup_ctl_names[i].v2);
        } else if (cgroup_layout_v1(&l, i, mount_dir, sizeof mount_dir) == 0) {
            str_addf(&v1, " %s", cgroup_ctl_names[i].v1);
        }
    }
    if (l.unified[0] == '\0') {
        probe_say(r, v1.len > 0 ? PROBE_PARTIAL : PROBE_NO, "v1:%s",
                  v1.len > 0 ? str_text(&v1) : " none");
    } else if (v1.len == 0) {
        probe_say(r, PROBE_YES, "v2:%s", v2.len > 0 ? str_text(&v2) : " no controllers");
    } else {
        probe_say(r, PROBE_PARTIAL, "hybrid; v2:%s; v1:%s",
                  v2.len > 0 ? str_text(&v2) : " core", str_text(&v1));
    }
    str_fini(&v1);
    str_fini(&v2);
}

/* A group for one probe; `clean_up` in probe.c knows its name. */
static struct cgroup *make_group(struct probe_result *r, const struct cgroup_limits *l)
{
    struct cgroup_want want = {.limits = l, .strict = true};
    struct cgroup *cg = NULL;
    struct err e = {0};
    char path[CGROUP_PATH_BYTES];
    char id[32];

    (void)str_print(id, sizeof id, "probe-%d", (int)getpid());
    if (cgroup_path(NULL, id, path, &e) < 0 || cgroup_create(path, &want, &cg, &e) < 0) {
        probe_say(r, PROBE_NO, "%.*s", PROBE_DETAIL_BYTES - 1, e.text);
        return NULL;
    }
    return cg;
}

void probe_cgroup_ctl(struct probe_result *r, long ctl)
{
    struct cgroup_limits l = {0};
    char size[] = "2MB";
    char zero[] = "0";
    struct cgroup_pair page = {.name = size, .text = zero};
    char cpus[] = "0";
    struct cgroup *cg;

    l.cpu_shares.set = ctl == CGROUP_CTL_CPU;
    l.memory_bytes.set = ctl == CGROUP_CTL_MEMORY;
    l.pids.set = ctl == CGROUP_CTL_PIDS;
    l.cpu_shares.value = 512;
    l.memory_bytes.value = 64 << 20;
    l.pids.value = 16;
    l.cpus = ctl == CGROUP_CTL_CPUSET ? cpus : NULL;
    l.hugepages = (struct cgroup_pairs){&page, ctl == CGROUP_CTL_HUGETLB};
    cg = make_group(r, &l);
    if (cg == NULL) {
        return;
    }
    if (ctl == CGROUP_CTL_IO) { /* a limit would need a disk's number */
        struct err e = {0};

        if (cgroup_add_controllers(cg, CGROUP_BIT(ctl), true, &e) < 0) {
            probe_say(r, PROBE_NO, "%.*s", PROBE_DETAIL_BYTES - 1, e.text);
            (void)cgroup_destroy(cg, KILL_MS, NULL);
            return;
        }
    }
    probe_say(r, PROBE_YES, "on cgroup %s", cg->dir[ctl].fd >= 0 ? "v1" : "v2");
    (void)cgroup_destroy(cg, KILL_MS, NULL);
}

static pid_t start_in(const struct cgroup *cg)
{
    struct clone_args args = {.exit_signal = SIGCHLD, .flags = CLONE_INTO_CGROUP};
    bool born = cgroup_birth_fd(cg) >= 0;
    pid_t pid;

    args.cgroup = (uint64_t)cgroup_birth_fd(cg);
    pid = born ? (pid_t)syscall(SYS_clone3, &args, sizeof args) : fork();
    if (pid == 0) {
        if (cgroup_join_self(cg, born) == 0) {
            (void)pause();
        }
        _exit(1);
    }
    return pid;
}

void probe_cgroup_birth(struct probe_result *r, long arg)
{
    struct cgroup *cg = make_group(r, NULL);
    pid_t *pids = NULL;
    size_t n = 0;

    (void)arg;
    if (cg == NULL) {
        return;
    }
    if (cgroup_birth_fd(cg) < 0 || start_in(cg) < 0 ||
        cgroup_pids(cg, &pids, &n, NULL) < 0 || n != 1) {
        probe_no(r, "CLONE_INTO_CGROUP");
    } else {
        probe_say(r, PROBE_YES, "CLONE_INTO_CGROUP");
    }
    free(pids);
    (void)cgroup_destroy(cg, KILL_MS, NULL);
}

void probe_cgroup_freeze(struct probe_result *r, long arg)
{
    struct cgroup *cg = make_group(r, NULL);
    struct err e = {0};

    (void)arg;
    if (cg == NULL) {
        return;
    }
    if (start_in(cg) < 0 || cgroup_freeze(cg, &e) < 0) {
        probe_say(r, PROBE_NO, "%.*s", PROBE_DETAIL_BYTES - 1, e.text);
    } else {
        probe_say(r, PROBE_YES, "%s",
                  cgroup_birth_fd(cg) >= 0 ? "cgroup.freeze" : "the v1 freezer");
    }
    (void)cgroup_destroy(cg, KILL_MS, NULL);
}

void probe_cgroup_kill(struct probe_result *r, long arg)
{
    struct cgroup *cg = make_group(r, NULL);
    int result;

    (void)arg;
    if (cg == NULL) {
        return;
    }
    result = start_in(cg) < 0
                 ? -errno
                 : cgroup_write(&cg->dir[CGROUP_CTL_CORE], "cgroup.kill", "1");
    if (result == 0) {
        probe_say(r, PROBE_YES, "cgroup.kill");
    } else {
        probe_say(r, PROBE_PARTIAL, "by signals while frozen: %s", strerror(-result));
    }
    (void)cgroup_destroy(cg, KILL_MS, NULL);
}

void probe_device_bpf(struct probe_result *r, long arg)
{
    const struct device_rule rule = {true, 'a', DEVICE_ANY, DEVICE_ANY,
                                     DEVICE_ACCESS_ALL};
    struct cgroup *cg = make_group(r, NULL);
    struct err e = {0};
    char mount_dir[PATH_MAX];

    (void)arg;
    if (cg == NULL) {
        return;
    }
    if (device_bpf_attach(cgroup_birth_fd(cg), &rule, 1, &e) == 0) {
        probe_say(r, PROBE_YES, "BPF on cgroup v2");
    } else if (cgroup_layout_v1(&cg->layout, CGROUP_CTL_DEVICES, mount_dir,
                                sizeof mount_dir) == 0) {
        probe_say(r, PROBE_PARTIAL, "the v1 controller 'devices'");
    } else {
        probe_say(r, PROBE_NO, "%.*s", PROBE_DETAIL_BYTES - 1, e.text);
    }
    (void)cgroup_destroy(cg, KILL_MS, NULL);
}
