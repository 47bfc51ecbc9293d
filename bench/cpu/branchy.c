/* branchy.c - a small bytecode machine: loads, a switch and jumps that are hard to
 * foretell.  Its program counts the steps of Collatz sequences. */
#include "cpu.h"

#define LIMIT CPU_ROUNDS(30000) /* sequences */

enum op {
    SET,
    MOVE,
    ADD,
    SHIFT,
    MUL3,
    IS_ODD,
    IS_ONE,
    LESS,
    JUMP,
    JUMP_IF,
    END
};

struct insn {
    uint8_t op, to, from;
    int16_t value;
};

/* r0 start, r1 current, r2 steps in all, r3 condition, r4 limit */
static const struct insn program[] = {
    {SET, 0, 0, 1},       /* 0 */
    {MOVE, 1, 0, 0},      /* 1: next sequence */
    {IS_ONE, 3, 1, 0},    /* 2: next step */
    {JUMP_IF, 0, 3, 8},   /* 3: to 12 */
    {IS_ODD, 3, 1, 0},    /* 4 */
    {JUMP_IF, 0, 3, 2},   /* 5: to 8 */
    {SHIFT, 1, 0, 1},     /* 6 */
    {JUMP, 0, 0, 2},      /* 7: to 10 */
    {MUL3, 1, 0, 0},      /* 8 */
    {ADD, 1, 0, 1},       /* 9 */
    {ADD, 2, 0, 1},       /* 10 */
    {JUMP, 0, 0, -10},    /* 11: to 2 */
    {ADD, 0, 0, 1},       /* 12 */
    {LESS, 3, 0, 4},      /* 13: r3 = r0 < r4 */
    {JUMP_IF, 0, 3, -14}, /* 14: to 1 */
    {END, 0, 0, 0},
};

uint64_t work(void)
{
    uint64_t reg[8] = {0};
    const struct insn *i = program;

    reg[4] = LIMIT;
    for (;; i++) {
        switch ((enum op)i->op) {
        case SET:
            reg[i->to] = (uint64_t)i->value;
            break;
        case MOVE:
            reg[i->to] = reg[i->from];
            break;
        case ADD:
            reg[i->to] += (uint64_t)i->value;
            break;
        case SHIFT:
            reg[i->to] >>= i->value;
            break;
        case MUL3:
            reg[i->to] *= 3;
            break;
        case IS_ODD:
            reg[i->to] = reg[i->from] & 1;
            break;
        case IS_ONE:
            reg[i->to] = reg[i->from] == 1;
            break;
        case LESS:
            reg[i->to] = reg[i->from] < reg[i->value];
            break;
        case JUMP:
            i += i->value;
            break;
        case JUMP_IF:
            i += reg[i->from] != 0 ? i->value : 0;
            break;
        case END:
            return reg[2];
        }
    }
}
