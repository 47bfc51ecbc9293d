/* walk.c - the page walk: linear to physical through the guest's tables.
 *
 * For the soft TLB, when it has no answer.  One loop over levels serves the four
 * forms of paging; they differ in where it starts, in the width of an entry and in
 * which bits are reserved:
 *
 *            32-bit    22 -> 12        4-byte entries, 10 index bits
 *            PAE       21 -> 12        8-byte entries, 9 index bits, from a PDPTE
 *            4-level   39 -> 30 -> 21 -> 12
 *
 * A level checks, in this order, what the processor does: present, reserved bits,
 * then goes down; permissions are those of all levels together, looked at behind
 * the last.  Accessed and dirty bits are set only by a translation that succeeds,
 * each by one compare-exchange on the guest's bytes; when an entry changed
 * meanwhile the walk starts again, so no bit another processor wrote is lost.
 *
 * Intel SDM volume 3A, chapter 4 (4.3 32-bit, 4.4 PAE, 4.5 4-level, 4.6 rights,
 * 4.7 error codes, 4.8 accessed and dirty), September 2023. */
#include <stdatomic.h>

#include "virt/isa/x86/memory/memory.h"

#define PTE_P  0x1ull
#define PTE_W  0x2ull
#define PTE_U  0x4ull
#define PTE_A  0x20ull
#define PTE_D  0x40ull
#define PTE_PS 0x80ull
#define PTE_G  0x100ull
#define PTE_NX (1ull << 63)

#define ERROR_P    1u
#define ERROR_W    2u
#define ERROR_U    4u
#define ERROR_RSVD 8u
#define ERROR_I    16u

#define LEVELS_MAX 4

struct walk {
    uint64_t linear;
    enum x86_access access;
    enum x86_rights as;
    unsigned entry_bytes;
    bool is_pae, is_long;
    const struct mem_region *tables; /* RAM that held an entry of this walk */

    /* What was found, top down. */
    uint64_t entry[LEVELS_MAX];
    gpa at[LEVELS_MAX];
    unsigned count;
    unsigned shift; /* of the last level: the size of the page */
    bool user, writable, no_execute;
};

static _Noreturn void fail(struct x86_cpu *c, const struct walk *w, uint32_t error)
{
    bool tells_fetch = (c->r.cr4 & X86_CR4_SMEP) != 0 ||
                       (w->is_pae && (c->r.msr.efer & X86_EFER_NXE) != 0);

    error |= w->access == X86_WRITE ? ERROR_W : 0;
    error |= w->as == X86_AS_USER ? ERROR_U : 0;
    error |= w->access == X86_EXECUTE && tells_fetch ? ERROR_I : 0;
    x86_raise_page(c, w->linear, error);
}

uint64_t x86_physical_load(struct x86_cpu *c, gpa at, unsigned bytes)
{
    uint64_t value = 0;
    struct x86_part part = {.bytes = bytes};

    part.at = at & c->r.a20_mask;
    part.region = mem_find(c->mem, part.at);
    if (part.region != NULL && part.region->host != NULL &&
        mem_present(c->mem, part.region, part.at) == 0) {
        part.host = part.region->host + (part.at - part.region->base);
    }
    x86_part_read(c, &part, &value);
    return value;
}

/* The bits that must be 0 in a present entry of the level at `shift`. */
static uint64_t reserved_bits(const struct x86_cpu *c, const struct walk *w,
                              unsigned shift, uint64_t entry)
{
    uint64_t bits;
    bool is_large = (entry & PTE_PS) != 0 && shift > 12;

    if (w->entry_bytes == 4) {
        /* 4 MiB pages: bit 21, and of bits 20:13 (PSE-36: address bits 39:32) those
         * that the processor does not have. */
        uint64_t high = (~c->physical_mask >> 32) & 0xff;

        return is_large && (c->r.cr4 & X86_CR4_PSE) != 0 ? 0x200000u | high << 13 : 0;
    }
    bits = ~c->physical_mask & 0x000ffffffffff000ull;
    if (!w->is_long) {
        bits |= 0x7ff0000000000000ull; /* PAE: 62:52 as well */
    }
    if ((c->r.msr.efer & X86_EFER_NXE) == 0) {
        bits |= PTE_NX;
    }
    if (is_large && shift == 21) {
        bits |= 0x1fe000u;
    } else if (is_large && shift == 30 && c->has_1g_pages) {
        bits |= 0x3fffe000u;
    } else if (is_large) {
        bits |= PTE_PS;
    }
    return bits;
}

static bool is_leaf(const struct x86_cpu *c, const struct walk *w, unsigned shift,
                    uint64_t entry)
{
    if (shift == 12) {
        return true;
    }
    return (entry & PTE_PS) != 0 &&
           (w->entry_bytes == 8 || (c->r.cr4 & X86_CR4_PSE) != 0);
}

/* Where the walk starts; the shift of its first level. */
static unsigned first_table(struct x86_cpu *c, struct walk *w, gpa *ret_table)
{
    w->is_pae = (c->r.cr4 & X86_CR4_PAE) != 0;
    w->is_long = c->long_mode;
    w->entry_bytes = w->is_pae ? 8 : 4;
    w->user = w->writable = true;
    w->no_execute = false;
    w->count = 0;
    if (w->is_long) {
        *ret_table = c->r.cr3 & c->physical_mask;
        return 39;
    }
    if (w->is_pae) {
        uint64_t pointer = c->pdpte[(w->linear >> 30) & 3];

        if ((pointer & PTE_P) == 0) {
            fail(c, w, 0);
        }
        *ret_table = pointer & c->physical_mask;
        return 21;
    }
    *ret_table = c->r.cr3 & 0xfffff000u;
    return 22;
}

/* An entry, from the RAM that held the one before, or from wherever it is; at once, since
 * another processor may set bits in it. */
static uint64_t read_entry(struct x86_cpu *c, struct walk *w, gpa at)
{
    const struct mem_region *r = w->tables;
    const uint8_t *host;

    if (r == NULL || at - r->base >= r->bytes) {
        r = mem_find(c->mem, at);
        w->tables = r != NULL && r->host != NULL ? r : NULL;
    }
    if (w->tables == NULL || (mem_flags(r, at) & MEM_ABSENT) != 0) {
        return x86_physical_load(c, at, w->entry_bytes);
    }
    host = r->host + (at - r->base);
    return w->entry_bytes == 8
               ? __atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_RELAXED)
               : __atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED);
}

/* Go down to the entry that maps the page. */
static void descend(struct x86_cpu *c, struct walk *w)
{
    gpa table;
    unsigned shift = first_table(c, w, &table);
    unsigned index_bits = w->entry_bytes == 8 ? 9 : 10;

    for (;;) {
        uint64_t index = (w->linear >> shift) & ((1u << index_bits) - 1);
        gpa at = (table + index * w->entry_bytes) & c->r.a20_mask;
        uint64_t entry = read_entry(c, w, at);

        if ((entry & PTE_P) == 0) {
            fail(c, w, 0);
        }
        if ((entry & reserved_bits(c, w, shift, entry)) != 0) {
            fail(c, w, ERROR_P | ERROR_RSVD);
        }
        w->user &= (entry & PTE_U) != 0;
        w->writable &= (entry & PTE_W) != 0;
        w->no_execute |= w->entry_bytes == 8 && (entry & PTE_NX) != 0;
        w->at[w->count] = at;
        w->entry[w->count++] = entry;
        w->shift = shift;
        if (is_leaf(c, w, shift, entry)) {
            return;
        }
        table = w->entry_bytes == 8 ? entry & c->physical_mask : entry & 0xfffff000u;
        shift -= index_bits;
    }
}

/* The accesses that the page's rights allow. */
static unsigned allowed(const struct x86_cpu *c, const struct walk *w)
{
    bool may_write = w->writable;
    bool may_read = true;
    bool may_execute = !w->no_execute;

    if (w->as == X86_AS_USER) {
        may_read = w->user;
        may_execute = may_execute && w->user;
    } else {
        bool smap = (c->r.cr4 & X86_CR4_SMAP) != 0 && w->as == X86_AS_SYSTEM;

        may_read = !(w->user && smap);
        may_write = may_write || (c->r.cr0 & X86_CR0_WP) == 0;
        may_execute = may_execute && !(w->user && (c->r.cr4 & X86_CR4_SMEP) != 0);
    }
    return (may_read ? X86_READ : 0u) | (may_read && may_write ? X86_WRITE : 0u) |
           (may_execute ? X86_EXECUTE : 0u);
}

static gpa frame(const struct x86_cpu *c, const struct walk *w)
{
    uint64_t entry = w->entry[w->count - 1];
    uint64_t inside = w->linear & ((1ull << w->shift) - 1);
    uint64_t at;

    if (w->entry_bytes == 8) {
        at = entry & c->physical_mask & ~((1ull << w->shift) - 1);
    } else if (w->shift == 22) {
        at = (entry & 0xffc00000u) | (entry & 0x1fe000u) << 19;
    } else {
        at = entry & 0xfffff000u;
    }
    return (at | inside) & ~X86_PAGE_MASK & c->r.a20_mask;
}

/* Set bits in an entry that still is `old`; false: it changed. */
static bool set_bits(struct x86_cpu *c, const struct walk *w, unsigned level,
                     uint64_t bits)
{
    gpa at = w->at[level];
    const struct mem_region *r = mem_find(c->mem, at);
    uint64_t old = w->entry[level];
    bool same;

    if (r == NULL || r->host == NULL || r->read_only) {
        return true; /* nowhere to keep it */
    }
    if (mem_flags(r, at) != 0) {
        x86_settle(c);
        mem_touched(c->mem, r, at, w->entry_bytes);
    }
    if (w->entry_bytes == 8) {
        same = __atomic_compare_exchange_n((uint64_t *)(void *)(r->host + (at - r->base)),
                                           &old, old | bits, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    } else {
        uint32_t old32 = (uint32_t)old;

        same = __atomic_compare_exchange_n((uint32_t *)(void *)(r->host + (at - r->base)),
                                           &old32, old32 | (uint32_t)bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (mem_flags(r, at) != 0) {
        x86_settle(c);
        mem_touched(c->mem, r, at, w->entry_bytes);
    }
    return same;
}

/* Accessed in all entries, dirty in the last for a store; false: walk again. */
static bool mark(struct x86_cpu *c, struct walk *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        uint64_t want = PTE_A;

        if (i == w->count - 1 && w->access == X86_WRITE) {
            want |= PTE_D;
        }
        if ((w->entry[i] & want) != want) {
            if (!set_bits(c, w, i, want)) {
                return false;
            }
            w->entry[i] |= want;
        }
    }
    return true;
}

void x86_walk(struct x86_cpu *c, uint64_t linear, enum x86_access access,
              enum x86_rights as, struct x86_tlb_page *ret_page)
{
    struct walk w = {.linear = linear, .access = access, .as = as};
    unsigned may = X86_READ | X86_WRITE | X86_EXECUTE;

    c->count.tlb_misses++;
    *ret_page = (struct x86_tlb_page){
        .linear = linear & ~X86_PAGE_MASK, .shift = MEM_PAGE_SHIFT, .used = true};
    if ((c->r.cr0 & X86_CR0_PG) == 0) {
        ret_page->at = linear & ~X86_PAGE_MASK & c->r.a20_mask;
    } else {
        do {
            descend(c, &w);
            may = allowed(c, &w);
            if ((may & access) == 0) {
                fail(c, &w, ERROR_P);
            }
        } while (!mark(c, &w));
        if ((w.entry[w.count - 1] & PTE_D) == 0) {
            may &= ~(unsigned)X86_WRITE;
        }
        ret_page->at = frame(c, &w);
        ret_page->shift = (uint8_t)w.shift;
        ret_page->global =
            (c->r.cr4 & X86_CR4_PGE) != 0 && (w.entry[w.count - 1] & PTE_G) != 0;
    }
    ret_page->allowed = (uint8_t)may;
    ret_page->region = mem_find(c->mem, ret_page->at);
}

bool x86_load_pdptes(struct x86_cpu *c, uint64_t cr3)
{
    /* SDM volume 3A, 4.4.1: bits 2:1, 8:5 and those above the address are reserved. */
    uint64_t reserved = ~c->physical_mask & ~0xfffull;
    uint64_t found[4];

    reserved |= 0x1e6;
    for (unsigned i = 0; i < 4; i++) {
        found[i] = x86_physical_load(c, (cr3 & 0xffffffe0u) + i * 8u, 8);
        if ((found[i] & PTE_P) != 0 && (found[i] & reserved) != 0) {
            return false;
        }
    }
    memcpy(c->pdpte, found, sizeof found);
    return true;
}
