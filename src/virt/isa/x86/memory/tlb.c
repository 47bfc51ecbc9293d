/* tlb.c - the soft TLB: filling, dropping, and which one is in use.
 *
 * Correctness, in three sentences.  A tag is entered only from a walk that allowed
 * the access (and for a store, only when the dirty bit stands and the physical page
 * has no flag), so a hit does what the walk would do.  Whatever could change the
 * walk's answer and binds the processor (MOV CR3, INVLPG, INVPCID, CR0, CR4, EFER,
 * task switch) removes the tags concerned here; a guest that only writes its
 * tables is owed nothing before it does one of these.  What changes the second
 * half (flags of physical pages, breakpoints, regions) drops store tags or all.
 *
 * A PCID has at most one space.  Global pages are looked up anew in each space, and
 * dropped from all.
 *
 * Who keeps what linear addresses of code mean (the translator's jump tables) does so under
 * a generation, which is another one when that may have changed.  There are two kinds.
 * System code through global pages has one generation for all spaces, which only changes
 * with what drops global translations: INVLPG, INVPCID of all with global ones, CR4.PGE, and
 * all that changes what paging means (x86_tlb_flush_all).  For MOV to CR3, INVPCID of one
 * context and task switches leave global translations alone (SDM volume 3A, 4.10.4.1), and
 * the processor may use one whatever the PCID, so a guest whose spaces disagree about a
 * global page is owed neither meaning (4.10.2.4).  All else - users' code, system code
 * through other pages - has its space's own, which changes with each flush of the space.
 * A space that fetches system code through a page that is not global uses its own for all
 * system code (`is_local`) until then.  To reuse a space for another PCID is no
 * invalidation: what was global still is. */
#include "virt/isa/x86/memory/tlb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "host/ram.h"
#include "virt/isa/x86/memory/memory.h"

#define VOTES_MOST 16 /* so that another majority is soon seen */
#define SHIFT_4M   22
#define SHIFT_1G   30

/* Of a table of zeros: make the two places empty where zeros mean page 0. */
static void prepare(struct x86_tlb *t)
{
    for (unsigned end = 0; end < X86_TLB_ENTRIES; end += X86_TLB_ENTRIES - 1) {
        t->entry[end].read = X86_TLB_NOTHING;
        t->entry[end].write = X86_TLB_NOTHING;
        t->entry[end].execute = X86_TLB_NOTHING;
    }
}

static void drop(struct x86_tlb *t, unsigned index)
{
    t->page[index].used = false;
    t->used[index / 64] &= ~(1ull << index % 64);
    t->entry[index].read = X86_TLB_NOTHING;
    t->entry[index].write = X86_TLB_NOTHING;
    t->entry[index].execute = X86_TLB_NOTHING;
}

/* The first place in use from `from` on; X86_TLB_ENTRIES: none. */
static unsigned next_place(const struct x86_tlb *t, unsigned from)
{
    while (from < X86_TLB_ENTRIES) {
        uint64_t left = t->used[from / 64] >> from % 64;

        if (left != 0) {
            return from + (unsigned)__builtin_ctzll(left);
        }
        from = (from / 64 + 1) * 64;
    }
    return X86_TLB_ENTRIES;
}

static void flush_table(struct x86_tlb *t, bool also_global)
{
    for (unsigned i = next_place(t, 0); i < X86_TLB_ENTRIES; i = next_place(t, i + 1)) {
        if (also_global || !t->page[i].global) {
            drop(t, i);
        }
    }
    if (also_global) {
        memset(&t->large, 0, sizeof t->large);
    }
}

static void note_size(struct x86_large *l, const struct x86_tlb_page *p)
{
    unsigned upper = p->linear >> 63;

    if (p->shift > SHIFT_4M) {
        x86_fold_set(&l->huge[upper], 1, p->linear >> SHIFT_1G);
    } else if (p->shift > MEM_PAGE_SHIFT) {
        x86_fold_set(l->part[upper], X86_TLB_LARGE_WORDS, p->linear >> SHIFT_4M);
    }
}

/* Whether what is held may be a piece of a large page that this address is in. */
static bool may_be_piece(const struct x86_large *l, uint64_t linear)
{
    unsigned upper = linear >> 63;

    return x86_fold_has(&l->huge[upper], 1, linear >> SHIFT_1G) ||
           x86_fold_has(l->part[upper], X86_TLB_LARGE_WORDS, linear >> SHIFT_4M);
}

/* Who keeps what linear addresses of code mean in this space finds it out of date. */
static void renew(struct x86_cpu *c, struct x86_space *s)
{
    s->generation = ++c->map_generation;
    s->is_local = s->has_global = false;
    memset(&s->fetched, 0, sizeof s->fetched);
}

/* ... what global ones mean to the system. */
static void renew_global(struct x86_cpu *c)
{
    c->tlbs->generation = ++c->map_generation;
    memset(&c->tlbs->fetched, 0, sizeof c->tlbs->fetched);
}

static void note_page(struct x86_fetched *f, const struct x86_tlb_page *p)
{
    if (p->shift == MEM_PAGE_SHIFT) {
        x86_fold_set(f->page[p->linear >> 63], X86_FETCHED_WORDS,
                     p->linear >> MEM_PAGE_SHIFT);
    } else {
        note_size(&f->large, p);
    }
}

void x86_note_fetched(struct x86_cpu *c, const struct x86_tlb_page *p)
{
    struct x86_space *s = c->tlbs->now;

    if (c->r.cpl == 3) {
        s->has_global |= p->global;
        note_page(&s->fetched, p);
        return;
    }
    s->is_local |= !p->global;
    if (p->global) {
        note_page(&c->tlbs->fetched, p);
    }
    if (s->is_local) {
        note_page(&s->fetched, p);
    }
}

static void flush_space(struct x86_cpu *c, struct x86_space *s, bool also_global)
{
    renew(c, s);
    if (!s->used) {
        return;
    }
    for (unsigned as = 0; as < X86_AS_COUNT; as++) {
        flush_table(&s->as[as], also_global);
    }
}

int x86_tlb_init(struct x86_cpu *c)
{
    c->tlbs = fault_calloc(1, sizeof *c->tlbs);
    if (c->tlbs == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < X86_SPACES; i++) {
        for (unsigned as = 0; as < X86_AS_COUNT; as++) {
            prepare(&c->tlbs->space[i].as[as]);
        }
    }
    prepare(&c->tlbs->none);
    c->tlbs->now = &c->tlbs->space[0];
    c->tlbs->now->used = true;
    c->tlb = &c->tlbs->now->as[X86_AS_SYSTEM];
    return 0;
}

void x86_tlb_fini(struct x86_cpu *c)
{
    free(c->tlbs);
    c->tlbs = NULL;
    c->tlb = NULL;
}

void x86_tlb_select(struct x86_cpu *c)
{
    bool checks_alignment =
        c->r.cpl == 3 && (c->r.rflags & X86_AC_BIT) != 0 && (c->r.cr0 & X86_CR0_AM) != 0;

    c->tlb = checks_alignment ? &c->tlbs->none : &c->tlbs->now->as[x86_rights_now(c)];
    c->usual_addend = c->tlb->usual_addend;
}

/* The space of a PCID, or the one that was used longest ago, emptied. */
static struct x86_space *space_of(struct x86_cpu *c, uint16_t pcid)
{
    struct x86_tlb_set *set = c->tlbs;
    struct x86_space *oldest = &set->space[0];

    for (unsigned i = 0; i < X86_SPACES; i++) {
        struct x86_space *s = &set->space[i];

        if (s->used && s->pcid == pcid) {
            return s;
        }
        if (oldest->used && (!s->used || s->last_use < oldest->last_use)) {
            oldest = s;
        }
    }
    flush_space(c, oldest, true);
    oldest->used = true;
    oldest->pcid = pcid;
    oldest->cr3 = 0;
    return oldest;
}

void x86_tlb_switch(struct x86_cpu *c)
{
    struct x86_tlb_set *set = c->tlbs;
    bool has_pcid = (c->r.cr4 & X86_CR4_PCIDE) != 0;
    uint64_t cr3 = c->r.cr3 & ~0xfffull;
    struct x86_space *s = space_of(c, has_pcid ? c->r.cr3 & 0xfff : 0);

    if (s->cr3 != cr3) {
        flush_space(c, s, false);
        s->cr3 = cr3;
    }
    s->last_use = ++set->clock;
    set->now = s;
    x86_tlb_select(c);
}

void x86_tlb_flush_all(struct x86_cpu *c, bool also_global)
{
    for (unsigned i = 0; i < X86_SPACES; i++) {
        flush_space(c, &c->tlbs->space[i], also_global);
    }
    if (also_global) {
        renew_global(c);
    }
    c->wants |= X86_WANT_RELOAD;
}

void x86_tlb_trim(struct x86_cpu *c)
{
    x86_tlb_flush_all(c, true);
    for (unsigned i = 0; i < X86_SPACES; i++) {
        for (unsigned as = 0; as < X86_AS_COUNT; as++) {
            struct x86_tlb *t = &c->tlbs->space[i].as[as];

            ram_zero(t, sizeof *t);
            prepare(t);
        }
    }
}

void x86_tlb_flush_pcid(struct x86_cpu *c, uint16_t pcid, bool also_global)
{
    for (unsigned i = 0; i < X86_SPACES; i++) {
        struct x86_space *s = &c->tlbs->space[i];

        if (s->used && s->pcid == pcid) {
            flush_space(c, s, also_global);
        }
    }
    if (also_global) {
        renew_global(c);
    }
    c->wants |= X86_WANT_RELOAD;
}

/* Drop what translates `linear`: its own entry, and all pieces of its large page.
 * Only global ones, when the space is another one. */
static void drop_page(struct x86_tlb *t, uint64_t linear, bool only_global)
{
    unsigned index = x86_tlb_index(linear);

    if (t->page[index].used && t->page[index].linear == (linear & ~X86_PAGE_MASK) &&
        (t->page[index].global || !only_global)) {
        drop(t, index);
    }
    if (!may_be_piece(&t->large, linear)) {
        return;
    }
    for (unsigned i = next_place(t, 0); i < X86_TLB_ENTRIES; i = next_place(t, i + 1)) {
        const struct x86_tlb_page *p = &t->page[i];

        if ((p->linear >> p->shift) == (linear >> p->shift) &&
            (p->global || !only_global)) {
            drop(t, i);
        }
    }
}

/* Whether code may have come from that page, or from another of the same large page. */
static bool may_be_code(const struct x86_fetched *f, uint64_t linear)
{
    return x86_fold_has(f->page[linear >> 63], X86_FETCHED_WORDS,
                        linear >> MEM_PAGE_SHIFT) ||
           may_be_piece(&f->large, linear);
}

/* In spaces of other PCIDs only global translations go. */
void x86_tlb_flush_page(struct x86_cpu *c, uint16_t pcid, uint64_t linear)
{
    if (may_be_code(&c->tlbs->fetched, linear)) {
        renew_global(c);
    }
    for (unsigned i = 0; i < X86_SPACES; i++) {
        struct x86_space *s = &c->tlbs->space[i];

        if (!s->used) {
            continue;
        }
        if ((s->pcid == pcid || s->is_local || s->has_global) &&
            may_be_code(&s->fetched, linear)) {
            renew(c, s);
        }
        for (unsigned as = 0; as < X86_AS_COUNT; as++) {
            drop_page(&s->as[as], linear, s->pcid != pcid);
        }
    }
    c->wants |= X86_WANT_RELOAD;
}

#define ANY_FLAGGED UINT64_MAX

static bool is_flagged(const struct x86_tlb_page *p)
{
    return p->region != NULL && p->region->flags != NULL &&
           mem_flags(p->region, p->at) != 0;
}

/* Drop store tags: of the physical page `at`, or of all pages that have flags. */
static void protect(struct x86_tlb *t, gpa at)
{
    for (unsigned i = next_place(t, 0); i < X86_TLB_ENTRIES; i = next_place(t, i + 1)) {
        if (t->entry[i].write != X86_TLB_NOTHING &&
            (at == ANY_FLAGGED ? is_flagged(&t->page[i]) : t->page[i].at == at)) {
            t->entry[i].write = X86_TLB_NOTHING;
        }
    }
}

static void protect_spaces(struct x86_cpu *c, gpa at)
{
    for (unsigned i = 0; i < X86_SPACES; i++) {
        for (unsigned as = 0; as < X86_AS_COUNT; as++) {
            protect(&c->tlbs->space[i].as[as], at);
        }
    }
}

void x86_tlb_protect(struct x86_cpu *c, gpa at)
{
    protect_spaces(c, at & ~X86_PAGE_MASK);
}

void x86_tlb_protect_flagged(struct x86_cpu *c)
{
    protect_spaces(c, ANY_FLAGGED);
}

/* What generated code guesses: the majority vote of Boyer and Moore (1981). */
static void vote(struct x86_cpu *c, struct x86_tlb *t, uint64_t addend)
{
    if (addend == t->usual_addend) {
        t->votes += t->votes < VOTES_MOST;
    } else if (t->votes == 0) {
        t->usual_addend = addend;
    } else {
        t->votes--;
    }
    c->usual_addend = c->tlb->usual_addend;
}

/* Make the tags of a place anew from what the walk found and what stands now. */
static void project(struct x86_cpu *c, struct x86_tlb *t, unsigned index)
{
    const struct x86_tlb_page *p = &t->page[index];
    struct x86_tlb_entry *entry = &t->entry[index];
    const struct mem_region *r = p->region;
    uint8_t flags;

    entry->read = entry->write = entry->execute = X86_TLB_NOTHING;
    if (r == NULL || r->host == NULL) {
        return;
    }
    entry->addend = (uint64_t)(uintptr_t)(r->host + (p->at - r->base)) - p->linear;
    flags = mem_flags(r, p->at);
    if ((flags & MEM_ABSENT) != 0) {
        return;
    }
    if ((p->allowed & X86_READ) != 0 && !x86_is_watched(c, p->linear, X86_READ)) {
        entry->read = p->linear;
        vote(c, t, entry->addend);
    }
    if ((p->allowed & X86_WRITE) != 0 && flags == 0 && !r->read_only &&
        !x86_is_watched(c, p->linear, X86_WRITE)) {
        entry->write = p->linear;
    }
    if ((p->allowed & X86_EXECUTE) != 0) {
        entry->execute = p->linear;
    }
}

/* The table that keeps translations with these rights in the current space. */
static struct x86_tlb *table_of(struct x86_cpu *c, enum x86_rights as)
{
    if (as == X86_AS_SYSTEM_AC && (c->r.cr4 & X86_CR4_SMAP) == 0) {
        as = X86_AS_SYSTEM;
    }
    return &c->tlbs->now->as[as];
}

uint8_t *x86_tlb_hit(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                     enum x86_access access, enum x86_rights as)
{
    const struct x86_tlb_entry *e = &table_of(c, as)->entry[x86_tlb_index(linear)];
    uint64_t tag = access == X86_WRITE ? e->write : e->read;

    return tag == ((linear + bytes - 1) & ~X86_PAGE_MASK)
               ? (uint8_t *)(uintptr_t)(linear + e->addend)
               : NULL;
}

void x86_translate(struct x86_cpu *c, uint64_t linear, enum x86_access access,
                   enum x86_rights as, struct x86_part *ret_part)
{
    struct x86_tlb *t = table_of(c, as);
    unsigned index = x86_tlb_index(linear);
    struct x86_tlb_page *p = &t->page[index];

    if (!p->used || p->linear != (linear & ~X86_PAGE_MASK) ||
        (p->allowed & access) == 0) {
        struct x86_tlb_page found;

        x86_walk(c, linear, access, as, &found);
        *p = found;
        t->used[index / 64] |= 1ull << index % 64;
        note_size(&t->large, &found);
    }
    if (p->region != NULL && p->region->host != NULL) {
        (void)mem_present(c->mem, p->region, p->at);
    }
    project(c, t, index);
    ret_part->region = p->region;
    ret_part->at = p->at | (linear & X86_PAGE_MASK);
    ret_part->host = NULL;
    if (p->region != NULL && p->region->host != NULL) {
        ret_part->host = p->region->host + (ret_part->at - p->region->base);
    }
}
