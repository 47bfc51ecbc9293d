/* jit_rewrite.c - code that changes under way: an immediate is patched in a hot
 * loop's callee, a call is turned to another target, and a function is written anew
 * on the page that the others run from. */
#include "code.h"

#define ROUNDS CPU_ROUNDS(24000)
#define RUNS   8

/* +0: add rax, imm32; ret.  +32: jmp rel32 to +64 or +96; all take their argument first. */
static void make_code(void)
{
    uint8_t *at = put(code, ARGUMENT WIDE "\x05", ARGUMENT_BYTES + WIDE_BYTES + 1);

    put(put32(at, 1), "\xc3", 1);
    put32(put(code + 32, "\xe9", 1), 64 - 37);
    at = put(code + 64, ARGUMENT, ARGUMENT_BYTES);
    put(at, WIDE "\x83\xc0\x03\xc3", WIDE_BYTES + 4); /* add rax, 3; ret */
    at = put(code + 96, ARGUMENT, ARGUMENT_BYTES);
    put(at, WIDE "\xf7\xd0\xc3", WIDE_BYTES + 3); /* not rax; ret */
}

uint64_t work(void)
{
    uint64_t sum = 1, seed = 11;
    uint32_t round, i;

    make_code();
    for (round = 0; round < ROUNDS; round++) {
        put32(code + ARGUMENT_BYTES + WIDE_BYTES + 1, round * 2654435761u >> 1);
        if ((round & 7) == 0) {
            put32(code + 33, (round & 8) != 0 ? 96 - 37 : 64 - 37);
        }
        if ((round & 31) == 0) {
            (void)put_function(code + 128, 12, &seed);
        }
        for (i = 0; i < RUNS; i++) {
            sum = code_at(0)(sum);
            sum = code_at(32)(sum);
            sum = (round & 31) == 0 ? code_at(128)(sum) : sum;
        }
    }
    return sum;
}
