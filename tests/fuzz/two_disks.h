/* tests/fuzz/two_disks.h - a disk made over two others in memory, for fuzzers.
 *
 * The target's `run` makes it on them fresh, uses it, patches the store (pages.h) and opens
 * it again; `two_disks_fuzz` is the rest of its entry. */
#ifndef TESTS_FUZZ_TWO_DISKS_H
#define TESTS_FUZZ_TWO_DISKS_H

#include <stdlib.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/fuzz/pages.h"
#include "tests/fuzz/target.h"

struct two_disks {
    struct loop *loop;
    const uint8_t *data;
    size_t size;
    struct blk_edge keep[2]; /* so that the disks outlive what is made of them */
};

/* The n-th of the two. */
static inline struct blk *two_disks_memory(struct two_disks *t, unsigned n,
                                           uint64_t bytes)
{
    struct blk *b = NULL;

    t->keep[n] = (struct blk_edge){.user = "fuzz", .lets = BLK_USE_ALL};
    if (leaf_memory_create(loop_strands(t->loop), bytes, 512, &b, NULL) != 0 ||
        blk_attach(&t->keep[n], b, NULL) != 0) {
        abort();
    }
    return b;
}

/* One request of each kind, and `more` (NULL: none); the disk goes afterwards. */
static inline void two_disks_use(struct blk *disk, void (*more)(struct blk *disk))
{
    struct blk_edge edge = {.user = "fuzz", .uses = BLK_USE_ALL};
    static char room[65536];
    struct blk_extent x;
    uint64_t last = blk_size(disk) - blk_block_bytes(disk);

    if (blk_attach(&edge, disk, NULL) != 0) {
        abort();
    }
    if (blk_size(disk) >= sizeof room) {
        (void)blk_read(disk, room, sizeof room, 0);
        (void)blk_write(disk, room, 1536, 512, 0);
        (void)blk_read(disk, room, 512, last);
        (void)blk_write(disk, room, 512, last, 0);
        (void)blk_status(disk, 0, sizeof room, &x);
        (void)blk_zero(disk, 0, 8192, BLK_UNMAP);
        if (more != NULL) {
            more(disk);
        }
        (void)blk_flush(disk);
    }
    blk_detach(&edge);
}

static inline int two_disks_fuzz(int (*run)(void *arg), const uint8_t *data, size_t size)
{
    struct two_disks t = {.data = data, .size = size};

    if (loop_create(LOOP_DRIVER_CREW, &t.loop, NULL) != 0 ||
        loop_do(t.loop, run, &t) != 0) {
        abort();
    }
    loop_destroy(t.loop);
    return 0;
}

#endif
