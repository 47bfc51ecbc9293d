/* tar_read.h - entries of a tar stream: ustar, pax and GNU, with sparse files. */
#ifndef RESOURCE_IMAGE_PACK_TAR_READ_H
#define RESOURCE_IMAGE_PACK_TAR_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct tar_read;

#define TAR_BLOCK_BYTES  512
#define TAR_NAME_MAX     4095       /* bytes of a path or link target: PATH_MAX - 1 */
#define TAR_EXTRA_MAX    (1u << 20) /* bytes of one extended header */
#define TAR_XATTRS_MAX   64
#define TAR_SEGMENTS_MAX 65536

/* Where the bytes come from: pieces of any length, 0 at the end. */
typedef int tar_next_fn(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e);

struct tar_xattr {
    const char *name;
    const void *value;
    size_t len;
};

struct tar_segment {
    uint64_t offset, len; /* of data in a sparse file */
};

/* One entry; everything is borrowed until the next `tar_read_next`. */
struct tar_entry {
    const char *path;
    const char *link; /* target of 'h' and 'l' */
    char type;        /* '-' file, 'd', 'l' symlink, 'h' hard link, 'c', 'b', 'p' */
    uint32_t mode;    /* permission bits with set-id and sticky */
    uint32_t uid, gid;
    int64_t mtime; /* seconds */
    uint32_t mtime_ns;
    uint64_t size; /* of the file; a sparse one stores less */
    const struct tar_xattr *xattrs;
    size_t n_xattrs;
    const struct tar_segment *segments; /* sorted, apart; NULL: not sparse */
    size_t n_segments;
};

int tar_read_create(tar_next_fn *next, void *arg, struct tar_read **ret, struct err *e);
void tar_read_destroy(struct tar_read *t);

/* 1 with the next entry, 0 at the end, -errno.  Unread data is skipped. */
int tar_read_next(struct tar_read *t, struct tar_entry *ret, struct err *e);

/* The next bytes of the entry (of its segments, one after another), borrowed;
 * *ret_len is 0 at its end. */
int tar_read_data(struct tar_read *t, const uint8_t **ret, size_t *ret_len,
                  struct err *e);

/* Whether the end marker was there; without it the archive may be cut off. */
bool tar_read_ended_well(const struct tar_read *t);

#endif
