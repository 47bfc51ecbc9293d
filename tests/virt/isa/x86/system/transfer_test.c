/* Segment loads, far transfers, gates, returns: every refusal with its vector, error
 * code and order, and what a success leaves (SDM volume 2, MOV, JMP, CALL, RET; volume
 * 3A, chapter 5).
 * rows: ISA-02 FV-05 */
#include "tests/virt/isa/x86/system/tables.h"

static void data_segments_ask_for_type_privilege_presence(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    assert_fine(b, LOAD, X86_DS, 0);
    assert_int_equal(b->c.r.seg[X86_DS].attr & X86_ATTR_NULL, X86_ATTR_NULL);
    assert_fine(b, LOAD, X86_DS, 3);
    assert_fine(b, LOAD, X86_ES, DATA3 | 3);
    assert_fine(b, LOAD, X86_FS, READ_ONLY);
    assert_fine(b, LOAD, X86_FS, CODE3 | 3);
    assert_fine(b, LOAD, X86_GS, CONFORMING | 3); /* readable and conforming */
    assert_fault(b, X86_GP, DATA0, LOAD, X86_DS, DATA0 | 3);
    assert_fault(b, X86_GP, DATA0, LOAD, X86_DS, DATA0);
    assert_fault(b, X86_GP, EXECUTE_ONLY, LOAD, X86_DS, EXECUTE_ONLY | 3);
    assert_fault(b, X86_GP, TASK, LOAD, X86_DS, TASK);
    assert_fault(b, X86_GP, OUTSIDE, LOAD, X86_DS, OUTSIDE | 3);
    assert_fault(b, X86_GP, 0x0c, LOAD, X86_DS, 0x0c | 3); /* no LDT */
    assert_fault(b, X86_NP, ABSENT, LOAD, X86_DS, ABSENT | 3);
    bench_free(b);
}

static void a_stack_segment_is_writable_and_of_this_level(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    assert_fault(b, X86_GP, 0, LOAD, X86_SS, 0);
    assert_fault(b, X86_GP, 0, LOAD, X86_SS, 3);
    assert_fault(b, X86_GP, DATA3, LOAD, X86_SS, DATA3);
    assert_fault(b, X86_GP, DATA0, LOAD, X86_SS, DATA0 | 3);
    assert_fault(b, X86_GP, READ_ONLY, LOAD, X86_SS, READ_ONLY | 3);
    assert_fault(b, X86_GP, CODE3, LOAD, X86_SS, CODE3 | 3);
    assert_fault(b, X86_SS_FAULT, ABSENT, LOAD, X86_SS, ABSENT | 3);
    b->c.r.irq_shadow = false;
    assert_fine(b, LOAD, X86_SS, DATA3 | 3);
    assert_true(b->c.r.irq_shadow);
    bench_free(b);
    b = bench_make("host-like");
    bench_long(b, 0);
    assert_fine(b, LOAD, X86_SS, 0);
    assert_fault(b, X86_GP, 0, LOAD, X86_SS, 1);
    bench_free(b);
}

static void loading_a_segment_marks_it_accessed(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_descriptor(b, DATA3, segment(0x123456, 0x7ff, 0xf2, 0x4));
    assert_fine(b, LOAD, X86_DS, DATA3);
    assert_int_equal(peek(b, GDT + DATA3 + 5, 1), 0xf3);
    assert_int_equal(b->c.r.seg[X86_DS].base, 0x123456);
    assert_int_equal(b->c.r.seg[X86_DS].limit, 0x7ff);
    assert_int_equal(b->c.r.seg[X86_DS].attr, 0x40f3);
    bench_free(b);
}

static void jumps_between_code_segments(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    assert_fault(b, X86_GP, 0, JMP, 0, 0);
    assert_fault(b, X86_GP, 0, JMP, 3, 0);
    assert_fault(b, X86_GP, OUTSIDE, JMP, OUTSIDE, 0);
    assert_fault(b, X86_GP, DATA0, JMP, DATA0, 0);
    assert_fault(b, X86_GP, CODE3, JMP, CODE3, 0);     /* outward */
    assert_fault(b, X86_GP, CODE0, JMP, CODE0 | 3, 0); /* RPL above CPL */
    assert_fault(b, X86_NP, ABSENT_CODE, JMP, ABSENT_CODE, 0);
    assert_fault(b, X86_GP, 0, JMP, CODE16, 0x10000); /* behind its limit */
    assert_fault(b, X86_GP, LOCAL, JMP, LOCAL, 0);
    assert_int_equal(b->c.r.seg[X86_CS].selector, CODE0);
    assert_fine(b, JMP, CODE16, 0x1234);
    assert_int_equal(b->c.next_rip, 0x1234);
    assert_int_equal(b->c.code_mode, X86_CODE16);
    assert_fine(b, JMP, CONFORMING, 0x1000);
    assert_int_equal(b->c.code_mode, X86_CODE32);
    bench_free(b);
    b = bench_make("host-like");
    bench_protected(b, 3);
    assert_fault(b, X86_GP, CODE0, JMP, CODE0 | 3, 0);
    assert_fine(b, CALL, CONFORMING | 3, 0x1000);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.r.seg[X86_CS].selector, CONFORMING | 3);
    assert_int_equal(top(b, 4, 0), CODE + 2);
    assert_int_equal(top(b, 4, 1), CODE3 | 3);
    bench_free(b);
}

static void a_call_gate_leads_inward_with_its_parameters(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    push32(b, 0x111);
    push32(b, 0x222);
    push32(b, 0x333);
    assert_fault(b, X86_GP, GATE0, CALL, GATE0, 0);
    assert_fault(b, X86_GP, DATA0, CALL, GATE_TO_DATA | 3, 0);
    assert_fault(b, X86_GP, CODE0, JMP, GATE3 | 3, 0); /* a jump stays at its level */
    assert_int_equal(b->c.r.cpl, 3);
    assert_fine(b, CALL, GATE3 | 3, 0xdeadbeef);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.r.seg[X86_CS].selector, CODE0);
    assert_int_equal(b->c.r.seg[X86_SS].selector, DATA0);
    assert_int_equal(b->c.next_rip, CODE + 0x100);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 28);
    assert_int_equal(top(b, 4, 0), CODE + 2);
    assert_int_equal(top(b, 4, 1), CODE3 | 3);
    assert_int_equal(top(b, 4, 2), 0x333);
    assert_int_equal(top(b, 4, 3), 0x222);
    assert_int_equal(top(b, 4, 4), 0x111);
    assert_int_equal(top(b, 4, 5), STACK3 - 12);
    assert_int_equal(top(b, 4, 6), DATA3 | 3);
    /* And back, dropping the parameters on both stacks. */
    assert_fine(b, RETF, 12, 0);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.next_rip, CODE + 2);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK3);
    assert_int_equal(b->c.r.seg[X86_SS].selector, DATA3 | 3);
    bench_free(b);
}

static void a_16_bit_gate_pushes_words(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    assert_fine(b, CALL, GATE16 | 3, 0);
    assert_int_equal(b->c.next_rip, 0x1234);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 8);
    assert_int_equal(top(b, 2, 0), (CODE + 2) & 0xffff);
    assert_int_equal(top(b, 2, 1), CODE3 | 3);
    assert_int_equal(top(b, 2, 2), STACK3 & 0xffff);
    assert_int_equal(top(b, 2, 3), DATA3 | 3);
    bench_free(b);
}

static void inner_stacks_are_checked_as_ts(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    poke(b, TSS + 8, 4, 0);
    assert_fault(b, X86_TS, 0, CALL, GATE3 | 3, 0);
    poke(b, TSS + 8, 4, OUTSIDE);
    assert_fault(b, X86_TS, OUTSIDE, CALL, GATE3 | 3, 0);
    poke(b, TSS + 8, 4, DATA0 | 3);
    assert_fault(b, X86_TS, DATA0, CALL, GATE3 | 3, 0);
    poke(b, TSS + 8, 4, CODE0);
    assert_fault(b, X86_TS, CODE0, CALL, GATE3 | 3, 0);
    put_descriptor(b, ABSENT, segment(0, 0xfffff, 0x13, 0xc));
    poke(b, TSS + 8, 4, ABSENT);
    assert_fault(b, X86_SS_FAULT, ABSENT, CALL, GATE3 | 3, 0);
    put_descriptor(b, DATA16, segment(0, 0xffff, 0x93, 0));
    poke(b, TSS + 4, 4, 8); /* no room for the frame */
    poke(b, TSS + 8, 4, DATA16);
    assert_fine(b, CALL, GATE16 | 3, 0); /* 8 bytes fit */
    bench_free(b);
    b = bench_make("host-like");
    bench_protected(b, 3);
    put_descriptor(b, DATA16, segment(0x30000, 0xff, 0x93, 0));
    poke(b, TSS + 4, 4, 4);
    poke(b, TSS + 8, 4, DATA16);
    assert_fault(b, X86_SS_FAULT, DATA16, CALL, GATE16 | 3, 0);
    b->c.r.seg[X86_TR].limit = 8;
    assert_fault(b, X86_TS, TASK, CALL, GATE3 | 3, 0);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK3);
    bench_free(b);
}

static void far_returns_check_the_code_and_the_stack(void **state)
{
    static const struct {
        uint32_t cs, rip, ss;
        unsigned vector, error;
    } cases[] = {
        {0, 0, 0, X86_GP, 0},
        {OUTSIDE, 0, 0, X86_GP, OUTSIDE},
        {DATA0, 0, 0, X86_GP, DATA0},
        {CODE3, 0, 0, X86_GP, CODE3}, /* DPL is not RPL */
        {CODE0 | 3, 0, 0, X86_GP, CODE0},
        {ABSENT_CODE, 0, 0, X86_NP, ABSENT_CODE},
        {CODE16, 0x10000, 0, X86_GP, 0},
        {CODE3 | 3, 0, 0, X86_GP, 0},
        {CODE3 | 3, 0, DATA3, X86_GP, DATA3},
        {CODE3 | 3, 0, DATA0 | 3, X86_GP, DATA0},
        {CODE3 | 3, 0, ABSENT | 3, X86_SS_FAULT, ABSENT},
        {CODE3 | 3, 0x123, DATA3 | 3, NO_FAULT, 0},
        {CONFORMING | 3, 0x123, DATA3 | 3, NO_FAULT, 0},
        {CODE0, 0x123, 0, NO_FAULT, 0},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *b = bench_make("host-like");
        unsigned vector;

        bench_protected(b, 0);
        push32(b, cases[i].ss);
        push32(b, STACK3);
        push32(b, cases[i].cs);
        push32(b, cases[i].rip);
        vector = try_step(b, RETF, 0, 0);
        if (vector != cases[i].vector ||
            (vector != NO_FAULT && b->c.fault.error != cases[i].error)) {
            fail_msg("case %u: vector %u error %x", i, vector, b->c.fault.error);
        }
        assert_int_equal(b->c.r.gpr[X86_RSP], vector != NO_FAULT       ? STACK0 - 16
                                              : (cases[i].cs & 3) == 3 ? STACK3
                                                                       : STACK0 - 8);
        bench_free(b);
    }
}

static void a_return_outward_forgets_inner_data_segments(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    assert_fine(b, LOAD, X86_ES, DATA3 | 3);
    assert_fine(b, LOAD, X86_FS, CONFORMING);
    push32(b, DATA3 | 3);
    push32(b, STACK3);
    push32(b, CODE3 | 3);
    push32(b, 0x55);
    assert_fine(b, RETF, 0, 0);
    assert_int_equal(b->c.r.seg[X86_DS].selector, 0);
    assert_int_equal(b->c.r.seg[X86_DS].attr & X86_ATTR_NULL, X86_ATTR_NULL);
    assert_int_equal(b->c.r.seg[X86_ES].selector, DATA3 | 3);
    assert_int_equal(b->c.r.seg[X86_FS].selector, CONFORMING);
    bench_free(b);
}

static void sixty_four_bit_gates_have_two_places(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 3);
    put_descriptor(b, LONG_GATE, gate(CODE64, CODE + 0x40, 0xec, 0));
    put_descriptor(b, LONG_GATE + 8, 0x0000000000001f00ull << 32);
    assert_fault(b, X86_GP, LONG_GATE, CALL, LONG_GATE | 3, 0);
    put_descriptor(b, LONG_GATE + 8, 0);
    assert_fault(b, X86_GP, GATE16, CALL, GATE16 | 3, 0);
    assert_fault(b, X86_GP, GATE3, CALL, GATE3 | 3, 0); /* its second half is a segment */
    put_descriptor(b, GATE3 + 8, 0);
    assert_fault(b, X86_GP, CODE0, CALL, GATE3 | 3, 0); /* 32-bit code behind it */
    assert_fine(b, CALL, LONG_GATE | 3, 0);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.next_rip, CODE + 0x40);
    assert_int_equal(b->c.r.seg[X86_SS].selector, 0);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 32);
    assert_int_equal(peek(b, STACK0 - 8, 8), DATA3 | 3);
    assert_int_equal(peek(b, STACK0 - 16, 8), STACK3);
    assert_int_equal(peek(b, STACK0 - 24, 8), CODE64_3 | 3);
    assert_int_equal(peek(b, STACK0 - 32, 8), CODE + 2);
    bench_free(b);
}

static void long_mode_has_no_tasks_to_jump_to(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    put_descriptor(b, LONG_TSS, segment(TSS, 0x67, 0x89, 0));
    assert_fault(b, X86_GP, LONG_TSS, JMP, LONG_TSS, 0);
    assert_fault(b, X86_GP, TASK_GATE, JMP, TASK_GATE, 0);
    put_descriptor(b, CODE1, segment(0, 0xfffff, 0x9b, 0x6)); /* L and D */
    assert_fault(b, X86_GP, CODE1, JMP, CODE1, 0);
    assert_fine(b, JMP, CODE0, 0x1000); /* compatibility mode */
    assert_int_equal(b->c.code_mode, X86_CODE32);
    assert_fine(b, JMP, CODE64, 0x2000);
    assert_int_equal(b->c.code_mode, X86_CODE64);
    bench_free(b);
}

static void real_mode_transfers(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    b->c.r.seg[X86_CS].base = 0x10000;
    b->c.r.seg[X86_CS].selector = 0x1000;
    b->c.r.gpr[X86_RSP] = 0x1234fffe;
    x86_refresh(&b->c);
    b->c.next_rip = 0x55;
    if (setjmp(b->c.unwind) != 0) {
        fail();
    }
    x86_far_transfer(&b->c, X86_FAR_CALL, 0x2345, 0x6789, X86_16);
    assert_int_equal(b->c.r.seg[X86_CS].base, 0x23450);
    assert_int_equal(b->c.next_rip, 0x6789);
    assert_int_equal(b->c.r.gpr[X86_RSP], 0x1234fffa);
    assert_int_equal(peek(b, 0xfffa, 4), 0x10000055);
    x86_far_return(&b->c, X86_16, 0);
    assert_int_equal(b->c.r.seg[X86_CS].selector, 0x1000);
    assert_int_equal(b->c.next_rip, 0x55);
    assert_fault(b, X86_GP, 0, JMP, 0x100, 0x10000);
    bench_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_segments_ask_for_type_privilege_presence),
        cmocka_unit_test(a_stack_segment_is_writable_and_of_this_level),
        cmocka_unit_test(loading_a_segment_marks_it_accessed),
        cmocka_unit_test(jumps_between_code_segments),
        cmocka_unit_test(a_call_gate_leads_inward_with_its_parameters),
        cmocka_unit_test(a_16_bit_gate_pushes_words),
        cmocka_unit_test(inner_stacks_are_checked_as_ts),
        cmocka_unit_test(far_returns_check_the_code_and_the_stack),
        cmocka_unit_test(a_return_outward_forgets_inner_data_segments),
        cmocka_unit_test(sixty_four_bit_gates_have_two_places),
        cmocka_unit_test(long_mode_has_no_tasks_to_jump_to),
        cmocka_unit_test(real_mode_transfers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
