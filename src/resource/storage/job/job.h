/* job.h - long work on a disk that guests use meanwhile.
 *
 * Guests use a `root`: a disk that leads to whatever disk is on top at the moment.  A job
 * changes what lies below a root; guests see the same bytes throughout, and no error of
 * a job's target.
 *
 * Threads: that of the disks; every function in a strand. */
#ifndef RESOURCE_STORAGE_JOB_JOB_H
#define RESOURCE_STORAGE_JOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_edge;
struct err;
struct loop;

/* Takes the lower disk, also on failure. */
int job_root_create(struct blk *take_lower, struct blk **ret_root, struct err *e);

/* The edge to the disk on top. */
struct blk_edge *job_root_edge(struct blk *root);

/* What guests have done so far. */
struct job_root_counts {
    uint64_t reads;
    uint64_t writes; /* zeros and discards included */
    uint64_t flushes;
    uint64_t read_bytes;
    uint64_t written_bytes;
};

struct job_root_counts job_root_counts(const struct blk *root);

/* Put a prepared, empty qcow2 image that was opened `alone` on top: what was there
 * becomes its backing file, read only from now on (a snapshot of this moment).  Takes
 * `top`, also on failure.  `ret_stall_ns`: how long guests were held up.
 * *ret_done tells after an error whether the new image is on top: the old one may
 * then not be durable yet, and every flush of the root tries again. */
int job_fork(struct blk *root, struct blk *take_top, uint64_t *ret_stall_ns,
             bool *ret_done, struct err *e);

#endif
