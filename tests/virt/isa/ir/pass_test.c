/* pass_test.c - each pass alone keeps what random regions mean, faults and side exits
 * included, and does what it is for.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "evaluate.h"
#include "virt/isa/ir/private.h"

enum {
    REGS = 6, /* r0 is pinned */
    FLAGS = REGS,
    GLOBALS
};

#define R(n, pin_)                                                                       \
    {                                                                                    \
        .name = "r" #n, .type = IR_I64, .pin = pin_                                      \
    }

static const struct ir_global globals[GLOBALS] = {
    R(0, 0),
    R(1, IR_NO_PIN),
    R(2, IR_NO_PIN),
    R(3, IR_NO_PIN),
    R(4, IR_NO_PIN),
    R(5, IR_NO_PIN),
    {.name = "flags", .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN},
};

typedef void pass_fn(struct ir_region *g);

static pass_fn *const passes[] = {ir_pass_peel, ir_pass_forward, ir_pass_simplify,
                                  ir_pass_sink, ir_pass_dead,    ir_pass_window,
                                  ir_optimise};

static struct ir_region g;
static uint64_t seed = 1;

static unsigned below(unsigned n)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) >> 33) % n;
}

/* ---- random regions: few registers and small constants, so that values meet ---- */

static ir_value value(enum ir_type t)
{
    ir_value v = below(3) == 0 ? ir_const(&g, IR_I64, below(4) - 1ull)
                               : ir_get(&g, (uint16_t)below(REGS));

    if (t != IR_I64 || below(8) == 0) {
        v = ir_1(&g, IR_TRUNC, t, v);
    }
    return below(8) == 0 ? ir_1(&g, IR_TRUNC, t, ir_1(&g, IR_SEXT, IR_I64, v)) : v;
}

static void keep(ir_value v)
{
    if (g.insn[v].type != IR_I64) {
        v = ir_1(&g, below(2) == 0 ? IR_ZEXT : IR_SEXT, IR_I64, v);
    }
    ir_set(&g, (uint16_t)below(REGS), v);
}

static ir_value condition(void)
{
    return ir_add(&g, &(struct ir_insn){.op = IR_COND,
                                        .type = IR_I1,
                                        .aux = (uint8_t)below(IR_COND_COUNT),
                                        .arg = {ir_get(&g, FLAGS)}});
}

static void calculate(void)
{
    static const enum ir_op ops[] = {IR_ADD, IR_SUB, IR_AND, IR_OR,    IR_XOR,
                                     IR_MUL, IR_SHL, IR_SAR, IR_DIV_U, IR_ROTR};

    static const enum ir_type types[] = {IR_I8, IR_I16, IR_I32, IR_I64};

    unsigned t = below(4);
    ir_value a = value(types[t]), b = value(types[t]);

    keep(ir_2(&g, ops[below(10)], a, b));
    if (below(2) == 0) {
        ir_set(&g, FLAGS,
               ir_add(&g, &(struct ir_insn){.op = IR_FLAGS,
                                            .type = IR_FLAGS_TYPE,
                                            .aux = below(2) == 0 ? IR_FLAGS_SUB
                                                                 : IR_FLAGS_ADD,
                                            .imm = 1u << t,
                                            .arg = {a, b}}));
    }
}

static void reach(unsigned step)
{
    struct ir_insn i = {.op = IR_LOAD,
                        .type = IR_I64,
                        .arg = {value(IR_I64)},
                        .map = ir_map_at(&g, 0x100 + step, step),
                        .access = {.bytes = 8}};

    if (below(2) == 0) {
        i.op = IR_STORE;
        i.type = IR_VOID;
        i.arg[2] = value(IR_I64);
        ir_add(&g, &i);
        return;
    }
    keep(ir_add(&g, &i));
}

static void step_at(unsigned step)
{
    switch (below(6)) {
    case 0:
        reach(step);
        break;
    case 1:
        ir_add(&g, &(struct ir_insn){.op = IR_EXIT_IF,
                                     .arg = {condition()},
                                     .imm = 0x200 + step,
                                     .map = ir_map_at(&g, 0x100 + step, step)});
        break;
    case 2:
        keep(ir_3(&g, IR_SELECT, IR_I64,
                  (ir_value[3]){condition(), value(IR_I64), value(IR_I64)}));
        break;
    default:
        calculate();
        break;
    }
}

/* Two blocks, the second with a parameter. */
static void random_region(void)
{
    unsigned steps = 2 + below(20), n;
    ir_value v;

    ir_region_clear(&g);
    ir_block_begin(&g);
    for (n = 0; n < steps; n++) {
        if (n == steps / 2) {
            v = value(IR_I64);
            ir_jump(&g, 1, &v, 1);
            ir_block_begin(&g);
            v = ir_param(&g, IR_I64);
            ir_set(&g, 2, v);
        }
        step_at(n);
    }
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT, .imm = 0x300});
}

/* ---- what they mean ---- */

struct meaning {
    uint64_t global[GLOBALS], memory[16], pc;
    enum evaluate_end end;
};

static bool load(void *who, uint64_t at, unsigned bytes, uint64_t *ret)
{
    (void)bytes;
    *ret = ((uint64_t *)who)[at & 15];
    return at % 5 != 4;
}

static bool store(void *who, uint64_t at, unsigned bytes, uint64_t v)
{
    (void)bytes;
    if (at % 5 != 4) {
        ((uint64_t *)who)[at & 15] = v;
    }
    return at % 5 != 4;
}

static struct meaning meaning_of(const struct meaning *start)
{
    struct meaning m = *start;
    struct evaluate v = {.global = m.global,
                         .load = load,
                         .store = store,
                         .who = m.memory,
                         .steps_most = 10000};

    m.end = evaluate_region(&g, &v);
    m.pc = v.pc;
    return m;
}

static void keeps_meaning(pass_fn *pass)
{
    struct meaning start = {0}, before, after;
    char why[160] = "";
    unsigned n;

    for (n = 0; n < GLOBALS; n++) {
        start.global[n] = below(4) == 0 ? ~0ull : below(9);
    }
    start.global[FLAGS] &= 0x8d5;
    random_region();
    before = meaning_of(&start);
    pass(&g);
    if (!ir_verify(&g, why, sizeof why)) {
        fail_msg("%s", why);
    }
    after = meaning_of(&start);
    assert_int_equal(after.end, before.end);
    assert_int_equal(after.pc, before.pc);
    assert_memory_equal(after.global, before.global, sizeof after.global);
    assert_memory_equal(after.memory, before.memory, sizeof after.memory);
}

static void each_pass_keeps_what_a_region_means(void **state)
{
    unsigned p, n;

    (void)state;
    for (p = 0; p < sizeof passes / sizeof passes[0]; p++) {
        for (n = 0; n < 1500; n++) {
            keeps_meaning(passes[p]);
        }
    }
}

/* ---- what they are for ---- */

static unsigned count(enum ir_op op)
{
    unsigned b, at, n = 0;

    for (b = 0; b < g.blocks; b++) {
        for (at = g.block[b].first; at < g.block[b].end; at++) {
            n += g.insn[at].op == op;
        }
    }
    return n;
}

static ir_value add_and_set_flags(ir_value a)
{
    ir_value one = ir_const(&g, IR_I64, 1), v = ir_2(&g, IR_ADD, a, one);

    ir_set(&g, FLAGS,
           ir_add(&g, &(struct ir_insn){.op = IR_FLAGS,
                                        .type = IR_FLAGS_TYPE,
                                        .aux = IR_FLAGS_ADD,
                                        .imm = 8,
                                        .arg = {a, one}}));
    return v;
}

static void flags_that_nobody_sees_are_gone(void **state)
{
    ir_value v;

    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    v = add_and_set_flags(ir_get(&g, 1));
    v = add_and_set_flags(v);
    v = add_and_set_flags(v);
    ir_set(&g, 1, v);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_FLAGS), 1);
    assert_int_equal(count(IR_SET), 2);
}

static void a_fault_still_sees_what_was_overtaken(void **state)
{
    const struct ir_map *m;
    unsigned at, load_at = 0;
    ir_value a, v;

    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    a = ir_get(&g, 1);
    v = add_and_set_flags(a);
    ir_set(&g, 1, v);
    ir_add(&g, &(struct ir_insn){.op = IR_LOAD,
                                 .type = IR_I64,
                                 .arg = {a},
                                 .map = ir_map_at(&g, 0x44, 3),
                                 .access = {.bytes = 8}});
    ir_set(&g, 1, add_and_set_flags(v));
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_SET), 2); /* one of each, at the end */
    assert_int_equal(count(IR_FLAGS), 2);
    for (at = g.block[0].first; at < g.block[0].end; at++) {
        load_at = g.insn[at].op == IR_LOAD ? at : load_at;
    }
    assert_int_not_equal(load_at, 0);
    m = &g.map[g.insn[load_at].map];
    assert_int_equal(m->pc, 0x44);
    assert_int_equal(m->done, 3);
    assert_int_equal(m->count, 2);
}

static void a_pinned_global_is_set_where_it_was(void **state)
{
    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    ir_set(&g, 0, ir_const(&g, IR_I64, 1));
    ir_set(&g, 0, ir_const(&g, IR_I64, 2));
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_pass_sink(&g);
    assert_int_equal(count(IR_SET), 2);
}

static void unknown_code_sees_all_sets_and_may_change_all(void **state)
{
    ir_value v;

    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    ir_set(&g, 1, ir_const(&g, IR_I64, 1));
    ir_add(&g, &(struct ir_insn){.op = IR_ROUTINE, .map = ir_map_at(&g, 0, 0)});
    v = ir_get(&g, 1);
    ir_set(&g, 2, v);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_SET), 2);
    assert_int_equal(count(IR_GET), 1);
}

static void equal_work_is_done_once(void **state)
{
    ir_value a, b;

    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    a = ir_get(&g, 1);
    b = ir_get(&g, 2);
    ir_set(&g, 3, ir_2(&g, IR_MUL, a, b));
    ir_set(&g, 4, ir_2(&g, IR_MUL, ir_get(&g, 1), ir_get(&g, 2)));
    ir_set(&g, 5, ir_2(&g, IR_XOR, a, ir_2(&g, IR_AND, a, a)));
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_MUL), 1);
    assert_int_equal(count(IR_GET), 2);
    assert_int_equal(count(IR_XOR) + count(IR_AND), 0);
}

/* An exit if `a` compared with 3 is `c`. */
static void leave_if(ir_value a, enum ir_cond c)
{
    ir_value f = ir_add(&g, &(struct ir_insn){.op = IR_FLAGS,
                                              .type = IR_FLAGS_TYPE,
                                              .aux = IR_FLAGS_SUB,
                                              .imm = 8,
                                              .arg = {a, ir_const(&g, IR_I64, 3)}});
    ir_value cond = ir_add(
        &g,
        &(struct ir_insn){.op = IR_COND, .type = IR_I1, .aux = (uint8_t)c, .arg = {f}});

    ir_add(&g, &(struct ir_insn){
                   .op = IR_EXIT_IF, .arg = {cond}, .map = ir_map_at(&g, 0x44, 3)});
}

static void an_exit_that_is_never_taken_is_gone(void **state)
{
    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    ir_set(&g, 1, ir_const(&g, IR_I64, 2));
    leave_if(ir_get(&g, 1), IR_COND_Z);
    leave_if(ir_get(&g, 1), IR_COND_A);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_EXIT_IF), 0);
    ir_region_clear(&g);
    ir_block_begin(&g);
    ir_set(&g, 1, ir_const(&g, IR_I64, 2));
    leave_if(ir_get(&g, 1), IR_COND_NZ);
    leave_if(ir_get(&g, 2), IR_COND_Z);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_optimise(&g);
    assert_int_equal(count(IR_EXIT_IF), 2);
}

static int set_up(void **state)
{
    (void)state;
    ir_region_init(&g, globals, GLOBALS);
    return 0;
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
        cmocka_unit_test(each_pass_keeps_what_a_region_means),
        cmocka_unit_test(flags_that_nobody_sees_are_gone),
        cmocka_unit_test(a_fault_still_sees_what_was_overtaken),
        cmocka_unit_test(a_pinned_global_is_set_where_it_was),
        cmocka_unit_test(unknown_code_sees_all_sets_and_may_change_all),
        cmocka_unit_test(equal_work_is_done_once),
        cmocka_unit_test(an_exit_that_is_never_taken_is_gone),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
