/* source.h - the plain bytes of a stream, made ahead by a thread of its own.
 *
 * The thread undoes the compression, hashes what comes out and counts it
 * against the limits; the reader takes pieces in order.  Each piece but the
 * last is `SOURCE_PIECE_BYTES` long. */
#ifndef RESOURCE_IMAGE_PACK_SOURCE_H
#define RESOURCE_IMAGE_PACK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct source;

#define SOURCE_PIECE_BYTES (512u << 10)

struct source_limits {
    uint64_t max_bytes; /* plain */
    uint64_t max_ratio; /* plain / stored, asked above 1 GiB */
};

/* `fd` is borrowed and read from its offset on. */
int source_open(int fd, const struct source_limits *limits, struct source **ret,
                struct err *e);

/* The next piece, borrowed until the next call; *ret_len is 0 at the end. */
int source_next(struct source *s, const uint8_t **ret, size_t *ret_len, struct err *e);

/* Stored bytes taken so far, for progress. */
uint64_t source_stored(struct source *s);

/* Read to the end, then the digest ("sha256:HEX") of all plain bytes. */
int source_finish(struct source *s, char ret_digest[72], uint64_t *ret_bytes,
                  struct err *e);

/* Name of the compression: "gzip", "plain" ... */
const char *source_coding(const struct source *s);

void source_close(struct source *s); /* also in the middle */

#endif
