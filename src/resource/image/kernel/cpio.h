/* cpio.h - archives that Linux unpacks as its first file system.
 *
 * Format "newc": Linux, Documentation/driver-api/early-userspace/buffer-format.rst.  The
 * same calls give the same bytes: no times, no owners, files numbered as they come. */
#ifndef RESOURCE_IMAGE_KERNEL_CPIO_H
#define RESOURCE_IMAGE_KERNEL_CPIO_H

#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

struct cpio {
    struct str *to; /* borrowed; a failed allocation shows in `str_failed` */
    uint32_t files;
};

/* `mode` with the type, as in stat(2); `name` relative.  Parents first. */
void cpio_add(struct cpio *c, const char *name, mode_t mode, const void *bytes,
              size_t len);
void cpio_add_device(struct cpio *c, const char *name, mode_t mode, unsigned major,
                     unsigned minor);
void cpio_end(struct cpio *c);

#endif
