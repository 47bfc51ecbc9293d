/* shapes_arm_test.c - AArch64 (Arm ARM DDI 0487: C6.2, J1 ConditionHolds, A1.5) in the IR:
 * ADDS and SUBS with CSEL, a load pair with write-back whose second half faults, and the
 * propagation of NaNs.  The front end decodes real instruction words.
 *
 * rows: ISA-03 */
#include "shapes.h"

enum {
    NZCV = 31, /* flags; C after a subtraction is "no borrow": the condition turns it */
    GLOBALS
};

static struct ir_global globals[GLOBALS];
static struct ir_region g;
static struct machine_outcome start, end;
static bool subtracted; /* what NZCV holds, known while lifting */

static void lift_add_or_sub(uint32_t word)
{
    bool sub = (word >> 30 & 1) != 0;
    ir_value a = ir_get(&g, word >> 5 & 31), b = ir_get(&g, word >> 16 & 31);
    ir_value v = ir_2(&g, sub ? IR_SUB : IR_ADD, a, b);

    ir_set(&g, NZCV,
           ir_add(&g, &(struct ir_insn){.op = IR_FLAGS,
                                        .type = IR_FLAGS_TYPE,
                                        .aux = sub ? IR_FLAGS_SUB : IR_FLAGS_ADD,
                                        .imm = 8,
                                        .arg = {a, b}}));
    ir_set(&g, word & 31, v);
    subtracted = sub;
}

/* EQ NE CS CC MI PL VS VC HI LS GE LT GT LE: after a subtraction, and after an addition.
 * HI and LS of an addition are no x86 condition: two conditions joined. */
static ir_value condition(unsigned cond)
{
    static const uint8_t after_sub[] = {IR_COND_Z, IR_COND_NZ, IR_COND_NC, IR_COND_C,
                                        IR_COND_S, IR_COND_NS, IR_COND_O,  IR_COND_NO,
                                        IR_COND_A, IR_COND_BE, IR_COND_GE, IR_COND_L,
                                        IR_COND_G, IR_COND_LE};
    ir_value f = ir_get(&g, NZCV), c, nz;
    struct ir_insn i = {.op = IR_COND, .type = IR_I1, .aux = after_sub[cond], .arg = {f}};

    if (subtracted || (cond != 2 && cond != 3 && cond != 8 && cond != 9)) {
        return ir_add(&g, &i);
    }
    i.aux = IR_COND_C;
    c = ir_add(&g, &i);
    if (cond >= 8) {
        i.aux = IR_COND_NZ;
        nz = ir_add(&g, &i);
        c = ir_2(&g, IR_AND, c, nz);
    }
    return (cond & 1) == 0 ? c : ir_2(&g, IR_XOR, c, ir_const(&g, IR_I1, 1));
}

static void lift_csel(uint32_t word)
{
    ir_value c = condition(word >> 12 & 15);

    ir_set(
        &g, word & 31,
        ir_3(&g, IR_SELECT, IR_I64,
             (ir_value[3]){c, ir_get(&g, word >> 5 & 31), ir_get(&g, word >> 16 & 31)}));
}

/* LDP Xt, Xt2, [Xn], #imm: nothing is written before both halves are read. */
static void lift_ldp_post(uint32_t word, uint64_t pc)
{
    int64_t offset = (int64_t)((int32_t)(word << 10) >> 25) * 8;
    ir_value base = ir_get(&g, word >> 5 & 31), v[2];
    struct ir_insn i = {.op = IR_LOAD,
                        .type = IR_I64,
                        .arg = {base},
                        .access = {.bytes = 8, .space = IR_PAGED}};
    unsigned n;

    for (n = 0; n < 2; n++) {
        i.imm = 8 * n;
        i.map = ir_map_at(&g, pc, 0);
        v[n] = ir_add(&g, &i);
    }
    ir_set(&g, word & 31, v[0]);
    ir_set(&g, word >> 10 & 31, v[1]);
    ir_set(&g, word >> 5 & 31,
           ir_2(&g, IR_ADD, base, ir_const(&g, IR_I64, (uint64_t)offset)));
}

static void begin(void)
{
    ir_region_clear(&g);
    ir_block_begin(&g);
}

static void run(bool coded)
{
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT, .imm = 0x9000});
    shape_run(&g, &start, coded, &end);
}

#define ADDS_X2_X0_X1        0xab010002u
#define SUBS_X2_X0_X1        0xeb010002u
#define CSEL_X5_X3_X4        0x9a840065u
#define LDP_X1_X2_X0_POST_16 0xa8c10801u

static bool holds(unsigned cond, uint64_t a, uint64_t b, bool sub)
{
    uint64_t r = sub ? a - b : a + b;
    bool n = (int64_t)r < 0, z = r == 0, c = sub ? a >= b : r < a;
    bool v = ((sub ? (a ^ b) & (a ^ r) : ~(a ^ b) & (a ^ r)) >> 63) != 0;
    const bool even[] = {z, c, n, v, c && !z, n == v, !z && n == v};

    return even[cond / 2] != ((cond & 1) != 0);
}

static void a_select_sees_every_condition_of_the_sum_before_it(void **state)
{
    static const uint64_t values[] = {
        0, 1, 2, UINT64_MAX, INT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1};
    unsigned a, b, cond, sub;

    (void)state;
    memset(&start, 0, sizeof start);
    start.global[3] = 33;
    start.global[4] = 44;
    for (sub = 0; sub < 2; sub++) {
        for (cond = 0; cond < 14; cond++) {
            for (a = 0; a < 7; a++) {
                for (b = 0; b < 7; b++) {
                    start.global[0] = values[a];
                    start.global[1] = values[b];
                    begin();
                    lift_add_or_sub(sub != 0 ? SUBS_X2_X0_X1 : ADDS_X2_X0_X1);
                    lift_csel(CSEL_X5_X3_X4 | cond << 12);
                    run(true);
                    assert_int_equal(end.global[5],
                                     holds(cond, values[a], values[b], sub != 0) ? 33
                                                                                 : 44);
                }
            }
        }
    }
}

static void a_pair_that_faults_in_its_second_half_changed_nothing(void **state)
{
    uint64_t edge = MACHINE_MEMORY + MACHINE_ABSENT * MACHINE_PAGE - 8;

    (void)state;
    memset(&start, 0, sizeof start);
    memset(start.memory, 0x5a, sizeof start.memory);
    start.global[0] = edge;
    start.global[1] = 11;
    start.global[2] = 22;
    start.global[6] = 1;
    begin();
    lift_add_or_sub(0xab060006u); /* ADDS X6, X0, X6: done before, and to be seen */
    lift_ldp_post(LDP_X1_X2_X0_POST_16, 0x1004);
    run(true);
    assert_int_equal(end.end, EVALUATE_FAULT);
    assert_int_equal(end.pc, 0x1004);
    assert_int_equal(end.global[0], edge);
    assert_int_equal(end.global[1], 11);
    assert_int_equal(end.global[2], 22);
    assert_int_equal(end.global[6], edge + 1);
}

static void a_pair_that_does_not_writes_both_and_the_base(void **state)
{
    (void)state;
    memset(&start, 0, sizeof start);
    memset(start.memory, 0x5a, sizeof start.memory);
    start.global[0] = MACHINE_MEMORY + MACHINE_SLOW * MACHINE_PAGE - 8;
    begin();
    lift_ldp_post(LDP_X1_X2_X0_POST_16, 0x1004);
    run(true);
    assert_int_equal(end.end, EVALUATE_EXIT);
    assert_int_equal(end.global[0], start.global[0] + 16);
    assert_int_equal(end.global[1], UINT64_C(0x5a5a5a5a5a5a5a5a));
    assert_int_equal(end.global[2], UINT64_C(0x5a5a5a5a5a5a5a5a));
}

static uint64_t add_reals(uint64_t a, uint64_t b)
{
    ir_value x, y, v;

    memset(&start, 0, sizeof start);
    start.global[0] = a;
    start.global[1] = b;
    begin();
    x = ir_1(&g, IR_BITS, IR_F64, ir_get(&g, 0));
    y = ir_1(&g, IR_BITS, IR_F64, ir_get(&g, 1));
    v = ir_3(&g, IR_FPICK_ARM, IR_F64, (ir_value[3]){x, y, ir_2(&g, IR_FADD, x, y)});
    ir_set(&g, 2, ir_1(&g, IR_BITS, IR_I64, v));
    run(false);
    return end.global[2];
}

/* FPProcessNaNs: signalling first, then the first, quieted; invalid: positive default. */
static void a_signalling_nan_wins_and_is_quieted(void **state)
{
    const uint64_t quiet_1 = UINT64_C(0x7ff8000000000011);
    const uint64_t quiet_2 = UINT64_C(0xfff8000000000022);
    const uint64_t signal_1 = UINT64_C(0x7ff0000000000031);
    const uint64_t signal_2 = UINT64_C(0x7ff0000000000042);
    const uint64_t one = 0x3ffull << 52, turn = UINT64_C(1) << 51;
    const uint64_t infinity = UINT64_C(0x7ff0000000000000);

    (void)state;
    assert_int_equal(add_reals(quiet_1, signal_2), signal_2 | turn);
    assert_int_equal(add_reals(signal_1, signal_2), signal_1 | turn);
    assert_int_equal(add_reals(signal_1, quiet_2), signal_1 | turn);
    assert_int_equal(add_reals(quiet_1, quiet_2), quiet_1);
    assert_int_equal(add_reals(one, quiet_2), quiet_2);
    assert_int_equal(add_reals(infinity, infinity | UINT64_C(1) << 63),
                     UINT64_C(0x7ff8000000000000));
    assert_int_equal(add_reals(one, one), 0x400ull << 52);
}

static int set_up(void **state)
{
    static char names[GLOBALS][8];
    unsigned n;

    (void)state;
    for (n = 0; n < NZCV; n++) {
        snprintf(names[n], sizeof names[n], "x%u", n);
        globals[n] = (struct ir_global){.name = names[n],
                                        .offset = MACHINE_CELL(n),
                                        .type = IR_I64,
                                        .pin = n < 2 ? (uint8_t)(n + 6) : IR_NO_PIN};
    }
    globals[NZCV] = (struct ir_global){
        .name = "nzcv", .offset = MACHINE_FLAGS, .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN};
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
        cmocka_unit_test(a_select_sees_every_condition_of_the_sum_before_it),
        cmocka_unit_test(a_pair_that_faults_in_its_second_half_changed_nothing),
        cmocka_unit_test(a_pair_that_does_not_writes_both_and_the_base),
        cmocka_unit_test(a_signalling_nan_wins_and_is_quieted),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
