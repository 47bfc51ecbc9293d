/* blk_source.h - who opens the files that an image names.
 *
 * An image names other files: the one it is based on, one that holds its data, the
 * extents that it is made of.  Those names are foreign bytes.  A format never
 * opens a path; it asks its source, which knows what the operator allowed.
 * Implemented by node and by tools; used by the formats of resource/storage.
 *
 * Threads: that of the disk, in a strand. */
#ifndef CONTRACT_BLK_SOURCE_H
#define CONTRACT_BLK_SOURCE_H

#include <stdbool.h>

struct blk;
struct err;

struct blk_source {
    /* Open what an image calls `name`.  `format`: what the image says of its format,
     * "raw" for the plain bytes of a file, never NULL.  The disk has no user yet.
     * -EACCES: names of that kind are not allowed here. */
    int (*open)(struct blk_source *s, const char *name, const char *format,
                bool read_only, struct blk **ret_disk, struct err *e);
};

#endif
