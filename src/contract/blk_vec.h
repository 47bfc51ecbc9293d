/* blk_vec.h - the buffers of one request: a window on a list of memory pieces.
 *
 * A window is a plain value that borrows the list; windows of windows cost
 * nothing, so filters cut requests without allocating.  Users: everybody who
 * reads or writes a `struct blk`. */
#ifndef CONTRACT_BLK_VEC_H
#define CONTRACT_BLK_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLK_VEC_PIECES_MOST 1024 /* UIO_MAXIOV of Linux */

struct blk_vec {
    const struct iovec *iov; /* borrowed */
    size_t skip;             /* bytes of the first pieces that do not belong to it */
    size_t bytes;            /* length of the window */
};

/* A window on one buffer: `piece` is the caller's and lives as long as it. */
struct blk_vec blk_vec_of(struct iovec *piece, void *buf, size_t bytes);

/* The part [off, off + bytes) of a window, which must lie inside. */
struct blk_vec blk_vec_part(struct blk_vec v, size_t off, size_t bytes);

/* Write the pieces of the window to `ret`; how many, at most `most`.  Their sum
 * is less than v.bytes when there are more. */
unsigned blk_vec_pieces(struct blk_vec v, struct iovec *ret, unsigned most);

/* All in one piece: its address; NULL when it is not. */
void *blk_vec_flat(struct blk_vec v);

/* Every piece begins and ends at a multiple of `align`, a power of two. */
bool blk_vec_is_aligned(struct blk_vec v, size_t align);

/* Copy v.bytes out of, into, or between windows (of the same length). */
void blk_vec_take(struct blk_vec from, void *to);
void blk_vec_put(struct blk_vec to, const void *from);
void blk_vec_copy(struct blk_vec to, struct blk_vec from);

void blk_vec_zero(struct blk_vec v);
bool blk_vec_is_zero(struct blk_vec v);

/* Whether the bytes of two windows of the same length are the same. */
bool blk_vec_equals(struct blk_vec a, struct blk_vec b);

#endif
