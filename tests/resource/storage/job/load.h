/* load.h - guests that write at random to a disk, and know what must be on it.
 *
 * Blocks hold their number and the version of the request that wrote them, so that a
 * block tells when it was written; zeros count as the last request that made zeros.  No
 * two requests under way overlap, so that versions of a block only grow. */
#ifndef TESTS_RESOURCE_STORAGE_JOB_LOAD_H
#define TESTS_RESOURCE_STORAGE_JOB_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strand.h"
#include "contract/blk.h"

#define LOAD_BYTES  (4u * 1024 * 1024)
#define LOAD_BLOCKS (LOAD_BYTES / 512)

struct loop;
struct load;

/* What each block has at least and at most. */
struct load_moment {
    uint32_t finished[LOAD_BLOCKS];
    uint32_t latest[LOAD_BLOCKS];
    uint32_t durable[LOAD_BLOCKS];
    uint32_t zeroed[LOAD_BLOCKS];
};

/* A load on a disk of LOAD_BYTES that reads zeros. */
struct load *load_create(struct loop *l, uint64_t seed);
void load_free(struct load *t);

/* Write on and on, until stopped.  `is_dead`: requests may fail from then on; NULL: none
 * may ever. */
void load_start(struct load *t, struct blk *disk, bool (*is_dead)(void *arg), void *arg);

/* Wait until nothing is under way. */
void load_stop(struct load *t);

/* Errors that guests saw. */
uint64_t load_errors(const struct load *t);
uint64_t load_count(const struct load *t);

/* The longest that a write took. */
uint64_t load_slowest_ns(const struct load *t);

void load_moment(const struct load *t, struct load_moment *ret);

/* A disk (in a strand) has of every block a version that is not older than `least` and not
 * newer than `most`; ends the program. */
void load_check(const struct load *t, struct blk *disk, const uint32_t *least,
                const struct load_moment *most, const char *what);

/* Also: it is a moment.  What ended before something began that is there, is there. */
void load_check_moment(const struct load *t, struct blk *disk,
                       const struct load_moment *from, const struct load_moment *to,
                       const char *what);

/* Go on with what is on a disk after its power was cut. */
void load_adopt(struct load *t, struct blk *disk);

uint64_t load_pick(struct load *t, uint64_t below);

#endif
