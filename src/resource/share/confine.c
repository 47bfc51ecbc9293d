/* confine.c - what the process that serves a directory gives up before the first request.
 *
 * Requests come from a guest, and whoever finds a fault in how they are read is in this process.  He
 * finds: a file system that has nothing but the directory (its root is ours), no network, no process to
 * signal, of the privileges of root only those over files, and few system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "resource/share/private.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

/* An ordinary user is root of a namespace in which there is no other user. */
static int map_user(uid_t uid, gid_t gid)
{
    char text[32];
    int r;

    (void)str_print(text, sizeof text, "0 %u 1", uid);
    r = file_write_existing(AT_FDCWD, "/proc/self/uid_map", text);
    r = r == 0 ? file_write_existing(AT_FDCWD, "/proc/self/setgroups", "deny") : r;
    (void)str_print(text, sizeof text, "0 %u 1", gid);
    return r == 0 ? file_write_existing(AT_FDCWD, "/proc/self/gid_map", text) : r;
}

static int leave(void)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();

    if (unshare(NAMESPACES | (uid != 0 ? CLONE_NEWUSER : 0)) < 0) {
        return -errno;
    }
    return uid != 0 ? map_user(uid, gid) : 0;
}

/* The directory, with what is mounted below it, becomes the root. */
static int change_root(const char *directory, bool read_only, int *ret_proc_fds)
{
    const struct mount_attr attr = {.attr_set =
                                        MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                                        (read_only ? (uint64_t)MOUNT_ATTR_RDONLY : 0)};
    SCOPED(scope_close) int tree = -1;
    SCOPED(scope_close) int proc = -1;

    if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -errno;
    }
    proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    tree = (int)syscall(SYS_open_tree, AT_FDCWD, directory,
                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (proc < 0 || tree < 0 ||
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr,
                sizeof attr) < 0 ||
        syscall(SYS_move_mount, tree, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) <
            0 ||
        fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    *ret_proc_fds = scope_take_fd(&proc);
    return 0;
}

static int keep_privileges(void)
{
    const uint32_t kept =
        1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct some[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = kept, .permitted = kept}};

    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if ((cap >= 32 || (kept >> cap & 1) == 0) &&
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            return -errno;
        }
    }
    if (syscall(SYS_capset, &head, some) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return 0;
}

int share_confine_place(const char *directory, bool read_only, int *ret_root,
                        int *ret_proc_fds, struct err *e)
{
    int proc = -1;
    int root;
    int r = leave();

    r = r == 0 ? change_root(directory, read_only, &proc) : r;
    r = r == 0 ? keep_privileges() : r;
    root = r == 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (r < 0 || root < 0) {
        scope_close(&proc);
        return err_sys(e, r < 0 ? r : -errno, "cannot confine who serves '%s'",
                       directory);
    }
    (void)umask(0);
    *ret_root = root;
    *ret_proc_fds = proc;
    return 0;
}

static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(close),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstat),
    SCMP_SYS(statx),
    SCMP_SYS(readlinkat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(getdents64),
    SCMP_SYS(lseek),
    SCMP_SYS(fchdir),
    SCMP_SYS(getxattr),
    SCMP_SYS(listxattr),
    SCMP_SYS(setxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(fchmodat),
    SCMP_SYS(fchownat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(utimensat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(mknodat),
    SCMP_SYS(mkdirat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(renameat2),
    SCMP_SYS(renameat),
    SCMP_SYS(linkat),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(fcntl),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fallocate),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(exit_group),
    SCMP_SYS(exit),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
};

int share_confine_calls(struct err *e)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int r = f == NULL ? -ENOMEM : 0;

    for (size_t i = 0; r == 0 && i < sizeof allowed / sizeof allowed[0]; i++) {
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    r = r == 0 ? seccomp_load(f) : r;
    seccomp_release(f);
    return r < 0 ? err_sys(e, r, "cannot confine who serves a directory") : 0;
}
