/* indirect.c - calls through pointers: the same callee for long, two by turns, and
 * eight by chance. */
#include "cpu.h"

#define ROUNDS CPU_ROUNDS(2500000)

typedef uint64_t function(uint64_t);

#define FUNCTION(n, expression)                                                          \
    __attribute__((noinline)) static uint64_t n(uint64_t x)                              \
    {                                                                                    \
        return expression;                                                               \
    }

FUNCTION(f0, x + 1)
FUNCTION(f1, x ^ 0x5555)
FUNCTION(f2, x * 3)
FUNCTION(f3, x - 77)
FUNCTION(f4, x >> 1)
FUNCTION(f5, ~x)
FUNCTION(f6, x << 1)
FUNCTION(f7, x + 0x1234567)

static function *volatile table[8] = {f0, f1, f2, f3, f4, f5, f6, f7};

uint64_t work(void)
{
    uint64_t x = 1, dice = 88172645463325252;
    uint32_t i;

    for (i = 0; i < ROUNDS; i++) {
        x = table[(i >> 16) & 7](x);
        x = table[i & 1](x);
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        x = table[dice & 7](x);
    }
    return x;
}
