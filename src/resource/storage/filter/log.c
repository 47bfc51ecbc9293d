/* log.c - how long requests take, and a trace of them.
 *
 * Histogram: a bucket for each eighth of a power of two of nanoseconds.
 *
 * Trace: a request takes the next place in a ring when it begins and fills it in when it
 * ends; a strand writes the oldest ones that are filled in, in pages, so that the
 * trace is in the order of beginnings.  A page that is not full is written again
 * when there is more.  A full ring loses requests; it never delays them. */
#include "resource/storage/filter/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/log_private.h"
#include "resource/storage/safe/bytes.h"

#define RING        8192u /* a power of two */
#define BATCH_UNITS 8u
#define WAIT_NS     100000000u /* what is there is written so often */
#define PART_BITS   3u         /* eight buckets for a power of two */
#define BUCKETS     (64u << PART_BITS)
#define NS_PER_S    1000000000u

struct place {
    struct filter_log_record record;
    bool done;
};

struct watched {
    struct filter_log_figures figures;
    uint64_t bucket[BUCKETS];
};

struct log_disk {
    struct loop_timer timer; /* first: rings when the trace is to be written */
    struct blk blk;
    struct blk_edge edge[2]; /* the disk, the trace */
    struct loop *loop;
    uint64_t began_ns;
    uint64_t lost;
    struct watched watched[BLK_KIND_COUNT];

    struct place *ring; /* owned; NULL: no trace */
    uint64_t head;      /* the next place */
    uint64_t tail;      /* the oldest one that is not written */
    uint64_t life;
    uint64_t page;    /* the next one that is not full */
    char *unit;       /* owned: the units that are being written */
    unsigned in_page; /* records in the page that is not full */
    bool writing;
    bool full;
    struct strand_queue written;
};

static struct log_disk *log_of(struct blk *b)
{
    return (struct log_disk *)((char *)b - offsetof(struct log_disk, blk));
}

static const struct log_disk *const_log_of(const struct blk *b)
{
    return (const struct log_disk *)((const char *)b - offsetof(struct log_disk, blk));
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- histograms ---- */

static unsigned bucket_of(uint64_t ns)
{
    unsigned power;

    if (ns < 1u << PART_BITS) {
        return (unsigned)ns;
    }
    power = 63u - (unsigned)__builtin_clzll(ns);
    return (power - PART_BITS + 1) << PART_BITS |
           (unsigned)(ns >> (power - PART_BITS) & ((1u << PART_BITS) - 1));
}

/* The largest number that falls into a bucket. */
static uint64_t top_of(unsigned bucket)
{
    unsigned power;
    uint64_t part;

    if (bucket < 1u << PART_BITS) {
        return bucket;
    }
    power = (bucket >> PART_BITS) - 1;
    part = (1u << PART_BITS | (bucket & ((1u << PART_BITS) - 1))) + 1;
    return (part << power) - 1;
}

static void count(struct watched *w, uint64_t bytes, uint64_t took, int result)
{
    struct filter_log_figures *f = &w->figures;

    f->least_ns = f->count == 0 || took < f->least_ns ? took : f->least_ns;
    f->most_ns = took > f->most_ns ? took : f->most_ns;
    f->count++;
    f->failed += result != 0;
    f->bytes += bytes;
    f->total_ns += took;
    w->bucket[bucket_of(took)]++;
}

void filter_log_figures(const struct blk *b, enum blk_kind kind,
                        struct filter_log_figures *ret)
{
    *ret = const_log_of(b)->watched[kind].figures;
}

uint64_t filter_log_latency_ns(const struct blk *b, enum blk_kind kind,
                               unsigned of_a_thousand)
{
    const struct watched *w = &const_log_of(b)->watched[kind];
    uint64_t wanted = (w->figures.count * of_a_thousand + 999) / 1000;
    uint64_t seen = 0;

    for (unsigned i = 0; i < BUCKETS && w->figures.count > 0; i++) {
        seen += w->bucket[i];
        if (seen >= wanted && seen > 0) {
            return top_of(i) < w->figures.most_ns ? top_of(i) : w->figures.most_ns;
        }
    }
    return 0;
}

uint64_t filter_log_lost(const struct blk *b)
{
    return const_log_of(b)->lost;
}

/* ---- the trace ---- */

static struct filter_page_mark mark_of(const struct log_disk *g, uint64_t page)
{
    return (struct filter_page_mark){page == 0 ? LOG_HEAD_KIND : LOG_PAGE_KIND, g->life,
                                     page};
}

static void put_record(char *at, const struct filter_log_record *r)
{
    bytes_put64(at, r->at_ns);
    bytes_put64(at + 8, r->off);
    bytes_put64(at + 16, r->bytes);
    bytes_put64(at + 24, r->took_ns);
    bytes_put32(at + 32, (uint32_t)r->result);
    bytes_put32(at + 36, (uint32_t)(r->kind + 1) | r->flags << 16);
}

/* Where page `n` lies in the room for units, the first of which has page `first`. */
static char *page_in(struct log_disk *g, uint64_t first, uint64_t n)
{
    return g->unit + (n - first) * FILTER_PAGE_BYTES;
}

/* Move records that are filled in from the ring to pages; pages that there are then in
 * the room from `first` on. */
static uint64_t pack(struct log_disk *g, uint64_t first)
{
    uint64_t end = first + BATCH_UNITS * FILTER_PAGE_UNIT_PAGES;

    while (g->tail < g->head && g->ring[g->tail % RING].done && g->page < end) {
        char *page = page_in(g, first, g->page);

        put_record(filter_page_room(page) + g->in_page * LOG_RECORD_BYTES,
                   &g->ring[g->tail % RING].record);
        g->tail++;
        if (++g->in_page == LOG_PAGE_RECORDS) {
            g->in_page = 0;
            g->page++;
        }
    }
    for (uint64_t n = first == 0 ? 1 : first; n < end && n <= g->page; n++) {
        struct filter_page_mark mark = mark_of(g, n);

        filter_page_seal(page_in(g, first, n), &mark);
    }
    return g->page - first + (g->in_page > 0);
}

/* One batch; the unit with the page that is not full stays in the room, at its start. */
static int write_batch(struct log_disk *g)
{
    uint64_t first = g->page / FILTER_PAGE_UNIT_PAGES * FILTER_PAGE_UNIT_PAGES;
    uint64_t units =
        (pack(g, first) + FILTER_PAGE_UNIT_PAGES - 1) / FILTER_PAGE_UNIT_PAGES;
    uint64_t stays = (g->page - first) / FILTER_PAGE_UNIT_PAGES;
    struct blk *trace = g->edge[1].disk;
    uint64_t off = first * FILTER_PAGE_BYTES;
    size_t bytes = (size_t)units * FILTER_PAGE_UNIT_BYTES;
    int r;

    if (off + bytes > blk_size(trace) && !trace->grows) {
        return -ENOSPC;
    }
    r = blk_write(trace, g->unit, bytes, off, 0);
    if (stays < BATCH_UNITS) {
        memmove(g->unit, g->unit + stays * FILTER_PAGE_UNIT_BYTES,
                FILTER_PAGE_UNIT_BYTES);
    } else {
        stays = 0;
        memset(g->unit, 0, FILTER_PAGE_UNIT_BYTES);
    }
    memset(g->unit + FILTER_PAGE_UNIT_BYTES, 0,
           (BATCH_UNITS - 1) * FILTER_PAGE_UNIT_BYTES);
    return r;
}

static bool has_more(const struct log_disk *g)
{
    return g->tail < g->head && g->ring[g->tail % RING].done;
}

static void write_trace(void *arg)
{
    struct log_disk *g = arg;

    while (has_more(g) && !g->full) {
        g->full = write_batch(g) != 0;
    }
    if (g->full) { /* nothing more is kept */
        g->lost += g->head - g->tail;
        g->tail = g->head;
    }
    g->writing = false;
    (void)strand_wake_all(&g->written);
}

static void start_writing(struct log_disk *g)
{
    loop_timer_clear(g->loop, &g->timer);
    if (!g->writing && has_more(g)) {
        g->writing = true;
        if (strand_start(g->blk.strands, write_trace, g) != 0) {
            g->writing = false;
        }
    }
}

static void ring(struct loop_timer *timer)
{
    start_writing((struct log_disk *)timer);
}

/* ---- requests ---- */

struct watch {
    struct place *place; /* NULL: not in the trace */
    uint64_t number;
    uint64_t began_ns;
};

static struct watch begin(struct log_disk *g, enum blk_kind kind, uint64_t off,
                          uint64_t bytes, unsigned flags)
{
    struct watch w = {.began_ns = now_ns()};

    if (g->ring == NULL) {
        return w;
    }
    if (g->full || g->head - g->tail == RING) {
        g->lost++;
        return w;
    }
    w.number = g->head++;
    w.place = &g->ring[w.number % RING];
    *w.place = (struct place){.record = {.at_ns = w.began_ns - g->began_ns,
                                         .off = off,
                                         .bytes = bytes,
                                         .kind = kind,
                                         .flags = flags}};
    return w;
}

static int end(struct log_disk *g, struct watch w, enum blk_kind kind, uint64_t bytes,
               int result)
{
    uint64_t took = now_ns() - w.began_ns;

    count(&g->watched[kind], bytes, took, result);
    if (w.place != NULL && w.number >= g->tail) { /* else given up as lost */
        w.place->record.took_ns = took;
        w.place->record.result = result;
        w.place->done = true;
        if (g->head - g->tail > RING / 2) {
            start_writing(g);
        } else if (!g->timer.set && !g->writing) {
            loop_timer_set(g->loop, &g->timer, WAIT_NS);
        }
    }
    return result;
}

static int log_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct log_disk *g = log_of(b);
    struct watch w = begin(g, BLK_READ, off, to.bytes, 0);

    return end(g, w, BLK_READ, to.bytes, blk_readv(g->edge[0].disk, to, off));
}

static int log_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct log_disk *g = log_of(b);
    struct watch w = begin(g, BLK_WRITE, off, from.bytes, flags);
    int r =
        end(g, w, BLK_WRITE, from.bytes, blk_writev(g->edge[0].disk, from, off, flags));

    b->size_bytes = blk_size(g->edge[0].disk);
    return r;
}

static int log_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct log_disk *g = log_of(b);
    struct watch w = begin(g, BLK_ZERO, off, bytes, flags);
    int r = end(g, w, BLK_ZERO, bytes, blk_zero(g->edge[0].disk, off, bytes, flags));

    b->size_bytes = blk_size(g->edge[0].disk);
    return r;
}

static int log_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct log_disk *g = log_of(b);
    struct watch w = begin(g, BLK_DISCARD, off, bytes, 0);

    return end(g, w, BLK_DISCARD, bytes, blk_discard(g->edge[0].disk, off, bytes));
}

static int log_flush(struct blk *b)
{
    struct log_disk *g = log_of(b);
    struct watch w = begin(g, BLK_FLUSH, 0, 0, 0);

    return end(g, w, BLK_FLUSH, 0, blk_flush(g->edge[0].disk));
}

static int log_status(struct blk *b, uint64_t off, uint64_t bytes, struct blk_extent *ret)
{
    return blk_status(log_of(b)->edge[0].disk, off, bytes, ret);
}

static int log_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    int r = blk_resize(log_of(b)->edge[0].disk, size_bytes, e);

    b->size_bytes = r == 0 ? size_bytes : b->size_bytes;
    return r;
}

/* The trace is no reason to fail. */
static int log_quiesce(struct blk *b)
{
    struct log_disk *g = log_of(b);

    if (g->ring != NULL) {
        start_writing(g);
        while (g->writing) {
            strand_wait(b->strands, &g->written);
        }
        (void)blk_flush(g->edge[1].disk);
    }
    return blk_flush(g->edge[0].disk);
}

static void log_destroy(struct blk *b)
{
    struct log_disk *g = log_of(b);

    loop_timer_clear(g->loop, &g->timer);
    while (g->writing) {
        strand_wait(b->strands, &g->written);
    }
    blk_detach(&g->edge[0]);
    blk_detach(&g->edge[1]);
    free(g->ring);
    free(g->unit);
    free(g);
}

static const struct blk_ops log_ops = {
    .name = "log",
    .read = log_read,
    .write = log_write,
    .zero = log_zero,
    .discard = log_discard,
    .flush = log_flush,
    .status = log_status,
    .resize = log_resize,
    .quiesce = log_quiesce,
    .destroy = log_destroy,
};

/* ---- begin ---- */

static int begin_trace(struct log_disk *g)
{
    struct filter_page_mark mark;
    int r = filter_page_new_life(&g->life);

    g->ring = fault_calloc(RING, sizeof *g->ring);
    g->unit = fault_aligned(FILTER_PAGE_UNIT_BYTES, BATCH_UNITS * FILTER_PAGE_UNIT_BYTES);
    if (r == 0 && (g->ring == NULL || g->unit == NULL)) {
        r = -ENOMEM;
    }
    if (r != 0) {
        return r;
    }
    bytes_put32(filter_page_room(g->unit), LOG_PAGE_RECORDS);
    mark = mark_of(g, 0);
    filter_page_seal(g->unit, &mark);
    g->page = 1;
    if (blk_size(g->edge[1].disk) < FILTER_PAGE_UNIT_BYTES && !g->edge[1].disk->grows) {
        return -ENOSPC;
    }
    r = filter_page_clear(g->edge[1].disk, 0, blk_size(g->edge[1].disk));
    r = r == 0 ? blk_write(g->edge[1].disk, g->unit, FILTER_PAGE_UNIT_BYTES, 0, 0) : r;
    return r == 0 ? blk_flush(g->edge[1].disk) : r;
}

static int attach(struct log_disk *g, struct blk *lower, struct blk *trace, struct err *e)
{
    int r;

    g->edge[0] = (struct blk_edge){.user = "log",
                                   .uses = lower->read_only ? BLK_USE_READ : BLK_USE_ALL};
    g->edge[1] =
        (struct blk_edge){.user = "log", .uses = BLK_USE_ALL, .lets = BLK_USE_READ};
    r = blk_attach(&g->edge[0], lower, e);
    if (r != 0 || trace == NULL) {
        return r;
    }
    r = blk_attach(&g->edge[1], trace, e);
    if (r == 0) {
        r = begin_trace(g);
        r = r == 0 ? 0 : err_sys(e, r, "cannot begin a trace");
    }
    return r;
}

int filter_log_create(struct loop *l, struct blk *take_lower, struct blk *take_trace,
                      struct blk **ret_disk, struct err *e)
{
    struct log_disk *g = fault_calloc(1, sizeof *g);
    int r = g == NULL ? err_sys(e, -ENOMEM, "cannot watch a disk") : 0;

    if (r == 0) {
        blk_init_like(&g->blk, &log_ops, take_lower);
        g->blk.edge = g->edge;
        g->blk.edge_count = 2;
        g->blk.grows = take_lower->grows;
        g->blk.does_fua = true;
        g->blk.zeroes_fast = take_lower->zeroes_fast;
        g->timer.fn = ring;
        g->loop = l;
        g->began_ns = now_ns();
        r = attach(g, take_lower, take_trace, e);
    }
    if (r == 0) {
        *ret_disk = &g->blk;
        return 0;
    }
    if (g == NULL || g->edge[0].disk == NULL) { /* not attached: not ours to detach */
        blk_drop(take_lower);
    }
    if (g == NULL || g->edge[1].disk == NULL) {
        blk_drop(take_trace);
    }
    if (g != NULL) {
        log_destroy(&g->blk);
    }
    return r;
}
