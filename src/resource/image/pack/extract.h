/* extract.h - write the entries of one layer below a directory, and nowhere else. */
#ifndef RESOURCE_IMAGE_PACK_EXTRACT_H
#define RESOURCE_IMAGE_PACK_EXTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct extract;
struct tar_read;

struct extract_opts {
    int root;         /* borrowed; the empty directory to fill */
    const int *below; /* roots of the layers below, the topmost first */
    size_t n_below;   /* 0: the lowest layer, whose whiteouts hide nothing */
    uint64_t max_entries;
    uint64_t max_bytes; /* of all files, counted as they appear */
};

/* What could not be kept as the layer says; see the README. */
struct extract_notes {
    uint64_t entries, bytes;
    uint64_t devices; /* made as empty files */
    uint64_t owners;  /* given to the unpacking user instead */
    uint64_t xattrs;  /* left out */
};

int extract_create(const struct extract_opts *o, struct extract **ret, struct err *e);

/* All entries of `t`, then the times and modes of directories.  The caller has
 * umask 0. */
int extract_run(struct extract *x, struct tar_read *t, struct err *e);
const struct extract_notes *extract_notes(const struct extract *x);
void extract_destroy(struct extract *x);

/* "/a//./b/" becomes "a/b"; "" is the root.  -EINVAL for "..", -ENAMETOOLONG
 * for a part longer than a file name may be. */
int extract_clean_path(const char *path, char out[4096]);

/* Find what a mount of the layers would show at `path` (clean, not empty), when it is
 * not in the layer on top.  `roots[0]` is that layer as it is so far, the others lie
 * below it, the nearest first.  A descriptor (O_PATH) of the folder that holds the
 * file or symbolic link, which the caller closes, or -ENOENT, -ENOTDIR, -EISDIR,
 * -EINVAL (neither file nor link).  No symbolic link is followed. */
int extract_find_below(const int *roots, size_t n, const char *path);

#endif
