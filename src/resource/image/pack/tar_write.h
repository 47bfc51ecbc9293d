/* tar_write.h - write tar entries: ustar, and pax where ustar has no room. */
#ifndef RESOURCE_IMAGE_PACK_TAR_WRITE_H
#define RESOURCE_IMAGE_PACK_TAR_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "resource/image/pack/tar_read.h"

/* Where the bytes go. */
typedef int tar_put_fn(void *arg, const void *bytes, size_t len, struct err *e);

struct tar_write {
    tar_put_fn *put;
    void *arg;
};

/* A header; `size` bytes of data (of '-' only) must follow through
 * `tar_write_data`, then `tar_write_pad`. */
int tar_write_entry(struct tar_write *t, const struct tar_entry *x, uint32_t dev_major,
                    uint32_t dev_minor, struct err *e);
int tar_write_data(struct tar_write *t, const void *bytes, size_t len, struct err *e);
int tar_write_pad(struct tar_write *t, uint64_t size, struct err *e);

/* The data of a whole file from its offset 0: exactly `size` bytes, zeros where
 * it became shorter; with the padding. */
int tar_write_fd(struct tar_write *t, int fd, uint64_t size, struct err *e);

/* A small file at once: header, data, padding. */
int tar_write_file(struct tar_write *t, const char *path, const void *bytes, size_t len,
                   struct err *e);

/* The end marker. */
int tar_write_end(struct tar_write *t, struct err *e);

#endif
