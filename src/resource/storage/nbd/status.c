/* status.c - block status: what is known of a range, in each context that was chosen.
 *
 * One chunk per context, each a list of extents (length, flags).  A list is cut at
 * `EXTENTS_MOST`; the client asks again for the rest.  Source: doc/proto.md, "Metadata
 * querying" and "NBD_REPLY_TYPE_BLOCK_STATUS". */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define EXTENTS_MOST 4096
#define LENGTH_MOST  0xfffff000u /* of an extent in 32 bits, whole blocks */

struct extents {
    char *text; /* owned */
    size_t at;
    unsigned count;
    uint64_t last_bytes;
    uint32_t last_flags;
    bool extended;
};

static void put_last(struct extents *x)
{
    if (x->extended) {
        nbd_put64(x->text + x->at, x->last_bytes);
        nbd_put64(x->text + x->at + 8, x->last_flags);
        x->at += 16;
    } else {
        nbd_put32(x->text + x->at, (uint32_t)x->last_bytes);
        nbd_put32(x->text + x->at + 4, x->last_flags);
        x->at += 8;
    }
    x->count++;
}

/* Add an extent, as one with the last if they are alike.  False: the list is full. */
static bool add(struct extents *x, uint64_t bytes, uint32_t flags)
{
    uint64_t most = x->extended ? UINT64_MAX / 2 : LENGTH_MOST;

    if (x->last_bytes > 0 && x->last_flags == flags && x->last_bytes + bytes <= most) {
        x->last_bytes += bytes;
        return true;
    }
    if (x->last_bytes > 0) {
        put_last(x);
    }
    x->last_bytes = bytes <= most ? bytes : most;
    x->last_flags = flags;
    return x->count + 1 < EXTENTS_MOST && bytes <= most;
}

static int ask_disk(struct request *r, uint64_t off, uint64_t bytes, uint64_t *ret_bytes,
                    uint32_t *ret_flags)
{
    struct blk_extent x;
    int e = blk_status(r->c->export->edge.disk, off, bytes, &x);

    if (e == 0) {
        *ret_bytes = x.bytes;
        *ret_flags = (x.state & BLK_DATA) != 0 ? 0u : (uint32_t)NBD_STATE_ZERO;
        *ret_flags |= (x.state & BLK_ALLOCATED) != 0 && (x.state & BLK_DATA) != 0
                          ? 0u
                          : (uint32_t)((x.state & BLK_DATA) != 0 ? 0 : NBD_STATE_HOLE);
    }
    return e;
}

static int ask(struct request *r, unsigned context, uint64_t off, uint64_t bytes,
               uint64_t *ret_bytes, uint32_t *ret_flags)
{
    const struct nbd_context *x;

    if (context == 0) {
        return ask_disk(r, off, bytes, ret_bytes, ret_flags);
    }
    x = &r->c->export->contexts[context - 1];
    return x->status(x->arg, off, bytes, ret_bytes, ret_flags);
}

static int collect(struct request *r, unsigned context, struct extents *x)
{
    uint64_t off = r->off;
    uint64_t end = r->off + r->bytes;

    while (off < end) {
        uint64_t bytes = 0;
        uint32_t flags = 0;
        int e = ask(r, context, off, end - off, &bytes, &flags);

        if (e != 0) {
            return e;
        }
        if (!add(x, bytes, flags)) {
            break;
        }
        off += bytes;
        if ((r->flags & NBD_CMD_REQ_ONE) != 0 && x->count > 0) {
            x->last_bytes = 0; /* of another kind: one was asked for */
            break;
        }
    }
    if (x->last_bytes > 0) {
        put_last(x);
    }
    return 0;
}

/* Where the list of a context begins: behind its number and, in extended answers, the
 * count of its extents. */
static size_t list_at(const struct connection *c)
{
    return c->extended ? 8 : 4;
}

static int answer_context(struct request *r, unsigned context, bool last)
{
    struct connection *c = r->c;
    struct extents x = {.extended = c->extended, .at = list_at(c)};
    struct request *out = r;
    int e;

    x.text = fault_malloc(list_at(c) + (size_t)(EXTENTS_MOST + 1) * 16);
    if (x.text == NULL) {
        return -ENOMEM;
    }
    e = collect(r, context, &x);
    if (e == 0 && !last) { /* an answer of several chunks: this one is not the last */
        out = nbd_request_get(c);
        e = out == NULL ? -ENOMEM : 0;
    }
    if (e != 0) {
        free(x.text);
        return e;
    }
    nbd_put32(x.text, context);
    if (c->extended) {
        nbd_put32(x.text + 4, x.count);
    }
    out->cookie = r->cookie;
    out->off = r->off;
    out->command = NBD_CMD_BLOCK_STATUS;
    nbd_reply_text(out, c->extended ? NBD_CHUNK_STATUS_EXT : NBD_CHUNK_STATUS, x.text,
                   x.at);
    if (!last) {
        nbd_put16(out->head + 4, 0); /* not NBD_CHUNK_DONE */
    }
    return 0;
}

void nbd_block_status(struct request *r)
{
    uint32_t mask = r->c->context_mask;
    int e = mask == 0 ? -EINVAL : 0;

    for (unsigned i = 0; e == 0 && mask != 0; i++) {
        if ((mask & (1u << i)) != 0) {
            mask &= ~(1u << i);
            e = answer_context(r, i, mask == 0);
        }
    }
    if (e != 0) {
        nbd_reply(r, e);
    }
}
