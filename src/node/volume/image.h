/* node/volume/image.h - empty qcow2 images, made in this process. */
#ifndef NODE_VOLUME_IMAGE_H
#define NODE_VOLUME_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define VOLUME_IMAGE_CLUSTER                                                             \
    131072 /* 32 parts of 4 KiB each: what a first write copies */

/* An empty qcow2 image in an open file, durable. */
struct image_plan {
    uint64_t size_bytes;
    const char *backing; /* may be NULL */
    const char *backing_format;
    int header; /* encrypted by this one, which is in memory; 0: not encrypted */
};

int volume_image_make(int fd, const struct image_plan *p, struct err *e);

/* Where an encrypted image has its header; -EUCLEAN. */
int volume_image_header(int fd, uint64_t *ret_at, uint64_t *ret_bytes);

/* Whether nothing was ever written to the image. */
bool volume_image_is_empty(int fd);

#endif
