/* copy.h - what is to be copied from one disk to another while the first is in use.
 *
 * The disk is cut into granules; those that are to be copied have a bit.  Whoever
 * copies, and every guest's request that changes something, holds its range, so that a granule
 * is copied either before or after a change. */
#ifndef RESOURCE_STORAGE_JOB_COPY_H
#define RESOURCE_STORAGE_JOB_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "resource/storage/safe/range.h"

struct blk;
struct err;

struct job_copy {
    struct strand_pool *strands;
    struct blk *from; /* borrowed */
    struct blk *to;   /* borrowed */
    uint64_t size;
    unsigned shift; /* of a granule */
    uint64_t count; /* of granules */
    uint64_t *todo; /* owned; bits */
    uint64_t left;  /* bits that are set */
    struct range_lock lock;
    bool to_is_zero; /* where nothing was copied, `to` reads zeros */
    bool only_own;   /* copy only what `from` holds itself */
    int failed;      /* why nothing is copied any more */
    uint64_t cursor; /* granule that is looked at next */
    uint64_t busy;   /* granules that are being copied */
    unsigned workers;
    struct strand_queue waiter;
};

int job_copy_init(struct job_copy *c, struct blk *from, struct blk *to, struct err *e);
void job_copy_fini(struct job_copy *c);

/* All that the range touches is to be copied (again). */
void job_copy_mark(struct job_copy *c, uint64_t off, uint64_t bytes);

/* How many bytes from `off` on, at most `bytes`, are alike: to be copied or not. */
uint64_t job_copy_run(const struct job_copy *c, uint64_t off, uint64_t bytes,
                      bool *ret_todo);

/* In a strand that holds the granules of the range: copy those that are to be, and
 * clear their bits.  An error is also kept in `failed`. */
int job_copy_now(struct job_copy *c, uint64_t off, uint64_t bytes);

/* In a strand: copy all there is.  `progress` may stop it with an error; NULL: nobody
 * asks. */
int job_copy_all(struct job_copy *c,
                 int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg);

/* In a strand: find out whether all of `to` reads zeros. */
int job_copy_look(struct job_copy *c);

/* In a strand: mark what `from` holds itself. */
int job_copy_mark_own(struct job_copy *c);

/* Nothing is to be copied any more: somebody saw an error. */
void job_copy_fail(struct job_copy *c, int r);

#endif
