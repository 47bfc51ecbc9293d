/* confine.c - what a server of disks gives up before the first foreign byte.
 *
 * Clients' bytes are parsed here.  Whoever takes this process over finds the disks that
 * are open anyway, the sockets that are, and: no privileges and none to be gained, no
 * file to open, no network but the sockets (an empty network namespace, where the
 * kernel grants one), no way to start a program or to look into another process.
 *
 * System calls are an allow-list.  io_uring can do some of what the list forbids, which is why
 * files and networks are withheld by Landlock and the namespace, which hold for it, too.
 *
 * A disk that connects again by itself (`graph_needs_network`) leaves the process its network.
 *
 * Everything is tried; a host that lacks one of them (Landlock before Linux 5.13) still gives the
 * others. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <seccomp.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/tool/private.h"

#ifndef PR_SET_IO_FLUSHER
#    define PR_SET_IO_FLUSHER 57 /* Linux 5.6 */
#endif

/* Every right on files that Landlock's first version knows. */
#define FILE_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* Only the socket (NULL: there is none) may still be taken away, from its directory. */
static void drop_files(const char *socket)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = FILE_RIGHTS};
    struct landlock_path_beneath_attr rule = {.allowed_access =
                                                  LANDLOCK_ACCESS_FS_REMOVE_FILE};
    char path[PATH_MAX];
    SCOPED(scope_close) int directory = -1;
    SCOPED(scope_close)
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);

    if (rules < 0) {
        return;
    }
    if (socket != NULL) {
        (void)snprintf(path, sizeof path, "%s", socket);
        directory = open(dirname(path), O_PATH | O_CLOEXEC);
    }
    if (directory >= 0) {
        rule.parent_fd = directory;
        (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
}

/* The kernel waits for us when it writes back what a file system on our disk holds (FUSE, a host's
 * own NBD client): to get us memory it must not wait for that. */
static void be_flusher(void)
{
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

static void drop_privileges(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++) {
    }
    (void)syscall(SYS_capset, &head, none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* clang-format off */
static const int allowed[] = {
    /* the disk */
    SCMP_SYS(preadv2), SCMP_SYS(pwritev2), SCMP_SYS(preadv), SCMP_SYS(pwritev),
    SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(fdatasync), SCMP_SYS(fsync),
    SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(lseek), SCMP_SYS(fstat),
    451 /* cachestat */, SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    /* clients */
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto),
    SCMP_SYS(sendmsg), SCMP_SYS(sendfile), SCMP_SYS(splice), SCMP_SYS(pipe2), SCMP_SYS(shutdown), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt),
    SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    /* the loop */
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
    SCMP_SYS(fcntl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(io_uring_enter),
    SCMP_SYS(sched_yield), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(restart_syscall),
    /* memory and threads */
    SCMP_SYS(memfd_create), SCMP_SYS(fstatfs), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap),
    SCMP_SYS(madvise), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(clone),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(sysinfo),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(prlimit64), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(tgkill),
};

/* clang-format on */

/* glibc asks for clone3 first and takes clone where it is told that there is none; new
 * processes are what threads are not: without CLONE_THREAD. */
static int add_rules(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    for (size_t i = 0; r == 0 && i < sizeof allowed / sizeof allowed[0]; i++) {
        if (allowed[i] == SCMP_SYS(clone)) {
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
        } else {
            r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
        }
    }
    return r;
}

/* How large a device is that a control message brings: no more of what drivers do. */
static int add_sizes(scmp_filter_ctx filter)
{
    static const unsigned long asked[] = {BLKGETSIZE64, BLKSSZGET};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof asked / sizeof asked[0]; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_EQ, asked[i]));
    }
    return r;
}

static int add_network(scmp_filter_ctx filter)
{
    static const int calls[] = {SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind)};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof calls / sizeof calls[0]; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return r;
}

/* `network`: a library has threads that keep up its connections by calls of its own, so those
 * that are there already are left alone. */
static int drop_calls(bool network)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = filter == NULL ? -ENOMEM : add_rules(filter);

    r = r == 0 ? add_sizes(filter) : r;
    if (r == 0 && network) {
        r = add_network(filter);
    } else if (r == 0) {
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    r = r == 0 ? seccomp_load(filter) : r;
    seccomp_release(filter);
    return r == -EINVAL || r == -ECANCELED ? 0 : r; /* a kernel without filters */
}

int tool_confine(const struct request *q, const char *socket)
{
    bool network = graph_needs_network(q->graph);
    int r;

    be_flusher();
    if (!network && unshare(CLONE_NEWNET) != 0) {
        (void)unshare(CLONE_NEWUSER | CLONE_NEWNET); /* an ordinary user */
    }
    drop_privileges();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return err_sys(q->e, -errno, "cannot confine the server");
    }
    drop_files(socket);
    r = drop_calls(network);
    return r < 0 ? err_sys(q->e, r, "cannot confine the server") : 0;
}
