#include "tests/virt/isa/x86/vector/native.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

/* The state that the template loads and saves; at fixed places, since every general
 * register but RSP may be an operand. */
struct native_case native_now;
uint8_t *native_code;
static uint8_t *code_writable;

void native_enter(void);
void native_leave(void);

_Static_assert(sizeof(struct native_state) == 832, "XSAVE area");
_Static_assert(offsetof(struct native_case, out) == 832, "the template's offsets");
_Static_assert(offsetof(struct native_case, gpr_in) == 1664, "the template's offsets");
_Static_assert(offsetof(struct native_case, gpr_out) == 1792, "the template's offsets");
_Static_assert(offsetof(struct native_case, flags_in) == 1920, "the template's offsets");
_Static_assert(offsetof(struct native_case, flags_out) == 1928, "the template's offsets");

// clang-format off
#define EACH(X) \
    X(rcx, 8) X(rdx, 16) X(rbx, 24) X(rbp, 40) X(rsi, 48) X(rdi, 56) X(r8, 64) \
    X(r9, 72) X(r10, 80) X(r11, 88) X(r12, 96) X(r13, 104) X(r14, 112) X(r15, 120) X(rax, 0)
// clang-format on
#define LOAD(r, at)  "mov native_now+1664+" #at "(%rip), %" #r "\n"
#define SAVE_(r, at) "mov %" #r ", native_now+1792+" #at "(%rip)\n"

__asm__(
    ".text\n.globl native_enter\nnative_enter:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov $7, %eax\nxor %edx, %edx\nxrstor64 native_now(%rip)\n"
    "push native_now+1920(%rip)\npopfq\n" EACH(
        LOAD) "jmp *native_code(%rip)\n"
              ".globl native_leave\nnative_leave:\n" EACH(
                  SAVE_) "pushfq\npop native_now+1928(%rip)\n"
                         "mov $7, %eax\nxor %edx, %edx\nxsave64 native_now+832(%rip)\n"
                         "fninit\npush $0x1f80\nldmxcsr (%rsp)\npop %rax\nvzeroupper\ncld\n"
                         "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");

/* The instruction goes no further; the template saves what it left. */
static void on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    (void)number;
    (void)info;
    native_now.vector = (uint64_t)u->uc_mcontext.gregs[REG_TRAPNO] + 1;
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_leave;
}

/* Code behind the instruction: jmp *0(%rip); address. */
static void write_code(const uint8_t *code, unsigned length)
{
    static const uint8_t jump[6] = {0xff, 0x25, 0, 0, 0, 0};
    uint64_t to = (uint64_t)(uintptr_t)native_leave;

    memcpy(code_writable, code, length);
    memcpy(code_writable + length, jump, 6);
    memcpy(code_writable + length + 6, &to, 8);
}

static void run_case(struct native *n, struct native_case *x)
{
    memcpy(n->arena, x->memory_in, NATIVE_ARENA_BYTES);
    memcpy(&native_now, x, offsetof(struct native_case, memory_in));
    native_now.vector = 0;
    write_code(x->code + 1, x->code[0]);
    native_enter();
    native_now.at = x->at;
    memcpy(x, &native_now, offsetof(struct native_case, memory_in));
    memcpy(x->memory_out, n->arena, NATIVE_ARENA_BYTES);
}

static void child(struct native *n, int from, int to)
{
    struct sigaction a = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static uint8_t stack[65536];
    stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};
    uint32_t count;

    (void)sigaltstack(&s, NULL);
    (void)sigaction(SIGFPE, &a, NULL);
    (void)sigaction(SIGSEGV, &a, NULL);
    (void)sigaction(SIGBUS, &a, NULL);
    (void)sigaction(SIGILL, &a, NULL);
    (void)sigaction(SIGTRAP, &a, NULL);
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    while (read(from, &count, sizeof count) == sizeof count) {
        for (uint32_t k = 0; k < count; k++) {
            run_case(n, &n->cases[k]);
        }
        if (write(to, &count, sizeof count) != sizeof count) {
            break;
        }
    }
    (void)syscall(SYS_exit, 0);
}

static int map_code(void)
{
    int fd = memfd_create("code", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 4096) != 0) {
        return -errno;
    }
    code_writable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    native_code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    (void)close(fd);
    return code_writable == MAP_FAILED || native_code == MAP_FAILED ? -ENOMEM : 0;
}

int native_start(struct native *n)
{
    int down[2], up[2];
    int r = map_code();

    n->cases = mmap(NULL, NATIVE_CASES * sizeof *n->cases, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    n->arena = mmap(NULL, 2 * NATIVE_ARENA_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r < 0 || n->cases == MAP_FAILED || n->arena == MAP_FAILED ||
        munmap(n->arena + NATIVE_ARENA_BYTES, NATIVE_ARENA_BYTES) != 0) {
        return -ENOMEM;
    }
    if (mmap(n->arena + NATIVE_ARENA_BYTES, NATIVE_ARENA_BYTES, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        return -ENOMEM;
    }
    if (pipe(down) != 0 || pipe(up) != 0) {
        return -errno;
    }
    n->child = fork();
    if (n->child == 0) {
        (void)close(down[1]);
        (void)close(up[0]);
        child(n, down[0], up[1]);
    }
    (void)close(down[0]);
    (void)close(up[1]);
    n->to_child = down[1];
    n->from_child = up[0];
    return n->child < 0 ? -errno : 0;
}

int native_run(struct native *n, unsigned count)
{
    uint32_t c = count;

    for (unsigned k = 0; k < count; k++) {
        n->cases[k].at = (uint64_t)(uintptr_t)native_code;
    }
    if (write(n->to_child, &c, sizeof c) != sizeof c ||
        read(n->from_child, &c, sizeof c) != sizeof c) {
        return -EIO;
    }
    return 0;
}

void native_stop(struct native *n)
{
    (void)close(n->to_child);
    (void)close(n->from_child);
    (void)kill(n->child, SIGKILL);
    (void)waitpid(n->child, NULL, 0);
    (void)munmap(n->cases, NATIVE_CASES * sizeof *n->cases);
    (void)munmap(n->arena, 2 * NATIVE_ARENA_BYTES);
    (void)munmap(code_writable, 4096);
    (void)munmap(native_code, 4096);
}
