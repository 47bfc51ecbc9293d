/* span_move.c - bringing a segment to another piece while the disk is in use.
 *
 * The map goes through these entries, each durable before the next step:
 *
 *   home A                           before
 *   home A, other B, COMING          B is being filled: A has the bytes
 *   home B, other A, LEAVING         B has the bytes: A is being wiped
 *   home B                           after
 *
 * A cut leaves one of them; opening wipes `other` and is done.  Between the second and the
 * third, chunks are copied in order, each held against writers; a writer to what was copied
 * (below `copied`) writes to both pieces, others to A only.  When all is copied, B is flushed;
 * then writers in the segment wait while it is flushed once more and the map turns.  If
 * that write of the map fails, nobody knows which entry is there: writes go on to both, and no
 * flush succeeds, until the old one is there for sure.
 *
 * Writers in the segment exclude each other where they overlap, so that both pieces get their
 * bytes in the same order; discards are zeros, so that both read the same. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/span_private.h"

#define CHUNK_BYTES 262144u

/* ---- others' writes ---- */

static struct span_job part_of(const struct span_job *job, uint64_t skip, uint64_t bytes)
{
    struct span_job part = *job;

    part.off += skip;
    part.bytes = bytes;
    if (job->kind == SPAN_WRITE) {
        part.vec = blk_vec_part(job->vec, skip, bytes);
    } else {
        part.kind = SPAN_ZERO;
        part.flags |= BLK_UNMAP;
    }
    return part;
}

/* A first.  What B could not take ends the move. */
static int change_both(struct span *s, unsigned from, const struct span_job *job)
{
    int r = span_piece_do(s, from, job);

    if (r == 0) {
        int other = span_piece_do(s, s->move.to, job);

        s->move.failed = s->move.failed != 0 ? s->move.failed : other;
    } else if (s->move.failed == 0) {
        s->move.failed = r; /* A may have some of it, B has none */
    }
    return r;
}

int span_move_do(struct span *s, const struct span_job *job)
{
    struct range_hold hold = {.first = job->off, .end = job->off + job->bytes};
    uint64_t both = 0;
    int r = 0;

    range_take(s->blk.strands, &s->move.ranges, &hold);
    if (!s->move.active) { /* it ended while we waited */
        unsigned home = span_entry(s, job->off >> s->segment_shift).home - 1u;

        r = span_piece_do(s, home, job);
        range_give(&s->move.ranges, &hold);
        return r;
    }
    if (job->off < s->move.copied) {
        both = s->move.copied - job->off < job->bytes ? s->move.copied - job->off
                                                      : job->bytes;
    }
    if (both > 0) {
        struct span_job part = part_of(job, 0, both);

        r = change_both(s, span_entry(s, s->move.segment).home - 1u, &part);
    }
    if (r == 0 && both < job->bytes) {
        struct span_job part = part_of(job, both, job->bytes - both);

        r = span_piece_do(s, span_entry(s, s->move.segment).home - 1u, &part);
    }
    range_give(&s->move.ranges, &hold);
    return r;
}

/* ---- the copy ---- */

struct copy {
    struct span *span;
    unsigned from;
    unsigned to;
    uint8_t *room;
    const struct place_span_move *how;
    uint64_t began_ns;
    uint64_t done; /* bytes, of all segments */
    uint64_t total;
};

static int copy_data(struct copy *c, uint64_t off, uint64_t bytes)
{
    struct iovec piece;
    struct span_job job = {.kind = SPAN_READ,
                           .off = off,
                           .bytes = bytes,
                           .vec = blk_vec_of(&piece, c->room, bytes)};
    int r = span_piece_do(c->span, c->from, &job);

    job.kind = SPAN_WRITE;
    return r == 0 ? span_piece_do(c->span, c->to, &job) : r;
}

/* What holds data of a chunk; the other piece reads zeros. */
static int copy_chunk(struct copy *c, uint64_t off, uint64_t bytes)
{
    struct blk *disk = c->span->edge[c->from].disk;
    uint64_t size = blk_size(disk);
    uint64_t end = off + bytes < size ? off + bytes : size;
    int r = 0;

    while (r == 0 && off < end) {
        struct blk_extent x;

        r = span_is_here(c->span, c->from) ? blk_status(disk, off, end - off, &x)
                                           : -ENODEV;
        if (r == 0 && (x.state & BLK_DATA) != 0) {
            r = copy_data(c, off, x.bytes);
        }
        if (r == 0) {
            off += x.bytes;
        }
    }
    return r;
}

/* Not faster than was asked for; the owner may stop it. */
static int pace(struct copy *c)
{
    struct loop *l = c->span->loop;
    uint64_t rate = c->how != NULL ? c->how->bytes_per_s : 0;
    int r = 0;

    if (c->how != NULL && c->how->progress != NULL) {
        r = c->how->progress(c->how->arg, c->done, c->total);
        r = r > 0 ? -ECANCELED : r;
    }
    if (r == 0 && rate > 0 && l != NULL) {
        uint64_t due = c->began_ns + (uint64_t)((double)c->done / (double)rate * 1e9);
        uint64_t now = loop_now_ns(l);

        if (due > now) {
            loop_sleep(l, due - now);
        }
    }
    return r;
}

/* Behind the end of the piece there is nothing to copy. */
static uint64_t next_part(const struct copy *c, uint64_t end)
{
    uint64_t copied = c->span->move.copied;
    const struct blk *disk = c->span->edge[c->from].disk;

    return end - copied < CHUNK_BYTES || copied >= blk_size(disk) ? end - copied
                                                                  : CHUNK_BYTES;
}

static int copy_segment(struct copy *c)
{
    struct span *s = c->span;
    struct span_moving *m = &s->move;
    uint64_t end = (m->segment + 1) << s->segment_shift;
    int r = 0;

    while (r == 0 && m->copied < end) {
        uint64_t n = next_part(c, end);
        struct range_hold hold = {.first = m->copied, .end = m->copied + n};

        range_take(s->blk.strands, &m->ranges, &hold);
        r = m->failed != 0 ? m->failed : copy_chunk(c, m->copied, n);
        if (r == 0) {
            m->copied += n;
            c->done += n;
        }
        range_give(&m->ranges, &hold);
        r = r == 0 ? pace(c) : r;
    }
    return r;
}

/* ---- the steps ---- */

/* Wipe `other`, whichever it is; what cannot be wiped now is when the span is opened. */
static int wipe_other(struct span *s, uint64_t segment)
{
    struct span_entry entry = span_entry(s, segment);
    int r = span_wipe(s, entry.other - 1u, segment);

    if (r == 0) { /* it stays wiped after a cut */
        r = blk_flush(s->edge[entry.other - 1u].disk);
    }
    if (r == 0) {
        r = span_map_store_entry(s, segment, (struct span_entry){.home = entry.home});
    }
    return r;
}

/* Nobody writes to both any more: wipe the one that is left. */
static void finish(struct span *s)
{
    s->move.active = false;
    grace_wait(s->blk.strands, &s->grace);
    (void)wipe_other(s, s->move.segment);
}

int span_move_settle(struct span *s)
{
    int r = 0;

    if (s->move.unsure) {
        r = span_map_store_entry(s, s->move.segment, s->entry[s->move.segment]);
        s->move.unsure = r != 0;
    }
    return r;
}

/* With all writers in the segment waiting, so that both pieces are equal. */
static int turn(struct copy *c)
{
    struct span *s = c->span;
    struct span_entry coming = span_entry(s, s->move.segment);
    struct span_entry leaving = {coming.other, coming.home, SPAN_LEAVING};
    int r = s->move.failed != 0 ? s->move.failed : blk_flush(s->edge[c->to].disk);

    if (r != 0) {
        return r;
    }
    r = span_map_store_entry(s, s->move.segment, leaving);
    if (r != 0) {
        s->move.unsure = span_map_store_entry(s, s->move.segment, coming) != 0;
    }
    return r;
}

static int turn_map(struct copy *c)
{
    struct span *s = c->span;
    uint64_t start = s->move.segment << s->segment_shift;
    struct range_hold hold = {.first = start,
                              .end = start + ((uint64_t)1 << s->segment_shift)};
    int r = blk_flush(s->edge[c->to].disk); /* most of it, while nobody waits */

    if (r == 0) {
        range_take(s->blk.strands, &s->move.ranges, &hold);
        r = turn(c);
        s->move.active = s->move.unsure;
        range_give(&s->move.ranges, &hold);
    }
    if (!s->move.unsure) {
        finish(s);
    }
    return r;
}

static int check(const struct span *s, unsigned from, unsigned to)
{
    const struct blk *disk = to < s->pieces ? s->edge[to].disk : NULL;

    if (s->blk.read_only) {
        return -EROFS;
    }
    if (!span_is_here(s, from) || !span_is_here(s, to) || s->piece[to].removed) {
        return -ENODEV;
    }
    return disk->read_only ? -EROFS : disk->grows ? 0 : -ENOSPC;
}

/* One segment that lies on `from`. */
static int move_one(struct copy *c, uint64_t segment, unsigned to)
{
    struct span *s = c->span;
    struct span_entry entry = span_entry(s, segment);
    int r = check(s, entry.home - 1u, to);

    c->from = entry.home - 1u;
    c->to = to;
    if (r == 0 && entry.other != 0) {
        r = wipe_other(s, segment);
    }
    if (r == 0) {
        r = span_map_store_entry(
            s, segment, (struct span_entry){entry.home, (uint8_t)(to + 1), SPAN_COMING});
    }
    if (r != 0) {
        return r;
    }
    s->move.segment = segment;
    s->move.to = to;
    s->move.copied = segment << s->segment_shift;
    s->move.failed = 0;
    s->move.active = true;
    grace_wait(s->blk.strands, &s->grace); /* writers that did not know */
    r = copy_segment(c);
    if (r == 0) {
        return turn_map(c);
    }
    finish(s);
    return r;
}

static int begin(struct copy *c, struct span *s, const struct place_span_move *how,
                 uint64_t segments)
{
    if (s->move.running) {
        return -EBUSY;
    }
    if (s->move.active) { /* the map would not be told how the last one ended */
        int r = span_move_settle(s);

        if (r != 0) {
            return r;
        }
        finish(s);
    }
    *c = (struct copy){
        .span = s,
        .how = how,
        .began_ns = s->loop != NULL ? loop_now_ns(s->loop) : 0,
        .total = segments << s->segment_shift,
        .room = fault_aligned(4096, CHUNK_BYTES),
    };
    s->move.running = c->room != NULL;
    return c->room == NULL ? -ENOMEM : 0;
}

static void end(struct copy *c)
{
    c->span->move.running = false;
    free(c->room);
}

int place_span_move(struct blk *span, uint64_t segment, unsigned to,
                    const struct place_span_move *m, struct err *e)
{
    struct span *s = span_of(span);
    struct copy c;
    int r;

    if (span_entry(s, segment).home == 0 || span_entry(s, segment).home == to + 1) {
        return 0;
    }
    r = begin(&c, s, m, 1);
    if (r == 0) {
        r = move_one(&c, segment, to);
        end(&c);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot move segment %llu of '%s'",
                            (unsigned long long)segment, span->label);
}

/* To where most room is; another one, when that turns out to be full. */
static int move_somewhere(struct copy *c, uint64_t segment, unsigned from)
{
    uint64_t tried = (uint64_t)1 << from;
    int r = -ENOSPC;

    while (r == -ENOSPC) {
        int to = span_pick(c->span, segment, tried);

        if (to < 0) {
            return -ENOSPC;
        }
        tried |= (uint64_t)1 << to;
        r = move_one(c, segment, (unsigned)to);
    }
    return r;
}

int place_span_evacuate(struct blk *span, unsigned piece, const struct place_span_move *m,
                        struct err *e)
{
    struct span *s = span_of(span);
    struct copy c;
    int r = piece < s->pieces ? begin(&c, s, m, s->piece[piece].segments) : -EINVAL;

    if (r == 0) {
        s->piece[piece].emptied = true;
        for (uint64_t i = 0; r == 0 && i < s->entries; i++) {
            if (s->entry[i].home == piece + 1) {
                r = move_somewhere(&c, i, piece);
            }
        }
        s->piece[piece].emptied = r == 0;
        end(&c);
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot empty piece %u of '%s'", piece, span->label);
}
