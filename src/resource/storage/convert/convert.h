/* convert.h - copy what one disk reads to another disk, or into an image that is
 * written once.
 *
 * Holes stay holes and zeros become holes; several pieces are on their way at once.
 *
 * Threads: those of the disks; in a strand. */
#ifndef RESOURCE_STORAGE_CONVERT_CONVERT_H
#define RESOURCE_STORAGE_CONVERT_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_sink;
struct err;

struct transcode_job {
    struct blk *from;      /* nobody writes to it meanwhile: the caller's edge says so */
    struct blk *to;        /* at least as large; or NULL */
    struct blk_sink *sink; /* instead; it is finished, not destroyed */
    bool to_is_zero;       /* `to` is new: zeros need no writing */
    bool allocated_only; /* what the source does not hold itself is left as it is; -EINVAL
                              where a block of the target is both */
    bool no_flush;       /* `to` need not survive a power cut yet */
    unsigned in_flight;  /* pieces at once; 0: the usual */

    /* After each piece; not 0: stop, and give that back.  NULL: nobody asks. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

struct transcode_result {
    uint64_t copied_bytes; /* that were not zeros */
    uint64_t zero_bytes;   /* read as zeros or known as such */
};

/* Flushes at the end, unless told not to.  After an error the target has an unknown part. */
int transcode_run(const struct transcode_job *j, struct transcode_result *ret,
                  struct err *e);

#endif
