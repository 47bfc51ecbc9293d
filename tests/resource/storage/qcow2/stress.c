/* stress.c - many requests of all kinds at once, by a small cache, over slow and
 * re-ordered requests below.
 *
 * Each of the slots has a part of the disk for itself, so that the model is plain; the parts
 * begin and end inside clusters, so that slots meet in the same clusters, subclusters
 * and tables.  Afterwards the image has neither corruptions nor leaks. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/strand.h"
#include "contract/blk_ops.h"
#include "contract/blk_source.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/judge.h"

#define SIZE_BYTES (6u * 1024 * 1024)
#define SLOTS      32
#define PART_BYTES (SIZE_BYTES / SLOTS / 512 * 512 - 1024)
#define ROUNDS     2500
#define MOST_BYTES (48u * 1024)

struct kind {
    const char *name;
    struct qcow2_create_options options;
    bool snapshot; /* everything is shared at first */
    bool errors;   /* the disk below fails now and then */
};

static const struct kind kinds[] = {
    {.name = "usual"},
    {.name = "small", .options.cluster_bytes = 512},
    {.name = "small counts", .options = {.cluster_bytes = 1024, .refcount_bits = 1}},
    {.name = "extended", .options = {.cluster_bytes = 65536, .extended_l2 = true}},
    {.name = "lazy", .options = {.cluster_bytes = 4096, .lazy_refcounts = true}},
    {.name = "shared", .options.cluster_bytes = 2048, .snapshot = true},
    {.name = "shared, extended",
     .options = {.cluster_bytes = 16384, .extended_l2 = true},
     .snapshot = true},
    {.name = "based", .options = {.backing_name = "base", .backing_format = "raw"}},
    {.name = "failing", .options.cluster_bytes = 1024, .errors = true},
    {.name = "failing, extended",
     .options = {.cluster_bytes = 16384, .extended_l2 = true},
     .errors = true},
};

struct slot {
    struct blk_request request; /* first */
    struct iovec piece;
    char room[MOST_BYTES];
    uint64_t base;
    bool busy;
};

struct run {
    const struct kind *kind;
    struct loop *loop;
    struct blk *file;
    struct blk *lower;
    struct blk *disk;
    struct blk_edge edge;
    struct blk_queue queue;
    struct strand_queue waiter;
    uint64_t random;
    char *model;
    char *second; /* where a failure left two possibilities */
    struct slot *slot;
    unsigned done;
};

static uint64_t pick(struct run *t, uint64_t below)
{
    return suite_random(&t->random) % below;
}

static void ready(struct blk_queue *q)
{
    (void)strand_wake(&((struct run *)((char *)q - offsetof(struct run, queue)))->waiter);
}

static void launch(struct run *t, struct slot *s)
{
    uint64_t n = pick(t, 3) == 0 ? pick(t, MOST_BYTES / 512) + 1 : pick(t, 9) + 1;
    uint64_t off = s->base + pick(t, PART_BYTES / 512 - n + 1) * 512;
    unsigned what = (unsigned)pick(t, 16);

    s->busy = true;
    s->piece = (struct iovec){s->room, n * 512};
    s->request = (struct blk_request){
        .kind = BLK_READ, .off = off, .vec = {.iov = &s->piece, .bytes = n * 512}};
    if (what < 8) {
        int pattern = (int)pick(t, 256);

        s->request.kind = BLK_WRITE;
        for (size_t i = 0; i < n * 512; i++) {
            s->room[i] = (char)(pattern + (int)(i / 512));
        }
        memcpy(t->second + off, s->room, n * 512);
    } else if (what < 10) {
        s->request.kind = BLK_ZERO;
        s->request.flags = what == 8 ? BLK_UNMAP : 0;
        s->request.bytes = n * 512;
        memset(t->second + off, 0, n * 512);
    } else if (what == 10) {
        s->request.kind = BLK_DISCARD;
        s->request.bytes = n * 512;
        memset(t->second + off, 0, n * 512);
    } else if (what == 11) {
        s->request.kind = BLK_FLUSH;
    }
    blk_submit(&t->queue, &s->request);
}

/* Each block is one of the two; from now on it is that one. */
static void settle(struct run *t, const char *found, uint64_t off, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 512) {
        if (memcmp(found + i, t->model + off + i, 512) != 0 &&
            memcmp(found + i, t->second + off + i, 512) != 0) {
            (void)fprintf(stderr, "%s: block %llu has foreign bytes\n", t->kind->name,
                          (unsigned long long)((off + i) / 512));
            (void)fprintf(stderr, "found %d, old %d, new %d\n", found[i],
                          t->model[off + i], t->second[off + i]);
            abort();
        }
        memcpy(t->model + off + i, found + i, 512);
        memcpy(t->second + off + i, found + i, 512);
    }
}

static void finish(struct run *t, struct slot *s)
{
    const struct blk_request *r = &s->request;
    uint64_t bytes = r->bytes != 0 ? r->bytes : r->vec.bytes;

    must(r->result == 0 || t->kind->errors);
    s->busy = false;
    t->done++;
    if (r->kind == BLK_READ && r->result == 0) {
        settle(t, s->room, r->off, bytes);
    } else if ((r->kind == BLK_WRITE || r->kind == BLK_ZERO) && r->result == 0) {
        memcpy(t->model + r->off, t->second + r->off, bytes);
    } else if (r->kind != BLK_FLUSH) { /* failed, or a discard: look what it did */
        must_be_0(blk_read(t->disk, s->room, bytes, r->off));
        settle(t, s->room, r->off, bytes);
    }
}

static void plan_errors(struct run *t, bool on)
{
    struct filter_fault_plan plan = {.seed = pick(t, 1000) + 1,
                                     .delay_one_in = 2,
                                     .delay_ns = 60000,
                                     .error = -5,
                                     .fail_partly = true};

    if (on) {
        plan.fail_kinds = 1u << BLK_WRITE | 1u << BLK_ZERO | 1u << BLK_FLUSH;
        plan.fail_from = pick(t, 40) + 1;
        plan.fail_until = plan.fail_from + pick(t, 4) + 1;
    }
    filter_fault_plan(t->lower, &plan);
}

static void churn(struct run *t)
{
    unsigned begun = 0;

    while (t->done < ROUNDS || t->queue.in_flight > 0) {
        for (unsigned i = 0; i < SLOTS && t->done < ROUNDS; i++) {
            if (!t->slot[i].busy) {
                launch(t, &t->slot[i]);
                begun++;
                if (t->kind->errors && begun % 50 == 0) {
                    plan_errors(t, true);
                }
            }
        }
        if (t->queue.done_first == NULL) {
            strand_wait(t->disk->strands, &t->waiter);
        }
        for (struct blk_request *r = blk_reap(&t->queue); r != NULL;) {
            struct blk_request *next = r->next;

            finish(t, (struct slot *)r);
            r = next;
        }
    }
}

static int no_base(struct blk_source *s, const char *name, const char *format,
                   bool read_only, struct blk **ret, struct err *e)
{
    struct run *t = *(struct run **)(s + 1);
    char *room = malloc(SIZE_BYTES);
    int r = leaf_memory_create(loop_strands(t->loop), SIZE_BYTES / 2, 512, ret, e);

    (void)name;
    (void)format;
    (void)read_only;
    for (size_t i = 0; i < SIZE_BYTES / 2; i++) {
        room[i] = i % 70000 < 40000 ? (char)(i / 512) : 0;
    }
    must_be_0(r);
    must_be_0(blk_write(*ret, room, SIZE_BYTES / 2, 0, 0));
    memcpy(t->model, room, SIZE_BYTES / 2);
    free(room);
    return 0;
}

static void open_disk(struct run *t)
{
    struct {
        struct blk_source source;
        struct run *run;
    } source = {{no_base}, t};
    struct qcow2_create_options o = t->kind->options;
    struct qcow2_open_options oo = {
        .label = "image", .source = &source.source, .cache_bytes = 1};
    struct filter_fault_plan plan = {.seed = 3};
    struct err e = {0};

    o.size_bytes = SIZE_BYTES;
    must_be_0(leaf_memory_create(loop_strands(t->loop), 0, 512, &t->file, &e));
    t->file->grows = true;
    must_be_0(filter_fault_create(t->loop, t->file, &plan, &t->lower, &e));
    must_be_0(qcow2_create(t->lower, &o, &e));
    must_be_0(qcow2_open(t->lower, &oo, &t->disk, &e));
    t->edge = (struct blk_edge){.user = "stress", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&t->edge, t->disk, &e));
    if (t->kind->snapshot) {
        memset(t->model, 'm', SIZE_BYTES);
        must_be_0(blk_write(t->disk, t->model, SIZE_BYTES, 0, 0));
        must_be_0(qcow2_snapshot_create(t->disk, "first", &e));
    }
    memcpy(t->second, t->model, SIZE_BYTES);
}

static int stress(void *arg)
{
    struct run *t = arg;
    struct qcow2_check_result x;
    struct err e = {0};
    char *room = malloc(SIZE_BYTES);

    open_disk(t);
    plan_errors(t, false);
    t->queue = (struct blk_queue){.disk = t->disk, .ready = ready};
    for (unsigned i = 0; i < SLOTS; i++) {
        t->slot[i].base = i * (uint64_t)(PART_BYTES + 512);
    }
    churn(t);
    plan_errors(t, false);
    (void)blk_flush(t->disk);
    must_be_0(blk_flush(t->disk));
    must_be_0(blk_read(t->disk, room, SIZE_BYTES, 0));
    settle(t, room, 0, SIZE_BYTES);
    must_be_0(qcow2_check(t->disk, QCOW2_REPAIR_NOTHING, &x, &e));
    if (x.corruptions != 0 || (x.leaks != 0 && !t->kind->errors)) {
        (void)fprintf(stderr, "%s: %llu corruptions, %llu leaks\n", t->kind->name,
                      (unsigned long long)x.corruptions, (unsigned long long)x.leaks);
        abort();
    }
    if (t->kind->snapshot) {
        memset(room, 'm', SIZE_BYTES);
        must_be_0(qcow2_snapshot_apply(t->disk, "first", &e));
        must_be_0(blk_read(t->disk, t->model, SIZE_BYTES, 0));
        must(memcmp(room, t->model, SIZE_BYTES) == 0);
    }
    blk_detach(&t->edge);
    free(room);
    return 0;
}

int main(void)
{
    const char *only = getenv("SUITE_ONLY");
    const char *seed = getenv("SUITE_SEED");

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct run t = {.kind = &kinds[i],
                        .random = seed != NULL ? strtoull(seed, NULL, 10) * 2 + 1 : 3};

        if (only != NULL && strcmp(only, kinds[i].name) != 0) {
            continue;
        }
        t.model = calloc(1, SIZE_BYTES);
        t.second = calloc(1, SIZE_BYTES);
        t.slot = calloc(SLOTS, sizeof *t.slot);
        must_be_0(loop_create(LOOP_DRIVER_AUTO, &t.loop, NULL));
        must_be_0(loop_do(t.loop, stress, &t));
        loop_destroy(t.loop);
        free(t.model);
        free(t.second);
        free(t.slot);
        (void)printf("ok   %s\n", kinds[i].name);
    }
    return 0;
}
