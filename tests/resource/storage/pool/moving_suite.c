/* moving_suite.c - a span keeps the promises of disks while its segments are on their way from
 * one piece to another all the time, through errors and power cuts. */
#include <errno.h>
#include <string.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/span.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/pool/slow.h"

#define MAP     3       /* the last of the lower disks */
#define SEGMENT 524288u /* two chunks of a copy */

/* A filter that does nothing but to have a strand at work below it. */
struct mover {
    struct blk blk;
    struct blk_edge edge;
    struct loop *loop;
    bool stop;
    bool runs;
    struct strand_queue stopped;
    uint64_t random;
    uint64_t moved;
};

static struct blk *below(struct blk *b)
{
    return ((struct mover *)b)->edge.disk;
}

static int mover_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(below(b), to, off);
}

static int mover_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    return blk_writev(below(b), from, off, flags);
}

static int mover_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return blk_zero(below(b), off, bytes, flags);
}

static int mover_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return blk_discard(below(b), off, bytes);
}

static int mover_flush(struct blk *b)
{
    return blk_flush(below(b));
}

static int mover_status(struct blk *b, uint64_t off, uint64_t bytes,
                        struct blk_extent *ret)
{
    return blk_status(below(b), off, bytes, ret);
}

static int mover_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    int r = blk_resize(below(b), size_bytes, e);

    while (r == -EBUSY) {
        loop_sleep(((struct mover *)b)->loop, 20000);
        r = blk_resize(below(b), size_bytes, NULL);
    }
    b->size_bytes = blk_size(below(b));
    return r;
}

static int mover_quiesce(struct blk *b)
{
    struct mover *m = (struct mover *)b;

    m->stop = true;
    while (m->runs) {
        strand_wait(b->strands, &m->stopped);
    }
    return 0;
}

static void mover_destroy(struct blk *b)
{
    struct mover *m = (struct mover *)b;

    if (getenv("MOVING_TALK") != NULL) {
        (void)fprintf(stderr, "moved %llu\n", (unsigned long long)m->moved);
    }
    blk_detach(&m->edge);
    free(m);
}

static const struct blk_ops mover_ops = {
    .name = "mover",
    .read = mover_read,
    .write = mover_write,
    .zero = mover_zero,
    .discard = mover_discard,
    .flush = mover_flush,
    .status = mover_status,
    .resize = mover_resize,
    .quiesce = mover_quiesce,
    .destroy = mover_destroy,
};

static int go_on(void *arg, uint64_t done, uint64_t total)
{
    const struct mover *m = arg;

    must(done <= total);
    return m->stop ? -ECANCELED : 0;
}

static void move_always(void *arg)
{
    struct mover *m = arg;
    struct place_span_move how = {.progress = go_on, .arg = m};

    while (!m->stop) {
        uint64_t segment = suite_random(&m->random) % 8;
        unsigned to = (unsigned)(suite_random(&m->random) % MAP);
        int from = place_span_where(m->edge.disk, segment);
        int r = place_span_move(m->edge.disk, segment, to, &how, NULL);

        if (r == 0 && from >= 0 && from != (int)to) {
            must(place_span_where(m->edge.disk, segment) == (int)to);
            m->moved++;
        }
        loop_sleep(m->loop, 1000);
    }
    m->runs = false;
    (void)strand_wake_all(&m->stopped);
}

static int open_moving(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    static uint64_t random = 5;
    struct place_span_options o = {.loop = l, .pieces = MAP};
    struct mover *m = calloc(1, sizeof *m);
    struct blk *slow[MAP + 1];
    struct blk *span = NULL;
    int r;

    for (unsigned i = 0; i <= MAP; i++) {
        slow[i] = slow_over(l, take_lower[i], random + i);
    }
    r = place_span_open(slow[MAP], slow, &o, &span, e);

    (void)size_bytes;
    if (r != 0) {
        free(m);
        return r;
    }
    blk_init_like(&m->blk, &mover_ops, span);
    m->edge = (struct blk_edge){.user = "mover", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&m->edge, span, e));
    m->loop = l;
    m->random = random += 2;
    m->runs = true;
    r = strand_start(span->strands, move_always, m);
    m->runs = m->runs && r == 0;
    *ret_disk = &m->blk;
    return 0;
}

static int make_moving(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct place_span_shape shape = {
        .segment_bytes = SEGMENT, .pieces = MAP, .size_bytes = size_bytes};

    must_be_0(place_span_format(take_lower[MAP], &shape, e));
    return open_moving(l, take_lower, size_bytes, ret_disk, e);
}

/* Where the map says that a piece has nothing, it reads zeros. */
static void nothing_is_left(struct loop *l, struct blk **lower, bool after_cut)
{
    struct place_span_options o = {.loop = l, .pieces = MAP};
    struct blk *span = NULL;
    char *room = malloc(SEGMENT);

    (void)after_cut;
    must_be_0(place_span_open(lower[MAP], lower, &o, &span, NULL));
    for (unsigned piece = 0; piece < MAP; piece++) {
        for (uint64_t i = 0; i < 16; i++) {
            uint64_t off = i * SEGMENT;
            uint64_t size = blk_size(lower[piece]);

            if (place_span_where(span, i) != (int)piece && off < size) {
                size_t n = size - off < SEGMENT ? (size_t)(size - off) : SEGMENT;

                must_be_0(blk_read(lower[piece], room, n, off));
                must(room[0] == 0 && memcmp(room, room + 1, n - 1) == 0);
            }
        }
    }
    blk_drop(span);
    free(room);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "span-moving",
         .lowers = MAP + 1,
         .lower_grows = true,
         .far = true,
         .power_rounds = 120,
         .make = make_moving,
         .open = open_moving,
         .judge = nothing_is_left},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
