/* tls.c - TLS for connections, by OpenSSL.
 *
 * Files are named as QEMU and nbdkit name them, so that one directory serves all.
 * Version 1.2 and later only, as the protocol's "TLS support" asks. */
#include "resource/storage/nbd/tls.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/nbd/private.h"

#define SEND_MOST     16384 /* of a record */
#define NS_PER_SECOND INT64_C(1000000000)

struct nbd_tls {
    SSL_CTX *context;
};

static ssize_t result_of(SSL *ssl, int n)
{
    switch (SSL_get_error(ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        ERR_clear_error();
        return -EPROTO;
    }
}

ssize_t tls_recv(struct ssl_st *ssl, void *buf, size_t bytes)
{
    int n = SSL_read(ssl, buf, bytes < INT_MAX ? (int)bytes : INT_MAX);

    return n > 0 ? n : result_of(ssl, n);
}

/* Small pieces go into one record: a head and its data are not two of them. */
ssize_t tls_send(struct ssl_st *ssl, const struct iovec *iov, int count)
{
    char room[SEND_MOST];
    size_t at = 0;
    int n;

    for (int i = 0; i < count && at < sizeof room; i++) {
        size_t part =
            iov[i].iov_len < sizeof room - at ? iov[i].iov_len : sizeof room - at;

        __builtin_memcpy(room + at, iov[i].iov_base, part);
        at += part;
    }
    n = SSL_write(ssl, room, (int)at);
    return n > 0 ? n : result_of(ssl, n);
}

int nbd_tls_accept(struct connection *c, struct nbd_tls *tls)
{
    SSL *ssl = SSL_new(tls->context);
    int r = ssl != NULL && SSL_set_fd(ssl, c->fd) == 1 ? 0 : -ENOMEM;

    while (r == 0) {
        int n = SSL_accept(ssl);
        int why = n == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);
        int events = 0;

        if (n == 1) {
            c->ssl = ssl;
            return 0;
        }
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
            ERR_clear_error();
            r = -EPROTO;
            break;
        }
        events = loop_wait_fd(c->server->loop, c->fd,
                              why == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT,
                              (int64_t)c->server->options.idle_seconds * NS_PER_SECOND);
        r = events < 0 ? events : 0;
    }
    SSL_free(ssl);
    return r;
}

void nbd_tls_close(struct connection *c)
{
    if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
}

static int load_file(SSL_CTX *context, const char *directory, const char *name,
                     int (*load)(SSL_CTX *context, const char *path), struct err *e)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    if (load(context, path) == 1) {
        return 0;
    }
    return err_set(e, -EINVAL, "cannot use '%s' for TLS: %s", path,
                   ERR_reason_error_string(ERR_get_error()));
}

static int load_chain(SSL_CTX *context, const char *path)
{
    return SSL_CTX_use_certificate_chain_file(context, path);
}

static int load_key(SSL_CTX *context, const char *path)
{
    return SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
}

static int load_authority(SSL_CTX *context, const char *path)
{
    return SSL_CTX_load_verify_locations(context, path, NULL);
}

int nbd_tls_load(const char *directory, bool verify_peer, struct nbd_tls **ret_tls,
                 struct err *e)
{
    struct nbd_tls *tls = fault_calloc(1, sizeof *tls);
    int r = 0;

    if (tls != NULL) {
        tls->context = SSL_CTX_new(TLS_server_method());
    }
    if (tls == NULL || tls->context == NULL) {
        nbd_tls_free(tls);
        return err_sys(e, -ENOMEM, "cannot set up TLS");
    }
    (void)SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                             SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    r = load_file(tls->context, directory, "server-cert.pem", load_chain, e);
    r = r != 0 ? r : load_file(tls->context, directory, "server-key.pem", load_key, e);
    if (r == 0 && verify_peer) {
        r = load_file(tls->context, directory, "ca-cert.pem", load_authority, e);
        SSL_CTX_set_verify(tls->context,
                           SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (r != 0) {
        nbd_tls_free(tls);
        return r;
    }
    *ret_tls = tls;
    return 0;
}

void nbd_tls_free(struct nbd_tls *tls)
{
    if (tls != NULL) {
        SSL_CTX_free(tls->context);
        free(tls);
    }
}
