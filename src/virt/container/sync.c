/* sync.c - words between the two processes that make a container.
 *
 * One packet of a SOCK_SEQPACKET pair is one word; a descriptor or an error
 * record may come with it. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virt/container/private.h"

struct packet {
    int word;
    struct err err;
};

static int send_packet(int fd, const struct packet *p, size_t len, int pass_fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = len};
    char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (pass_fd >= 0) {
        struct cmsghdr *c;

        memset(room, 0, sizeof room);
        m.msg_control = room;
        m.msg_controllen = sizeof room;
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof pass_fd);
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int sync_send(int fd, enum sync_word word, int pass_fd)
{
    struct packet p = {.word = (int)word};

    return send_packet(fd, &p, sizeof p.word, pass_fd);
}

int sync_send_err(int fd, const struct err *e)
{
    struct packet p = {.word = SYNC_FAILED, .err = *e};

    return send_packet(fd, &p, sizeof p, -1);
}

int sync_receive(int fd, int *ret_fd, struct err *e)
{
    struct packet p = {0};
    struct iovec iov = {.iov_base = &p, .iov_len = sizeof p};
    char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof room};
    bool reset = false;
    ssize_t n;

    if (ret_fd != NULL) {
        *ret_fd = -1;
    }
    /* A peer that ends without having read what we sent resets the connection; the
     * kernel tells that once, before the words that it has left for us. */
    for (;;) {
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
        if (n >= 0 || (errno != EINTR && (errno != ECONNRESET || reset))) {
            break;
        }
        reset = reset || errno == ECONNRESET;
    }
    if (n <= 0) {
        return n < 0 ? -errno : -ECONNRESET;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            int got;

            memcpy(&got, CMSG_DATA(c), sizeof got);
            if (ret_fd != NULL) {
                *ret_fd = got;
            } else {
                (void)close(got);
            }
        }
    }
    if (p.word == SYNC_FAILED) {
        p.err.text[sizeof p.err.text - 1] = '\0';
        return err_set(e, p.err.code < 0 ? p.err.code : -EIO, "%s", p.err.text);
    }
    return p.word;
}
