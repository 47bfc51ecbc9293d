/* raid_write.c - a change of one stripe, and a read that needs the others.
 *
 * New parities come from the data that are not written (reconstruct-write) or from the old
 * data and parities (read-modify-write), whichever reads less; a change of the whole
 * stripe reads nothing.  Where a member is missing, either way goes as long as it does not
 * have to read there; else the stripe is recovered first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resource/storage/redundancy/gf.h"
#include "resource/storage/redundancy/raid_private.h"

#define TRIES (RAID_MOST + 2) /* each drops a member or finds a chunk unreadable */

struct change {
    struct raid *x;
    struct raid_stripe *s;
    struct blk_vec from;
    uint64_t at;         /* in the data of the stripe */
    unsigned touched;    /* bits of data chunks */
    unsigned full;       /* those of which all rows are written */
    unsigned usable;     /* when it was prepared */
    unsigned unreadable; /* found out: the bytes have to be recovered */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Which rows, which chunks. */
static void measure(struct change *c)
{
    uint64_t chunk = c->x->chunk;
    uint64_t end = c->at + c->from.bytes;
    uint64_t first = c->at / chunk;
    uint64_t last = (end - 1) / chunk;

    c->s->lo = first == last ? (uint32_t)(c->at % chunk) : 0;
    c->s->hi = first == last ? c->s->lo + (uint32_t)c->from.bytes : (uint32_t)chunk;
    for (uint64_t i = first; i <= last; i++) {
        uint64_t lo = i * chunk + c->s->lo;
        uint64_t hi = i * chunk + c->s->hi;

        c->touched |= 1u << i;
        c->full |= c->at <= lo && end >= hi ? 1u << i : 0;
    }
}

static void overlay(struct change *c)
{
    for (unsigned i = 0; i < c->x->data; i++) {
        uint64_t base = (uint64_t)i * c->x->chunk;
        uint64_t lo = most(c->at, base + c->s->lo);
        uint64_t hi = least(c->at + c->from.bytes, base + c->s->hi);

        if ((c->touched >> i & 1) != 0 && lo < hi) {
            blk_vec_take(blk_vec_part(c->from, (size_t)(lo - c->at), (size_t)(hi - lo)),
                         c->s->chunk[i] + (lo - base - c->s->lo));
        }
    }
    c->s->have |= c->touched;
}

static int read_some(struct change *c, unsigned which)
{
    unsigned failed = 0;
    int r;

    c->x->stripe_reads += (unsigned)__builtin_popcount(which);
    r = which == 0 ? 0 : raid_stripe_read(c->x, c->s, which, &failed);
    c->unreadable |= failed;
    return failed != 0 ? -EAGAIN : r;
}

/* Take the old bytes of the touched chunks out of the parities, or put the new ones in. */
static void add_to_parities(struct change *c, unsigned parities)
{
    struct raid_stripe *s = c->s;
    size_t rows = s->hi - s->lo;
    unsigned p = c->x->data;

    for (unsigned i = 0; i < c->x->data; i++) {
        if ((c->touched >> i & 1) == 0) {
            continue;
        }
        if ((parities >> p & 1) != 0) {
            gf_add(s->chunk[p], s->chunk[i], rows);
        }
        if (c->x->parity == 2 && (parities >> (p + 1) & 1) != 0) {
            gf_mul_add(s->chunk[p + 1], s->chunk[i], gf_power(i), rows);
        }
    }
}

static int modify(struct change *c, unsigned parities)
{
    int r = read_some(c, c->touched | parities);

    if (r == 0) {
        add_to_parities(c, parities);
        overlay(c);
        add_to_parities(c, parities);
    }
    return r;
}

static int reconstruct(struct change *c, unsigned need, unsigned parities)
{
    int r = read_some(c, need);

    if (r == 0) {
        overlay(c);
        raid_stripe_parity(c->x, c->s, parities);
    }
    return r;
}

static int recover(struct change *c, unsigned parities)
{
    unsigned failed;
    int r = raid_stripe_load(c->x, c->s, c->unreadable, &failed);

    c->x->stripe_reads += (unsigned)__builtin_popcount(c->usable & ~c->unreadable);
    c->unreadable |= failed;
    if (r == 0) {
        overlay(c);
        raid_stripe_parity(c->x, c->s, parities);
        c->s->change |= c->unreadable & ((1u << c->x->data) - 1); /* mended, too */
    }
    return r;
}

/* The new bytes of all that has to change. */
static int prepare(struct change *c)
{
    struct raid *x = c->x;
    unsigned data = (1u << x->data) - 1;
    unsigned readable = raid_usable(x, c->s->number) & ~c->unreadable;
    unsigned parities;
    unsigned rest = data & ~c->full;
    bool may_modify;
    bool may_reconstruct;

    c->usable = raid_usable(x, c->s->number);
    if (x->set.count - (unsigned)__builtin_popcount(c->usable) > x->parity) {
        return -EIO;
    }
    parities = c->usable & ~data;
    may_reconstruct = (rest & ~readable) == 0;
    may_modify = ((c->touched | parities) & ~readable) == 0;
    c->s->have = 0;
    c->s->change = c->touched | parities;
    if (may_reconstruct &&
        (!may_modify ||
         __builtin_popcount(rest) <= __builtin_popcount(c->touched | parities))) {
        x->full_stripes += rest == 0;
        return reconstruct(c, rest, parities);
    }
    return may_modify ? modify(c, parities) : recover(c, parities);
}

static int commit(struct change *c, uint64_t at)
{
    struct raid *x = c->x;
    int r =
        member_save(&x->set); /* who is out is durably out, or a replay would miss him */

    if (r == 0 && raid_usable(x, c->s->number) != c->usable) {
        return -EAGAIN;
    }
    c->s->change &= c->usable;
    return r == 0 ? raid_journal_put(x, c->s, at) : r;
}

/* Committed: it is written in place now, or by whoever comes next. */
static int put_in_place(struct change *c)
{
    int r = raid_stripe_write(c->x, c->s);

    if (r != 0) {
        c->s->next = c->x->stuck;
        c->x->stuck = c->s;
        c->s = NULL;
    }
    return r;
}

static int try_write(struct change *c)
{
    uint64_t at;
    int r = raid_journal_enter(c->x, c->s->hi - c->s->lo, &at);

    if (r != 0) {
        return r;
    }
    r = prepare(c);
    r = r == 0 ? commit(c, at) : r;
    r = r == 0 ? put_in_place(c) : r;
    raid_journal_leave(c->x);
    return r;
}

int raid_write_stripe(struct raid *x, uint64_t stripe, struct blk_vec from, uint64_t at)
{
    struct range_hold hold = {.first = stripe, .end = stripe + 1};
    struct change c = {.x = x, .from = from, .at = at};
    int r;

    c.s = fault_calloc(1, sizeof *c.s);
    if (c.s == NULL) {
        return -ENOMEM;
    }
    c.s->number = stripe;
    measure(&c);
    r = raid_stripe_init(x, c.s);
    range_take(x->blk.strands, &x->ranges, &hold);
    r = r == 0 ? raid_unstick(x, stripe) : r;
    if (r == 0) {
        r = -EAGAIN;
        for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
            r = try_write(&c);
        }
        r = r == -EAGAIN ? -EIO : r;
    }
    range_give(&x->ranges, &hold);
    if (c.s != NULL) {
        raid_stripe_fini(c.s);
        free(c.s);
    }
    return r == 0 ? member_save(&x->set) : r;
}

/* ---- reads that need the others ---- */

/* Write what was recovered to where it could not be read. */
static void mend(struct raid *x, struct raid_stripe *s, unsigned index)
{
    s->change = 1u << index;
    if (!x->blk.read_only && (raid_usable(x, s->number) & s->change) != 0 &&
        raid_stripe_write(x, s) == 0) {
        x->repaired_bytes += s->hi - s->lo;
    }
}

int raid_read_hard(struct raid *x, uint64_t stripe, unsigned index, struct blk_vec to,
                   uint32_t row)
{
    struct raid_stripe s = {.number = stripe, .lo = row, .hi = row + (uint32_t)to.bytes};
    struct range_hold hold = {.first = stripe, .end = stripe + 1};
    unsigned unreadable = 1u << index;
    unsigned failed;
    int r = raid_stripe_init(x, &s);

    if (r != 0) {
        return r;
    }
    range_take(x->blk.strands, &x->ranges, &hold);
    r = raid_unstick(x, stripe);
    if (r == 0) {
        do {
            r = raid_stripe_load(x, &s, unreadable, &failed);
            unreadable |= failed;
        } while (r == -EAGAIN);
    }
    if (r == 0) {
        blk_vec_put(to, s.chunk[index]);
        mend(x, &s, index);
    }
    range_give(&x->ranges, &hold);
    raid_stripe_fini(&s);
    return r == 0 ? member_save(&x->set) : r;
}
