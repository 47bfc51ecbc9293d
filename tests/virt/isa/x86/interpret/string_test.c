/* string_test.c - string instructions: over pages, in both directions, overlapping,
 * with a fault in the middle.
 * rows: ISA-02 CON-09 */
#include <string.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"

CODE(rep_movsb, ".code64", "rep movsb\nhlt\n")
CODE(rep_movsq, ".code64", "rep movsq\nhlt\n")
CODE(rep_movsw_down, ".code64", "std\nrep movsw\nhlt\n")
CODE(rep_stosl, ".code64", "rep stosl\nhlt\n")
CODE(repe_cmpsb, ".code64", "repe cmpsb\nhlt\n")
CODE(repne_scasb, ".code64", "repne scasb\nhlt\n")
CODE(rep_lodsb, ".code64", "rep lodsb\nhlt\n")
CODE(wrap16, ".code16", "rep movsb\nhlt\n")

static void fill(struct machine *m, gpa at, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        machine_poke(m, at + n, n * 7 + (n >> 8), 1);
    }
}

static void strings_at(const struct machine *m, struct x86_regs *r, uint64_t from,
                       uint64_t to, uint64_t count)
{
    machine_regs(m, r);
    r->gpr[X86_RSI] = from;
    r->gpr[X86_RDI] = to;
    r->gpr[X86_RCX] = count;
}

static void a_copy_over_pages_is_whole(void **state)
{
    struct machine m;
    struct x86_regs r;
    uint8_t from[10000];
    uint8_t to[10000];

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    fill(&m, 0x100123, 10000);
    strings_at(&m, &r, 0x100123, 0x110ffd, 10000);
    machine_run(&m, rep_movsb, rep_movsb_end, &r, &r);
    assert_int_equal(r.gpr[X86_RCX], 0);
    assert_int_equal(r.gpr[X86_RSI], 0x100123 + 10000);
    assert_int_equal(r.gpr[X86_RDI], 0x110ffd + 10000);
    assert_int_equal(mem_read(m.mem, 0x100123, from, sizeof from), 0);
    assert_int_equal(mem_read(m.mem, 0x110ffd, to, sizeof to), 0);
    assert_memory_equal(from, to, sizeof from);

    strings_at(&m, &r, 0x110ffd, 0x120001, 1250); /* elements cross pages */
    machine_run(&m, rep_movsq, rep_movsq_end, &r, &r);
    assert_int_equal(mem_read(m.mem, 0x120001, to, sizeof to), 0);
    assert_memory_equal(from, to, sizeof from);
    machine_fini(&m);
}

static void an_overlapping_copy_repeats_its_pattern(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_poke(&m, 0x100ff0, 0x030201, 3);
    strings_at(&m, &r, 0x100ff0, 0x100ff3, 300);
    machine_run(&m, rep_movsb, rep_movsb_end, &r, &r);
    for (unsigned n = 0; n < 303; n++) {
        assert_int_equal(machine_peek(&m, 0x100ff0 + n, 1), n % 3 + 1);
    }
    machine_fini(&m);
}

static void a_copy_downwards_ends_below(void **state)
{
    struct machine m;
    struct x86_regs r;
    uint8_t from[6002];
    uint8_t to[6002];

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    fill(&m, 0x100001, 6002);
    strings_at(&m, &r, 0x100001 + 6000, 0x110005 + 6000, 3001);
    machine_run(&m, rep_movsw_down, rep_movsw_down_end, &r, &r);
    assert_int_equal(r.gpr[X86_RSI], 0x100001 - 2);
    assert_int_equal(r.gpr[X86_RDI], 0x110005 - 2);
    assert_int_equal(mem_read(m.mem, 0x100001, from, sizeof from), 0);
    assert_int_equal(mem_read(m.mem, 0x110005, to, sizeof to), 0);
    assert_memory_equal(from, to, sizeof from);
    machine_fini(&m);
}

/* The second page of the destination is missing. */
static void a_fault_in_the_middle_leaves_a_restartable_instruction(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_poke(&m, machine_entry(0x101000), 0, 8);
    strings_at(&m, &r, 0, 0x100800, 1024);
    r.gpr[X86_RAX] = 0xfeedface;
    machine_run(&m, rep_stosl, rep_stosl_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_PF);
    assert_int_equal(r.cr2, 0x101000);
    assert_int_equal(r.gpr[X86_RCX], 512);
    assert_int_equal(r.gpr[X86_RDI], 0x101000);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 8, 8), MACHINE_CODE);
    assert_int_equal(machine_peek(&m, 0x100ffc, 4), 0xfeedface);

    machine_poke(&m, machine_entry(0x101000), 0x101003, 8);
    r.gpr[X86_RIP] = MACHINE_CODE;
    r.gpr[X86_RSP] = MACHINE_STACK;
    r.halted = false;
    machine_set(&m, &r);
    assert_int_equal(cpu_run(m.cpu[0], 100), 0);
    machine_get(&m, &r);
    assert_int_equal(r.gpr[X86_RCX], 0);
    assert_int_equal(machine_peek(&m, 0x1017fc, 4), 0xfeedface);
    assert_int_equal(machine_peek(&m, 0x101800, 4), 0);
    machine_fini(&m);
}

/* Flags from before, when a comparison faults. */
static void a_comparison_that_faults_leaves_the_flags(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    machine_poke(&m, machine_entry(0x101000), 0, 8);
    strings_at(&m, &r, 0x100ff0, 0x110ff0, 100);
    r.rflags |= X86_CF | X86_SF;
    machine_run(&m, repe_cmpsb, repe_cmpsb_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), X86_PF);
    assert_int_equal(r.gpr[X86_RCX], 100 - 16);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RSP] + 24, 8) & X86_ARITHMETIC,
                     X86_CF | X86_SF);
    machine_fini(&m);
}

static void comparisons_end_at_the_first_difference(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    fill(&m, 0x100f00, 600);
    fill(&m, 0x110f80, 600);
    machine_poke(&m, 0x110f80 + 511, 0xff, 1);
    machine_poke(&m, 0x100f00 + 511, 1, 1);
    strings_at(&m, &r, 0x100f00, 0x110f80, 600);
    machine_run(&m, repe_cmpsb, repe_cmpsb_end, &r, &r);
    assert_int_equal(r.gpr[X86_RCX], 600 - 512);
    assert_int_equal(r.gpr[X86_RSI], 0x100f00 + 512);
    assert_int_equal(r.rflags & (X86_ZF | X86_CF), X86_CF); /* 1 < 255 */

    strings_at(&m, &r, 0, 0x110f80, 600);
    r.gpr[X86_RAX] = 0xff;
    machine_run(&m, repne_scasb, repne_scasb_end, &r, &r);
    assert_true(r.rflags & X86_ZF);
    assert_true(r.gpr[X86_RDI] <= 0x110f80 + 512);
    assert_int_equal(machine_peek(&m, r.gpr[X86_RDI] - 1, 1), 0xff);
    machine_fini(&m);
}

static void a_count_of_zero_does_nothing(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    strings_at(&m, &r, 0x7fff000000000000, 0x7fff000000000000, 0);
    r.rflags |= X86_CF | X86_PF_BIT;
    machine_run(&m, repe_cmpsb, repe_cmpsb_end, &r, &r);
    assert_int_equal(machine_vector(&m, &r), -1);
    assert_int_equal(r.rflags & X86_ARITHMETIC, X86_CF | X86_PF_BIT);
    machine_fini(&m);
}

static void a_load_string_keeps_the_last_element(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_LONG, "base");
    fill(&m, 0x100ff8, 20);
    strings_at(&m, &r, 0x100ff8, 0, 20);
    r.gpr[X86_RAX] = 0x1122334455667788;
    machine_run(&m, rep_lodsb, rep_lodsb_end, &r, &r);
    assert_int_equal(r.gpr[X86_RAX], 0x1122334455667700 | 19 * 7);
    machine_fini(&m);
}

/* Offsets of 16 bits wrap inside the segment; upper halves stay. */
static void sixteen_bit_offsets_wrap(void **state)
{
    struct machine m;
    struct x86_regs r;

    (void)state;
    machine_init(&m, MACHINE_REAL, "base");
    machine_regs(&m, &r);
    r.seg[X86_DS].base = 0x20000;
    r.seg[X86_DS].selector = 0x2000;
    r.seg[X86_ES].base = 0x40000;
    r.seg[X86_ES].selector = 0x4000;
    r.gpr[X86_RSI] = 0xabcd0000 | 0xfffe;
    r.gpr[X86_RDI] = 0x12340000 | 0x0010;
    r.gpr[X86_RCX] = 0x55550000 | 4;
    machine_poke(&m, 0x20000, 0x4433, 2);
    machine_poke(&m, 0x2fffe, 0x2211, 2);
    machine_run(&m, wrap16, wrap16_end, &r, &r);
    assert_int_equal(machine_peek(&m, 0x40010, 4), 0x44332211);
    assert_int_equal(r.gpr[X86_RSI], 0xabcd0002);
    assert_int_equal(r.gpr[X86_RDI], 0x12340014);
    assert_int_equal(r.gpr[X86_RCX], 0x55550000);
    machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_over_pages_is_whole),
        cmocka_unit_test(an_overlapping_copy_repeats_its_pattern),
        cmocka_unit_test(a_copy_downwards_ends_below),
        cmocka_unit_test(a_fault_in_the_middle_leaves_a_restartable_instruction),
        cmocka_unit_test(a_comparison_that_faults_leaves_the_flags),
        cmocka_unit_test(comparisons_end_at_the_first_difference),
        cmocka_unit_test(a_count_of_zero_does_nothing),
        cmocka_unit_test(a_load_string_keeps_the_last_element),
        cmocka_unit_test(sixteen_bit_offsets_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
