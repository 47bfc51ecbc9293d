/* parts.c - disks in memory that jobs are tried on. */
#include "tests/resource/storage/job/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/job/job.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/job/load.h"

static void make_file(struct parts *p, unsigned n, uint64_t bytes)
{
    struct blk *b;

    blk_detach(&p->file[n]);
    must_be_0(leaf_memory_create(loop_strands(p->loop), bytes, 512, &b, NULL));
    b->grows = bytes == 0;
    p->file[n] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&p->file[n], b, NULL));
}

void parts_image(struct parts *p, unsigned n, const char *backing)
{
    struct qcow2_create_options o = {.size_bytes = LOAD_BYTES,
                                     .cluster_bytes = 4096u << (p->seed + n) % 5,
                                     .extended_l2 = (p->seed + n) % 5 > 2,
                                     .backing_name = backing,
                                     .backing_format = backing != NULL ? "qcow2" : NULL};

    make_file(p, n, 0);
    must_be_0(qcow2_create(p->file[n].disk, &o, &p->e));
}

void parts_plain(struct parts *p, unsigned n)
{
    make_file(p, n, LOAD_BYTES);
}

struct blk *parts_file(struct parts *p, unsigned n, bool holds_back)
{
    struct filter_fault_plan plan = {.seed = p->seed + n,
                                     .holds_back = holds_back,
                                     .delay_one_in = 4,
                                     .delay_ns = 200000};

    blk_detach(&p->hold[n]);
    must_be_0(filter_fault_create(p->loop, p->file[n].disk, &plan, &p->fault[n], NULL));
    p->hold[n] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&p->hold[n], p->fault[n], NULL));
    return p->fault[n];
}

struct blk *parts_open(struct parts *p, unsigned n, bool alone)
{
    struct qcow2_open_options o = {.label = "image", .alone = alone};
    struct blk *b = NULL;

    if (qcow2_open(parts_file(p, n, p->holds_back), &o, &b, &p->e) != 0) {
        (void)fprintf(stderr, "%s\n", p->e.text);
        abort();
    }
    return b;
}

void parts_root(struct parts *p, struct blk *top)
{
    struct blk *root;

    must_be_0(job_root_create(top, &root, &p->e));
    p->root = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL, .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&p->root, root, &p->e));
}

void parts_leave(struct parts *p)
{
    blk_detach(&p->root);
    for (unsigned i = 0; i < PARTS_FILES; i++) {
        blk_detach(&p->hold[i]);
        p->fault[i] = NULL;
    }
}

void parts_close(struct parts *p)
{
    parts_leave(p); /* also what was opened again */
    for (unsigned i = 0; i < PARTS_FILES; i++) {
        blk_detach(&p->file[i]);
    }
}

static void run(const struct parts_case *c, uint64_t seed)
{
    struct parts p = {.seed = seed};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &p.loop, NULL));
    must_be_0(loop_do(p.loop, c->run, &p));
    loop_destroy(p.loop);
}

int parts_main(const struct parts_case *cases, unsigned count)
{
    const char *only = getenv("SUITE_ONLY");
    const char *first = getenv("SUITE_SEED");
    const char *more = getenv("SUITE_CUTS");
    uint64_t seed = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t rounds = more != NULL ? strtoull(more, NULL, 10) : 1;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; i < count; i++) {
        for (uint64_t k = 0; k < rounds; k++) {
            if (only == NULL || strcmp(only, cases[i].name) == 0) {
                if (rounds > 1) {
                    (void)fprintf(stderr, "\r%s %llu ", cases[i].name,
                                  (unsigned long long)(seed + k));
                }
                run(&cases[i], seed + k);
            }
        }
        (void)printf("ok   %s\n", cases[i].name);
    }
    return 0;
}
