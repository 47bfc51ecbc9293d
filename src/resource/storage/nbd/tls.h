/* tls.h - TLS over a connection's socket. */
#ifndef RESOURCE_STORAGE_NBD_TLS_H
#define RESOURCE_STORAGE_NBD_TLS_H

#include <sys/types.h>
#include <sys/uio.h>

struct ssl_st;

/* As recv(2) and writev(2) without waiting: bytes, 0 at the end, or -errno. */
ssize_t tls_recv(struct ssl_st *ssl, void *buf, size_t bytes);
ssize_t tls_send(struct ssl_st *ssl, const struct iovec *iov, int count);

#endif
