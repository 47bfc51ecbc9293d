/* data.c - reading, writing, and giving room back.
 *
 * A loop device asks for whole blocks; other programs ask for any bytes of a file.
 * Reads are widened to whole blocks.  A write that begins or ends inside a block
 * reads that block first; between the two no other write may run, or its bytes would be
 * put back as they were: `gate`.  (Each of the blocks at its ends is written in one
 * request with the rest, so a power cut leaves old or new blocks, as with any write.) */
#include <errno.h>
#include <string.h>

#include <linux/falloc.h>

#include "contract/blk_vec.h"
#include "resource/storage/fuse/private.h"

static uint64_t block_of(const struct call *c)
{
    return blk_block_bytes(c->server->edge.disk);
}

static bool is_whole(const struct call *c, uint64_t off, uint64_t bytes)
{
    return ((off | bytes) & (block_of(c) - 1)) == 0;
}

/* ---- reading ---- */

void fuse_read(struct call *c)
{
    const struct fuse_read_in *in = c->arg;
    uint64_t size = blk_size(c->server->edge.disk);
    uint64_t block = block_of(c);
    uint64_t begin = in->offset & ~(block - 1);
    uint64_t bytes = in->size;

    if (bytes > FUSE_DATA_MOST) {
        fuse_reply(c, -EINVAL, NULL, 0);
        return;
    }
    if (in->offset >= size || bytes == 0) {
        fuse_reply(c, 0, NULL, 0);
        return;
    }
    bytes = bytes < size - in->offset ? bytes : size - in->offset;
    c->off = in->offset;
    c->bytes = (size_t)bytes;
    c->piece.iov_base = c->data;
    c->piece.iov_len =
        (size_t)(((in->offset + bytes + block - 1) & ~(block - 1)) - begin);
    c->blk = (struct blk_request){.kind = BLK_READ,
                                  .off = begin,
                                  .vec = {.iov = &c->piece, .bytes = c->piece.iov_len}};
    blk_submit(&c->server->queue, &c->blk);
}

/* ---- the gate ---- */

static bool is_open(const struct gate *g)
{
    return !g->alone && g->alone_waiting == 0;
}

static void enter(struct fuse_server *s, bool alone)
{
    struct gate *g = &s->gate;

    if (alone) {
        g->alone_waiting++;
        while (g->alone || g->writing > 0) {
            strand_wait(loop_strands(s->loop), &g->queue);
        }
        g->alone_waiting--;
        g->alone = true;
    } else {
        while (!is_open(g)) {
            strand_wait(loop_strands(s->loop), &g->queue);
        }
        g->writing++;
    }
}

static void leave(struct fuse_server *s, bool alone)
{
    struct gate *g = &s->gate;

    if (alone) {
        g->alone = false;
    } else {
        g->writing--;
    }
    if (g->writing == 0) {
        (void)strand_wake_all(&g->queue);
    }
}

/* ---- writing ---- */

static void reply_written(struct call *c, int result)
{
    struct fuse_write_out out = {.size = (uint32_t)c->bytes};

    fuse_reply(c, result, &out, sizeof out);
}

void fuse_data_done(struct call *c)
{
    int r = c->blk.result;

    switch (c->blk.kind) {
    case BLK_READ:
        fuse_reply(c, r, c->data + (c->off - c->blk.off), c->bytes);
        break;
    case BLK_WRITE:
        leave(c->server, false);
        reply_written(c, r);
        break;
    default:
        fuse_reply(c, r, NULL, 0);
    }
}

/* Write any bytes; alone. */
static int write_edges(struct fuse_server *s, const void *from, uint64_t off,
                       uint64_t bytes)
{
    struct blk *b = s->edge.disk;
    uint64_t block = blk_block_bytes(b);
    uint64_t before = off & (block - 1);
    uint64_t behind = -(off + bytes) & (block - 1);
    struct iovec piece[3] = {
        {s->edges[0], before},
        {(void *)(uintptr_t)from, bytes},
        {s->edges[1] + block - behind, behind},
    };
    struct blk_vec vec = {.iov = piece, .bytes = before + bytes + behind};
    int r = before > 0 ? blk_read(b, s->edges[0], block, off - before) : 0;

    if (r == 0 && behind > 0) {
        r = blk_read(b, s->edges[1], block, off + bytes + behind - block);
    }
    return r == 0 ? blk_writev(b, vec, off - before, 0) : r;
}

static void write_part(void *arg)
{
    struct call *c = arg;
    int r;

    enter(c->server, true);
    r = write_edges(c->server, c->data, c->off, c->bytes);
    leave(c->server, true);
    reply_written(c, r);
}

static void write_later(void *arg)
{
    struct call *c = arg;
    int r;

    enter(c->server, false);
    r = blk_write(c->server->edge.disk, c->data, c->bytes, c->off, 0);
    leave(c->server, false);
    reply_written(c, r);
}

static void write_now(struct call *c)
{
    c->server->gate.writing++;
    c->piece = (struct iovec){c->data, c->bytes};
    c->blk = (struct blk_request){
        .kind = BLK_WRITE, .off = c->off, .vec = {.iov = &c->piece, .bytes = c->bytes}};
    blk_submit(&c->server->queue, &c->blk);
}

void fuse_write(struct call *c)
{
    const struct fuse_write_in *in = c->arg;
    uint64_t size = blk_size(c->server->edge.disk);

    if (c->server->options.read_only) {
        fuse_reply(c, -EROFS, NULL, 0);
        return;
    }
    if (in->size != c->arg_bytes - sizeof *in) {
        fuse_reply(c, -EINVAL, NULL, 0);
        return;
    }
    c->off = in->offset;
    c->bytes = in->size;
    if (c->bytes > 0 && c->off >= size) {
        fuse_reply(c, -ENOSPC, NULL, 0);
        return;
    }
    if (c->bytes == 0) {
        reply_written(c, 0);
        return;
    }
    c->bytes = c->bytes < size - c->off ? c->bytes : (size_t)(size - c->off);
    if (!is_whole(c, c->off, c->bytes)) {
        fuse_in_strand(c, write_part);
    } else if (is_open(&c->server->gate)) {
        write_now(c);
    } else {
        fuse_in_strand(c, write_later);
    }
}

/* ---- room ---- */

/* Zeros in [off, end), alone: parts of blocks are written. */
static int zero(struct fuse_server *s, uint64_t off, uint64_t end, unsigned flags)
{
    static const char zeros[BLK_BLOCK_MOST_BYTES];
    struct blk *b = s->edge.disk;
    uint64_t block = blk_block_bytes(b);
    uint64_t first = (off + block - 1) & ~(block - 1);
    uint64_t last = end & ~(block - 1);
    int r = 0;

    if (first > last) { /* inside of one block */
        return write_edges(s, zeros, off, end - off);
    }
    if (off < first) {
        r = write_edges(s, zeros, off, first - off);
    }
    if (r == 0 && first < last) {
        r = blk_zero(b, first, last - first, flags);
    }
    if (r == 0 && last < end) {
        r = write_edges(s, zeros, last, end - last);
    }
    return r;
}

/* A hole is where zeros are read; what it held is given back where the disk can. */
static void allocate(void *arg)
{
    struct call *c = arg;
    const struct fuse_fallocate_in *in = c->arg;
    unsigned flags = (in->mode & FALLOC_FL_PUNCH_HOLE) != 0 ? BLK_UNMAP : 0;
    bool alone = !is_whole(c, c->off, c->bytes);
    int r;

    enter(c->server, alone);
    r = zero(c->server, c->off, c->off + c->bytes, flags);
    leave(c->server, alone);
    fuse_reply(c, r, NULL, 0);
}

/* fallocate(2): holes and zeros.  Room that is asked for in advance cannot be promised. */
void fuse_allocate(struct call *c)
{
    const struct fuse_fallocate_in *in = c->arg;
    uint64_t size = blk_size(c->server->edge.disk);
    bool keeps = (in->mode & FALLOC_FL_KEEP_SIZE) != 0;

    if (c->server->options.read_only) {
        fuse_reply(c, -EROFS, NULL, 0);
    } else if ((in->mode & ~(unsigned)FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE &&
               in->mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
        fuse_reply(c, -EOPNOTSUPP, NULL, 0);
    } else if (!keeps && (in->offset > size || in->length > size - in->offset)) {
        fuse_reply(c, -ENOSPC, NULL, 0);
    } else if (in->offset >= size || in->length == 0) {
        fuse_reply(c, 0, NULL, 0);
    } else {
        c->off = in->offset;
        c->bytes = in->length < size - c->off ? in->length : size - c->off;
        fuse_in_strand(c, allocate);
    }
}
