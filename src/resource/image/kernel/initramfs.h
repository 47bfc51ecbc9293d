/* initramfs.h - the first file system of a guest, composed of its kernel's own modules. */
#ifndef RESOURCE_IMAGE_KERNEL_INITRAMFS_H
#define RESOURCE_IMAGE_KERNEL_INITRAMFS_H

#include "base/str.h"

struct err;
struct tree;

/* The archive in `ret`: `agent` (a descriptor of the program) as /init, /dev/console, and
 * below /strata the modules of `wanted.rows.h` with what they need; /strata/modules
 * lists them in the order of loading, a line each: "root NAME" or "later NAME".
 * `dir` of `tree` is lib/modules/RELEASE; `tree` NULL: no modules. */
int initramfs_compose(int agent, struct tree *tree, const char *dir, struct str *ret,
                      struct err *e);

#endif
