/* blk.c - the guard between whoever uses a disk and the disk.
 *
 * Range, alignment, read-only disks, missing slots and draining are answered here
 * once, so that an implementation may trust its arguments and a device may trust
 * the answer.
 *
 * Invariant: `in_flight` counts the calls of slots that have not returned.  While
 * `drained` is not 0 none begins. */
#include "contract/blk.h"

#include <assert.h>
#include <errno.h>

#include "base/err.h"
#include "contract/blk_ops.h"

#define ZEROS_BYTES  65536
#define ZEROS_PIECES 16 /* of one write of zeros: 1 MiB */

static const char zeros[ZEROS_BYTES];

void blk_init(struct blk *b, const struct blk_ops *ops, struct strand_pool *strands)
{
    *b = (struct blk){
        .ops = ops,
        .label = ops->name,
        .strands = strands,
        .block_bytes = BLK_BLOCK_LEAST_BYTES,
        .read_only = ops->write == NULL,
    };
}

void blk_init_like(struct blk *b, const struct blk_ops *ops, const struct blk *lower)
{
    blk_init(b, ops, lower->strands);
    b->size_bytes = lower->size_bytes;
    b->block_bytes = lower->block_bytes;
    b->best_bytes = lower->best_bytes;
    b->read_only = b->read_only || lower->read_only;
}

uint64_t blk_size(const struct blk *b)
{
    return b->size_bytes;
}

uint32_t blk_block_bytes(const struct blk *b)
{
    return b->block_bytes;
}

bool blk_is_read_only(const struct blk *b)
{
    return b->read_only;
}

/* -EINVAL: not whole blocks; -ERANGE: outside of the disk. */
static int check(const struct blk *b, uint64_t off, uint64_t bytes, bool writes)
{
    uint64_t end;

    if (((off | bytes) & (b->block_bytes - 1)) != 0) {
        return -EINVAL;
    }
    if (writes && b->read_only) {
        return -EROFS;
    }
    if (__builtin_add_overflow(off, bytes, &end) || end > BLK_SIZE_MOST_BYTES) {
        return -ERANGE;
    }
    if (end > b->size_bytes && !(writes && b->grows)) {
        return -ERANGE;
    }
    return 0;
}

/* Wait until the disk lets requests in; the disk that has taken its place by then. */
static struct blk *enter(struct blk *b)
{
    assert(strand_current(b->strands) != NULL);
    while (b->drained > 0) {
        strand_wait(b->strands, &b->waiting);
        b = b->successor != NULL ? b->successor : b;
    }
    b->in_flight++;
    return b;
}

/* Whoever waited for the last one to leave goes on inside this call and may destroy the
 * disk: nothing may touch it afterwards. */
static int leave(struct blk *b, int result)
{
    assert(b->in_flight > 0 && result <= 0);
    b->in_flight--;
    if (b->in_flight == 0 && b->draining.first != NULL) {
        (void)strand_wake_all(&b->draining);
    }
    return result;
}

/* Make durable what a slot wrote that does not do so itself. */
static int finish_fua(struct blk *b, unsigned flags, int r)
{
    if (r == 0 && (flags & BLK_FUA) != 0 && !b->does_fua && b->ops->flush != NULL) {
        r = b->ops->flush(b);
    }
    return r;
}

int blk_readv(struct blk *b, struct blk_vec to, uint64_t off)
{
    int r = to.bytes > BLK_REQUEST_MOST_BYTES ? -EINVAL : check(b, off, to.bytes, false);

    if (r != 0 || to.bytes == 0) {
        return r;
    }
    b = enter(b);
    return leave(b, b->ops->read(b, to, off));
}

int blk_writev(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    int r =
        from.bytes > BLK_REQUEST_MOST_BYTES ? -EINVAL : check(b, off, from.bytes, true);

    if (r != 0 || from.bytes == 0) {
        return r;
    }
    b = enter(b);
    r = b->ops->write(b, from, off, flags & BLK_FUA);
    return leave(b, finish_fua(b, flags, r));
}

int blk_write_pipe(struct blk *b, int from, uint64_t bytes, uint64_t off, unsigned flags)
{
    int r = bytes > BLK_REQUEST_MOST_BYTES ? -EINVAL : check(b, off, bytes, true);

    if (r != 0 || bytes == 0) {
        return r;
    }
    b = enter(b);
    r = b->ops->write_pipe != NULL ? b->ops->write_pipe(b, from, bytes, off)
                                   : -EOPNOTSUPP;
    if (r == 0 && (flags & BLK_FUA) != 0 && b->ops->flush != NULL) {
        r = b->ops->flush(b);
    }
    return leave(b, r);
}

int blk_read(struct blk *b, void *to, size_t bytes, uint64_t off)
{
    struct iovec piece;

    return blk_readv(b, blk_vec_of(&piece, to, bytes), off);
}

int blk_write(struct blk *b, const void *from, size_t bytes, uint64_t off, unsigned flags)
{
    /* An iovec has no const; a write does not change what it points to. */
    struct iovec piece = {.iov_base = (void *)(uintptr_t)from, .iov_len = bytes};

    return blk_writev(b, (struct blk_vec){.iov = &piece, .bytes = bytes}, off, flags);
}

/* Zeros by way of the write slot. */
static int write_zeros(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct iovec pieces[ZEROS_PIECES];
    int r = 0;

    for (unsigned i = 0; i < ZEROS_PIECES; i++) {
        pieces[i] = (struct iovec){(void *)(uintptr_t)zeros, ZEROS_BYTES};
    }
    while (r == 0 && bytes > 0) {
        struct blk_vec v = {.iov = pieces, .bytes = sizeof zeros * ZEROS_PIECES};

        v.bytes = bytes < v.bytes ? (size_t)bytes : v.bytes;
        r = b->ops->write(b, v, off, flags & BLK_FUA);
        off += v.bytes;
        bytes -= v.bytes;
    }
    return r;
}

int blk_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    int r = check(b, off, bytes, true);

    if (r != 0 || bytes == 0) {
        return r;
    }
    if ((flags & BLK_NO_SLOW) != 0 && (b->ops->zero == NULL || !b->zeroes_fast)) {
        return -EOPNOTSUPP;
    }
    b = enter(b);
    r = b->ops->zero != NULL ? b->ops->zero(b, off, bytes, flags) : -EOPNOTSUPP;
    if (r == -EOPNOTSUPP && (flags & BLK_NO_SLOW) == 0) {
        r = write_zeros(b, off, bytes, flags);
    }
    return leave(b, finish_fua(b, flags, r));
}

int blk_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    int r = check(b, off, bytes, true);

    if (r == 0 && off + bytes > b->size_bytes) {
        r = -ERANGE;
    }
    if (r != 0 || bytes == 0 || b->ops->discard == NULL) {
        return r;
    }
    b = enter(b);
    r = b->ops->discard(b, off, bytes);
    return leave(b, r == -EOPNOTSUPP ? 0 : r);
}

int blk_flush(struct blk *b)
{
    if (b->ops->flush == NULL || b->read_only) {
        return 0;
    }
    b = enter(b);
    return leave(b, b->ops->flush(b));
}

int blk_status(struct blk *b, uint64_t off, uint64_t bytes, struct blk_extent *ret_extent)
{
    int r = check(b, off, bytes, false);
    struct blk_extent x = {
        .bytes = bytes,
        .state = BLK_DATA | BLK_ALLOCATED | BLK_PLACED,
        .at = off,
        .holder = b,
    };

    if (r != 0 || bytes == 0) {
        return r != 0 ? r : -EINVAL;
    }
    if (b->ops->status != NULL) {
        b = enter(b);
        r = b->ops->status(b, off, bytes, &x);
        assert(r != 0 || (x.bytes > 0 && x.bytes <= bytes));
        (void)leave(b, r);
    }
    if (r == 0) {
        *ret_extent = x;
    }
    return r;
}

int blk_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd, uint64_t *ret_at)
{
    int r = check(b, off, bytes, false);

    if (r == 0 && (b->ops->pages == NULL || b->drained > 0)) {
        r = -EOPNOTSUPP;
    }
    return r == 0 ? b->ops->pages(b, off, bytes, ret_fd, ret_at) : r;
}

int blk_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    if (b->read_only) {
        return err_set(e, -EROFS, "cannot resize '%s': it is read only", b->label);
    }
    if (b->ops->resize == NULL) {
        return err_set(e, -EOPNOTSUPP, "cannot resize '%s': the size of %s is fixed",
                       b->label, b->ops->name);
    }
    if (size_bytes % b->block_bytes != 0 || size_bytes > BLK_SIZE_MOST_BYTES) {
        return err_set(e, -EINVAL, "cannot resize '%s': not whole blocks of %u bytes",
                       b->label, b->block_bytes);
    }
    b = enter(b);
    return leave(b, b->ops->resize(b, size_bytes, e));
}

/* ---- requests ---- */

static int perform(struct blk_request *r)
{
    switch (r->kind) {
    case BLK_READ:
        return blk_readv(r->disk, r->vec, r->off);
    case BLK_WRITE:
        return blk_writev(r->disk, r->vec, r->off, r->flags);
    case BLK_ZERO:
        return blk_zero(r->disk, r->off, r->bytes, r->flags);
    case BLK_DISCARD:
        return blk_discard(r->disk, r->off, r->bytes);
    case BLK_FLUSH:
        return blk_flush(r->disk);
    default:
        return -EINVAL;
    }
}

static void finish(struct blk_request *r, int result)
{
    struct blk_queue *q = r->queue;
    bool was_empty = q->done_first == NULL;

    r->result = result;
    r->next = NULL;
    if (was_empty) {
        q->done_first = r;
    } else {
        q->done_last->next = r;
    }
    q->done_last = r;
    q->in_flight--;
    if (was_empty && q->ready != NULL) {
        q->ready(q);
    }
}

static void serve(void *arg)
{
    struct blk_request *r = arg;

    finish(r, perform(r));
}

static void begin(struct blk_queue *q, struct blk_request *r)
{
    r->queue = q;
    q->in_flight++;
    if (strand_start(r->disk->strands, serve, r) != 0) {
        finish(r, -ENOMEM);
    }
}

void blk_submit(struct blk_queue *q, struct blk_request *r)
{
    r->disk = q->disk;
    begin(q, r);
}

struct blk_request *blk_reap(struct blk_queue *q)
{
    struct blk_request *r = q->done_first;

    q->done_first = NULL;
    q->done_last = NULL;
    return r;
}

/* A queue whose owner is a strand that waits for all of it. */
struct group {
    struct blk_queue queue;
    struct strand_queue waiter;
};

static void wake_group(struct blk_queue *q)
{
    struct group *g = (struct group *)q;

    (void)strand_wake(&g->waiter);
}

int blk_run_all(struct blk_request *r, unsigned count)
{
    struct group g = {.queue = {.ready = wake_group}};
    struct strand_pool *strands;

    if (count == 0) {
        return 0;
    }
    strands = r[0].disk->strands;
    for (unsigned i = 1; i < count; i++) {
        begin(&g.queue, &r[i]);
    }
    r[0].result = perform(&r[0]); /* the last one needs no strand of its own */
    (void)blk_reap(&g.queue);
    while (g.queue.in_flight > 0) {
        strand_wait(strands, &g.waiter);
        (void)blk_reap(&g.queue);
    }
    for (unsigned i = 0; i < count; i++) {
        if (r[i].result != 0) {
            return r[i].result;
        }
    }
    return 0;
}
