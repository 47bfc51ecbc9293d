/* heat.c - what is worth keeping.
 *
 * Frequency: a count-min sketch of two rows of 8-bit counters, halved after as many
 * notes as ten times the slots (TinyLFU; Einziger, Friedman, Manes, 2017).  Recency: a
 * clock over the clean slots; of the few that the hand finds unused since it came by
 * last, the one read least often goes.
 *
 * A read that goes on where one of the last `CACHE_STREAMS` runs ended belongs to that
 * run; a long run is read once and not again, so it is left out of the store. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/cache/private.h"

#define ROWS           2u
#define HAND_LOOKS     64u
#define HAND_COMPARES  4u
#define BYPASS_DEFAULT (1024u * 1024)

int cache_heat_create(struct cache *c)
{
    uint64_t counters = 1024;

    while (counters < c->slots * 2) {
        counters *= 2;
    }
    c->heat = fault_calloc(ROWS, counters);
    c->heat_mask = counters - 1;
    c->heat_noted = 0;
    return c->heat == NULL ? -ENOMEM : 0;
}

static uint8_t *counter(const struct cache *c, uint64_t line, unsigned row)
{
    uint64_t h = (line + 1) * (row == 0 ? 0x9e3779b97f4a7c15u : 0xc2b2ae3d27d4eb4fu);

    return &c->heat[row * (c->heat_mask + 1) + ((h ^ h >> 29) & c->heat_mask)];
}

unsigned cache_heat_of(const struct cache *c, uint64_t line)
{
    unsigned a = *counter(c, line, 0);
    unsigned b = *counter(c, line, 1);

    return a < b ? a : b;
}

void cache_heat_note(struct cache *c, uint64_t line)
{
    for (unsigned row = 0; row < ROWS; row++) {
        uint8_t *n = counter(c, line, row);

        *n += *n < UINT8_MAX;
    }
    if (++c->heat_noted > c->slots * 10 + 1024) {
        c->heat_noted = 0;
        for (uint64_t i = 0; i < ROWS * (c->heat_mask + 1); i++) {
            c->heat[i] /= 2;
        }
    }
}

bool cache_is_sequential(struct cache *c, uint64_t off, uint64_t bytes)
{
    uint64_t limit =
        c->options.bypass_bytes != 0 ? c->options.bypass_bytes : BYPASS_DEFAULT;
    struct cache_stream *s = &c->stream[0];

    for (unsigned i = 0; i < CACHE_STREAMS; i++) {
        if (c->stream[i].next_off == off && c->stream[i].bytes > 0) {
            s = &c->stream[i];
            break;
        }
        s = c->stream[i].tick < s->tick ? &c->stream[i] : s;
    }
    s->bytes = s->next_off == off && s->bytes > 0 ? s->bytes + bytes : bytes;
    s->next_off = off + bytes;
    s->tick = ++c->tick;
    return s->bytes > limit;
}

struct cache_slot *cache_victim(struct cache *c)
{
    struct cache_slot *best = NULL;
    unsigned compared = 0;

    for (unsigned i = 0; i < HAND_LOOKS && compared < HAND_COMPARES; i++) {
        struct cache_slot *s = c->hand != NULL ? c->hand : c->list[CACHE_CLEAN].first;

        if (s == NULL) {
            break;
        }
        c->hand = s->next;
        if (s->pins > 0) {
            continue;
        }
        if (s->used) {
            s->used = false;
            continue;
        }
        compared++;
        if (best == NULL || cache_heat_of(c, s->line) < cache_heat_of(c, best->line)) {
            best = s;
        }
    }
    return best;
}
