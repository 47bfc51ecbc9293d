/* secret.h - passphrases from descriptors, wiped when they are given up. */
#ifndef RESOURCE_STORAGE_GRAPH_SECRET_H
#define RESOURCE_STORAGE_GRAPH_SECRET_H

#include <stddef.h>

struct err;

struct secret {
    char *bytes; /* owned */
    size_t count;
    size_t room;
};

/* All that can be read: a file or memory from its begin, a pipe up to its end. */
int secret_read(int fd, struct secret *ret, struct err *e);
void secret_fini(struct secret *s);

#endif
