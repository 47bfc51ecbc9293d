/* tests/store/dir.h - a store file in a directory of its own, for one test. */
#ifndef TESTS_STORE_DIR_H
#define TESTS_STORE_DIR_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/file.h"

struct dir {
    char dir[32];
    char path[64];
};

static inline int dir_begin(void **state)
{
    struct dir *d = calloc(1, sizeof *d);

    strcpy(d->dir, "/tmp/store-XXXXXX");
    if (mkdtemp(d->dir) == NULL) {
        free(d);
        return -1;
    }
    (void)snprintf(d->path, sizeof d->path, "%s/kv", d->dir);
    *state = d;
    return 0;
}

static inline int dir_end(void **state)
{
    struct dir *d = *state;
    int r = file_remove_tree(AT_FDCWD, d->dir);

    free(d);
    return r;
}

#endif
