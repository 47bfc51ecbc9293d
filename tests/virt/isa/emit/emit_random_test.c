/* emit_random_test.c - random regions: generated code against the evaluator, with and
 * without the passes, through faults, slow accesses and side exits.
 *
 *     emit_random_test [REGIONS [SEED]]
 *
 * rows: ISA-03 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "tests/base/vendor.h"

#define GLOBALS 18
#define G_FLAGS 16
#define G_COUNT 17 /* rounds of a loop; nothing else touches it */

#define REG(n, pin_)                                                                     \
    {                                                                                    \
        .name = "r" #n, .offset = MACHINE_CELL(n), .type = IR_I64, .pin = pin_           \
    }

static const struct ir_global globals[GLOBALS] = {
    REG(0, 0),
    REG(1, 1),
    REG(2, 2),
    REG(3, 3),
    REG(4, 12),
    REG(5, 5),
    REG(6, 6),
    REG(7, 7),
    REG(8, 8),
    REG(9, 9),
    REG(10, 10),
    REG(11, IR_NO_PIN),
    REG(12, IR_NO_PIN),
    REG(13, IR_NO_PIN),
    REG(14, IR_NO_PIN),
    REG(15, IR_NO_PIN),
    {.name = "flags", .offset = MACHINE_FLAGS, .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN},
    REG(17, IR_NO_PIN),
};

/* ---- random regions, in the shape that a front end makes ---- */

static ir_value some_value(struct ir_region *g, enum ir_type t)
{
    ir_value v;

    if (machine_below(4) == 0) {
        uint64_t c = machine_below(2) == 0 ? machine_below(64) : machine_next();

        return ir_const(g, t, c);
    }
    v = ir_get(g, (uint16_t)machine_below(16));
    return t == IR_I64 ? v : ir_1(g, IR_TRUNC, t, v);
}

static void write_back(struct ir_region *g, unsigned reg, enum ir_type t, ir_value v)
{
    if (t == IR_I32) {
        v = ir_1(g, IR_ZEXT, IR_I64, v);
    } else if (t != IR_I64) {
        v = ir_3(g, IR_DEPOSIT, IR_I64, (ir_value[3]){ir_get(g, (uint16_t)reg), v});
    }
    ir_set(g, (uint16_t)reg, v);
}

static ir_value add_flags(struct ir_region *g, enum ir_flags_kind k, enum ir_type t,
                          ir_value a, ir_value b)
{
    static const uint8_t bytes[] = {
        [IR_I8] = 1, [IR_I16] = 2, [IR_I32] = 4, [IR_I64] = 8};

    return ir_add(g, &(struct ir_insn){.op = IR_FLAGS,
                                       .type = IR_FLAGS_TYPE,
                                       .aux = (uint8_t)k,
                                       .imm = bytes[t],
                                       .arg = {a, b}});
}

static enum ir_type some_type(void)
{
    static const enum ir_type types[] = {IR_I64, IR_I32, IR_I64, IR_I32, IR_I8, IR_I16};

    return types[machine_below(6)];
}

static void random_alu(struct ir_region *g)
{
    static const enum ir_op ops[] = {IR_ADD, IR_SUB, IR_AND, IR_OR, IR_XOR};
    enum ir_op op = ops[machine_below(5)];
    enum ir_type t = some_type();
    unsigned reg = machine_below(16);
    ir_value a = ir_get(g, (uint16_t)reg), b = some_value(g, t), v;
    enum ir_flags_kind k = op == IR_ADD   ? IR_FLAGS_ADD_R
                           : op == IR_SUB ? IR_FLAGS_SUB_R
                                          : IR_FLAGS_LOGIC;

    a = t == IR_I64 ? a : ir_1(g, IR_TRUNC, t, a);
    v = ir_2(g, op, a, b);
    if (machine_below(4) != 0) {
        ir_value f = add_flags(g, k, t, v, k == IR_FLAGS_LOGIC ? 0 : b);

        write_back(g, reg, t, v);
        ir_set(g, G_FLAGS, f);
    } else {
        write_back(g, reg, t, v);
    }
}

static void random_compare(struct ir_region *g)
{
    enum ir_type t = some_type();
    ir_value a = some_value(g, t), b = some_value(g, t);

    ir_set(g, G_FLAGS, add_flags(g, IR_FLAGS_SUB, t, a, b));
}

static void random_step(struct ir_region *g)
{
    enum ir_type t = some_type();
    unsigned reg = machine_below(16);
    ir_value a = ir_get(g, (uint16_t)reg), v, f;
    bool up = machine_below(2) == 0;

    a = t == IR_I64 ? a : ir_1(g, IR_TRUNC, t, a);
    v = ir_2(g, up ? IR_ADD : IR_SUB, a, ir_const(g, t, 1));
    f = add_flags(g, up ? IR_FLAGS_INC_R : IR_FLAGS_DEC_R, t, v, ir_get(g, G_FLAGS));
    write_back(g, reg, t, v);
    ir_set(g, G_FLAGS, f);
}

static void random_shift(struct ir_region *g)
{
    static const enum ir_op ops[] = {IR_SHL, IR_SHR, IR_SAR, IR_ROTL, IR_ROTR};
    enum ir_type t = some_type();
    unsigned reg = machine_below(16), n = machine_below(5);
    ir_value a = ir_get(g, (uint16_t)reg);
    ir_value b =
        machine_below(2) == 0 ? ir_const(g, t, 1 + machine_below(7)) : some_value(g, t);

    a = t == IR_I64 ? a : ir_1(g, IR_TRUNC, t, a);
    write_back(g, reg, t, ir_2(g, ops[n], a, b));
}

/* Flags that keep some of those before: shifts by any count, rotations, a carry alone. */
static void random_kept_flags(struct ir_region *g)
{
    static const enum ir_flags_kind kinds[] = {
        IR_FLAGS_SHL,   IR_FLAGS_SHR,   IR_FLAGS_SAR,   IR_FLAGS_ROL_N, IR_FLAGS_ROR_N,
        IR_FLAGS_CARRY, IR_FLAGS_ROL_R, IR_FLAGS_ROR_R, IR_FLAGS_RESULT};
    enum ir_type t = some_type();
    unsigned reg = machine_below(16), n = machine_below(9);
    ir_value a = some_value(g, t), f;

    if (n < 5) {
        ir_value b = some_value(g, IR_I8), before = ir_get(g, G_FLAGS);

        f = add_flags(g, kinds[n], t, a, b);
        g->insn[f].arg[2] = before;
    } else if (n == 8) {
        f = add_flags(g, IR_FLAGS_RESULT, t, a, some_value(g, t));
    } else {
        f = ir_get(g, G_FLAGS);
        f = add_flags(g, kinds[n], t, a, f);
    }
    write_back(g, reg, t, a);
    ir_set(g, G_FLAGS, f);
}

static void random_unary(struct ir_region *g)
{
    static const enum ir_op ops[] = {IR_NOT, IR_NEG, IR_BSWAP, IR_CLZ, IR_POPCNT, IR_CTZ};

    unsigned reg = machine_below(16), n = machine_below(6);
    enum ir_type t = n != 2 && n != 4        ? some_type()
                     : machine_below(2) == 0 ? IR_I32
                                             : IR_I64;
    ir_value a = ir_get(g, (uint16_t)reg);

    a = t == IR_I64 ? a : ir_1(g, IR_TRUNC, t, a);
    write_back(g, reg, t, ir_1(g, ops[n], t, a));
}

static void random_product(struct ir_region *g)
{
    enum ir_op op = machine_below(2) == 0 ? IR_MULH_U : IR_MULH_S;
    enum ir_type t = machine_below(2) == 0 ? IR_I32 : IR_I64;
    ir_value a = some_value(g, t), b = some_value(g, t);

    write_back(g, machine_below(16), t,
               ir_2(g, machine_below(3) == 0 ? IR_MUL : op, a, b));
}

static void random_extend(struct ir_region *g)
{
    enum ir_type from = (enum ir_type[]){IR_I8, IR_I16, IR_I32}[machine_below(3)];

    ir_value v = ir_1(g, IR_TRUNC, from, ir_get(g, (uint16_t)machine_below(16)));

    ir_set(g, (uint16_t)machine_below(16),
           ir_1(g, machine_below(2) == 0 ? IR_ZEXT : IR_SEXT, IR_I64, v));
}

static ir_value add_condition(struct ir_region *g, ir_value flags)
{
    return ir_add(g, &(struct ir_insn){.op = IR_COND,
                                       .type = IR_I1,
                                       .aux = (uint8_t)machine_below(IR_COND_COUNT),
                                       .arg = {flags}});
}

/* Sometimes of flags that are overtaken before it is used, or even made: for the latter
 * there is no host form. */
static void random_condition(struct ir_region *g)
{
    unsigned reg = machine_below(16), late = machine_below(20);
    ir_value f = ir_get(g, G_FLAGS), c = add_condition(g, f);

    if (late < 8) {
        late < 4 ? random_alu(g) : random_step(g);
    }
    c = late == 0 ? add_condition(g, f) : c;
    if (machine_below(2) == 0) {
        write_back(g, reg, IR_I8, ir_1(g, IR_ZEXT, IR_I8, c));
        return;
    }
    ir_set(g, (uint16_t)reg,
           ir_3(g, IR_SELECT, IR_I64,
                (ir_value[3]){c, ir_get(g, (uint16_t)machine_below(16)),
                              ir_get(g, (uint16_t)reg)}));
}

static void random_access(struct ir_region *g, unsigned step)
{
    enum ir_type t = some_type();
    static const uint8_t bytes[] = {
        [IR_I8] = 1, [IR_I16] = 2, [IR_I32] = 4, [IR_I64] = 8};
    ir_value base = ir_2(g, IR_AND, ir_get(g, (uint16_t)machine_below(16)),
                         ir_const(g, IR_I64, MACHINE_BYTES - 1));
    struct ir_insn i = {.op = machine_below(2) == 0 ? IR_LOAD : IR_STORE,
                        .type = t,
                        .arg = {base},
                        .imm = MACHINE_MEMORY + machine_below(64),
                        .access = {.bytes = bytes[t]}};

    i.map = ir_map_at(g, 0x1000 + step, step);
    if (machine_below(3) == 0) {
        i.arg[1] = ir_2(g, IR_AND, ir_get(g, (uint16_t)machine_below(16)),
                        ir_const(g, IR_I64, 255));
        i.access.scale = (uint8_t)machine_below(4);
    }
    if (i.op == IR_STORE) {
        i.arg[2] = some_value(g, t);
        i.type = IR_VOID;
        ir_add(g, &i);
        return;
    }
    if (t != IR_I8) {
        i.access.bytes = (uint8_t)(1u << machine_below(t - IR_I8 + 1));
        i.access.sign = machine_below(2) == 0;
    }
    write_back(g, machine_below(16), t, ir_add(g, &i));
}

static void random_side_exit(struct ir_region *g, unsigned step)
{
    ir_value c = ir_add(g, &(struct ir_insn){.op = IR_COND,
                                             .type = IR_I1,
                                             .aux = (uint8_t)machine_below(IR_COND_COUNT),
                                             .arg = {ir_get(g, G_FLAGS)}});

    ir_add(g, &(struct ir_insn){.op = IR_EXIT_IF,
                                .arg = {c},
                                .imm = 0x2000 + step,
                                .map = ir_map_at(g, 0x1000 + step, step)});
}

/* One of several accesses by the same base, which may move by constants as a stack does. */
static void random_near(struct ir_region *g, unsigned step, unsigned reg, uint8_t bytes)
{
    static const enum ir_type types[] = {IR_I8, IR_I16, IR_I32, IR_I64};
    enum ir_type t = types[__builtin_ctz(bytes)];
    struct ir_insn i = {.op = machine_below(2) == 0 ? IR_LOAD : IR_STORE,
                        .type = t,
                        .arg = {ir_get(g, (uint16_t)reg)},
                        .imm = (uint64_t)(int64_t)((int)machine_below(80) - 40),
                        .access = {.bytes = bytes,
                                   .aligned = machine_below(6) == 0,
                                   .for_write = machine_below(4) == 0},
                        .map = ir_map_at(g, 0x1000 + step, step)};
    int64_t by = machine_below(2) == 0 ? 8 : -8;

    if (i.access.aligned || machine_below(2) == 0) {
        i.imm &= (uint64_t) - (int64_t)bytes;
    }
    if (i.op == IR_STORE) {
        i.arg[2] = some_value(g, t);
        i.type = IR_VOID;
        ir_add(g, &i);
    } else {
        ir_value v = ir_add(g, &i);
        unsigned to = machine_below(16);

        write_back(g, to == reg ? to ^ 1 : to, t, v);
    }
    if (machine_below(3) == 0) {
        ir_set(
            g, (uint16_t)reg,
            ir_2(g, IR_ADD, ir_get(g, (uint16_t)reg), ir_const(g, IR_I64, (uint64_t)by)));
    }
}

/* Groups of them, mostly near the ends of pages, with other things in between. */
static void random_group(struct ir_region *g, unsigned step)
{
    unsigned reg = machine_below(16), n = 2 + machine_below(5);
    uint64_t page =
        MACHINE_MEMORY + (1 + machine_below(MACHINE_PAGES - 1)) * MACHINE_PAGE;
    uint64_t by = machine_below(4) == 0 ? machine_below(4000) : machine_below(64);
    ir_value base = ir_const(g, IR_I64, machine_below(2) == 0 ? page - by : page + by);

    if (machine_below(4) != 0) { /* an address that is no constant */
        base = ir_2(g, IR_ADD, base,
                    ir_2(g, IR_AND, ir_get(g, (uint16_t)machine_below(16)),
                         ir_const(g, IR_I64, machine_below(2) == 0 ? 0x38 : 0x1f)));
    }
    ir_set(g, (uint16_t)reg, base);
    while (n-- > 0) {
        random_near(g, step, reg, (uint8_t)(1u << machine_below(4)));
        if (machine_below(4) == 0) {
            random_side_exit(g, step);
        } else if (machine_below(3) == 0) {
            random_alu(g);
        }
    }
}

/* Atomic operations, aligned or not, and the other things that only some guests do. */
static void random_atomic(struct ir_region *g, unsigned step)
{
    enum ir_type t = some_type();
    static const uint8_t bytes[] = {
        [IR_I8] = 1, [IR_I16] = 2, [IR_I32] = 4, [IR_I64] = 8};
    bool cas = machine_below(3) == 0;
    ir_value base = ir_2(g, IR_AND, ir_get(g, (uint16_t)machine_below(16)),
                         ir_const(g, IR_I64, MACHINE_BYTES - 1));
    struct ir_insn i = {.op = cas ? IR_CAS : IR_ATOMIC,
                        .type = t,
                        .aux = cas ? 0 : (uint8_t)machine_below(IR_ATOMIC_MAX_U + 1),
                        .access = {.bytes = bytes[t],
                                   .sign = machine_below(2) == 0,
                                   .order = IR_SEQUENTIAL,
                                   .aligned = machine_below(2) == 0}};

    if (t == IR_I32 && machine_below(2) == 0) {
        i.type = IR_I64;
    }
    i.arg[0] = ir_2(g, IR_ADD, base, ir_const(g, IR_I64, MACHINE_MEMORY));
    i.arg[1] = cas ? some_value(g, t) : 0;
    i.arg[2] = some_value(g, t);
    i.map = ir_map_at(g, 0x1000 + step, step);
    write_back(g, machine_below(16), i.type, ir_add(g, &i));
    i = (struct ir_insn){.op = IR_FENCE, .aux = (uint8_t)machine_below(4)};
    ir_add(g, &i);
}

/* Bits of a register from another's, at any place. */
static void random_deposit(struct ir_region *g)
{
    static const enum ir_type parts[] = {IR_I8, IR_I16, IR_I32, IR_I1};

    static const uint8_t bits[] = {8, 16, 32, 1};
    unsigned n = machine_below(4), reg = machine_below(16);
    struct ir_insn i = {.op = IR_DEPOSIT,
                        .type = IR_I64,
                        .imm = machine_below(64 - bits[n]),
                        .arg = {ir_get(g, (uint16_t)reg)}};

    if (parts[n] == IR_I1) {
        i.arg[1] = ir_2(g, machine_below(2) == 0 ? IR_AND : IR_XOR,
                        ir_2(g, IR_SLT, some_value(g, IR_I32), some_value(g, IR_I32)),
                        ir_2(g, IR_ULE, some_value(g, IR_I64), some_value(g, IR_I64)));
    } else {
        i.arg[1] = ir_1(g, IR_TRUNC, parts[n], ir_get(g, (uint16_t)machine_below(16)));
    }
    ir_set(g, (uint16_t)reg, ir_add(g, &i));
}

/* Back to the beginning, a few times, with flags of any kind. */
static void random_loop(struct ir_region *g, unsigned step)
{
    ir_value left = ir_2(g, IR_SUB, ir_get(g, G_COUNT), ir_const(g, IR_I64, 1));

    ir_set(g, G_COUNT, left);
    ir_add(g, &(struct ir_insn){.op = IR_EXIT_IF,
                                .arg = {ir_2(g, IR_EQ, left, ir_const(g, IR_I64, 0))},
                                .imm = 0x4000,
                                .map = ir_map_at(g, 0x1000 + step, step)});
    if (machine_below(2) == 0) {
        random_compare(g);
    } else if (machine_below(2) == 0) {
        random_alu(g);
    }
    ir_jump(g, 0, NULL, 0);
}

static ir_value random_address(struct ir_region *g)
{
    return ir_const(g, IR_I64, machine_next() >> machine_below(48));
}

/* To a known address or another, as a jump or a call: what a call names for its return
 * changes nothing. */
static void random_exit(struct ir_region *g)
{
    struct ir_insn out = {.op = IR_EXIT, .imm = 0x3000};

    if (machine_below(2) == 0) {
        out.op = IR_EXIT_TO;
        out.arg[0] = machine_below(2) == 0 ? ir_get(g, (uint16_t)machine_below(16))
                                           : random_address(g);
    }
    if (machine_below(2) == 0) {
        out.aux = IR_EXIT_CALL;
        out.arg[1] = random_address(g);
    }
    ir_add(g, &out);
}

static void random_region(struct ir_region *g)
{
    unsigned steps = 1 + machine_below(24), n;

    ir_region_clear(g);
    g->forwards = machine_below(2) != 0; /* half of them as the translator has it */
    ir_block_begin(g);
    for (n = 0; n < steps; n++) {
        switch (machine_below(14)) {
        case 0:
        case 1:
        case 2:
            random_alu(g);
            break;
        case 3:
            random_compare(g);
            break;
        case 4:
            random_step(g);
            break;
        case 5:
            machine_below(2) == 0 ? random_shift(g) : random_kept_flags(g);
            break;
        case 6:
            machine_below(2) == 0 ? random_unary(g) : random_extend(g);
            break;
        case 7:
            random_condition(g);
            break;
        case 8:
            random_access(g, n);
            break;
        case 9:
            random_atomic(g, n);
            break;
        case 10:
            machine_below(2) == 0 ? random_deposit(g) : random_product(g);
            break;
        case 11:
            random_group(g, n);
            break;
        default:
            machine_below(3) == 0 ? random_side_exit(g, n) : random_access(g, n);
            break;
        }
    }
    if (machine_below(4) == 0) {
        random_loop(g, n);
    } else {
        random_exit(g);
    }
}

static void random_start(struct machine_outcome *start)
{
    unsigned i;

    for (i = 0; i < 16; i++) {
        start->global[i] = machine_below(3) == 0 ? machine_below(256) : machine_next();
    }
    start->global[G_FLAGS] = machine_next() & 0x8d5;
    start->late = 0;
    if (machine_below(2) == 0) {
        machine_late_flags(start, G_FLAGS);
    }
    start->global[G_COUNT] = 1 + machine_below(4);
    for (i = 0; i < MACHINE_BYTES; i += 512) {
        uint64_t v = machine_next();

        memcpy(start->memory + i, &v, 8);
    }
}

/* How many of `count` regions have no host form; -1: one that has is wrong. */
static long compare(const struct ir_global *table, unsigned long count)
{
    static struct machine_outcome start;
    struct ir_region g;
    unsigned long n;
    long unable = 0;
    int r = 0;

    if (!machine_start(table, GLOBALS)) {
        puts("no memory for code here");
        exit(77);
    }
    ir_region_init(&g, table, GLOBALS);
    for (n = 0; n < count && r <= 0; n++) {
        random_start(&start);
        random_region(&g);
        r = machine_compare(&g, &start);
        unable += r < 0;
    }
    ir_region_fini(&g);
    if (r > 0) {
        printf("region %lu\n", n - 1);
    }
    return r > 0 ? -1 : unable;
}

/* With nearly all host registers pinned, and with nearly all of them free. */
int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 20000;
    static struct ir_global sparse[GLOBALS];
    long pinned, free_ones;
    unsigned n;

    if (!vendor_is_intel()) { /* flags of shifts: IR says what Intel's are */
        printf("skip: " VENDOR_REASON);
        return 77;
    }
    machine_seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
    memcpy(sparse, globals, sizeof sparse);
    for (n = 0; n < GLOBALS; n++) {
        sparse[n].pin = n == 1 ? 3 : n == 2 ? 13 : IR_NO_PIN;
    }
    pinned = compare(globals, count / 2);
    free_ones = pinned < 0 ? -1 : compare(sparse, count / 2);
    if (pinned < 0 || free_ones < 0) {
        return 1;
    }
    printf("%lu regions, %ld have no host form\n", count, pinned + free_ones);
    return (unsigned long)(pinned + free_ones) * 4 > count;
}
