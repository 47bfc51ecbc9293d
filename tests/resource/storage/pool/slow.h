/* slow.h - a filter whose requests take a while now and then, so that others run in between. */
#ifndef TESTS_RESOURCE_STORAGE_POOL_SLOW_H
#define TESTS_RESOURCE_STORAGE_POOL_SLOW_H

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "tests/contract/blk_suite.h"

struct slow {
    struct blk blk;
    struct blk_edge edge;
    struct loop *loop;
    uint64_t random;
    uint64_t read_ns; /* each read waits so long before it begins; 0: as the others */
};

static inline struct blk *slow_below(struct blk *b)
{
    struct slow *s = (struct slow *)b;

    if (suite_random(&s->random) % 2 == 0) {
        loop_sleep(s->loop, 3000);
    }
    return s->edge.disk;
}

static inline int slow_follow(struct blk *b, int r)
{
    b->size_bytes = blk_size(((struct slow *)b)->edge.disk);
    return r;
}

static inline int slow_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    uint64_t ns = ((struct slow *)b)->read_ns;

    if (ns != 0) {
        loop_sleep(((struct slow *)b)->loop, ns);
        return blk_readv(((struct slow *)b)->edge.disk, to, off);
    }
    return blk_readv(slow_below(b), to, off);
}

static inline int slow_write(struct blk *b, struct blk_vec from, uint64_t off,
                             unsigned flags)
{
    return slow_follow(b, blk_writev(slow_below(b), from, off, flags));
}

static inline int slow_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return slow_follow(b, blk_zero(slow_below(b), off, bytes, flags));
}

static inline int slow_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return blk_discard(slow_below(b), off, bytes);
}

static inline int slow_flush(struct blk *b)
{
    return blk_flush(slow_below(b));
}

static inline int slow_status(struct blk *b, uint64_t off, uint64_t bytes,
                              struct blk_extent *ret)
{
    return blk_status(slow_below(b), off, bytes, ret);
}

static inline int slow_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    return slow_follow(b, blk_resize(slow_below(b), size_bytes, e));
}

static inline void slow_destroy(struct blk *b)
{
    blk_detach(&((struct slow *)b)->edge);
    free(b);
}

static const struct blk_ops slow_ops = {
    .name = "slow",
    .read = slow_read,
    .write = slow_write,
    .zero = slow_zero,
    .discard = slow_discard,
    .flush = slow_flush,
    .status = slow_status,
    .resize = slow_resize,
    .destroy = slow_destroy,
};

static inline struct blk *slow_over(struct loop *l, struct blk *take_lower,
                                    uint64_t random)
{
    struct slow *s = calloc(1, sizeof *s);

    blk_init_like(&s->blk, &slow_ops, take_lower);
    s->blk.grows = take_lower->grows;
    s->blk.does_fua = true;
    s->edge = (struct blk_edge){.user = "slow", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&s->edge, take_lower, NULL));
    s->loop = l;
    s->random = random | 1;
    return &s->blk;
}

#endif
