/* space_test.c - what MOV to CR3, INVPCID and task switches do to address spaces, and
 * breakpoints on ports; truth: SDM volume 3A, 4.10.4 (what invalidates), 7.3 (task
 * switching), 17.2.4 and 17.2.5 (breakpoints), volume 2A, INVPCID.
 *
 * Tables change in memory alone; what the processor still goes by tells what it kept.
 * rows: ISA-02 CON-09 */
#include "tests/virt/isa/x86/system/tables.h"
#include "virt/isa/x86/system/debug.h"

extern const struct x86_family x86_do_invpcid;

#define PD      (PML4 + 0x2000)
#define GLOBAL  0x400000u /* two linear addresses, 2 MiB each, and a third */
#define PLAIN   0x600000u
#define OTHER   0x800000u
#define NEW     0xa00000u /* where all three go later: 2 MiB for each */
#define KEEP    (UINT64_C(1) << 63)
#define PAGE    0x87u
#define PAGE_G  0x187u
#define DIRS    0x50000u /* of 32-bit paging, 0x1000 each */
#define OPERAND 0x30000u /* of INVPCID */

static uint32_t load(struct bench *b, uint32_t at)
{
    return x86_load32(&b->c, X86_DS, at);
}

/* The three pages lead to themselves, and all are known; then they lead elsewhere. */
static void lead_home(struct bench *b)
{
    static const uint32_t at[] = {GLOBAL, PLAIN, OTHER};

    for (unsigned n = 0; n < 3; n++) {
        poke(b, PD + (at[n] >> 21) * 8, 8, at[n] | (at[n] == GLOBAL ? PAGE_G : PAGE));
        poke(b, at[n], 4, at[n]);
        poke(b, NEW + n * 0x200000u, 4, 1);
    }
}

static void lead_elsewhere(struct bench *b)
{
    assert_int_equal(load(b, GLOBAL), GLOBAL);
    assert_int_equal(load(b, PLAIN), PLAIN);
    assert_int_equal(load(b, OTHER), OTHER);
    poke(b, PD + (GLOBAL >> 21) * 8, 8, NEW | PAGE_G);
    poke(b, PD + (PLAIN >> 21) * 8, 8, (NEW + 0x200000) | PAGE);
    poke(b, PD + (OTHER >> 21) * 8, 8, (NEW + 0x400000) | PAGE);
}

/* Which of the three pages are still known. */
#define assert_kept(b, global, plain, other)                                             \
    (assert_int_equal(load(b, GLOBAL), (global) ? GLOBAL : 1),                           \
     assert_int_equal(load(b, PLAIN), (plain) ? PLAIN : 1),                              \
     assert_int_equal(load(b, OTHER), (other) ? OTHER : 1))

static void mov_to_cr3_keeps_global_pages_and_cr4_none(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE | X86_CR4_PGE);
    lead_home(b);
    lead_elsewhere(b);
    assert_kept(b, true, true, true);
    assert_fine(b, WRITE_CR, 3, PML4);
    assert_kept(b, true, false, false);
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE);
    assert_kept(b, false, false, false);
    lead_home(b); /* without PGE no page is global */
    assert_fine(b, WRITE_CR, 3, PML4);
    lead_elsewhere(b);
    assert_fine(b, WRITE_CR, 3, PML4);
    assert_kept(b, false, false, false);
    bench_free(b);
}

static void spaces_are_numbered_and_kept_if_bit_63_says_so(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_fault(b, X86_GP, 0, WRITE_CR, 3, PML4 | KEEP);
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE | X86_CR4_PCIDE);
    lead_home(b);
    for (unsigned pcid = 1; pcid <= 2; pcid++) {
        assert_fine(b, WRITE_CR, 3, PML4 | pcid);
        assert_int_equal(load(b, PLAIN), PLAIN);
    }
    poke(b, PD + (PLAIN >> 21) * 8, 8, (NEW + 0x200000) | PAGE);
    assert_fine(b, WRITE_CR, 3, PML4 | 1 | KEEP);
    assert_int_equal(b->c.r.cr3, PML4 | 1);
    assert_int_equal(load(b, PLAIN), PLAIN);
    assert_fine(b, WRITE_CR, 3, PML4 | 1);
    assert_int_equal(load(b, PLAIN), 1);
    assert_fine(b, WRITE_CR, 3, PML4 | 2 | KEEP); /* that was the other space */
    assert_int_equal(load(b, PLAIN), PLAIN);
    bench_free(b);
}

static unsigned invpcid(struct bench *b, uint64_t type, uint64_t pcid, uint64_t linear)
{
    struct x86_insn insn = {.size = X86_64,
                            .address = X86_64,
                            .is_memory = true,
                            .segment = X86_DS,
                            .reg = X86_RAX,
                            .base = X86_RBX,
                            .index = X86_ZERO};

    poke(b, OPERAND, 8, pcid);
    poke(b, OPERAND + 8, 8, linear);
    b->c.r.gpr[X86_RAX] = type;
    b->c.r.gpr[X86_RBX] = OPERAND;
    return try_insn(b, &x86_do_invpcid, &insn);
}

static void invpcid_has_four_types(void **state)
{
    static const struct {
        uint64_t type, pcid, linear;
        bool global, plain, other;
    } cases[] = {
        {0, 1, PLAIN + 0x1234, true, false, true},
        {0, 2, PLAIN, true, true, true},
        {1, 1, 0, true, false, false},
        {1, 2, 0, true, true, true},
        {2, 0, 0, false, false, false},
        {3, 0, 0, true, false, false},
    };
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE);
    assert_fine(b, WRITE_CR, 3, PML4 | 1);
    for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        lead_home(b);
        assert_int_equal(invpcid(b, 2, 0, 0), NO_FAULT);
        lead_elsewhere(b);
        assert_int_equal(invpcid(b, cases[n].type, cases[n].pcid, cases[n].linear),
                         NO_FAULT);
        assert_kept(b, cases[n].global, cases[n].plain, cases[n].other);
    }
    assert_int_equal(invpcid(b, 4, 0, 0), X86_GP);
    assert_int_equal(invpcid(b, 1, 0x1000, 0), X86_GP);
    assert_int_equal(invpcid(b, 0, 1, UINT64_C(1) << 47), X86_GP);
    assert_fine(b, WRITE_CR, 3, PML4);
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE);
    assert_int_equal(invpcid(b, 1, 1, 0), X86_GP); /* a number without PCIDE */
    bench_free(b);
}

static unsigned try_access(struct bench *b, uint32_t at, bool writes)
{
    if (setjmp(b->c.unwind) != 0) {
        return b->c.fault.vector;
    }
    if (writes) {
        x86_store32(&b->c, X86_DS, at, 1);
    } else {
        (void)load(b, at);
    }
    return NO_FAULT;
}

/* A page that is known already: CR0.WP for a supervisor's store, CR4.SMAP for its load. */
static void rights_of_a_known_page_follow_cr0_and_cr4(void **state)
{
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_long(b, 0);
    assert_fine(b, WRITE_CR, 0, X86_CR0_PE | X86_CR0_PG);
    poke(b, PD + (PLAIN >> 21) * 8, 8, PLAIN | (PAGE & ~2u)); /* read-only, for users */
    assert_int_equal(try_access(b, PLAIN, true), NO_FAULT);
    assert_fine(b, WRITE_CR, 0, X86_CR0_PE | X86_CR0_PG | X86_CR0_WP);
    assert_int_equal(try_access(b, PLAIN, true), X86_PF);
    assert_int_equal(b->c.fault.error, 3);
    assert_int_equal(try_access(b, PLAIN, false), NO_FAULT);
    poke(b, PD, 8, 0x83); /* what the test itself needs is the system's */
    assert_fine(b, WRITE_CR, 4, X86_CR4_PAE | X86_CR4_SMAP);
    assert_int_equal(try_access(b, PLAIN, false), X86_PF);
    assert_int_equal(b->c.fault.error, 1);
    bench_free(b);
}

/* Two directories of 4 MiB pages: in the second, OTHER leads to NEW's page. */
static void put_directories(struct bench *b)
{
    for (unsigned n = 0; n < 4; n++) {
        poke(b, DIRS + n * 4, 4, n << 22 | PAGE);
        poke(b, DIRS + 0x1000 + n * 4, 4, n << 22 | PAGE);
    }
    poke(b, DIRS + 0x1000 + (OTHER >> 22) * 4, 4, 0xc00000u | PAGE);
    poke(b, OTHER, 4, 1);
    poke(b, 0xc00000, 4, 2);
}

static void put_task(struct bench *b, uint32_t at, uint32_t directory, bool trap)
{
    poke(b, at + 28, 4, directory);
    poke(b, at + 32, 4, 0x7000);
    poke(b, at + 36, 4, 2);
    poke(b, at + 56, 4, STACK1);
    for (unsigned s = 0; s < 6; s++) {
        poke(b, at + 72 + s * 4, 4, s == X86_CS ? CODE0 : DATA0);
    }
    poke(b, at + 96, 4, 0);
    poke(b, at + 100, 4, trap);
}

static void a_task_brings_its_tables_and_its_trap(void **state)
{
    for (unsigned trap = 0; trap < 2; trap++) {
        struct bench *b = bench_make("host-like");

        bench_protected(b, 0);
        put_descriptor(b, TASK, segment(TSS, 0x67, 0x8b, 0));
        put_directories(b);
        put_task(b, TSS2, DIRS + 0x1000, trap != 0);
        poke(b, TSS + 28, 4, 0x1234);
        assert_fine(b, WRITE_CR, 4, X86_CR4_PSE);
        assert_fine(b, WRITE_CR, 3, DIRS);
        assert_fine(b, WRITE_CR, 0, X86_CR0_PE | X86_CR0_PG);
        b->c.r.dr[7] = 0x7ff; /* four local and four global breakpoints, LE and GE */
        assert_int_equal(load(b, OTHER), 1);
        b->c.dr6_pending = 0;
        b->c.wants = 0;
        assert_fine(b, JMP, TASK2, 0);
        assert_int_equal(b->c.r.cr3, DIRS + 0x1000);
        assert_int_equal(load(b, OTHER), 2);
        assert_int_equal(b->c.r.dr[7], 0x6aa);
        assert_int_equal(peek(b, TSS + 28, 4), 0x1234); /* CR3 is not saved */
        assert_int_equal(b->c.dr6_pending & 0x8000, trap * 0x8000);
        assert_int_equal((b->c.wants & X86_WANT_TRAP) != 0, trap);
        bench_free(b);
    }
    (void)state;
}

/* Two bytes from 3F8 on, by DR0. */
static void a_port_breakpoint_needs_de_and_its_bytes(void **state)
{
    static const struct {
        uint16_t port;
        uint8_t bytes, hits;
    } cases[] = {{0x3f8, 1, 1}, {0x3f9, 1, 1}, {0x3fa, 1, 0},
                 {0x3f6, 4, 1}, {0x3f4, 4, 0}, {0x3f8, 4, 1}};
    struct bench *b = bench_make("host-like");

    (void)state;
    bench_protected(b, 0);
    b->c.r.dr[0] = 0x3f8;
    b->c.r.dr[7] = 0x60401; /* L0, ports, two bytes */
    for (unsigned de = 0; de < 2; de++) {
        assert_fine(b, WRITE_CR, 4, de != 0 ? X86_CR4_DE : 0);
        for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
            b->c.dr6_pending = 0;
            x86_note_port(&b->c, cases[n].port, cases[n].bytes);
            assert_int_equal(b->c.dr6_pending & 1, de & cases[n].hits);
        }
    }
    bench_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(mov_to_cr3_keeps_global_pages_and_cr4_none),
        cmocka_unit_test(spaces_are_numbered_and_kept_if_bit_63_says_so),
        cmocka_unit_test(invpcid_has_four_types),
        cmocka_unit_test(rights_of_a_known_page_follow_cr0_and_cr4),
        cmocka_unit_test(a_task_brings_its_tables_and_its_trap),
        cmocka_unit_test(a_port_breakpoint_needs_de_and_its_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
