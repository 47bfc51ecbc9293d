/* draft.c - what is kept of a translation, packed.
 *
 * Most sites are never served: a side exit stores what is pending by itself.  Only those
 * whose number is in the code are kept, and of each what `slow.c` asks for.
 *
 * A pend is a word: the global, what flags are made from, and for each of the three places
 * of `struct emit_pend` a byte, its kind in the upper three bits and register or slot in
 * the others.  A constant is a word of its own behind that.  A pend's `prev` is the one in
 * front of it.  Sites behind each other often have the same pends, and share them. */
#include "virt/isa/x86/translate/draft.h"

#include <errno.h>
#include <string.h>

#include "virt/isa/ir/native.h"
#include "virt/isa/x86/cpu.h"

#define LOCS         3
#define KIND_SHIFT   5
#define NO_GLOBAL    0xff /* of a pend that another one keeps something of */
#define WINDOW_SHIFT 32   /* nobody asks for its `disp`, which is below that */

/* A pend's first word, byte by byte. */
enum pend_byte {
    PEND_GLOBAL,
    PEND_TYPE,
    PEND_FLAGS, /* kind */
    PEND_BYTES, /* of the flags; the upper bit: there is a `prev` */
    PEND_LOC
};

#define PEND_PREV 0x80

static bool put_word(struct draft *d, struct draft_room *room, uint64_t word)
{
    if (d->words == DRAFT_WORDS) {
        return false;
    }
    room->word[d->words++] = word;
    return true;
}

static bool put_pend(struct draft *d, struct draft_room *room, const struct emit_pend *p)
{
    const struct emit_loc *loc[LOCS] = {&p->a, &p->b, &p->c};
    uint8_t byte[8] = {
        [PEND_GLOBAL] = p->global < NO_GLOBAL ? (uint8_t)p->global : NO_GLOBAL,
        [PEND_TYPE] = p->type,
        [PEND_FLAGS] = p->flags_kind,
        [PEND_BYTES] = (uint8_t)(p->flags_bytes | (p->prev >= 0 ? PEND_PREV : 0))};
    uint64_t word;
    unsigned n;

    for (n = 0; n < LOCS; n++) {
        unsigned at = loc[n]->kind == EMIT_IN_REG     ? loc[n]->reg
                      : loc[n]->kind == EMIT_IN_SPILL ? (unsigned)loc[n]->value
                                                      : 0;

        byte[PEND_LOC + n] = (uint8_t)(loc[n]->kind << KIND_SHIFT | at);
    }
    memcpy(&word, byte, sizeof word);
    if (!put_word(d, room, word)) {
        return false;
    }
    for (n = 0; n < LOCS; n++) {
        if (loc[n]->kind == EMIT_IS_CONST && !put_word(d, room, loc[n]->value)) {
            return false;
        }
    }
    return true;
}

unsigned draft_pends(const struct site *s, const uint64_t *word, struct emit_pend *ret)
{
    const uint64_t *end = word + s->words;
    unsigned pends = 0, n;

    while (word < end && pends < DRAFT_PENDS) {
        struct emit_pend *p = &ret[pends];
        struct emit_loc *loc[LOCS] = {&p->a, &p->b, &p->c};
        uint8_t byte[8];

        memcpy(byte, word++, sizeof byte);
        *p = (struct emit_pend){
            .global = byte[PEND_GLOBAL] != NO_GLOBAL ? byte[PEND_GLOBAL] : UINT16_MAX,
            .type = byte[PEND_TYPE],
            .flags_kind = byte[PEND_FLAGS],
            .flags_bytes = byte[PEND_BYTES] & (PEND_PREV - 1),
            .prev = (byte[PEND_BYTES] & PEND_PREV) != 0 ? (int32_t)pends - 1 : -1};
        for (n = 0; n < LOCS; n++) {
            unsigned at = byte[PEND_LOC + n] & ((1u << KIND_SHIFT) - 1);

            loc[n]->kind = (uint8_t)(byte[PEND_LOC + n] >> KIND_SHIFT);
            loc[n]->reg = (uint8_t)at;
            loc[n]->value = loc[n]->kind == EMIT_IS_CONST ? *word++ : at;
        }
        pends++;
    }
    return pends;
}

struct ir_window draft_window(const struct site *s)
{
    return ir_window_unpack((uint64_t)s->detail << WINDOW_SHIFT);
}

/* Its place among those that are kept. */
static uint32_t keep_insn(struct draft *d, struct draft_room *room,
                          const struct draft_from *from, const struct x86_insn *i)
{
    uint8_t *place = &room->place[i - from->insn];

    if (*place == 0) {
        room->insn[d->kept++] = *i;
        *place = d->kept;
    }
    return *place - 1u;
}

static uint32_t detail_of(struct draft *d, struct draft_room *room,
                          const struct draft_from *from, const struct emit_site *s)
{
    uintptr_t imm = (uintptr_t)s->imm;

    switch (s->op) {
    case IR_WINDOW:
        return (uint32_t)(s->imm >> WINDOW_SHIFT);
    case IR_NATIVE:
        imm = ((const struct ir_native *)imm)->routine;
        break;
    case IR_ROUTINE:
    case IR_TRAP_IF:
        break;
    default:
        return 0;
    }
    return keep_insn(d, room, from, (const struct x86_insn *)imm);
}

static bool same_words(const struct draft_room *room, const struct site *a,
                       unsigned first, unsigned words)
{
    return a->words == words && memcmp(&room->word[a->first], &room->word[first],
                                       words * sizeof room->word[0]) == 0;
}

/* False: it does not fit. */
static bool put_site(struct draft *d, struct draft_room *room,
                     const struct draft_from *from, const struct emit_site *s,
                     const struct emit_pend *pend)
{
    struct site *to = &room->site[d->sites];
    uint16_t first = d->words;
    uint64_t pc = s->pc - from->page;
    unsigned n;

    if (pc > MEM_PAGE_BYTES || s->count > DRAFT_PENDS || s->left > UINT8_MAX) {
        return false;
    }
    for (n = 0; n < s->count; n++) {
        if (!put_pend(d, room, &pend[s->first + n])) {
            return false;
        }
    }
    if (d->words - first > UINT8_MAX) {
        return false;
    }
    *to = (struct site){.detail = detail_of(d, room, from, s),
                        .first = first,
                        .pc = (uint16_t)pc & 0x1fff,
                        .is_signed = s->access.sign,
                        .for_write = s->access.for_write,
                        .is_32 = s->type == IR_I32,
                        .op = (uint8_t)s->op,
                        .words = (uint8_t)(d->words - first),
                        .left = (uint8_t)s->left,
                        .bytes = s->access.bytes & 0x7f,
                        .is_stack = s->aux == X86_SS};
    if (d->sites > 0 && same_words(room, to - 1, first, to->words)) {
        to->first = (to - 1)->first;
        d->words = first;
    }
    d->sites++;
    return true;
}

/* A number in the code, which is little-endian and aligned to nothing. */
static uint32_t read32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static void write32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof v);
}

/* The fixes, and the sites that they name. */
static bool put_fixes(struct draft *d, struct draft_room *room,
                      const struct draft_from *from, const struct emit_result *e,
                      uint8_t *code)
{
    uint32_t n, last = 0;

    memset(room->number, 0, (e->sites + 1) * sizeof room->number[0]);
    for (n = 0; n < e->fixes; n++) {
        const struct emit_fix *f = &e->fix[n];
        uint32_t site;

        if ((f->at - last) >> DRAFT_FIX_SHIFT != 0) {
            return false;
        }
        room->fix[n] = (uint16_t)((unsigned)f->kind << DRAFT_FIX_SHIFT | (f->at - last));
        last = f->at;
        if (f->kind != EMIT_FIX_SITE) {
            continue;
        }
        site = read32(code + f->at);
        if (room->number[site] == 0) {
            if (!put_site(d, room, from, &e->site[site], e->pend)) {
                return false;
            }
            room->number[site] = d->sites;
        }
        write32(code + f->at, room->number[site] - 1u);
    }
    d->fixes = (uint16_t)e->fixes;
    return true;
}

static bool put_exit(struct draft *d, struct draft_room *room, const struct emit_exit *x)
{
    uint64_t distance = x->pc - d->rip;
    bool is_narrow = (x->pc | d->rip) >> 32 == 0;

    if (x->home < 0 || x->home > UINT16_MAX || (x->link != 0 && x->jump - x->link > 16) ||
        (!is_narrow && (int64_t)distance != (int32_t)distance)) {
        return false;
    }
    room->exit[d->exits++] =
        (struct way_out){.distance = (int32_t)distance,
                         .jump = x->jump,
                         .home = (uint16_t)x->home,
                         .link = x->link != 0 ? (uint8_t)(x->jump - x->link) : 0,
                         .is_narrow = is_narrow};
    return true;
}

int draft_make(struct draft *d, struct draft_room *room, const struct draft_from *from,
               const struct emit_result *e, uint8_t *code)
{
    uint32_t n;

    if (e->sites > DRAFT_SITES || e->exits > DRAFT_EXITS || e->fixes > DRAFT_FIXES) {
        return -ENOSPC;
    }
    d->kept = 0;
    d->sites = d->words = d->exits = d->fixes = 0;
    memset(room->place, 0, from->insns);
    if (!put_fixes(d, room, from, e, code)) {
        return -ENOSPC;
    }
    for (n = 0; n < e->exits; n++) {
        if (!put_exit(d, room, &e->exit[n])) {
            return -ENOSPC;
        }
    }
    d->bytes = e->bytes;
    d->insn = room->insn;
    d->site = room->site;
    d->word = room->word;
    d->exit = room->exit;
    d->fix = room->fix;
    return 0;
}

void draft_bind(const struct draft *d, uint8_t *code, const struct draft_place *at)
{
    const uint32_t by[] = {[EMIT_FIX_SITE] = at->first_site,
                           [EMIT_FIX_EXIT] = at->first_exit,
                           [EMIT_FIX_THUNK] = d->origin - at->origin};
    unsigned n;

    for (n = 0; n < d->fixes; n++) {
        code += d->fix[n] & ((1u << DRAFT_FIX_SHIFT) - 1);
        write32(code, read32(code) + by[d->fix[n] >> DRAFT_FIX_SHIFT]);
    }
}
