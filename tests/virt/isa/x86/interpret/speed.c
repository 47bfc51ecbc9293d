/* speed.c - guest instructions a second of the interpreter, on code that the compiler
 * made: an ALU loop, branches, loads and stores, calls, rewritten code.  Not a test: `meson test
 * --benchmark`, in a release build. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "machine.h"
#include "tests/base/check.h"

#ifdef __clang__
#    define PLAIN __attribute__((no_sanitize("all"), no_stack_protector))
#else
#    define PLAIN                                                                        \
        __attribute__((noclone, no_sanitize("all"),                                      \
                       optimize("no-stack-protector", "no-tree-vectorize")))
#endif
#define GUEST PLAIN __attribute__((noinline, section("guest"), used))

extern const uint8_t __start_guest[];
extern const uint8_t __stop_guest[];

GUEST static uint64_t alu(uint8_t *data, uint64_t n)
{
    uint64_t a = 1;
    uint64_t b = 2;

    (void)data;
    for (uint64_t k = 0; k < n; k++) {
        a = (a << 7 | a >> 57) + (b ^ k);
        b += a & (k + 3);
        __asm__ volatile("" : "+r"(a), "+r"(b));
    }
    return a + b;
}

GUEST static uint64_t sieve(uint8_t *data, uint64_t n)
{
    uint64_t count = 0;

    for (uint64_t k = 0; k < n; k++) {
        data[k] = 1;
        __asm__ volatile("" ::: "memory");
    }
    for (uint64_t k = 2; k < n; k++) {
        if (data[k]) {
            count++;
            for (uint64_t j = k * 2; j < n; j += k) {
                data[j] = 0;
            }
        }
    }
    return count;
}

GUEST static uint64_t fib(uint8_t *data, uint64_t n)
{
    return n < 2 ? n : fib(data, n - 1) + fib(data, n - 2);
}

GUEST static uint64_t sort(uint8_t *data, uint64_t n)
{
    uint32_t *v = (uint32_t *)(void *)data;
    uint32_t seed = 1;

    for (uint64_t k = 0; k < n; k++) {
        seed = seed * 1664525 + 1013904223;
        v[k] = seed;
    }
    for (uint64_t gap = n / 2; gap > 0; gap /= 2) {
        for (uint64_t k = gap; k < n; k++) {
            uint32_t x = v[k];
            uint64_t j = k;

            for (; j >= gap && v[j - gap] > x; j -= gap) {
                v[j] = v[j - gap];
            }
            v[j] = x;
        }
    }
    return v[n / 2];
}

/* A function is written anew before each of its calls. */
GUEST static uint64_t jit(uint8_t *data, uint64_t n)
{
    uint64_t sum = 0;

    for (uint64_t k = 0; k < n; k++) {
        uint64_t (*f)(uint64_t) = 0;
        uint8_t *at = data + (k & 63) * 16;

        *(volatile uint64_t *)(void *)at = 0xc3c78948c0ff9090u | (k & 1) << 32;
        *(volatile uint32_t *)(void *)at = 0x90f88948; /* mov rax, rdi; nop */
        *(volatile uint32_t *)(void *)(at + 4) = (uint32_t)(0xc300c083u | (k & 7) << 16);
        __asm__ volatile("mov %1, %0" : "=r"(f) : "r"(at));
        sum += f(k);
    }
    return sum;
}

typedef uint64_t kernel(uint8_t *data, uint64_t n);

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others may be busy */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void measure(const char *name, kernel *k, uint64_t n)
{
    static uint8_t *data; /* the jit kernel runs from it */
    struct machine m;
    struct x86_regs r;
    struct cpu_counters before;
    struct cpu_counters after;
    uintptr_t at;
    double start;
    double seconds;

    if (data == NULL) {
        data = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(data != MAP_FAILED);
    }
    machine_init(&m, MACHINE_LONG, "v3");
    machine_put(&m, 0x20000, __start_guest, (uint64_t)(__stop_guest - __start_guest));
    memcpy(&at, &k, sizeof at);
    machine_regs(&m, &r);
    machine_poke(&m, MACHINE_CODE, 0xf4d0ff, 3); /* call rax; hlt */
    r.gpr[X86_RAX] = 0x20000 + (at - (uintptr_t)__start_guest);
    r.gpr[X86_RDI] = 0x400000;
    r.gpr[X86_RSI] = n;
    machine_set(&m, &r);
    cpu_count(m.cpu[0], &before);
    start = now();
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    seconds = now() - start;
    cpu_count(m.cpu[0], &after);
    machine_get(&m, &r);
    printf("%-8s %8.1f M/s  %s  (%.2f s, %lu instructions)\n", name,
           (double)(after.interpreted - before.interpreted) / seconds * 1e-6,
           r.gpr[X86_RAX] == k(data, n) ? "right" : "WRONG", seconds,
           (unsigned long)(after.interpreted - before.interpreted));
    machine_fini(&m);
}

int main(void)
{
    measure("alu", alu, 10000000);
    measure("sieve", sieve, 2000000);
    measure("fib", fib, 30);
    measure("sort", sort, 200000);
    measure("jit", jit, 300000);
    return 0;
}
