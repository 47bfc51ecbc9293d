/* members.h - disks in memory that outlive what is made of them, for tests. */
#ifndef TESTS_RESOURCE_STORAGE_REDUNDANCY_MEMBERS_H
#define TESTS_RESOURCE_STORAGE_REDUNDANCY_MEMBERS_H

#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/contract/blk_suite.h"

#define MEMBERS_MOST 8

struct members {
    struct loop *loop;
    unsigned count;
    struct blk *base[MEMBERS_MOST];
    struct blk_edge keep[MEMBERS_MOST];
    struct blk *lower[MEMBERS_MOST]; /* the fault filters of this opening */
    struct filter_fault_plan plan;
    struct blk *disk;
    struct blk_edge edge;
    uint64_t random;
};

/* The test in a strand of a loop of its own. */
static inline void members_run(struct loop **loop, int (*test)(void *arg), void *arg)
{
    must_be_0(loop_create(LOOP_DRIVER_AUTO, loop, NULL));
    must_be_0(loop_do(*loop, test, arg));
    loop_destroy(*loop);
}

static inline void members_add(struct members *s, uint64_t bytes)
{
    unsigned i = s->count++;

    must_be_0(leaf_memory_create(loop_strands(s->loop), bytes, 512, &s->base[i], NULL));
    s->keep[i] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&s->keep[i], s->base[i], NULL));
}

/* What a disk had before is of no account. */
static inline void members_garbage(struct members *s, unsigned i)
{
    size_t bytes = (size_t)blk_size(s->base[i]);
    char *room = malloc(bytes);

    memset(room, 0xa5, bytes);
    must_be_0(blk_write(s->base[i], room, bytes, 0, 0));
    free(room);
}

static inline void members_drop(struct members *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        blk_detach(&s->keep[i]);
    }
    s->count = 0;
}

/* A filter that can fail over each, or over those of the bits. */
static inline void members_filter(struct members *s, unsigned which)
{
    for (unsigned i = 0; i < s->count; i++) {
        s->plan.seed = suite_random(&s->random);
        s->lower[i] = NULL;
        if ((which >> i & 1) != 0) {
            must_be_0(
                filter_fault_create(s->loop, s->base[i], &s->plan, &s->lower[i], NULL));
        }
    }
}

static inline void members_hold(struct members *s)
{
    s->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&s->edge, s->disk, NULL));
}

static inline void members_close(struct members *s)
{
    blk_detach(&s->edge);
    s->disk = NULL;
}

static inline void members_cut(struct members *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->lower[i] != NULL && !filter_fault_is_cut(s->lower[i])) {
            filter_fault_cut(s->lower[i]);
        }
    }
}

/* Write random bytes to the disk and to a model. */
static inline void members_write(struct members *s, char *model, uint64_t size,
                                 unsigned blocks_most)
{
    size_t bytes = (size_t)(suite_random(&s->random) % blocks_most + 1) * 512;
    uint64_t off = suite_random(&s->random) % ((size - bytes) / 512 + 1) * 512;
    char *room = malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        room[i] = (char)suite_random(&s->random);
    }
    must_be_0(blk_write(s->disk, room, bytes, off, 0));
    memcpy(model + off, room, bytes);
    free(room);
}

static inline void members_compare(struct members *s, const char *model, uint64_t size)
{
    char *room = malloc(size);

    must_be_0(blk_read(s->disk, room, size, 0));
    must(memcmp(room, model, size) == 0);
    free(room);
}

#endif
