/* native.c - encodings executed on the processor that runs the test. */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/base/check.h"
#include "tests/virt/isa/x86/native.h"

#define PAGE_BYTES  4096
#define STACK_BYTES 65536

/* The child's; its signal handler has no other way to them. */
static sigjmp_buf back;
static volatile uintptr_t fault_rip;
static volatile int fault_signal;
static uintptr_t start, middle;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)info;
    fault_signal = number;
    fault_rip = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    siglongjmp(back, 1);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGALRM};
    stack_t stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    (void)sigaltstack(&stack, NULL);
    for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++) {
        (void)sigaction(numbers[k], &action, NULL);
    }
}

/* Go to `start` with every register in the middle of the buffer. */
static void enter64(void)
{
    __asm__ volatile("mov %0, %%rax\n\tmov %%rax, %%rbx\n\tmov %%rax, %%rcx\n\t"
                     "mov %%rax, %%rdx\n\tmov %%rax, %%rsi\n\tmov %%rax, %%rdi\n\t"
                     "mov %%rax, %%r8\n\tmov %%rax, %%r9\n\tmov %%rax, %%r10\n\t"
                     "mov %%rax, %%r11\n\tmov %%rax, %%r12\n\tmov %%rax, %%r13\n\t"
                     "mov %%rax, %%r14\n\tmov %%rax, %%r15\n\tmov %%rax, %%rbp\n\t"
                     "mov %%rax, %%rsp\n\tjmp *%1"
                     :
                     : "m"(middle), "m"(start)
                     : "memory");
}

/* The same through Linux's code segment of 32 bits; flat data segments. */
static void enter32(void)
{
    static struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) to;

    static uintptr_t at;

    to.offset = (uint32_t)start;
    to.selector = 0x23;
    at = (uintptr_t)&to;
    __asm__ volatile("mov $0x2b, %%eax\n\tmov %%eax, %%ds\n\tmov %%eax, %%es\n\t"
                     "mov %1, %%r15\n\tmov %0, %%rax\n\tmov %%rax, %%rbx\n\t"
                     "mov %%rax, %%rcx\n\tmov %%rax, %%rdx\n\tmov %%rax, %%rsi\n\t"
                     "mov %%rax, %%rdi\n\tmov %%rax, %%rbp\n\tmov %%rax, %%rsp\n\t"
                     "ljmp *(%%r15)"
                     :
                     : "m"(middle), "m"(at)
                     : "memory");
}

/* The bytes stand in the middle of the page. */
static void execute(struct native *one, enum x86_code_mode mode, uint8_t *page,
                    uint8_t *buffer)
{
    memset(page, 0xcc, PAGE_BYTES);
    memcpy(page + PAGE_BYTES / 2, one->bytes, NATIVE_BYTES);
    memset(buffer, 0, PAGE_BYTES);
    start = (uintptr_t)page + PAGE_BYTES / 2;
    middle = (uintptr_t)buffer + PAGE_BYTES / 2;
    (void)alarm(2);
    if (sigsetjmp(back, 1) == 0) {
        (mode == X86_CODE64 ? enter64 : enter32)();
    }
    (void)alarm(0);
    __asm__ volatile("cld\n\tfninit\n\tldmxcsr %0" : : "m"((const uint32_t){0x1f80}));
    if (fault_signal == SIGTRAP && fault_rip > start &&
        fault_rip <= start + NATIVE_BYTES + 1) {
        one->length = (uint8_t)(fault_rip - start - 1);
    }
    one->verdict =
        fault_signal == SIGILL && fault_rip == start ? NATIVE_UNDEFINED : NATIVE_DEFINED;
}

static void run_child(struct native *all, size_t n, enum x86_code_mode mode)
{
    uint8_t *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    uint8_t *buffer = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    if (page == MAP_FAILED || buffer == MAP_FAILED) {
        _exit(1);
    }
    catch_signals();
    for (size_t k = 0; k < n; k++) {
        if (all[k].verdict == NATIVE_UNTRIED) {
            all[k].verdict = NATIVE_TRYING;
            execute(&all[k], mode, page, buffer);
        }
    }
    _exit(0);
}

struct native *native_make(size_t n)
{
    struct native *all = mmap(NULL, n * sizeof *all, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(all != MAP_FAILED);
    return all;
}

void native_free(struct native *all, size_t n)
{
    (void)munmap(all, n * sizeof *all);
}

void native_run(struct native *all, size_t n, enum x86_code_mode mode)
{
    for (size_t first = 0; first < n;) {
        pid_t child = fork();
        int status = 0;

        assert_true(child >= 0);
        if (child == 0) {
            run_child(all + first, n - first, mode);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return;
        }
        while (first < n && all[first].verdict != NATIVE_TRYING) {
            first++;
        }
        if (first < n) {
            all[first++].verdict = NATIVE_DEFINED;
        }
    }
}

struct feature {
    uint32_t leaf, subleaf;
    uint8_t reg, bit;
};

bool native_has(uint8_t feature)
{
    static const struct feature features[] = {
#define X86_FEATURE(id, name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
#include "virt/isa/x86/rows/features.rows.h"
    };
    const struct feature *f = &features[feature];
    uint32_t r[4] = {0};

    if (f->leaf == 0) {
        return true;
    }
    return __get_cpuid_count(f->leaf, f->subleaf, &r[0], &r[1], &r[2], &r[3]) != 0 &&
           r[f->reg] >> f->bit & 1;
}
