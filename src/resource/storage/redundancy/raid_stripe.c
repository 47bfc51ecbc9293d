/* raid_stripe.c - one stripe in memory: reads, writes, parities, and what can be recovered.
 *
 * P is the sum of the data, Q the sum of 2^i times chunk i (gf.c).  With one chunk of data
 * missing either of them gives it; with two, x before y, both:
 *
 *      Pxy = P + sum of the others        = Dx + Dy
 *      Qxy = Q + sum of 2^i * the others  = 2^x * Dx + 2^y * Dy
 *      Dx  = (2^(y-x) * Pxy + 2^-x * Qxy) / (2^(y-x) + 1)
 *
 * ("The mathematics of RAID-6", H. P. Anvin, 2011, section 4). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "resource/storage/redundancy/gf.h"
#include "resource/storage/redundancy/raid_private.h"

/* The parity goes round from the last member to the first, the data begin behind it. */
unsigned raid_role(const struct raid *x, uint64_t stripe, unsigned index)
{
    unsigned n = x->set.count;
    unsigned p = n - 1 - (unsigned)(stripe % n);

    if (x->parity == 0) {
        return index;
    }
    if (index >= x->data) {
        return (p + index - x->data) % n;
    }
    return (p + x->parity + index) % n;
}

unsigned raid_usable(const struct raid *x, uint64_t stripe)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < x->set.count; i++) {
        const struct member *m = &x->set.member[raid_role(x, stripe, i)];

        if (member_is_live(m) && (m->state == MEMBER_IN_SYNC || stripe < m->done)) {
            bits |= 1u << i;
        }
    }
    return bits;
}

int raid_stripe_init(struct raid *x, struct raid_stripe *s)
{
    size_t rows = s->hi - s->lo;
    size_t room = (rows + 4095) & ~(size_t)4095;
    uint8_t *all = fault_aligned(4096, room * x->set.count);

    if (all == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < x->set.count; i++) {
        s->chunk[i] = all + i * room;
    }
    s->have = 0;
    s->change = 0;
    return 0;
}

void raid_stripe_fini(struct raid_stripe *s)
{
    free(s->chunk[0]);
    s->chunk[0] = NULL;
}

/* Run one request for each of the chunks `which`; bits of those that failed. */
static unsigned run(struct raid *x, struct raid_stripe *s, enum blk_kind kind,
                    unsigned which, int *ret_why)
{
    struct blk_request request[RAID_MOST];
    struct iovec piece[RAID_MOST];
    unsigned index[RAID_MOST];
    unsigned failed = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < x->set.count; i++) {
        if ((which >> i & 1) != 0) {
            piece[n] = (struct iovec){s->chunk[i], s->hi - s->lo};
            request[n] = (struct blk_request){
                .disk = x->set.edge[raid_role(x, s->number, i)].disk,
                .kind = kind,
                .off = x->set.data_at + s->number * x->chunk + s->lo,
                .vec = {.iov = &piece[n], .bytes = s->hi - s->lo},
            };
            index[n++] = i;
        }
    }
    *ret_why = member_run(request, n);
    for (unsigned i = 0; *ret_why != 0 && i < n; i++) {
        if (request[i].result != 0) {
            failed |= 1u << index[i];
            x->set.member[raid_role(x, s->number, index[i])].errors++;
        }
    }
    return failed;
}

int raid_stripe_read(struct raid *x, struct raid_stripe *s, unsigned which,
                     unsigned *ret_failed)
{
    int r;

    *ret_failed = run(x, s, BLK_READ, which, &r);
    s->have |= which & ~*ret_failed;
    return r;
}

int raid_stripe_write(struct raid *x, struct raid_stripe *s)
{
    unsigned failed;
    int why;
    int r = 0;

    failed = run(x, s, BLK_WRITE, s->change & raid_usable(x, s->number), &why);
    for (unsigned i = 0; i < x->set.count; i++) {
        if ((failed >> i & 1) != 0 && !member_drop(&x->set, raid_role(x, s->number, i))) {
            r = why;
        }
    }
    return r;
}

/* ---- parities ---- */

static void sum_p(const struct raid *x, const struct raid_stripe *s, unsigned skip,
                  uint8_t *to)
{
    for (unsigned i = 0; i < x->data; i++) {
        if ((skip >> i & 1) == 0) {
            gf_add(to, s->chunk[i], s->hi - s->lo);
        }
    }
}

static void sum_q(const struct raid *x, const struct raid_stripe *s, unsigned skip,
                  uint8_t *to)
{
    for (unsigned i = 0; i < x->data; i++) {
        if ((skip >> i & 1) == 0) {
            gf_mul_add(to, s->chunk[i], gf_power(i), s->hi - s->lo);
        }
    }
}

void raid_stripe_parity(const struct raid *x, struct raid_stripe *s, unsigned which)
{
    size_t rows = s->hi - s->lo;

    if ((which >> x->data & 1) != 0) {
        memset(s->chunk[x->data], 0, rows);
        sum_p(x, s, 0, s->chunk[x->data]);
    }
    if (x->parity == 2 && (which >> (x->data + 1) & 1) != 0) {
        memset(s->chunk[x->data + 1], 0, rows);
        sum_q(x, s, 0, s->chunk[x->data + 1]);
    }
    s->have |= which;
}

/* ---- recovery ---- */

static void one_by_p(const struct raid *x, struct raid_stripe *s, unsigned lost)
{
    memcpy(s->chunk[lost], s->chunk[x->data], s->hi - s->lo);
    sum_p(x, s, 1u << lost, s->chunk[lost]);
}

static void one_by_q(const struct raid *x, struct raid_stripe *s, unsigned lost)
{
    memcpy(s->chunk[lost], s->chunk[x->data + 1], s->hi - s->lo);
    sum_q(x, s, 1u << lost, s->chunk[lost]);
    gf_scale(s->chunk[lost], gf_div(1, gf_power(lost)), s->hi - s->lo);
}

static void two_by_both(const struct raid *x, struct raid_stripe *s, unsigned a,
                        unsigned b)
{
    size_t rows = s->hi - s->lo;
    uint8_t between = gf_power(b - a);
    uint8_t by_q = gf_div(gf_div(1, gf_power(a)), between ^ 1);
    uint8_t by_p = gf_div(between, between ^ 1);
    unsigned both = 1u << a | 1u << b;

    memcpy(s->chunk[b], s->chunk[x->data], rows);
    memcpy(s->chunk[a], s->chunk[x->data + 1], rows);
    sum_p(x, s, both, s->chunk[b]);
    sum_q(x, s, both, s->chunk[a]);
    gf_scale(s->chunk[a], by_q, rows);
    gf_mul_add(s->chunk[a], s->chunk[b], by_p, rows);
    gf_add(s->chunk[b], s->chunk[a], rows);
}

int raid_stripe_recover(const struct raid *x, struct raid_stripe *s, unsigned want)
{
    unsigned all = (1u << x->data) - 1;
    unsigned lost = all & ~s->have;
    bool p = (s->have >> x->data & 1) != 0;
    bool q = x->parity == 2 && (s->have >> (x->data + 1) & 1) != 0;
    int count = __builtin_popcount(lost);

    if (count == 1 && p) {
        one_by_p(x, s, (unsigned)__builtin_ctz(lost));
    } else if (count == 1 && q) {
        one_by_q(x, s, (unsigned)__builtin_ctz(lost));
    } else if (count == 2 && p && q) {
        two_by_both(x, s, (unsigned)__builtin_ctz(lost),
                    31 - (unsigned)__builtin_clz(lost));
    } else if (count > 0) {
        return -EIO;
    }
    s->have |= all;
    raid_stripe_parity(x, s, want & ~all & ~s->have);
    return 0;
}

int raid_stripe_load(struct raid *x, struct raid_stripe *s, unsigned unreadable,
                     unsigned *ret_failed)
{
    unsigned from = raid_usable(x, s->number) & ~unreadable;
    unsigned lost = x->set.count - (unsigned)__builtin_popcount(from);

    *ret_failed = 0;
    if (lost > x->parity) {
        return -EIO;
    }
    s->have = 0;
    if (raid_stripe_read(x, s, from, ret_failed) != 0) {
        return -EAGAIN;
    }
    return raid_stripe_recover(x, s, 0);
}
