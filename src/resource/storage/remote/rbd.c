/* rbd.c - a disk that is an image of a Ceph pool.
 *
 * librbd works on threads of its own.  A request is begun by a task of the loop, not by
 * its strand, as nobody promises how much stack librbd needs; its completion is posted
 * from librbd's thread, so that many of them cost one wake-up.
 *
 * Block status comes from the library's list of what an image holds, whole objects at a
 * time, which for an image with a valid object map costs no request to the cluster.  It
 * is kept as one bit for each object of a window: own writes set bits, nothing clears
 * them before the window is read anew.  Others may write as well unless the image was
 * opened for ourselves, so a window is then believed for `MAP_NS` only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "host/loop/file_io.h"
#include "host/loop/loop.h"
#include "resource/storage/remote/rbd_private.h"

#define REQUEST_MOST (16u * 1024 * 1024)
#define PIECES       32         /* of a request, without an allocation */
#define MAP_NS       1000000000 /* 1 s */
#define MAP_FAST     65536      /* objects of a window, with an object map */
#define MAP_SLOW     64         /* without one: a request for each */

/* What is known of [first, first + count). */
struct map {
    uint64_t first; /* objects */
    uint64_t count; /* 0: nothing */
    uint64_t until_ns;
    bool valid;     /* else it is being made */
    uint8_t *bits;  /* owned; 1: may hold data */
    uint8_t *found; /* owned; of the thread that makes it */
    struct strand_lock lock;
};

struct client {
    struct blk blk;
    struct remote_rbd *pool; /* one of its users */
    char *label;             /* owned */
    void *image;
    uint64_t object_bytes;
    uint64_t window; /* objects */
    bool exclusive;
    struct map map;
};

struct op {
    struct loop_task task; /* first; begins it, then brings it back */
    struct client *k;
    enum blk_kind kind;
    unsigned flags;
    const struct iovec *iov;
    unsigned count;
    uint64_t off;
    uint64_t bytes;
    void *completion;
    struct strand *waiter;
    ssize_t result;
};

static struct client *client_of(struct blk *b)
{
    return (struct client *)b;
}

/* ---- one request of the library ---- */

static void ended(struct loop_task *t)
{
    struct op *op = (struct op *)t;

    op->k->pool->api.rbd_aio_release(op->completion);
    strand_resume(op->waiter);
}

/* On a thread of librbd. */
static void completed(void *completion, void *arg)
{
    struct op *op = arg;

    op->result = op->k->pool->api.rbd_aio_get_return_value(completion);
    loop_post(op->k->pool->loop, &op->task);
}

static int start(struct op *op)
{
    struct remote_rbd_api *a = &op->k->pool->api;
    void *image = op->k->image;
    int thick = (op->flags & BLK_UNMAP) != 0 ? 0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION;

    switch (op->kind) {
    case BLK_READ:
        return a->rbd_aio_readv(image, op->iov, (int)op->count, op->off, op->completion);
    case BLK_WRITE:
        return a->rbd_aio_writev(image, op->iov, (int)op->count, op->off, op->completion);
    case BLK_ZERO:
        return a->rbd_aio_write_zeroes(image, op->off, op->bytes, op->completion, thick,
                                       0);
    case BLK_DISCARD:
        return a->rbd_aio_discard(image, op->off, op->bytes, op->completion);
    default:
        return a->rbd_aio_flush(image, op->completion);
    }
}

static void begin(struct loop_task *t)
{
    struct op *op = (struct op *)t;
    int r = op->k->pool->api.rbd_aio_create_completion(op, completed, &op->completion);

    if (r < 0) {
        op->result = r;
        strand_resume(op->waiter);
        return;
    }
    op->task.fn = ended;
    r = start(op);
    if (r < 0) {
        op->result = r;
        ended(t);
    }
}

static int code_of(const struct op *op)
{
    switch (-op->result) {
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case ESHUTDOWN: /* the cluster has shut us out */
    case ENOENT:
        return -ENODEV;
    case EROFS:
    case ENOMEM:
        return (int)op->result;
    default:
        break;
    }
    if (op->result < 0) {
        return -EIO;
    }
    return op->kind == BLK_READ && (uint64_t)op->result != op->bytes ? -EIO : 0;
}

static int run(struct op *op)
{
    op->task.fn = begin;
    op->waiter = strand_current(op->k->blk.strands);
    loop_later(op->k->pool->loop, &op->task);
    strand_suspend(op->k->blk.strands);
    return code_of(op);
}

/* ---- what the image holds ---- */

/* Own data goes to [off, off + bytes). */
static void touch(struct client *k, uint64_t off, uint64_t bytes)
{
    uint64_t last = (off + bytes - 1) / k->object_bytes;

    for (uint64_t i = off / k->object_bytes; i <= last; i++) {
        if (i >= k->map.first && i - k->map.first < k->map.count) {
            k->map.bits[(i - k->map.first) / 8] |=
                (uint8_t)(1u << (i - k->map.first) % 8);
        }
    }
}

static int found(uint64_t off, size_t bytes, int exists, void *arg)
{
    struct client *k = arg;
    uint64_t from = off / k->object_bytes;
    uint64_t last = bytes > 0 ? (off + bytes - 1) / k->object_bytes : 0;

    for (uint64_t i = from; exists != 0 && bytes > 0 && i <= last; i++) {
        if (i >= k->map.first && i - k->map.first < k->map.count) {
            k->map.found[(i - k->map.first) / 8] |=
                (uint8_t)(1u << (i - k->map.first) % 8);
        }
    }
    return 0;
}

/* On another thread. */
static int look(void *arg)
{
    struct client *k = arg;
    uint64_t from = k->map.first * k->object_bytes;
    uint64_t bytes = k->map.count * k->object_bytes;

    bytes = bytes < k->blk.size_bytes - from ? bytes : k->blk.size_bytes - from;
    return k->pool->api.rbd_diff_iterate2(k->image, NULL, from, bytes, 1, 1, found, k);
}

/* Have the window that `object` lies in; with the lock. */
static int have_map(struct client *k, uint64_t object)
{
    struct map *m = &k->map;
    uint64_t now = loop_now_ns(k->pool->loop);
    size_t bytes = (k->window + 7) / 8;
    int r;

    if (m->valid && object >= m->first && object - m->first < m->count &&
        (k->exclusive || now < m->until_ns)) {
        return 0;
    }
    if (m->bits == NULL) {
        m->bits = fault_calloc(2, bytes);
        if (m->bits == NULL) {
            return -ENOMEM;
        }
        m->found = m->bits + bytes;
    }
    memset(m->bits, 0, 2 * bytes);
    m->first = object / k->window * k->window;
    m->count = k->window;
    m->valid = false;
    r = file_io_call(k->pool->loop, look, k);
    for (size_t i = 0; i < bytes; i++) {
        m->bits[i] |= m->found[i];
    }
    m->until_ns = loop_now_ns(k->pool->loop) + MAP_NS;
    m->valid = r == 0;
    return r;
}

static bool is_data(const struct map *m, uint64_t object)
{
    return (m->bits[(object - m->first) / 8] >> (object - m->first) % 8 & 1) != 0;
}

static int client_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct client *k = client_of(b);
    struct map *m = &k->map;
    uint64_t object = off / k->object_bytes;
    uint64_t end = object + 1;

    *ret = (struct blk_extent){.bytes = bytes, .state = BLK_DATA | BLK_ALLOCATED};
    strand_lock(b->strands, &m->lock);
    if (have_map(k, object) == 0) {
        while (end - m->first < m->count && is_data(m, end) == is_data(m, object)) {
            end++;
        }
        ret->state = is_data(m, object) ? BLK_DATA | BLK_ALLOCATED : 0u;
        end = end * k->object_bytes - off;
        ret->bytes = end < bytes ? end : bytes;
    }
    strand_unlock(&m->lock);
    return 0;
}

/* ---- the slots ---- */

static int transfer_part(struct client *k, enum blk_kind kind, struct blk_vec v,
                         uint64_t off)
{
    struct iovec few[PIECES];
    SCOPED(scope_free) struct iovec *many = NULL;
    struct op op = {.k = k, .kind = kind, .off = off, .bytes = v.bytes, .iov = few};
    size_t sum = 0;

    op.count = blk_vec_pieces(v, few, PIECES);
    for (unsigned i = 0; i < op.count; i++) {
        sum += few[i].iov_len;
    }
    if (sum < v.bytes) {
        many = fault_malloc(BLK_VEC_PIECES_MOST * sizeof *many);
        if (many == NULL) {
            return -ENOMEM;
        }
        op.count = blk_vec_pieces(v, many, BLK_VEC_PIECES_MOST);
        op.iov = many;
    }
    return run(&op);
}

static int transfer_all(struct client *k, enum blk_kind kind, struct blk_vec v,
                        uint64_t off)
{
    int r = 0;

    while (r == 0 && v.bytes > 0) {
        size_t n = v.bytes < REQUEST_MOST ? v.bytes : REQUEST_MOST;

        r = transfer_part(k, kind, blk_vec_part(v, 0, n), off);
        off += n;
        v = blk_vec_part(v, n, v.bytes - n);
    }
    return r;
}

static int client_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return transfer_all(client_of(b), BLK_READ, to, off);
}

static int client_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    uint64_t bytes = from.bytes;
    int r;

    (void)flags;
    touch(client_of(b), off, bytes);
    r = transfer_all(client_of(b), BLK_WRITE, from, off);
    touch(client_of(b), off, bytes); /* the window may be one that was read meanwhile */
    return r;
}

static int clear(struct client *k, enum blk_kind kind, uint64_t off, uint64_t bytes,
                 unsigned flags)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        uint64_t n = bytes < BLK_REQUEST_MOST_BYTES ? bytes : BLK_REQUEST_MOST_BYTES;
        struct op op = {.k = k, .kind = kind, .flags = flags, .off = off, .bytes = n};

        r = run(&op);
        off += n;
        bytes -= n;
    }
    return r;
}

static int client_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    int r;

    if ((flags & BLK_NO_SLOW) != 0 && (flags & BLK_UNMAP) == 0) {
        return -EOPNOTSUPP; /* objects full of zeros are written */
    }
    touch(client_of(b), off, bytes);
    r = clear(client_of(b), BLK_ZERO, off, bytes, flags);
    touch(client_of(b), off, bytes);
    return r;
}

static int client_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return clear(client_of(b), BLK_DISCARD, off, bytes, 0);
}

static int client_flush(struct blk *b)
{
    struct op op = {.k = client_of(b), .kind = BLK_FLUSH};

    return run(&op);
}

struct resizing {
    struct client *k;
    uint64_t size_bytes;
};

static int go_on(uint64_t done, uint64_t total, void *arg) /* librbd wants one */
{
    (void)done;
    (void)total;
    (void)arg;
    return 0;
}

static int resize_now(void *arg)
{
    struct resizing *x = arg;

    return x->k->pool->api.rbd_resize2(x->k->image, x->size_bytes, true, go_on, NULL);
}

static int client_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct client *k = client_of(b);
    struct resizing x = {k, size_bytes};
    int r;

    strand_lock(b->strands, &k->map.lock);
    r = file_io_call(k->pool->loop, resize_now, &x);
    k->map.valid = false;
    if (r == 0) {
        b->size_bytes = size_bytes;
    }
    strand_unlock(&k->map.lock);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

/* ---- life ---- */

static int close_now(void *arg)
{
    struct client *k = arg;

    return k->pool->api.rbd_close(k->image);
}

static void client_destroy(struct blk *b)
{
    struct client *k = client_of(b);

    if (k->image != NULL) {
        (void)file_io_call(k->pool->loop, close_now, k);
    }
    remote_rbd_leave(k->pool);
    free(k->map.bits);
    free(k->label);
    free(k);
}

static const struct blk_ops client_ops = {
    .name = "rbd",
    .read = client_read,
    .write = client_write,
    .zero = client_zero,
    .discard = client_discard,
    .flush = client_flush,
    .status = client_status,
    .resize = client_resize,
    .destroy = client_destroy,
};

struct opening {
    struct client *k;
    const struct remote_rbd_image *o;
    uint64_t features;
    uint64_t flags;
    bool locked_out;
};

static int open_now(void *arg)
{
    struct opening *x = arg;
    struct client *k = x->k;
    struct remote_rbd_api *a = &k->pool->api;
    bool read_only = x->o->read_only || x->o->snapshot != NULL;
    int r = (read_only ? a->rbd_open_read_only : a->rbd_open)(k->pool->io, x->o->name,
                                                              &k->image, x->o->snapshot);

    if (r != 0) {
        k->image = NULL;
        return r;
    }
    if (x->o->exclusive && !read_only) {
        r = a->rbd_lock_acquire(k->image, RBD_LOCK_MODE_EXCLUSIVE);
        x->locked_out = r != 0;
    }
    r = r != 0 ? r : a->rbd_get_size(k->image, &k->blk.size_bytes);
    r = r != 0 ? r : a->rbd_get_stripe_unit(k->image, &k->object_bytes);
    r = r != 0 ? r : a->rbd_get_features(k->image, &x->features);
    return r != 0 ? r : a->rbd_get_flags(k->image, &x->flags);
}

static int set_up(struct client *k, const struct remote_rbd_image *o, struct err *e)
{
    struct opening x = {.k = k, .o = o};
    int r = file_io_call(k->pool->loop, open_now, &x);

    if (r != 0 && x.locked_out) {
        return err_set(e, -EBUSY, "cannot open '%s': another has it for himself",
                       k->label);
    }
    if (r != 0) {
        return err_sys(e, r, "cannot open '%s'", k->label);
    }
    if (k->blk.size_bytes % BLK_BLOCK_LEAST_BYTES != 0 ||
        k->blk.size_bytes > BLK_SIZE_MOST_BYTES ||
        k->object_bytes < BLK_BLOCK_MOST_BYTES) {
        return err_set(e, -EOPNOTSUPP, "cannot use '%s': not whole blocks", k->label);
    }
    k->exclusive = o->exclusive;
    k->window = (x.features & RBD_FEATURE_FAST_DIFF) != 0 &&
                        (x.flags & RBD_FLAG_FAST_DIFF_INVALID) == 0
                    ? MAP_FAST
                    : MAP_SLOW;
    k->blk.read_only = o->read_only || o->snapshot != NULL;
    k->blk.zeroes_fast = true;
    k->blk.best_bytes =
        k->object_bytes <= UINT32_MAX ? (uint32_t)k->object_bytes : REQUEST_MOST;
    return 0;
}

int remote_rbd_create(struct remote_rbd *p, const struct remote_rbd_image *o,
                      struct blk **ret_disk, struct err *e)
{
    struct client *k = fault_calloc(1, sizeof *k);
    size_t bytes = strlen(p->name) + strlen(o->name) +
                   (o->snapshot != NULL ? strlen(o->snapshot) : 0) + 3;
    int r;

    if (k == NULL) {
        return err_sys(e, -ENOMEM, "cannot open the image '%s'", o->name);
    }
    blk_init(&k->blk, &client_ops, loop_strands(p->loop));
    k->pool = p;
    p->users++;
    k->label = fault_malloc(bytes);
    if (k->label == NULL) {
        r = err_sys(e, -ENOMEM, "cannot open the image '%s'", o->name);
    } else {
        (void)strcat(strcat(strcpy(k->label, p->name), "/"), o->name);
        if (o->snapshot != NULL) {
            (void)strcat(strcat(k->label, "@"), o->snapshot);
        }
        k->blk.label = k->label;
        r = set_up(k, o, e);
    }
    if (r != 0) {
        client_destroy(&k->blk);
        return r;
    }
    *ret_disk = &k->blk;
    return 0;
}
