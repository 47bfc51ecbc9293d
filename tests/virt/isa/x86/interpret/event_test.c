/* event_test.c - single steps, breakpoints and what holds them back.
 * rows: ISA-02 CON-09 */
#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"

#define DR6_BS 0x4000u

/* The handler of #DB counts in ebp and goes on. */
CODE(handler, ".code64", "inc %ebp\niretq\n")
CODE(handler_mark, ".code64", "mov %rcx, 0x100000(,%rbp,8)\ninc %ebp\niretq\n")

static void set_handler(struct machine *m, unsigned vector, const void *from,
                        const void *to)
{
    uint64_t at = 0x9000;
    uint64_t bytes = (uint64_t)((const char *)to - (const char *)from);

    machine_put(m, at, from, bytes);
    machine_poke(m, MACHINE_IDT + vector * 16, at | 0x08 << 16 | UINT64_C(0x8e) << 40, 8);
    machine_poke(m, MACHINE_IDT + vector * 16 + 8, 0, 8);
}

/* popf sets TF: the instruction behind it is the first that is reported, and the one
 * that clears TF the last. */
CODE(steps, ".code64",
     "pushf\n"
     "orl $0x100, (%rsp)\n"
     "popf\n"
     "nop\n"
     "nop\n"
     "pushf\n"
     "andl $~0x100, (%rsp)\n"
     "popf\n"
     "nop\n"
     "hlt\n")

static void each_instruction_behind_popf_is_a_step(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    set_handler(&m, X86_DB, handler, handler_end);
    machine_run(&m, steps, steps_end, NULL, &r);
    assert_int_equal(r.gpr[X86_RBP], 5); /* nop nop pushf and popf */
    assert_int_equal(r.dr[6] & DR6_BS, DR6_BS);
    machine_fini(&m);
}

/* Each iteration of a repeated instruction is a step, with its registers. */
CODE(repeats, ".code64", "rep stosb\nnop\n")

static void each_iteration_is_a_step(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    set_handler(&m, X86_DB, handler_mark, handler_mark_end);
    machine_regs(&m, &r);
    r.rflags |= X86_TF;
    r.gpr[X86_RCX] = 3;
    r.gpr[X86_RDI] = 0x110000;
    machine_put(&m, MACHINE_CODE, repeats, (uint64_t)(repeats_end - repeats));
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], 10), 0);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(machine_peek(&m, 0x100000 + n * 8, 8), 2 - n);
    }
    machine_fini(&m);
}

/* mov ss: neither a step nor an interrupt behind it. */
CODE(shadow, ".code64", "mov %eax, %ss\nnop\nhlt\n")

static void a_load_of_ss_delays_the_step(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    r.rflags |= X86_TF;
    r.gpr[X86_RAX] = 0x10;
    machine_run(&m, shadow, shadow_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_DB);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP], 8), MACHINE_CODE + 3);
    machine_fini(&m);
}

CODE(int3, ".code64", "nop\nint3\nhlt\n")

static void a_software_interrupt_is_not_stepped(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    r.rflags |= X86_TF;
    set_handler(&m, X86_DB, handler, handler_end);
    machine_run(&m, int3, int3_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_BP);
    assert_int_equal(r.gpr[X86_RBP], 1); /* the nop */
    machine_fini(&m);
}

CODE(plain, ".code64",
     "mov $1, %eax\nmov $2, %ebx\nmov %eax, 0x100000\nmov $3, %ecx\nhlt\n")

static void an_instruction_breakpoint_comes_before_it_and_rf_passes_it(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    r.dr[0] = MACHINE_CODE + 5;
    r.dr[7] |= 1;
    machine_run(&m, plain, plain_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_DB);
    assert_int_equal(r.gpr[X86_RAX], 1);
    assert_int_equal(r.gpr[X86_RBX], 0);
    assert_int_equal(r.dr[6] & 0xf, 1);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP], 8), MACHINE_CODE + 5);
    machine_regs(&m, &r);
    r.gpr[X86_RIP] = MACHINE_CODE + 5;
    r.rflags |= X86_RF;
    machine_run(&m, plain, plain_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    assert_int_equal(r.gpr[X86_RCX], 3);
    assert_int_equal(r.rflags & X86_RF, 0);
    machine_fini(&m);
}

static void a_data_breakpoint_comes_behind_the_store(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_regs(&m, &r);
    r.dr[1] = 0x100000;
    r.dr[7] |= 4 | 0xd << 20; /* four bytes, writes */
    machine_run(&m, plain, plain_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_DB);
    assert_int_equal(machine_peek(&m, 0x100000, 4), 1);
    assert_int_equal(r.gpr[X86_RCX], 0);
    assert_int_equal(r.dr[6] & 0xf, 2);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP], 8), MACHINE_CODE + 17);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_instruction_behind_popf_is_a_step),
        cmocka_unit_test(each_iteration_is_a_step),
        cmocka_unit_test(a_load_of_ss_delays_the_step),
        cmocka_unit_test(a_software_interrupt_is_not_stepped),
        cmocka_unit_test(an_instruction_breakpoint_comes_before_it_and_rf_passes_it),
        cmocka_unit_test(a_data_breakpoint_comes_behind_the_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
