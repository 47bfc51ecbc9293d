/* blk_sink.h - where the contents of a disk go once, from begin to end.
 *
 * For images that are written in one go: compressed ones, streams.  Implemented by
 * the formats of resource/storage; used by its copying.
 *
 * Threads: those of the disks, in strands.
 * Order:   calls of `write` may overlap and come in any order; each has a number, from
 *          0 on without gaps, in the order of the offsets. */
#ifndef CONTRACT_BLK_SINK_H
#define CONTRACT_BLK_SINK_H

#include <stddef.h>
#include <stdint.h>

struct blk_sink;
struct err;

struct blk_sink_ops {
    /* Take the unit at `off`, a multiple of `unit_bytes`; `bytes` is less only at the
     * end of the disk.  What is never written reads zeros; so does a number that
     * brings 0 bytes.  `data` NULL: the caller has failed and brings nothing. */
    int (*write)(struct blk_sink *s, uint64_t number, const void *data, size_t bytes,
                 uint64_t off);

    /* After the last write: complete the image and make it durable. */
    int (*finish)(struct blk_sink *s, struct err *e);

    /* Release everything; an image that was not finished is not valid. */
    void (*destroy)(struct blk_sink *s);
};

/* First member of every implementation's own struct. */
struct blk_sink {
    const struct blk_sink_ops *ops;
    uint64_t size_bytes; /* of the disk */
    uint32_t unit_bytes;
};

#endif
