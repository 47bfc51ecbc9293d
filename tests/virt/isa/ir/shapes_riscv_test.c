/* shapes_riscv_test.c - RISC-V (unprivileged ISA 20191213: 8.2, 8.4, 11.3) in the IR:
 * LR/SC by a reservation of address and value and a compare-and-swap, AMOs, canonical
 * NaNs.  The front end decodes real instruction words and knows nothing of x86.
 *
 * rows: ISA-03 */
#include "shapes.h"

enum {
    X = 0, /* x0 is never read or written as a global */
    RESERVED_AT = 32,
    RESERVED_VALUE,
    GLOBALS
};

static struct ir_global globals[GLOBALS];
static struct ir_region g;
static struct machine_outcome start, end;

static ir_value reg(unsigned n)
{
    return n == 0 ? ir_const(&g, IR_I64, 0) : ir_get(&g, (uint16_t)(X + n));
}

static void set_reg(unsigned n, ir_value v)
{
    if (n != 0) {
        ir_set(&g, (uint16_t)(X + n), v);
    }
}

static unsigned rd(uint32_t word)
{
    return word >> 7 & 31;
}

static unsigned rs1(uint32_t word)
{
    return word >> 15 & 31;
}

static unsigned rs2(uint32_t word)
{
    return word >> 20 & 31;
}

static struct ir_insn access_of(uint32_t word, enum ir_op op, uint64_t pc)
{
    return (struct ir_insn){.op = (uint16_t)op,
                            .type = IR_I64,
                            .arg = {reg(rs1(word))},
                            .map = ir_map_at(&g, pc, 0),
                            .access = {.bytes = (word >> 12 & 7) == 2 ? 4 : 8,
                                       .sign = true,
                                       .order = IR_SEQUENTIAL,
                                       .aligned = true}};
}

static void lift_lr(uint32_t word, uint64_t pc)
{
    struct ir_insn i = access_of(word, IR_LOAD, pc);
    ir_value v;

    i.access.for_write = true;
    v = ir_add(&g, &i);
    ir_set(&g, RESERVED_AT, i.arg[0]);
    ir_set(&g, RESERVED_VALUE, v);
    set_reg(rd(word), v);
}

/* Three blocks: the address is the reserved one, so try; it is not; both meet. */
static void lift_sc(uint32_t word, uint64_t pc)
{
    struct ir_insn i = access_of(word, IR_CAS, pc);
    ir_value same = ir_2(&g, IR_EQ, i.arg[0], ir_get(&g, RESERVED_AT)), one, v, done;
    uint32_t attempt = g.blocks, give_up = attempt + 1, meet = attempt + 2;

    ir_branch(&g, same, attempt, give_up);
    ir_block_begin(&g);
    i.arg[0] = reg(rs1(word));
    i.arg[1] = ir_get(&g, RESERVED_VALUE);
    i.arg[2] = reg(rs2(word));
    v = ir_1(&g, IR_ZEXT, IR_I64, ir_2(&g, IR_NE, ir_add(&g, &i), i.arg[1]));
    ir_jump(&g, meet, &v, 1);
    ir_block_begin(&g);
    one = ir_const(&g, IR_I64, 1);
    ir_jump(&g, meet, &one, 1);
    ir_block_begin(&g);
    done = ir_param(&g, IR_I64);
    ir_set(&g, RESERVED_AT, ir_const(&g, IR_I64, 1)); /* no aligned address */
    set_reg(rd(word), done);
}

static void lift_amo(uint32_t word, uint64_t pc)
{
    static const uint8_t kinds[32] = {
        [0x00] = IR_ATOMIC_ADD,   [0x01] = IR_ATOMIC_SWAP,  [0x04] = IR_ATOMIC_XOR,
        [0x0c] = IR_ATOMIC_AND,   [0x08] = IR_ATOMIC_OR,    [0x10] = IR_ATOMIC_MIN_S,
        [0x14] = IR_ATOMIC_MAX_S, [0x18] = IR_ATOMIC_MIN_U, [0x1c] = IR_ATOMIC_MAX_U};
    struct ir_insn i = access_of(word, IR_ATOMIC, pc);

    i.aux = kinds[word >> 27];
    i.arg[2] = reg(rs2(word));
    set_reg(rd(word), ir_add(&g, &i));
}

static void lift(uint32_t word, uint64_t pc)
{
    switch (word >> 27) {
    case 0x02:
        lift_lr(word, pc);
        break;
    case 0x03:
        lift_sc(word, pc);
        break;
    default:
        lift_amo(word, pc);
        break;
    }
}

static void begin(void)
{
    ir_region_clear(&g);
    ir_block_begin(&g);
}

static void run(void)
{
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT, .imm = 0x9000});
    shape_run(&g, &start, true, &end);
}

static void put(unsigned at, uint32_t v)
{
    memcpy(start.memory + at, &v, sizeof v);
}

static uint32_t word_at(unsigned at)
{
    uint32_t v;

    memcpy(&v, end.memory + at, sizeof v);
    return v;
}

#define LR_W_X5_X10    0x100522afu
#define SC_W_X6_X7_X10 0x1875232fu
#define AMO(kind, wide)                                                                  \
    ((kind) << 27 | 7u << 20 | 10u << 15 | (wide) << 12 | 5u << 7 | 0x2f)

static void reserve(unsigned at)
{
    memset(&start, 0, sizeof start);
    start.global[10] = MACHINE_MEMORY + at;
    start.global[7] = 0x55;
    put(at, 0x80000001);
    begin();
    lift(LR_W_X5_X10, 0x1000);
    run();
    assert_int_equal(end.global[5], 0xffffffff80000001);
    assert_int_equal(end.global[RESERVED_AT], MACHINE_MEMORY + at);
    start = end;
}

static void store(void)
{
    begin();
    lift(SC_W_X6_X7_X10, 0x1004);
    run();
}

static void a_store_conditional_stores_behind_its_reservation(void **state)
{
    static const unsigned at[] = {0x40, MACHINE_SLOW * MACHINE_PAGE + 8};
    unsigned n;

    (void)state;
    for (n = 0; n < 2; n++) {
        reserve(at[n]);
        store();
        assert_int_equal(end.global[6], 0);
        assert_int_equal(word_at(at[n]), 0x55);
        start = end; /* one reservation serves once */
        start.global[7] = 0x66;
        store();
        assert_int_equal(end.global[6], 1);
        assert_int_equal(word_at(at[n]), 0x55);
    }
}

static void it_fails_when_another_wrote_there_or_the_address_is_another(void **state)
{
    (void)state;
    reserve(0x40);
    put(0x40, 7);
    store();
    assert_int_equal(end.global[6], 1);
    assert_int_equal(word_at(0x40), 7);
    reserve(0x40);
    start.global[10] += 4;
    store();
    assert_int_equal(end.global[6], 1);
    assert_int_equal(word_at(0x44), 0);
}

static void both_faults_of_the_pair_leave_every_register(void **state)
{
    (void)state;
    memset(&start, 0, sizeof start);
    start.global[5] = 0x77;
    start.global[10] = MACHINE_MEMORY + MACHINE_ABSENT * MACHINE_PAGE;
    begin();
    lift(LR_W_X5_X10, 0x1000);
    run();
    assert_int_equal(end.end, EVALUATE_FAULT);
    assert_int_equal(end.pc, 0x1000);
    assert_int_equal(end.global[5], 0x77);
    start.global[10] = MACHINE_MEMORY + 0x42; /* unaligned */
    begin();
    lift(LR_W_X5_X10, 0x1000);
    run();
    assert_int_equal(end.end, EVALUATE_FAULT);
}

struct amo {
    uint32_t word;
    uint64_t memory, x7, left;
};

static void every_amo_gives_the_old_value_and_leaves_the_new(void **state)
{
    static const struct amo amos[] = {
        {AMO(0x00u, 2u), 0xffffffff, 2, 1},
        {AMO(0x01u, 2u), 0x80000000, 9, 9},
        {AMO(0x04u, 2u), 0xf0f0f0f0, 0xff00ff00, 0x0ff00ff0},
        {AMO(0x0cu, 2u), 0xf0f0f0f0, 0xff00ff00, 0xf000f000},
        {AMO(0x08u, 2u), 0xf0f0f0f0, 0xff00ff00, 0xfff0fff0},
        {AMO(0x10u, 2u), 0x80000000, 1, 0x80000000},
        {AMO(0x10u, 2u), 5, 0xffffffff, 0xffffffff},
        {AMO(0x14u, 2u), 0x80000000, 1, 1},
        {AMO(0x18u, 2u), 0x80000000, 1, 1},
        {AMO(0x1cu, 2u), 0x80000000, 1, 0x80000000},
        {AMO(0x00u, 3u), UINT64_MAX, 3, 2},
        {AMO(0x10u, 3u), UINT64_C(1) << 63, 1, UINT64_C(1) << 63},
        {AMO(0x1cu, 3u), 1, UINT64_C(1) << 63, UINT64_C(1) << 63},
    };
    unsigned n;

    (void)state;
    for (n = 0; n < sizeof amos / sizeof amos[0]; n++) {
        bool wide = (amos[n].word >> 12 & 7) == 3;
        uint64_t left = 0;

        memset(&start, 0, sizeof start);
        memcpy(start.memory + 0x80, &amos[n].memory, 8);
        start.global[10] = MACHINE_MEMORY + 0x80;
        start.global[7] = amos[n].x7;
        begin();
        lift(amos[n].word, 0x1000);
        run();
        assert_int_equal(end.global[5],
                         wide ? amos[n].memory : (uint64_t)(int32_t)amos[n].memory);
        memcpy(&left, end.memory + 0x80, wide ? 8 : 4);
        assert_int_equal(left, amos[n].left);
    }
}

static uint64_t canonical(enum ir_op op, uint64_t a, uint64_t b)
{
    ir_value x, y;

    memset(&start, 0, sizeof start);
    start.global[5] = a;
    start.global[6] = b;
    begin();
    x = ir_1(&g, IR_BITS, IR_F64, reg(5));
    y = ir_1(&g, IR_BITS, IR_F64, reg(6));
    x = ir_1(&g, IR_FCANON, IR_F64, ir_2(&g, op, x, y));
    set_reg(7, ir_1(&g, IR_BITS, IR_I64, x));
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    shape_run(&g, &start, false, &end);
    return end.global[7];
}

static void a_nan_result_is_the_canonical_one(void **state)
{
    const uint64_t canon = UINT64_C(0x7ff8000000000000);
    const uint64_t infinity = UINT64_C(0x7ff0000000000000), one = 0x3ffull << 52;

    (void)state;
    assert_int_equal(canonical(IR_FADD, UINT64_C(0xfff8000000001234), one), canon);
    assert_int_equal(canonical(IR_FADD, one, UINT64_C(0x7ff0000000000001)), canon);
    assert_int_equal(canonical(IR_FSUB, infinity, infinity), canon);
    assert_int_equal(canonical(IR_FDIV, 0, 0), canon);
    assert_int_equal(canonical(IR_FMUL, one, one), one);
}

static int set_up(void **state)
{
    static char names[GLOBALS][16];
    unsigned n;

    (void)state;
    for (n = 0; n < GLOBALS; n++) {
        snprintf(names[n], sizeof names[n], n < 32 ? "x%u" : "reserved%u", n);
        globals[n] = (struct ir_global){.name = names[n],
                                        .offset = MACHINE_CELL(n),
                                        .type = IR_I64,
                                        .pin = n == 7    ? 0
                                               : n == 10 ? 3
                                                         : IR_NO_PIN};
    }
    ir_region_init(&g, globals, GLOBALS);
    return machine_start(globals, GLOBALS) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ir_region_fini(&g);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_conditional_stores_behind_its_reservation),
        cmocka_unit_test(it_fails_when_another_wrote_there_or_the_address_is_another),
        cmocka_unit_test(both_faults_of_the_pair_leave_every_register),
        cmocka_unit_test(every_amo_gives_the_old_value_and_leaves_the_new),
        cmocka_unit_test(a_nan_result_is_the_canonical_one),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
