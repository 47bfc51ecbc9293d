/* io.c - the file below an image, tables that are held whole, walks over all tables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/snapshot.h"

#define TABLE_BLOCK_MOST BLK_BLOCK_MOST_BYTES

int qcow2_io_readv(struct blk *disk, struct blk_vec to, uint64_t at)
{
    uint64_t end = blk_size(disk);
    size_t inside;

    if (at + to.bytes <= end) {
        return blk_readv(disk, to, at);
    }
    inside = at < end ? (size_t)(end - at) : 0;
    blk_vec_zero(blk_vec_part(to, inside, to.bytes - inside));
    return inside > 0 ? blk_readv(disk, blk_vec_part(to, 0, inside), at) : 0;
}

int qcow2_io_read(struct qcow2 *q, void *to, size_t bytes, uint64_t at)
{
    struct iovec piece;

    return qcow2_io_readv(qcow2_file(q), blk_vec_of(&piece, to, bytes), at);
}

int qcow2_io_write(struct qcow2 *q, const void *from, size_t bytes, uint64_t at)
{
    return blk_write(qcow2_file(q), from, bytes, at, 0);
}

int qcow2_io_zero(struct qcow2 *q, uint64_t at, uint64_t bytes)
{
    return blk_zero(qcow2_file(q), at, bytes, 0);
}

static uint32_t block_of(const struct qcow2 *q)
{
    return qcow2_file(q)->block_bytes;
}

static size_t whole_blocks(const struct qcow2 *q, uint32_t count)
{
    size_t block = block_of(q);

    return ((size_t)count * 8 + block - 1) / block * block;
}

int qcow2_io_table(struct qcow2 *q, uint64_t at, uint32_t count, uint64_t **ret)
{
    size_t bytes = whole_blocks(q, count);
    uint64_t *entry = fault_aligned(4096, bytes + 8);
    int r = entry == NULL ? -ENOMEM : 0;

    if (r == 0 && bytes > 0) {
        r = qcow2_io_read(q, entry, bytes, at);
    }
    if (r != 0) {
        free(entry);
        return r;
    }
    for (uint32_t i = 0; i < count; i++) {
        entry[i] = be64toh(entry[i]);
    }
    *ret = entry;
    return 0;
}

int qcow2_io_put_table(struct qcow2 *q, const uint64_t *entry, uint32_t count,
                       uint64_t at)
{
    size_t bytes = whole_blocks(q, count);
    SCOPED(scope_free) uint64_t *out = fault_aligned(4096, bytes + 8);

    if (out == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = htobe64(entry[i]);
    }
    return bytes > 0 ? qcow2_io_write(q, out, bytes, at) : 0;
}

int qcow2_table_init(struct qcow2 *q, struct qcow2_table *t, uint64_t at, uint32_t count)
{
    struct qcow2_table n = {.at = at, .count = count};
    size_t blocks = whole_blocks(q, count) / block_of(q);
    int r = qcow2_io_table(q, at, count, &n.entry);

    if (r != 0) {
        return r;
    }
    n.dirty = fault_calloc(1, blocks + 1);
    if (n.dirty == NULL) {
        free(n.entry);
        return -ENOMEM;
    }
    qcow2_table_fini(t);
    *t = n;
    return 0;
}

void qcow2_table_fini(struct qcow2_table *t)
{
    free(t->entry);
    free(t->dirty);
    *t = (struct qcow2_table){0};
}

void qcow2_table_set(struct qcow2 *q, struct qcow2_table *t, uint32_t i, uint64_t v)
{
    uint32_t block = i / (block_of(q) / 8);

    t->entry[i] = v;
    if (t->dirty[block] == 0) {
        t->dirty[block] = 1;
        t->dirty_count++;
    }
}

/* ---- walks ---- */

static int walk_table(struct qcow2_walk *w, uint8_t *room, uint64_t at)
{
    struct qcow2 *q = w->q;
    bool changed = false;
    int r = qcow2_io_read(q, room, q->cluster_bytes, at);

    for (uint32_t i = 0; r == 0 && i < q->cluster_bytes; i += q->entry_bytes) {
        if (qcow2_get64(room + i) != 0) {
            r = w->cluster(w, room + i);
            changed |= r == 1;
            r = r == 1 ? 0 : r;
        }
    }
    if (r == 0 && changed) {
        qcow2_cache_drop(q, at, q->cluster_bytes);
        r = qcow2_io_write(q, room, q->cluster_bytes, at);
    }
    return r;
}

int qcow2_walk(struct qcow2_walk *w, uint64_t *l1, uint32_t count)
{
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, w->q->cluster_bytes);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint32_t i = 0; r == 0 && i < count; i++) {
        if (l1[i] == 0) {
            continue;
        }
        r = w->table(w, &l1[i]);
        if (r == 0 && w->cluster != NULL) {
            r = walk_table(w, room, l1[i] & QCOW2_OFFSET);
        }
        r = r == 1 ? 0 : r;
    }
    return r;
}
