/* alu.c - integer arithmetic in registers: adds, shifts, multiplies, divides. */
#include "cpu.h"

#define ROUNDS CPU_ROUNDS(15000000)

uint64_t work(void)
{
    uint64_t a = 1, b = 0x9e3779b97f4a7c15, c = 7;
    uint32_t i;

    for (i = 1; i <= ROUNDS; i++) {
        a += b ^ (c >> 3);
        b = (b << 13) | (b >> 51);
        c = c * 0x2545f491 + i;
        a ^= a >> 7;
        b -= (uint32_t)a & 0xffffu;
        c += (a > b) ? i : ~a;
        if ((i & 15) == 0) {
            a += b / (i | 1);
            c ^= (uint32_t)c % (i | 1);
        }
    }
    return a ^ b ^ c;
}
