/* What the forwarder gives up once it listens.
 *
 * It meets bytes of anybody who reaches a port.  Whoever takes it over finds: no
 * privileges, another user, no files, no memory that can be made executable, and of
 * the system calls only those that carry bytes between sockets.  Where Landlock knows
 * networks, TCP leads to the guest's published ports only. */
#include "resource/network/forward/forward.h"

#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>

#include "base/err.h"
#include "base/scope.h"

#define NOBODY 65534

#if defined __x86_64__
#    define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#    define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined __riscv
#    define NATIVE_ARCH AUDIT_ARCH_RISCV64
#endif

/* Landlock's version 4 (Linux 6.7), which older headers lack. */
#define ABI_WITH_NET    4
#define NET_BIND        UINT64_C(1)
#define NET_CONNECT     UINT64_C(2)
#define RULE_NET_PORT   2
#define ALL_FILE_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define PORTS_MOST      256 /* beyond, connecting is not restricted */

struct rights {
    uint64_t files;
    uint64_t net;
};

struct port_rule {
    uint64_t allowed;
    uint64_t port;
};

static unsigned count_ports(const struct forward_options *o)
{
    unsigned n = 0;
    for (size_t i = 0; i < o->n_rules; i++) {
        n += o->rules[i].from.count == 0 ? 1 : o->rules[i].from.count;
    }
    return n;
}

static void allow_ports(int rules, const struct network_publish *p)
{
    unsigned count = p->udp ? 0 : p->count == 0 ? 1 : p->count;
    for (unsigned i = 0; i < count; i++) {
        struct port_rule rule = {.allowed = NET_CONNECT, .port = p->guest_port + i};
        (void)syscall(SYS_landlock_add_rule, rules, RULE_NET_PORT, &rule, 0);
    }
}

static void drop_files(const struct forward_options *o)
{
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    bool net = abi >= ABI_WITH_NET && count_ports(o) <= PORTS_MOST;
    struct rights rights = {.files = ALL_FILE_RIGHTS, .net = NET_BIND | NET_CONNECT};
    SCOPED(scope_close)
    int rules = (int)syscall(SYS_landlock_create_ruleset, &rights,
                             net ? sizeof rights : sizeof rights.files, 0);
    if (rules < 0) {
        return; /* older kernels: the system calls below remain forbidden */
    }
    for (size_t i = 0; net && i < o->n_rules; i++) {
        allow_ports(rules, &o->rules[i].from);
    }
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
}

static int drop_privileges(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    const struct rlimit no_core = {0, 0};
    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++) {
    }
    if (geteuid() == 0 &&
        (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
         setresuid(NOBODY, NOBODY, NOBODY) < 0)) {
        return -errno;
    }
    (void)syscall(SYS_capset, &head, none);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* clang-format off */
static const unsigned allowed[] = {
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_pwait, SYS_epoll_ctl, SYS_accept4, SYS_connect, SYS_splice, SYS_pipe2,
    SYS_close, SYS_shutdown, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg,
    SYS_getsockopt, SYS_setsockopt, SYS_write, SYS_clock_gettime, SYS_brk, SYS_munmap,
    SYS_mremap, SYS_madvise, SYS_futex, SYS_rt_sigreturn, SYS_rt_sigprocmask,
    SYS_restart_syscall, SYS_getpid, SYS_gettid, SYS_sched_yield, SYS_sigaltstack,
    SYS_exit, SYS_exit_group,
};
/* clang-format on */

#define N_ALLOWED (sizeof allowed / sizeof allowed[0])
#define FIELD(member)                                                                    \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, member))
#define IF_SAME(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define ALLOW                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define DENY                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

/* The low halves of arguments: this host stores them first. */
static const struct sock_filter head[] = {
    FIELD(arch),
    IF_SAME(NATIVE_ARCH, 1, 0),
    DENY,
    FIELD(nr),
    IF_SAME(SYS_socket, 0, 5), /* of the two internet families only */
    FIELD(args[0]),
    IF_SAME(AF_INET, 2, 0),
    IF_SAME(AF_INET6, 1, 0),
    DENY,
    ALLOW,
    IF_SAME(SYS_mmap, 0, 4), /* of memory that cannot be executed */
    FIELD(args[2]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
    DENY,
    ALLOW,
};

#define N_HEAD (sizeof head / sizeof head[0])

static int drop_calls(void)
{
    struct sock_filter code[N_HEAD + 2 * N_ALLOWED + 1];
    struct sock_fprog program = {.filter = code};
    memcpy(code, head, sizeof head);
    size_t n = N_HEAD;
    for (size_t i = 0; i < N_ALLOWED; i++) {
        code[n++] = (struct sock_filter)IF_SAME(allowed[i], 0, 1);
        code[n++] = (struct sock_filter)ALLOW;
    }
    code[n++] = (struct sock_filter)DENY;
    program.len = (unsigned short)n;
    int r = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
    return r == -EINVAL ? 0 : r; /* a kernel without filters */
}

int forward_confine(const struct forward_options *o, struct err *e)
{
    int r = drop_privileges();
    if (r == 0) {
        drop_files(o);
        r = drop_calls();
    }
    return r < 0 ? err_sys(e, r, "cannot confine the forwarder") : 0;
}
