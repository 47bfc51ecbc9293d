/* message.c - messages on the socket, with the descriptors that come along. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "resource/storage/vhost_user/private.h"

/* Descriptors of one recvmsg; those that are too many are closed. */
static int keep_fds(struct vhost_message *m, struct msghdr *h)
{
    int r = (h->msg_flags & MSG_CTRUNC) != 0 ? -EPROTO : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (m->fds < VHOST_USER_FDS_MOST) {
                m->fd[m->fds++] = fd;
            } else {
                (void)close(fd);
                r = -EPROTO;
            }
        }
    }
    return r;
}

/* All of `bytes`, waiting; descriptors go to the message. */
static int read_all(struct vhost_session *s, struct vhost_message *m, void *to,
                    size_t bytes)
{
    char *at = to;

    while (bytes > 0) {
        union {
            struct cmsghdr align;
            char room[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MOST)];
        } control;
        struct iovec iov = {at, bytes};
        struct msghdr h = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
        ssize_t n = recvmsg(s->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = loop_wait_fd(s->server->loop, s->fd, EPOLLIN, -1);

            if (r < 0) {
                return r;
            }
            continue;
        }
        if (n <= 0) {
            return -ECONNRESET;
        }
        if (keep_fds(m, &h) != 0) {
            return -EPROTO;
        }
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int vhost_message_read(struct vhost_session *s, struct vhost_message *m)
{
    int r;

    m->fds = 0;
    m->reply_fd = -1;
    m->reply_bytes = 0;
    memset(&m->payload, 0, sizeof m->payload);
    r = read_all(s, m, &m->head, sizeof m->head);
    if (r != 0) {
        return r;
    }
    if ((m->head.flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
        (m->head.flags & VHOST_USER_REPLY) != 0 || m->head.bytes > sizeof m->payload) {
        return -EPROTO;
    }
    return read_all(s, m, &m->payload, m->head.bytes);
}

static ssize_t send_some(struct vhost_session *s, struct vhost_message *m, size_t at,
                         size_t bytes)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[2] = {{&m->head, sizeof m->head}, {&m->payload, bytes}};
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = 2};

    if (at > 0) {
        size_t first = at < sizeof m->head ? at : sizeof m->head;

        iov[0].iov_base = (char *)&m->head + first;
        iov[0].iov_len -= first;
        iov[1].iov_base = (char *)&m->payload + (at - first);
        iov[1].iov_len -= at - first;
    } else if (m->reply_fd >= 0) {
        h.msg_control = &control;
        h.msg_controllen = sizeof control;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &m->reply_fd, sizeof(int));
    }
    return sendmsg(s->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int vhost_message_reply(struct vhost_session *s, struct vhost_message *m)
{
    uint32_t bytes = m->reply_bytes;
    size_t at = 0;

    m->head.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
    m->head.bytes = bytes;
    while (at < sizeof m->head + bytes) {
        ssize_t n = send_some(s, m, at, bytes);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -ECONNRESET;
        }
        if (n < 0) {
            int r = loop_wait_fd(s->server->loop, s->fd, EPOLLOUT, -1);

            if (r < 0 || (r & (EPOLLHUP | EPOLLERR)) != 0) {
                return -ECONNRESET;
            }
        } else {
            at += (size_t)n;
        }
    }
    return 0;
}

void vhost_message_close(struct vhost_message *m)
{
    for (unsigned i = 0; i < m->fds; i++) {
        if (m->fd[i] >= 0) {
            (void)close(m->fd[i]);
        }
    }
    if (m->reply_fd >= 0) {
        (void)close(m->reply_fd);
    }
    m->fds = 0;
    m->reply_fd = -1;
}

int vhost_message_take_fd(struct vhost_message *m, unsigned i)
{
    int fd = i < m->fds ? m->fd[i] : -1;

    if (fd >= 0) {
        m->fd[i] = -1;
    }
    return fd;
}

/* A front end that does not read hears of it with the next request that comes. */
void vhost_session_tell_config(struct vhost_session *s)
{
    struct vhost_user_head head = {VHOST_USER_BACKEND_CONFIG_CHANGE, VHOST_USER_VERSION,
                                   0};
    uint64_t needed = VHOST_USER_P_CONFIG | VHOST_USER_P_BACKEND;

    s->config_changed = false;
    if (s->backend < 0 || (s->protocol & needed) != needed) {
        return;
    }
    s->config_changed =
        send(s->backend, &head, sizeof head, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == EAGAIN;
}
