/* run.h - disks that map their blocks to places in files.
 *
 * A format says where a range lies (`format_find_run`); reading it and telling
 * its state is the same for all. */
#ifndef RESOURCE_STORAGE_FORMAT_RUN_H
#define RESOURCE_STORAGE_FORMAT_RUN_H

#include "contract/blk.h"

enum format_place {
    FORMAT_PLACE_NOWHERE, /* not in the image: zeros */
    FORMAT_PLACE_ZERO,    /* the image says zeros */
    FORMAT_PLACE_FILE,    /* as it is, at `at` of `file` */
    FORMAT_PLACE_BELOW,   /* in `file`, the disk that the image is based on, at `at` */
    FORMAT_PLACE_PACKED   /* compressed, at `at` of `file` */
};

struct format_run {
    uint64_t bytes;
    enum format_place place;
    uint64_t at;
    struct blk *file;
};

/* Where the first bytes of [off, off + bytes) lie: at least one block of them. */
typedef int format_find_run(struct blk *b, uint64_t off, uint64_t bytes,
                            struct format_run *ret);

/* Read a run that is not plain bytes of a file, or one that is (VHDX, whose log lies over
 * them).  `off`: of the disk. */
typedef int format_read_run(struct blk *b, const struct format_run *run,
                            struct blk_vec to, uint64_t off);

/* The slots `read` and `status`.  `special` reads FORMAT_PLACE_PACKED; NULL: there is
 * none. */
int format_run_read(struct blk *b, format_find_run *find, format_read_run *special,
                    struct blk_vec to, uint64_t off);
int format_run_status(struct blk *b, format_find_run *find, uint64_t off, uint64_t bytes,
                      struct blk_extent *ret);

/* Bytes of a file, zeros behind its end.  -EUCLEAN: all of them are behind it. */
int format_run_plain(struct blk *file, struct blk_vec to, uint64_t at);

/* A part of a file's metadata, all of which must be there: -EUCLEAN. */
int format_read_meta(struct blk *file, void *to, uint64_t bytes, uint64_t at);

#endif
