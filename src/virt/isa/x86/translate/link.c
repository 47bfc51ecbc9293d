/* link.c - patched jumps between units, and the jump tables.
 *
 * An exit that leads to a unit is in the list of that unit, by number, since the arrays
 * of exits move.  A jump table serves users in one address space of the soft TLB, or the
 * system: in all of them, or in one where it also runs code that is not global
 * (`is_local`).  It is emptied when the generation of what it serves changed (the head of
 * memory/tlb.c says when), and its link number is then a new one, so that patched jumps to
 * other pages hold no longer. */
#include <string.h>

#include "host/ram.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/private.h"

#define LINKS_MOST 0x7ffffff0u /* below what an exit has that was never patched */

struct exit_of *link_exit(struct translate_cpu *t, uint32_t number)
{
    return &t->half[number >> HALF_SHIFT]
                .exit[number & ((UINT32_C(1) << HALF_SHIFT) - 1)];
}

uint64_t link_target(const struct translate_cpu *t, const struct exit_of *x)
{
    uint64_t to = unit_numbered(t, x->unit)->rip + (uint64_t)(int64_t)x->way.distance;

    return x->way.is_narrow ? (uint32_t)to : to;
}

static void write32(uint8_t *at, int64_t v)
{
    int32_t v32 = (int32_t)v;

    memcpy(at, &v32, sizeof v32);
}

/* The exit leads nowhere any more. */
static void take_back(struct translate_cpu *t, struct exit_of *x)
{
    if (x->to == NO_UNIT) {
        return;
    }
    if (x->prev == NO_EXIT) {
        unit_numbered(t, x->to)->incoming = x->next;
    } else {
        link_exit(t, x->prev)->next = x->next;
    }
    if (x->next != NO_EXIT) {
        link_exit(t, x->next)->prev = x->prev;
    }
    x->to = NO_UNIT;
    write32(t->code.write + x->way.jump, x->way.home);
}

static void enter_list(struct translate_cpu *t, uint32_t number, struct unit *to)
{
    struct exit_of *x = link_exit(t, number);

    x->to = unit_number(t, to);
    x->prev = NO_EXIT;
    x->next = to->incoming;
    if (to->incoming != NO_EXIT) {
        link_exit(t, to->incoming)->prev = number;
    }
    to->incoming = number;
}

void link_patch(struct translate_cpu *t, uint32_t number, struct unit *to)
{
    struct exit_of *x = link_exit(t, number);
    uint8_t *jump;

    if (x->way.jump == 0 || link_target(t, x) != to->rip ||
        (x->way.link == 0 &&
         ((unit_numbered(t, x->unit)->at ^ to->at) & ~X86_PAGE_MASK) != 0)) {
        return;
    }
    take_back(t, x);
    enter_list(t, number, to);
    jump = t->code.write + x->way.jump;
    write32(jump, (int64_t)(to->code - (uint64_t)(uintptr_t)t->code.run) -
                      ((int64_t)x->way.jump + 4));
    if (x->way.link != 0) {
        write32(jump - x->way.link, t->frame.link);
    }
}

static struct emit_jump *table_of(struct translate_cpu *t, unsigned space)
{
    return &t->jumps[(size_t)space * EMIT_JUMPS];
}

/* 0 belongs to place 0, and all ones to the last. */
static void empty_place(struct emit_jump *table, unsigned n)
{
    table[n] = (struct emit_jump){.tag = n == 0 ? ~UINT64_C(0) : 0};
}

/* Only the places that were filled. */
static void empty(struct translate_cpu *t, unsigned space)
{
    uint64_t *filled = t->filled[space];

    for (unsigned w = 0; w < EMIT_JUMPS / 64; w++) {
        for (; filled[w] != 0; filled[w] &= filled[w] - 1) {
            empty_place(table_of(t, space),
                        w * 64 + (unsigned)__builtin_ctzll(filled[w]));
        }
    }
}

void link_init(struct translate_cpu *t)
{
    for (unsigned n = 0; n < JUMP_SPACES; n++) {
        empty_place(table_of(t, n), 0);
    }
}

void link_trim(struct translate_cpu *t)
{
    memset(t->filled, 0, sizeof t->filled);
    ram_zero(t->jumps, (size_t)JUMP_SPACES * EMIT_JUMPS * sizeof *t->jumps);
    link_init(t);
}

void link_forget(struct translate_cpu *t, const struct unit *u)
{
    unsigned place = emit_jump_place(u->rip);
    unsigned n;

    while (u->incoming != NO_EXIT) {
        take_back(t, link_exit(t, u->incoming));
    }
    for (n = 0; n < u->exits; n++) {
        struct exit_of *x = link_exit(t, u->first_exit + n);

        take_back(t, x);
        x->way.jump = 0;
    }
    for (n = 0; n < JUMP_SPACES; n++) {
        if (t->space[n].is_used && table_of(t, n)[place].code == u->code) {
            empty_place(table_of(t, n), place);
        }
    }
}

uint64_t link_recall(const struct translate_cpu *t, uint64_t rip)
{
    const struct emit_jump *table = (const struct emit_jump *)(uintptr_t)t->frame.jumps;
    const struct emit_jump *j = &table[emit_jump_place(rip)];

    return j->tag == rip ? j->code : 0;
}

void link_remember(struct translate_cpu *t, uint64_t rip, uint64_t code)
{
    struct emit_jump *table = (struct emit_jump *)(uintptr_t)t->frame.jumps;
    unsigned place = emit_jump_place(rip);

    table[place] = (struct emit_jump){.tag = rip, .code = code};
    t->filled[(size_t)(table - t->jumps) / EMIT_JUMPS][place / 64] |= UINT64_C(1)
                                                                      << place % 64;
}

static uint32_t next_link(struct translate_cpu *t)
{
    if (t->links == LINKS_MOST) {
        unit_drop_all(t); /* nothing holds a number any more */
        memset(t->space, 0, sizeof t->space);
        t->links = 0;
    }
    return ++t->links;
}

static void renew(struct translate_cpu *t, unsigned n, uint64_t generation, uint16_t key)
{
    uint32_t link = next_link(t);

    empty(t, n);
    t->space[n] = (struct jump_space){
        .generation = generation, .link = link, .key = key, .is_used = true};
}

/* Which table serves what executes now. */
static unsigned table_now(const struct x86_tlb_set *set, bool is_user,
                          uint64_t *ret_generation)
{
    bool is_shared = !is_user && !set->now->is_local;

    *ret_generation = is_shared ? set->generation : set->now->generation;
    return is_shared ? JUMP_SHARED : (unsigned)(set->now - set->space) * 2 + is_user;
}

static uint64_t first_word(const struct x86_segment *s)
{
    uint64_t v;

    memcpy(&v, s, sizeof v);
    return v;
}

/* What SYSCALL, or SYSRET, needs to go to the other privilege in place: a table that is up
 * to date. */
static void refresh_side(struct translate_cpu *t, bool is_user, uint16_t key)
{
    const struct x86_cpu *c = &t->x;
    struct lift_side *side = &t->side[is_user];
    struct x86_tlb *tlb = &c->tlbs->now->as[is_user ? X86_AS_USER : X86_AS_SYSTEM];
    struct x86_segment cs, ss;
    uint64_t generation;
    unsigned n = table_now(c->tlbs, is_user, &generation);
    const struct jump_space *s = &t->space[n];

    side->tlb = 0;
    if (!s->is_used || s->generation != generation ||
        s->key != (is_user ? key : key | UNIT_SYSTEM)) {
        return;
    }
    x86_syscall_segments(c, is_user ? 3 : 0, &cs, &ss);
    side->cs = first_word(&cs);
    side->ss = first_word(&ss);
    side->jumps = (uint64_t)(uintptr_t)table_of(t, n);
    side->link = s->link;
    side->usual = (uint64_t)(uintptr_t)&tlb->usual_addend;
    side->tlb = (uint64_t)(uintptr_t)tlb;
}

/* In 64-bit mode; SMAP's override is the routine's where a system call leaves it. */
static void refresh_sides(struct translate_cpu *t, uint16_t key)
{
    const struct x86_cpu *c = &t->x;
    const struct x86_msrs *m = &c->r.msr;
    bool may = c->code_mode == X86_CODE64 && (m->efer & X86_EFER_SCE) != 0 &&
               (m->sfmask & X86_AC_BIT) != 0;
    const struct side_state now = {
        .space = (uint64_t)(uintptr_t)c->tlbs->now,
        .generation = c->map_generation,
        .links = t->links,
        .star = m->star,
        .sfmask = m->sfmask,
        .mode = (uint64_t)(key & ~UNIT_SYSTEM) << 2 | (uint64_t)may << 1 |
                c->tlbs->now->is_local,
    };

    if (memcmp(&now, &t->sides, sizeof now) == 0) {
        return;
    }
    t->sides = now;
    if (may) {
        refresh_side(t, false, key & ~UNIT_SYSTEM);
        refresh_side(t, true, key & ~UNIT_SYSTEM);
    } else {
        t->side[0].tlb = t->side[1].tlb = 0;
    }
}

void link_refresh(struct translate_cpu *t)
{
    uint64_t generation;
    unsigned n = table_now(t->x.tlbs, t->x.r.cpl == 3, &generation);
    struct jump_space *s = &t->space[n];
    uint16_t key = (uint16_t)(unit_key(&t->x) | (t->is_counted ? UNIT_COUNTED : 0));

    if (!s->is_used || s->generation != generation || s->key != key) {
        renew(t, n, generation, key);
    }
    t->frame.jumps = (uint64_t)(uintptr_t)table_of(t, n);
    t->frame.link = s->link;
    t->key = key;
    refresh_sides(t, key);
}
