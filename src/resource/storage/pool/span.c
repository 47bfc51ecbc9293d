/* span.c - reading and writing a span.
 *
 * The way of most requests: one look at the entry of their segment, and on to its piece at the same
 * offset.  A segment that lies nowhere reads zeros; its first write finds a piece for it,
 * which the map has durably before a byte is written, and is alone in the segment until it is
 * done: if the piece turns out to be full, another one is tried. */
#include "resource/storage/pool/span.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/span_private.h"

#define MEAN_SHIFT 6 /* of the requests that a mean remembers */

/* ---- one piece ---- */

static uint64_t now(const struct span *s)
{
    return s->loop != NULL ? loop_now_ns(s->loop) : 0;
}

static void count(struct span *s, unsigned piece, uint64_t ns, int r)
{
    struct span_piece *p = &s->piece[piece];

    p->requests++;
    p->errors += r != 0;
    p->worst_ns = ns > p->worst_ns ? ns : p->worst_ns;
    p->mean_ns = p->mean_ns + (ns >> MEAN_SHIFT) - (p->mean_ns >> MEAN_SHIFT);
    p->full = p->full || r == -ENOSPC;
    p->lost = p->lost || r == -ENODEV;
}

/* What lies behind the end of a piece reads zeros. */
static int read_piece(struct blk *disk, struct blk_vec to, uint64_t off)
{
    uint64_t size = blk_size(disk);
    uint64_t n = off < size ? size - off : 0;
    int r = 0;

    n = n < to.bytes ? n : to.bytes;
    if (n > 0) {
        r = blk_readv(disk, blk_vec_part(to, 0, n), off);
    }
    if (r == 0 && n < to.bytes) {
        blk_vec_zero(blk_vec_part(to, n, to.bytes - n));
    }
    return r;
}

static int change_piece(struct blk *disk, const struct span_job *job)
{
    uint64_t size = blk_size(disk);
    uint64_t n = job->off < size ? size - job->off : 0;

    if (job->kind == SPAN_WRITE) {
        if (job->off + job->bytes > size && !disk->grows) {
            return -ENOSPC;
        }
        return blk_writev(disk, job->vec, job->off, job->flags);
    }
    n = n < job->bytes ? n : job->bytes; /* behind its end it reads zeros already */
    if (n == 0) {
        return 0;
    }
    return job->kind == SPAN_ZERO ? blk_zero(disk, job->off, n, job->flags)
                                  : blk_discard(disk, job->off, n);
}

int span_piece_do(struct span *s, unsigned piece, const struct span_job *job)
{
    uint64_t began = now(s);
    struct blk *disk;
    int r;

    if (!span_is_here(s, piece)) {
        return -ENODEV;
    }
    disk = s->edge[piece].disk;
    r = job->kind == SPAN_READ ? read_piece(disk, job->vec, job->off)
                               : change_piece(disk, job);
    if (job->kind != SPAN_READ) {
        s->piece[piece].dirty = true;
    }
    count(s, piece, now(s) - began, r);
    return r;
}

int span_wipe(struct span *s, unsigned piece, uint64_t segment)
{
    struct span_job job = {
        .kind = SPAN_ZERO,
        .flags = BLK_UNMAP,
        .off = segment << s->segment_shift,
        .bytes = (uint64_t)1 << s->segment_shift,
    };

    return span_piece_do(s, piece, &job);
}

/* ---- a place for a segment ---- */

static bool may_take(const struct span *s, unsigned piece, uint64_t segment)
{
    const struct blk *disk = s->edge[piece].disk;
    uint64_t end = (segment + 1) << s->segment_shift;

    return span_is_here(s, piece) && !s->piece[piece].removed &&
           !s->piece[piece].emptied && !disk->read_only &&
           (disk->grows || disk->size_bytes >= end) &&
           span_entry(s, segment).other != piece + 1;
}

static int pick_by_turn(struct span *s, uint64_t segment, uint64_t tried)
{
    int last = -1;

    for (unsigned i = 0; i < s->pieces; i++) {
        unsigned piece = (s->turn + i) % s->pieces;

        if ((tried >> piece & 1) != 0 || !may_take(s, piece, segment)) {
            continue;
        }
        if (!s->piece[piece].full) {
            s->turn = piece + 1;
            return (int)piece;
        }
        last = last < 0 ? (int)piece : last;
    }
    return last;
}

int span_pick(struct span *s, uint64_t segment, uint64_t tried)
{
    uint64_t most = 0;
    int best = -1;

    if (s->room == NULL) {
        return pick_by_turn(s, segment, tried);
    }
    for (unsigned i = 0; i < s->pieces; i++) {
        if ((tried >> i & 1) == 0 && may_take(s, i, segment)) {
            uint64_t room = s->room(s->room_arg, i);

            if (room > most) {
                most = room;
                best = (int)i;
            }
        }
    }
    return best;
}

/* Try a piece for a segment that lies nowhere.  -ENOSPC, -ENODEV: another may do. */
static int try_piece(struct span *s, unsigned piece, const struct span_job *job)
{
    uint64_t segment = job->off >> s->segment_shift;
    struct span_entry old = span_entry(s, segment);
    struct span_entry entry = old;
    int r;

    entry.home = (uint8_t)(piece + 1);
    r = span_map_store_entry(s, segment, entry);
    if (r != 0) {
        return r == -ENODEV ? -EIO : r; /* the map is not a piece */
    }
    r = span_piece_do(s, piece, job);
    if (r == 0) {
        s->piece[piece].full = false;
        return 0;
    }
    if (r == -ENODEV && old.other == 0) {
        entry = (struct span_entry){0, (uint8_t)(piece + 1), SPAN_LEAVING};
    } else if (r == -ENOSPC && span_wipe(s, piece, segment) == 0) {
        entry = old;
    } else {
        return r == -ENOSPC || r == -ENODEV ? -EIO : r; /* it stays there */
    }
    return span_map_store_entry(s, segment, entry) == 0 ? r : -EIO;
}

static int place(struct span *s, const struct span_job *job)
{
    uint64_t segment = job->off >> s->segment_shift;
    uint64_t tried = 0;
    int r = span_map_room(s, segment);
    int worst = -ENOSPC;
    int piece;

    while (r == 0) {
        piece = span_pick(s, segment, tried);
        if (piece < 0) {
            return worst;
        }
        tried |= (uint64_t)1 << piece;
        r = try_piece(s, (unsigned)piece, job);
        if (r == 0) {
            return 0;
        }
        r = r == -ENOSPC || r == -ENODEV ? 0 : r;
    }
    return r;
}

static int do_in_segment(struct span *s, const struct span_job *job);

/* The first write to a segment. */
static int write_first(struct span *s, const struct span_job *job)
{
    uint64_t segment = job->off >> s->segment_shift;
    struct range_hold hold = {.first = segment, .end = segment + 1};
    int r;

    range_take(s->blk.strands, &s->placing, &hold);
    r = span_entry(s, segment).home != 0 ? 1 : place(s, job);
    range_give(&s->placing, &hold);
    return r == 1 ? do_in_segment(s, job) : r;
}

/* Somebody is giving the segment its place: until he is done it is his. */
static void wait_for_place(struct span *s, uint64_t segment)
{
    struct range_hold hold = {.first = segment, .end = segment + 1, .shares = true};

    range_take(s->blk.strands, &s->placing, &hold);
    range_give(&s->placing, &hold);
}

static int do_in_segment(struct span *s, const struct span_job *job)
{
    uint64_t segment = job->off >> s->segment_shift;
    struct span_entry entry;

    if (s->placing.first != NULL && job->kind != SPAN_READ) {
        wait_for_place(s, segment);
    }
    entry = span_entry(s, segment);
    if (entry.home == 0) {
        if (job->kind == SPAN_READ) {
            blk_vec_zero(job->vec);
        }
        return job->kind == SPAN_WRITE ? write_first(s, job) : 0;
    }
    if (s->move.active && s->move.segment == segment && job->kind != SPAN_READ) {
        return span_move_do(s, job);
    }
    return span_piece_do(s, entry.home - 1u, job);
}

/* ---- requests ---- */

static int do_all(struct span *s, struct span_job job)
{
    uint64_t segment_bytes = (uint64_t)1 << s->segment_shift;
    unsigned inside = grace_enter(&s->grace);
    struct blk_vec all = job.vec;
    uint64_t left = job.bytes;
    int r = 0;

    while (r == 0 && left > 0) {
        uint64_t n = segment_bytes - (job.off & (segment_bytes - 1));

        job.bytes = n < left ? n : left;
        if (job.kind <= SPAN_WRITE) {
            job.vec = blk_vec_part(all, all.bytes - left, job.bytes);
        }
        r = do_in_segment(s, &job);
        job.off += job.bytes;
        left -= job.bytes;
    }
    grace_leave(&s->grace, inside);
    return r;
}

static int span_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return do_all(
        span_of(b),
        (struct span_job){.kind = SPAN_READ, .off = off, .bytes = to.bytes, .vec = to});
}

/* A durable write needs the size to be durable too. */
static int end_write(struct span *s, uint64_t end, unsigned flags)
{
    if (end > s->blk.size_bytes) {
        s->blk.size_bytes = end;
    }
    if ((flags & BLK_FUA) != 0 &&
        (s->blk.size_bytes != s->durable_size || s->keep.held)) {
        return span_keep(s);
    }
    return 0;
}

static int span_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct span *s = span_of(b);
    int r = do_all(s, (struct span_job){.kind = SPAN_WRITE,
                                        .flags = flags,
                                        .off = off,
                                        .bytes = from.bytes,
                                        .vec = from});

    return r == 0 ? end_write(s, off + from.bytes, flags) : r;
}

static int span_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct span *s = span_of(b);
    int r;

    if ((off + bytes - 1) >> s->segment_shift >= SPAN_SEGMENTS_MOST) {
        return -ENOSPC;
    }
    r = do_all(s, (struct span_job){
                      .kind = SPAN_ZERO, .flags = flags, .off = off, .bytes = bytes});
    return r == 0 ? end_write(s, off + bytes, flags) : r;
}

static int span_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return do_all(span_of(b),
                  (struct span_job){.kind = SPAN_DISCARD, .off = off, .bytes = bytes});
}

/* ---- flush ---- */

static int flush_piece(struct span *s, unsigned piece)
{
    struct span_piece *p = &s->piece[piece];
    int r;

    if (!p->dirty) {
        return 0;
    }
    p->dirty = false;
    if (s->edge[piece].disk == NULL) {
        return -ENODEV;
    }
    r = blk_flush(s->edge[piece].disk);
    if (r == -ENODEV) {
        p->lost = true; /* told once; it has no more to flush */
    } else if (r != 0) {
        p->dirty = true;
    }
    return r;
}

int span_keep(struct span *s)
{
    uint64_t size;
    int r = 0;

    strand_lock(s->blk.strands, &s->keep);
    size = s->blk.size_bytes;
    r = span_move_settle(s);
    for (unsigned i = 0; i < s->pieces; i++) {
        int one = flush_piece(s, i);

        r = r == 0 ? one : r;
    }
    if ((r == 0 || r == -ENODEV) && size != s->durable_size) {
        int head = span_map_store_head(s, size);

        r = r == 0 ? head : r;
    }
    strand_unlock(&s->keep);
    return r;
}

static int span_flush(struct blk *b)
{
    return span_keep(span_of(b));
}

/* ---- the rest ---- */

/* The state of a range of one segment. */
static int status_in_segment(struct span *s, struct span_entry entry, uint64_t off,
                             uint64_t bytes, struct blk_extent *ret)
{
    struct blk *disk;
    uint64_t size;
    int r;

    ret->bytes = bytes;
    ret->state = BLK_ALLOCATED;
    if (entry.home == 0) {
        return 0;
    }
    if (!span_is_here(s, entry.home - 1u)) {
        return -ENODEV;
    }
    disk = s->edge[entry.home - 1u].disk;
    size = blk_size(disk);
    if (off >= size) {
        return 0;
    }
    r = blk_status(disk, off, size - off < bytes ? size - off : bytes, ret);
    if (r == 0) { /* who asks goes on from the piece */
        ret->state = (ret->state & BLK_DATA) | BLK_ALLOCATED | BLK_PLACED;
        ret->at = off;
        ret->holder = disk;
    }
    return r;
}

static int span_status_slot(struct blk *b, uint64_t off, uint64_t bytes,
                            struct blk_extent *ret)
{
    struct span *s = span_of(b);
    uint64_t segment_bytes = (uint64_t)1 << s->segment_shift;
    uint64_t n = segment_bytes - (off & (segment_bytes - 1));
    unsigned inside = grace_enter(&s->grace);
    int r = status_in_segment(s, span_entry(s, off >> s->segment_shift), off,
                              n < bytes ? n : bytes, ret);

    grace_leave(&s->grace, inside);
    return r;
}

static int span_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at)
{
    struct span *s = span_of(b);
    uint64_t segment = off >> s->segment_shift;
    struct span_entry entry = span_entry(s, segment);

    if (entry.home == 0 || (off + bytes - 1) >> s->segment_shift != segment ||
        (s->move.active && s->move.segment == segment) ||
        !span_is_here(s, entry.home - 1u)) {
        return -EOPNOTSUPP;
    }
    return blk_pages(s->edge[entry.home - 1u].disk, off, bytes, ret_fd, ret_at);
}

/* Segments behind the end lie nowhere any more; what a lost piece has of them is to be wiped. */
static int forget_behind(struct span *s, uint64_t size)
{
    uint64_t first = (size + ((uint64_t)1 << s->segment_shift) - 1) >> s->segment_shift;
    int r = 0;

    for (uint64_t i = first; r == 0 && i < s->entries; i++) {
        struct span_entry old = s->entry[i];
        struct span_entry none = {0};

        if (old.home == 0 || old.other != 0) {
            continue;
        }
        if (!span_is_here(s, old.home - 1u)) {
            none = (struct span_entry){0, old.home, SPAN_LEAVING};
        }
        r = span_map_store_entry(s, i, none);
    }
    return r;
}

/* The rest of the segment in which the end will lie has to be cut off. */
static bool end_is_lost(const struct span *s, uint64_t size)
{
    struct span_entry entry = span_entry(s, size >> s->segment_shift);

    return (size & (((uint64_t)1 << s->segment_shift) - 1)) != 0 && entry.home != 0 &&
           !span_is_here(s, entry.home - 1u);
}

static int shrink(struct span *s, uint64_t size)
{
    int r = end_is_lost(s, size) ? -ENODEV : 0;

    if (r == 0) {
        r = span_keep(s);
        r = r == -ENODEV ? 0 : r;
    }
    r = r == 0 ? span_map_store_head(s, size) : r;
    if (r != 0) {
        return r;
    }
    s->blk.size_bytes = size;
    for (unsigned i = 0; r == 0 && i < s->pieces; i++) {
        if (span_is_here(s, i) && blk_size(s->edge[i].disk) > size) {
            r = blk_resize(s->edge[i].disk, size, NULL);
            s->piece[i].dirty = true;
        }
    }
    r = r == 0 ? span_keep(s) : r;
    return r == 0 || r == -ENODEV ? forget_behind(s, size) : r;
}

static int span_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct span *s = span_of(b);
    int r = 0;

    if (size_bytes >> s->segment_shift >= SPAN_SEGMENTS_MOST) {
        r = -EFBIG;
    } else if (size_bytes < b->size_bytes) {
        r = s->move.active ? -EBUSY : shrink(s, size_bytes);
    } else {
        b->size_bytes = size_bytes;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

static int span_quiesce(struct blk *b)
{
    return b->read_only ? 0 : span_keep(span_of(b));
}

static void span_destroy(struct blk *b)
{
    struct span *s = span_of(b);

    for (unsigned i = 0; i <= PLACE_PIECES_MOST; i++) {
        blk_detach(&s->edge[i]);
    }
    free(s->entry);
    free(s);
}

const struct blk_ops span_ops = {
    .name = "span",
    .read = span_read,
    .write = span_write,
    .zero = span_zero,
    .discard = span_discard,
    .flush = span_flush,
    .status = span_status_slot,
    .pages = span_pages,
    .resize = span_resize,
    .quiesce = span_quiesce,
    .access = span_access,
    .destroy = span_destroy,
};
