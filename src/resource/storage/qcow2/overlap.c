/* overlap.c - which host clusters hold metadata, so that nothing else is written there.
 *
 * A hash with linear probing: cluster << 3 | use; 0 is an empty place.  A cluster that
 * stops being metadata stays with `USE_NONE` until the hash grows.  It has the active
 * tables, the tables of reference counts and what the header names; L2 tables of
 * snapshots are not in it, as reading them all would make opening slow. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/qcow2/parts.h"

#define LEAST_ROOM 256u

static uint32_t place_of(uint64_t cluster, uint32_t room)
{
    return (uint32_t)(cluster * 0x9e3779b97f4a7c15u >> 32) & (room - 1);
}

static uint64_t *find(uint64_t *uses, uint32_t room, uint64_t cluster)
{
    uint32_t i = place_of(cluster, room);

    while (uses[i] != 0 && uses[i] >> 3 != cluster) {
        i = (i + 1) & (room - 1);
    }
    return &uses[i];
}

enum qcow2_use qcow2_uses_of(const struct qcow2 *q, uint64_t cluster)
{
    return q->uses_room == 0
               ? USE_NONE
               : (enum qcow2_use)(*find(q->uses, q->uses_room, cluster) & 7);
}

static int grow(struct qcow2 *q)
{
    uint32_t room = q->uses_room == 0 ? LEAST_ROOM : 2 * q->uses_room;
    uint64_t *uses = fault_calloc(room, sizeof *uses);

    if (uses == NULL) {
        return -ENOMEM;
    }
    q->uses_count = 0;
    for (uint32_t i = 0; i < q->uses_room; i++) {
        if ((q->uses[i] & 7) != USE_NONE) {
            *find(uses, room, q->uses[i] >> 3) = q->uses[i];
            q->uses_count++;
        }
    }
    free(q->uses);
    q->uses = uses;
    q->uses_room = room;
    return 0;
}

int qcow2_uses_set(struct qcow2 *q, uint64_t cluster, uint64_t count, enum qcow2_use use)
{
    for (uint64_t i = cluster; i < cluster + count; i++) {
        uint64_t *at;

        if (2 * (q->uses_count + 1) > q->uses_room && grow(q) != 0) {
            return -ENOMEM;
        }
        at = find(q->uses, q->uses_room, i);
        q->overlaps |= use != USE_NONE && (*at & 7) != USE_NONE;
        q->uses_count += *at == 0;
        *at = i << 3 | use;
    }
    return 0;
}

static int set_bytes(struct qcow2 *q, uint64_t at, uint64_t bytes, enum qcow2_use use)
{
    uint64_t c = q->cluster_bytes;

    return bytes == 0 ? 0 : qcow2_uses_set(q, at / c, (bytes + c - 1) / c, use);
}

int qcow2_uses_build(struct qcow2 *q)
{
    const struct qcow2_header *h = &q->header;
    int r;

    free(q->uses);
    q->uses = NULL;
    q->uses_room = 0;
    q->uses_count = 0;
    q->overlaps = false;
    r = qcow2_uses_set(q, 0, 1, USE_HEADER);
    r = r != 0 ? r : set_bytes(q, h->l1_at, (uint64_t)h->l1_count * 8, USE_L1);
    r = r != 0 ? r
               : qcow2_uses_set(q, h->rt_at / q->cluster_bytes, h->rt_clusters, USE_RT);
    for (uint32_t i = 0; r == 0 && i < q->l1.count; i++) {
        uint64_t at = q->l1.entry[i] & QCOW2_OFFSET;

        r = at != 0 ? set_bytes(q, at, 1, USE_L2) : 0;
    }
    for (uint32_t i = 0; r == 0 && i < q->rt.count; i++) {
        uint64_t at = q->rt.entry[i] & ~QCOW2_RT_RESERVED;

        r = at != 0 ? set_bytes(q, at, 1, USE_REF) : 0;
    }
    r = r != 0 ? r : set_bytes(q, h->crypt_at, h->crypt_bytes, USE_OTHER);
    r = r != 0 ? r : set_bytes(q, h->bitmaps_at, h->bitmaps_bytes, USE_OTHER);
    return r != 0 ? r : qcow2_snapshots_claim(q);
}

int qcow2_is_corrupt(struct qcow2 *q)
{
    if (!q->corrupt && !q->blk.read_only) {
        q->corrupt = true;
        if (q->header.version == 3) {
            q->header.incompatible |= QCOW2_CORRUPT;
            (void)qcow2_header_store(q);
        }
    }
    return -EUCLEAN;
}

int qcow2_uses_check(struct qcow2 *q, uint64_t at, uint64_t bytes, enum qcow2_use use)
{
    uint64_t end = (at + bytes - 1) / q->cluster_bytes;

    for (uint64_t i = at / q->cluster_bytes; i <= end; i++) {
        if (qcow2_uses_of(q, i) != use) {
            return qcow2_is_corrupt(q);
        }
    }
    return 0;
}
