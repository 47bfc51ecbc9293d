/* Control, debug and model-specific registers, mode switches, descriptor instructions,
 * ports, system calls, CPUID (SDM volume 2 and volume 3A, chapters 2 and 9).
 * rows: ISA-02 CON-06 FV-05 */
#include "base/err.h"
#include "tests/virt/isa/x86/system/tables.h"

#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows/system.rows.h"
#undef X86_ROW

#define PG  X86_CR0_PG
#define PE  X86_CR0_PE
#define PAE X86_CR4_PAE

static void cr0_refuses_what_the_manual_refuses(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PG);
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE | 0x20000000u); /* NW without CD */
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE | 1ull << 32);
    b->c.r.msr.efer = X86_EFER_LME;
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE | PG); /* long mode needs PAE */
    b->c.r.cr4 |= PAE;
    b->c.r.seg[X86_CS].attr |= X86_ATTR_L;
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE | PG);
    b->c.r.seg[X86_CS].attr &= (uint16_t)~X86_ATTR_L;
    assert_int_equal(b->c.r.cr0 & PG, 0);
    assert_fine(b, WRITE_CR, 0, PE | PG);
    assert_int_equal(b->c.r.msr.efer, X86_EFER_LME | X86_EFER_LMA);
    assert_true(b->c.long_mode);
    assert_int_equal(b->c.code_mode, X86_CODE32); /* compatibility mode */
    assert_int_equal(b->c.r.cr0, PE | PG | X86_CR0_ET);
    assert_fine(b, WRITE_CR, 0, PE);
    assert_int_equal(b->c.r.msr.efer, X86_EFER_LME);
    bench_free(b);
}

static void paging_cannot_end_in_64_bit_mode(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE);
    assert_fault(b, X86_GP, 0, WRITE_CR, 4, 0); /* PAE stays, too */
    assert_fine(b, WRITE_CR, 4, PAE | X86_CR4_PCIDE);
    assert_fine(b, WRITE_CR, 3, PML4 | 5);
    assert_fine(b, WRITE_CR, 4, PAE);
    assert_fault(b, X86_GP, 0, WRITE_CR, 4, PAE | X86_CR4_PCIDE); /* CR3 11:0 not 0 */
    assert_fault(b, X86_GP, 0, WRITE_CR, 3, PML4 | 1ull << 45);
    assert_fault(b, X86_GP, 0, WRITE_CR, 3, PML4 | 1ull << 63); /* no PCIDs */
    assert_fault(b, X86_GP, 0, WRITE_CR, 4, PAE | 1ull << 13);  /* VMX: none */
    assert_fault(b, X86_GP, 0, WRITE_CR, 8, 16);
    assert_fine(b, WRITE_CR, 8, 9);
    assert_int_equal(b->last.kind, CPU_EXIT_TPR);
    assert_int_equal(b->last.value, 9);
    bench_free(b);
}

static void pae_pointers_are_checked_when_they_load(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    poke(b, 0x50000, 8, 0x51000 | 3); /* bit 1 is reserved */
    assert_fine(b, WRITE_CR, 4, PAE);
    assert_fine(b, WRITE_CR, 3, 0x50000);
    assert_fault(b, X86_GP, 0, WRITE_CR, 0, PE | PG);
    poke(b, 0x50000, 8, 0x51000 | 1);
    poke(b, 0x51000, 8, 0x83 | X86_CR0_PE); /* 2 MiB at 0 */
    assert_fine(b, WRITE_CR, 0, PE | PG);
    poke(b, 0x60000, 8, 0x51000 | 0x21);
    assert_fault(b, X86_GP, 0, WRITE_CR, 3, 0x60000);
    assert_int_equal(b->c.r.cr3, 0x50000);
    bench_free(b);
}

static void nothing_of_64_bits_is_in_the_i686_model(void **state)
{
    struct bench *b = bench_make("i686");
    uint32_t v[4];

    (void)state;
    bench_protected(b, 0);
    x86_model_cpuid(&b->c, 0x80000001, 0, v);
    assert_int_equal(v[3] & (1u << 29 | 1u << 11 | 1u << 20), 0);
    b->c.r.gpr[X86_RCX] = 0xc0000080;
    b->c.r.gpr[X86_RAX] = X86_EFER_LME;
    b->refuse = true; /* no such register: whoever is asked refuses */
    assert_int_equal(try_insn(b, &x86_do_wrmsr, &(struct x86_insn){.size = X86_32}),
                     X86_GP);
    assert_int_equal(b->c.r.msr.efer, 0);
    assert_fault(b, X86_GP, 0, WRITE_CR, 4, X86_CR4_OSXSAVE);
    bench_free(b);
}

static const struct x86_insn plain = {.size = X86_32, .mode = X86_CODE32};

static void privileged_instructions_trap_above_level_0(void **state)
{
    static const struct {
        const struct x86_family *family;
        bool is_memory;
        unsigned vector;
    } cases[] = {
        {&x86_do_hlt, false, X86_GP},    {&x86_do_clts, false, X86_GP},
        {&x86_do_lmsw, false, X86_GP},   {&x86_do_lgdt, true, X86_GP},
        {&x86_do_lidt, true, X86_GP},    {&x86_do_lldt, false, X86_GP},
        {&x86_do_ltr, false, X86_GP},    {&x86_do_mov_cr, false, X86_GP},
        {&x86_do_mov_rc, false, X86_GP}, {&x86_do_mov_dr, false, X86_GP},
        {&x86_do_mov_rd, false, X86_GP}, {&x86_do_invd, false, X86_GP},
        {&x86_do_invlpg, true, X86_GP},  {&x86_do_invpcid, true, X86_GP},
        {&x86_do_rdmsr, false, X86_GP},  {&x86_do_wrmsr, false, X86_GP},
        {&x86_do_rdpmc, false, X86_GP},  {&x86_do_cli, false, X86_GP},
        {&x86_do_sti, false, X86_GP},    {&x86_do_in_d, false, X86_GP},
        {&x86_do_out_d, false, X86_GP},  {&x86_do_clac, false, X86_UD},
        {&x86_do_stac, false, X86_UD},   {&x86_do_monitor, false, X86_UD},
        {&x86_do_mwait, false, X86_UD},  {&x86_do_sysexit, false, X86_GP},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *b = bench_make("host-like");
        struct x86_insn insn = plain;
        unsigned vector;

        bench_protected(b, 3);
        b->c.r.msr.sysenter_cs = CODE0;
        insn.is_memory = cases[i].is_memory;
        insn.base = insn.index = X86_ZERO;
        insn.segment = X86_DS;
        insn.address = X86_32;
        vector = try_insn(b, cases[i].family, &insn);
        if (vector != cases[i].vector) {
            fail_msg("case %u: vector %u", i, vector);
        }
        bench_free(b);
    }
}

static void sensitive_instructions_are_silent_unless_umip(void **state)
{
    static const struct x86_family *const cases[] = {
        &x86_do_sgdt, &x86_do_sidt, &x86_do_sldt, &x86_do_str, &x86_do_smsw};
    struct bench *b = bench_make("host-like");
    struct x86_insn insn = {.size = X86_32,
                            .is_memory = true,
                            .segment = X86_DS,
                            .address = X86_32,
                            .base = X86_ZERO,
                            .index = X86_ZERO,
                            .disp = 0x5000};

    (void)state;
    bench_protected(b, 3);
    for (unsigned i = 0; i < 5; i++) {
        b->c.r.cr4 = 0;
        assert_int_equal(try_insn(b, cases[i], &insn), NO_FAULT);
        b->c.r.cr4 = X86_CR4_UMIP;
        assert_int_equal(try_insn(b, cases[i], &insn), X86_GP);
    }
    assert_int_equal(peek(b, 0x5000, 2), b->c.r.cr0 & 0xffff);
    b->c.r.cr4 = 0;
    assert_int_equal(try_insn(b, &x86_do_sgdt, &insn), NO_FAULT);
    assert_int_equal(peek(b, 0x5000, 6), 0xff | (uint64_t)GDT << 16);
    bench_free(b);
}

static unsigned ask(struct bench *b, const struct x86_family *f, uint16_t selector)
{
    struct x86_insn insn = {.size = X86_32, .reg = X86_RAX, .rm = X86_RBX};

    b->c.r.gpr[X86_RBX] = selector;
    b->c.r.gpr[X86_RAX] = 0xdead;
    assert_int_equal(try_insn(b, f, &insn), NO_FAULT);
    return (b->c.r.rflags & X86_ZF) != 0;
}

static void lar_lsl_verr_verw_answer_by_privilege(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    assert_false(ask(b, &x86_do_lar, 0));
    assert_false(ask(b, &x86_do_lar, OUTSIDE));
    assert_false(ask(b, &x86_do_lar, DATA0 | 3));
    assert_int_equal(b->c.r.gpr[X86_RAX], 0xdead);
    assert_true(ask(b, &x86_do_lar, DATA3 | 3));
    assert_int_equal(b->c.r.gpr[X86_RAX] & 0xf0ff00, 0xc0f300);
    assert_true(ask(b, &x86_do_lar, CONFORMING | 3));
    assert_true(ask(b, &x86_do_lsl, DATA3 | 3));
    assert_int_equal(b->c.r.gpr[X86_RAX], 0xffffffff);
    assert_true(ask(b, &x86_do_lar, GATE3 | 3));
    assert_false(ask(b, &x86_do_lsl, GATE3 | 3)); /* a gate has no limit */
    assert_true(ask(b, &x86_do_verr, READ_ONLY | 3));
    assert_false(ask(b, &x86_do_verw, READ_ONLY | 3));
    assert_false(ask(b, &x86_do_verr, EXECUTE_ONLY | 3));
    assert_true(ask(b, &x86_do_verw, DATA3 | 3));
    assert_false(ask(b, &x86_do_verw, CODE3 | 3));
    b->c.r.cr0 &= ~(uint64_t)PE;
    x86_refresh(&b->c);
    assert_int_equal(try_insn(b, &x86_do_lar, &plain), X86_UD);
    bench_free(b);
}

static void task_and_local_tables_load_with_their_checks(void **state)
{
    static const struct {
        uint16_t selector;
        unsigned vector, error;
    } ltr[] = {
        {0, X86_GP, 0},       {OUTSIDE, X86_GP, OUTSIDE}, {DATA0, X86_GP, DATA0},
        {BUSY, X86_GP, BUSY}, {0x14, X86_GP, 0x14},       {TASK2, NO_FAULT, 0},
    };
    struct x86_insn insn = {.size = X86_16, .rm = X86_RBX};

    (void)state;
    for (unsigned i = 0; i < sizeof ltr / sizeof ltr[0]; i++) {
        struct bench *b = bench_make("host-like");

        bench_protected(b, 0);
        b->c.r.gpr[X86_RBX] = ltr[i].selector;
        assert_int_equal(try_insn(b, &x86_do_ltr, &insn), ltr[i].vector);
        if (ltr[i].vector == NO_FAULT) {
            assert_int_equal(peek(b, GDT + TASK2 + 5, 1), 0x8b);
            assert_int_equal(b->c.r.seg[X86_TR].base, TSS2);
        } else {
            assert_int_equal(b->c.fault.error, ltr[i].error);
        }
        b->c.r.gpr[X86_RBX] = LOCAL;
        assert_int_equal(try_insn(b, &x86_do_lldt, &insn), NO_FAULT);
        assert_int_equal(b->c.r.seg[X86_LDTR].base, LDT);
        bench_free(b);
    }
}

static void ports_ask_iopl_then_the_bitmap(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    b->c.r.rflags |= X86_IOPL;
    assert_fine(b, PORT, 0x60, 1);
    b->c.r.rflags &= ~(uint64_t)X86_IOPL;
    b->c.r.seg[X86_TR].limit = 0x67 + 0x20;
    poke(b, TSS + 102, 2, 0x68);
    poke(b, TSS + 0x68 + 12, 1, 0xee); /* ports 60 and 64 are free */
    poke(b, TSS + 0x68 + 13, 1, 0xff);
    assert_fine(b, PORT, 0x60, 1);
    assert_fine(b, PORT, 0x64, 1);
    assert_fault(b, X86_GP, 0, PORT, 0x61, 1);
    assert_fault(b, X86_GP, 0, PORT, 0x60, 2);
    assert_fine(b, PORT, 0x5c, 4);
    assert_fault(b, X86_GP, 0, PORT, 0x66, 4);   /* over two bytes */
    assert_fault(b, X86_GP, 0, PORT, 0x1000, 1); /* behind the limit */
    b->c.r.rflags |= X86_IOPL;
    b->c.v86 = true; /* IOPL does not count there */
    assert_fault(b, X86_GP, 0, PORT, 0x61, 1);
    b->c.v86 = false;
    b->answer = 0x12345678;
    b->c.r.gpr[X86_RDX] = 0x70;
    b->c.r.gpr[X86_RAX] = UINT64_MAX;
    assert_int_equal(try_insn(b, &x86_do_in_d, &(struct x86_insn){.size = X86_16}),
                     NO_FAULT);
    assert_int_equal(b->c.r.gpr[X86_RAX], 0xffffffffffff5678);
    bench_free(b);
}

static void string_input_repeats_element_by_element(void **state)
{
    struct bench *b = bench_make("host-like");
    struct x86_insn insn = {.size = X86_16, .address = X86_32, .repeat = 0xf3};

    (void)state;
    bench_protected(b, 0);
    b->answer = 0xbeef;
    b->c.r.gpr[X86_RCX] = 3;
    b->c.r.gpr[X86_RDI] = 0x5000;
    assert_int_equal(try_insn(b, &x86_do_ins, &insn), NO_FAULT);
    assert_int_equal(b->c.next_rip, CODE); /* again */
    assert_int_equal(b->c.r.gpr[X86_RCX], 2);
    b->c.next_rip = CODE + 2;
    assert_int_equal(try_insn(b, &x86_do_ins, &insn), NO_FAULT);
    b->c.next_rip = CODE + 2;
    assert_int_equal(try_insn(b, &x86_do_ins, &insn), NO_FAULT);
    assert_int_equal(b->c.next_rip, CODE + 2);
    assert_int_equal(peek(b, 0x5000, 6), 0xbeefbeefbeef);
    assert_int_equal(b->exits, 3);
    /* A store that faults takes nothing from the port. */
    b->c.r.seg[X86_ES].limit = 0xfff;
    b->c.r.seg[X86_ES].attr = 0x4093;
    x86_segment_changed(&b->c, X86_ES);
    assert_int_equal(try_insn(b, &x86_do_ins, &insn), NO_FAULT); /* RCX is 0 */
    b->c.r.gpr[X86_RCX] = 1;
    assert_int_equal(try_insn(b, &x86_do_ins, &insn), X86_GP);
    assert_int_equal(b->exits, 3);
    bench_free(b);
}

static void syscall_and_sysret(void **state)
{
    struct bench *b = bench_make("host-like");
    struct x86_insn insn = {.size = X86_64};

    (void)state;
    bench_long(b, 3);
    b->c.r.msr.star = (uint64_t)0x33 << 48 | (uint64_t)CODE0 << 32;
    b->c.r.msr.lstar = 0xffffffff80001000;
    b->c.r.msr.sfmask = X86_IF | X86_DF_BIT;
    b->c.r.rflags = 2 | X86_IF | X86_CF | X86_DF_BIT;
    assert_int_equal(try_insn(b, &x86_do_syscall, &insn), NO_FAULT);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.r.gpr[X86_RCX], CODE + 2);
    assert_int_equal(b->c.r.gpr[X86_R11], 2 | X86_IF | X86_CF | X86_DF_BIT);
    assert_int_equal(b->c.r.rflags, 2 | X86_CF);
    assert_int_equal(b->c.next_rip, 0xffffffff80001000);
    assert_int_equal(b->c.r.seg[X86_CS].selector, CODE0);
    assert_int_equal(b->c.r.seg[X86_SS].selector, CODE0 + 8);
    b->c.r.gpr[X86_RCX] = 0x800000000000;
    assert_int_equal(try_insn(b, &x86_do_sysret, &insn), X86_GP);
    assert_int_equal(b->c.r.cpl, 0); /* the fault is the kernel's */
    b->c.r.gpr[X86_RCX] = 0x4000;
    assert_int_equal(try_insn(b, &x86_do_sysret, &insn), NO_FAULT);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.r.seg[X86_CS].selector, 0x33 + 16);
    assert_int_equal(b->c.r.seg[X86_SS].selector, 0x33 + 8);
    assert_int_equal(b->c.r.rflags, 2 | X86_IF | X86_CF | X86_DF_BIT);
    assert_int_equal(b->c.code_mode, X86_CODE64);
    b->c.r.msr.efer &= ~(uint64_t)X86_EFER_SCE;
    assert_int_equal(try_insn(b, &x86_do_syscall, &insn), X86_UD);
    bench_free(b);
}

static void sysenter_and_sysexit(void **state)
{
    struct bench *b = bench_make("i686");

    (void)state;
    bench_protected(b, 3);
    assert_int_equal(try_insn(b, &x86_do_sysenter, &plain), X86_GP);
    b->c.r.msr.sysenter_cs = CODE0;
    b->c.r.msr.sysenter_eip = 0x7000;
    b->c.r.msr.sysenter_esp = STACK0;
    b->c.r.rflags |= X86_IF;
    assert_int_equal(try_insn(b, &x86_do_sysenter, &plain), NO_FAULT);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.next_rip, 0x7000);
    assert_int_equal(b->c.r.gpr[X86_RSP], STACK0);
    assert_int_equal(b->c.r.rflags & X86_IF, 0);
    b->c.r.gpr[X86_RDX] = 0x1234;
    b->c.r.gpr[X86_RCX] = STACK3;
    assert_int_equal(try_insn(b, &x86_do_sysexit, &plain), NO_FAULT);
    assert_int_equal(b->c.r.cpl, 3);
    assert_int_equal(b->c.r.seg[X86_CS].selector, (CODE0 + 16) | 3);
    assert_int_equal(b->c.r.seg[X86_SS].selector, (CODE0 + 24) | 3);
    assert_int_equal(b->c.next_rip, 0x1234);
    bench_free(b);
}

static unsigned msr(struct bench *b, const struct x86_family *f, uint32_t n, uint64_t v)
{
    b->c.r.gpr[X86_RCX] = n;
    b->c.r.gpr[X86_RAX] = (uint32_t)v;
    b->c.r.gpr[X86_RDX] = v >> 32;
    return try_insn(b, f, &plain);
}

static uint64_t pair(const struct bench *b)
{
    return b->c.r.gpr[X86_RDX] << 32 | b->c.r.gpr[X86_RAX];
}

static void model_specific_registers(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000101, 0xffff888000000000), NO_FAULT);
    assert_int_equal(b->c.r.seg[X86_GS].base, 0xffff888000000000);
    assert_int_equal(b->c.read_base[X86_GS], 0xffff888000000000);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000101, 0x800000000000), X86_GP);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0x277, 0x0202020202020202), X86_GP);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xfe, 0), X86_GP);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0x203, 0xff80000800), NO_FAULT);
    assert_int_equal(b->c.r.msr.mtrr_mask[1], 0xff80000800);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0x26f, 0x0606060606060606), NO_FAULT);
    assert_int_equal(b->c.r.msr.mtrr_fixed[10], 0x0606060606060606);
    assert_int_equal(msr(b, &x86_do_rdmsr, 0x26f, 0), NO_FAULT);
    assert_int_equal(pair(b), 0x0606060606060606);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000082, 1ull << 47), X86_GP); /* LSTAR */
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000103, 1ull << 32), X86_GP); /* TSC_AUX */
    assert_int_equal(b->exits, 0);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0x1b, 0xfee00900), NO_FAULT); /* is told */
    assert_int_equal(b->last.kind, CPU_EXIT_MSR_WRITE);
    assert_int_equal(b->last.address, 0x1b);
    b->answer = 0x1234;
    assert_int_equal(msr(b, &x86_do_rdmsr, 0x802, 0), NO_FAULT); /* x2APIC */
    assert_int_equal(b->last.kind, CPU_EXIT_MSR_READ);
    assert_int_equal(b->last.address, 0x802);
    assert_int_equal(pair(b), 0x1234);
    b->refuse = true;
    assert_int_equal(msr(b, &x86_do_rdmsr, 0x12345, 0), X86_GP);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0x12345, 0), X86_GP);
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000080, 0), X86_GP); /* LME, paged */
    assert_int_equal(msr(b, &x86_do_wrmsr, 0xc0000080, 1ull << 40), X86_GP);
    bench_free(b);
}

static void swapgs_exchanges_the_bases(void **state)
{
    struct bench *b = bench_make("host-like");
    struct x86_insn insn = {.size = X86_64, .rm = X86_RBX};

    (void)state;
    bench_long(b, 0);
    b->c.r.msr.kernel_gs_base = 0x5000;
    b->c.r.seg[X86_GS].base = 0x6000;
    poke(b, 0x5008, 4, 0x42);
    assert_int_equal(try_insn(b, &x86_do_swapgs, &insn), NO_FAULT);
    assert_int_equal(b->c.r.msr.kernel_gs_base, 0x6000);
    assert_int_equal(x86_load32(&b->c, X86_GS, 8), 0x42);
    assert_int_equal(try_insn(b, &x86_do_rdgsbase, &insn), X86_UD); /* CR4 says no */
    b->c.r.cr4 |= X86_CR4_FSGSBASE;
    assert_int_equal(try_insn(b, &x86_do_rdgsbase, &insn), NO_FAULT);
    assert_int_equal(b->c.r.gpr[X86_RBX], 0x5000);
    b->c.r.gpr[X86_RBX] = 0x800000000000;
    assert_int_equal(try_insn(b, &x86_do_wrfsbase, &insn), X86_GP);
    bench_free(b);
}

static void debug_registers(void **state)
{
    struct bench *b = bench_make("host-like");
    struct x86_insn insn = {.size = X86_64, .reg = 7, .rm = X86_RBX};

    (void)state;
    bench_long(b, 0);
    b->c.r.gpr[X86_RBX] = 0xffffffff;
    assert_int_equal(try_insn(b, &x86_do_mov_dr, &insn), NO_FAULT);
    assert_int_equal(b->c.r.dr[7], 0xffff2fff);
    /* General detect is on now. */
    assert_int_equal(try_insn(b, &x86_do_mov_dr, &insn), X86_DB);
    assert_int_equal(b->c.fault.dr6, 0x2000);
    b->c.r.dr[7] = 0x400;
    b->c.r.gpr[X86_RBX] = 1ull << 32;
    assert_int_equal(try_insn(b, &x86_do_mov_dr, &insn), X86_GP);
    insn.reg = 4; /* another name of DR6 */
    assert_int_equal(try_insn(b, &x86_do_mov_rd, &insn), NO_FAULT);
    assert_int_equal(b->c.r.gpr[X86_RBX], 0xffff0ff0);
    b->c.r.cr4 |= X86_CR4_DE;
    assert_int_equal(try_insn(b, &x86_do_mov_rd, &insn), X86_UD);
    bench_free(b);
}

static void xcr0_takes_possible_components_only(void **state)
{
    static const struct {
        uint64_t value;
        unsigned vector;
    } cases[] = {{1, NO_FAULT}, {3, NO_FAULT}, {7, NO_FAULT},  {0, X86_GP},
                 {5, X86_GP},   {6, X86_GP},   {0x207, X86_GP}};
    struct bench *b = bench_make("v3");

    (void)state;
    bench_long(b, 0);
    assert_int_equal(try_insn(b, &x86_do_xsetbv, &plain), X86_UD);
    b->c.r.cr4 |= X86_CR4_OSXSAVE;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        b->c.r.gpr[X86_RCX] = b->c.r.gpr[X86_RDX] = 0;
        b->c.r.gpr[X86_RAX] = cases[i].value;
        assert_int_equal(try_insn(b, &x86_do_xsetbv, &plain), cases[i].vector);
    }
    assert_int_equal(b->c.r.xcr0, 7);
    b->c.r.gpr[X86_RCX] = 1; /* this model has no XGETBV of 1 */
    assert_int_equal(try_insn(b, &x86_do_xgetbv, &plain), X86_GP);
    bench_free(b);
}

static void interrupt_flag_by_privilege(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 3);
    assert_int_equal(try_insn(b, &x86_do_sti, &plain), X86_GP);
    b->c.r.cr4 = X86_CR4_PVI;
    assert_int_equal(try_insn(b, &x86_do_sti, &plain), NO_FAULT);
    assert_int_equal(b->c.r.rflags & (X86_IF | X86_VIF), X86_VIF);
    b->c.r.rflags |= X86_VIP;
    assert_int_equal(try_insn(b, &x86_do_sti, &plain), X86_GP);
    b->c.r.rflags |= X86_IOPL;
    assert_int_equal(try_insn(b, &x86_do_sti, &plain), NO_FAULT);
    assert_true(b->c.r.irq_shadow);
    assert_int_equal(try_insn(b, &x86_do_cli, &plain), NO_FAULT);
    assert_int_equal(b->c.r.rflags & X86_IF, 0);
    bench_free(b);
}

static void models_hold_what_their_level_says(void **state)
{
    (void)state;
    assert_null(x86_model_find("pentium"));
    assert_true(x86_model_has(x86_model_find("base"), X86_F_SSE4_2));
    assert_false(x86_model_has(x86_model_find("base"), X86_F_AVX));
    assert_true(x86_model_has(x86_model_find("v3"), X86_F_AVX2));
    assert_false(x86_model_has(x86_model_find("v3"), X86_F_SHA));
    assert_true(x86_model_has(x86_model_find("host-like"), X86_F_SHA));
    for (unsigned f = 0; f < X86_F_COUNT; f++) {
        bool says = f == X86_F_ARAT || f == X86_F_SPEC_CTRL || f == X86_F_STIBP ||
                    f == X86_F_ARCH_CAPS || f == X86_F_BHI_CTRL; /* no instructions */

        assert_int_equal(x86_model_has(x86_model_find("host-like"), f), !says);
        assert_int_equal(x86_model_has(x86_model_find("machine"), f), f != X86_F_MONITOR);
    }
    assert_false(x86_model_has(x86_model_find("i686"), X86_F_LM));
    assert_false(x86_model_has(x86_model_find("i686"), X86_F_SSE));
}

static unsigned access_msr(struct bench *b, uint32_t msr, bool writes, uint64_t value)
{
    b->c.r.gpr[X86_RCX] = msr;
    b->c.r.gpr[X86_RAX] = (uint32_t)value;
    b->c.r.gpr[X86_RDX] = value >> 32;
    return (unsigned)try_insn(b, writes ? &x86_do_wrmsr : &x86_do_rdmsr, &plain);
}

/* SDM volume 4, table 2-2; volume 2A, CPUID leaf 7. */
static void a_machine_says_what_its_speculation_cannot_do(void **state)
{
    struct bench *b = bench_make("machine");
    uint32_t v[4];

    (void)state;
    bench_long(b, 0);
    x86_model_cpuid(&b->c, 7, 0, v);
    assert_int_equal(v[3] & (1u << 26 | 1u << 27 | 1u << 29), 0x2c000000);
    assert_int_equal(access_msr(b, 0x10a, false, 0), NO_FAULT);
    assert_int_equal(b->c.r.gpr[X86_RAX] & 0x133, 0x133); /* RDCL, IBRS, SSB, MDS, TAA */
    assert_int_equal(access_msr(b, 0x10a, true, 0), X86_GP);
    assert_int_equal(access_msr(b, 0x48, true, 4), X86_GP);
    x86_model_cpuid(&b->c, 7, 2, v);
    assert_int_equal(v[3], 1u << 4); /* BHI_CTRL */
    assert_int_equal(access_msr(b, 0x48, true, 0x400), NO_FAULT);
    assert_int_equal(access_msr(b, 0x48, true, 3), NO_FAULT);
    assert_int_equal(access_msr(b, 0x48, false, 0), NO_FAULT);
    assert_int_equal(b->c.r.gpr[X86_RAX], 3);
    assert_int_equal(access_msr(b, 0x49, true, 1), NO_FAULT);
    assert_int_equal(access_msr(b, 0x49, true, 2), X86_GP);
    assert_int_equal(access_msr(b, 0x49, false, 0), X86_GP);
    bench_free(b);
    b = bench_make("host-like");
    bench_long(b, 0);
    x86_model_cpuid(&b->c, 7, 0, v);
    assert_int_equal(v[3], 0);
    b->refuse = true; /* no such register: whoever is asked refuses */
    assert_int_equal(access_msr(b, 0x10a, false, 0), X86_GP);
    bench_free(b);
}

static void reset_is_what_the_manual_tabulates(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    assert_int_equal(b->c.r.gpr[X86_RIP], 0xfff0);
    assert_int_equal(b->c.r.seg[X86_CS].base, 0xffff0000);
    assert_int_equal(b->c.r.cr0, 0x60000010);
    assert_int_equal(b->c.r.rflags, 2);
    assert_int_equal(b->c.r.dr[7], 0x400);
    assert_int_equal(b->c.r.fpu.fcw, 0x40);
    bench_long(b, 3);
    b->c.r.msr.lstar = 5;
    b->c.r.fpu.mxcsr = 0x1fa0;
    x86_reset(&b->c, true);
    assert_int_equal(b->c.r.msr.lstar, 5);
    assert_int_equal(b->c.r.fpu.mxcsr, 0x1fa0);
    assert_int_equal(b->c.r.msr.efer, 0);
    assert_int_equal(b->c.r.cpl, 0);
    assert_int_equal(b->c.code_mode, X86_CODE16);
    bench_free(b);
}

static void impossible_registers_are_refused(void **state)
{
    struct bench *b = bench_make("host-like");
    struct x86_regs good;
    struct x86_regs bad;
    struct err e = {0};

    (void)state;
    bench_long(b, 0);
    good = b->c.r;
    assert_int_equal(x86_check_regs(&b->c, &good, &e), 0);
    bad = good;
    bad.cr0 &= ~(uint64_t)PE;
    assert_int_equal(x86_check_regs(&b->c, &bad, &e), -EINVAL);
    assert_non_null(strstr(e.text, "CR0"));
    bad = good;
    bad.cr4 |= 1ull << 40;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.fpu.mxcsr = 0xffffffff;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.msr.efer = X86_EFER_LME;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.gpr[X86_RIP] = 0x800000000000;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.cpl = 4;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.rflags |= X86_VM;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bad = good;
    bad.xcr0 = 0;
    assert_int_equal(x86_check_regs(&b->c, &bad, NULL), -EINVAL);
    bench_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(cr0_refuses_what_the_manual_refuses),
        cmocka_unit_test(paging_cannot_end_in_64_bit_mode),
        cmocka_unit_test(pae_pointers_are_checked_when_they_load),
        cmocka_unit_test(nothing_of_64_bits_is_in_the_i686_model),
        cmocka_unit_test(privileged_instructions_trap_above_level_0),
        cmocka_unit_test(sensitive_instructions_are_silent_unless_umip),
        cmocka_unit_test(lar_lsl_verr_verw_answer_by_privilege),
        cmocka_unit_test(task_and_local_tables_load_with_their_checks),
        cmocka_unit_test(ports_ask_iopl_then_the_bitmap),
        cmocka_unit_test(string_input_repeats_element_by_element),
        cmocka_unit_test(syscall_and_sysret),
        cmocka_unit_test(sysenter_and_sysexit),
        cmocka_unit_test(model_specific_registers),
        cmocka_unit_test(swapgs_exchanges_the_bases),
        cmocka_unit_test(debug_registers),
        cmocka_unit_test(xcr0_takes_possible_components_only),
        cmocka_unit_test(interrupt_flag_by_privilege),
        cmocka_unit_test(models_hold_what_their_level_says),
        cmocka_unit_test(a_machine_says_what_its_speculation_cannot_do),
        cmocka_unit_test(reset_is_what_the_manual_tabulates),
        cmocka_unit_test(impossible_registers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
