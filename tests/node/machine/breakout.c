/* breakout.c - the worker of a machine, taken over.
 *
 * It is the program `machine`, but for one step: after the worker has confined itself, and again
 * in a thread beside the running guest, it tries what somebody would try who got out of a guest.
 * Each try is a line on standard error: "refused NAME: errno", or "DONE NAME".  The tries are
 * system calls by their numbers, as foreign code would make them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/machine/machine.h"

#if defined(__SANITIZE_ADDRESS__)
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int __real_fault_step(const char *name);
int __wrap_fault_step(const char *name);

static void tell(const char *name, long result)
{
    if (result < 0) {
        (void)dprintf(2, "refused %s: %s\n", name, strerrorname_np(errno));
    } else {
        (void)dprintf(2, "DONE %s\n", name);
    }
}

#define TRY(name, ...) tell(name, syscall(__VA_ARGS__))

static void try_files(void)
{
    struct open_how {
        uint64_t flags, mode, resolve;
    } how = {0};

    TRY("open a file", SYS_open, "/etc/passwd", O_RDONLY, 0);
    TRY("open the root", SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
    TRY("open it by openat2", SYS_openat2, AT_FDCWD, "/", &how, sizeof how);
    TRY("look at /proc", SYS_open, "/proc/self/maps", O_RDONLY, 0);
    TRY("make a file", SYS_creat, "/x", 0600);
    TRY("make a directory", SYS_mkdir, "/x", 0700);
    TRY("list the root", SYS_stat, "/", (char[256]){0});
    TRY("mount", SYS_mount, "none", "/", "tmpfs", 0, NULL);
    TRY("change the root", SYS_chroot, "/");
    TRY("open a handle", SYS_open_by_handle_at, AT_FDCWD, &how, 0);
    TRY("make memory a file", SYS_memfd_create, "x", 0);
    TRY("open a tree", SYS_open_tree, AT_FDCWD, "/", 0);
}

static void try_network(void)
{
    TRY("make an IPv4 socket", SYS_socket, AF_INET, SOCK_STREAM, 0);
    TRY("make a local socket", SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    TRY("make a netlink socket", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    TRY("make a raw socket", SYS_socket, AF_PACKET, SOCK_RAW, 0);
    TRY("make a pair of sockets", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (int[2]){0});
    TRY("bind", SYS_bind, 0, NULL, 0);
    TRY("connect", SYS_connect, 0, NULL, 0);
}

static void try_processes(void)
{
    char *const argv[] = {(char[]){"sh"}, NULL};
    struct clone_args args = {.exit_signal = SIGCHLD};

    TRY("trace", SYS_ptrace, PTRACE_ATTACH, getppid(), NULL, NULL);
    TRY("be traced", SYS_ptrace, PTRACE_TRACEME, 0, NULL, NULL);
    TRY("read another's memory", SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
    TRY("kill all", SYS_kill, -1, 0);
    TRY("kill the first", SYS_kill, 1, 0);
    TRY("signal another's thread", SYS_tgkill, getpid() + 1, getpid() + 1, 0);
    TRY("queue a signal", SYS_rt_sigqueueinfo, 1, 0, NULL);
    TRY("hold a process", SYS_pidfd_open, 1, 0);
    TRY("fork", SYS_fork);
    TRY("vfork", SYS_vfork);
    TRY("clone", SYS_clone, SIGCHLD, 0, 0, 0, 0);
    TRY("clone into namespaces", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    TRY("clone3", SYS_clone3, &args, sizeof args);
    TRY("execute", SYS_execve, "/bin/sh", argv, NULL);
    TRY("execute what is open", SYS_execveat, 0, "", argv, NULL, AT_EMPTY_PATH);
}

static void try_memory(void)
{
    static char page[8192] __attribute__((aligned(4096)));
    int any = PROT_READ | PROT_WRITE | PROT_EXEC;

    TRY("make data executable", SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
    TRY("make it so by a key", SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1);
    TRY("map executable memory", SYS_mmap, NULL, 4096, any, MAP_PRIVATE | MAP_ANONYMOUS,
        -1, 0);
    TRY("map memory to be executed", SYS_mmap, NULL, 4096, PROT_EXEC,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRY("attach shared memory", SYS_shmget, 0, 4096, 0600);
    TRY("hear of faults", SYS_userfaultfd, 0);
}

static void try_rights(void)
{
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};

    TRY("be root", SYS_setuid, 0);
    TRY("be another", SYS_setresuid, 1, 1, 1);
    TRY("be of another group", SYS_setgid, 0);
    TRY("take capabilities", SYS_capset, (uint64_t[]){0x20080522}, (uint64_t[3]){~0ull});
    TRY("make namespaces", SYS_unshare, CLONE_NEWUSER);
    TRY("join a namespace", SYS_setns, 0, 0);
    TRY("raise a limit", SYS_prlimit64, 0, RLIMIT_NOFILE, &more, NULL);
    TRY("be dumpable", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    TRY("load a program into the kernel", SYS_bpf, BPF_PROG_LOAD, NULL, 0);
    TRY("measure", SYS_perf_event_open, NULL, 0, -1, -1, 0);
    TRY("read keys", SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    TRY("load a module", SYS_finit_module, 0, "", 0);
    TRY("reboot", SYS_reboot, 0, 0, 0, NULL);
    TRY("use ports", SYS_iopl, 3);
    TRY("set the clock", SYS_clock_settime, 0, NULL);
    TRY("type for others", SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
    TRY("make a ring", SYS_io_uring_setup, 1, (char[256]){0});
    TRY("open a ring to more", SYS_io_uring_register, 5, IORING_REGISTER_PROBE, NULL, 0);
}

/* What stands in the kernel's words about the two shared arrays. */
struct ring {
    uint8_t *at;
    struct io_uring_sqe *sqes;
    int fd;
};

/* Through the ring that is open, past the filter of calls. */
static void try_ring(struct ring *r, const char *name, uint8_t op, uint64_t addr)
{
    /* Offsets of Linux on 64-bit machines: head, tail, ..., array behind the answers. */
    volatile uint32_t *sq_tail = (void *)(r->at + 4), *cq_head = (void *)(r->at + 8);
    volatile uint32_t *cq_tail = (void *)(r->at + 12), *entries = (void *)(r->at + 24);
    uint32_t cq_entries = *(volatile uint32_t *)(void *)(r->at + 28);
    struct io_uring_cqe *cqes = (void *)(r->at + 64);
    uint32_t *array = (void *)(r->at + ((64 + cq_entries * sizeof *cqes + 63) & ~63u));
    uint32_t slot = *sq_tail & (*entries - 1);
    struct io_uring_sqe *sqe = &r->sqes[slot];
    uint32_t before = *cq_tail;

    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = op;
    sqe->fd = op == IORING_OP_SOCKET ? AF_INET : AT_FDCWD;
    sqe->off = op == IORING_OP_SOCKET ? SOCK_STREAM : 0;
    sqe->addr = addr;
    array[slot] = slot;
    __atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
        tell(name, -1);
        return;
    }
    if (*cq_tail == before) {
        (void)dprintf(2, "refused %s: no answer\n", name);
        return;
    }
    {
        int result = cqes[before & (cq_entries - 1)].res;

        *cq_head = before + 1;
        errno = result < 0 ? -result : 0;
        tell(name, result);
    }
}

/* The kernel maps such a part as a whole, or not at all. */
static void *map_whole(int fd, off_t part)
{
    void *at = MAP_FAILED;

    for (size_t pages = 16; at == MAP_FAILED && pages > 0; pages--) {
        at = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, part);
    }
    return at;
}

static void try_rings(void)
{
    for (int fd = 3; fd < 64; fd++) {
        struct ring r = {.fd = fd};

        r.at = map_whole(fd, IORING_OFF_SQ_RING);
        r.sqes = r.at == MAP_FAILED ? MAP_FAILED : map_whole(fd, IORING_OFF_SQES);
        if (r.sqes == MAP_FAILED) {
            continue;
        }
        (void)dprintf(2, "a ring is at %d\n", fd);
        try_ring(&r, "open through the ring", IORING_OP_OPENAT,
                 (uint64_t)(uintptr_t) "/");
        try_ring(&r, "make a socket through the ring", IORING_OP_SOCKET, 0);
        try_ring(&r, "unlink through the ring", IORING_OP_UNLINKAT,
                 (uint64_t)(uintptr_t) "/x");
    }
}

static void try_all(void)
{
    try_files();
    try_network();
    try_processes();
    try_memory();
    try_rights();
}

/* By the calls of 32-bit programs, which have other numbers. */
static void try_old_calls(void)
{
#if defined(__x86_64__)
    long result = 5; /* open */
    static const char name[] = "/";

    __asm__ volatile("int $0x80"
                     : "+a"(result)
                     : "b"((uint32_t)(uintptr_t)name), "c"(0), "d"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? (int)-result : 0;
    tell("call as 32-bit programs do", result);
    result = syscall(0x40000000 + 2, "/", 0, 0); /* x32's open */
    tell("call as x32 programs do", result);
#endif
}

static void *beside(void *arg)
{
    (void)arg;
    (void)dprintf(2, "beside the guest\n");
    try_all();
    (void)dprintf(2, "all was tried\n");
    return NULL;
}

int __wrap_fault_step(const char *name)
{
    const char *what = getenv("STRATA_FAULT"); /* the one word that a worker is passed */
    pthread_t thread;

    if (strcmp(name, "machine.confined") == 0) {
        (void)dprintf(2, "in the worker\n");
        if (what != NULL && strcmp(what, "kill:rings") == 0) {
            try_rings();
            _exit(33);
        }
        if (what != NULL && strcmp(what, "kill:old-calls") == 0) {
            try_old_calls();
            _exit(33);
        }
        try_all();
        if (pthread_create(&thread, NULL, beside, NULL) != 0) {
            (void)dprintf(2, "no thread can be made\n");
        }
    }
    return __real_fault_step(name);
}

int main(int argc, char **argv)
{
    return node_machine(argc, argv);
}
