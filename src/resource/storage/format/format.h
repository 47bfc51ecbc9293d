/* format.h - disk images of other products: VMDK, VHDX, VHD, VDI.
 *
 * An image is a disk over the disk that holds its bytes (contract/blk.h), whose blocks
 * have 512 bytes; what else it names is opened by a `struct blk_source`.  A format is
 * always named by the operator; `format_probe` is for imports where he asks for it.
 *
 * Threads: those of the disks; everything but the table and the probe in a strand. */
#ifndef RESOURCE_STORAGE_FORMAT_FORMAT_H
#define RESOURCE_STORAGE_FORMAT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct blk_sink;
struct blk_source;
struct err;
struct loop;

struct format_open_options {
    const char *label; /* names it in messages; copied; NULL: the format's name */
    bool read_only;
    struct blk_source *source; /* opens what the image names; NULL: nobody does */
};

struct format_row {
    const char *name; /* the word on the command line */
    const char *summary;
    bool writable; /* an open image can be changed */

    /* Takes `file`, also on failure.  -EUCLEAN: not a valid image; -EOPNOTSUPP: of a
     * kind that nobody here reads, and `e` names it. */
    int (*open)(struct blk *take_file, const struct format_open_options *o,
                struct blk **ret_disk, struct err *e);

    /* Write an empty image to `file`, which nobody else uses and which grows; what it
     * held is lost.  The caller keeps it.  NULL: cannot be made. */
    int (*create)(struct blk *file, uint64_t size_bytes, struct err *e);

    /* Begin an image that is written once, from begin to end (contract/blk_sink.h).
     * The caller keeps `file` longer than the sink.  NULL: cannot. */
    int (*sink)(struct loop *l, struct blk *file, uint64_t size_bytes,
                struct blk_sink **ret_sink, struct err *e);
};

extern const struct format_row format_table[];
extern const unsigned format_count;

/* The row of that name; NULL and a text in `e`: there is none. */
const struct format_row *format_find(const char *name, struct err *e);

#define FORMAT_PROBE_BYTES 512

/* The name of the format that a file with these first bytes seems to have.  Foreign
 * bytes decide: never for a disk that a guest has written to as "raw". */
const char *format_probe(const void *first, size_t bytes);

#endif
