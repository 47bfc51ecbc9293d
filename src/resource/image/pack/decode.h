/* decode.h - compressed streams become plain bytes, whatever the compression. */
#ifndef RESOURCE_IMAGE_PACK_DECODE_H
#define RESOURCE_IMAGE_PACK_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct decode;

#define DECODE_MAGIC_BYTES 6

/* A stream as it is stored: a file, a pipe or memory. */
struct decode_input {
    int fd;               /* -1: `bytes` is all there is */
    const uint8_t *bytes; /* what waits, `len` of it */
    size_t len;
    uint64_t total; /* bytes taken from `fd` so far */
    uint8_t *buf;   /* owned; what `bytes` points into when there is an fd */
    bool ended;
};

/* How one compression is undone. */
struct decode_ops {
    const char *name; /* "gzip" */

    /* Whether a stream that begins so is of this kind. */
    bool (*knows)(const uint8_t *head, size_t len);

    int (*open)(struct decode *d, struct err *e);

    /* Up to `cap` plain bytes; 0 at the end, or -errno. */
    long (*fill)(struct decode *d, uint8_t *out, size_t cap, struct err *e);
    void (*close)(struct decode *d);
};

struct decode {
    const struct decode_ops *ops;
    struct decode_input in;
    void *state; /* of `ops` */
};

/* Recognize the stream at `fd` (borrowed) or, with fd -1, of `len` bytes. */
int decode_open(struct decode *d, int fd, const uint8_t *bytes, size_t len,
                struct err *e);
long decode_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e);
void decode_close(struct decode *d);

/* More input when none waits; 1, 0 at the end, or -errno. */
int decode_more(struct decode_input *in, struct err *e);

extern const struct decode_ops decode_plain_ops, decode_gzip_ops, decode_zstd_ops,
    decode_other_ops;

#endif
