/* node/volume/image.h - empty qcow2 images, made in this process. */
#ifndef NODE_VOLUME_IMAGE_H
#define NODE_VOLUME_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define VOLUME_IMAGE_CLUSTER                                                             \
    131072 /* 32 parts of 4 KiB each: what a first write copies */

/* Where an encrypted image has its header; -EUCLEAN. */
int volume_image_header(int fd, uint64_t *ret_at, uint64_t *ret_bytes);

/* Whether nothing was ever written to the image. */
bool volume_image_is_empty(int fd);

#endif
