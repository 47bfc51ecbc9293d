/* scope.h - locals that own something are released when they go out of scope. */
#ifndef BASE_SCOPE_H
#define BASE_SCOPE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SCOPED(fn) __attribute__((cleanup(fn)))

static inline void scope_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

/* Hand the descriptor to the caller; the scope no longer closes it. */
static inline int scope_take_fd(int *fd)
{
    int out = *fd;
    *fd = -1;
    return out;
}

/* For any pointer that free() releases: `SCOPED(scope_free) char *text = NULL;` */
static inline void scope_free(void *where)
{
    free(*(void **)where);
}

static inline void scope_file(FILE **f)
{
    if (*f != NULL) {
        (void)fclose(*f);
    }
}

static inline void scope_dir(DIR **d)
{
    if (*d != NULL) {
        (void)closedir(*d);
    }
}

#endif
