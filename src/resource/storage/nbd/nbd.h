/* nbd.h - disks served over the network block device protocol.
 *
 * Protocol: "The NBD protocol" (doc/proto.md of the NetworkBlockDevice project), fixed
 * newstyle only: structured replies, extended headers, block status, write zeroes
 * with fast zero, several connections, TLS, and resize from its extension branch.
 *
 * Threads: that of the loop. */
#ifndef RESOURCE_STORAGE_NBD_NBD_H
#define RESOURCE_STORAGE_NBD_NBD_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct nbd_server;
struct nbd_tls;

/* What a client may ask of a range beside its bytes, such as a dirty bitmap. */
struct nbd_context {
    const char *name; /* "qemu:dirty-bitmap:monday" */
    int (*status)(void *arg, uint64_t off, uint64_t bytes, uint64_t *ret_bytes,
                  uint32_t *ret_flags); /* of the first bytes of the range, alike */
    void *arg;
};

struct nbd_export {
    const char *name; /* "" is what a client gets that names none */
    const char *description;
    struct blk *disk; /* the server attaches to it */
    bool read_only;
    bool resizable;                     /* clients may change the size */
    const struct nbd_context *contexts; /* beside base:allocation; borrowed */
    unsigned context_count;
};

struct nbd_server_options {
    struct nbd_tls *tls;   /* NULL: none is offered; borrowed */
    bool tls_required;     /* nothing is told without it */
    unsigned clients_most; /* 0: 64 */
    unsigned idle_seconds; /* a handshake that takes longer is ended; 0: 30 */
};

struct nbd_counts {
    uint64_t accepted; /* connections so far */
    uint64_t clients;  /* connected now */
    uint64_t served;   /* requests answered */
    uint64_t refused;  /* connections that ended in the handshake */
};

int nbd_server_create(struct loop *l, const struct nbd_server_options *o,
                      struct nbd_server **ret_server, struct err *e);

/* Offer a disk; the struct is copied, what it points to stays the caller's as long
 * as the server.  -EEXIST: the name is taken; -EBUSY: the disk is in use. */
int nbd_server_add(struct nbd_server *s, const struct nbd_export *x, struct err *e);

/* Accept on a listening stream socket; takes the descriptor. */
int nbd_server_listen(struct nbd_server *s, int take_fd, struct err *e);

/* Serve a connected stream socket; takes the descriptor. */
int nbd_server_serve(struct nbd_server *s, int take_fd, struct err *e);

struct nbd_counts nbd_server_counts(const struct nbd_server *s);

/* End all connections, when their requests are answered, and leave the disks.  In a
 * strand.  NULL is allowed. */
void nbd_server_destroy(struct nbd_server *s);

/* Certificates from a directory with the names that QEMU and nbdkit use:
 * ca-cert.pem, server-cert.pem, server-key.pem (clients: client-…).  `verify_peer`:
 * clients need a certificate of that authority. */
int nbd_tls_load(const char *directory, bool verify_peer, struct nbd_tls **ret_tls,
                 struct err *e);
void nbd_tls_free(struct nbd_tls *tls);

#endif
