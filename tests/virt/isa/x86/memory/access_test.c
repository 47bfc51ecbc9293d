/* Accesses: segments, page crossings, devices, flags, locks, breakpoints; and what
 * the soft TLB keeps and forgets.
 * rows: ISA-02 */
#include <pthread.h>

#include "tests/virt/isa/x86/memory/bench.h"

#define P  0x1ull
#define W  0x2ull
#define U  0x4ull
#define G  0x100ull
#define PS 0x80ull

#define PML4 0x10000u
#define PDPT 0x11000u
#define PD   0x12000u
#define PT   0x13000u

/* Linear pages 0.. of a 4-level space at `tables` to the frames given. */
static void map_pages(struct bench *b, gpa tables, const uint64_t *entry, unsigned count)
{
    bench_poke(b, tables, 8, (tables + 0x1000) | P | W | U);
    bench_poke(b, tables + 0x1000, 8, (tables + 0x2000) | P | W | U);
    bench_poke(b, tables + 0x2000, 8, (tables + 0x3000) | P | W | U);
    for (unsigned i = 0; i < count; i++) {
        bench_poke(b, tables + 0x3000 + i * 8, 8, entry[i]);
    }
}

static void a_crossing_store_faults_before_its_first_byte(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x200000 | P | W, 0};

    (void)state;
    map_pages(b, PML4, entry, 2);
    bench_long(b, PML4, 0);
    assert_int_equal(bench_try(b, STORE, X86_DS, 0x100), NO_FAULT); /* warm */
    assert_int_equal(bench_try(b, STORE, X86_DS, 0xffe), X86_PF);
    assert_int_equal(b->c.fault.address, 0x1000);
    assert_int_equal(b->c.fault.error, 2);
    assert_int_equal(bench_peek(b, 0x200ffe, 2), 0);
    bench_free(b);
}

static void a_crossing_access_finds_both_frames(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x205000 | P | W, 0x203000 | P | W};

    (void)state;
    map_pages(b, PML4, entry, 2);
    bench_long(b, PML4, 0);
    for (unsigned i = 0; i < 2; i++) {
        x86_store64(&b->c, X86_DS, 0xffd, 0x1122334455667788ull);
        assert_int_equal(bench_peek(b, 0x205ffd, 3), 0x667788);
        assert_int_equal(bench_peek(b, 0x203000, 5), 0x1122334455ull);
        assert_int_equal(x86_load64(&b->c, X86_DS, 0xffd), 0x1122334455667788ull);
        assert_int_equal(x86_load16(&b->c, X86_DS, 0xfff), 0x5566);
    }
    bench_free(b);
}

static void addresses_that_are_not_canonical_fault_by_segment(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_long(b, PML4, 0);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0x800000000000), X86_GP);
    assert_int_equal(b->c.fault.error, 0);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0x7ffffffffffd), X86_GP);
    assert_int_equal(bench_try(b, STORE, X86_SS, 0x8000000000000000), X86_SS_FAULT);
    assert_int_equal(bench_try(b, FETCH, X86_CS, 0xffff000000000000), X86_GP);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0xffff800000000000), X86_PF);
    assert_int_equal(bench_try(b, LOAD, X86_DS, UINT64_MAX - 1), X86_PF);
    b->c.r.seg[X86_GS].base = 0x7ffffffff000;
    x86_segment_changed(&b->c, X86_GS);
    assert_int_equal(bench_try(b, LOAD, X86_GS, 0x1000), X86_GP);
    bench_free(b);
}

struct limit_case {
    uint16_t attr;
    uint32_t limit;
    enum bench_kind kind;
    uint32_t offset;
    unsigned vector;
};

static void limits_types_and_expand_down(void **state)
{
    static const struct limit_case cases[] = {
        {0x4093, 0xfff, LOAD, 0xffc, NO_FAULT},
        {0x4093, 0xfff, LOAD, 0xffd, X86_GP},
        {0x4093, 0xfff, STORE, 0xfffffffe, X86_GP},
        {0x4091, 0xfff, STORE, 0, X86_GP}, /* read-only data */
        {0x4091, 0xfff, LOAD, 0, NO_FAULT},
        {0x409b, 0xfff, STORE, 0, X86_GP}, /* code */
        {0x409b, 0xfff, LOAD, 0, NO_FAULT},
        {0x4099, 0xfff, LOAD, 0, X86_GP}, /* code that may only run */
        {0xc091, 0xffffffff, STORE, 0, X86_GP},
        {0xc099, 0xffffffff, LOAD, 0, X86_GP},
        {0x4097, 0xfff, LOAD, 0xfff, X86_GP}, /* expand down, 32 bits */
        {0x4097, 0xfff, LOAD, 0x1000, NO_FAULT},
        {0x4097, 0xfff, LOAD, 0x20000, NO_FAULT},
        {0x4097, 0xfff, LOAD, 0xfffffffe, X86_GP},
        {0x0097, 0xfff, LOAD, 0xfffc, NO_FAULT}, /* 16 bits */
        {0x0097, 0xfff, LOAD, 0xfffd, X86_GP},
        {0xc097, 0xffffffff, LOAD, 0x1000, X86_GP}, /* nothing is inside */
        {X86_ATTR_NULL, 0xffffffff, LOAD, 0, X86_GP},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench *b = bench_make();
        unsigned vector;

        bench_flat32(b, 0);
        b->c.r.seg[X86_DS].attr = cases[i].attr;
        b->c.r.seg[X86_DS].limit = cases[i].limit;
        x86_segment_changed(&b->c, X86_DS);
        vector = bench_try(b, cases[i].kind, X86_DS, cases[i].offset);
        if (vector != cases[i].vector) {
            fail_msg("case %u: %u", i, vector);
        }
        bench_free(b);
    }
}

static void real_mode_has_64_kib_and_no_types(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    for (unsigned s = 0; s < X86_SEG_COUNT; s++) {
        b->c.r.seg[s] = (struct x86_segment){
            .attr = 0x93, .limit = 0xffff, .base = 0x1000, .selector = 0x100};
    }
    b->c.r.seg[X86_CS].attr = 0x9b;
    x86_memory_refresh(&b->c);
    x86_store32(&b->c, X86_CS, 0x10, 5);
    assert_int_equal(bench_peek(b, 0x1010, 4), 5);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0xfffd), X86_GP);
    assert_int_equal(bench_try(b, LOAD, X86_SS, 0xffff), X86_SS_FAULT);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0xfffc), NO_FAULT);
    bench_free(b);
}

static void alignment_is_checked_for_users_only(void **state)
{
    struct bench *b = bench_make();
    uint8_t *host;

    (void)state;
    bench_flat32(b, 3);
    b->c.r.cr0 |= X86_CR0_AM;
    b->c.r.rflags = X86_AC_BIT;
    x86_tlb_select(&b->c);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0x1002), X86_AC);
    assert_int_equal(b->c.fault.error, 0);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0x1004), NO_FAULT);
    assert_int_equal(bench_try(b, STORE, X86_DS, 0x1001), X86_AC);
    assert_int_equal(bench_try(b, FETCH, X86_CS, 0x1001), NO_FAULT);
    assert_int_equal(x86_load8(&b->c, X86_DS, 0x1001), 0);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x1000, 4, true, false, &host), 1024);
    b->c.r.cpl = 0;
    x86_tlb_select(&b->c);
    assert_int_equal(bench_try(b, LOAD, X86_DS, 0x1002), NO_FAULT);
    bench_free(b);
}

static uint64_t io_seen[4];

static void io_read(void *who, uint64_t offset, unsigned bytes, uint64_t *ret_value)
{
    (void)who;
    io_seen[0] = offset;
    io_seen[1] = bytes;
    *ret_value = 0xa1b2c3d4e5f60718ull;
}

static void io_write(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    (void)who;
    io_seen[0] = offset;
    io_seen[1] = bytes;
    io_seen[2] = value;
    io_seen[3]++;
}

static void devices_are_asked_and_the_rest_exits(void **state)
{
    static const struct mem_io io = {io_read, io_write};
    struct bench *b = bench_make();
    uint32_t *rmw;

    (void)state;
    assert_int_equal(mem_add_io(b->c.mem, 0x10000000, 0x1000, &io, NULL, NULL), 0);
    bench_flat32(b, 0);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x10000010), 0xe5f60718);
    assert_int_equal(io_seen[0], 0x10);
    assert_int_equal(io_seen[1], 4);
    x86_store16(&b->c, X86_DS, 0x10000012, 0xbeef);
    assert_int_equal(io_seen[2], 0xbeef);
    assert_int_equal(io_seen[3], 1);
    rmw = x86_rmw_begin(&b->c, X86_DS, 0x10000020, 4, true);
    assert_int_equal(*rmw, 0xe5f60718);
    *rmw += 1;
    x86_rmw_end(&b->c);
    assert_int_equal(io_seen[2], 0xe5f60719);
    assert_int_equal(io_seen[3], 2);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x20000000), 0x55667788);
    assert_int_equal(b->last.kind, CPU_EXIT_READ);
    x86_store8(&b->c, X86_DS, 0x20000003, 9);
    assert_int_equal(b->last.kind, CPU_EXIT_WRITE);
    assert_int_equal(b->last.address, 0x20000003);
    assert_int_equal(b->last.value, 9);
    bench_free(b);
}

static void stores_into_rom_are_dropped(void **state)
{
    struct bench *b = bench_make();
    uint8_t *host;

    (void)state;
    assert_int_equal(mem_add_ram(b->c.mem, 0x10000000, 0x1000, true, NULL), 0);
    bench_flat32(b, 0);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x10000010), 0);
    x86_store32(&b->c, X86_DS, 0x10000010, 1);
    *(uint32_t *)x86_rmw_begin(&b->c, X86_DS, 0x10000010, 4, false) = 7;
    x86_rmw_end(&b->c);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0x10000010), 0);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x10000010, 4, true, false, &host), 0);
    assert_int_not_equal(x86_span(&b->c, X86_DS, 0x10000010, 4, false, false, &host), 0);
    bench_free(b);
}

static unsigned told;
static uint8_t told_drop;

static uint8_t tell(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    (void)who, (void)at, (void)bytes, (void)flags;
    told++;
    return told_drop;
}

static void stores_to_flagged_pages_are_told(void **state)
{
    struct bench *b = bench_make();
    struct mem_listener l = {.touched = tell, .wants = MEM_CODE};

    (void)state;
    told = 0;
    told_drop = 0;
    assert_int_equal(mem_listen(b->c.mem, &l), 0);
    bench_flat32(b, 0);
    x86_store32(&b->c, X86_DS, 0x5000, 1);
    assert_int_equal(mem_flag_page(b->c.mem, 0x5000, MEM_CODE), 0);
    x86_tlb_protect(&b->c, 0x5000);
    x86_store32(&b->c, X86_DS, 0x5000, 2);
    assert_int_not_equal(told, 0);
    told = 0;
    x86_store32(&b->c, X86_DS, 0x4ffe, 2); /* half of it */
    assert_int_not_equal(told, 0);
    told = 0;
    *(uint32_t *)x86_rmw_begin(&b->c, X86_DS, 0x5004, 4, true) = 7;
    assert_int_not_equal(told, 0); /* before it is written ... */
    told = 0;
    x86_rmw_end(&b->c);
    assert_int_not_equal(told, 0); /* ... and after */
    told_drop = MEM_CODE;
    x86_store32(&b->c, X86_DS, 0x5000, 3);
    told = 0;
    x86_store32(&b->c, X86_DS, 0x5000, 4);
    x86_store32(&b->c, X86_DS, 0x5000, 5);
    assert_int_equal(told, 0);
    assert_int_equal(bench_peek(b, 0x5000, 4), 5);
    bench_free(b);
}

static void invlpg_forgets_one_page_and_its_large_pieces(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x200000 | P | W, 0x201000 | P | W};

    (void)state;
    map_pages(b, PML4, entry, 2);
    bench_poke(b, PD + 8, 8, 0x400000 | P | W | PS);
    bench_long(b, PML4, 0);
    for (uint64_t at = 0; at < 0x2000; at += 0x1000) {
        x86_store32(&b->c, X86_DS, at, 1);
    }
    x86_store32(&b->c, X86_DS, 0x205000, 3);
    x86_store32(&b->c, X86_DS, 0x2ff000, 3);
    /* New tables; what is in the TLB stays until it is invalidated. */
    bench_poke(b, PT, 8, 0x300000 | P | W);
    bench_poke(b, PT + 8, 8, 0x301000 | P | W);
    bench_poke(b, PD + 8, 8, 0x600000 | P | W | PS);
    x86_tlb_flush_page(&b->c, 0, 0x1fff);
    x86_store32(&b->c, X86_DS, 0x0, 7);
    x86_store32(&b->c, X86_DS, 0x1000, 8);
    assert_int_equal(bench_peek(b, 0x200000, 4), 7);
    assert_int_equal(bench_peek(b, 0x301000, 4), 8);
    x86_store32(&b->c, X86_DS, 0x205000, 9);
    assert_int_equal(bench_peek(b, 0x405000, 4), 9);
    x86_tlb_flush_page(&b->c, 0, 0x2abcde); /* anywhere in the large page */
    x86_store32(&b->c, X86_DS, 0x205000, 10);
    x86_store32(&b->c, X86_DS, 0x2ff000, 11);
    assert_int_equal(bench_peek(b, 0x605000, 4), 10);
    assert_int_equal(bench_peek(b, 0x6ff000, 4), 11);
    bench_free(b);
}

/* Whether INVLPG of that address says that code may mean something else. */
static bool concerns_code(struct bench *b, uint64_t linear)
{
    uint64_t before = b->c.tlbs->now->generation;

    x86_tlb_flush_page(&b->c, 0, linear);
    return b->c.tlbs->now->generation != before;
}

static void invlpg_concerns_code_where_code_was(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x200000 | P | W, 0x201000 | P | W};
    unsigned room;
    gpa at;

    (void)state;
    map_pages(b, PML4, entry, 2);
    bench_poke(b, PD + 8, 8, 0x400000 | P | W | PS);
    bench_long(b, PML4, 0);
    x86_store32(&b->c, X86_DS, 0x1000, 1);
    assert_false(concerns_code(b, 0x1000));
    assert_non_null(x86_fetch_page(&b->c, 0x1010, &room, &at));
    assert_int_equal(at, 0x201010);
    assert_false(concerns_code(b, 0));
    assert_true(concerns_code(b, 0x1fff));
    assert_false(concerns_code(b, 0x1000)); /* nobody knows of it any more */
    assert_non_null(x86_fetch_page(&b->c, 0x205000, &room, &at));
    assert_true(concerns_code(b, 0x3ff000)); /* of the same large page */
    bench_free(b);
}

/* Fetches code there; whether that makes its space keep system code by itself. */
static bool fetched_locally(struct bench *b, uint64_t linear)
{
    unsigned room;
    gpa at;

    assert_non_null(x86_fetch_page(&b->c, linear, &room, &at));
    return b->c.tlbs->now->is_local;
}

/* What a flush says of system code through global pages, and of all other code. */
static void assert_renews(struct bench *b, bool global, bool space,
                          void (*flush)(struct bench *b))
{
    uint64_t was_global = b->c.tlbs->generation, was = b->c.tlbs->now->generation;

    flush(b);
    assert_int_equal(b->c.tlbs->generation != was_global, global);
    assert_int_equal(b->c.tlbs->now->generation != was, space);
}

static void flush_context(struct bench *b)
{
    x86_tlb_flush_pcid(&b->c, 1, false);
}

static void flush_everything(struct bench *b)
{
    x86_tlb_flush_all(&b->c, true);
}

static void flush_contexts(struct bench *b)
{
    x86_tlb_flush_all(&b->c, false);
}

static void flush_global_page(struct bench *b)
{
    x86_tlb_flush_page(&b->c, 1, 0x1000);
}

static void flush_other_page(struct bench *b)
{
    x86_tlb_flush_page(&b->c, 1, 0x2000);
}

/* SDM volume 3A, 4.10.4.1: what invalidates global translations, and what does not. */
static void global_system_code_outlives_flushes_of_contexts(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x200000 | P | W | U, 0x201000 | P | W | G,
                              0x202000 | P | W};

    (void)state;
    map_pages(b, PML4, entry, 3);
    bench_long(b, PML4, 0);
    b->c.r.cr4 |= X86_CR4_PCIDE | X86_CR4_PGE;
    b->c.r.cr3 = PML4 | 1;
    x86_tlb_switch(&b->c);
    assert_false(fetched_locally(b, 0x1000));
    assert_renews(b, false, true, flush_context);
    assert_renews(b, false, true, flush_contexts);
    assert_renews(b, true, false, flush_global_page);
    assert_renews(b, false, false, flush_global_page); /* nobody knows of it any more */
    assert_false(fetched_locally(b, 0x1000));
    assert_renews(b, true, true, flush_everything);
    /* With code through another page the space keeps all by itself, until it is flushed. */
    assert_true(fetched_locally(b, 0x2000));
    assert_true(fetched_locally(b, 0x1000));
    assert_renews(b, true, true, flush_global_page);
    assert_true(fetched_locally(b, 0x2000));
    assert_renews(b, false, true, flush_other_page);
    assert_false(b->c.tlbs->now->is_local);
    assert_true(fetched_locally(b, 0x2000));
    assert_renews(b, false, true, flush_context);
    assert_false(fetched_locally(b, 0x1000));
    bench_free(b);
}

static void spaces_by_pcid_stay_warm_and_apart(void **state)
{
    struct bench *b = bench_make();
    uint64_t misses = 0;

    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        const uint64_t entry[] = {(0x200000 + n * 0x1000) | P | W, 0x300000 | P | W | G};

        map_pages(b, 0x20000 + n * 0x10000, entry, 2);
    }
    bench_long(b, 0x20000, 0);
    b->c.r.cr4 |= X86_CR4_PCIDE | X86_CR4_PGE;
    for (unsigned round = 0; round < 3; round++) {
        if (round == 1) {
            misses = b->c.count.tlb_misses;
        }
        for (unsigned n = 0; n < 4; n++) {
            b->c.r.cr3 = (0x20000 + n * 0x10000) | (n + 1);
            x86_tlb_switch(&b->c);
            x86_store32(&b->c, X86_DS, 0, 100 + n);
            x86_store32(&b->c, X86_DS, 0x1000, n);
            assert_int_equal(bench_peek(b, 0x200000 + n * 0x1000, 4), 100 + n);
        }
    }
    assert_int_equal(b->c.count.tlb_misses, misses);
    x86_tlb_flush_pcid(&b->c, 2, false); /* its global page stays */
    b->c.r.cr3 = 0x30000 | 2;
    x86_tlb_switch(&b->c);
    x86_store32(&b->c, X86_DS, 0x1000, 1);
    assert_int_equal(b->c.count.tlb_misses, misses);
    x86_store32(&b->c, X86_DS, 0, 1);
    assert_int_equal(b->c.count.tlb_misses, misses + 1);
    /* INVLPG reaches global pages of all spaces, others of its own only. */
    x86_tlb_flush_page(&b->c, 2, 0x1000);
    x86_tlb_flush_page(&b->c, 2, 0);
    b->c.r.cr3 = 0x20000 | 1;
    x86_tlb_switch(&b->c);
    x86_store32(&b->c, X86_DS, 0, 1);
    assert_int_equal(b->c.count.tlb_misses, misses + 1);
    x86_store32(&b->c, X86_DS, 0x1000, 1);
    assert_int_equal(b->c.count.tlb_misses, misses + 2);
    bench_free(b);
}

static void privilege_has_its_own_entries(void **state)
{
    struct bench *b = bench_make();
    const uint64_t entry[] = {0x200000 | P | W};

    (void)state;
    map_pages(b, PML4, entry, 1);
    bench_long(b, PML4, 0);
    x86_store32(&b->c, X86_DS, 0, 1);
    b->c.r.cpl = 3;
    x86_tlb_select(&b->c);
    assert_int_equal(bench_try(b, STORE, X86_DS, 0), X86_PF);
    assert_int_equal(b->c.fault.error, 7);
    b->c.r.cpl = 0;
    x86_tlb_select(&b->c);
    assert_int_equal(bench_try(b, STORE, X86_DS, 0), NO_FAULT);
    bench_free(b);
}

static void data_breakpoints_are_noted_for_exactly_their_bytes(void **state)
{
    struct bench *b = bench_make();

    (void)state;
    bench_flat32(b, 0);
    b->c.r.dr[1] = 0x5004;
    b->c.r.dr[7] = (1u << 2) | (1u << 20) | (3u << 22); /* L1, write, 4 bytes */
    x86_tlb_flush_all(&b->c, true);
    x86_store32(&b->c, X86_DS, 0x5000, 1);
    (void)x86_load32(&b->c, X86_DS, 0x5004);
    assert_int_equal(b->c.dr6_pending, 0);
    x86_store32(&b->c, X86_DS, 0x5001, 1);
    assert_int_equal(b->c.dr6_pending, 2);
    assert_int_equal(b->c.wants & X86_WANT_TRAP, X86_WANT_TRAP);
    b->c.dr6_pending = 0;
    x86_store8(&b->c, X86_DS, 0x5008, 1);
    assert_int_equal(b->c.dr6_pending, 0);
    x86_store8(&b->c, X86_DS, 0x5007, 1);
    assert_int_equal(b->c.dr6_pending, 2);
    bench_free(b);
}

static void runs_of_elements_end_at_pages_limits_and_wraps(void **state)
{
    struct bench *b = bench_make();
    uint8_t *host;

    (void)state;
    bench_flat32(b, 0);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x5ff8, 4, true, false, &host), 2);
    *host = 0x42;
    assert_int_equal(bench_peek(b, 0x5ff8, 1), 0x42);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x5ffe, 4, true, false, &host), 0);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x500a, 4, true, true, &host), 3);
    assert_int_equal(x86_span(&b->c, X86_DS, 0xfff8, 4, true, false, &host), 2);
    assert_int_equal(x86_span(&b->c, X86_DS, 4, 4, true, true, &host), 2);
    b->c.r.seg[X86_DS].limit = 0x500b;
    b->c.r.seg[X86_DS].attr = 0x4093;
    x86_segment_changed(&b->c, X86_DS);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x5004, 4, true, false, &host), 2);
    b->c.r.seg[X86_DS].attr = 0x4097; /* expand-down: from 500c on */
    x86_segment_changed(&b->c, X86_DS);
    assert_int_equal(x86_span(&b->c, X86_DS, 0x5010, 4, true, true, &host), 1);
    bench_free(b);
}

static void code_ends_where_its_segment_does(void **state)
{
    struct bench *b = bench_make();
    unsigned bytes;
    gpa at;

    (void)state;
    bench_flat32(b, 0);
    b->c.r.seg[X86_CS].base = 0x2000;
    b->c.r.seg[X86_CS].limit = 0x1fff;
    x86_segment_changed(&b->c, X86_CS);
    for (unsigned i = 0; i < 2; i++) {
        assert_non_null(x86_fetch_page(&b->c, 0x1f00, &bytes, &at));
        assert_int_equal(bytes, 0x100);
        assert_int_equal(at, 0x3f00);
    }
    assert_int_equal(bench_try(b, FETCH, X86_CS, 0x2000), X86_GP);
    b->c.r.seg[X86_CS].limit = 0x1f07;
    x86_segment_changed(&b->c, X86_CS);
    assert_non_null(x86_fetch_page(&b->c, 0x1f00, &bytes, &at));
    assert_int_equal(bytes, 8);
    bench_free(b);
}

/* Two processors add to one word that lies in two frames far apart. */
#define ROUNDS 20000

static void *add_split(void *arg)
{
    struct bench *b = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        x86_u32 *v = x86_rmw_begin(&b->c, X86_DS, 0xffe, 4, true);

        *v += 1;
        x86_rmw_end(&b->c);
    }
    return NULL;
}

static void locked_words_in_two_pages_are_indivisible(void **state)
{
    struct bench *b = bench_make();
    struct bench *other = bench_make();
    struct mem *own = other->c.mem;
    const uint64_t entry[] = {0x205000 | P | W, 0x203000 | P | W};
    pthread_t thread;

    (void)state;
    map_pages(b, PML4, entry, 2);
    bench_long(b, PML4, 0);
    other->c.mem = b->c.mem;
    bench_long(other, PML4, 0);
    assert_int_equal(pthread_create(&thread, NULL, add_split, other), 0);
    (void)add_split(b);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(x86_load32(&b->c, X86_DS, 0xffe), 2 * ROUNDS);
    other->c.mem = own;
    bench_free(other);
    bench_free(b);
}

/* A processor that keeps translations, and one that forgets them before each access,
 * over the same tables; the guest invalidates as the manual asks. */
static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

struct outcome {
    unsigned vector;
    uint32_t error;
    uint64_t address, value;
};

static struct outcome look(struct bench *b, enum bench_kind kind, uint64_t at)
{
    struct outcome o = {.vector = NO_FAULT};
    unsigned bytes;
    gpa where;

    if (setjmp(b->c.unwind) != 0) {
        return (struct outcome){b->c.fault.vector, b->c.fault.error, b->c.fault.address,
                                0};
    }
    if (kind == LOAD) {
        o.value = x86_load64(&b->c, X86_DS, at);
    } else if (kind == STORE) {
        x86_store64(&b->c, X86_DS, at, at * 3);
    } else {
        (void)x86_fetch_page(&b->c, at, &bytes, &where);
        o.value = where;
    }
    return o;
}

#define SPACES 3
#define PAGES  6

static void change_entry(struct bench *b, struct bench *other)
{
    unsigned space = random_below(SPACES);
    unsigned page = random_below(PAGES);
    uint64_t entry = 0x200000 + random_below(8) * 0x1000;
    gpa tables = 0x20000 + space * 0x10000;

    entry |= random_below(8) | (uint64_t)random_below(2) << 63;
    if (random_below(8) != 0) {
        bench_poke(b, tables + 0x3000 + page * 8, 8, entry);
        x86_tlb_flush_page(&b->c, (uint16_t)space, page * 0x1000);
        x86_tlb_flush_page(&b->c, (uint16_t)space, 0x200000 + page * 0x1000);
    } else {
        entry = (entry & 7) | 0x400000 | (random_below(2) ? PS : 0);
        bench_poke(b, tables + 0x2008, 8, entry & PS ? entry : (tables + 0x3000) | 7);
        x86_tlb_flush_pcid(&b->c, (uint16_t)space, true);
    }
    x86_tlb_flush_all(&other->c, true);
}

static void set_both(struct bench *a, struct bench *b)
{
    unsigned space = random_below(SPACES);
    uint8_t cpl = random_below(2) ? 3 : 0;
    uint64_t flags = random_below(2) ? X86_AC_BIT : 0;
    struct bench *both[] = {a, b};

    for (unsigned i = 0; i < 2; i++) {
        both[i]->c.r.cr3 = (0x20000 + space * 0x10000) | space;
        both[i]->c.r.cpl = cpl;
        both[i]->c.r.rflags = flags;
        x86_tlb_switch(&both[i]->c);
    }
}

static void a_warm_tlb_answers_as_the_tables_do(void **state)
{
    struct bench *warm = bench_make();
    struct bench *cold = bench_make();
    struct mem *own = cold->c.mem;
    struct bench *both[] = {warm, cold};
    unsigned faults = 0;

    (void)state;
    cold->c.mem = warm->c.mem;
    for (unsigned i = 0; i < 2; i++) {
        bench_long(both[i], 0x20000, 0);
        both[i]->c.r.cr4 |= X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PGE;
    }
    for (unsigned s = 0; s < SPACES; s++) {
        map_pages(warm, 0x20000 + s * 0x10000, NULL, 0);
    }
    for (unsigned round = 0; round < 200000; round++) {
        enum bench_kind kind = random_below(3);
        uint64_t at = random_below(PAGES) * 0x1000 + 0xff0 + random_below(20);
        struct outcome a;
        struct outcome b;

        if (random_below(4) == 0) {
            change_entry(warm, cold);
        }
        if (random_below(8) == 0) {
            set_both(warm, cold);
        }
        at += random_below(4) == 0 ? 0x200000 : 0;
        a = look(warm, kind, at);
        x86_tlb_flush_all(&cold->c, true);
        b = look(cold, kind, at);
        faults += a.vector != NO_FAULT;
        if (memcmp(&a, &b, sizeof a) != 0) {
            fail_msg("round %u, at %lx: %u/%x, walked %u/%x", round, (unsigned long)at,
                     a.vector, a.error, b.vector, b.error);
        }
    }
    assert_in_range(faults, 20000, 180000);
    assert_true(warm->c.count.tlb_misses < cold->c.count.tlb_misses);
    cold->c.mem = own;
    bench_free(cold);
    bench_free(warm);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crossing_store_faults_before_its_first_byte),
        cmocka_unit_test(a_crossing_access_finds_both_frames),
        cmocka_unit_test(addresses_that_are_not_canonical_fault_by_segment),
        cmocka_unit_test(limits_types_and_expand_down),
        cmocka_unit_test(real_mode_has_64_kib_and_no_types),
        cmocka_unit_test(alignment_is_checked_for_users_only),
        cmocka_unit_test(devices_are_asked_and_the_rest_exits),
        cmocka_unit_test(stores_into_rom_are_dropped),
        cmocka_unit_test(stores_to_flagged_pages_are_told),
        cmocka_unit_test(invlpg_forgets_one_page_and_its_large_pieces),
        cmocka_unit_test(invlpg_concerns_code_where_code_was),
        cmocka_unit_test(global_system_code_outlives_flushes_of_contexts),
        cmocka_unit_test(spaces_by_pcid_stay_warm_and_apart),
        cmocka_unit_test(privilege_has_its_own_entries),
        cmocka_unit_test(data_breakpoints_are_noted_for_exactly_their_bytes),
        cmocka_unit_test(runs_of_elements_end_at_pages_limits_and_wraps),
        cmocka_unit_test(code_ends_where_its_segment_does),
        cmocka_unit_test(a_warm_tlb_answers_as_the_tables_do),
        cmocka_unit_test(locked_words_in_two_pages_are_indivisible),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
