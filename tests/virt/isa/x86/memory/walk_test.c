/* The page walk against tables built by hand, as the manual draws them (SDM volume
 * 3A, chapter 4): where a page is found, who may touch it, which error code tells
 * of a refusal, which bits are set, and which bits are reserved.
 * rows: ISA-02 */
#include "tests/virt/isa/x86/memory/bench.h"
#include "virt/isa/x86/memory/look.h"

#define P  0x1ull
#define W  0x2ull
#define U  0x4ull
#define A  0x20ull
#define D  0x40ull
#define PS 0x80ull
#define NX (1ull << 63)

#define PML4  0x10000u
#define PDPT  0x11000u
#define PD    0x12000u
#define PT    0x13000u
#define FRAME 0x200000u

/* Linear address whose four indices are 1, 2, 3, 4. */
#define LINEAR ((1ull << 39) | (2ull << 30) | (3ull << 21) | (4ull << 12))

static void map4(struct bench *b, uint64_t rights)
{
    bench_poke(b, PML4 + 1 * 8, 8, PDPT | P | W | U);
    bench_poke(b, PDPT + 2 * 8, 8, PD | P | W | U);
    bench_poke(b, PD + 3 * 8, 8, PT | P | W | U);
    bench_poke(b, PT + 4 * 8, 8, FRAME | rights);
}

static void four_levels_lead_to_the_page_and_mark_it(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    map4(b, P | W | U);
    bench_poke(b, FRAME + 0x123, 4, 0xcafe1234);
    bench_long(b, PML4, 3);
    assert_int_equal(x86_load32(&b->c, X86_DS, LINEAR + 0x123), 0xcafe1234);
    assert_int_equal(bench_peek(b, PML4 + 8, 8), PDPT | P | W | U | A);
    assert_int_equal(bench_peek(b, PDPT + 16, 8), PD | P | W | U | A);
    assert_int_equal(bench_peek(b, PD + 24, 8), PT | P | W | U | A);
    assert_int_equal(bench_peek(b, PT + 32, 8), FRAME | P | W | U | A);
    x86_store32(&b->c, X86_DS, LINEAR + 0x200, 77);
    assert_int_equal(bench_peek(b, PT + 32, 8), FRAME | P | W | U | A | D);
    assert_int_equal(bench_peek(b, FRAME + 0x200, 4), 77);
    assert_int_equal(b->c.count.tlb_misses, 2); /* the store had to set D */
    x86_store32(&b->c, X86_DS, LINEAR + 0x204, 78);
    assert_int_equal(b->c.count.tlb_misses, 2);
    bench_free(b);
}

static void large_pages_of_2m_and_1g(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    map4(b, 0);
    bench_poke(b, PD + 3 * 8, 8, 0x400000 | P | W | PS);
    bench_poke(b, 0x400000 + 0x4010, 4, 0x2222);
    bench_long(b, PML4, 0);
    assert_int_equal(x86_load32(&b->c, X86_DS, LINEAR + 0x10), 0x2222);
    bench_poke(b, PDPT + 2 * 8, 8, 0 | P | W | PS);
    bench_poke(b, (3u << 21) + 0x4010, 4, 0x1111);
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(x86_load32(&b->c, X86_DS, LINEAR + 0x10), 0x1111);
    b->c.has_1g_pages = false;
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(bench_try(b, LOAD, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 9); /* P, RSVD */
    bench_free(b);
}

/* One row: the rights of the page (in the last entry), the registers, the access;
 * the error code, or NO_FAULT. */
struct rights_case {
    uint64_t rights;
    uint64_t cr0_less, cr4_more;
    uint8_t cpl;
    bool ac;
    enum bench_kind kind;
    unsigned error;
};

static const struct rights_case rights_cases[] = {
    {0, 0, 0, 0, false, LOAD, 0},
    {0, 0, 0, 3, false, LOAD, 4},
    {0, 0, 0, 3, false, STORE, 6},
    {0, 0, 0, 3, false, FETCH, 20},
    {P | W, 0, 0, 3, false, LOAD, 5},
    {P | W, 0, 0, 3, false, STORE, 7},
    {P | W, 0, 0, 3, false, FETCH, 21},
    {P | W, 0, 0, 0, false, STORE, NO_FAULT},
    {P | U, 0, 0, 3, false, LOAD, NO_FAULT},
    {P | U, 0, 0, 3, false, STORE, 7},
    {P | U, 0, 0, 0, false, STORE, 3},
    {P | U, X86_CR0_WP, 0, 0, false, STORE, NO_FAULT},
    {P | U, X86_CR0_WP, 0, 3, false, STORE, 7},
    {P | U | NX, 0, 0, 3, false, FETCH, 21},
    {P | U | NX, 0, 0, 3, false, LOAD, NO_FAULT},
    {P | NX, 0, 0, 0, false, FETCH, 17},
    {P | W | U, 0, X86_CR4_SMEP, 0, false, FETCH, 17},
    {P | W | U, 0, X86_CR4_SMEP, 3, false, FETCH, NO_FAULT},
    {P | W | U, 0, 0, 0, false, FETCH, NO_FAULT},
    {P | W | U, 0, X86_CR4_SMAP, 0, false, LOAD, 1},
    {P | W | U, 0, X86_CR4_SMAP, 0, false, STORE, 3},
    {P | W | U, 0, X86_CR4_SMAP, 0, true, STORE, NO_FAULT},
    {P | W | U, 0, X86_CR4_SMAP, 3, false, STORE, NO_FAULT},
    {P | W | U, 0, X86_CR4_SMAP, 0, false, FETCH, NO_FAULT},
    {P | W, 0, X86_CR4_SMAP, 0, false, STORE, NO_FAULT},
    {P | W | (1ull << 45), 0, 0, 0, false, LOAD, 9},
    {P | W | (1ull << 45), 0, 0, 3, false, STORE, 15},
    {P | W | U | (1ull << 52), 0, 0, 3, false, STORE, NO_FAULT}, /* ignored */
};

static void every_right_and_error_code(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof rights_cases / sizeof rights_cases[0]; i++) {
        const struct rights_case *t = &rights_cases[i];
        struct bench *b = bench_make();
        unsigned vector;

        map4(b, t->rights);
        bench_long(b, PML4, t->cpl);
        b->c.r.cr0 &= ~t->cr0_less;
        b->c.r.cr4 |= t->cr4_more;
        b->c.r.rflags = t->ac ? X86_AC_BIT : 0;
        x86_memory_refresh(&b->c);
        vector = bench_try(b, t->kind, X86_DS, LINEAR + 8);
        if (vector != (t->error == NO_FAULT ? NO_FAULT : X86_PF) ||
            (vector == X86_PF && b->c.fault.error != t->error)) {
            fail_msg("case %u: vector %u, error %u", i, vector, b->c.fault.error);
        }
        if (vector == X86_PF) {
            assert_int_equal(b->c.fault.address, LINEAR + 8);
            /* A translation that fails marks nothing. */
            assert_int_equal(bench_peek(b, PT + 32, 8), FRAME | t->rights);
            assert_int_equal(bench_peek(b, PML4 + 8, 8), PDPT | P | W | U);
        }
        bench_free(b);
    }
}

static void rights_are_those_of_all_levels_together(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    map4(b, P | W | U);
    bench_poke(b, PD + 24, 8, PT | P | U);
    bench_long(b, PML4, 3);
    assert_int_equal(bench_try(b, LOAD, X86_DS, LINEAR), NO_FAULT);
    assert_int_equal(bench_try(b, STORE, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 7);
    bench_poke(b, PD + 24, 8, PT | P | W | U | NX);
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(bench_try(b, STORE, X86_DS, LINEAR), NO_FAULT);
    assert_int_equal(bench_try(b, FETCH, X86_CS, LINEAR), X86_PF);
    bench_poke(b, PML4 + 8, 8, PDPT | P | W);
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(bench_try(b, LOAD, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 5);
    bench_free(b);
}

static void nx_is_reserved_without_nxe(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    map4(b, P | W | NX);
    bench_long(b, PML4, 0);
    b->c.r.msr.efer &= ~(uint64_t)X86_EFER_NXE;
    assert_int_equal(bench_try(b, FETCH, X86_CS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 9); /* no I bit: nothing tells of fetches */
    bench_free(b);
}

static void reserved_bits_of_an_upper_level_come_before_a_hole_below(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    map4(b, 0);
    bench_poke(b, PML4 + 8, 8, PDPT | P | W | U | PS);
    bench_long(b, PML4, 0);
    assert_int_equal(bench_try(b, LOAD, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 9);
    bench_poke(b, PML4 + 8, 8, PDPT | P | W | U);
    bench_poke(b, PD + 24, 8, 0x400000 | 0x2000 | P | W | U | PS);
    assert_int_equal(bench_try(b, STORE, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->c.fault.error, 11);
    bench_free(b);
}

static void paging32(struct bench *b, uint64_t cr4)
{
    bench_flat32(b, 0);
    b->c.r.cr0 |= X86_CR0_PG | X86_CR0_WP;
    b->c.r.cr4 = cr4;
    b->c.r.cr3 = PD;
    x86_memory_refresh(&b->c);
}

static void two_levels_of_32_bit_paging(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_poke(b, PD + 5 * 4, 4, PT | P | W);
    bench_poke(b, PT + 7 * 4, 4, FRAME | P | W);
    bench_poke(b, FRAME + 8, 4, 0xabcd);
    paging32(b, 0);
    assert_int_equal(x86_load32(&b->c, X86_DS, (5u << 22) | (7u << 12) | 8), 0xabcd);
    assert_int_equal(bench_peek(b, PD + 20, 4), PT | P | W | A);
    assert_int_equal(bench_peek(b, PT + 28, 4), FRAME | P | W | A);
    assert_int_equal(bench_try(b, STORE, X86_DS, (6u << 22)), X86_PF);
    assert_int_equal(b->c.fault.error, 2);
    bench_free(b);
}

static void four_megabyte_pages_need_pse(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_poke(b, PD + 5 * 4, 4, 0x800000 | P | W | PS);
    bench_poke(b, 0x800000 + 0x345678, 4, 0xabcd);
    paging32(b, X86_CR4_PSE);
    assert_int_equal(x86_load32(&b->c, X86_DS, (5u << 22) + 0x345678), 0xabcd);
    bench_poke(b, PD + 5 * 4, 4, 0x800000 | 0x200000 | P | W | PS);
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 5u << 22), X86_PF);
    assert_int_equal(b->c.fault.error, 9);
    /* Without PSE the bit is ignored and the entry names a table. */
    b->c.r.cr4 = 0;
    bench_poke(b, PD + 5 * 4, 4, PT | P | W | PS);
    bench_poke(b, PT, 4, FRAME | P | W);
    bench_poke(b, FRAME, 4, 99);
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(x86_load32(&b->c, X86_DS, 5u << 22), 99);
    bench_free(b);
}

static void pse36_reaches_above_4_gib(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    assert_int_equal(mem_add_ram(b->c.mem, 0x3000000000, 0x1000, false, NULL), 0);
    bench_poke(b, 0x3000000010, 4, 0x36);
    bench_poke(b, PD + 5 * 4, 4, (0x30u << 13) | P | W | PS);
    paging32(b, X86_CR4_PSE);
    assert_int_equal(x86_load32(&b->c, X86_DS, (5u << 22) + 0x10), 0x36);
    bench_free(b);
}

static void pae_starts_at_the_loaded_pointers(void **state)
{
    struct bench *b = bench_make();
    uint64_t linear = (1u << 30) | (5u << 21) | (6u << 12);

    (void)state;
    bench_poke(b, PDPT + 0x20 + 8, 8, PD | P);
    bench_poke(b, PD + 5 * 8, 8, PT | P | W);
    bench_poke(b, PT + 6 * 8, 8, FRAME | P | W);
    bench_poke(b, FRAME + 4, 4, 0x9ae);
    bench_flat32(b, 0);
    b->c.r.cr0 |= X86_CR0_PG;
    b->c.r.cr4 = X86_CR4_PAE;
    b->c.r.cr3 = PDPT + 0x20;
    assert_true(x86_load_pdptes(&b->c, b->c.r.cr3));
    x86_memory_refresh(&b->c);
    bench_poke(b, PDPT + 0x20 + 8, 8, 0); /* the processor keeps what it loaded */
    assert_int_equal(x86_load32(&b->c, X86_DS, linear + 4), 0x9ae);
    assert_int_equal(bench_try(b, STORE, X86_DS, 0), X86_PF);
    assert_int_equal(b->c.fault.error, 2);
    bench_poke(b, PT + 6 * 8, 8, FRAME | P | W | (1ull << 55)); /* reserved in PAE */
    x86_tlb_flush_all(&b->c, true);
    assert_int_equal(bench_try(b, LOAD, X86_DS, linear), X86_PF);
    assert_int_equal(b->c.fault.error, 9);
    bench_poke(b, PDPT + 0x20, 8, PD | P | W);
    assert_false(x86_load_pdptes(&b->c, b->c.r.cr3));
    bench_free(b);
}

static void the_a20_gate_folds_the_second_megabyte(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_poke(b, 0x10, 4, 0x20);
    bench_flat32(b, 0);
    b->c.r.a20_mask = ~(uint64_t)0x100000;
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x100010), 0x20);
    /* Entries of tables and the frames that they name as well. */
    bench_poke(b, PDPT, 4, 0x83);
    bench_poke(b, PDPT + 4, 4, 0x400083);
    b->c.r.cr0 |= X86_CR0_PG;
    b->c.r.cr4 = X86_CR4_PSE;
    b->c.r.cr3 = PDPT | 0x100000;
    x86_memory_refresh(&b->c);
    x86_tlb_flush_all(&b->c, true);
    bench_poke(b, 0x400024, 4, 0x21);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x100010), 0x20);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x500024), 0x21);
    bench_free(b);
}

static void tables_outside_ram_read_as_ones_and_fault_as_reserved(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_long(b, 0x40000000, 0);
    assert_int_equal(bench_try(b, LOAD, X86_DS, LINEAR), X86_PF);
    assert_int_equal(b->last.kind, CPU_EXIT_READ);
    assert_int_equal(b->last.address, 0x40000008);
    bench_free(b);
}

static int look(struct bench *b, uint64_t linear, struct x86_view *ret)
{
    return x86_look(&b->c.r, b->c.mem, linear, ret);
}

/* What `x86_look` sees is what an access finds in the tests above, and it leaves no trace. */
static void a_look_finds_the_same_and_marks_nothing(void **state)
{
    struct bench *b = bench_make();
    struct x86_view v;

    (void)state;
    map4(b, P | W | NX);
    bench_long(b, PML4, 3);
    assert_int_equal(look(b, LINEAR + 0x123, &v), 0);
    assert_int_equal(v.at, FRAME + 0x123);
    assert_int_equal(v.shift, 12);
    assert_true(v.writable && !v.executable && !v.for_users);
    assert_int_equal(bench_peek(b, PML4 + 8, 8), PDPT | P | W | U);
    assert_int_equal(bench_peek(b, PT + 32, 8), FRAME | P | W | NX);
    assert_int_equal(look(b, LINEAR + 0x1000, &v), -EFAULT);
    assert_int_equal(look(b, LINEAR | 1ull << 52, &v), -EFAULT); /* not canonical */
    bench_poke(b, PD + 3 * 8, 8, 0x400000 | P | U | PS);
    assert_int_equal(look(b, LINEAR + 0x10, &v), 0);
    assert_int_equal(v.at, 0x404010);
    assert_int_equal(v.shift, 21);
    assert_true(!v.writable && v.executable && v.for_users);
    bench_poke(b, PDPT + 2 * 8, 8, 0 | P | W | PS);
    assert_int_equal(look(b, LINEAR + 0x10, &v), 0);
    assert_int_equal(v.at, (3u << 21) + 0x4010);
    assert_int_equal(v.shift, 30);
    assert_int_equal(b->exits, 0);
    bench_free(b);
}

static void a_look_knows_the_paging_of_32_bits(void **state)
{
    struct bench *b = bench_make();
    struct x86_view v;

    (void)state;
    bench_poke(b, PD + 5 * 4, 4, (0x30u << 13) | P | W | PS);
    paging32(b, X86_CR4_PSE);
    assert_int_equal(look(b, (5u << 22) + 0x10, &v), 0);
    assert_int_equal(v.at, 0x3000000010);
    assert_int_equal(v.shift, 22);
    assert_int_equal(look(b, 1ull << 32 | 5u << 22, &v), -EFAULT);
    b->c.r.cr4 = 0; /* the bit is ignored and the entry names a table */
    bench_poke(b, PD + 5 * 4, 4, PT | P | W | PS);
    bench_poke(b, PT, 4, FRAME | P);
    assert_int_equal(look(b, 5u << 22, &v), 0);
    assert_int_equal(v.at, FRAME);
    assert_false(v.writable);
    b->c.r.cr0 &= ~(uint64_t)X86_CR0_PG;
    b->c.r.a20_mask = ~(uint64_t)0x100000;
    assert_int_equal(look(b, 0x100010, &v), 0);
    assert_int_equal(v.at, 0x10);
    assert_int_equal(v.shift, 0);
    bench_poke(b, PDPT + 0x20 + 8, 8, PD | P);
    bench_poke(b, PD + 5 * 8, 8, PT | P | W | U);
    bench_poke(b, PT + 6 * 8, 8, FRAME | P | W | U);
    b->c.r.cr0 |= X86_CR0_PG;
    b->c.r.cr4 = X86_CR4_PAE;
    b->c.r.cr3 = PDPT + 0x20;
    b->c.r.a20_mask = UINT64_MAX;
    assert_int_equal(look(b, (1u << 30) | (5u << 21) | (6u << 12), &v), 0);
    assert_int_equal(v.at, FRAME);
    assert_true(v.writable && v.for_users);
    bench_free(b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_levels_lead_to_the_page_and_mark_it),
        cmocka_unit_test(large_pages_of_2m_and_1g),
        cmocka_unit_test(a_look_finds_the_same_and_marks_nothing),
        cmocka_unit_test(a_look_knows_the_paging_of_32_bits),
        cmocka_unit_test(every_right_and_error_code),
        cmocka_unit_test(rights_are_those_of_all_levels_together),
        cmocka_unit_test(nx_is_reserved_without_nxe),
        cmocka_unit_test(reserved_bits_of_an_upper_level_come_before_a_hole_below),
        cmocka_unit_test(two_levels_of_32_bit_paging),
        cmocka_unit_test(four_megabyte_pages_need_pse),
        cmocka_unit_test(pse36_reaches_above_4_gib),
        cmocka_unit_test(pae_starts_at_the_loaded_pointers),
        cmocka_unit_test(the_a20_gate_folds_the_second_megabyte),
        cmocka_unit_test(tables_outside_ram_read_as_ones_and_fault_as_reserved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
