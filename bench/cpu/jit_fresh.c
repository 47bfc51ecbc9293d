/* jit_fresh.c - code that was never there before: functions of 24 instructions are
 * made by the thousand, each runs a few times, and the room is used again. */
#include "code.h"

#define ROUNDS CPU_ROUNDS(6)
#define RUNS   4

uint64_t work(void)
{
    uint64_t sum = 1, seed = 2024;
    unsigned round, i;

    for (round = 0; round < ROUNDS; round++) {
        uint8_t *at = code;

        while (at + 256 < code + CODE_BYTES) {
            uint32_t offset = (uint32_t)(at - code);

            at = put_function(at, 24, &seed);
            for (i = 0; i < RUNS; i++) {
                sum = code_at(offset)(sum);
            }
        }
    }
    return sum;
}
