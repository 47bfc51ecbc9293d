/* refuse_test.c - code is refused whole: no room, no memory, no form.
 *
 * rows: ISA-03 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "machine.h"

enum {
    A,
    B,
    FLAGS,
    GLOBALS
};

static const struct ir_global globals[GLOBALS] = {
    {.name = "a", .offset = MACHINE_CELL(A), .type = IR_I64, .pin = 0},
    {.name = "b", .offset = MACHINE_CELL(B), .type = IR_I64, .pin = IR_NO_PIN},
    {.name = "flags", .offset = MACHINE_FLAGS, .type = IR_FLAGS_TYPE, .pin = IR_NO_PIN},
};
static struct ir_region g;

/* Accesses, a pending value, a side exit, a loop: something of all that is written. */
static void build(void)
{
    ir_value a, b, c;

    ir_region_clear(&g);
    ir_block_begin(&g);
    a = ir_get(&g, A);
    ir_jump(&g, 1, &a, 1);
    ir_block_begin(&g);
    a = ir_param(&g, IR_I64);
    ir_set(&g, B, a);
    b = ir_add(&g, &(struct ir_insn){.op = IR_ATOMIC,
                                     .type = IR_I64,
                                     .aux = IR_ATOMIC_MAX_S,
                                     .arg = {a, 0, a},
                                     .map = ir_map_at(&g, 0x10, 0),
                                     .access = {.bytes = 8}});
    c = ir_2(&g, IR_ULT, a, b);
    ir_add(&g,
           &(struct ir_insn){
               .op = IR_EXIT_IF, .arg = {c}, .imm = 1, .map = ir_map_at(&g, 0x20, 1)});
    ir_set(&g, B, b);
    ir_branch_with(&g, c, &(struct ir_way){1, 1, &b}, &(struct ir_way){.block = 2});
    ir_block_begin(&g);
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT, .imm = 2});
    ir_optimise(&g);
}

static void too_little_room_is_told_and_never_passed(void **state)
{
    size_t room;
    int r = -ENOSPC;

    (void)state;
    build();
    for (room = 0; room < 4096 && r != 0; room++) {
        r = machine_write(&g, room);
        assert_true(r == 0 || r == -ENOSPC);
    }
    assert_int_equal(r, 0);
    assert_true(room > 100);
}

static void any_allocation_that_fails_is_told(void **state)
{
    int r = -ENOMEM;
    long n;

    (void)state;
    build();
    for (n = 0; n < 50 && r != 0; n++) {
        fault_fail_alloc_at(n);
        r = machine_write(&g, 4096);
        assert_true(r == 0 || r == -ENOMEM);
    }
    fault_fail_alloc_at(-1);
    assert_int_equal(r, 0);
    assert_true(n > 4); /* work, sites, pends, exits */
}

static void what_has_no_form_is_told(void **state)
{
    ir_value args[20];
    unsigned n;

    (void)state;
    ir_region_clear(&g);
    ir_block_begin(&g);
    ir_set(&g, B, ir_1(&g, IR_BITREV, IR_VOID, ir_get(&g, A)));
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    assert_int_equal(machine_write(&g, 4096), -ENOTSUP);
    ir_region_clear(&g); /* more parameters than there are places */
    ir_block_begin(&g);
    for (n = 0; n < 20; n++) {
        args[n] = ir_get(&g, A);
    }
    ir_jump(&g, 1, args, 20);
    ir_block_begin(&g);
    for (n = 0; n < 20; n++) {
        ir_param(&g, IR_I64);
    }
    ir_add(&g, &(struct ir_insn){.op = IR_EXIT});
    assert_int_equal(machine_write(&g, 4096), -ENOTSUP);
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
        cmocka_unit_test(too_little_room_is_told_and_never_passed),
        cmocka_unit_test(any_allocation_that_fails_is_told),
        cmocka_unit_test(what_has_no_form_is_told),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
