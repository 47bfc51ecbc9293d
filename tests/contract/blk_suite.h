/* blk_suite.h - the promises of contract/blk.h, for any implementer.
 *
 * A test program lists its implementers as `struct suite_disk` and calls
 * `suite_main`.  Inside strands an assertion cannot jump out; `must` ends the
 * program and names the place. */
#ifndef TESTS_CONTRACT_BLK_SUITE_H
#define TESTS_CONTRACT_BLK_SUITE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "contract/blk.h"
#include "contract/blk_graph.h"

struct loop;

#define SUITE_LOWERS_MOST 8

/* Say where and what was not so, and end the program. */
void suite_must(bool so, const char *file, int line, const char *what);
void suite_must_be_0(int r, const char *file, int line, const char *what);

#define must(x)      suite_must((x), __FILE__, __LINE__, #x)
#define must_be_0(x) suite_must_be_0((x), __FILE__, __LINE__, #x)

struct suite_disk {
    const char *name;
    unsigned lowers;       /* disks in memory that it is made on; 0: a leaf */
    uint64_t lower_bytes;  /* of each; 0: as large as the disk */
    uint64_t lose_bytes;   /* what of its size is for itself: rounded down to this */
    bool lower_grows;      /* the disk below is a file that grows */
    bool fixed_size;       /* resize is refused */
    bool far;              /* another's memory may run out: with other signs */
    bool is_volatile;      /* what was flushed does not outlive it */
    bool absorbs;          /* writes are held in memory: errors come at the flush */
    unsigned power_rounds; /* power cuts tried; 0: the default */

    /* Make an empty disk of `size_bytes` on the lower ones, which it takes, also on
     * failure.  In a strand. */
    int (*make)(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e);

    /* Open what is there on the lower ones.  NULL: as `make`. */
    int (*open)(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e);

    /* Look at the lower disks from outside, after the disk on them was closed or lost
     * its power (`after_cut`).  NULL: there is nobody else who knows them. */
    void (*judge)(struct loop *l, struct blk **lower, bool after_cut);
};

/* Run every promise over every disk; main()'s result. */
int suite_main(const struct suite_disk *disks, unsigned count);

/* A generator for tests: the same numbers for the same seed. */
uint64_t suite_random(uint64_t *state);

#endif
