/* cut_stress.c - the power goes while many requests of all kinds are in flight.
 *
 * Blocks hold their number and a version, so that a block tells when it was written;
 * zeros count as the version of the last request that made them.  A flush makes
 * durable what was finished when it began.  After the cut each block has a version
 * not older than that, and the image has no corruption (lazy ones: after the repair). */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/judge.h"

#define SIZE_BYTES  (2u * 1024 * 1024)
#define BLOCKS      (SIZE_BYTES / 512)
#define SLOTS       24
#define PART_BLOCKS (BLOCKS / SLOTS - 3)
#define MOST_BLOCKS 40u
#define CUTS        25
#define CUT_WRITES  400u

struct kind {
    const char *name;
    struct qcow2_create_options options;
    bool snapshot;
};

static const struct kind kinds[] = {
    {.name = "small", .options.cluster_bytes = 1024},
    {.name = "usual"},
    {.name = "extended", .options = {.cluster_bytes = 16384, .extended_l2 = true}},
    {.name = "lazy", .options = {.cluster_bytes = 2048, .lazy_refcounts = true}},
    {.name = "shared", .options.cluster_bytes = 2048, .snapshot = true},
};

struct slot {
    struct blk_request request; /* first */
    struct iovec piece;
    char room[MOST_BLOCKS * 512];
    uint32_t *before; /* flush: what was finished when it began */
    uint64_t base;    /* block */
    uint32_t version;
    bool busy;
};

struct run {
    const struct kind *kind;
    struct loop *loop;
    struct blk *file;
    struct blk_edge keep;
    struct blk *lower;
    struct blk *disk;
    struct blk_edge edge;
    struct blk_queue queue;
    struct strand_queue waiter;
    struct slot slot[SLOTS];
    uint32_t finished[BLOCKS];
    uint32_t durable[BLOCKS];
    uint32_t latest[BLOCKS]; /* begun */
    uint32_t zeroed[BLOCKS]; /* the last request that made zeros */
    uint32_t version;
    uint64_t random;
};

static uint64_t pick(struct run *t, uint64_t below)
{
    return suite_random(&t->random) % below;
}

static void ready(struct blk_queue *q)
{
    (void)strand_wake(&((struct run *)((char *)q - offsetof(struct run, queue)))->waiter);
}

static void stamp(char *to, uint64_t block, uint32_t version)
{
    uint32_t *word = (uint32_t *)(void *)to;

    for (unsigned i = 0; i < 128; i += 2) {
        word[i] = (uint32_t)block;
        word[i + 1] = version;
    }
}

/* The version of a block as it was found; UINT32_MAX: no such block was written. */
static uint32_t version_of(const struct run *t, const char *found, uint64_t block)
{
    const uint32_t *word = (const uint32_t *)(const void *)found;
    char wanted[512];

    memset(wanted, 0, sizeof wanted);
    if (memcmp(found, wanted, 512) == 0) {
        return t->zeroed[block];
    }
    stamp(wanted, block, word[1]);
    return memcmp(found, wanted, 512) == 0 ? word[1] : UINT32_MAX;
}

static void launch(struct run *t, struct slot *s)
{
    uint64_t n = pick(t, 3) == 0 ? pick(t, MOST_BLOCKS) + 1 : pick(t, 6) + 1;
    uint64_t first = s->base + pick(t, PART_BLOCKS - n + 1);
    unsigned what = (unsigned)pick(t, 14);
    bool zeros = what == 8 || what == 9;

    s->busy = true;
    s->version = ++t->version;
    s->piece = (struct iovec){s->room, n * 512};
    s->request = (struct blk_request){.kind = BLK_WRITE,
                                      .off = first * 512,
                                      .vec = {.iov = &s->piece, .bytes = n * 512}};
    if (what >= 12) {
        s->request.kind = BLK_FLUSH;
        memcpy(s->before, t->finished, sizeof t->finished);
    } else if (zeros) {
        s->request.kind = BLK_ZERO;
        s->request.flags = what == 8 ? BLK_UNMAP : 0;
        s->request.bytes = n * 512;
    }
    for (uint64_t i = first; s->request.kind != BLK_FLUSH && i < first + n; i++) {
        t->latest[i] = s->version;
        if (zeros) {
            t->zeroed[i] = s->version;
        } else {
            stamp(s->room + (i - first) * 512, i, s->version);
        }
    }
    blk_submit(&t->queue, &s->request);
}

static void finish(struct run *t, struct slot *s)
{
    const struct blk_request *r = &s->request;
    uint64_t bytes = r->bytes != 0 ? r->bytes : r->vec.bytes;

    s->busy = false;
    if (r->result != 0) {
        must(filter_fault_is_cut(t->lower));
        return;
    }
    if (r->kind == BLK_FLUSH) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            t->durable[i] = s->before[i] > t->durable[i] ? s->before[i] : t->durable[i];
        }
        return;
    }
    for (uint64_t i = r->off / 512; i < (r->off + bytes) / 512; i++) {
        t->finished[i] = s->version;
    }
}

static void churn(struct run *t)
{
    while (!filter_fault_is_cut(t->lower) || t->queue.in_flight > 0) {
        for (unsigned i = 0; i < SLOTS && !filter_fault_is_cut(t->lower); i++) {
            if (!t->slot[i].busy) {
                launch(t, &t->slot[i]);
            }
        }
        if (t->queue.done_first == NULL && t->queue.in_flight > 0) {
            strand_wait(t->disk->strands, &t->waiter);
        }
        for (struct blk_request *r = blk_reap(&t->queue); r != NULL;) {
            struct blk_request *next = r->next;

            finish(t, (struct slot *)r);
            r = next;
        }
    }
}

static void open_disk(struct run *t)
{
    struct qcow2_open_options o = {.label = "image", .cache_bytes = 1};
    struct filter_fault_plan plan = {.seed = suite_random(&t->random) | 1,
                                     .holds_back = true,
                                     .delay_one_in = 3,
                                     .delay_ns = 30000};
    struct err e = {0};

    must_be_0(filter_fault_create(t->loop, t->file, &plan, &t->lower, &e));
    if (qcow2_open(t->lower, &o, &t->disk, &e) != 0) {
        (void)fprintf(stderr, "%s: %s\n", t->kind->name, e.text);
        abort();
    }
    t->edge = (struct blk_edge){.user = "stress", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&t->edge, t->disk, &e));
    t->queue = (struct blk_queue){.disk = t->disk, .ready = ready};
}

static void make(struct run *t)
{
    struct qcow2_create_options o = t->kind->options;
    struct err e = {0};

    o.size_bytes = SIZE_BYTES;
    must_be_0(leaf_memory_create(loop_strands(t->loop), 0, 512, &t->file, &e));
    t->file->grows = true;
    t->keep = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&t->keep, t->file, &e));
    must_be_0(qcow2_create(t->file, &o, &e));
    open_disk(t);
    if (t->kind->snapshot) {
        must_be_0(blk_zero(t->disk, 0, SIZE_BYTES, 0));
        must_be_0(qcow2_snapshot_create(t->disk, "first", &e));
    }
    must_be_0(blk_flush(t->disk));
    blk_detach(&t->edge);
}

static void look(struct run *t)
{
    struct qcow2_check_result x;
    struct err e = {0};
    char *room = malloc(SIZE_BYTES);

    must_be_0(qcow2_check(t->disk, QCOW2_REPAIR_NOTHING, &x, &e));
    if (x.corruptions != 0) {
        (void)fprintf(stderr, "%s: %llu corruptions\n", t->kind->name,
                      (unsigned long long)x.corruptions);
        abort();
    }
    must_be_0(blk_read(t->disk, room, SIZE_BYTES, 0));
    for (unsigned i = 0; i < BLOCKS; i++) {
        uint32_t v = version_of(t, room + 512 * (size_t)i, i);

        if (v < t->durable[i] || v > t->latest[i]) {
            (void)fprintf(stderr, "%s: block %u has version %u, not %u to %u\n",
                          t->kind->name, i, v, t->durable[i], t->latest[i]);
            abort();
        }
        t->durable[i] = t->latest[i] = t->finished[i] = v;
    }
    must_be_0(blk_flush(t->disk));
    free(room);
}

static int cut_and_look(void *arg)
{
    const char *more = getenv("SUITE_CUTS");
    unsigned cuts = more != NULL ? (unsigned)strtoul(more, NULL, 10) : CUTS;
    struct run *t = arg;

    make(t);
    for (unsigned i = 0; i < SLOTS; i++) {
        t->slot[i].base = i * (uint64_t)(PART_BLOCKS + 3);
        t->slot[i].before = malloc(sizeof t->finished);
    }
    for (unsigned i = 0; i < cuts; i++) {
        open_disk(t);
        look(t);
        filter_fault_cut_after(t->lower, pick(t, CUT_WRITES) + 1);
        churn(t);
        blk_detach(&t->edge);
        if (i % 5 == 0 && judge_is_there() && !t->kind->options.lazy_refcounts) {
            int r;

            judge_save(t->file, "cut");
            r = judge_check("cut");
            must(r == 0 || r == 3);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        free(t->slot[i].before);
    }
    blk_detach(&t->keep);
    return 0;
}

int main(void)
{
    const char *only = getenv("SUITE_ONLY");
    const char *seed = getenv("SUITE_SEED");

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct run *t = calloc(1, sizeof *t);

        t->kind = &kinds[i];
        t->random = seed != NULL ? strtoull(seed, NULL, 10) * 2 + 1 : 3;
        if (only == NULL || strcmp(only, kinds[i].name) == 0) {
            must_be_0(loop_create(LOOP_DRIVER_AUTO, &t->loop, NULL));
            must_be_0(loop_do(t->loop, cut_and_look, t));
            loop_destroy(t->loop);
            (void)printf("ok   %s\n", kinds[i].name);
        }
        free(t);
    }
    return 0;
}
