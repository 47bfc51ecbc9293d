/* system_test.c - what systems do in translated code: code of global pages in several
 * address spaces, the interrupt flag, GS, system calls; on both engines.  What is expected
 * is counted by hand; that global translations outlive a change of space is SDM volume 3A,
 * 4.10.4.1, that an interrupt waits for the instruction behind STI volume 2, STI.
 * rows: HYP-21 ISA-08 */
#include <string.h>

#include "engines.h"

#define PAGES  MACHINE_TABLES
#define FN     0x40000u  /* a page of a function */
#define GLOBAL 0x43000u  /* a global one */
#define OTHER  0x300000u /* tables of the second space: levels 4, 3, 2 and one of pages */
#define G      0x100u
#define KEEP   (UINT64_C(1) << 63) /* of CR3 with PCIDs: flush nothing */

static void run(struct machine *m, const struct x86_regs *r, struct x86_regs *ret)
{
    machine_set(m, r);
    do {
        assert_int_equal(cpu_run(m->cpu[0], UINT64_MAX), 0);
        machine_get(m, ret);
    } while (!ret->halted && m->seen[CPU_EXIT_SHUTDOWN] == 0);
    assert_int_equal(m->seen[CPU_EXIT_SHUTDOWN], 0);
}

/* ---- address spaces ---- */

/* Two spaces, of r8 and r9, that share their global pages of code, and have one each at FN:
 * there the system's code is not global, until the next switch.  Then a global page, at
 * r12, is mapped anew in both. */
CODE(globals, ".code64",
     "mov $200, %ecx\n mov $0x40000, %ebx\n"
     "1: mov %r8, %cr3\n call *%r12\n call *%rbx\n call globals + 0x20000\n call *%r12\n"
     "mov %r9, %cr3\n call *%r12\n call *%rbx\n call globals + 0x20000\n call *%r12\n"
     "dec %ecx\n jnz 1b\n"
     "mov $100, %ecx\n 1: mov $0x42103, %eax\n test $1, %cl\n jz 2f\n"
     "mov $0x41103, %eax\n 2: mov %eax, (%r10)\n mov %eax, (%r11)\n invlpg (%r12)\n"
     "mov %r8, %cr3\n call *%r12\n call globals + 0x33000\n"
     "mov %r9, %cr3\n call *%r12\n call globals + 0x33000\n"
     "dec %ecx\n jnz 1b\n hlt")

static void put_function(struct machine *m, gpa at, uint8_t adds)
{
    const uint8_t fn[] = {0x48, 0x83, 0xc6, adds, 0xc3}; /* add rsi, adds; ret */

    machine_put(m, at, fn, sizeof fn);
}

static gpa other_entry(gpa page)
{
    return OTHER + 0x3000 + (page >> 12) * 8;
}

static void make_other(struct machine *m)
{
    unsigned n;

    machine_poke(m, OTHER, OTHER + 0x1003, 8);
    machine_poke(m, OTHER + 0x1000, OTHER + 0x2003, 8);
    machine_poke(m, OTHER + 0x2000, OTHER + 0x3003, 8);
    for (n = 1; n < 4; n++) {
        machine_poke(m, OTHER + 0x2000 + n * 8, PAGES + 0x4003 + n * 0x1000, 8);
    }
    for (n = 0; n < 512; n++) {
        machine_poke(m, other_entry((gpa)n * 4096), (uint64_t)n * 4096 + 3, 8);
    }
}

static void make_globals(struct machine *m, struct x86_regs *r)
{
    static const gpa pages[] = {MACHINE_CODE, 0x30000, GLOBAL};
    unsigned n;

    machine_put(m, MACHINE_CODE, globals, (uint64_t)(globals_end - globals));
    machine_put(m, 0x30000, "\xe9\xfb\xff\x00\x00", 5); /* jmp FN: to another page */
    put_function(m, FN, 1);
    put_function(m, FN + 0x1000, 3);
    put_function(m, FN + 0x2000, 5);
    put_function(m, GLOBAL, 7);
    make_other(m);
    machine_poke(m, other_entry(FN), FN + 0x1003, 8);
    for (n = 0; n < 3; n++) {
        machine_poke(m, machine_entry(pages[n]), pages[n] + G + 3, 8);
        machine_poke(m, other_entry(pages[n]), pages[n] + G + 3, 8);
    }
    machine_regs(m, r);
    r->cr4 |= X86_CR4_PGE;
    r->gpr[X86_R8] = PAGES;
    r->gpr[X86_R9] = OTHER;
    r->gpr[X86_R10] = other_entry(GLOBAL);
    r->gpr[X86_R11] = machine_entry(GLOBAL);
    r->gpr[X86_R12] = GLOBAL;
}

static void code_of_global_pages_is_one_for_all_spaces(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 2; n++) {
        if (!engines_init(&m, MACHINE_LONG, n / 2)) {
            skip();
        }
        make_globals(&m, &r);
        if (n % 2 != 0) {
            r.cr4 |= X86_CR4_PCIDE;
            r.gpr[X86_R8] |= KEEP | 1;
            r.gpr[X86_R9] |= KEEP | 2;
        }
        run(&m, &r, &r);
        assert_int_equal(r.gpr[X86_RSI], 200 * (2 * (1 + 3) + 4 * 7) + 50 * 4 * (3 + 5));
        machine_fini(&m);
    }
}

/* ---- interrupts ---- */

#define VECTOR  0x1du
#define HANDLER (0x4000u + VECTOR * 16) /* of machine.c */

/* Each OUT ends a run; an interrupt is asked for then.  It comes behind the instruction
 * behind STI, which in the second half is a HLT that it ends. */
CODE(flag, ".code64",
     "mov $100, %ecx\n"
     "1: cli\n out %al, $0x10\n inc %rbx\n sti\n inc %r8\n"
     "2: inc %r9\n lea 2b(%rip), %rax\n cmp %rax, %rdi\n setne %al\n movzx %al, %eax\n"
     "add %rax, %r10\n"
     "cli\n out %al, $0x10\n sti\n hlt\n"
     "3: lea 3b(%rip), %rax\n cmp %rax, %rdi\n setne %al\n movzx %al, %eax\n"
     "add %rax, %r10\n dec %ecx\n jnz 1b\n cli\n hlt")

static void an_interrupt_waits_for_one_instruction_behind_sti(void **state)
{
    /* mov (%rsp), %rdi; inc %rsi; iretq */
    static const uint8_t handler[] = {0x48, 0x8b, 0x3c, 0x24, 0x48,
                                      0xff, 0xc6, 0x48, 0xcf};
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        machine_put(&m, MACHINE_CODE, flag, (uint64_t)(flag_end - flag));
        machine_put(&m, HANDLER, handler, sizeof handler);
        machine_regs(&m, &r);
        machine_set(&m, &r);
        do {
            assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
            m.pending = VECTOR;
            cpu_kick(m.cpu[0], CPU_KICK_INTERRUPT);
        } while (m.seen[CPU_EXIT_HALT] == 0 && m.seen[CPU_EXIT_SHUTDOWN] == 0);
        machine_get(&m, &r);
        assert_int_equal(m.seen[CPU_EXIT_OUT], 200);
        assert_int_equal(m.seen[CPU_EXIT_SHUTDOWN], 0);
        assert_int_equal(r.gpr[X86_RSI], 200);
        assert_int_equal(r.gpr[X86_R9], 100);
        assert_int_equal(r.gpr[X86_R10], 0);
        machine_fini(&m);
    }
}

/* What PUSHF sees, and string instructions. */
CODE(flags, ".code64",
     "mov $200, %ecx\n"
     "1: cli\n std\n pushf\n pop %rax\n and $0x600, %eax\n add %rax, %rsi\n"
     "mov $0x100008, %edi\n stosq\n sub $0x100000, %rdi\n add %rdi, %r8\n"
     "sti\n cld\n pushf\n pop %rax\n and $0x600, %eax\n add %rax, %r9\n"
     "dec %ecx\n jnz 1b\n cli\n hlt")

static void flags_are_what_they_were_set_to(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        machine_put(&m, MACHINE_CODE, flags, (uint64_t)(flags_end - flags));
        machine_regs(&m, &r);
        run(&m, &r, &r);
        assert_int_equal(r.gpr[X86_RSI], 200 * 0x400);
        assert_int_equal(r.gpr[X86_R8], 0);
        assert_int_equal(r.gpr[X86_R9], 200 * 0x200);
        assert_int_equal(r.rflags & (X86_IF | X86_DF_BIT), 0);
        machine_fini(&m);
    }
}

CODE(bases, ".code64",
     "mov $200, %ecx\n"
     "1: swapgs\n add %gs:0, %rsi\n swapgs\n add %gs:0, %rdi\n dec %ecx\n jnz 1b\n"
     "swapgs\n hlt")

static void swapgs_exchanges_what_gs_adds(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        machine_put(&m, MACHINE_CODE, bases, (uint64_t)(bases_end - bases));
        machine_poke(&m, MACHINE_DATA, 1, 8);
        machine_poke(&m, MACHINE_DATA + 0x100, 3, 8);
        machine_regs(&m, &r);
        r.seg[X86_GS].base = MACHINE_DATA;
        r.msr.kernel_gs_base = MACHINE_DATA + 0x100;
        run(&m, &r, &r);
        assert_int_equal(r.gpr[X86_RSI], 600);
        assert_int_equal(r.gpr[X86_RDI], 200);
        assert_int_equal(r.seg[X86_GS].base, MACHINE_DATA + 0x100);
        assert_int_equal(r.msr.kernel_gs_base, MACHINE_DATA);
        machine_fini(&m);
    }
}

CODE(pauses, ".code64", "mov $100, %ecx\n 1: pause\n dec %ecx\n jnz 1b\n hlt")

static void many_pauses_end_in_an_exit(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 2; n++) {
        if (!engines_init(&m, MACHINE_LONG, n / 2)) {
            skip();
        }
        m.env.pause_most = n % 2 != 0 ? 10 : 0;
        machine_put(&m, MACHINE_CODE, pauses, (uint64_t)(pauses_end - pauses));
        machine_regs(&m, &r);
        run(&m, &r, &r);
        assert_int_equal(m.seen[CPU_EXIT_PAUSE], n % 2 != 0 ? 10 : 0);
        machine_fini(&m);
    }
}

/* ---- levels ---- */

#define GDT   0x1000u /* of machine.c */
#define TSS   0x3000u
#define USER  0x11000u /* the user's page of code; the stack ends at 0x60000 */
#define CALLS 300u

/* Level 0 calls the function in rbx, then goes to level 3, which calls it, too. */
CODE(levels, ".code64",
     "mov $50, %ecx\n 1: call *%rbx\n dec %ecx\n jnz 1b\n"
     "push $0x23\n push $0x60000\n push $2\n push $0x2b\n push $0x11000\n iretq")

static void make_levels(struct machine *m, struct x86_regs *r)
{
    static const gpa pages[] = {FN, USER, 0x5f000, 0x60000};
    unsigned n;

    machine_regs(m, r);
    machine_poke(m, GDT + 0x20, 0x00cff3000000ffff, 8);
    machine_poke(m, GDT + 0x28, 0x00affb000000ffff, 8);
    machine_poke(m, TSS + 4, 0x70000, 8);
    r->gdtr.limit = 0x2f;
    r->seg[X86_TR] =
        (struct x86_segment){.selector = 0x30, .attr = 0x8b, .base = TSS, .limit = 0x67};
    machine_poke(m, PAGES, PAGES + 0x1000 + 7, 8);
    machine_poke(m, PAGES + 0x1000, PAGES + 0x2000 + 7, 8);
    machine_poke(m, PAGES + 0x2000, PAGES + 0x4000 + 7, 8);
    for (n = 0; n < sizeof pages / sizeof pages[0]; n++) {
        machine_poke(m, machine_entry(pages[n]), pages[n] + 7, 8);
    }
}

static void what_a_system_may_faults_for_users_at_the_same_place(void **state)
{
    static const char *const functions[] = {
        "\xfa\xc3",         /* cli */
        "\xfb\x90\xc3",     /* sti; nop */
        "\x0f\x01\xf8\xc3", /* swapgs */
        "\x0f\x20\xd8\xc3", /* mov %cr3, %rax */
    };
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 4; n++) {
        if (!engines_init(&m, MACHINE_LONG, n / 4)) {
            skip();
        }
        machine_put(&m, MACHINE_CODE, levels, (uint64_t)(levels_end - levels));
        machine_put(&m, FN, functions[n % 4], strlen(functions[n % 4]));
        machine_put(&m, USER, "\xff\xd3\xf4", 3); /* call *%rbx; hlt */
        make_levels(&m, &r);
        r.gpr[X86_RBX] = FN;
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), X86_GP);
        assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 8, 8), FN);
        machine_fini(&m);
    }
}

/* SYSCALL and SYSRET from and to a loop of the user's; the system counts them, and an
 * interrupt of the guest's own (INT and IRETQ) on the way. */
CODE(calls, ".code64",
     "mov $300, %ebx\n 1: syscall\n add $1, %r8\n adc $0, %r9\n dec %ebx\n jnz 1b\n hlt")
CODE(serves, ".code64", "inc %rsi\n stc\n int $0x1d\n adc $0, %rdi\n sysretq")

static void system_calls_come_and_go(void **state)
{
    static const uint8_t handler[] = {0x48, 0xff, 0xc5, 0x48, 0xcf}; /* inc %rbp; iretq */
    static const uint64_t masks[] = {X86_IF, X86_IF | X86_AC_BIT,
                                     0x47700 | X86_ARITHMETIC};
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 3; n++) {
        if (!engines_init(&m, MACHINE_LONG, n / 3)) {
            skip();
        }
        make_levels(&m, &r);
        machine_put(&m, MACHINE_CODE, levels, (uint64_t)(levels_end - levels));
        machine_put(&m, USER, calls, (uint64_t)(calls_end - calls));
        machine_put(&m, 0x30000, serves, (uint64_t)(serves_end - serves));
        machine_put(&m, HANDLER, handler, sizeof handler);
        machine_put(&m, FN, "\xc3", 1);
        r.gpr[X86_RBX] = FN;
        r.msr.efer |= X86_EFER_SCE;
        r.msr.star = UINT64_C(0x8) << 32 | UINT64_C(0x1b) << 48;
        r.msr.lstar = 0x30000;
        r.msr.sfmask = masks[n % 3];
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), X86_GP); /* the user's HLT */
        assert_int_equal(r.gpr[X86_RSI], CALLS);
        assert_int_equal(r.gpr[X86_RDI], CALLS);
        assert_int_equal(r.gpr[X86_RBP], CALLS);
        assert_int_equal(r.gpr[X86_R8], CALLS);
        assert_int_equal(r.gpr[X86_R9], 0);
        machine_fini(&m);
    }
}

/* What a system call leaves in the registers, and its return: sums of flags, R11, RCX, CS
 * and SS of both levels.  Users call with DF, S, C and, each second time, AC set. */
CODE(
    shows, ".code64",
    "mov $300, %ebx\n"
    "1: pushf\n pop %rax\n and $0xfffbf72a, %eax\n or $0x481, %eax\n mov %ebx, %edx\n"
    "and $1, %edx\n shl $18, %edx\n or %rdx, %rax\n push %rax\n popf\n syscall\n"
    "2: pushf\n pop %rax\n add %rax, %r8\n mov %cs, %eax\n mov %ss, %edx\n shl $16, %edx\n"
    "or %rdx, %rax\n add %rax, %r9\n dec %ebx\n jnz 1b\n cld\n hlt")
CODE(sums, ".code64",
     "pushf\n pop %rax\n add %rax, %r10\n add %r11, %r12\n add %rcx, %r13\n"
     "mov %cs, %eax\n mov %ss, %edx\n shl $16, %edx\n or %rdx, %rax\n add %rax, %r14\n"
     "and $0xfffffffffffffbff, %r11\n sysretq")

static void a_system_call_changes_what_the_manual_says(void **state)
{
    /* Flags of users: bit 1, C, S, DF, and in half of the calls AC. */
    const uint64_t users = 300 * UINT64_C(0x483) + 150 * UINT64_C(0x40000);
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    for (n = 0; n < ENGINES * 2; n++) {
        bool keeps = n % 2 != 0; /* C */

        if (!engines_init(&m, MACHINE_LONG, n / 2)) {
            skip();
        }
        make_levels(&m, &r);
        machine_put(&m, MACHINE_CODE, levels, (uint64_t)(levels_end - levels));
        machine_put(&m, USER, shows, (uint64_t)(shows_end - shows));
        machine_put(&m, 0x30000, sums, (uint64_t)(sums_end - sums));
        machine_put(&m, FN, "\xc3", 1);
        r.gpr[X86_RBX] = FN;
        r.gpr[X86_RSP] = 0x70000; /* a system call keeps the user's stack */
        r.msr.efer |= X86_EFER_SCE;
        r.msr.star = UINT64_C(0x8) << 32 | UINT64_C(0x1b) << 48;
        r.msr.lstar = 0x30000;
        r.msr.sfmask = 0x47700 | (keeps ? X86_SF : X86_ARITHMETIC);
        run(&m, &r, &r);
        assert_int_equal(machine_vector(&m, &r), X86_GP); /* the user's HLT */
        assert_int_equal(r.gpr[X86_R12], users);
        assert_int_equal(r.gpr[X86_R8], users - 300 * UINT64_C(0x400));
        assert_int_equal(r.gpr[X86_R10], 300 * (keeps ? UINT64_C(3) : UINT64_C(2)));
        assert_int_equal(r.gpr[X86_R13] / 300, USER + 32);
        assert_int_equal(r.gpr[X86_R13] % 300, 0);
        assert_int_equal(r.gpr[X86_R9], 300 * UINT64_C(0x23002b));
        assert_int_equal(r.gpr[X86_R14], 300 * UINT64_C(0x100008));
        machine_fini(&m);
    }
}

/* The system is asked for an interrupt while it holds them off, and returns to a user who
 * does not: it comes in front of the user's next instruction. */
CODE(waits, ".code64",
     "mov $100, %ebx\n"
     "1: syscall\n 2: inc %r9\n lea 2b(%rip), %rax\n cmp %rax, %rdi\n setne %al\n"
     "movzx %al, %eax\n add %rax, %r10\n dec %ebx\n jnz 1b\n hlt")
CODE(asks, ".code64", "out %al, $0x10\n bts $9, %r11\n sysretq")

static void an_interrupt_waits_for_the_return_of_a_system_call(void **state)
{
    /* mov (%rsp), %rdi; inc %rsi; iretq */
    static const uint8_t handler[] = {0x48, 0x8b, 0x3c, 0x24, 0x48,
                                      0xff, 0xc6, 0x48, 0xcf};
    struct machine m;
    struct x86_regs r;
    unsigned engine;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, engine)) {
            skip();
        }
        make_levels(&m, &r);
        machine_put(&m, MACHINE_CODE, levels, (uint64_t)(levels_end - levels));
        machine_put(&m, USER, waits, (uint64_t)(waits_end - waits));
        machine_put(&m, 0x30000, asks, (uint64_t)(asks_end - asks));
        machine_put(&m, HANDLER, handler, sizeof handler);
        machine_put(&m, FN, "\xc3", 1);
        r.gpr[X86_RBX] = FN;
        r.msr.efer |= X86_EFER_SCE;
        r.msr.star = UINT64_C(0x8) << 32 | UINT64_C(0x1b) << 48;
        r.msr.lstar = 0x30000;
        r.msr.sfmask = 0x47700;
        machine_set(&m, &r);
        do {
            assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
            m.pending = VECTOR;
            cpu_kick(m.cpu[0], CPU_KICK_INTERRUPT);
        } while (m.seen[CPU_EXIT_HALT] == 0 && m.seen[CPU_EXIT_SHUTDOWN] == 0);
        machine_get(&m, &r);
        assert_int_equal(m.seen[CPU_EXIT_OUT], 100);
        assert_int_equal(m.seen[CPU_EXIT_SHUTDOWN], 0);
        assert_int_equal(r.gpr[X86_R9], 100);
        assert_int_equal(r.gpr[X86_RSI], 100);
        assert_int_equal(r.gpr[X86_R10], 0);
        machine_fini(&m);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_of_global_pages_is_one_for_all_spaces),
        cmocka_unit_test(an_interrupt_waits_for_one_instruction_behind_sti),
        cmocka_unit_test(flags_are_what_they_were_set_to),
        cmocka_unit_test(swapgs_exchanges_what_gs_adds),
        cmocka_unit_test(many_pauses_end_in_an_exit),
        cmocka_unit_test(a_system_call_changes_what_the_manual_says),
        cmocka_unit_test(an_interrupt_waits_for_the_return_of_a_system_call),
        cmocka_unit_test(what_a_system_may_faults_for_users_at_the_same_place),
        cmocka_unit_test(system_calls_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
