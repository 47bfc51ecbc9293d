/* cpu.h - what a program of the processor's bench starts from: no C library.
 *
 * A program is one .c file with `uint64_t work(void)`, which returns a sum of what
 * it did.  Built static and without a library it runs as a Linux process and under
 * bench/cpu/kernel.S alike, by two system calls: write and exit.  It prints "start"
 * and "sum" lines; the time between the two is what a bench measures.
 *
 *     gcc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -o x.elf x.c
 *
 * With -m32 -msse2 it is a program of 32 bits, and the calls are those of i386. */
#ifndef BENCH_CPU_CPU_H
#define BENCH_CPU_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
#    define CPU_WRITE 1 /* numbers of Linux, x86-64 */
#    define CPU_EXIT  60
#else
#    define CPU_WRITE 4 /* ... and i386 */
#    define CPU_EXIT  1
#endif

/* The bare kernel's own; Linux answers -ENOSYS. */
#define CPU_SPACES 0x5354a /* (base, pages, spaces): give each space pages of its own */
#define CPU_SPACE  0x5354b /* (n): go on in space n */
#define CPU_PAGED                                                                        \
    0x5354c /* (base, pages, frames): a window filled on demand, and swapped */

/* Rounds of a program; tests make them fewer. */
#ifndef CPU_DIVISOR
#    define CPU_DIVISOR 1
#endif
#define CPU_ROUNDS(n) ((n) / CPU_DIVISOR > 0 ? (n) / CPU_DIVISOR : 1)

uint64_t work(void);

static inline long cpu_call(long number, long a, long b, long c)
{
    long ret;

#ifdef __x86_64__
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
#else
    __asm__ volatile("int $0x80"
                     : "=a"(ret)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory");
#endif
    return ret;
}

static inline _Noreturn void cpu_exit(int code)
{
    for (;;) {
        (void)cpu_call(CPU_EXIT, code, 0, 0);
    }
}

static inline void cpu_print(const char *text)
{
    long n = 0;

    while (text[n] != 0) {
        n++;
    }
    (void)cpu_call(CPU_WRITE, 1, (long)text, n);
}

/* The sum as the last line, and the end: for `_start`, and for a program that has
 * nothing to do here. */
static inline _Noreturn void cpu_finish(uint64_t sum)
{
    char line[] = "sum 0000000000000000\n";
    int i;

    for (i = 19; i >= 4; i--, sum >>= 4) {
        line[i] = "0123456789abcdef"[sum & 15];
    }
    cpu_print(line);
    cpu_exit(0);
}

static inline _Noreturn void cpu_not_applicable(void)
{
    cpu_print("not applicable\n");
    cpu_exit(0);
}

/* xorshift64*, Vigna 2016 */
static inline uint64_t cpu_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint64_t cpu_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x100000001b3); /* FNV-1a's prime */
}

/* The compiler may call these of its own accord. */
#ifdef __clang__
#    define CPU_AS_WRITTEN
#else
#    define CPU_AS_WRITTEN __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

CPU_AS_WRITTEN void *memset(void *to, int value, size_t n)
{
    char *t = to;
    size_t i;

    for (i = 0; i < n; i++) {
        t[i] = (char)value;
    }
    return to;
}

CPU_AS_WRITTEN void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    char *t = to;
    const char *f = from;
    size_t i;

    for (i = 0; i < n; i++) {
        t[i] = f[i];
    }
    return to;
}

#ifdef __i386__
/* What gcc calls for 64-bit divisions: libgcc of the other width is often missing. */
static inline uint64_t cpu_divide(uint64_t n, uint64_t d, uint64_t *ret_rest)
{
    uint64_t quotient = 0, rest = 0;
    int bit;

    if (d >> 32 == 0) { /* DIV has a dividend of 64 bits, where the quotient has 32 */
        uint32_t high = (uint32_t)(n >> 32), by = (uint32_t)d, low, left;

        __asm__("divl %4"
                : "=a"(low), "=d"(left)
                : "a"((uint32_t)n), "d"(high % by), "r"(by));
        *ret_rest = left;
        return (uint64_t)(high / by) << 32 | low;
    }

    for (bit = 63; bit >= 0; bit--) {
        rest = rest << 1 | (n >> bit & 1);
        if (rest >= d) {
            rest -= d;
            quotient |= UINT64_C(1) << bit;
        }
    }
    *ret_rest = rest;
    return quotient;
}

__attribute__((used)) uint64_t __udivdi3(uint64_t n, uint64_t d)
{
    uint64_t rest;

    return cpu_divide(n, d, &rest);
}

__attribute__((used)) uint64_t __umoddi3(uint64_t n, uint64_t d)
{
    uint64_t rest;

    (void)cpu_divide(n, d, &rest);
    return rest;
}
#endif

__attribute__((force_align_arg_pointer, used)) _Noreturn void _start(void)
{
    cpu_print("start\n");
    cpu_finish(work());
}

#endif
