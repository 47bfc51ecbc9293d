/* unpack.h - packed bytes, hostile ones, become plain. */
#ifndef RESOURCE_IMAGE_KERNEL_UNPACK_H
#define RESOURCE_IMAGE_KERNEL_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct unpack_format; /* gzip, zstd, xz, LZ4 in its legacy frame */

/* Which format begins so; NULL: none that is known. */
const struct unpack_format *unpack_recognize(const uint8_t *in, size_t bytes);

/* All memory that unpacking needs, taken before the first byte is looked at. */
struct unpack {
    const struct unpack_format *format;
    const uint8_t *in; /* borrowed */
    size_t bytes;
    uint8_t *out; /* borrowed */
    size_t room;
    void *state;  /* of the format */
    uint8_t *own; /* what xz may allocate from */
    size_t own_left;
};

/* 0 or -ENOMEM. */
int unpack_init(struct unpack *u);
void unpack_fini(struct unpack *u);

/* Computes and does nothing else: no system call, no allocation.  How many bytes there are
 * now, or -EBADMSG: damaged, or more than `room`. */
int64_t unpack_run(struct unpack *u);

/* The same in a child that the kernel ends at any system call (`confine.c`): at most
 * `room` bytes into a new mapping, which `unpack_unmap` ends. */
int unpack_confined(const uint8_t *in, size_t bytes, size_t room, uint8_t **ret,
                    size_t *ret_bytes, struct err *e);
void unpack_unmap(uint8_t *plain, size_t room);

#endif
