/* verify_test.c - each rule of ir.h has a region that breaks it, alone, and is told.
 *
 * rows: ISA-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "virt/isa/ir/private.h"

static const struct ir_global globals[] = {
    {.name = "r0", .type = IR_I64, .pin = IR_NO_PIN},
    {.name = "w0", .type = IR_I32, .pin = IR_NO_PIN},
};

static struct ir_region g;

/* What the sound region below is made of. */
static struct {
    ir_value a, w, sum, load, jump, param;
} at;

static void build(void)
{
    ir_region_clear(&g);
    ir_block_begin(&g);
    at.a = ir_get(&g, 0);
    at.w = ir_get(&g, 1);
    at.sum = ir_2(&g, IR_ADD, at.a, at.a);
    at.load = ir_add(&g, &(struct ir_insn){.op = IR_LOAD,
                                           .type = IR_I64,
                                           .arg = {at.a},
                                           .map = ir_map_at(&g, 0, 0),
                                           .access = {.bytes = 8}});
    ir_pend(&g, 1, 0, at.sum);
    at.jump = g.insns;
    ir_jump(&g, 1, &at.sum, 1);
    ir_block_begin(&g);
    at.param = ir_param(&g, IR_I64);
    ir_set(&g, 0, at.param);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
}

static void breaks(const char *because)
{
    char why[160] = "";

    assert_false(ir_verify(&g, why, sizeof why));
    if (strstr(why, because) == NULL) {
        fail_msg("said: %s", why);
    }
    build();
    assert_true(ir_verify(&g, why, sizeof why));
}

static void arguments_have_to_fit(void **state)
{
    (void)state;
    build();
    g.insn[at.sum].arg[1] = 0;
    breaks("missing");
    g.insn[at.sum].arg[2] = at.a;
    breaks("too many");
    g.insn[at.sum].arg[1] = at.w;
    breaks("different types");
    g.insn[at.load].arg[0] = at.w;
    breaks("wrong type");
    g.insn[at.sum].op = IR_FADD;
    breaks("wrong type");
    g.insn[at.sum].type = IR_VOID;
    breaks("result's type");
    g.insn[at.sum].op = IR_OP_COUNT;
    breaks("no such operation");
}

static void values_come_before_their_uses_in_one_block(void **state)
{
    (void)state;
    build();
    g.insn[at.sum].arg[0] = at.load;
    breaks("not made before");
    g.insn[at.sum].arg[0] = at.sum;
    breaks("not made before");
    g.insn[at.param + 1].arg[0] = at.sum; /* across blocks */
    breaks("not made before");
}

static void globals_are_there_and_of_their_type(void **state)
{
    (void)state;
    build();
    g.insn[at.a].imm = 2;
    breaks("no such global");
    g.insn[at.param + 1].imm = 1;
    breaks("not the global's type");
    g.insn[at.w].type = IR_I64;
    breaks("not the global's type");
}

static void what_may_fault_has_a_map_of_values_before_it(void **state)
{
    (void)state;
    build();
    g.insn[at.load].map = 0;
    breaks("has no map");
    g.insn[at.load].map = 99;
    breaks("has no map");
    g.insn[at.sum].map = 1;
    breaks("cannot fault");
    g.pending[0].value = at.load;
    breaks("not there");
    g.pending[0].value = 0;
    breaks("not there");
    g.pending[0].global = 2;
    breaks("not there");
}

static void blocks_end_once_and_their_edges_lead_somewhere(void **state)
{
    (void)state;
    build();
    g.insn[at.sum] = (struct ir_insn){.op = IR_LEAVE};
    breaks("too early");
    g.block[0].end--;
    breaks("does not end");
    g.block[1].end = g.block[1].first;
    breaks("empty");
    g.edge[0].block = 2;
    breaks("no block");
    g.block[0].edge = 7;
    breaks("no block");
    g.edge[0].first_arg = 1;
    breaks("too few");
    g.arg[0] = 0;
    breaks("edge argument");
    g.arg[0] = at.w;
    breaks("edge argument");
    g.arg[0] = at.param;
    breaks("edge argument");
    g.block[1].params = 0;
    breaks("parameters come first");
    g.insn[at.param + 1].op = IR_PARAM;
    breaks("parameters come first");
    g.full = true;
    breaks("not whole");
    g.blocks = 0;
    breaks("not whole");
}

static int set_up(void **state)
{
    (void)state;
    ir_region_init(&g, globals, 2);
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
        cmocka_unit_test(arguments_have_to_fit),
        cmocka_unit_test(values_come_before_their_uses_in_one_block),
        cmocka_unit_test(globals_are_there_and_of_their_type),
        cmocka_unit_test(what_may_fault_has_a_map_of_values_before_it),
        cmocka_unit_test(blocks_end_once_and_their_edges_lead_somewhere),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
