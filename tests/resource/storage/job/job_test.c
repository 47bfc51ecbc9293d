/* job_test.c - jobs on disks that guests write to: what guests see, and what is left. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
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
        must_be_0(
            job_fork(p->root.disk, parts_open(p, i + 1, true), &stall, &done, &p->e));
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
    must(job_fork(p->root.disk, memory, &stall, &done, &p->e) == -EINVAL && !done);
    parts_image(p, 2, "below");
    filter_fault_plan(p->fault[0], &plan); /* the flush before it fails */
    must(job_fork(p->root.disk, parts_open(p, 2, true), &stall, &done, NULL) == -EIO);
    must(!done);
    must_be_0(blk_flush(p->root.disk));
    parts_image(p, 1, "below");
    must_be_0(blk_resize(p->root.disk, LOAD_BYTES + 65536, NULL));
    must(job_fork(p->root.disk, parts_open(p, 1, true), &stall, &done, NULL) == -EINVAL);
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
    must(job_fork(p->root.disk, parts_open(p, 1, true), &stall, &done, NULL) == -EIO &&
         done);
    must(blk_flush(p->root.disk) == -EIO);
    must_be_0(blk_flush(p->root.disk));
    parts_close(p);
    return 0;
}

static const struct parts_case cases[] = {
    {"fork_under_load", fork_under_load},
    {"fork_refuses", fork_refuses},
    {"fork_owes_what_was_written", fork_owes_what_was_written},
};

int main(void)
{
    return parts_main(cases, sizeof cases / sizeof cases[0]);
}
