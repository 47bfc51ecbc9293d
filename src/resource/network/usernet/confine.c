/* What the stack gives up once everything is open.
 *
 * The guest's packets are parsed here, by a library that has had its faults.  Whoever
 * takes this process over finds: no privileges and none to be gained, no files but
 * /etc/resolv.conf (the library reads it again when it changes), and no way to start
 * a program, trace a process or mount anything. */
#include "resource/network/usernet/usernet.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>

#include "base/err.h"
#include "base/scope.h"

/* Every right on files that Landlock's first version knows. */
#define FILE_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static void allow_file(int rules, const char *path)
{
    SCOPED(scope_close) int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = fd};
    if (fd >= 0) {
        (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
}

static void drop_files(void)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = FILE_RIGHTS};
    SCOPED(scope_close)
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0) {
        return; /* older kernels: the system calls below remain forbidden */
    }
    allow_file(rules, "/etc/resolv.conf"); /* a link is followed to its file */
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
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

static const int denied[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(clone3),
    SCMP_SYS(ptrace),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(chroot),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(memfd_create),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(open_by_handle_at),
};

static int drop_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = filter == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < sizeof denied / sizeof denied[0] && r == 0; i++) {
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
    }
    if (r == 0) {
        r = seccomp_load(filter);
    }
    seccomp_release(filter);
    return r == -EINVAL || r == -ECANCELED ? 0 : r; /* a kernel without filters */
}

int usernet_confine(struct err *e)
{
    drop_privileges();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return err_sys(e, -errno, "cannot confine the user-mode network");
    }
    drop_files();
    int r = drop_calls();
    return r < 0 ? err_sys(e, r, "cannot confine the user-mode network") : 0;
}
