/* mirror_scrub.c - whether all members have the same, while the mirror is in use.
 *
 * A region is held against writers while it is read from each member, so that a write that is
 * under way is not taken for a difference.  One that follows has to have all that is queued
 * for the region first.  Regions that a member is known to lack are left to the copy that makes
 * it equal.  Which of two copies is right nobody can tell here: the first that can be read
 * counts, as it does after a power cut. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/redundancy/mirror_private.h"

#define STEP_BYTES 262144u

struct compare {
    struct mirror *m;
    char *first; /* of STEP_BYTES each */
    char *other;
    int source;   /* who was read into `first`; -1: nobody could be */
    unsigned bad; /* bits of those that differ, or could not be read */
};

static bool is_compared(const struct mirror *m, unsigned role, uint64_t region)
{
    const struct member *x = &m->set.member[role];

    return member_is_live(x) && m->pending[role][region] == 0 && !x->lacks_all &&
           x->state != MEMBER_REBUILDING;
}

/* A part of a region, of all members. */
static void read_all(struct compare *c, uint64_t region, uint64_t off, size_t bytes)
{
    struct mirror *m = c->m;

    c->source = -1;
    c->bad = 0;
    for (unsigned i = 0; i < m->set.count; i++) {
        char *to = c->source < 0 ? c->first : c->other;
        int r;

        if (!is_compared(m, i, region)) {
            continue;
        }
        r = blk_read(m->set.edge[i].disk, to, bytes, m->set.data_at + off);
        if (r != 0) {
            m->set.member[i].errors++;
            c->bad |= 1u << i;
        } else if (c->source < 0) {
            c->source = (int)i;
        } else if (memcmp(c->first, c->other, bytes) != 0) {
            c->bad |= 1u << i;
        }
    }
}

static int mend(struct compare *c, uint64_t off, size_t bytes)
{
    struct mirror *m = c->m;

    for (unsigned i = 0; i < m->set.count; i++) {
        if ((c->bad >> i & 1) != 0 && member_is_live(&m->set.member[i]) &&
            blk_write(m->set.edge[i].disk, c->first, bytes, m->set.data_at + off,
                      BLK_FUA) != 0) {
            m->set.member[i].errors++;
            if (!mirror_lose(m, i)) {
                return -EIO;
            }
        }
    }
    return member_save(&m->set);
}

static int scrub_region(struct compare *c, struct mirror_scrub *s, uint64_t region)
{
    struct mirror *m = c->m;
    uint64_t unit = m->set.unit_bytes;
    struct range_hold hold = {.first = region * unit, .end = (region + 1) * unit};
    bool wrong = false;
    bool mended = true;
    int r = 0;

    hold.end = hold.end < m->set.size ? hold.end : m->set.size;
    range_take(m->blk.strands, &m->ranges, &hold);
    mirror_wait_followed(m, hold.first, hold.end - hold.first);
    for (uint64_t off = hold.first; r == 0 && off < hold.end; off += STEP_BYTES) {
        uint64_t left = hold.end - off;
        size_t n = left < STEP_BYTES ? (size_t)left : STEP_BYTES;

        read_all(c, region, off, n);
        wrong = wrong || c->bad != 0;
        if (c->bad != 0 && (c->source < 0 || !s->mend || m->blk.read_only)) {
            mended = false;
        } else if (c->bad != 0) {
            r = mend(c, off, n);
        }
    }
    range_give(&m->ranges, &hold);
    s->regions++;
    s->wrong += wrong;
    s->mended += wrong && mended && r == 0;
    return r;
}

int mirror_scrub(struct blk *b, struct mirror_scrub *s)
{
    struct mirror *m = mirror_of(b);
    SCOPED(scope_free) char *first = fault_aligned(4096, STEP_BYTES);
    SCOPED(scope_free) char *other = fault_aligned(4096, STEP_BYTES);
    struct compare c = {.m = m, .first = first, .other = other};
    int r = first == NULL || other == NULL ? -ENOMEM : 0;

    for (uint64_t i = 0; r == 0 && i * m->set.unit_bytes < m->set.size; i++) {
        r = scrub_region(&c, s, i);
        if (r == 0 && s->progress != NULL) {
            r = s->progress(s->arg, (i + 1) * m->set.unit_bytes, m->set.size);
        }
    }
    return r;
}
