/* blk_graph_test.c - edges, their permissions, and changes under load. */
#include <errno.h>
#include <string.h>

#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES (1024 * 1024)

static struct blk *memory_disk(struct loop *l)
{
    struct blk *b = NULL;

    must_be_0(leaf_memory_create(loop_strands(l), SIZE_BYTES, 512, &b, NULL));
    return b;
}

static int refuse_contradictions(void *arg)
{
    struct loop *l = arg;
    struct blk *b = memory_disk(l);
    struct blk_edge guest = {.user = "guest", .uses = BLK_USE_ALL, .lets = BLK_USE_READ};
    struct blk_edge second = {
        .user = "second", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    struct blk_edge strict = {.user = "strict", .uses = BLK_USE_READ};
    struct blk_edge backup = {
        .user = "backup", .uses = BLK_USE_READ, .lets = BLK_USE_ALL};
    struct err e = {0};

    must_be_0(blk_attach(&guest, b, &e));
    must(blk_attach(&second, b, &e) == -EBUSY);
    must(strstr(e.text, "second") != NULL && strstr(e.text, "guest") != NULL);
    must(blk_attach(&strict, b, NULL) == -EBUSY);
    must_be_0(blk_attach(&backup, b, NULL));
    blk_detach(&guest);
    must(guest.disk == NULL);
    must_be_0(blk_attach(&second, b, NULL));
    blk_detach(&second);
    b->read_only = true;
    must(blk_attach(&second, b, NULL) == -EROFS);
    blk_detach(&second); /* was not attached: nothing happens */
    blk_detach(&backup); /* the last: the disk goes */
    return 0;
}

static int see_depth(struct blk *b, unsigned depth, void *arg)
{
    char *text = arg;
    size_t n = strlen(text);

    text[n] = (char)('0' + depth);
    text[n + 1] = b->ops->name[0];
    return depth == 9 ? 1 : 0;
}

/* A filter goes in between a user and its disk, and out again, under writes. */
struct writer {
    struct loop *loop;
    struct blk_edge edge;
    unsigned rounds;
    bool stop;
    bool stopped;
};

static void keep_writing(void *arg)
{
    struct writer *w = arg;

    while (!w->stop) {
        unsigned char room[512];

        memset(room, (int)w->rounds, sizeof room);
        must_be_0(blk_write(w->edge.disk, room, 512, w->rounds % 1024 * 512, 0));
        w->rounds++;
        loop_sleep(w->loop, 20000);
    }
    w->stopped = true;
}

static int make_filter(struct blk *take_lower, void *arg, struct blk **ret_disk,
                       struct err *e)
{
    struct filter_fault_plan plan = {
        .seed = 1, .holds_back = true, .delay_one_in = 2, .delay_ns = 100000};

    loop_sleep(arg, 100000); /* guests' requests come meanwhile */
    return filter_fault_create(arg, take_lower, &plan, ret_disk, e);
}

static int refuse_filter(struct blk *take_lower, void *arg, struct blk **ret_disk,
                         struct err *e)
{
    (void)arg;
    (void)ret_disk;
    blk_drop(take_lower);
    return err_set(e, -EDOM, "cannot make it");
}

/* Every write is on the disk that is left, whichever way it went. */
static void must_have_all(struct writer *w)
{
    unsigned first = w->rounds > 1024 ? w->rounds - 1024 : 0;

    for (unsigned i = first; i < w->rounds; i++) {
        unsigned char room[512];

        must_be_0(blk_read(w->edge.disk, room, 512, i % 1024 * 512));
        must(room[0] == (unsigned char)i && room[511] == (unsigned char)i);
    }
}

static int change_under_load(void *arg)
{
    struct loop *l = arg;
    struct blk *lower = memory_disk(l);
    struct writer w = {.loop = l, .edge = {.user = "guest", .uses = BLK_USE_ALL}};
    struct err e = {0};

    must_be_0(blk_attach(&w.edge, lower, NULL));
    must_be_0(strand_start(loop_strands(l), keep_writing, &w));
    for (unsigned i = 0; i < 20; i++) {
        char seen[32] = "";

        must_be_0(blk_insert(&w.edge, make_filter, l, &e));
        loop_sleep(l, 300000);
        must_be_0(blk_visit(w.edge.disk, see_depth, seen));
        must(strcmp(seen, "0f1m") == 0);
        must(blk_insert(&w.edge, refuse_filter, l, &e) == -EDOM);
        must_be_0(blk_remove(&w.edge, &e));
        must(w.edge.disk == lower);
        loop_sleep(l, 300000);
    }
    w.stop = true;
    while (!w.stopped) {
        loop_sleep(l, 100000);
    }
    must(w.rounds > 40);
    must_have_all(&w);
    blk_detach(&w.edge);
    return 0;
}

/* All steps or none: the second one contradicts, so the first is undone. */
static int change_all_or_nothing(void *arg)
{
    struct loop *l = arg;
    struct blk *a = memory_disk(l);
    struct blk *b = memory_disk(l);
    struct blk_edge x = {.user = "x", .uses = BLK_USE_WRITE};
    struct blk_edge y = {.user = "y", .uses = BLK_USE_WRITE};
    struct blk_edge z = {.user = "z", .uses = BLK_USE_READ, .lets = BLK_USE_ALL};
    struct blk_step swap[2] = {{&x, b, BLK_USE_WRITE, 0}, {&y, a, BLK_USE_WRITE, 0}};
    struct blk_step clash[2] = {{&x, a, BLK_USE_WRITE, 0}, {&z, a, BLK_USE_READ, 0}};
    struct err e = {0};

    must_be_0(blk_attach(&x, a, &e));
    must_be_0(blk_attach(&y, b, &e));
    must_be_0(blk_change(swap, 2, &e));
    must(x.disk == b && y.disk == a);
    must(blk_change(clash, 2, &e) == -EBUSY);
    must(x.disk == b && y.disk == a && z.disk == NULL && z.lets == BLK_USE_ALL);
    blk_detach(&x);
    blk_detach(&y);
    return 0;
}

/* A disk with its filter becomes read only and writable again; one that another writes to
 * stays as it is, and so does one whose user forbids writing. */
static int set_access(void *arg)
{
    struct loop *l = arg;
    struct filter_fault_plan plan = {.seed = 1, .holds_back = true};
    struct blk *lower = memory_disk(l);
    struct blk *filter = NULL;
    struct blk_edge keep = {.user = "keep", .lets = BLK_USE_ALL};
    struct blk_edge reader = {
        .user = "reader", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    struct blk_edge user = {.user = "user", .uses = BLK_USE_ALL, .lets = BLK_USE_READ};
    char room[512] = {7};
    char found[512];

    must_be_0(filter_fault_create(l, lower, &plan, &filter, NULL));
    must_be_0(blk_attach(&keep, lower, NULL));
    must_be_0(blk_attach(&user, filter, NULL));
    must_be_0(blk_write(filter, room, 512, 0, 0));
    must(blk_set_access(filter, false, NULL) == -EBUSY);
    user.uses = BLK_USE_READ;
    must_be_0(blk_set_access(filter, false, NULL));
    must(filter->read_only && lower->read_only);
    must_be_0(blk_read(lower, found, 512, 0)); /* what it held back went down first */
    must(found[0] == 7 && blk_write(filter, room, 512, 0, 0) == -EROFS);
    must_be_0(blk_attach(&reader, lower, NULL));
    must(blk_set_access(filter, true, NULL) == -EBUSY);
    must(filter->read_only && lower->read_only);
    blk_detach(&reader);
    must_be_0(blk_set_access(filter, true, NULL));
    must(!filter->read_only && !lower->read_only);
    must_be_0(blk_write(filter, room, 512, 512, 0));
    blk_detach(&user);
    blk_detach(&keep);
    return 0;
}

/* A read that is held up while a flush moves what it wants to a disk that grows. */
struct held_read {
    struct blk *disk;
    char found[512];
    bool done;
};

static void read_it(void *arg)
{
    struct held_read *r = arg;

    must_be_0(blk_read(r->disk, r->found, 512, 4096));
    r->done = true;
}

static int read_while_flushing(void *arg)
{
    struct loop *l = arg;

    for (unsigned i = 0; i < 40; i++) {
        struct filter_fault_plan plan = {
            .seed = i, .holds_back = true, .delay_one_in = 1, .delay_ns = 50000};
        struct held_read r = {.done = false};
        struct blk *lower = NULL;
        char room[512] = {7};

        must_be_0(leaf_memory_create(loop_strands(l), 0, 512, &lower, NULL));
        lower->grows = true;
        must_be_0(filter_fault_create(l, lower, &plan, &r.disk, NULL));
        must_be_0(blk_write(r.disk, room, 512, 4096, 0));
        must_be_0(strand_start(loop_strands(l), read_it, &r));
        must_be_0(blk_flush(r.disk));
        while (!r.done) {
            loop_sleep(l, 10000);
        }
        must(r.found[0] == 7);
        blk_drop(r.disk);
    }
    return 0;
}

/* A disk that knows no zeros and makes its writes durable itself. */
struct plain_disk {
    struct blk blk;
    unsigned durable;
};

static int plain_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct plain_disk *d = (struct plain_disk *)b;

    (void)from;
    (void)off;
    d->durable += (flags & BLK_FUA) != 0;
    return 0;
}

static void plain_destroy(struct blk *b)
{
    (void)b;
}

/* Zeros that are written because there is no better way are as durable as asked. */
static int write_durable_zeros(void *arg)
{
    static const struct blk_ops ops = {
        .name = "plain", .write = plain_write, .destroy = plain_destroy};
    struct plain_disk d = {.durable = 0};

    blk_init(&d.blk, &ops, loop_strands(arg));
    d.blk.size_bytes = 65536;
    d.blk.does_fua = true;
    must_be_0(blk_zero(&d.blk, 0, 4096, 0));
    must(d.durable == 0);
    must_be_0(blk_zero(&d.blk, 0, 4096, BLK_FUA));
    must(d.durable > 0);
    return 0;
}

static void run(int (*fn)(void *arg))
{
    struct loop *l = NULL;

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &l, NULL));
    must_be_0(loop_do(l, fn, l));
    loop_destroy(l);
}

int main(void)
{
    run(refuse_contradictions);
    run(change_under_load);
    run(change_all_or_nothing);
    run(set_access);
    run(read_while_flushing);
    run(write_durable_zeros);
    return 0;
}
