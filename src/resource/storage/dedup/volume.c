/* volume.c - the disk of one volume: its part of the map. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "contract/blk_ops.h"
#include "resource/storage/dedup/private.h"

struct volume {
    struct blk blk;
    struct blk_edge edge; /* the disk of the store: seen in the graph */
    struct dedup *store;
    char name[DEDUP_NAME_BYTES];
    uint64_t first; /* of its entries in the map */
    struct range_lock blocks;
};

static struct volume *volume_of(struct blk *b)
{
    return (struct volume *)b;
}

/* The bytes of a slot, compared with its address. */
static int read_checked(struct dedup *s, uint64_t slot, uint8_t *to)
{
    uint8_t hash[DEDUP_HASH_BYTES];
    struct page *page;
    const uint8_t *entry;
    int r = dedup_read_slot(s, slot, to);

    r = r == 0 ? pages_take(&s->entries, slot, &page) : r;
    if (r != 0) {
        return r;
    }
    sha256_sum(to, DEDUP_BLOCK_BYTES, hash);
    entry = pages_entry(&s->entries, page, slot);
    if (entry == NULL || memcmp(entry, hash, sizeof hash) != 0) {
        s->damaged++;
        r = -EILSEQ;
    }
    pages_give(&s->entries, page);
    return r;
}

static int volume_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct volume *v = volume_of(b);
    struct range_hold hold = {.first = off, .end = off + to.bytes, .shares = true};
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, DEDUP_BLOCK_BYTES);
    int r = room == NULL ? -ENOMEM : 0;

    range_take(b->strands, &v->blocks, &hold); /* no slot is taken from under us */
    for (size_t at = 0; r == 0 && at < to.bytes; at += DEDUP_BLOCK_BYTES) {
        struct blk_vec part = blk_vec_part(to, at, DEDUP_BLOCK_BYTES);
        uint64_t value = 0;

        r = dedup_look_up(v->store, v->first + (off + at) / DEDUP_BLOCK_BYTES, &value);
        if (r == 0 && value == 0) {
            blk_vec_zero(part);
        } else if (r == 0) {
            r = read_checked(v->store, value - 1, room);
            if (r == 0) {
                blk_vec_put(part, room);
            }
        }
    }
    range_give(&v->blocks, &hold);
    return r;
}

static int volume_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct volume *v = volume_of(b);
    struct range_hold hold = {.first = off, .end = off + from.bytes};
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, DEDUP_BLOCK_BYTES);
    int r = room == NULL ? -ENOMEM : 0;

    (void)flags;
    range_take(b->strands, &v->blocks, &hold);
    for (size_t at = 0; r == 0 && at < from.bytes; at += DEDUP_BLOCK_BYTES) {
        struct blk_vec part = blk_vec_part(from, at, DEDUP_BLOCK_BYTES);
        bool zeros;

        blk_vec_take(part, room); /* a guest may change its buffer meanwhile */
        zeros = room[0] == 0 && memcmp(room, room + 1, DEDUP_BLOCK_BYTES - 1) == 0;
        r = dedup_point(v->store, v->first + (off + at) / DEDUP_BLOCK_BYTES,
                        zeros ? NULL : room);
    }
    range_give(&v->blocks, &hold);
    return r;
}

static int volume_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct volume *v = volume_of(b);
    struct range_hold hold = {.first = off, .end = off + bytes};
    int r = 0;

    (void)flags;
    range_take(b->strands, &v->blocks, &hold);
    for (uint64_t at = 0; r == 0 && at < bytes; at += DEDUP_BLOCK_BYTES) {
        r = dedup_point(v->store, v->first + (off + at) / DEDUP_BLOCK_BYTES, NULL);
    }
    range_give(&v->blocks, &hold);
    return r;
}

static int volume_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return volume_zero(b, off, bytes, 0);
}

static int volume_flush(struct blk *b)
{
    return dedup_commit(volume_of(b)->store);
}

static int volume_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct volume *v = volume_of(b);
    uint64_t value = 0;
    uint64_t next = 0;
    int r = dedup_look_up(v->store, v->first + off / DEDUP_BLOCK_BYTES, &value);

    *ret = (struct blk_extent){.bytes = DEDUP_BLOCK_BYTES,
                               .state = value == 0 ? 0 : BLK_DATA | BLK_ALLOCATED};
    while (r == 0 && ret->bytes < bytes) {
        r = dedup_look_up(v->store, v->first + (off + ret->bytes) / DEDUP_BLOCK_BYTES,
                          &next);
        if (r != 0 || (next == 0) != (value == 0)) {
            break;
        }
        ret->bytes += DEDUP_BLOCK_BYTES;
    }
    return r;
}

/* Blocks behind a smaller end are given up before the volume is told to end there. */
static int volume_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct volume *v = volume_of(b);
    struct range_hold all = {.end = UINT64_MAX};
    int r = size_bytes == 0 ? -EINVAL : 0;

    range_take(b->strands, &v->blocks, &all);
    for (uint64_t at = size_bytes; r == 0 && at < b->size_bytes;
         at += DEDUP_BLOCK_BYTES) {
        r = dedup_point(v->store, v->first + at / DEDUP_BLOCK_BYTES, NULL);
    }
    r = r == 0 ? dedup_row_resize(v->store, v->name, size_bytes / DEDUP_BLOCK_BYTES) : r;
    if (r == 0) {
        b->size_bytes = size_bytes;
    }
    range_give(&v->blocks, &all);
    return r == 0 ? 0
                  : err_sys(e, r,
                            r == -ENOSPC ? "cannot resize '%s': the store has no room "
                                           "for a larger map"
                                         : "cannot resize '%s'",
                            b->label);
}

static int volume_quiesce(struct blk *b)
{
    return b->read_only ? 0 : dedup_commit(volume_of(b)->store);
}

static void volume_destroy(struct blk *b)
{
    struct volume *v = volume_of(b);

    for (unsigned i = 0; i < v->store->rows; i++) {
        if (strcmp(v->store->row[i].name, v->name) == 0) {
            v->store->row[i].open = false;
        }
    }
    dedup_unref(v->store);
    blk_detach(&v->edge);
    free(v);
}

static const struct blk_ops volume_ops = {
    .name = "dedup",
    .read = volume_read,
    .write = volume_write,
    .zero = volume_zero,
    .discard = volume_discard,
    .flush = volume_flush,
    .status = volume_status,
    .resize = volume_resize,
    .quiesce = volume_quiesce,
    .destroy = volume_destroy,
};

int dedup_volume_open(struct dedup *s, const char *name, struct blk **ret_disk,
                      struct err *e)
{
    struct volume_row *row = dedup_row(s, name);
    struct volume *v;
    int r;

    if (row == NULL || row->open) {
        return err_set(e, row == NULL ? -ENOENT : -EBUSY, "cannot open volume '%s'",
                       name);
    }
    v = fault_calloc(1, sizeof *v);
    if (v == NULL) {
        return err_sys(e, -ENOMEM, "cannot open volume '%s'", name);
    }
    blk_init_like(&v->blk, &volume_ops, s->disk.disk);
    v->edge = (struct blk_edge){.user = "volume", .lets = BLK_USE_ALL};
    r = blk_attach(&v->edge, s->disk.disk, e);
    if (r != 0) {
        free(v);
        return r;
    }
    memcpy(v->name, row->name, sizeof v->name);
    v->blk.label = v->name;
    v->blk.size_bytes = row->blocks * DEDUP_BLOCK_BYTES;
    v->blk.block_bytes = DEDUP_BLOCK_BYTES;
    v->blk.zeroes_fast = true;
    v->blk.edge = &v->edge;
    v->blk.edge_count = 1;
    v->first = row->first;
    v->store = s;
    row->open = true;
    s->users++;
    *ret_disk = &v->blk;
    return 0;
}

int dedup_get(struct dedup *s, const uint8_t hash[DEDUP_HASH_BYTES],
              uint8_t to[DEDUP_BLOCK_BYTES])
{
    struct range_hold gate = {.end = 1, .shares = true};
    uint64_t slot;
    int r;

    range_take(s->disk.disk->strands, &s->gate, &gate);
    r = dedup_find(s, hash, &slot);
    r = r == 0 ? read_checked(s, slot, to) : r;
    range_give(&s->gate, &gate);
    return r;
}
