/* mirror_copy.c - making members equal while the disk is in use.
 *
 * One strand goes over the regions that members lack, holds each against writers, reads
 * it from a member that has it and writes it to the one that does not.  Writes go to all
 * members meanwhile, so a region that was copied stays equal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/redundancy/mirror_private.h"

#define STEP_BYTES 262144u

void mirror_add_pending(struct mirror *m, unsigned role, uint64_t region)
{
    if (m->pending[role][region] == 0) {
        m->pending[role][region] = 1;
        m->pending_count[role]++;
    }
}

void mirror_drop_pending(struct mirror *m, unsigned role, uint64_t region)
{
    if (m->pending[role][region] != 0) {
        m->pending[role][region] = 0;
        m->pending_count[role]--;
    }
}

static int copy_bytes(struct mirror *m, unsigned from, unsigned to, uint64_t off,
                      uint64_t bytes)
{
    SCOPED(scope_free) char *room = fault_aligned(4096, STEP_BYTES);
    int r = room == NULL ? -ENOMEM : 0;

    while (r == 0 && bytes > 0) {
        size_t n = bytes < STEP_BYTES ? (size_t)bytes : STEP_BYTES;

        r = blk_read(m->set.edge[from].disk, room, n, m->set.data_at + off);
        if (r != 0) {
            m->set.member[from].errors++;
            return r;
        }
        r = blk_write(m->set.edge[to].disk, room, n, m->set.data_at + off, 0);
        if (r != 0) {
            m->set.member[to].errors++;
            return mirror_lose(m, to) ? 0 : r;
        }
        m->copied_bytes += n;
        off += n;
        bytes -= n;
    }
    return r;
}

static int copy_region(struct mirror *m, unsigned role, uint64_t region)
{
    uint64_t unit = m->set.unit_bytes;
    struct range_hold hold = {.first = region * unit, .end = (region + 1) * unit};
    int from;
    int r = 0;

    hold.end = hold.end < m->set.size ? hold.end : m->set.size;
    range_take(m->blk.strands, &m->ranges, &hold);
    from = mirror_pick(m, region, region + 1, (int)role);
    if (m->pending[role][region] != 0 && member_is_live(&m->set.member[role])) {
        r = from < 0
                ? -EIO
                : copy_bytes(m, (unsigned)from, role, hold.first, hold.end - hold.first);
        if (r == 0 && member_is_live(&m->set.member[role])) {
            mirror_drop_pending(m, role, region);
        }
    }
    range_give(&m->ranges, &hold);
    return r;
}

/* All was copied: durable first, then it is told to all. */
static int come_in(struct mirror *m, unsigned role)
{
    struct member *x = &m->set.member[role];
    int r = blk_flush(m->set.edge[role].disk);

    if (r != 0) {
        x->errors++;
        return mirror_lose(m, role) ? member_save(&m->set) : r;
    }
    if (m->pending_count[role] == 0 && x->state == MEMBER_REBUILDING) {
        x->state = m->set.async ? MEMBER_FOLLOWS : MEMBER_IN_SYNC;
        x->lacks_all = false;
        m->set.unsaved = true;
    }
    return member_save(&m->set);
}

static bool has_work(const struct mirror *m, unsigned role)
{
    return member_is_live(&m->set.member[role]) &&
           (m->pending_count[role] > 0 || m->set.member[role].state == MEMBER_REBUILDING);
}

static int copy_member(struct mirror *m, unsigned role)
{
    uint64_t region = 0;
    int r = 0;

    while (r == 0 && !m->stop && has_work(m, role) && m->pending_count[role] > 0) {
        const uint8_t *next =
            memchr(m->pending[role] + region, 1, (size_t)(m->intent.regions - region));

        if (next == NULL) {
            region = 0;
            continue;
        }
        region = (uint64_t)(next - m->pending[role]);
        r = copy_region(m, role, region);
    }
    if (r == 0 && !m->stop && has_work(m, role)) {
        r = come_in(m, role);
    }
    return r;
}

static void copy_strand(void *arg)
{
    struct mirror *m = arg;

    for (unsigned i = 0; i < m->set.count && !m->stop; i++) {
        if (has_work(m, i) && copy_member(m, i) != 0) {
            m->copy_failed = true;
        }
    }
    if (member_save(&m->set) != 0) {
        m->copy_failed = true;
    }
    m->copying = false;
    (void)strand_wake_all(&m->copy_ended);
}

void mirror_kick(struct mirror *m)
{
    bool work = false;

    for (unsigned i = 0; i < m->set.count; i++) {
        work = work || has_work(m, i);
    }
    if (!work || m->blk.read_only || m->copying || m->stop || m->copy_failed) {
        return;
    }
    m->copying = true;
    if (strand_start(m->blk.strands, copy_strand, m) != 0) {
        m->copying = false; /* the next request tries again */
    }
}
