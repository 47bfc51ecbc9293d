/* tests/fuzz/one_disk.h - a disk in memory below a device, for fuzzers. */
#ifndef TESTS_FUZZ_ONE_DISK_H
#define TESTS_FUZZ_ONE_DISK_H

#include <stdlib.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"

struct one_disk {
    struct loop *loop;
    struct blk_edge edge;
};

static inline int one_disk_attach(void *arg)
{
    struct one_disk *o = arg;
    struct blk *disk = NULL;

    if (leaf_memory_create(loop_strands(o->loop), 1 << 20, 512, &disk, NULL) != 0) {
        abort();
    }
    o->edge = (struct blk_edge){
        .user = "fuzz", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    return blk_attach(&o->edge, disk, NULL);
}

static inline int one_disk_detach(void *arg)
{
    blk_detach(&((struct one_disk *)arg)->edge);
    return 0;
}

static inline void one_disk_open(struct one_disk *o)
{
    if (loop_create(LOOP_DRIVER_CREW, &o->loop, NULL) != 0 ||
        loop_do(o->loop, one_disk_attach, o) != 0) {
        abort();
    }
}

static inline void one_disk_close(struct one_disk *o)
{
    if (loop_do(o->loop, one_disk_detach, o) != 0) {
        abort();
    }
    loop_destroy(o->loop);
}

#endif
