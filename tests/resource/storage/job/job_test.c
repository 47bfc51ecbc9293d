/* job_test.c - jobs on disks that guests write to: what guests see, and what is left. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/job/job.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/job/load.h"
#include "tests/resource/storage/job/parts.h"

/* ---- fork ---- */

#define FORKS 6

/* Every layer has one moment of what was written, and nobody writes to it any more. */
static int fork_under_load(void *arg)
{
    struct parts *p = arg;
    struct load *t = load_create(p->loop, p->seed);
    struct load_moment *from = calloc(FORKS, sizeof *from);
    struct load_moment *to = calloc(FORKS, sizeof *to);
    struct blk *layer[FORKS];
    uint64_t worst = 0;
    uint64_t slowest;

    parts_image(p, 0, NULL);
    parts_root(p, parts_open(p, 0, false));
    load_start(t, p->root.disk, NULL, NULL);
    for (unsigned i = 0; i < FORKS; i++) {
        uint64_t stall = 0;
        bool done = false;

        loop_sleep(p->loop, 30000000);
        parts_image(p, i + 1, "below");
        layer[i] = job_root_edge(p->root.disk)->disk;
        load_moment(t, &from[i]);
        must_be_0(job_fork(p->root.disk, job_root_edge(p->root.disk),
                           parts_open(p, i + 1, true), &stall, &done, &p->e));
        load_moment(t, &to[i]);
        must(done && blk_is_read_only(layer[i]) && p->file[i].disk->read_only);
        worst = stall > worst ? stall : worst;
    }
    loop_sleep(p->loop, 30000000);
    slowest = load_slowest_ns(t);
    for (unsigned i = 0; i < FORKS; i++) { /* while guests go on */
        load_check_moment(t, layer[i], &from[i], &to[i], "a layer");
    }
    load_stop(t);
    load_moment(t, &to[0]);
    load_check(t, p->root.disk, to[0].finished, &to[0], "the top");
    (void)printf("     fork: held up for %llu us at most, slowest write %llu us\n",
                 (unsigned long long)worst / 1000, (unsigned long long)slowest / 1000);
    parts_close(p);
    load_free(t);
    free(from);
    free(to);
    return 0;
}

/* A fork that cannot be leaves guests where they are. */
static int fork_refuses(void *arg)
{
    struct parts *p = arg;
    uint64_t stall;
    bool done = true;
    struct blk *top;
    struct blk *memory;
    struct filter_fault_plan plan = {
        .fail_kinds = 1 << BLK_FLUSH, .fail_from = 1, .fail_until = 2, .error = -EIO};

    parts_image(p, 0, NULL);
    top = parts_open(p, 0, false);
    parts_root(p, top);
    must_be_0(leaf_memory_create(loop_strands(p->loop), LOAD_BYTES, 512, &memory, NULL));
    must(job_fork(p->root.disk, job_root_edge(p->root.disk), memory, &stall, &done,
                  &p->e) == -EINVAL &&
         !done);
    parts_image(p, 2, "below");
    filter_fault_plan(p->fault[0], &plan); /* the flush before it fails */
    must(job_fork(p->root.disk, job_root_edge(p->root.disk), parts_open(p, 2, true),
                  &stall, &done, NULL) == -EIO);
    must(!done);
    must_be_0(blk_flush(p->root.disk));
    parts_image(p, 1, "below");
    must_be_0(blk_resize(p->root.disk, LOAD_BYTES + 65536, NULL));
    must(job_fork(p->root.disk, job_root_edge(p->root.disk), parts_open(p, 1, true),
                  &stall, &done, NULL) == -EINVAL);
    parts_close(p);
    return 0;
}

/* The flush behind the fork fails: guests' flushes say so until it is made good. */
static int fork_owes_what_was_written(void *arg)
{
    struct parts *p = arg;
    struct filter_fault_plan plan = {
        .fail_kinds = 1 << BLK_FLUSH, .fail_from = 2, .fail_until = 4, .error = -EIO};
    uint64_t stall;
    bool done = false;

    parts_image(p, 0, NULL);
    parts_root(p, parts_open(p, 0, false));
    parts_image(p, 1, "below");
    filter_fault_plan(p->fault[0], &plan);
    must(job_fork(p->root.disk, job_root_edge(p->root.disk), parts_open(p, 1, true),
                  &stall, &done, NULL) == -EIO &&
         done);
    must(blk_flush(p->root.disk) == -EIO);
    must_be_0(blk_flush(p->root.disk));
    parts_close(p);
    return 0;
}

/* ---- move and merge ---- */

/* What is to happen to a job, and did. */
struct plan {
    struct parts *p;
    struct load *load;
    uint64_t cancel_at; /* this call of progress; 0: never */
    uint64_t cut_at;    /* the power goes at this call */
    bool refuse;        /* at `ready` */
    uint64_t calls;
    bool is_ready;
    bool cut_turned;           /* the power goes once that is noted */
    bool has_turned;           /* what was noted */
    struct load_moment moment; /* when it was ready: both disks have that */
};

static void cut_all(struct parts *p)
{
    p->is_cut = true; /* no answer is heard from now on */
    for (unsigned i = 0; i < PARTS_FILES; i++) {
        if (p->fault[i] != NULL) {
            filter_fault_cut(p->fault[i]);
        }
    }
}

static int progress(void *arg, uint64_t done, uint64_t total)
{
    struct plan *x = arg;

    must(done <= total);
    x->calls++;
    if (x->calls == x->cut_at && !x->p->is_cut) {
        cut_all(x->p);
    }
    return x->calls == x->cancel_at ? -ECANCELED : 0;
}

static int ready(void *arg, const int *failed)
{
    struct plan *x = arg;

    loop_sleep(x->p->loop, 3000000); /* guests go on: all goes to both */
    x->is_ready = true;
    load_moment(x->load, &x->moment);
    if (x->cut_at == UINT64_MAX) {
        cut_all(x->p);
    }
    return *failed != 0 || x->refuse ? -ECANCELED : 0;
}

/* A note that outlives the power. */
static int turned(void *arg, bool gone)
{
    struct plan *x = arg;

    if (!x->p->is_cut) {
        x->has_turned = gone;
    }
    if (x->cut_turned) {
        cut_all(x->p);
    }
    return 0;
}

static bool is_cut(void *arg)
{
    return ((struct parts *)arg)->is_cut;
}

static struct job_control control_of(struct plan *x)
{
    return (struct job_control){
        .progress = progress, .ready = ready, .turned = turned, .arg = x};
}

/* Guests have what they wrote. */
static void must_have_all(struct plan *x, const char *what)
{
    struct load_moment *m = malloc(sizeof *m);

    load_stop(x->load);
    load_moment(x->load, m);
    load_check(x->load, x->p->root.disk, m->finished, m, what);
    free(m);
}

/* A disk of another kind for each seed. */
static struct blk *make_target(struct parts *p, unsigned n)
{
    if (p->seed % 2 == 0) {
        parts_plain(p, n);
        return parts_file(p, n, p->holds_back);
    }
    parts_image(p, n, NULL);
    return parts_open(p, n, false);
}

static void fill(struct plan *x)
{
    load_start(x->load, x->p->root.disk, NULL, NULL);
    loop_sleep(x->p->loop, 20000000);
    load_stop(x->load);
}

static struct plan *begin(struct parts *p)
{
    struct plan *x = calloc(1, sizeof *x);

    x->p = p;
    x->load = load_create(p->loop, p->seed);
    return x;
}

static void end(struct plan *x)
{
    parts_close(x->p);
    load_free(x->load);
    free(x);
}

static int move(struct plan *x, struct blk *to)
{
    struct job_control j = control_of(x);
    struct blk *root = x->p->root.disk;

    return job_move(root, job_root_edge(root), to, &j, &x->p->e);
}

static int move_under_load(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct blk *to = NULL;

    parts_image(p, 0, NULL);
    parts_root(p, parts_open(p, 0, false));
    fill(x);
    for (unsigned i = 1; i < 4; i++) {
        to = make_target(p, i);
        load_start(x->load, p->root.disk, NULL, NULL);
        must_be_0(move(x, to));
        must(job_root_edge(p->root.disk)->disk == to && x->is_ready);
        loop_sleep(p->loop, 5000000);
        must_have_all(x, "moved");
        x->is_ready = false;
    }
    end(x);
    return 0;
}

/* It is cancelled somewhere, or refused at the end: guests are where they were. */
static int move_cancelled(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct blk *from;

    parts_image(p, 0, NULL);
    from = parts_open(p, 0, false);
    parts_root(p, from);
    fill(x);
    for (unsigned i = 1; i < 6; i++) {
        struct blk *to = make_target(p, i);

        x->calls = 0;
        x->cancel_at = i < 5 ? load_pick(x->load, 12) + 1 : 0;
        x->refuse = true;
        load_start(x->load, p->root.disk, NULL, NULL);
        must(move(x, to) == -ECANCELED);
        must(job_root_edge(p->root.disk)->disk == from);
        must_have_all(x, "not moved");
    }
    end(x);
    return 0;
}

/* Errors of the target end the job; guests do not see them. */
static int move_to_a_bad_disk(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct blk *from;

    parts_image(p, 0, NULL);
    from = parts_open(p, 0, false);
    parts_root(p, from);
    fill(x);
    for (unsigned i = 1; i < 9; i++) {
        struct filter_fault_plan plan = {
            .fail_kinds = i % 3 == 0 ? 1 << BLK_FLUSH : 1 << BLK_WRITE,
            .fail_from = i % 3 == 0 ? 1 : load_pick(x->load, 30) + 1,
            .fail_until = UINT64_MAX,
            .error = -EIO};
        struct blk *to = make_target(p, i);

        filter_fault_plan(p->fault[i], &plan);
        load_start(x->load, p->root.disk, NULL, NULL);
        must(move(x, to) == -EIO);
        must(job_root_edge(p->root.disk)->disk == from);
        must_have_all(x, "not moved");
    }
    end(x);
    return 0;
}

/* What a file has after the cut. */
static struct blk *reopen(struct parts *p, unsigned n)
{
    struct qcow2_check_result found;
    struct blk *b;

    if (n > 0 && p->seed % 2 == 0) {
        return p->file[n].disk;
    }
    b = parts_open(p, n, false);
    must_be_0(qcow2_check(b, QCOW2_REPAIR_NOTHING, &found, NULL));
    must(found.corruptions == 0);
    return b;
}

/* The power goes around the turn: the disk that the note names has what was flushed. */
static int turn_cut(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct load_moment *m = malloc(sizeof *m);
    struct blk *b;

    p->holds_back = true;
    parts_image(p, 0, NULL);
    parts_root(p, parts_open(p, 0, false));
    fill(x);
    must_be_0(blk_flush(p->root.disk));
    b = make_target(p, 1);
    x->cut_turned = p->seed % 3 == 0;
    x->cut_at = p->seed % 3 == 1 ? UINT64_MAX : 0;
    load_start(x->load, p->root.disk, is_cut, p);
    (void)move(x, b);
    loop_sleep(p->loop,
               (p->seed % 7) * 1000000); /* on the new disk alone, or both are cut */
    if (!p->is_cut) {
        cut_all(p);
    }
    load_stop(x->load);
    parts_leave(p);
    p->holds_back = false;
    load_moment(x->load, m);
    must(x->has_turned == (x->cut_at == 0));
    b = reopen(p, x->has_turned ? 1 : 0);
    load_check(x->load, b, m->durable, m, "the disk that was noted");
    if (b != p->file[x->has_turned ? 1 : 0].disk) {
        blk_drop(b);
    }
    free(m);
    end(x);
    return 0;
}

/* The power goes at some time: the disk that was in use has what was flushed; once the job
 * was ready, the other one does, too. */
static int move_cut(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct load_moment *m = malloc(sizeof *m);
    struct blk *b;

    p->holds_back = true;
    parts_image(p, 0, NULL);
    parts_root(p, parts_open(p, 0, false));
    fill(x);
    must_be_0(blk_flush(p->root.disk));
    b = make_target(p, 1);
    x->cut_at = p->seed % 3 == 0 ? UINT64_MAX : load_pick(x->load, 70) + 1;
    x->is_ready = false;
    load_start(x->load, p->root.disk, is_cut, p);
    (void)move(x, b);
    if (!p->is_cut) {
        cut_all(p);
    }
    load_stop(x->load);
    parts_leave(p);
    p->holds_back = false;
    load_moment(x->load, m);
    for (unsigned n = 0; n < 2; n++) {
        if (n == 0 ? !x->is_ready || x->cut_at == UINT64_MAX : x->is_ready) {
            b = reopen(p, n);
            load_check(x->load, b, m->durable, m,
                       n == 0 ? "the old disk" : "the new disk");
            if (b != p->file[n].disk) {
                blk_drop(b);
            }
        }
    }
    free(m);
    end(x);
    return 0;
}

static int merge(struct plan *x, struct blk *layer)
{
    struct job_control j = control_of(x);
    struct blk *root = x->p->root.disk;

    return job_merge(root, job_edge_to(root, layer), &j, &x->p->e);
}

/* A chain of three, each with something written to it; `layer` from the bottom. */
static void make_chain(struct plan *x, struct blk **layer, unsigned count)
{
    struct parts *p = x->p;
    uint64_t stall;
    bool done;

    parts_image(p, 0, NULL);
    layer[0] = parts_open(p, 0, false);
    parts_root(p, layer[0]);
    fill(x);
    for (unsigned i = 1; i < count; i++) {
        parts_image(p, i, "below");
        layer[i] = parts_open(p, i, true);
        must_be_0(job_fork(p->root.disk, job_root_edge(p->root.disk), layer[i], &stall,
                           &done, &p->e));
        fill(x);
    }
}

static int merge_under_load(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct blk *layer[5];

    make_chain(x, layer, 5);
    for (unsigned i = 4; i > 2; i--) { /* the top goes down */
        load_start(x->load, p->root.disk, NULL, NULL);
        must_be_0(merge(x, layer[i]));
        must(job_root_edge(p->root.disk)->disk == layer[i - 1] &&
             !layer[i - 1]->read_only);
        loop_sleep(p->loop, 5000000);
        must_have_all(x, "merged");
    }
    load_start(x->load, p->root.disk, NULL, NULL);
    must_be_0(merge(x, layer[1])); /* one in the middle */
    must(job_root_edge(p->root.disk)->disk == layer[2]);
    must(qcow2_backing_edge(layer[2])->disk == layer[0] && layer[0]->read_only);
    must(p->file[0].disk->read_only);
    must_have_all(x, "merged in the middle");
    load_start(x->load, p->root.disk, NULL, NULL);
    must_be_0(merge(x, layer[2]));
    must_have_all(x, "merged to the bottom");
    must(merge(x, layer[0]) == -EINVAL);
    end(x);
    return 0;
}

static int merge_cancelled(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct blk *layer[3];

    make_chain(x, layer, 3);
    x->refuse = true;
    for (unsigned i = 0; i < 6; i++) {
        unsigned which = i % 2 == 0 ? 2 : 1;

        x->calls = 0;
        x->cancel_at = i < 4 ? load_pick(x->load, 6) + 1 : 0;
        load_start(x->load, p->root.disk, NULL, NULL);
        must(merge(x, layer[which]) == -ECANCELED);
        must(job_root_edge(p->root.disk)->disk == layer[2] &&
             layer[which - 1]->read_only);
        must_have_all(x, "not merged");
    }
    x->refuse = false;
    x->cancel_at = 0;
    must_be_0(merge(x, layer[2]));
    must_have_all(x, "merged at last");
    end(x);
    return 0;
}

/* The chain as it is found after a cut. */
static struct blk *reopen_chain(struct parts *p, unsigned count)
{
    struct blk *b = NULL;

    for (unsigned i = 0; i < count; i++) {
        struct blk *layer = parts_open(p, i, true);
        struct blk_edge *backing = qcow2_backing_edge(layer);
        struct qcow2_check_result found;

        must_be_0(qcow2_check(layer, QCOW2_REPAIR_NOTHING, &found, NULL));
        must(found.corruptions == 0);
        if (b != NULL) {
            backing->uses = BLK_USE_READ;
            backing->lets = BLK_USE_READ;
            must_be_0(blk_attach(backing, b, NULL));
        }
        b = layer;
    }
    return b;
}

static int merge_cut(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct load_moment *m = malloc(sizeof *m);
    struct blk *layer[3];
    struct blk *b;

    p->holds_back = true;
    make_chain(x, layer, 3);
    must_be_0(blk_flush(p->root.disk));
    x->cut_at = p->seed % 3 == 0 ? UINT64_MAX : load_pick(x->load, 20) + 1;
    load_start(x->load, p->root.disk, is_cut, p);
    (void)merge(x, layer[p->seed % 4 == 0 ? 1 : 2]);
    if (!p->is_cut) {
        cut_all(p);
    }
    load_stop(x->load);
    parts_leave(p);
    p->holds_back = false;
    load_moment(x->load, m);
    if (!x->is_ready || x->cut_at == UINT64_MAX) {
        b = reopen_chain(p, 3);
        load_check(x->load, b, m->durable, m, "the chain");
        blk_drop(b);
    }
    if (x->is_ready && p->seed % 4 != 0) {
        b = reopen_chain(p, 2);
        load_check(x->load, b, m->durable, m, "the merged layer");
        blk_drop(b);
    }
    free(m);
    end(x);
    return 0;
}

/* ---- stream ---- */

static int stream_under_load(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct job_control j = control_of(x);
    struct blk *layer[3];

    make_chain(x, layer, 3);
    load_start(x->load, p->root.disk, NULL, NULL);
    x->cancel_at = 1;
    must(job_stream(layer[2], &j, NULL) == -ECANCELED);
    must_be_0(job_stream(layer[2], &j, &p->e));
    must(qcow2_backing_edge(layer[2])->disk == NULL);
    must_have_all(x, "alone");
    end(x);
    return 0;
}

/* ---- backup ---- */

/* A root over a disk with bitmaps; file 0 has the disk, file 15 the bitmaps. */
static struct bitmap_set *marked_root(struct parts *p, struct bitmap **ret_bitmap)
{
    struct bitmap_set *set = NULL;
    struct blk *b = NULL;

    parts_plain(p, 0);
    parts_plain(p, 15);
    must_be_0(bitmap_set_format(p->file[15].disk, LOAD_BYTES, &p->e));
    must_be_0(bitmap_set_open(parts_file(p, 15, false), LOAD_BYTES, &set, &p->e));
    must_be_0(bitmap_add(set, "day", 4096u << p->seed % 6, ret_bitmap, &p->e));
    must_be_0(bitmap_filter_create(parts_file(p, 0, false), set, &b, &p->e));
    parts_root(p, b);
    return set;
}

static int backup(struct plan *x, struct bitmap_set *set, struct blk *to, bool full)
{
    struct job_control j = control_of(x);
    struct job_backup what = {.to = to, .marks = set, .bitmap = "day", .full = full};
    uint64_t bytes;

    return job_backup(job_root_edge(x->p->root.disk), &what, &j, &bytes, &x->p->e);
}

/* Each backup has a moment, on top of the one before. */
static int backup_under_load(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct bitmap *day;
    struct bitmap_set *set = marked_root(p, &day);
    struct load_moment *from = malloc(sizeof *from);
    struct load_moment *to = malloc(sizeof *to);
    struct blk *copy = make_target(p, 1);
    struct blk_edge keep = {.user = "test", .lets = BLK_USE_ALL};

    must_be_0(blk_attach(&keep, copy, NULL));
    fill(x);
    for (unsigned i = 0; i < 4; i++) {
        load_start(x->load, p->root.disk, NULL, NULL);
        loop_sleep(p->loop, 3000000);
        load_moment(x->load, from);
        must_be_0(backup(x, set, copy, i == 0));
        load_moment(x->load, to);
        load_check_moment(x->load, copy, from, to, "a backup");
        loop_sleep(p->loop, 3000000);
        must_have_all(x, "backed up");
        must(bitmap_find(set, "day.backup") == NULL);
    }
    blk_detach(&keep);
    free(from);
    free(to);
    end(x);
    return 0;
}

/* It fails or is cancelled: guests see nothing, and the next backup copies what this one
 * should have. */
static int backup_fails(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct bitmap *day;
    struct bitmap_set *set = marked_root(p, &day);
    struct load_moment *now = malloc(sizeof *now);
    struct blk *copy = make_target(p, 1);
    struct blk_edge keep = {.user = "test", .lets = BLK_USE_ALL};

    must_be_0(blk_attach(&keep, copy, NULL));
    fill(x);
    must_be_0(backup(x, set, copy, true));
    for (unsigned i = 0; i < 6; i++) {
        struct filter_fault_plan plan = {.fail_kinds = 1 << BLK_WRITE,
                                         .fail_from = load_pick(x->load, 8) + 1,
                                         .fail_until = UINT64_MAX,
                                         .error = -ENOSPC};
        struct filter_fault_plan none = {.seed = 1};
        int r;

        x->calls = 0;
        x->cancel_at = i % 2 == 0 ? load_pick(x->load, 4) + 1 : 0;
        fill(x);
        if (i % 2 == 1) {
            filter_fault_plan(p->fault[1], &plan);
        }
        load_start(x->load, p->root.disk, NULL, NULL);
        loop_sleep(p->loop, 1000000);
        r = backup(x, set, copy, false);
        if (r == 0) { /* it was over before that came */
            must(i % 2 == 0 ? x->calls < x->cancel_at : plan.fail_from > 1);
        } else {
            must(r == (i % 2 == 0 ? -ECANCELED : -ENOSPC) && bitmap_dirty_bytes(day) > 0);
        }
        filter_fault_plan(p->fault[1], &none);
        must_have_all(x, "not backed up");
        must(bitmap_find(set, "day.backup") == NULL);
    }
    x->cancel_at = 0;
    must_be_0(backup(x, set, copy, false));
    load_moment(x->load, now);
    load_check(x->load, copy, now->finished, now, "the backup at last");
    must(bitmap_dirty_bytes(day) == 0);
    blk_detach(&keep);
    free(now);
    end(x);
    return 0;
}

/* The process died in the middle: the frozen marks are found. */
static int backup_is_made_good(void *arg)
{
    struct parts *p = arg;
    struct plan *x = begin(p);
    struct bitmap *day;
    struct bitmap *left;
    struct bitmap_set *set = marked_root(p, &day);
    struct load_moment *now = malloc(sizeof *now);
    struct blk *copy = make_target(p, 1);
    struct blk_edge keep = {.user = "test", .lets = BLK_USE_ALL};

    must_be_0(blk_attach(&keep, copy, NULL));
    fill(x);
    must_be_0(backup(x, set, copy, true));
    fill(x);
    must_be_0(bitmap_freeze(day, "day.backup", &left, &p->e));
    fill(x);
    must_be_0(backup(x, set, copy, false));
    load_moment(x->load, now);
    load_check(x->load, copy, now->finished, now, "the backup");
    blk_detach(&keep);
    free(now);
    end(x);
    return 0;
}

static const struct parts_case cases[] = {
    {"backup_under_load", backup_under_load},
    {"backup_fails", backup_fails},
    {"backup_is_made_good", backup_is_made_good},
    {"move_under_load", move_under_load},
    {"move_cancelled", move_cancelled},
    {"move_to_a_bad_disk", move_to_a_bad_disk},
    {"move_cut", move_cut},
    {"turn_cut", turn_cut},
    {"merge_under_load", merge_under_load},
    {"merge_cancelled", merge_cancelled},
    {"merge_cut", merge_cut},
    {"stream_under_load", stream_under_load},
    {"fork_under_load", fork_under_load},
    {"fork_refuses", fork_refuses},
    {"fork_owes_what_was_written", fork_owes_what_was_written},
};

int main(void)
{
    return parts_main(cases, sizeof cases / sizeof cases[0]);
}
