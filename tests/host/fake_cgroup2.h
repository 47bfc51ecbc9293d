/* tests/host/fake_cgroup2.h - a cgroup v2 hierarchy of plain files that behaves as
 * Documentation/admin-guide/cgroup-v2.rst of the kernel says.
 *
 * The test is linked with these calls wrapped: below `base` a new directory gets the files
 * of its parent's subtree_control, writes are checked and have their effect at once, and
 * a directory with children or processes cannot be removed. */
#ifndef TESTS_HOST_FAKE_CGROUP2_H
#define TESTS_HOST_FAKE_CGROUP2_H

#include <stdbool.h>

#include "base/str.h"

struct fake_cgroup2 {
    char base[64];
    const char *delegated; /* a path below base; NULL: the caller is root */
    bool deaf;             /* a frozen group never says that it is */
    struct strv writes;    /* "PATH/FILE=TEXT", refused ones too, with "!ERRNO" behind */
    struct strv removed;   /* directories, in order */
};

extern struct fake_cgroup2 fake_cgroup2;

/* Make the root, which offers these controllers. */
void fake_begin(const char *controllers);
void fake_end(void);

/* Directories as a service manager makes them, each with these enabled for its children. */
void fake_make(const char *path, const char *subtree);

/* One file below base, its first line; in a rotating set of buffers.  "": not there. */
const char *fake_read(const char *file);
void fake_put(const char *file, const char *text);
bool fake_has(const char *path);

/* The n-th write of this file, from 0; NULL: there were less. */
const char *fake_written(const char *file, int n);

#endif
