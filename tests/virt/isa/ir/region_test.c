/* region_test.c - building: folding, limits, failures of memory; the text of a region.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "virt/isa/ir/private.h"

static const struct ir_global globals[] = {
    {.name = "r0", .type = IR_I64, .pin = 0},
    {.name = "r1", .type = IR_I64, .pin = IR_NO_PIN},
    {.name = "flags", .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN},
};

static void constants_fold_as_they_are_made(void **state)
{
    struct ir_region g;
    ir_value v;

    (void)state;
    ir_region_init(&g, globals, 3);
    ir_block_begin(&g);
    v = ir_2(&g, IR_ADD, ir_const(&g, IR_I8, 0x1ff), ir_const(&g, IR_I8, 2));
    assert_int_equal(g.insn[v].op, IR_CONST);
    assert_int_equal(g.insn[v].type, IR_I8);
    assert_int_equal(g.insn[v].imm, 1);
    v = ir_2(&g, IR_ADD, ir_get(&g, 0), ir_const(&g, IR_I64, 2));
    assert_int_equal(g.insn[v].op, IR_ADD);
    assert_int_equal(g.insn[v].type, IR_I64);
    v = ir_2(&g, IR_ULT, ir_get(&g, 0), ir_get(&g, 1));
    assert_int_equal(g.insn[v].type, IR_I1);
    ir_region_fini(&g);
}

static void a_full_region_refuses_and_says_so(void **state)
{
    struct ir_region g;
    char why[100];
    uint32_t n;

    (void)state;
    ir_region_init(&g, globals, 3);
    ir_block_begin(&g);
    for (n = 1; n < IR_REGION_INSNS; n++) {
        assert_int_equal(ir_get(&g, 0), n);
    }
    assert_false(g.full);
    assert_int_equal(ir_get(&g, 0), 0);
    assert_true(g.full);
    assert_int_equal(ir_1(&g, IR_NOT, IR_VOID, 1), 0);
    assert_false(ir_verify(&g, why, sizeof why));
    ir_optimise(&g); /* keeps off */
    ir_region_clear(&g);
    assert_false(g.full);
    ir_block_begin(&g);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    assert_true(ir_verify(&g, why, sizeof why));
    ir_region_fini(&g);
}

/* A region that only just fits does not when a pass has to rewrite it. */
static void a_pass_that_runs_out_of_room_leaves_a_full_region(void **state)
{
    struct ir_region g;
    uint32_t n;

    (void)state;
    ir_region_init(&g, globals, 3);
    ir_block_begin(&g);
    for (n = 1; n < IR_REGION_INSNS - 1; n++) {
        ir_get(&g, 0);
    }
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    ir_pass_sink(&g);
    assert_true(g.full);
    ir_region_fini(&g);
}

/* Something of everything that grows. */
static bool build(struct ir_region *g)
{
    char why[100];
    unsigned n;

    ir_region_init(g, globals, 3);
    ir_block_begin(g);
    for (n = 0; n < 70 && !g->full; n++) {
        ir_value v = ir_get(g, 0);
        uint32_t map = ir_map_at(g, n, n);

        ir_pend(g, map, 1, v);
        ir_add(g, &(struct ir_insn){.op = IR_LOAD,
                                    .type = IR_I64,
                                    .arg = {v},
                                    .map = map,
                                    .access = {.bytes = 8}});
        ir_set(g, 1, v);
        ir_jump(g, n + 1, &v, 1);
        ir_block_begin(g);
        if (!g->full) {
            ir_param(g, IR_I64);
        }
    }
    if (!g->full) {
        ir_add(g, &(struct ir_insn){.op = IR_EXIT});
        ir_optimise(g);
    }
    return !g->full && ir_verify(g, why, sizeof why);
}

static void any_allocation_that_fails_makes_it_full(void **state)
{
    struct ir_region g;
    bool whole = false;
    long n;

    (void)state;
    for (n = 0; n < 100 && !whole; n++) {
        fault_fail_alloc_at(n);
        whole = build(&g);
        assert_true(whole || g.full);
        ir_region_fini(&g);
    }
    fault_fail_alloc_at(-1);
    assert_true(whole);
    assert_true(n > 8);
}

static void make_text(struct ir_region *g)
{
    ir_value a, b, f, c, v;
    uint32_t map;

    ir_region_init(g, globals, 3);
    ir_block_begin(g);
    a = ir_get(g, 0);
    b = ir_const(g, IR_I64, 0x10);
    v = ir_2(g, IR_SUB, a, b);
    f = ir_add(g, &(struct ir_insn){.op = IR_FLAGS,
                                    .type = IR_FLAGS_TYPE,
                                    .aux = IR_FLAGS_SUB,
                                    .imm = 8,
                                    .arg = {a, b}});
    map = ir_map_at(g, 0x400, 1);
    ir_pend(g, map, 2, f);
    ir_add(g, &(struct ir_insn){.op = IR_STORE,
                                .arg = {a, b, v},
                                .imm = (uint64_t)-8,
                                .map = map,
                                .access = {.bytes = 4, .scale = 2, .wrap32 = 1}});
    c = ir_add(g, &(struct ir_insn){
                      .op = IR_COND, .type = IR_I1, .aux = IR_COND_NZ, .arg = {f}});
    ir_set(g, 1, v);
    ir_branch_with(g, c, &(struct ir_way){1, 1, &v}, &(struct ir_way){.block = 2});
    ir_block_begin(g);
    ir_param(g, IR_I64);
    ir_jump(g, 2, NULL, 0);
    ir_block_begin(g);
    ir_add(g, &(struct ir_insn){.op = IR_EXIT, .imm = 0x404});
}

static const char expected_text[] = "block0:\n"
                                    "  %1:i64 = get @r0\n"
                                    "  %2:i64 = const 0x10\n"
                                    "  %3:i64 = sub %1, %2\n"
                                    "  %4:flags = flags sub.64 %1, %2\n"
                                    "  store [%1 + %2*4 -8] bytes 4 wrap32, %3  "
                                    "; at 0x400 @flags=%4\n"
                                    "  %6:i1 = cond nz %4\n"
                                    "  set @r1 %3\n"
                                    "  branch %6 block1(%3) else block2()\n"
                                    "block1:\n"
                                    "  %9:i64 = param\n"
                                    "  jump block2()\n"
                                    "block2:\n"
                                    "  exit 0x404\n";

static void a_region_prints_one_line_an_operation(void **state)
{
    struct ir_region g;
    char text[1024], little[20], why[100];
    size_t n;

    (void)state;
    make_text(&g);
    assert_true(ir_verify(&g, why, sizeof why));
    n = ir_print(&g, text, sizeof text);
    assert_string_equal(text, expected_text);
    assert_int_equal(n, strlen(text));
    assert_int_equal(ir_print(&g, little, sizeof little), n);
    assert_memory_equal(little, text, sizeof little - 1);
    assert_int_equal(little[sizeof little - 1], 0);
    assert_int_equal(ir_print(&g, NULL, 0), n);
    ir_region_fini(&g);
}

static const struct ir_global two[] = {{"a", 0, IR_I64, 0}, {"b", 8, IR_I64, 1}};

static void a_builder_that_forwards_gets_once_and_knows_what_changes(void **state)
{
    const struct ir_native native = {.changes = 1u << 1};
    struct ir_region g;
    ir_value a, b, v;

    (void)state;
    ir_region_init(&g, two, 2);
    g.forwards = true;
    ir_block_begin(&g);
    a = ir_get(&g, 0);
    b = ir_get(&g, 1);
    assert_int_equal(ir_get(&g, 0), a);
    v = ir_2(&g, IR_ADD, a, b);
    ir_set(&g, 0, v);
    assert_int_equal(ir_get(&g, 0), v);
    ir_add(&g, &(struct ir_insn){.op = IR_NATIVE, .imm = (uint64_t)(uintptr_t)&native});
    assert_int_equal(ir_get(&g, 0), v);
    assert_int_not_equal(ir_get(&g, 1), b); /* the host changed it */
    ir_add(&g, &(struct ir_insn){.op = IR_ROUTINE});
    assert_int_not_equal(ir_get(&g, 0), v);
    assert_false(g.has_more_gets);
    a = ir_get(&g, 0);
    ir_block_begin(&g);
    assert_int_not_equal(ir_get(&g, 0), a); /* values do not cross blocks */
    ir_region_fini(&g);
}

static void what_is_taken_back_is_not_known(void **state)
{
    struct ir_region g;
    ir_value a, v;

    (void)state;
    ir_region_init(&g, two, 2);
    g.forwards = true;
    ir_block_begin(&g);
    a = ir_get(&g, 0);
    v = ir_get(&g, 1);
    ir_set(&g, 0, ir_2(&g, IR_ADD, a, v));
    ir_rewind(&g, v + 1, g.maps);
    assert_int_equal(ir_get(&g, 1), v);
    assert_int_equal(ir_get(&g, 0), v + 1); /* anew, */
    assert_true(g.has_more_gets);           /* so the pass is needed */
    ir_region_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_fold_as_they_are_made),
        cmocka_unit_test(a_full_region_refuses_and_says_so),
        cmocka_unit_test(a_pass_that_runs_out_of_room_leaves_a_full_region),
        cmocka_unit_test(any_allocation_that_fails_makes_it_full),
        cmocka_unit_test(a_region_prints_one_line_an_operation),
        cmocka_unit_test(a_builder_that_forwards_gets_once_and_knows_what_changes),
        cmocka_unit_test(what_is_taken_back_is_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
