/* calls.c - direct calls and returns, deep and many: Fibonacci by its definition. */
#include "cpu.h"

#define N (CPU_DIVISOR > 1 ? 20 : 35)

__attribute__((noinline, noclone)) static uint64_t fib(unsigned n)
{
    uint64_t a;

    if (n < 2) {
        return n;
    }
    a = fib(n - 1);
    __asm__ volatile("" : "+r"(a)); /* no turning of recursion into a loop */
    return a + fib(n - 2);
}

uint64_t work(void)
{
    return fib(N);
}
