/* raid_copy.c - the bytes of a replaced member, stripe by stripe, and scrubbing.
 *
 * A stripe is held while it is worked on; stripes before `done` have the new member as one
 * of them already.  `done` is put down now and then, behind a flush of the member, so
 * that a rebuild goes on where it was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "resource/storage/redundancy/gf.h"
#include "resource/storage/redundancy/raid_private.h"

#define SAVE_BYTES ((uint64_t)64 << 20) /* of a member, between two savings */

static unsigned index_of(const struct raid *x, uint64_t stripe, unsigned role)
{
    unsigned i = 0;

    while (raid_role(x, stripe, i) != role) {
        i++;
    }
    return i;
}

/* Load all that can be read; what cannot is recovered. */
static int load_whole(struct raid *x, struct raid_stripe *s, unsigned unreadable,
                      unsigned *ret_unreadable)
{
    unsigned failed;
    int r;

    do {
        r = raid_stripe_load(x, s, unreadable, &failed);
        unreadable |= failed;
    } while (r == -EAGAIN);
    *ret_unreadable = unreadable;
    return r;
}

static int copy_stripe(struct raid *x, unsigned role)
{
    struct member *m = &x->set.member[role];
    struct raid_stripe s = {.number = m->done, .hi = x->chunk};
    struct range_hold hold = {.first = m->done, .end = m->done + 1};
    unsigned unreadable;
    unsigned index;
    int r = raid_stripe_init(x, &s);

    if (r != 0) {
        return r;
    }
    index = index_of(x, s.number, role);
    range_take(x->blk.strands, &x->ranges, &hold);
    r = raid_unstick(x, s.number);
    r = r == 0 ? load_whole(x, &s, 0, &unreadable) : r;
    if (r == 0 && index >= x->data) {
        raid_stripe_parity(x, &s, 1u << index);
    }
    if (r == 0 && m->state == MEMBER_REBUILDING) {
        r = blk_write(x->set.edge[role].disk, s.chunk[index], x->chunk,
                      x->set.data_at + s.number * x->chunk, 0);
        if (r != 0) {
            m->errors++;
            (void)member_drop(&x->set, role);
        } else {
            m->done++;
        }
    }
    range_give(&x->ranges, &hold);
    raid_stripe_fini(&s);
    return r;
}

/* Durable first, then told to all. */
static int put_down(struct raid *x, unsigned role, bool finished)
{
    struct member *m = &x->set.member[role];
    int r = blk_flush(x->set.edge[role].disk);

    if (r != 0) {
        m->errors++;
        (void)member_drop(&x->set, role);
    } else if (finished && m->state == MEMBER_REBUILDING) {
        m->state = MEMBER_IN_SYNC;
        m->lacks_all = false;
    }
    x->set.unsaved = true;
    return member_save(&x->set);
}

static int rebuild(struct raid *x, unsigned role)
{
    struct member *m = &x->set.member[role];
    uint64_t every = SAVE_BYTES / x->chunk;
    int r = 0;

    while (r == 0 && !x->stop && m->state == MEMBER_REBUILDING && m->done < x->stripes) {
        r = copy_stripe(x, role);
        if (r == 0 && m->done % every == 0) {
            r = put_down(x, role, false);
        }
    }
    if (r == 0 && !x->stop && m->state == MEMBER_REBUILDING) {
        r = put_down(x, role, true);
    }
    return r;
}

static void copy_strand(void *arg)
{
    struct raid *x = arg;

    for (unsigned i = 0; i < x->set.count && !x->stop; i++) {
        if (member_is_live(&x->set.member[i]) &&
            x->set.member[i].state == MEMBER_REBUILDING && rebuild(x, i) != 0) {
            x->copy_failed = true;
        }
    }
    if (member_save(&x->set) != 0) {
        x->copy_failed = true;
    }
    x->copying = false;
    (void)strand_wake_all(&x->copy_ended);
}

void raid_kick(struct raid *x)
{
    bool work = false;

    for (unsigned i = 0; i < x->set.count; i++) {
        work = work || (member_is_live(&x->set.member[i]) &&
                        x->set.member[i].state == MEMBER_REBUILDING);
    }
    if (!work || x->blk.read_only || x->copying || x->stop || x->copy_failed) {
        return;
    }
    x->copying = true;
    if (strand_start(x->blk.strands, copy_strand, x) != 0) {
        x->copying = false; /* the next request tries again */
    }
}

/* ---- scrubbing ---- */

/* The chunk of data that explains both differences, or -1.  For each byte that is wrong by d
 * in chunk z, P is wrong by d and Q by 2^z * d. */
static int find_wrong(const struct raid *x, const uint8_t *p, const uint8_t *q,
                      size_t rows)
{
    int found = -1;

    for (size_t i = 0; i < rows; i++) {
        unsigned z;

        if (p[i] == 0 && q[i] == 0) {
            continue;
        }
        if (p[i] == 0 || q[i] == 0) {
            return -1;
        }
        z = (gf_log(q[i]) + 255 - gf_log(p[i])) % 255;
        if (z >= x->data || (found >= 0 && found != (int)z)) {
            return -1;
        }
        found = (int)z;
    }
    return found;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* What has to be written so that the stripe is right; `was` has the parities as read, and
 * becomes how they differ. */
static unsigned find_mend(const struct raid *x, struct raid_stripe *s,
                          struct raid_stripe *was)
{
    size_t rows = s->hi;
    unsigned p = x->data;
    unsigned bad = 0;

    for (unsigned i = p; i < x->set.count; i++) {
        gf_add(was->chunk[i], s->chunk[i], rows);
        bad |= is_zero(was->chunk[i], rows) ? 0 : 1u << i;
    }
    if (x->parity == 2 && bad == 3u << p) {
        int z = find_wrong(x, was->chunk[p], was->chunk[p + 1], rows);

        if (z >= 0) { /* the data, not the parities: they say by how much */
            gf_add(s->chunk[z], was->chunk[p], rows);
            bad = 1u << z;
        }
    }
    return bad;
}

static int scrub_whole(struct raid *x, struct raid_stripe *s, struct raid_stripe *was,
                       struct raid_scrub *ret)
{
    unsigned usable = raid_usable(x, s->number);
    unsigned unreadable;
    int r = load_whole(x, s, 0, &unreadable);

    if (r != 0) {
        ret->wrong++;
        return r == -ENOMEM ? r
                            : 0; /* too many: it is counted, the others are looked at */
    }
    s->change = unreadable & usable;
    if (s->change == 0 && usable == (1u << x->set.count) - 1) {
        for (unsigned i = x->data; i < x->set.count; i++) {
            memcpy(was->chunk[i], s->chunk[i], s->hi);
        }
        raid_stripe_parity(x, s, usable & ~((1u << x->data) - 1));
        s->change = find_mend(x, s, was);
    } else {
        raid_stripe_parity(x, s, s->change & ~((1u << x->data) - 1));
    }
    ret->wrong += s->change != 0;
    if (s->change == 0 || !ret->mend) {
        return 0;
    }
    r = raid_stripe_write(x, s);
    ret->mended += r == 0;
    return r;
}

static int scrub_stripe(struct raid *x, uint64_t stripe, struct raid_scrub *ret)
{
    struct raid_stripe s = {.number = stripe, .hi = x->chunk};
    struct raid_stripe was = {.hi = x->chunk};
    struct range_hold hold = {.first = stripe, .end = stripe + 1};
    int r = raid_stripe_init(x, &s);

    r = r == 0 ? raid_stripe_init(x, &was) : r;
    if (r == 0) {
        range_take(x->blk.strands, &x->ranges, &hold);
        r = raid_unstick(x, stripe);
        r = r == 0 ? scrub_whole(x, &s, &was, ret) : r;
        range_give(&x->ranges, &hold);
    }
    raid_stripe_fini(&s);
    raid_stripe_fini(&was);
    return r == 0 ? member_save(&x->set) : r;
}

int raid_scrub(struct blk *b, struct raid_scrub *s)
{
    struct raid *x = raid_of(b);
    int r = 0;

    if (x->parity == 0) {
        return -EOPNOTSUPP;
    }
    for (uint64_t i = 0; r == 0 && !x->stop && i < x->stripes; i++) {
        r = scrub_stripe(x, i, s);
        s->stripes++;
        if (r == 0 && s->progress != NULL) {
            r = s->progress(s->arg, (i + 1) * x->chunk * x->data, x->set.size);
        }
    }
    return r;
}

/* ---- other ways to read ---- */

int raid_read_copy(struct blk *b, unsigned copy, struct blk_vec to, uint64_t off)
{
    struct raid *x = raid_of(b);
    uint64_t width = (uint64_t)x->chunk * x->data;
    uint64_t stripe = off / width;
    unsigned index = (unsigned)(off % width / x->chunk);
    uint32_t row = (uint32_t)(off % x->chunk);
    struct raid_stripe s = {.number = stripe, .lo = row, .hi = row + (uint32_t)to.bytes};
    struct range_hold hold = {.first = stripe, .end = stripe + 1, .shares = true};
    unsigned unreadable;
    int r;

    if (copy > x->parity) {
        return -ENOENT;
    }
    if (to.bytes > x->chunk - row) {
        return -EINVAL;
    }
    r = raid_stripe_init(x, &s);
    if (r != 0) {
        return r;
    }
    range_take(b->strands, &x->ranges, &hold);
    unreadable = copy == 0 ? 0 : 1u << index | (copy == 2 ? 1u << x->data : 0);
    if (copy == 0 && (raid_usable(x, stripe) >> index & 1) != 0) {
        r = raid_stripe_read(x, &s, 1u << index, &unreadable);
    } else if (copy == 0) {
        r = -ENODEV;
    } else {
        r = load_whole(x, &s, unreadable, &unreadable);
        r = r == -EIO ? -ENODEV : r;
    }
    if (r == 0) {
        blk_vec_put(to, s.chunk[index]);
    }
    range_give(&x->ranges, &hold);
    raid_stripe_fini(&s);
    return r;
}
