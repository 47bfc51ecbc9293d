/* throttle.c - token buckets in a group, and fair queues in front of them.
 *
 * Each limit is a pair of buckets.  `steady` fills at the long-run rate and is as
 * deep as a whole burst exceeds it; `peak` fills at the burst's rate and is shallow.
 * A request goes when no bucket that concerns it is in debt, and is then charged
 * whole: a bucket may go below zero, which is why a request larger than a bucket
 * passes like any other.  Both buckets are `SLACK_NS` deeper than that, which covers
 * a loop that looks at the clock late.
 *
 * Levels are in units times nanoseconds (`unit * 10^9` is one token): a level
 * changes by rate * elapsed without rounding.  128 bits hold every product.
 *
 * Fairness is start-time fair queuing: a disk's `clock` moves on by the time
 * that its requests take of the group's tightest limit, and the waiting disk
 * whose clock is least goes next.  A disk that was idle starts at the group's clock:
 * it saves up nothing.
 *
 * Reads and writes of a disk wait in two lines, as limits may concern one only. */
#include "resource/storage/filter/throttle.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"

#define NS_PER_SECOND 1000000000u
#define NS_PER_MS     1000000u
#define SLACK_NS      50000000u
#define WAIT_MOST_NS  ((uint64_t)1 << 50) /* 13 days */
#define LOOK_NS       50000000u /* a disk may be drained meanwhile: look so often */

enum direction {
    READS,
    WRITES,
    DIRECTIONS
};

struct bucket {
    uint64_t rate; /* units a second; 0: not limited */
    __int128 depth;
    __int128 level;
};

struct limit {
    struct bucket steady;
    struct bucket peak;
};

/* One request at the door, on its strand's stack. */
struct waiter {
    struct waiter *next;
    struct strand_queue strand;
    uint64_t ops;
    uint64_t bytes;
};

struct line {
    struct waiter *first;
    struct waiter **end;
};

struct throttle {
    struct blk blk;
    struct blk_edge lower;
    struct filter_throttle_group *group; /* holds a reference */
    struct throttle *next;               /* in the group */
    struct line line[DIRECTIONS];
    uint64_t clock;      /* the group's time that it has had, ns */
    enum direction last; /* of the request that went last */
    struct filter_throttle_figures figures;
};

struct filter_throttle_group {
    struct loop_timer timer; /* first: rings when somebody may go */
    struct loop *loop;
    unsigned references;
    struct filter_throttle_limits limits;
    struct limit limit[FILTER_THROTTLE_WHAT_COUNT];
    uint64_t filled_at; /* ns of the loop's clock */
    uint64_t clock;     /* of the disk that went last */
    struct throttle *disks;
    bool serving; /* further down this stack */
};

static struct throttle *throttle_of(struct blk *b)
{
    return (struct throttle *)b;
}

/* ---- buckets ---- */

static const unsigned char concerns[DIRECTIONS][4] = {
    {FILTER_THROTTLE_OPS, FILTER_THROTTLE_READ_OPS, FILTER_THROTTLE_BYTES,
     FILTER_THROTTLE_READ_BYTES},
    {FILTER_THROTTLE_OPS, FILTER_THROTTLE_WRITE_OPS, FILTER_THROTTLE_BYTES,
     FILTER_THROTTLE_WRITE_BYTES},
};

static void fill(struct bucket *b, uint64_t elapsed_ns)
{
    if (b->rate != 0) {
        b->level += (__int128)b->rate * elapsed_ns;
        b->level = b->level < b->depth ? b->level : b->depth;
    }
}

/* Times are cut to a length whose sums do not overflow. */
static uint64_t bounded(__int128 ns)
{
    return ns < WAIT_MOST_NS ? (uint64_t)ns : WAIT_MOST_NS;
}

/* Nanoseconds until it is out of debt. */
static uint64_t wait_for(const struct bucket *b)
{
    if (b->rate == 0 || b->level >= 0) {
        return 0;
    }
    return bounded((-b->level + b->rate - 1) / b->rate);
}

static void charge(struct bucket *b, uint64_t units)
{
    if (b->rate != 0) {
        b->level -= (__int128)units * NS_PER_SECOND;
    }
}

static void fill_all(struct filter_throttle_group *g)
{
    uint64_t now = loop_now_ns(g->loop);
    uint64_t elapsed = now > g->filled_at ? now - g->filled_at : 0;

    for (unsigned i = 0; i < FILTER_THROTTLE_WHAT_COUNT; i++) {
        fill(&g->limit[i].steady, elapsed);
        fill(&g->limit[i].peak, elapsed);
    }
    g->filled_at += elapsed;
}

static uint64_t wait_of(const struct filter_throttle_group *g, enum direction way)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < 4; i++) {
        const struct limit *l = &g->limit[concerns[way][i]];
        uint64_t steady = wait_for(&l->steady);
        uint64_t peak = wait_for(&l->peak);

        most = steady > most ? steady : most;
        most = peak > most ? peak : most;
    }
    return most;
}

static bool counts_bytes(unsigned what)
{
    return what >= FILTER_THROTTLE_BYTES;
}

/* Charge a request; the time that it takes of the tightest limit. */
static uint64_t charge_all(struct filter_throttle_group *g, enum direction way,
                           const struct waiter *w)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < 4; i++) {
        struct limit *l = &g->limit[concerns[way][i]];
        uint64_t units = counts_bytes(concerns[way][i]) ? w->bytes : w->ops;

        charge(&l->steady, units);
        charge(&l->peak, units);
        if (l->steady.rate != 0) {
            uint64_t ns = bounded((__int128)units * NS_PER_SECOND / l->steady.rate);

            most = ns > most ? ns : most;
        }
    }
    return most;
}

/* ---- lines ---- */

static void join(struct line *l, struct waiter *w)
{
    *l->end = w;
    l->end = &w->next;
}

static struct waiter *shift(struct line *l)
{
    struct waiter *w = l->first;

    l->first = w->next;
    if (l->first == NULL) {
        l->end = &l->first;
    }
    return w;
}

static void note(struct throttle *t, enum direction way, const struct waiter *w)
{
    struct filter_throttle_group *g = t->group;

    g->clock = t->clock > g->clock ? t->clock : g->clock;
    t->last = way;
    t->clock += charge_all(g, way, w);
    t->figures.ops++;
    t->figures.bytes += w->bytes;
}

/* The disk that goes next in a direction; NULL: nobody waits there. */
static struct throttle *next_in(const struct filter_throttle_group *g, enum direction way)
{
    struct throttle *best = NULL;

    for (struct throttle *t = g->disks; t != NULL; t = t->next) {
        if (t->line[way].first != NULL && (best == NULL || t->clock < best->clock)) {
            best = t;
        }
    }
    return best;
}

/* One that waits at a disk that is drained: it goes whatever the limits say. */
static struct throttle *drained_in(const struct filter_throttle_group *g,
                                   enum direction way)
{
    for (struct throttle *t = g->disks; t != NULL; t = t->next) {
        if (t->line[way].first != NULL && t->blk.drained > 0) {
            return t;
        }
    }
    return NULL;
}

/* Let one request go; it runs inside this call until it waits again. */
static void let_go(struct throttle *t, enum direction way)
{
    struct waiter *w = shift(&t->line[way]);

    note(t, way, w);
    (void)strand_wake(&w->strand);
}

/* The disk with the least clock of those that may go now; its reads and its writes
 * take turns. */
static bool serve_one(struct filter_throttle_group *g)
{
    struct throttle *best = NULL;
    enum direction best_way = READS;

    for (unsigned way = 0; way < DIRECTIONS; way++) {
        struct throttle *t = drained_in(g, way);

        if (t != NULL) {
            let_go(t, way);
            return true;
        }
        t = next_in(g, way);
        if (t != NULL && wait_of(g, way) == 0 &&
            (best == NULL || t->clock < best->clock ||
             (t == best && t->last == best_way))) {
            best = t;
            best_way = way;
        }
    }
    if (best != NULL) {
        let_go(best, best_way);
    }
    return best != NULL;
}

/* Ring again when the first of those that wait may go. */
static void set_timer(struct filter_throttle_group *g)
{
    uint64_t least = UINT64_MAX;

    for (unsigned way = 0; way < DIRECTIONS; way++) {
        if (next_in(g, way) != NULL) {
            uint64_t ns = wait_of(g, way);

            least = ns < least ? ns : least;
        }
    }
    if (least != UINT64_MAX) {
        loop_timer_set(g->loop, &g->timer, least < LOOK_NS ? least : LOOK_NS);
    }
}

/* Requests that end inside may bring the group's end: whoever calls holds it. */
static void serve(struct filter_throttle_group *g)
{
    if (g->serving) {
        return;
    }
    g->serving = true;
    g->references++;
    fill_all(g);
    while (serve_one(g)) {
    }
    set_timer(g);
    g->serving = false;
    filter_throttle_group_drop(g);
}

static void ring(struct loop_timer *timer)
{
    serve((struct filter_throttle_group *)timer);
}

/* Wait until the limits let a request through. */
static void pass(struct throttle *t, enum direction way, uint64_t bytes)
{
    struct filter_throttle_group *g = t->group;
    struct waiter w = {.ops = 1, .bytes = bytes};
    uint64_t began = loop_now_ns(g->loop);

    if (g->limits.op_bytes != 0 && bytes > g->limits.op_bytes) {
        w.ops = (bytes + g->limits.op_bytes - 1) / g->limits.op_bytes;
    }
    if (t->line[READS].first == NULL && t->line[WRITES].first == NULL) {
        t->clock = t->clock > g->clock ? t->clock : g->clock;
    }
    fill_all(g);
    if (!g->serving && next_in(g, way) == NULL && wait_of(g, way) == 0) {
        note(t, way, &w);
        return;
    }
    join(&t->line[way], &w);
    if (!g->serving) {
        set_timer(g);
    }
    strand_wait(t->blk.strands, &w.strand);
    t->figures.waits++;
    t->figures.waited_ns += loop_now_ns(g->loop) - began;
}

/* ---- groups ---- */

static int check_rate(const struct filter_throttle_rate *r, struct err *e)
{
    if (r->per_second > FILTER_THROTTLE_RATE_MOST ||
        r->burst_per_second > FILTER_THROTTLE_RATE_MOST) {
        return err_set(e, -EINVAL, "cannot throttle: more than 2^50 a second");
    }
    if (r->burst_per_second == 0) {
        return 0;
    }
    if (r->burst_per_second < r->per_second || r->per_second == 0) {
        return err_set(
            e, -EINVAL, "cannot throttle: a burst of %llu a second over a rate of %llu",
            (unsigned long long)r->burst_per_second, (unsigned long long)r->per_second);
    }
    if (r->burst_ms == 0 || r->burst_ms > FILTER_THROTTLE_BURST_MS_MOST) {
        return err_set(e, -EINVAL,
                       "cannot throttle: a burst lasts 1 to %u milliseconds, not %u",
                       FILTER_THROTTLE_BURST_MS_MOST, r->burst_ms);
    }
    return 0;
}

/* A limit as full as it gets without its slack; a debt remains, at most a second's. */
static void set_limit(struct limit *l, const struct filter_throttle_rate *r)
{
    __int128 burst = 0;
    struct limit was = *l;

    if (r->burst_per_second != 0) {
        burst = (__int128)(r->burst_per_second - r->per_second) * r->burst_ms * NS_PER_MS;
    }
    *l = (struct limit){0};
    l->steady.rate = r->per_second;
    l->steady.depth = burst + (__int128)r->per_second * SLACK_NS;
    l->steady.level = burst;
    if (was.steady.rate != 0 && was.steady.level < burst) { /* no burst for asking */
        __int128 least = -(__int128)r->per_second * NS_PER_SECOND;

        l->steady.level = was.steady.level > least ? was.steady.level : least;
    }
    l->peak.rate = r->burst_per_second;
    l->peak.depth = (__int128)r->burst_per_second * SLACK_NS;
}

int filter_throttle_group_set(struct filter_throttle_group *g,
                              const struct filter_throttle_limits *limits, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < FILTER_THROTTLE_WHAT_COUNT; i++) {
        r = check_rate(&limits->rate[i], e);
    }
    if (r != 0) {
        return r;
    }
    fill_all(g);
    g->limits = *limits;
    for (unsigned i = 0; i < FILTER_THROTTLE_WHAT_COUNT; i++) {
        set_limit(&g->limit[i], &limits->rate[i]);
    }
    set_timer(g);
    return 0;
}

void filter_throttle_group_get(const struct filter_throttle_group *g,
                               struct filter_throttle_limits *ret_limits)
{
    *ret_limits = g->limits;
}

int filter_throttle_group_create(struct loop *l,
                                 const struct filter_throttle_limits *limits,
                                 struct filter_throttle_group **ret_group, struct err *e)
{
    struct filter_throttle_group *g = fault_calloc(1, sizeof *g);
    int r;

    if (g == NULL) {
        return err_sys(e, -ENOMEM, "cannot make a throttle group");
    }
    g->timer.fn = ring;
    g->loop = l;
    g->references = 1;
    g->filled_at = loop_now_ns(l);
    r = filter_throttle_group_set(g, limits, e);
    if (r != 0) {
        free(g);
        return r;
    }
    *ret_group = g;
    return 0;
}

void filter_throttle_group_drop(struct filter_throttle_group *g)
{
    if (g == NULL || --g->references > 0) {
        return;
    }
    loop_timer_clear(g->loop, &g->timer);
    free(g);
}

/* ---- the slots ---- */

static int throttle_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct throttle *t = throttle_of(b);

    pass(t, READS, to.bytes);
    return blk_readv(t->lower.disk, to, off);
}

static int throttle_write(struct blk *b, struct blk_vec from, uint64_t off,
                          unsigned flags)
{
    struct throttle *t = throttle_of(b);
    int r;

    pass(t, WRITES, from.bytes);
    r = blk_writev(t->lower.disk, from, off, flags);
    b->size_bytes = blk_size(t->lower.disk);
    return r;
}

static int throttle_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct throttle *t = throttle_of(b);
    int r;

    pass(t, WRITES, b->zeroes_fast ? 0 : bytes);
    r = blk_zero(t->lower.disk, off, bytes, flags);
    b->size_bytes = blk_size(t->lower.disk);
    return r;
}

static int throttle_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct throttle *t = throttle_of(b);

    pass(t, WRITES, 0);
    return blk_discard(t->lower.disk, off, bytes);
}

static int throttle_flush(struct blk *b)
{
    return blk_flush(throttle_of(b)->lower.disk);
}

static int throttle_status(struct blk *b, uint64_t off, uint64_t bytes,
                           struct blk_extent *ret)
{
    return blk_status(throttle_of(b)->lower.disk, off, bytes, ret);
}

static int throttle_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    int r = blk_resize(throttle_of(b)->lower.disk, size_bytes, e);

    b->size_bytes = r == 0 ? size_bytes : b->size_bytes;
    return r;
}

static void throttle_destroy(struct blk *b)
{
    struct throttle *t = throttle_of(b);
    struct throttle **at = &t->group->disks;

    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    blk_detach(&t->lower);
    filter_throttle_group_drop(t->group);
    free(t);
}

static const struct blk_ops throttle_ops = {
    .name = "throttle",
    .read = throttle_read,
    .write = throttle_write,
    .zero = throttle_zero,
    .discard = throttle_discard,
    .flush = throttle_flush,
    .status = throttle_status,
    .resize = throttle_resize,
    .destroy = throttle_destroy,
};

int filter_throttle_create(struct filter_throttle_group *g, struct blk *take_lower,
                           struct blk **ret_disk, struct err *e)
{
    struct throttle *t = fault_calloc(1, sizeof *t);
    int r;

    if (t == NULL) {
        blk_drop(take_lower);
        return err_sys(e, -ENOMEM, "cannot throttle a disk");
    }
    blk_init_like(&t->blk, &throttle_ops, take_lower);
    t->blk.edge = &t->lower;
    t->blk.edge_count = 1;
    t->blk.grows = take_lower->grows;
    t->blk.does_fua = true;
    t->blk.zeroes_fast = take_lower->zeroes_fast;
    t->lower = (struct blk_edge){
        .user = "throttle", .uses = take_lower->read_only ? BLK_USE_READ : BLK_USE_ALL};
    r = blk_attach(&t->lower, take_lower, e);
    if (r != 0) {
        blk_drop(take_lower);
        free(t);
        return r;
    }
    for (unsigned i = 0; i < DIRECTIONS; i++) {
        t->line[i].end = &t->line[i].first;
    }
    t->group = g;
    g->references++;
    t->clock = g->clock;
    t->next = g->disks;
    g->disks = t;
    *ret_disk = &t->blk;
    return 0;
}

void filter_throttle_figures(const struct blk *b, struct filter_throttle_figures *ret)
{
    *ret = ((const struct throttle *)b)->figures;
}
