/* key.h - names of what was made, from what it was made of. */
#ifndef RESOURCE_IMAGE_KERNEL_KEY_H
#define RESOURCE_IMAGE_KERNEL_KEY_H

#include "base/sha256.h"
#include "resource/image/kernel/kernel.h"

/* Raised when what is made of the same files changes. */
#define KEY_VERSION 1

struct key {
    char kernel[SHA256_HEX_BYTES];
    char initrd[SHA256_HEX_BYTES]; /* "": none is ordered */
};

/* -errno: a file of the order cannot be looked at. */
int key_make(const struct kernel_order *o, struct key *ret);

/* Where the link of a key is: "STATE/kernels/of/KEY.WHAT" in `path` (PATH_MAX). */
int key_path(const char *state, const char *key, const char *what, char *path);

#endif
