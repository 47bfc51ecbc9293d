/* tar_private.h - the state of a tar reader, shared by tar_read.c and tar_pax.c. */
#ifndef RESOURCE_IMAGE_PACK_TAR_PRIVATE_H
#define RESOURCE_IMAGE_PACK_TAR_PRIVATE_H

#include "resource/image/pack/tar_read.h"

enum tar_text_kind {
    TAR_TEXT_LONG_NAME,
    TAR_TEXT_LONG_LINK,
    TAR_TEXT_PAX,
    TAR_TEXT_GLOBAL,
    TAR_TEXT_COUNT
};

struct tar_text {
    char *bytes; /* owned, a NUL behind `len` bytes */
    size_t len, cap;
    bool set; /* for the entry at hand */
};

struct tar_read {
    tar_next_fn *next;
    void *arg;
    const uint8_t *piece; /* borrowed from `next`; what is not used yet */
    size_t piece_len;
    uint64_t left; /* stored bytes of the entry still to come */
    uint32_t pad;  /* bytes behind them to the next block */
    bool ended_well;

    /* The entry at hand. */
    uint64_t stored; /* bytes of it in the archive */
    struct tar_text text[TAR_TEXT_COUNT];
    struct tar_xattr xattrs[TAR_XATTRS_MAX];
    size_t n_xattrs;
    struct tar_segment *segments; /* owned */
    size_t n_segments, cap_segments;
    bool sparse, map_in_data;
    char name[512], link[128]; /* of the header: 155 + 1 + 100 and 100 bytes */
    uint8_t block[TAR_BLOCK_BYTES], header[TAR_BLOCK_BYTES];
};

int tar_add_segment(struct tar_read *t, struct tar_segment g, struct err *e);

/* Apply the records of the pax header to `x`; cuts its text into strings. */
int tar_apply_pax(struct tar_read *t, struct tar_entry *x, struct err *e);

#endif
