/* wide.c - much code, each piece of it run some ninety times: what the start of a kernel or
 * of a large program is like.  1,024 functions of some 40 instructions with branches,
 * loads and stores, each with other constants. */
#include "cpu.h"

#define ROUNDS CPU_ROUNDS(90)
#define CELLS  256

static uint64_t cell[CELLS];

#define PIECE(n)                                                                         \
    static __attribute__((noinline)) uint64_t piece_##n(uint64_t a, uint64_t b)          \
    {                                                                                    \
        uint64_t c = cell[(a ^ (n)) % CELLS], d = a * (n * 2654435761u + 12345);         \
                                                                                         \
        if ((a >> (n % 13)) & 1) {                                                       \
            d += c ^ (b << (n % 29 + 1));                                                \
        } else {                                                                         \
            d ^= (b - c) >> (n % 7 + 1);                                                 \
        }                                                                                \
        cell[(n * 7 + 3) % CELLS] = d;                                                   \
        if (c < d) {                                                                     \
            c = d - c + n;                                                               \
            cell[(b + n) % CELLS] += (uint32_t)c;                                        \
        }                                                                                \
        switch (n % 4) {                                                                 \
        case 0:                                                                          \
            return c + (d | b);                                                          \
        case 1:                                                                          \
            return (c << (n % 11 + 1)) - d;                                              \
        case 2:                                                                          \
            return c ^ (d & 0xff00ff00ff) ^ (uint16_t)b;                                 \
        default:                                                                         \
            return ~c + (d >> 3) + (int8_t)a;                                            \
        }                                                                                \
    }

#define NAME(n)       piece_##n,
#define FOUR(M, n)    M(n##0) M(n##1) M(n##2) M(n##3)
#define SIXTEEN(M, n) FOUR(M, n##0) FOUR(M, n##1) FOUR(M, n##2) FOUR(M, n##3)
#define MANY(M, n)    SIXTEEN(M, n##0) SIXTEEN(M, n##1) SIXTEEN(M, n##2) SIXTEEN(M, n##3)
/* clang-format off */
#define ALL(M)                                                                    \
    MANY(M, 1)  MANY(M, 2)  MANY(M, 3)  MANY(M, 4)  MANY(M, 5)  MANY(M, 6)        \
    MANY(M, 7)  MANY(M, 8)  MANY(M, 9)  MANY(M, 11) MANY(M, 12) MANY(M, 13)       \
    MANY(M, 14) MANY(M, 15) MANY(M, 16) MANY(M, 17)
/* clang-format on */

ALL(PIECE)

typedef uint64_t piece(uint64_t a, uint64_t b);

static piece *const pieces[] = {ALL(NAME)};

uint64_t work(void)
{
    uint64_t sum = 1;
    unsigned n, round;

    for (round = 0; round < ROUNDS; round++) {
        for (n = 0; n < sizeof pieces / sizeof pieces[0]; n++) {
            sum = pieces[n](sum, round + n) + (sum >> 5);
        }
    }
    return sum;
}
