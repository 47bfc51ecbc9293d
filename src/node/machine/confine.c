/* confine.c - what a machine's worker gives up before the guest's first instruction.
 *
 * Whoever breaks out of the guest finds this process, and in it: the descriptors that are
 * open; no file to open (an empty root, and Landlock), no network (an empty namespace), no
 * process to see, signal or trace (a process namespace of its own, a user that nobody else
 * has), no privilege and none to be gained, no way to start a program, and no page of
 * memory that is executable but the code memory which the translator mapped before.
 *
 * Each part is tried; a host that lacks one still gives the others, and the worker
 * says which it lacks.  Only two are insisted on: no privileges, and that none are gained.
 *
 * System calls are an allow-list, of what the loop, the vCPUs and the C library's threads
 * need.  Threads may be made, processes may not: clone3 keeps its flags in memory, where a
 * filter does not see them, and is told not to exist, so that the C library takes clone. */
#include <errno.h>
#include <grp.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/machine/private.h"
#include "virt/container/confine/caps.h"
#include "virt/container/confine/landlock.h"
#include "virt/container/confine/seccomp.h"

#define NOBODY     65534
#define FILES_MOST 1024

#ifndef PR_SET_VMA
#    define PR_SET_VMA 0x53564d41 /* linux/prctl.h, 5.17 */
#endif

/* ---- places ---- */

static int leave_namespaces(const struct plan *p)
{
    int flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

    if (p->born) {
        return 0;
    }
    return unshare(geteuid() == 0 ? flags : flags | CLONE_NEWUSER) < 0 ? -errno : 0;
}

/* A file system of nothing, which nothing can be put into, instead of the host's. */
static int empty_root(void)
{
    if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2,mode=555") < 0 ||
        chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return mount("", "/", NULL,
                 MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 NULL) < 0
               ? -errno
               : 0;
}

/* ---- rights ---- */

static void limit(int what, rlim_t most)
{
    struct rlimit l;

    if (getrlimit((__rlimit_resource_t)what, &l) == 0 && most < l.rlim_max) {
        l.rlim_cur = l.rlim_max = most;
        (void)setrlimit((__rlimit_resource_t)what, &l);
    }
}

static int become_nobody(const struct plan *p, struct err *e)
{
    const struct caps none = {0};
    uid_t user = p->user != 0 ? p->user : NOBODY;
    int r = 0;

    (void)caps_before_setuid(&none);
    if (geteuid() == 0 && !(p->born && p->user == 0)) {
        (void)setgroups(0, NULL);
        r = setresgid(user, user, user) < 0 || setresuid(user, user, user) < 0 ? -errno
                                                                               : 0;
    }
    r = r == 0 ? caps_after_setuid(&none) : r;
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        r = -errno;
    }
    if (p->report >= 0) { /* the change of user has cleared it */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return r < 0 ? err_sys(e, r, "cannot give up the worker's privileges") : 0;
}

static int close_files(struct strv *lacks, struct err *e)
{
    struct landlock *l = landlock_create();
    int r = l == NULL ? -ENOMEM : landlock_allow_path(l, "/", 0, true);

    if (landlock_abi() == 0) {
        strv_add(lacks, "Landlock");
    } else if (r == 0) {
        landlock_close_tcp(l);
        landlock_close_scope(l);
        r = landlock_apply(l, NULL, e);
    }
    landlock_destroy(l);
    return r < 0 ? err_sys(e, r, "cannot confine the worker") : 0;
}

/* ---- system calls ---- */

/* clang-format off */
static const char calls[] =
    /* what is open */
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 fsync fdatasync "
    "fallocate ftruncate lseek fstat cachestat sync_file_range close dup recvmsg sendmsg "
    "recvfrom sendto recvmmsg sendmmsg accept4 shutdown getsockopt "
    /* the loop */
    "io_uring_enter epoll_wait epoll_pwait epoll_pwait2 epoll_ctl poll ppoll eventfd2 "
    "timerfd_create timerfd_settime "
    /* time */
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday timer_create "
    "timer_settime timer_gettime timer_delete restart_syscall "
    /* memory and threads */
    "munmap madvise mremap brk futex futex_waitv set_robust_list rseq exit exit_group "
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack gettid getpid sched_yield "
    "sched_getaffinity getrandom";

static const struct {
    const char *call;
    unsigned arg;
    uint64_t mask, value; /* allowed where (arg & mask) == value */
} some[] = {
    {"mmap",      2, PROT_EXEC, 0},
    {"mprotect",  2, PROT_EXEC, 0},
    {"clone",     0, CLONE_THREAD, CLONE_THREAD},
    {"prctl",     0, UINT64_MAX, PR_SET_NAME},
    {"prctl",     0, UINT64_MAX, PR_SET_VMA},
    {"ioctl",     1, UINT64_MAX, FIONBIO},
    {"ioctl",     1, UINT64_MAX, BLKGETSIZE64},
    {"ioctl",     1, UINT64_MAX, BLKSSZGET},
    {"ioctl",     1, UINT64_MAX, TUNSETOFFLOAD}, /* what the driver takes of a tap */
    {"ioctl",     1, UINT64_MAX, TUNGETIFF}, /* ... one that comes */
    {"ioctl",     1, UINT64_MAX, TUNSETVNETHDRSZ},
    {"prlimit64", 2, UINT64_MAX, 0}, /* to look at a limit only */
    {"fcntl",     1, UINT64_MAX, 1 /* F_GETFD */},
    {"fcntl",     1, UINT64_MAX, 2 /* F_SETFD */},
    {"fcntl",     1, UINT64_MAX, 3 /* F_GETFL */},
    {"fcntl",     1, UINT64_MAX, 4 /* F_SETFL */},
    {"newfstatat", 3, UINT64_MAX, 0x1000 /* AT_EMPTY_PATH: of a descriptor */},
    {"fcntl",     1, UINT64_MAX, 36 /* F_OFD_GETLK: of disks that come */},
    {"fcntl",     1, UINT64_MAX, 37 /* F_OFD_SETLK */},
    {"fcntl",     1, UINT64_MAX, 1030 /* F_DUPFD_CLOEXEC */},
};

/* clang-format on */

static json_t *names_of(const char *text)
{
    char copy[sizeof calls];
    char *save = NULL;
    json_t *list = json_array();

    (void)str_print(copy, sizeof copy, "%s", text);
    for (char *w = strtok_r(copy, " ", &save); w != NULL;
         w = strtok_r(NULL, " ", &save)) {
        (void)json_array_append_new(list, json_string(w));
    }
    return list;
}

static void add_some(json_t *rules, const char *call, unsigned arg, uint64_t mask,
                     uint64_t value)
{
    bool is_equal = mask == UINT64_MAX;

    (void)json_array_append_new(
        rules, json_pack("{s:[s], s:s, s:[{s:i, s:I, s:I, s:s}]}", "names", call,
                         "action", "SCMP_ACT_ALLOW", "args", "index", (int)arg, "value",
                         (json_int_t)(is_equal ? value : mask), "valueTwo",
                         (json_int_t)(is_equal ? 0 : value), "op",
                         is_equal ? "SCMP_CMP_EQ" : "SCMP_CMP_MASKED_EQ"));
}

static json_t *profile(const unsigned long *ioctls)
{
    json_t *rules = json_array();

    (void)json_array_append_new(rules, json_pack("{s:o, s:s}", "names", names_of(calls),
                                                 "action", "SCMP_ACT_ALLOW"));
    (void)json_array_append_new(rules, json_pack("{s:[s], s:s, s:i}", "names", "clone3",
                                                 "action", "SCMP_ACT_ERRNO", "errnoRet",
                                                 ENOSYS));
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        add_some(rules, some[i].call, some[i].arg, some[i].mask, some[i].value);
    }
    for (; *ioctls != 0; ioctls++) {
        add_some(rules, "ioctl", 1, UINT64_MAX, *ioctls);
    }
    add_some(rules, "tgkill", 0, UINT64_MAX, (uint64_t)getpid());
    return json_pack("{s:s, s:i, s:[s], s:[s], s:o}", "defaultAction", "SCMP_ACT_ERRNO",
                     "defaultErrnoRet", EPERM, "architectures", "SCMP_ARCH_X86_64",
                     "flags", "SECCOMP_FILTER_FLAG_TSYNC", "syscalls", rules);
}

int confine_calls(const unsigned long *ioctls, struct strv *lacks, struct err *e)
{
    SCOPED(scope_json) json_t *wanted = profile(ioctls);
    struct seccomp_filter *f = NULL;
    int notify = -1;
    int r = wanted == NULL ? err_sys(e, -ENOMEM, "cannot confine the worker")
                           : seccomp_filter_create(wanted, NULL, NULL, &f, e);

    if (r < 0) {
        return r;
    }
    r = seccomp_filter_load(f, &notify);
    seccomp_filter_destroy(f);
    if (r == -EINVAL || r == -ENOSYS) {
        strv_add(lacks, "a filter of system calls");
        return 0;
    }
    return r < 0 ? err_sys(e, r, "cannot confine the worker") : 0;
}

int confine_place(const struct plan *p, struct strv *lacks, struct err *e)
{
    int r = leave_namespaces(p);

    if (r < 0) {
        strv_add(lacks, "namespaces");
    } else if (empty_root() < 0) {
        strv_add(lacks, "an empty root");
    }
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, FILES_MOST);
    r = become_nobody(p, e);
    return r == 0 ? close_files(lacks, e) : r;
}
