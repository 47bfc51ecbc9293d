/* packed.c - compressed clusters.
 *
 * They lie at any byte of the file, one behind the other; a host cluster has as many
 * references as packed clusters touch it.  The one unpacked last is kept, as reads tend
 * to come in small steps.
 *
 * Deflate is raw (RFC 1951, without zlib's header); other implementations read it with a
 * window of 4 KiB, so it is written so.  A zstd frame may ask for a window as large as
 * it likes; more than `ZSTD_WINDOW_MOST` is refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/file_io.h"
#include "resource/storage/qcow2/parts.h"

#define DEFLATE_WINDOW   (-12) /* bits; negative: raw */
#define INFLATE_WINDOW   (-15)
#define ZSTD_WINDOW_MOST 23 /* bits: 8 MiB, four times the largest cluster */

static int inflate_whole(const uint8_t *from, size_t bytes, uint8_t *to, size_t to_bytes)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)from,
                  .avail_in = (uInt)bytes,
                  .next_out = to,
                  .avail_out = (uInt)to_bytes};
    int r;

    if (inflateInit2(&z, INFLATE_WINDOW) != Z_OK) {
        return -ENOMEM;
    }
    r = inflate(&z, Z_FINISH);
    r = (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
    (void)inflateEnd(&z);
    return r;
}

static int64_t deflate_whole(const uint8_t *from, size_t bytes, uint8_t *to,
                             size_t to_bytes)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)from,
                  .avail_in = (uInt)bytes,
                  .next_out = to,
                  .avail_out = (uInt)to_bytes};
    int64_t r;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW, 9,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return -ENOMEM;
    }
    r = deflate(&z, Z_FINISH) == Z_STREAM_END ? (int64_t)z.total_out : -ENOSPC;
    (void)deflateEnd(&z);
    return r;
}

static int unzstd_whole(const uint8_t *from, size_t bytes, uint8_t *to, size_t to_bytes)
{
    ZSTD_inBuffer in = {from, bytes, 0};
    ZSTD_outBuffer out = {to, to_bytes, 0};
    ZSTD_DCtx *z = ZSTD_createDCtx();
    int r = z == NULL ? -ENOMEM : 0;

    if (r == 0) {
        (void)ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_MOST);
    }
    while (r == 0 && out.pos < out.size) {
        size_t before = in.pos + out.pos;
        size_t n = ZSTD_decompressStream(z, &out, &in);

        if (ZSTD_isError(n) || in.pos + out.pos == before) {
            r = -EIO;
        }
    }
    (void)ZSTD_freeDCtx(z);
    return r;
}

static int unpack_bytes(enum qcow2_compression how, const uint8_t *from, size_t bytes,
                        uint8_t *to, size_t to_bytes)
{
    return how == QCOW2_ZSTD ? unzstd_whole(from, bytes, to, to_bytes)
                             : inflate_whole(from, bytes, to, to_bytes);
}

static int64_t pack_bytes(enum qcow2_compression how, const uint8_t *from, size_t bytes,
                          uint8_t *to, size_t to_bytes)
{
    size_t n;

    if (how == QCOW2_DEFLATE) {
        return deflate_whole(from, bytes, to, to_bytes);
    }
    n = ZSTD_compress(to, to_bytes, from, bytes, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(n) ? -ENOSPC : (int64_t)n;
}

/* ---- the way out ---- */

/* "Compressed Clusters Descriptor": the first byte, and those behind it. */
static uint64_t place_of(const struct qcow2 *q, uint64_t entry, size_t *ret_bytes)
{
    unsigned x = 62 - (q->header.cluster_bits - 8);
    uint64_t at = entry & (((uint64_t)1 << x) - 1);
    uint64_t sectors = ((entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> x) + 1;

    *ret_bytes = (size_t)(sectors * 512 - (at & 511));
    return at;
}

static int unpack(struct qcow2 *q, uint64_t entry, uint8_t *to)
{
    size_t bytes;
    uint64_t at = place_of(q, entry, &bytes);
    uint64_t mask = qcow2_file(q)->block_bytes - 1;
    uint64_t begin = at & ~mask;
    size_t whole = (size_t)(((at + bytes + mask) & ~mask) - begin);
    SCOPED(scope_free) uint8_t *from = fault_aligned(4096, whole);
    int r;

    if (from == NULL) {
        return -ENOMEM;
    }
    if (at >= blk_size(qcow2_file(q))) {
        return -EUCLEAN;
    }
    r = qcow2_io_read(q, from, whole, begin);
    return r != 0 ? r
                  : unpack_bytes((enum qcow2_compression)q->header.compression,
                                 from + (at - begin), bytes, to, q->cluster_bytes);
}

void qcow2_packed_forget(struct qcow2 *q)
{
    q->unpacked_entry = 0;
    q->unpacked_turn++;
}

int qcow2_packed_read(struct qcow2 *q, struct blk_vec to, uint64_t off, uint64_t entry)
{
    uint64_t turn = q->unpacked_turn;
    size_t from = (size_t)(off & (q->cluster_bytes - 1));
    uint8_t *room;
    int r;

    if (q->unpacked_entry == entry) {
        blk_vec_put(to, q->unpacked + from);
        return 0;
    }
    room = fault_malloc(q->cluster_bytes);
    r = room == NULL ? -ENOMEM : unpack(q, entry, room);
    if (r == 0) {
        blk_vec_put(to, room + from);
        if (turn == q->unpacked_turn) {
            uint8_t *old = q->unpacked;

            q->unpacked = room;
            q->unpacked_entry = entry;
            room = old;
        }
    }
    free(room);
    return r;
}

/* ---- the way in ---- */

struct packing {
    enum qcow2_compression how;
    const uint8_t *from;
    size_t bytes;
    uint8_t *to;
    int64_t result;
};

static int pack(void *arg)
{
    struct packing *p = arg;

    p->result = pack_bytes(p->how, p->from, p->bytes, p->to, p->bytes - 1);
    return 0;
}

/* One more reference to the host cluster that the next packed cluster begins in, if
 * it is partly used, still: it may have been freed since. */
static int pin_last(struct qcow2 *q, bool *ret_pinned)
{
    uint64_t at = q->packed_end;
    struct qcow2_slice *s;
    uint64_t refs;
    uint32_t i;
    int r;

    *ret_pinned = false;
    if (at % q->cluster_bytes == 0) {
        return 0;
    }
    r = qcow2_ref_slice(q, at / q->cluster_bytes, &s, &i);
    if (r != 0 || q->packed_end != at) {
        return r;
    }
    refs = qcow2_ref_read(q, s->data, i);
    if (refs > 0 && refs < qcow2_ref_most(q)) {
        qcow2_ref_write(q, s->data, i, refs + 1);
        qcow2_slice_dirty(q, s);
        *ret_pinned = true;
    }
    return 0;
}

/* Room for `bytes` behind the last packed cluster, its host clusters counted. */
static int find_place(struct qcow2 *q, size_t bytes, uint64_t *ret_at)
{
    uint64_t c = q->cluster_bytes;
    struct qcow2_run run = {0};
    uint64_t left;
    bool pinned;
    bool fresh;
    int r = pin_last(q, &pinned);

    left = pinned ? c - q->packed_end % c : 0;
    if (r == 0 && left < bytes) {
        r = qcow2_alloc(q, 1, 1, &run, &fresh);
    }
    if (pinned &&
        (r != 0 || (run.count > 0 && run.cluster * c != q->packed_end + left))) {
        (void)qcow2_ref_lower(q, q->packed_end / c, 1);
        pinned = false;
    }
    *ret_at = pinned ? q->packed_end : run.cluster * c;
    return r;
}

/* Put the packed bytes into the file; the block that they begin in has the end of
 * those before. */
static int put_packed(struct qcow2 *q, const uint8_t *from, size_t bytes, uint64_t at)
{
    size_t block = qcow2_file(q)->block_bytes;
    size_t before = (size_t)(at & (block - 1));
    size_t whole = (before + bytes + block - 1) & ~(block - 1);
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, whole);
    int r;

    if (room == NULL) {
        return -ENOMEM;
    }
    memcpy(room, q->packed_tail, before);
    memcpy(room + before, from, bytes);
    r = qcow2_uses_check(q, at, bytes, USE_NONE);
    r = r != 0 ? r : qcow2_io_write(q, room, whole, at - before);
    if (r == 0) {
        q->packed_end = at + bytes;
        memcpy(q->packed_tail, room + whole - block, block);
    }
    return r;
}

static int set_packed(struct qcow2 *q, uint64_t off, uint64_t at, size_t bytes)
{
    unsigned x = 62 - (q->header.cluster_bits - 8);
    uint64_t sectors = ((at + bytes - 1) >> 9) - (at >> 9);
    struct qcow2_slice *s;
    uint8_t *p;
    uint64_t old;
    int r = qcow2_entry(q, off, &s, &p);

    if (r != 0) {
        return r;
    }
    old = qcow2_get64(p);
    qcow2_put64(p, at | sectors << x | QCOW2_COMPRESSED);
    if (qcow2_extended(q)) {
        qcow2_put64(p + 8, 0);
    }
    qcow2_slice_dirty(q, s);
    qcow2_free_entry(q, old);
    return 0;
}

static int store_packed(struct qcow2 *q, const struct packing *p, uint64_t off)
{
    struct qcow2_range range;
    uint64_t at = 0;
    int r;

    if (qcow2_cache_presses(q)) {
        r = qcow2_commit(q);
        if (r != 0) {
            return r;
        }
    }
    qcow2_range_lock(q, &range, off, off + q->cluster_bytes);
    strand_lock(q->blk.strands, &q->pack_lock);
    r = qcow2_own_table(q, off);
    if (r == 0) {
        r = find_place(q, (size_t)p->result, &at);
    }
    if (r == 0) {
        r = put_packed(q, p->to, (size_t)p->result, at);
        r = r != 0 ? r : set_packed(q, off, at, (size_t)p->result);
        if (r != 0) {
            uint64_t c = q->cluster_bytes;

            (void)qcow2_ref_lower(q, at / c,
                                  (at + (uint64_t)p->result - 1) / c - at / c + 1);
            q->packed_end = 0;
        }
    }
    strand_unlock(&q->pack_lock);
    qcow2_range_unlock(q, &range);
    return r;
}

int qcow2_write_packed(struct blk *disk, const void *data, size_t bytes, uint64_t off)
{
    struct qcow2 *q = qcow2_of(disk);
    SCOPED(scope_free) uint8_t *whole = NULL;
    SCOPED(scope_free) uint8_t *room = NULL;
    struct packing p = {.how = (enum qcow2_compression)q->header.compression,
                        .from = data,
                        .bytes = q->cluster_bytes,
                        .result = -ENOSPC};
    unsigned epoch;
    int r = 0;

    if (disk->read_only || off % q->cluster_bytes != 0 ||
        off + bytes > disk->size_bytes ||
        (bytes != q->cluster_bytes && off + bytes != disk->size_bytes) ||
        bytes > q->cluster_bytes || bytes == 0) {
        return disk->read_only ? -EROFS : -EINVAL;
    }
    if (q->crypt != NULL || qcow2_has_data_file(q)) {
        return blk_write(disk, data, bytes, off, 0);
    }
    room = fault_malloc(q->cluster_bytes);
    if (bytes < q->cluster_bytes) {
        whole = fault_calloc(1, q->cluster_bytes);
        if (whole != NULL) {
            memcpy(whole, data, bytes);
        }
        p.from = whole;
    }
    if (room == NULL || p.from == NULL) {
        return -ENOMEM;
    }
    p.to = room;
    r = q->loop != NULL ? file_io_call(q->loop, pack, &p) : pack(&p);
    if (r != 0 || p.result == -ENOSPC) {
        return r != 0 ? r : blk_write(disk, data, bytes, off, 0);
    }
    if (p.result < 0) {
        return (int)p.result;
    }
    epoch = qcow2_enter(q);
    r = qcow2_bitmaps_touch(q, off, bytes);
    r = r != 0 ? r : store_packed(q, &p, off);
    qcow2_leave(q, epoch);
    return r;
}
