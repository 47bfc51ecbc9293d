/* Interrupts and exceptions: gates, stacks, error codes, double and triple faults;
 * IRET; virtual-8086 mode; task switches (SDM volume 3A, chapters 6 and 8; volume 3B,
 * chapter 21).
 * rows: ISA-02 */
#include "tests/virt/isa/x86/system/tables.h"

#define FLAGS (2u | X86_IF | X86_CF)

static void deliver(struct bench *b, enum x86_event kind, unsigned vector, int error)
{
    b->c.fault = (struct x86_fault){
        .vector = (uint8_t)vector, .has_error = error >= 0, .error = (uint32_t)error};
    x86_deliver(&b->c, kind, (uint8_t)vector);
}

static void a_fault_pushes_its_own_address_and_sets_rf(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    b->c.r.rflags = FLAGS | X86_TF;
    put_idt(b, X86_GP, gate(CODE0, 0x5000, 0x8e, 0));
    deliver(b, X86_EVENT_FAULT, X86_GP, 0x1234);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x5000);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 24);
    assert_int_equal(top(b, 4, 0), 0x1234);
    assert_int_equal(top(b, 4, 1), CODE);
    assert_int_equal(top(b, 4, 2), CODE3 | 3);
    assert_int_equal(top(b, 4, 3), FLAGS | X86_TF | X86_RF);
    assert_int_equal(top(b, 4, 4), STACK3);
    assert_int_equal(top(b, 4, 5), DATA3 | 3);
    assert_int_equal(b->c.r.rflags & (X86_TF | X86_RF | X86_IF | X86_NT), 0);
    bench_free(b);
}

static void a_trap_gate_keeps_if_and_a_trap_pushes_the_next_address(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    b->c.r.rflags = FLAGS;
    put_idt(b, X86_BP, gate(CODE0, 0x5000, 0x8f, 0));
    deliver(b, X86_EVENT_TRAP, X86_BP, -1);
    assert_int_equal(top(b, 4, 0), CODE + 2);
    assert_int_equal(top(b, 4, 2), FLAGS);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 12);
    assert_int_equal(b->c.r.rflags & X86_IF, X86_IF);
    bench_free(b);
}

/* INT n of level 3 through gates that refuse; the #GP or #NP that comes instead. */
static void software_interrupts_are_refused_with_the_gates_number(void **state)
{
    static const struct {
        uint64_t gate;
        unsigned vector, error;
    } cases[] = {
        {0, X86_GP, 0x80 * 8 + 2},                     /* no gate */
        {0x00008e0000080000ull, X86_GP, 0x80 * 8 + 2}, /* DPL 0 */
        {0x00006e0000080000ull, X86_NP, 0x80 * 8 + 2}, /* absent */
        {0x0000ee0000000000ull, X86_GP, 0},            /* null selector */
        {0x0000ee0002000000ull, X86_GP, OUTSIDE},      /* no descriptor */
        {0x0000ee0000100000ull, X86_GP, DATA0},        /* no code */
        {0x0000ee0000880000ull, X86_NP, ABSENT_CODE},
        {0x0000e50000500000ull, X86_GP, LOCAL}, /* a task gate to no task */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *b = bench_make("host-like");

        bench_protected(b, 3);
        put_idt(b, 0x80 % 128, 0);
        b->c.r.idtr.limit = 0x7ff;
        poke(b, IDT + 0x80 * 8, 8, cases[i].gate);
        put_idt(b, X86_GP, gate(CODE0, X86_GP, 0x8e, 0));
        put_idt(b, X86_NP, gate(CODE0, X86_NP, 0x8e, 0));
        x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x80);
        if (b->c.r.gpr[X86_RIP] != cases[i].vector || top(b, 4, 0) != cases[i].error) {
            fail_msg("case %u: vector %u error %x", i, (unsigned)b->c.r.gpr[X86_RIP],
                     (unsigned)top(b, 4, 0));
        }
        assert_int_equal(top(b, 4, 1), CODE); /* the INT itself */
        bench_free(b);
    }
}

static void external_events_set_ext(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    put_idt(b, X86_GP, gate(CODE0, X86_GP, 0x8e, 0));
    put_idt(b, 0x30, gate(OUTSIDE, 0, 0x8e, 0));
    x86_deliver(&b->c, X86_EVENT_EXTERNAL, 0x30);
    assert_int_equal(b->c.r.gpr[X86_RIP], X86_GP);
    assert_int_equal(top(b, 4, 0), OUTSIDE | 1);
    assert_int_equal(top(b, 4, 1), CODE + 2); /* nothing was executed meanwhile */
    bench_free(b);
}

/* A first exception whose gate is bad, and one of the second kind comes. */
static void contributory_exceptions_become_double_faults(void **state)
{
    static const struct {
        unsigned first, arrives;
    } cases[] = {
        {X86_GP, X86_DF}, {X86_DE, X86_DF}, {X86_NP, X86_DF}, {X86_PF, X86_DF},
        {X86_UD, X86_GP}, {X86_NM, X86_GP}, {X86_DB, X86_GP},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *b = bench_make("host-like");
        unsigned bad = cases[i].first == X86_GP ? X86_GP : 0xff;

        bench_protected(b, 0);
        for (unsigned v = 0; v < 32; v++) {
            put_idt(b, v, gate(CODE0, v, 0x8e, 0));
        }
        put_idt(b, cases[i].first, 0); /* #GP for it */
        if (bad == X86_GP) {
            put_idt(b, X86_GP, 0);
        }
        deliver(b, X86_EVENT_FAULT, cases[i].first, 0);
        assert_int_equal(b->c.r.gpr[X86_RIP], cases[i].arrives);
        assert_int_equal(top(b, 4, 0),
                         cases[i].arrives == X86_DF ? 0 : cases[i].first * 8 + 3);
        bench_free(b);
    }
}

static void the_third_fault_shuts_down(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    deliver(b, X86_EVENT_FAULT, X86_GP, 0);
    assert_int_equal(b->last.kind, CPU_EXIT_SHUTDOWN);
    assert_int_equal(b->exits, 1);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0);
    bench_free(b);
}

static void a_page_fault_while_delivering_one_is_a_double_fault(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 3);
    poke(b, IDT + X86_PF * 16, 8, gate(CODE64, 0x5000, 0x8e, 0));
    poke(b, IDT + X86_DF * 16, 8, gate(CODE64, 0x6000, 0x8e, 1)); /* IST1 */
    poke(b, TSS + 4, 8, 0x50000000);                              /* no stack there */
    b->c.fault = (struct x86_fault){
        .vector = X86_PF, .has_error = true, .error = 6, .address = 0x123456};
    x86_deliver(&b->c, X86_EVENT_FAULT, X86_PF);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x6000);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK1 - 48);
    assert_int_equal(top(b, 8, 0), 0);
    assert_int_equal(b->c.r.cr2, 0x50000000 - 8);
    bench_free(b);
}

static void long_mode_aligns_the_stack_and_pushes_it_always(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    b->c.r.gpr[X86_RSP] = STACK0 - 5;
    b->c.r.rflags = FLAGS;
    poke(b, IDT + 0x30 * 16, 8, gate(CODE64, 0x5000, 0x8e, 0));
    poke(b, IDT + 0x30 * 16 + 8, 8, 0);
    x86_deliver(&b->c, X86_EVENT_EXTERNAL, 0x30);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 16 - 40);
    assert_int_equal(top(b, 8, 0), CODE + 2);
    assert_int_equal(top(b, 8, 1), CODE64);
    assert_int_equal(top(b, 8, 2), FLAGS);
    assert_int_equal(top(b, 8, 3), STACK0 - 5);
    assert_int_equal(top(b, 8, 4), DATA0);
    assert_int_equal(b->c.r.seg[X86_SS].selector, DATA0); /* same level: kept */
    assert_fine(b, IRET64, 0, 0);
    assert_int_equal(b->c.next_rip, CODE + 2);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 5);
    assert_int_equal(b->c.r.rflags, FLAGS);
    bench_free(b);
}

static void iret_returns_outward_with_the_flags_of_its_level(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    b->c.r.nmi_masked = true;
    push64(b, DATA3 | 3);
    push64(b, 0x7ff0);
    push64(b, FLAGS | X86_IOPL | X86_RF | X86_VIP | X86_AC_BIT);
    push64(b, CODE64_3 | 3);
    push64(b, 0x4321);
    assert_fine(b, IRET64, 0, 0);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.r.rflags, FLAGS | X86_IOPL | X86_RF | X86_VIP | X86_AC_BIT);
    assert_int_equal(b->c.r.gpr[X86_RSP], 0x7ff0);
    assert_false(b->c.r.nmi_masked);
    assert_int_equal(x86_rights_now(&b->c), X86_AS_USER);
    bench_free(b);
    b = bench_make("host-like");
    bench_protected(b, 3); /* level 3 cannot change IOPL, nor IF below it */
    push32(b, 2 | X86_IOPL | X86_ZF);
    push32(b, CODE3 | 3);
    push32(b, 0x4321);
    b->c.r.rflags = FLAGS;
    assert_fine(b, IRET, 0, 0);
    assert_int_equal(b->c.r.rflags, 2 | X86_IF | X86_ZF);
    bench_free(b);
}

static void iret_in_long_mode_refuses_nested_tasks_and_bad_addresses(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    b->c.r.rflags |= X86_NT;
    assert_fault(b, X86_GP, 0, IRET64, 0, 0);
    b->c.r.rflags &= ~(uint64_t)X86_NT;
    push64(b, DATA3 | 3);
    push64(b, 0x7ff0);
    push64(b, 2);
    push64(b, CODE64_3 | 3);
    push64(b, 0x800000000000);
    assert_fault(b, X86_GP, 0, IRET64, 0, 0);
    assert_int_equal(b->c.r.cpl, 0);
    bench_free(b);
}

static void to_v86(struct bench *b, uint32_t flags)
{
    bench_protected(b, 0);
    push32(b, 0x600); /* GS FS DS ES */
    push32(b, 0x500);
    push32(b, 0x400);
    push32(b, 0x300);
    push32(b, 0x2800); /* SS ESP */
    push32(b, 0x100);
    push32(b, flags | X86_VM);
    push32(b, 0x1000);
    push32(b, 0xabcd);
    assert_fine(b, IRET, 0, 0);
    b->c.r.gpr[X86_RIP] = b->c.next_rip;
}

static void iret_enters_virtual_8086_mode_and_a_fault_leaves_it(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    to_v86(b, FLAGS);
    assert_true(b->c.v86);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.code_mode, X86_CODE16);
    assert_int_equal(b->c.r.seg[X86_CS].base, 0x10000);
    assert_int_equal(b->c.r.seg[X86_DS].base, 0x4000);
    assert_int_equal(b->c.r.seg[X86_DS].limit, 0xffff);
    assert_int_equal(b->c.next_rip, 0xabcd);
    put_idt(b, X86_GP, gate(CODE0, 0x5000, 0x8e, 0));
    deliver(b, X86_EVENT_FAULT, X86_GP, 0);
    assert_false(b->c.v86);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0 - 40);
    assert_int_equal(top(b, 4, 1), 0xabcd);
    assert_int_equal(top(b, 4, 2), 0x1000);
    assert_int_equal(top(b, 4, 3), FLAGS | X86_VM | X86_RF);
    assert_int_equal(top(b, 4, 4), 0x100);
    assert_int_equal(top(b, 4, 5), 0x2800);
    assert_int_equal(top(b, 4, 6), 0x300);
    assert_int_equal(top(b, 4, 7), 0x400);
    assert_int_equal(top(b, 4, 8), 0x500);
    assert_int_equal(top(b, 4, 9), 0x600);
    assert_int_equal(b->c.r.seg[X86_DS].attr & X86_ATTR_NULL, X86_ATTR_NULL);
    assert_int_equal(b->c.code_mode, X86_CODE32);
    bench_free(b);
}

static void int_n_in_virtual_8086_mode_needs_iopl_3(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    to_v86(b, FLAGS);
    put_idt(b, X86_GP, gate(CODE0, 0x5000, 0x8e, 0));
    put_idt(b, 0x21, gate(CODE0, 0x6000, 0xee, 0));
    x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x21);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x5000);
    assert_int_equal(top(b, 4, 0), 0);
    bench_free(b);
    b = bench_make("host-like");
    to_v86(b, FLAGS | X86_IOPL);
    put_idt(b, 0x21, gate(CODE0, 0x6000, 0xee, 0));
    x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x21);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x6000);
    bench_free(b);
}

static void with_vme_int_n_goes_to_the_tasks_own_vector(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    to_v86(b, FLAGS | X86_VIF);
    b->c.r.cr4 |= X86_CR4_VME;
    b->c.r.seg[X86_TR].limit = 0x200;
    poke(b, TSS + 102, 2, 0x88); /* I/O map; the redirection map is before it: zeros */
    poke(b, 0x21 * 4, 4, 0x20001234);
    x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x21);
    assert_true(b->c.v86);
    assert_int_equal(b->c.r.seg[X86_CS].selector, 0x2000);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x1234);
    assert_int_equal(b->c.r.rflags & (X86_VIF | X86_IF), X86_IF);
    assert_int_equal(peek(b, 0x28000 + 0x100 - 2, 2),
                     (FLAGS | X86_IOPL) & 0xffff); /* VIF where IF was, IOPL 3 */
    bench_free(b);
}

static void real_mode_vectors(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    b->c.r.gpr[X86_RSP] = 0x8000;
    b->c.r.gpr[X86_RIP] = 0x100;
    b->c.next_rip = 0x102;
    b->c.r.rflags = FLAGS | X86_AC_BIT;
    poke(b, 0x10 * 4, 4, 0xc0001234);
    x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x10);
    assert_int_equal(b->c.r.seg[X86_CS].base, 0xc0000);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x1234);
    assert_int_equal(b->c.r.gpr[X86_RSP], 0x7ffa);
    assert_int_equal(peek(b, 0x7ffa, 2), 0x102);
    assert_int_equal(peek(b, 0x7ffc, 2), 0xf000);
    assert_int_equal(peek(b, 0x7ffe, 2), FLAGS);
    assert_int_equal(b->c.r.rflags, 2 | X86_CF);
    b->c.r.idtr.limit = 0x1f; /* not even a double fault has room */
    x86_deliver(&b->c, X86_EVENT_SOFTWARE, 0x10);
    assert_int_equal(b->last.kind, CPU_EXIT_SHUTDOWN);
    bench_free(b);
}

/* A task at `at` that would run at `rip` with the flags. */
static void put_task(struct bench *b, uint32_t at, uint32_t rip, uint32_t flags)
{
    poke(b, at + 32, 4, rip);
    poke(b, at + 36, 4, flags);
    for (unsigned i = 0; i < 8; i++) {
        poke(b, at + 40 + i * 4, 4, 0x100 + i);
    }
    poke(b, at + 56, 4, STACK1);
    for (unsigned i = 0; i < 6; i++) {
        poke(b, at + 72 + i * 4, 4, i == X86_CS ? CODE0 : DATA0);
    }
    poke(b, at + 96, 4, LOCAL);
    poke(b, at + 100, 4, 0);
}

static void a_call_to_a_task_nests_and_iret_comes_back(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_descriptor(b, TASK, segment(TSS, 0x67, 0x8b, 0)); /* busy */
    put_task(b, TSS2, 0x7000, 2 | X86_ZF);
    b->c.r.gpr[X86_RAX] = 0x77;
    b->c.r.rflags = FLAGS;
    assert_fine(b, CALL, TASK2, 0);
    assert_int_equal(b->c.next_rip, 0x7000);
    assert_int_equal(b->c.r.rflags, 2 | X86_ZF | X86_NT);
    assert_int_equal(b->c.r.gpr[X86_RAX], 0x100);
    assert_int_equal(b->c.r.gpr[X86_RDI], 0x107);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK1);
    assert_int_equal(b->c.r.seg[X86_TR].selector, TASK2);
    assert_int_equal(b->c.r.seg[X86_LDTR].base, LDT);
    assert_int_equal(b->c.r.cr0 & X86_CR0_TS, X86_CR0_TS);
    assert_int_equal(peek(b, TSS2, 2), TASK);
    assert_int_equal(peek(b, TSS + 32, 4), CODE + 2);
    assert_int_equal(peek(b, TSS + 36, 4), FLAGS);
    assert_int_equal(peek(b, TSS + 40, 4), 0x77);
    assert_int_equal(peek(b, TSS + 76, 2), CODE0);
    assert_int_equal(peek(b, GDT + TASK + 5, 1), 0x8b); /* both busy */
    assert_int_equal(peek(b, GDT + TASK2 + 5, 1), 0x8b);
    assert_fault(b, X86_GP, TASK, JMP, TASK, 0); /* busy */
    b->c.r.gpr[X86_RAX] = 0x88;
    assert_fine(b, IRET, 0, 0);
    assert_int_equal(b->c.next_rip, CODE + 2);
    assert_int_equal(b->c.r.gpr[X86_RAX], 0x77);
    assert_int_equal(b->c.r.rflags, FLAGS);
    assert_int_equal(peek(b, GDT + TASK2 + 5, 1), 0x89);
    assert_int_equal(peek(b, TSS2 + 36, 4), 2 | X86_ZF); /* NT is not kept */
    assert_int_equal(peek(b, TSS2 + 40, 4), 0x88);
    bench_free(b);
}

static void a_jump_to_a_task_leaves_the_old_one_free(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_descriptor(b, TASK, segment(TSS, 0x67, 0x8b, 0));
    put_task(b, TSS2, 0x7000, 2);
    assert_fine(b, JMP, TASK_GATE, 0);
    assert_int_equal(b->c.r.seg[X86_TR].selector, TASK2);
    assert_int_equal(peek(b, GDT + TASK + 5, 1), 0x89);
    assert_int_equal(b->c.r.rflags & X86_NT, 0);
    bench_free(b);
}

static void a_16_bit_task(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    poke(b, TSS2 + 14, 2, 0x6000);
    poke(b, TSS2 + 16, 2, 2);
    poke(b, TSS2 + 18, 2, 0x1111);
    poke(b, TSS2 + 26, 2, 0x4000);
    poke(b, TSS2 + 34, 2, DATA16);
    poke(b, TSS2 + 36, 2, CODE16);
    poke(b, TSS2 + 38, 2, DATA16);
    assert_fine(b, JMP, TASK16, 0);
    assert_int_equal(b->c.code_mode, X86_CODE16);
    assert_int_equal(b->c.next_rip, 0x6000);
    assert_int_equal(b->c.r.gpr[X86_RAX], 0xffff1111);
    assert_int_equal(b->c.r.seg[X86_SS].selector, DATA16);
    assert_int_equal(b->c.r.seg[X86_DS].attr & X86_ATTR_NULL, X86_ATTR_NULL);
    bench_free(b);
}

static void a_fault_while_segments_load_is_the_new_tasks(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_task(b, TSS2, 0x7000, 2);
    poke(b, TSS2 + 72 + X86_DS * 4, 4, CODE3); /* fine */
    poke(b, TSS2 + 72 + X86_GS * 4, 4, OUTSIDE);
    assert_fault(b, X86_TS, OUTSIDE, JMP, TASK2, 0);
    assert_int_equal(b->c.r.seg[X86_TR].selector, TASK2);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x7000);
    assert_int_equal(b->c.r.seg[X86_GS].selector, OUTSIDE);
    bench_free(b);
    b = bench_make("host-like"); /* a virtual-8086 task whose LDT is bad */
    bench_protected(b, 0);
    put_task(b, TSS2, 0x7000, 2 | X86_VM);
    poke(b, TSS2 + 96, 2, DATA0);
    assert_fault(b, X86_TS, DATA0, JMP, TASK2, 0);
    assert_true(b->c.v86);
    assert_int_equal(b->c.r.cpl, 3);
    bench_free(b);
    b = bench_make("host-like");
    bench_protected(b, 0);
    put_descriptor(b, TASK2, segment(TSS2, 0x66, 0x89, 0));
    assert_fault(b, X86_TS, TASK2, JMP, TASK2, 0);
    assert_int_equal(b->c.r.seg[X86_TR].selector, TASK);
    bench_free(b);
}

static void an_exception_through_a_task_gate_pushes_its_error_there(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_task(b, TSS2, 0x7000, 2);
    put_idt(b, X86_DF, gate(TASK2, 0, 0x85, 0));
    deliver(b, X86_EVENT_FAULT, X86_DF, 0);
    assert_int_equal(b->c.r.seg[X86_TR].selector, TASK2);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK1 - 4);
    assert_int_equal(top(b, 4, 0), 0);
    assert_int_equal(peek(b, TSS + 32, 4), CODE);
    assert_int_equal(b->c.r.rflags & X86_NT, X86_NT);
    bench_free(b);
}

static void a_debug_exception_tells_dr6_and_clears_general_detect(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    b->c.r.dr[7] |= 0x2000;
    put_idt(b, X86_DB, gate(CODE0, 0x5000, 0x8e, 0));
    b->c.fault = (struct x86_fault){.vector = X86_DB, .dr6 = 0x4000};
    x86_deliver(&b->c, X86_EVENT_TRAP, X86_DB);
    assert_int_equal(b->c.r.dr[6], 0xffff4ff0);
    assert_int_equal(b->c.r.dr[7] & 0x2000, 0);
    bench_free(b);
}

/* Both loops are endless on a real processor. */
static void events_that_raise_themselves_end(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    put_idt(b, X86_DB, gate(CODE0, 0x5000, 0x8e, 0));
    b->c.r.dr[0] = STACK0 - 4;
    b->c.r.dr[7] = 0x000d0401;
    b->c.fault = (struct x86_fault){.vector = X86_DB, .dr6 = 0x4000};
    x86_deliver(&b->c, X86_EVENT_TRAP, X86_DB);
    assert_int_equal(b->c.r.gpr[X86_RIP], 0x5000);
    assert_int_equal(b->c.dr6_pending, 0);
    bench_free(b);
    b = bench_make("host-like");
    bench_protected(b, 3);
    put_idt(b, X86_AC, gate(CODE3, 0x5000, 0xee, 0));
    b->c.r.cr0 |= X86_CR0_AM;
    b->c.r.rflags |= X86_AC_BIT;
    b->c.r.gpr[X86_RSP] = STACK3 - 1;
    x86_refresh(&b->c);
    deliver(b, X86_EVENT_FAULT, X86_AC, 0);
    assert_int_equal(b->last.kind, CPU_EXIT_SHUTDOWN);
    bench_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_pushes_its_own_address_and_sets_rf),
        cmocka_unit_test(a_trap_gate_keeps_if_and_a_trap_pushes_the_next_address),
        cmocka_unit_test(software_interrupts_are_refused_with_the_gates_number),
        cmocka_unit_test(external_events_set_ext),
        cmocka_unit_test(contributory_exceptions_become_double_faults),
        cmocka_unit_test(the_third_fault_shuts_down),
        cmocka_unit_test(a_page_fault_while_delivering_one_is_a_double_fault),
        cmocka_unit_test(long_mode_aligns_the_stack_and_pushes_it_always),
        cmocka_unit_test(iret_returns_outward_with_the_flags_of_its_level),
        cmocka_unit_test(iret_in_long_mode_refuses_nested_tasks_and_bad_addresses),
        cmocka_unit_test(iret_enters_virtual_8086_mode_and_a_fault_leaves_it),
        cmocka_unit_test(int_n_in_virtual_8086_mode_needs_iopl_3),
        cmocka_unit_test(with_vme_int_n_goes_to_the_tasks_own_vector),
        cmocka_unit_test(real_mode_vectors),
        cmocka_unit_test(a_call_to_a_task_nests_and_iret_comes_back),
        cmocka_unit_test(a_jump_to_a_task_leaves_the_old_one_free),
        cmocka_unit_test(a_16_bit_task),
        cmocka_unit_test(a_fault_while_segments_load_is_the_new_tasks),
        cmocka_unit_test(an_exception_through_a_task_gate_pushes_its_error_there),
        cmocka_unit_test(events_that_raise_themselves_end),
        cmocka_unit_test(a_debug_exception_tells_dr6_and_clears_general_detect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
