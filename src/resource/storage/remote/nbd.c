/* nbd.c - a disk behind an NBD server, by libnbd.
 *
 * Connecting blocks, so it runs on another thread; then the handle belongs to the loop:
 * its descriptor is watched for what libnbd wants, and each request is a strand that
 * waits for its completion.  libnbd's callbacks may not call libnbd, so they only put
 * the request on a list; `pump` resumes those strands when the call has returned.
 *
 * A server may not know zeroing, trimming or contexts: what it lacks is answered as the
 * contract says for a slot that is missing. */
#include "resource/storage/remote/remote.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_ops.h"
#include "host/loop/file_io.h"
#include "host/loop/loop.h"
#include "resource/storage/remote/library.h"

#define REQUEST_MOST (32u * 1024 * 1024) /* doc/proto.md, "Size constraints" */
#define STATUS_MOST  (1u << 30)          /* asked for at once */

/* Few disks are of this kind, and the library takes longer to load than all others
 * together: it is loaded by the first one, and stays. */
struct nbd_calls {
#define CALL(name) __typeof__(name) *name;
#include "resource/storage/remote/nbd.rows.h"
#undef CALL
};

struct client {
    struct blk blk;
    struct nbd_calls call;
    struct loop *loop;
    struct nbd_handle *handle;
    struct loop_watch watch;
    char *label; /* owned */
    bool contexts;
    bool zeroes;
    bool trims;
    bool fua;
    struct op *done; /* finished inside a call of libnbd */
};

struct op {
    struct client *c;
    struct strand *waiter; /* NULL: the submitter has not suspended yet */
    struct op *next;
    bool done;
    int error;
    uint64_t bytes; /* block status: of the first extent */
    uint32_t flags;
};

static struct client *client_of(struct blk *b)
{
    return (struct client *)b;
}

/* ---- completions ---- */

static int finished(void *arg, int *error)
{
    struct op *op = arg;

    op->error = *error;
    op->done = true;
    op->next = op->c->done;
    op->c->done = op;
    return 1; /* libnbd forgets the command */
}

/* Watch for what libnbd wants now. */
static void turn_watch(struct client *c)
{
    unsigned way = c->call.nbd_aio_get_direction(c->handle);
    uint32_t events = 0;

    events |= (way & LIBNBD_AIO_DIRECTION_READ) != 0 ? (uint32_t)EPOLLIN : 0u;
    events |= (way & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u;
    if (c->watch.loop != NULL) {
        (void)loop_watch_change(&c->watch, events);
    }
}

static void pump(struct client *c)
{
    struct op *list = c->done;

    c->done = NULL;
    turn_watch(c);
    while (list != NULL) {
        struct op *op = list;

        list = op->next;
        if (op->waiter != NULL) {
            strand_resume(op->waiter);
        }
    }
}

static bool is_gone(const struct client *c)
{
    return c->call.nbd_aio_is_dead(c->handle) == 1 ||
           c->call.nbd_aio_is_closed(c->handle) == 1;
}

static void came(struct loop_watch *w, uint32_t events)
{
    struct client *c = (struct client *)((char *)w - offsetof(struct client, watch));

    if ((events & EPOLLOUT) != 0) {
        (void)c->call.nbd_aio_notify_write(c->handle);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
        (c->call.nbd_aio_get_direction(c->handle) & LIBNBD_AIO_DIRECTION_READ) != 0) {
        (void)c->call.nbd_aio_notify_read(c->handle);
    }
    if (is_gone(c)) {
        loop_unwatch(&c->watch);
    }
    pump(c);
}

static int code_of(int error)
{
    switch (error) {
    case 0:
        return 0;
    case ENOTCONN:
    case ESHUTDOWN:
    case ECONNRESET:
    case EPIPE:
        return -ENODEV;
    case EPERM:
        return -EROFS;
    default:
        return -error;
    }
}

/* Wait for a command that was just submitted (`cookie` < 0: it was not). */
static int wait_for(struct client *c, struct op *op, int64_t cookie)
{
    if (cookie < 0) {
        int error = c->call.nbd_get_errno();

        return is_gone(c) ? -ENODEV : code_of(error);
    }
    pump(c); /* others may have finished; this one has no waiter yet */
    if (!op->done) {
        op->waiter = strand_current(c->blk.strands);
        strand_suspend(c->blk.strands);
    }
    return code_of(op->error);
}

static nbd_completion_callback completion(struct op *op)
{
    return (nbd_completion_callback){.callback = finished, .user_data = op};
}

/* ---- the slots ---- */

static int transfer(struct client *c, char *buf, size_t bytes, uint64_t off, bool writes,
                    uint32_t flags)
{
    struct op op = {.c = c};
    int64_t cookie =
        writes
            ? c->call.nbd_aio_pwrite(c->handle, buf, bytes, off, completion(&op), flags)
            : c->call.nbd_aio_pread(c->handle, buf, bytes, off, completion(&op), 0);

    return wait_for(c, &op, cookie);
}

/* In parts that a server takes; pieces that do not lie side by side go through a buffer. */
static int transfer_all(struct client *c, struct blk_vec v, uint64_t off, bool writes,
                        uint32_t flags)
{
    int r = 0;

    while (r == 0 && v.bytes > 0) {
        size_t n = v.bytes < REQUEST_MOST ? v.bytes : REQUEST_MOST;
        struct blk_vec now = blk_vec_part(v, 0, n);
        SCOPED(scope_free) char *own = NULL;
        char *buf = blk_vec_flat(now);

        if (buf == NULL) {
            own = fault_malloc(n);
            buf = own;
            if (own == NULL) {
                return -ENOMEM;
            }
            if (writes) {
                blk_vec_take(now, own);
            }
        }
        r = transfer(c, buf, n, off, writes, flags);
        if (r == 0 && own != NULL && !writes) {
            blk_vec_put(now, own);
        }
        off += n;
        v = blk_vec_part(v, n, v.bytes - n);
    }
    return r;
}

static int client_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return transfer_all(client_of(b), to, off, false, 0);
}

static int client_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct client *c = client_of(b);

    return transfer_all(c, from, off, true,
                        (flags & BLK_FUA) != 0 && c->fua ? LIBNBD_CMD_FLAG_FUA : 0);
}

static int client_flush(struct blk *b)
{
    struct client *c = client_of(b);
    struct op op = {.c = c};

    if (c->call.nbd_can_flush(c->handle) != 1) {
        return 0;
    }
    return wait_for(c, &op, c->call.nbd_aio_flush(c->handle, completion(&op), 0));
}

/* Zeros or a trim, in lengths of 32 bits. */
static int clear(struct client *c, uint64_t off, uint64_t bytes, uint32_t flags,
                 bool trims)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        uint64_t n = bytes < STATUS_MOST ? bytes : STATUS_MOST;
        struct op op = {.c = c};
        int64_t cookie =
            trims ? c->call.nbd_aio_trim(c->handle, n, off, completion(&op), 0)
                  : c->call.nbd_aio_zero(c->handle, n, off, completion(&op), flags);

        r = wait_for(c, &op, cookie);
        off += n;
        bytes -= n;
    }
    return r;
}

static int client_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct client *c = client_of(b);
    uint32_t wire = (flags & BLK_UNMAP) != 0 ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;

    if (!c->zeroes) {
        return -EOPNOTSUPP;
    }
    wire |= (flags & BLK_FUA) != 0 && c->fua ? LIBNBD_CMD_FLAG_FUA : 0;
    wire |= (flags & BLK_NO_SLOW) != 0 ? LIBNBD_CMD_FLAG_FAST_ZERO : 0;
    return clear(c, off, bytes, wire, false);
}

static int client_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct client *c = client_of(b);

    return c->trims ? clear(c, off, bytes, 0, true) : 0;
}

static int take_extents(void *arg, const char *context, uint64_t off, uint32_t *entries,
                        size_t count, int *error)
{
    struct op *op = arg;

    (void)off;
    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 && count >= 2) {
        op->bytes = entries[0];
        op->flags = entries[1];
    }
    return 0;
}

static int client_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    struct client *c = client_of(b);
    struct op op = {.c = c};
    int r = 0;

    ret->state = BLK_DATA | BLK_ALLOCATED;
    ret->holder = NULL;
    bytes = bytes < STATUS_MOST ? bytes : STATUS_MOST;
    ret->bytes = bytes;
    if (!c->contexts) {
        return 0;
    }
    r = wait_for(c, &op,
                 c->call.nbd_aio_block_status(
                     c->handle, bytes, off,
                     (nbd_extent_callback){.callback = take_extents, .user_data = &op},
                     completion(&op), 0));
    op.bytes &= ~((uint64_t)b->block_bytes - 1);
    if (r == 0 && op.bytes > 0) {
        ret->bytes = op.bytes < bytes ? op.bytes : bytes;
        ret->state = (op.flags & LIBNBD_STATE_ZERO) != 0 ? 0u : (unsigned)BLK_DATA;
        ret->state |= (op.flags & LIBNBD_STATE_HOLE) != 0 ? 0u : (unsigned)BLK_ALLOCATED;
    }
    return r;
}

/* ---- life ---- */

static int hang_up(void *arg)
{
    struct client *c = arg;

    (void)c->call.nbd_shutdown(c->handle, 0); /* tells the server, and waits for it */
    c->call.nbd_close(c->handle);
    return 0;
}

static void client_destroy(struct blk *b)
{
    struct client *c = client_of(b);

    loop_unwatch(&c->watch);
    if (c->handle != NULL) {
        (void)file_io_call(c->loop, hang_up, c);
    }
    free(c->label);
    free(c);
}

static const struct blk_ops client_ops = {
    .name = "nbd",
    .read = client_read,
    .write = client_write,
    .zero = client_zero,
    .discard = client_discard,
    .flush = client_flush,
    .status = client_status,
    .destroy = client_destroy,
};

static int load(struct client *c, struct err *e)
{
    static const char *const names[] = {
#define CALL(name) #name,
#include "resource/storage/remote/nbd.rows.h"
#undef CALL
    };

    return remote_library_load("libnbd.so.0", names, sizeof names / sizeof names[0],
                               &c->call, e);
}

struct connecting {
    const struct nbd_calls *call;
    struct nbd_handle *handle;
    const char *uri;
    char why[256];
};

/* On another thread: libnbd's last error belongs to the thread. */
static int connect_now(void *arg)
{
    struct connecting *x = arg;
    int r = x->call->nbd_add_meta_context(x->handle, LIBNBD_CONTEXT_BASE_ALLOCATION);

    if (r == 0) {
        r = x->call->nbd_connect_uri(x->handle, x->uri);
    }
    if (r != 0) {
        int error = x->call->nbd_get_errno();

        (void)strncpy(x->why, x->call->nbd_get_error(), sizeof x->why - 1);
        return error != 0 ? -error : -EIO;
    }
    return 0;
}

static int take_geometry(struct client *c, bool read_only, struct err *e)
{
    int64_t size = c->call.nbd_get_size(c->handle);
    int64_t least = c->call.nbd_get_block_size(c->handle, LIBNBD_SIZE_MINIMUM);
    int64_t best = c->call.nbd_get_block_size(c->handle, LIBNBD_SIZE_PREFERRED);

    if (size < 0 || size % BLK_BLOCK_LEAST_BYTES != 0 || least > BLK_BLOCK_MOST_BYTES) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot use '%s': its size or its blocks are of no use", c->label);
    }
    c->blk.size_bytes = (uint64_t)size;
    c->blk.block_bytes =
        least > BLK_BLOCK_LEAST_BYTES ? (uint32_t)least : BLK_BLOCK_LEAST_BYTES;
    c->blk.best_bytes = best > 0 ? (uint32_t)best : 0;
    c->blk.read_only = read_only || c->call.nbd_is_read_only(c->handle) == 1;
    c->contexts =
        c->call.nbd_can_meta_context(c->handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    c->zeroes = c->call.nbd_can_zero(c->handle) == 1;
    c->trims = c->call.nbd_can_trim(c->handle) == 1;
    c->fua = c->call.nbd_can_fua(c->handle) == 1;
    c->blk.does_fua = c->fua;
    c->blk.zeroes_fast = c->call.nbd_can_fast_zero(c->handle) == 1;
    return 0;
}

static int set_up(struct client *c, const char *uri, bool read_only, struct err *e)
{
    struct connecting x = {.uri = uri, .call = &c->call};
    int r = load(c, e);

    if (r != 0) {
        return r;
    }
    c->label = fault_strdup(uri);
    c->handle = c->call.nbd_create();
    if (c->label == NULL || c->handle == NULL) {
        return err_sys(e, -ENOMEM, "cannot connect to '%s'", uri);
    }
    c->blk.label = c->label;
    x.handle = c->handle;
    r = file_io_call(c->loop, connect_now, &x);
    if (r != 0) {
        return err_set(e, r, "cannot connect to '%s': %s", uri, x.why);
    }
    r = take_geometry(c, read_only, e);
    if (r == 0) {
        c->watch = (struct loop_watch){
            .fd = c->call.nbd_aio_get_fd(c->handle), .events = EPOLLIN, .fn = came};
        r = loop_watch(c->loop, &c->watch);
        r = r == 0 ? 0 : err_sys(e, r, "cannot connect to '%s'", uri);
    }
    return r;
}

int remote_nbd_create(struct loop *l, const char *uri, bool read_only,
                      struct blk **ret_disk, struct err *e)
{
    struct client *c = fault_calloc(1, sizeof *c);
    int r;

    if (c == NULL) {
        return err_sys(e, -ENOMEM, "cannot connect to '%s'", uri);
    }
    blk_init(&c->blk, &client_ops, loop_strands(l));
    c->loop = l;
    r = set_up(c, uri, read_only, e);
    if (r != 0) {
        client_destroy(&c->blk);
        return r;
    }
    *ret_disk = &c->blk;
    return 0;
}
