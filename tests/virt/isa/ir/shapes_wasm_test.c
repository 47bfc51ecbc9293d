/* shapes_wasm_test.c - WebAssembly (core specification 2.0: 3.3.8, 4.3.2, 4.3.3) in the IR:
 * a loop whose values are block parameters, a truncation that traps, NaNs.  There are no
 * registers: locals are values, and the only globals are what goes in and comes out.
 *
 * rows: ISA-03 */
#include "shapes.h"

enum {
    IN,
    OUT,
    GLOBALS
};

enum trap {
    TRAP_INVALID = 1, /* invalid conversion to integer */
    TRAP_OVERFLOW
};

static const struct ir_global globals[GLOBALS] = {
    {.name = "in", .offset = MACHINE_CELL(IN), .type = IR_I64, .pin = IR_NO_PIN},
    {.name = "out", .offset = MACHINE_CELL(OUT), .type = IR_I64, .pin = 3},
};
static struct ir_region g;
static struct machine_outcome start, end;

/* (loop (param i32 i32) ... br_if 0): n, sum -> n - 1, sum + n * n while n != 0; `swaps`
 * hands the two over crosswise, so that each edge is a parallel move. */
static void lift_loop(bool swaps)
{
    ir_value in[2], n, sum, next[2];

    ir_region_clear(&g);
    ir_block_begin(&g);
    in[0] = ir_1(&g, IR_TRUNC, IR_I32, ir_get(&g, IN));
    in[1] = ir_const(&g, IR_I32, swaps ? 1 : 0);
    ir_jump(&g, 1, in, 2);
    ir_block_begin(&g);
    n = ir_param(&g, IR_I32);
    sum = ir_param(&g, IR_I32);
    next[0] = ir_2(&g, IR_SUB, n, ir_const(&g, IR_I32, 1));
    next[1] = ir_2(&g, IR_ADD, sum, ir_2(&g, IR_MUL, n, n));
    if (swaps) { /* n, sum -> sum, n, until the first is below the second */
        next[0] = sum;
        next[1] = n;
        in[0] = ir_2(&g, IR_ULT, sum, n);
    } else {
        in[0] = ir_2(&g, IR_NE, next[0], ir_const(&g, IR_I32, 0));
    }
    ir_branch_with(&g, in[0], &(struct ir_way){1, 2, next},
                   &(struct ir_way){2, 1, &next[1]});
    ir_block_begin(&g);
    sum = ir_param(&g, IR_I32);
    ir_set(&g, OUT, ir_1(&g, IR_ZEXT, IR_I64, sum));
    ir_add(&g, &(struct ir_insn){.op = IR_LEAVE});
}

static uint64_t loop(uint64_t in, bool swaps)
{
    memset(&start, 0, sizeof start);
    start.global[IN] = in;
    lift_loop(swaps);
    shape_run(&g, &start, true, &end);
    assert_int_equal(end.end, EVALUATE_LEAVE);
    return end.global[OUT];
}

static void a_loop_carries_its_values_as_parameters(void **state)
{
    (void)state;
    assert_int_equal(loop(1, false), 1);
    assert_int_equal(loop(10, false), 385);
    assert_int_equal(loop(5000, false), (uint32_t)(5000ull * 5001 * 10001 / 6));
}

static void parameters_that_change_places_keep_their_values(void **state)
{
    (void)state;
    assert_int_equal(loop(7, true), 1);
    assert_int_equal(loop(1, true), 1);
    assert_int_equal(loop(0, true), 0);
}

/* More parameters than registers, turned by one place each time round. */
static void many_parameters_rotate(void **state)
{
    ir_value v[13], turned[13], again;
    unsigned n;

    (void)state;
    memset(&start, 0, sizeof start);
    start.global[IN] = 30;
    ir_region_clear(&g);
    ir_block_begin(&g);
    v[12] = ir_get(&g, IN);
    for (n = 0; n < 12; n++) {
        v[n] = ir_const(&g, IR_I64, n == 5 ? UINT64_C(0x123456789a) : n);
    }
    ir_jump(&g, 1, v, 13);
    ir_block_begin(&g);
    for (n = 0; n < 13; n++) {
        v[n] = ir_param(&g, IR_I64);
    }
    for (n = 0; n < 12; n++) {
        turned[n] = v[(n + 1) % 12];
    }
    turned[12] = ir_2(&g, IR_SUB, v[12], ir_const(&g, IR_I64, 1));
    again = ir_2(&g, IR_NE, turned[12], ir_const(&g, IR_I64, 0));
    ir_branch_with(&g, again, &(struct ir_way){1, 13, turned},
                   &(struct ir_way){2, 1, turned});
    ir_block_begin(&g);
    ir_set(&g, OUT, ir_param(&g, IR_I64));
    ir_add(&g, &(struct ir_insn){.op = IR_LEAVE});
    shape_run(&g, &start, true, &end);
    assert_int_equal(end.global[OUT], 6); /* 30 turns of 12 */
}

static void trap_if(ir_value f, enum ir_cond c, enum trap t)
{
    ir_value b = ir_add(
        &g,
        &(struct ir_insn){.op = IR_COND, .type = IR_I1, .aux = (uint8_t)c, .arg = {f}});

    ir_add(&g,
           &(struct ir_insn){
               .op = IR_TRAP_IF, .arg = {b}, .imm = t, .map = ir_map_at(&g, 0x20, 0)});
}

/* i32.trunc_f64_s */
static void truncate(double d)
{
    ir_value v, f;

    memset(&start, 0, sizeof start);
    memcpy(&start.global[IN], &d, sizeof d);
    start.global[OUT] = 0x77;
    ir_region_clear(&g);
    ir_block_begin(&g);
    v = ir_1(&g, IR_BITS, IR_F64, ir_get(&g, IN));
    f = ir_2(&g, IR_FCMP, v, v);
    trap_if(f, IR_COND_P, TRAP_INVALID);
    f = ir_2(&g, IR_FCMP, v, ir_const(&g, IR_F64, UINT64_C(0x41e0000000000000)));
    trap_if(f, IR_COND_NC, TRAP_OVERFLOW); /* 2^31 and more */
    f = ir_2(&g, IR_FCMP, v, ir_const(&g, IR_F64, UINT64_C(0xc1e0000000200000)));
    trap_if(f, IR_COND_BE, TRAP_OVERFLOW); /* -2^31 - 1 and less */
    ir_set(&g, OUT, ir_1(&g, IR_ZEXT, IR_I64, ir_1(&g, IR_FTOI_SAT, IR_I32, v)));
    ir_add(&g, &(struct ir_insn){.op = IR_LEAVE});
    shape_run(&g, &start, false, &end);
}

static void a_truncation_traps_where_it_must_and_only_there(void **state)
{
    static const struct {
        double from;
        int64_t to;
        enum trap trap;
    } cases[] = {{0.0, 0, 0},
                 {-0.9, 0, 0},
                 {3.99, 3, 0},
                 {2147483647.9, INT32_MAX, 0},
                 {2147483648.0, 0, TRAP_OVERFLOW},
                 {-2147483648.9, INT32_MIN, 0},
                 {-2147483649.0, 0, TRAP_OVERFLOW},
                 {__builtin_inf(), 0, TRAP_OVERFLOW},
                 {-__builtin_inf(), 0, TRAP_OVERFLOW},
                 {__builtin_nan(""), 0, TRAP_INVALID}};

    unsigned n;

    (void)state;
    for (n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        truncate(cases[n].from);
        assert_int_equal(end.end, cases[n].trap != 0 ? EVALUATE_TRAP : EVALUATE_LEAVE);
        assert_int_equal(end.trap, cases[n].trap);
        assert_int_equal(end.global[OUT],
                         cases[n].trap != 0 ? 0x77 : (uint32_t)cases[n].to);
    }
}

/* A trap on integers, which has host code: i32.div_u. */
static void a_division_by_zero_traps_in_host_code(void **state)
{
    uint64_t in;

    (void)state;
    for (in = 0; in < 2; in++) {
        ir_value v, zero;

        memset(&start, 0, sizeof start);
        start.global[IN] = in;
        ir_region_clear(&g);
        ir_block_begin(&g);
        v = ir_get(&g, IN);
        ir_set(&g, OUT, ir_const(&g, IR_I64, 5));
        zero = ir_2(&g, IR_EQ, v, ir_const(&g, IR_I64, 0));
        ir_add(&g, &(struct ir_insn){.op = IR_TRAP_IF,
                                     .arg = {zero},
                                     .imm = TRAP_INVALID,
                                     .map = ir_map_at(&g, 0x30, 0)});
        ir_set(&g, OUT, ir_const(&g, IR_I64, 6));
        ir_add(&g, &(struct ir_insn){.op = IR_LEAVE});
        shape_run(&g, &start, true, &end);
        assert_int_equal(end.end, in == 0 ? EVALUATE_TRAP : EVALUATE_LEAVE);
        assert_int_equal(end.global[OUT], in == 0 ? 5 : 6);
    }
}

/* Any NaN that comes out is canonical; fneg and copysign are bit operations. */
static void nans_that_come_out_are_canonical(void **state)
{
    ir_value v, w;

    (void)state;
    memset(&start, 0, sizeof start);
    start.global[IN] = UINT64_C(0xfff0000000000123);
    ir_region_clear(&g);
    ir_block_begin(&g);
    v = ir_1(&g, IR_BITS, IR_F64, ir_get(&g, IN));
    w = ir_2(&g, IR_FMUL, v, ir_const(&g, IR_F64, 0));
    ir_set(&g, OUT, ir_1(&g, IR_BITS, IR_I64, ir_1(&g, IR_FCANON, IR_F64, w)));
    ir_add(&g, &(struct ir_insn){.op = IR_LEAVE});
    shape_run(&g, &start, false, &end);
    assert_int_equal(end.global[OUT], UINT64_C(0x7ff8000000000000));
}

static int set_up(void **state)
{
    (void)state;
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
        cmocka_unit_test(a_loop_carries_its_values_as_parameters),
        cmocka_unit_test(parameters_that_change_places_keep_their_values),
        cmocka_unit_test(many_parameters_rotate),
        cmocka_unit_test(a_truncation_traps_where_it_must_and_only_there),
        cmocka_unit_test(a_division_by_zero_traps_in_host_code),
        cmocka_unit_test(nans_that_come_out_are_canonical),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
