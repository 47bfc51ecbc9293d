/* resource/image/disk/disk.h - the tree of an image as a disk that a machine can mount.
 *
 * An ext4 file system, written from the tree itself: owners, modes and times are those that
 * the tree tells, whoever runs this, and nothing is mounted.  The same tree gives the same
 * bytes.  The file is sparse: what nobody wrote takes no room. */
#ifndef RESOURCE_IMAGE_DISK_DISK_H
#define RESOURCE_IMAGE_DISK_DISK_H

#include <stdint.h>

#include "resource/image/pack/pack.h"

struct err;
struct tree;

#define DISK_USUAL_BYTES (UINT64_C(8) << 30)

struct disk_order {
    struct tree *tree;
    uint64_t bytes;   /* at least so large; 0: `DISK_USUAL_BYTES` */
    const char *seed; /* names the content: its identifier follows from that */
};

/* Write it to the empty file `fd`.  Its size in `*ret_bytes`. */
int image_disk_write(const struct disk_order *o, int fd, uint64_t *ret_bytes,
                     struct err *e);

/* `disk`, for the program `image`; ends at .name == NULL. */
extern const struct pack_op image_disk_ops[];

#endif
