/* window.c - a part of a disk as a disk. */
#include "resource/storage/graph/window.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"

struct window {
    struct blk blk;
    struct blk_edge lower;
    uint64_t off;
};

static struct window *window_of(struct blk *b)
{
    return (struct window *)b;
}

static int read_part(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(window_of(b)->lower.disk, to, window_of(b)->off + off);
}

static int write_part(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    return blk_writev(window_of(b)->lower.disk, from, window_of(b)->off + off, flags);
}

static int flush(struct blk *b)
{
    return blk_flush(window_of(b)->lower.disk);
}

static void destroy(struct blk *b)
{
    blk_detach(&window_of(b)->lower);
    free(b);
}

static const struct blk_ops window_ops = {
    .name = "window",
    .read = read_part,
    .write = write_part,
    .flush = flush,
    .destroy = destroy,
};

int window_create(struct blk *take_lower, uint64_t off, uint64_t bytes, unsigned uses,
                  struct blk **ret_disk, struct err *e)
{
    struct window *w = NULL;
    uint64_t block = take_lower->block_bytes;
    int r = 0;

    bytes -= bytes % block;
    if (off % block != 0 || off > blk_size(take_lower) ||
        bytes > blk_size(take_lower) - off) {
        r = err_set(e, -EUCLEAN, "a part of '%s' lies outside of it", take_lower->label);
    } else {
        w = fault_calloc(1, sizeof *w);
        r = w == NULL ? err_sys(e, -ENOMEM, "cannot open a part of a disk") : 0;
    }
    if (r != 0) {
        blk_drop(take_lower);
        return r;
    }
    blk_init_like(&w->blk, &window_ops, take_lower);
    w->blk.size_bytes = bytes;
    w->blk.does_fua = true;
    w->blk.edge = &w->lower;
    w->blk.edge_count = 1;
    w->off = off;
    w->lower = (struct blk_edge){.user = "window", .uses = uses, .lets = BLK_USE_ALL};
    r = blk_attach(&w->lower, take_lower, e);
    if (r != 0) {
        blk_drop(take_lower);
        free(w);
        return r;
    }
    *ret_disk = &w->blk;
    return 0;
}
