/* contract/tree.h - a read-only file tree, addressed by what it holds.
 *
 * Implemented by resource/image (the merged layers of an image; one directory),
 * by packed file systems later.  Used by whatever copies a tree elsewhere: the
 * export of a root file system, the maker of a machine's disk.
 *
 * Paths are relative: "a/b", "" for the root; never ".", ".." or "//".  No
 * symbolic link is followed: a path through one is -ENOTDIR.
 * Threads: one caller at a time per tree.  Calls may block. */
#ifndef CONTRACT_TREE_H
#define CONTRACT_TREE_H

#include <stddef.h>
#include <stdint.h>

struct tree;

#define TREE_PATH_MAX 4095 /* bytes, without the NUL */

struct tree_stat {
    uint32_t mode; /* type and permissions, as in stat(2) */
    uint32_t uid, gid;
    uint64_t size;
    int64_t mtime;      /* seconds */
    uint32_t links;     /* names of the file; above 1, `id` tells which are one */
    uint64_t id;        /* the same for names of the same file only */
    uint32_t dev_major; /* of device nodes */
    uint32_t dev_minor;
};

/* One name of a directory; non-zero ends the listing and is its result. */
typedef int tree_name_fn(void *arg, const char *name);

struct tree_ops {
    const char *kind; /* "layers" */

    int (*stat)(struct tree *t, const char *path, struct tree_stat *ret);

    /* A descriptor of a regular file for reading; the caller closes it. */
    int (*open)(struct tree *t, const char *path);

    /* The target of a symbolic link with a NUL behind; its length or -errno,
     * -ENAMETOOLONG when it does not fit. */
    long (*read_link)(struct tree *t, const char *path, char *buf, size_t size);

    /* Each name of a directory once, in no order, without "." and "..". */
    int (*list)(struct tree *t, const char *path, tree_name_fn *fn, void *arg);

    void (*close)(struct tree *t);
};

/* First member of every implementation's own struct. */
struct tree {
    const struct tree_ops *ops;
    char digest[72]; /* "sha256:HEX" of the content, or "" when nobody knows */
};

/* Each checks `path` and then asks the implementation; 0 or -errno. */
int tree_stat(struct tree *t, const char *path, struct tree_stat *ret);
int tree_open(struct tree *t, const char *path);
long tree_read_link(struct tree *t, const char *path, char *buf, size_t size);
int tree_list(struct tree *t, const char *path, tree_name_fn *fn, void *arg);
void tree_close(struct tree *t); /* NULL is fine */

#endif
