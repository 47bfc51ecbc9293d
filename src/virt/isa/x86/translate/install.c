/* install.c - a draft gets its place: among the records, and its code where it runs. */
#include <string.h>

#include "base/grow.h"
#include "virt/isa/x86/translate/private.h"

/* Of the half in use; NULL: it is full. */
static void *record(struct translate_cpu *t, size_t bytes)
{
    struct half *h = &t->half[t->filling];
    void *at = t->record.at + h->recorded;

    bytes = (bytes + 7) & ~(size_t)7;
    if (bytes > h->record_end - h->recorded) {
        return NULL;
    }
    h->recorded += bytes;
    return at;
}

static bool make_room(struct half *h, const struct draft *d)
{
    return grow_for(&h->site, h->sites + d->sites, &h->site_room) &&
           grow_for(&h->word, h->words + d->words, &h->word_room) &&
           grow_for(&h->exit, h->exits + d->exits, &h->exit_room);
}

static struct unit *make_unit(struct translate_cpu *t, const struct draft *d)
{
    size_t insns = d->kept * sizeof *d->insn, pieces = d->pieces * sizeof *d->piece;
    struct unit *u = record(t, sizeof *u + insns + pieces);
    unsigned n;

    if (u == NULL) {
        return NULL;
    }
    *u = (struct unit){.at = d->at,
                       .rip = d->rip,
                       .key = d->key,
                       .half = (uint8_t)t->filling,
                       .is_counted = d->is_counted,
                       .is_quick = d->is_quick,
                       .insns = d->insns,
                       .pieces = d->pieces,
                       .kept = d->kept,
                       .incoming = NO_EXIT,
                       .low = MEM_PAGE_BYTES};
    if (insns != 0) {
        memcpy(u->insn, d->insn, insns);
    }
    memcpy(unit_pieces(u), d->piece, pieces);
    for (n = 0; n < d->pieces; n++) {
        unsigned end = (unsigned)d->piece[n].at + d->piece[n].bytes;

        u->low = d->piece[n].at < u->low ? d->piece[n].at : u->low;
        u->high = end > u->high ? (uint16_t)end : u->high;
    }
    return u;
}

/* Its sites, their pends, and its exits join those of the half. */
static void join(struct half *h, const struct draft *d, uint32_t number, uint32_t code)
{
    uint32_t n;

    for (n = 0; n < d->sites; n++) {
        h->site[h->sites + n] = d->site[n];
        h->site[h->sites + n].unit = number;
    }
    if (d->words != 0) {
        memcpy(&h->word[h->words], d->word, d->words * sizeof *d->word);
    }
    for (n = 0; n < d->exits; n++) {
        struct exit_of *x = &h->exit[h->exits + n];

        *x = (struct exit_of){.way = d->exit[n], .unit = number, .to = NO_UNIT};
        x->way.jump += code;
    }
    h->sites += d->sites;
    h->words += d->words;
    h->exits += d->exits;
}

struct unit *unit_install(struct translate_cpu *t, const struct draft *d,
                          const uint8_t *code)
{
    struct half *h = &t->half[t->filling];
    uint8_t *to = t->code.write + h->used;
    struct unit *u = make_room(h, d) ? make_unit(t, d) : NULL;

    if (u == NULL || d->bytes == 0) {
        return u;
    }
    if (code != to) {
        memcpy(to, code, d->bytes);
    }
    u->first_exit = (uint32_t)u->half << HALF_SHIFT | h->exits;
    u->exits = d->exits;
    u->first_word = h->words;
    draft_bind(
        d, to,
        &(struct draft_place){.first_site = (uint32_t)u->half << HALF_SHIFT | h->sites,
                              .first_exit = u->first_exit,
                              .origin = (uint32_t)h->used});
    join(h, d, unit_number(t, u), (uint32_t)h->used);
    u->code = (uint64_t)(uintptr_t)t->code.run + h->used;
    h->used = (h->used + d->bytes + 15) & ~(size_t)15;
    profile_unit(t, u, d->rip, d->bytes);
    return u;
}
