/* socket.c - the bytes of a connection, plain. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/tls.h"

#define NS_PER_SECOND INT64_C(1000000000)

ssize_t nbd_recv(struct connection *c, const struct iovec *iov, int count)
{
    struct msghdr m = {.msg_iovlen = (size_t)count};
    ssize_t n;

    if (c->ssl != NULL) {
        return tls_recv(c->ssl, iov->iov_base, iov->iov_len);
    }
    if (count == 1) {
        n = recv(c->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT);
    } else {
        m.msg_iov = (struct iovec *)(uintptr_t)iov; /* recvmsg does not change it */
        n = recvmsg(c->fd, &m, MSG_DONTWAIT);
    }
    return n < 0 ? -errno : n;
}

ssize_t nbd_send(struct connection *c, const struct iovec *iov, int count)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                       .msg_iovlen = (size_t)count};
    ssize_t n;

    if (c->ssl != NULL) {
        return tls_send(c->ssl, iov, count);
    }
    n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* Wait for a descriptor in the handshake, not for ever. */
static int wait_for(struct connection *c, uint32_t events)
{
    int r = loop_wait_fd(c->server->loop, c->fd, events,
                         (int64_t)c->server->options.idle_seconds * NS_PER_SECOND);

    return r < 0 ? r : 0;
}

int nbd_read_all(struct connection *c, char *buf, size_t bytes)
{
    while (bytes > 0) {
        struct iovec piece = {buf, bytes};
        ssize_t n = nbd_recv(c, &piece, 1);
        int r = 0;

        if (n == -EAGAIN) {
            r = wait_for(c, EPOLLIN);
        } else if (n <= 0) {
            r = n == 0 ? -ECONNRESET : (int)n;
        } else {
            buf += n;
            bytes -= (size_t)n;
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

int nbd_write_all(struct connection *c, const char *buf, size_t bytes)
{
    while (bytes > 0) {
        struct iovec piece = {(void *)(uintptr_t)buf, bytes};
        ssize_t n = nbd_send(c, &piece, 1);
        int r = 0;

        if (n == -EAGAIN) {
            r = wait_for(c, EPOLLOUT);
        } else if (n <= 0) {
            r = n == 0 ? -ECONNRESET : (int)n;
        } else {
            buf += n;
            bytes -= (size_t)n;
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}
