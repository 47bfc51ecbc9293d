/* export.h - ways to serve a disk, for the operations of their own and for the worker.
 *
 * A new way is its own file and a line in the table of exporter.c. */
#ifndef RESOURCE_STORAGE_TOOL_EXPORTER_H
#define RESOURCE_STORAGE_TOOL_EXPORTER_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct nbd_tls;
struct request;

#define EXPORT_SOCKETS_MOST 4

/* What is to be served.  Descriptors belong to the caller; an exporter duplicates those
 * that it keeps. */
struct export_ask {
    const struct request *words; /* of the exporter's `keys`, and the loop */
    struct blk *disk;
    int sockets[EXPORT_SOCKETS_MOST];        /* listening */
    const char *places[EXPORT_SOCKETS_MOST]; /* where they listen, as text */
    unsigned socket_count;
    int secrets;         /* a file of secrets; -1: none */
    int keep;            /* a file for what outlives the server; -1: none */
    struct nbd_tls *tls; /* NULL: none */
    struct blk *marks;   /* the disk whose dirty bitmaps are shown; NULL: none */

    /* For ways that end by themselves: called then, from the loop, once at most. */
    void (*gone)(void *arg);
    void *gone_arg;
};

struct exporter {
    const char *name;           /* "nbd" */
    const char *const *keys;    /* its words, ends with NULL */
    const char *const *sockets; /* keys that say where to listen, ends with NULL */

    /* Make a listening socket: a path, an address.  NULL: it serves in the worker only. */
    int (*listen_on)(const char *where, struct err *e);

    /* Whether it can serve on that descriptor.  NULL: on any listening socket. */
    bool (*takes)(int fd);

    /* In a strand; the exporter attaches to the disk. */
    int (*start)(const struct export_ask *ask, void **ret_server, struct err *e);

    /* End all connections when their requests are answered, and leave the disk.  In a
     * strand. */
    void (*stop)(void *server);

    /* The disk has another size: tell who is connected.  NULL: they ask. */
    void (*resized)(void *server);

    uint64_t (*clients)(const void *server);  /* now */
    uint64_t (*accepted)(const void *server); /* so far */
};

extern const struct exporter exporter_nbd;
extern const struct exporter exporter_iscsi;
extern const struct exporter exporter_fuse;
extern const struct exporter exporter_vhost_user;

/* NULL: there is none of this name. */
const struct exporter *exporter_find(const char *name);

/* A listening socket at a path, where none is yet. */
int exporter_listen_unix(const char *path, struct err *e);

/* Serve one disk, as the words of the operation say, until a signal ends it.  In a strand. */
int exporter_alone(struct request *r, const struct exporter *x);

#endif
