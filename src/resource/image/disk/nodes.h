/* nodes.h - a tree as a list: every name once, its children beside each other. */
#ifndef RESOURCE_IMAGE_DISK_NODES_H
#define RESOURCE_IMAGE_DISK_NODES_H

#include <stdbool.h>
#include <stddef.h>

#include "contract/tree.h"

struct err;

struct node {
    char *path;       /* owned; "" for the root */
    const char *name; /* in `path` */
    struct tree_stat st;
    uint32_t inode;
    uint32_t links; /* names in this tree; of a directory: as ext4 counts */
    size_t parent;
    size_t first, n; /* children; sorted by name */
    bool again;      /* another name of a file that came before */
};

struct nodes {
    struct node *all; /* owned; the root first, parents before children */
    size_t n, cap;
    uint32_t inodes; /* the last that was given */
    uint64_t bytes;  /* of all files */
};

#define NODES_ROOT  2u  /* inode of the root: Linux, Documentation/filesystems/ext4, */
#define NODES_FOUND 11u /* "Special inodes"; and of lost+found, the first of the others */

int nodes_read(struct tree *t, struct nodes *ret, struct err *e);
void nodes_fini(struct nodes *n);

#endif
