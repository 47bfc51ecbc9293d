/* checksum.h - a filter that finds bytes that are not those that were written.
 *
 * Each block of the disk below has a checksum in an area of its own; a read compares and
 * answers -EILSEQ, or mends the block from another copy if somebody has one.  The disk takes
 * another size as the disk below does, which then becomes larger, never smaller.
 *
 * Threads: that of the disks, in strands. */
#ifndef RESOURCE_STORAGE_FILTER_CHECKSUM_H
#define RESOURCE_STORAGE_FILTER_CHECKSUM_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_vec.h"

struct blk;
struct err;

enum filter_checksum_kind {
    FILTER_CHECKSUM_CRC32C = 1, /* finds accidents */
    FILTER_CHECKSUM_SHA256 = 2  /* and intent, as long as the area is safe */
};

struct filter_checksum_format {
    enum filter_checksum_kind kind;
    uint64_t data_bytes; /* 0: all that there is room for */
    bool adopt;          /* keep what is on the disk; else it is zeroed */
};

/* Make an area on `area`, or at the end of `lower` when that is NULL.  Both stay the
 * caller's. */
int filter_checksum_format(struct blk *lower, struct blk *area,
                           const struct filter_checksum_format *f, struct err *e);

/* Who has other copies of the disk below, such as a mirror. */
struct filter_checksum_mend {
    /* Fill `to` with copy 0, 1, 2 ... of [off, off + to.bytes).  -ENOENT: there are no more
     * copies; any other error: not this one. */
    int (*read_copy)(void *arg, unsigned copy, struct blk_vec to, uint64_t off);
    void *arg;
};

/* Takes both disks, also on failure.  `area` NULL: at the end of `lower`.  `mend` NULL:
 * nobody has copies; else it is copied.  -EUCLEAN: the area is damaged. */
int filter_checksum_create(struct blk *take_lower, struct blk *take_area,
                           const struct filter_checksum_mend *mend, struct blk **ret_disk,
                           struct err *e);

struct filter_checksum_status {
    enum filter_checksum_kind kind;
    uint64_t wrong;  /* blocks that were not what was written */
    uint64_t mended; /* of them */
    uint64_t sheets; /* of checksums that were damaged */
};

void filter_checksum_status(const struct blk *b, struct filter_checksum_status *ret);

struct filter_checksum_scrub {
    bool renew; /* make damaged checksums anew from the data */

    /* Called after each piece, in blocks; not 0 ends the scrub with that.  May suspend.  NULL: none. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t blocks; /* looked at so far */
    uint64_t wrong;
    uint64_t mended;
    uint64_t renewed; /* checksums made anew */
};

/* Read everything; `s` shows the progress.  0 also when something was wrong. */
int filter_checksum_scrub(struct blk *b, struct filter_checksum_scrub *s);

#endif
