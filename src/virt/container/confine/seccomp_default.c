/* seccomp_default.c - the profile of a container for which none was given.
 *
 * An allow-list: what is not named fails with ENOSYS, so that programs fall back
 * to older calls as on a kernel that lacks the new one.  A call that only a
 * capability makes useful is allowed with that capability and fails with EPERM
 * without it, as the kernel itself would answer.  Left out are calls that load
 * code into the kernel or replace it, swap, raw hardware, kernel key rings,
 * other processes' page placement, userfaultfd, io_uring (a large and young
 * surface), and calls that no longer exist.
 *
 * Namespaces: clone3 takes its flags from memory, which a filter cannot read, so
 * it answers ENOSYS without CAP_SYS_ADMIN and libraries use clone, whose flags
 * are tested.
 *
 * Source of names: the system call tables of Linux 6.18 (x86-64, i386, arm64). */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/container/confine/seccomp_plan.h"

#define RULES_VERSION  1 /* raise when `add_tested` or `add_groups` change */
#define NO_CAP         (-1)
#define NAME_MAX_BYTES 48
#define NEW_NAMESPACES                                                                   \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |       \
     CLONE_NEWPID | CLONE_NEWNET)
#define AF_VSOCK_NUMBER 40 /* <linux/socket.h> */

struct group {
    int cap;
    const char *calls; /* separated by blanks */
};

/* clang-format off */
static const struct group groups[] = {
    /* files: open, read, write, position */
    {NO_CAP, "open openat openat2 creat close close_range read readv pread64 preadv preadv2 "
             "write writev pwrite64 pwritev pwritev2 lseek _llseek sendfile sendfile64 splice "
             "tee copy_file_range readahead fadvise64 fadvise64_64 ftruncate ftruncate64 "
             "truncate truncate64 fallocate sync syncfs fsync fdatasync sync_file_range "
             "sync_file_range2 cachestat"},
    /* files: names and directories */
    {NO_CAP, "access faccessat faccessat2 chdir fchdir getcwd getdents getdents64 readdir link "
             "linkat symlink symlinkat readlink readlinkat rename renameat renameat2 unlink "
             "unlinkat mkdir mkdirat rmdir mknod mknodat umask name_to_handle_at"},
    /* files: what is known about them */
    {NO_CAP, "stat stat64 fstat fstat64 lstat lstat64 newfstatat fstatat64 statx statfs "
             "statfs64 fstatfs fstatfs64 chmod fchmod fchmodat fchmodat2 chown chown32 fchown "
             "fchown32 fchownat lchown lchown32 utime utimes utimensat utimensat_time64 "
             "futimesat getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr "
             "setxattrat listxattr llistxattr flistxattr listxattrat removexattr lremovexattr "
             "fremovexattr removexattrat file_getattr file_setattr"},
    /* descriptors, waiting for them, watching files */
    {NO_CAP, "dup dup2 dup3 fcntl fcntl64 flock ioctl pipe pipe2 select _newselect pselect6 "
             "pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl "
             "epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd "
             "eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_settime64 "
             "timerfd_gettime timerfd_gettime64 inotify_init inotify_init1 inotify_add_watch "
             "inotify_rm_watch fanotify_mark io_setup io_destroy io_submit io_cancel "
             "io_getevents io_pgetevents io_pgetevents_time64 memfd_create memfd_secret"},
    /* memory */
    {NO_CAP, "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 "
             "mlockall munlock munlockall remap_file_pages membarrier pkey_alloc pkey_free "
             "pkey_mprotect process_mrelease map_shadow_stack mseal"},
    /* processes and threads */
    {NO_CAP, "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid "
             "gettid getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal "
             "set_tid_address set_robust_list get_robust_list rseq set_thread_area "
             "get_thread_area arch_prctl modify_ldt prctl seccomp kill tkill tgkill "
             "landlock_create_ruleset landlock_add_rule landlock_restrict_self "
             "lsm_get_self_attr lsm_set_self_attr lsm_list_modules restart_syscall"},
    /* users, groups, capabilities */
    {NO_CAP, "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid "
             "getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid "
             "setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid "
             "setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget "
             "capset"},
    /* signals */
    {NO_CAP, "rt_sigaction rt_sigprocmask rt_sigpending rt_sigqueueinfo rt_tgsigqueueinfo "
             "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaction "
             "sigaltstack signal sigpending sigprocmask sigreturn sigsuspend pause alarm"},
    /* time */
    {NO_CAP, "time times gettimeofday clock_gettime clock_gettime64 clock_getres "
             "clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep getitimer "
             "setitimer timer_create timer_delete timer_settime timer_settime64 timer_gettime "
             "timer_gettime64 timer_getoverrun clock_adjtime clock_adjtime64 adjtimex"},
    /* scheduling and limits; the kernel checks who may raise what */
    {NO_CAP, "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam "
             "sched_getscheduler sched_setscheduler sched_getattr sched_setattr "
             "sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
             "sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set "
             "getrlimit ugetrlimit setrlimit prlimit64 getrusage getcpu"},
    /* locks */
    {NO_CAP, "futex futex_time64 futex_waitv futex_wake futex_wait futex_requeue"},
    /* System V and POSIX messages, semaphores, shared memory */
    {NO_CAP, "ipc shmget shmat shmctl shmdt semget semop semtimedop semtimedop_time64 semctl "
             "msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_notify mq_getsetattr "
             "mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64"},
    /* network; socket itself is below */
    {NO_CAP, "socketcall socketpair bind listen accept accept4 connect getsockname getpeername "
             "getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg "
             "recvmmsg_time64 shutdown"},
    /* about the system */
    {NO_CAP, "uname sysinfo getrandom syslog"},
    /* other processes: the kernel asks ptrace's rights */
    {NO_CAP, "ptrace process_vm_readv process_vm_writev pidfd_getfd"},

    /* 32-bit ARM alone has these */
    {NO_CAP, "set_tls cacheflush breakpoint arm_fadvise64_64 arm_sync_file_range"},

    {CAP_DAC_READ_SEARCH, "open_by_handle_at"},
    {CAP_SYS_ADMIN,       "mount umount umount2 pivot_root mount_setattr move_mount open_tree "
                          "open_tree_attr fsopen fsconfig fsmount fspick statmount listmount "
                          "setns unshare clone3 sethostname setdomainname bpf perf_event_open "
                          "fanotify_init quotactl quotactl_fd"},
    {CAP_SYS_CHROOT,      "chroot"},
    {CAP_SYS_MODULE,      "init_module finit_module delete_module"},
    {CAP_SYS_PACCT,       "acct"},
    {CAP_SYS_PTRACE,      "kcmp process_madvise"},
    {CAP_SYS_RAWIO,       "ioperm iopl"},
    {CAP_SYS_TIME,        "settimeofday clock_settime clock_settime64 stime"},
    {CAP_SYS_TTY_CONFIG,  "vhangup"},
    {CAP_SYS_NICE,        "get_mempolicy set_mempolicy mbind set_mempolicy_home_node"},
    {CAP_SYS_BOOT,        "reboot"},
};

/* The personalities that change nothing a guest must not change: Linux, 32-bit
 * uname, both with UNAME26, and the question: <linux/personality.h>. */
static const uint32_t personalities[] = {0, 0x0008, 0x20000, 0x20008, 0xffffffff};

/* clang-format on */

static bool has(uint64_t caps, int cap)
{
    return cap == NO_CAP || (caps >> cap & 1) != 0;
}

static json_t *split(const char *words)
{
    json_t *list = json_array();

    while (list != NULL && *words != '\0') {
        char name[NAME_MAX_BYTES];
        size_t len = strcspn(words, " ");

        (void)str_print(name, sizeof name, "%.*s", (int)len, words);
        if (json_array_append_new(list, json_string(name)) < 0) {
            json_decref(list);
            return NULL;
        }
        words += len + (words[len] == ' ');
    }
    return list;
}

/* Takes `names` and `args`; NULL stands for a failed allocation. */
static int add(json_t *rules, json_t *names, const char *action, int number, json_t *args)
{
    json_t *rule =
        json_pack("{s:o, s:s, s:o}", "names", names, "action", action, "args", args);

    if (rule != NULL && number != 0) {
        (void)json_object_set_new(rule, "errnoRet", json_integer(number));
    }
    return json_array_append_new(rules, rule);
}

static int allow_if(json_t *rules, const char *name, int index, const char *op,
                    uint64_t value, uint64_t second)
{
    return add(rules, split(name), "SCMP_ACT_ALLOW", 0,
               json_pack("[{s:i, s:I, s:I, s:s}]", "index", index, "value",
                         (json_int_t)value, "valueTwo", (json_int_t)second, "op", op));
}

/* clone without new namespaces; socket without the host's vsock. */
static int add_tested(json_t *rules, uint64_t caps)
{
    int r = 0;

    for (size_t i = 0; i < sizeof personalities / sizeof personalities[0]; i++) {
        r |= allow_if(rules, "personality", 0, "SCMP_CMP_EQ", personalities[i], 0);
    }
    r |= allow_if(rules, "socket", 0, "SCMP_CMP_NE", AF_VSOCK_NUMBER, 0);
    r |= add(rules, split("socket"), "SCMP_ACT_ERRNO", EAFNOSUPPORT,
             json_pack("[{s:i, s:i, s:s}]", "index", 0, "value", AF_VSOCK_NUMBER, "op",
                       "SCMP_CMP_EQ"));
    if (has(caps, CAP_SYS_ADMIN)) {
        r |= add(rules, split("clone"), "SCMP_ACT_ALLOW", 0, json_array());
    } else {
        r |= allow_if(rules, "clone", 0, "SCMP_CMP_MASKED_EQ", NEW_NAMESPACES, 0);
        r |= add(rules, split("clone3"), "SCMP_ACT_ERRNO", ENOSYS, json_array());
    }
    return r;
}

static int add_groups(json_t *rules, uint64_t caps)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof groups / sizeof groups[0]; i++) {
        bool allowed = has(caps, groups[i].cap);
        json_t *names = split(groups[i].calls);

        for (size_t k = json_array_size(names); k-- > 0;) {
            const char *name = json_string_value(json_array_get(names, k));

            if (!allowed && strcmp(name, "clone3") == 0) {
                (void)json_array_remove(names, k); /* ENOSYS: see above */
            }
        }
        r = add(rules, names, allowed ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO",
                allowed ? 0 : EPERM, json_array());
    }
    return r;
}

json_t *seccomp_default_profile(uint64_t caps)
{
    json_t *rules = json_array();

    if (rules == NULL || add_groups(rules, caps) < 0 || add_tested(rules, caps) < 0) {
        json_decref(rules);
        return NULL;
    }
    return json_pack("{s:s, s:i, s:[s,s], s:o}", "defaultAction", "SCMP_ACT_ERRNO",
                     "defaultErrnoRet", ENOSYS, "architectures",
#if defined(__aarch64__)
                     "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM",
#else
                     "SCMP_ARCH_X86_64", "SCMP_ARCH_X86",
#endif
                     "syscalls", rules);
}

json_t *seccomp_default_label(uint64_t caps)
{
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    struct sha256 s;

    sha256_init(&s);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        sha256_add(&s, &groups[i].cap, sizeof groups[i].cap);
        sha256_add(&s, groups[i].calls, strlen(groups[i].calls) + 1);
    }
    sha256_add(&s, personalities, sizeof personalities);
    sha256_end(&s, sum);
    sha256_hex(sum, hex);
    return json_pack("{s:i, s:s, s:I}", "default", RULES_VERSION, "table", hex, "caps",
                     (json_int_t)caps);
}

/* {name: whether without conditions} of each name that some rule allows. */
static json_t *allowed_names(const json_t *profile)
{
    json_t *out = json_object();
    size_t i;
    size_t k;
    json_t *rule;
    json_t *name;

    json_array_foreach(json_object_get(profile, "syscalls"), i, rule)
    {
        bool always = json_array_size(json_object_get(rule, "args")) == 0;

        if (strcmp(json_string_value(json_object_get(rule, "action")),
                   "SCMP_ACT_ALLOW") != 0) {
            continue;
        }
        json_array_foreach(json_object_get(rule, "names"), k, name)
        {
            const char *text = json_string_value(name);

            if (always || json_object_get(out, text) == NULL) {
                (void)json_object_set_new(out, text, json_boolean(always));
            }
        }
    }
    return out;
}

json_t *seccomp_default_allowed(uint64_t caps)
{
    SCOPED(scope_json) json_t *profile = seccomp_default_profile(caps);
    SCOPED(scope_json) json_t *allowed = allowed_names(profile);
    json_t *out = json_array();
    const char *name;

    for (size_t i = 0; profile != NULL && (name = seccomp_name(i)) != NULL; i++) {
        json_t *always = json_object_get(allowed, name);

        if (always != NULL && seccomp_number(name, 0) >= 0 &&
            json_array_append_new(
                out, json_pack("{s:s, s:O}", "name", name, "always", always)) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    if (profile == NULL) {
        json_decref(out);
        return NULL;
    }
    return out;
}
