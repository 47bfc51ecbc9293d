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

struct bitmap_set;
struct blk;
struct blk_edge;
struct err;
struct loop;

/* Takes the lower disk, also on failure. */
int job_root_create(struct blk *take_lower, struct blk **ret_root, struct err *e);

/* The edge to the disk on top. */
struct blk_edge *job_root_edge(struct blk *root);

/* Its disk is another one now: what it says of requests that are best for it. */
void job_root_refresh(struct blk *root);

/* What guests have done so far. */
struct job_root_counts {
    uint64_t reads;
    uint64_t writes; /* zeros and discards included */
    uint64_t flushes;
    uint64_t read_bytes;
    uint64_t written_bytes;
};

struct job_root_counts job_root_counts(const struct blk *root);

/* The edge below a root by which a disk is used; NULL: it is not below. */
struct blk_edge *job_edge_to(struct blk *root, const struct blk *disk);

/* The disk that an edge below a root belongs to. */
struct blk *job_user_of(struct blk *root, const struct blk_edge *edge);

/* Put a prepared, empty qcow2 image that was opened `alone` where `edge` leads to, on top
 * of what is there, which is read only from now on (a snapshot of this moment).  Takes
 * `top`, also on failure.  `ret_stall_ns`: how long guests were held up.
 * *ret_done tells after an error whether the new image is in place: the old one may
 * then not be durable yet, and every flush of the root tries again. */
int job_fork(struct blk *root, struct blk_edge *edge, struct blk *take_top,
             uint64_t *ret_stall_ns, bool *ret_done, struct err *e);

/* What a job asks its owner; each may be NULL. */
struct job_control {
    /* Now and then; not 0: the job ends with that, and all is as before. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);

    /* Both disks have the same, durably, and every change and flush goes to both: whoever
     * keeps a record of which is in use changes it now.  0: go on; else as above.
     * May suspend; *failed stops being 0 when the job cannot be done any more. */
    int (*ready)(void *arg, const int *failed);

    /* No request is under way, and from now on (`gone`) only the disk that takes the place
     * is written; or not, after all.  Whoever finds both after a crash tells by this which of
     * them is right: 0 when that is durable; else as above.  May suspend. */
    int (*turned)(void *arg, bool gone);
    void *arg;
};

/* Copy the disk that `edge` leads to to another one of the same size, which nobody uses
 * and which it takes, also on failure; put it in its place. */
int job_move(struct blk *root, struct blk_edge *edge, struct blk *take_to,
             const struct job_control *j, struct err *e);

/* Write what a layer holds to the one that it stands on, which nobody else uses, and put that
 * in its place.  The layer is complete for as long as it is there. */
int job_merge(struct blk *root, struct blk_edge *edge, const struct job_control *j,
              struct err *e);

/* Copy what a layer lacks from those below, until it stands alone. */
int job_stream(struct blk *layer, const struct job_control *j, struct err *e);

struct job_backup {
    struct blk *to;           /* at least as large; taken, also on failure */
    struct bitmap_set *marks; /* borrowed; NULL: none */
    const char *bitmap; /* of `marks`: what changed since its backup before this one */
    bool full;          /* copy all; the bitmap begins anew */
};

/* Copy one moment of the disk that `edge` leads to, all or what the bitmap has marked.
 * Afterwards the bitmap has what changed since that moment; after an error, since
 * the one before.  *ret_bytes: how much there was to copy. */
int job_backup(struct blk_edge *edge, const struct job_backup *what,
               const struct job_control *j, uint64_t *ret_bytes, struct err *e);

#endif
