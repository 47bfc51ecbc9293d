/* Netlink sockets: send a batch, read the answers.
 *
 * The kernel answers inside sendmsg(2) (a dump: inside the recvmsg(2) that asks
 * for more), hence MSG_DONTWAIT everywhere: an empty queue means an answer that
 * will never come, not one to wait for. */
#include "host/netlink/message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/wait.h>

#include "base/scope.h"

#define RECEIVE_BYTES 32768 /* as much as the kernel puts into one part of a dump */
#define SEND_BYTES    65536 /* what every host's default socket buffer has room for */

static int open_here(int protocol)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    return fd < 0 ? -errno : fd;
}

static int open_in(int protocol, int netns_fd)
{
    SCOPED(scope_close) int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0 || setns(netns_fd, CLONE_NEWNET) < 0) {
        return -errno;
    }
    int fd = open_here(protocol);
    if (setns(home, CLONE_NEWNET) < 0) {
        int r = -errno; /* lost in the guest's namespace: nothing more may be done */
        if (fd >= 0) {
            (void)close(fd);
        }
        return r;
    }
    return fd;
}

int netlink_open(struct netlink *nl, int protocol, int netns_fd)
{
    *nl = (struct netlink){.fd = -1};
    int fd = netns_fd < 0 ? open_here(protocol) : open_in(protocol, netns_fd);
    if (fd < 0) {
        return fd;
    }
    int on = 1;
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    if (protocol == NETLINK_ROUTE) {
        nl->strict =
            setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on) == 0;
    }
    nl->fd = fd;
    nl->seq = 1;
    return 0;
}

void netlink_close(struct netlink *nl)
{
    scope_close(&nl->fd);
    nl->fd = -1;
}

/* Nobody waits for this process: it is a grandchild. */
static void close_alone(unsigned fd)
{
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) { /* what else was open, locks above all, is let go first */
            (void)close_range(0, fd - 1, 0);
            (void)close_range(fd + 1, ~0U, 0);
        }
        _exit(0);
    }
    if (child > 0) {
        (void)waitpid(child, NULL, 0);
    }
}

void netlink_close_aside(struct netlink *nl)
{
    if (nl->fd > 0) {
        close_alone((unsigned)nl->fd);
    }
    netlink_close(nl);
}

struct reading {
    netlink_reply_fn *fn;
    void *arg;
    uint32_t first; /* sequence numbers of the batch */
    uint32_t last;
    uint32_t last_asked; /* the last one that is answered in any case */
    bool finished;
    int stopped; /* what `fn` ended the reading with */
    struct netlink_result result;
};

static void keep_text(struct netlink_result *r, const struct netlink_message *m)
{
    const struct nlattr *tb[NLMSGERR_ATTR_MSG + 1];
    size_t skip = sizeof(struct nlmsgerr);
    if ((m->flags & NLM_F_ACK_TLVS) == 0 || (m->flags & NLM_F_CAPPED) == 0 ||
        netlink_attrs(m->data, m->len, skip, tb, NLMSGERR_ATTR_MSG) < 0) {
        return;
    }
    const char *text = netlink_text(tb[NLMSGERR_ATTR_MSG]);
    if (text != NULL) {
        size_t n = strnlen(text, sizeof r->text - 1);
        memcpy(r->text, text, n);
        r->text[n] = '\0';
    }
}

static int read_ack(struct reading *rd, const struct netlink_message *m)
{
    int code;
    if (m->len < sizeof code) {
        return -EBADMSG;
    }
    memcpy(&code, m->data, sizeof code);
    if (code > 0) {
        return -EBADMSG;
    }
    uint32_t at = m->seq - rd->first;
    if (code < 0 && (rd->result.code == 0 || at < rd->result.at)) {
        rd->result.code = code;
        rd->result.at = at;
        rd->result.text[0] = '\0';
        if (m->type == NLMSG_ERROR) {
            keep_text(&rd->result, m);
        }
    }
    /* The kernel names the first message when it refuses a batch as a whole. */
    if (m->seq == rd->last_asked || (code < 0 && at == 0)) {
        rd->finished = m->seq == rd->last_asked || rd->last_asked != rd->last;
    }
    return 0;
}

static int read_one(void *arg, const struct netlink_message *m)
{
    struct reading *rd = arg;
    if (m->seq - rd->first > rd->last - rd->first) {
        return 0; /* a late answer to an earlier batch */
    }
    if (m->type == NLMSG_ERROR || m->type == NLMSG_DONE) {
        return read_ack(rd, m);
    }
    if (m->type < NLMSG_MIN_TYPE) {
        return 0;
    }
    if (rd->fn != NULL && rd->stopped == 0) {
        rd->stopped = rd->fn(rd->arg, m);
    }
    return 0;
}

/* Number the messages; note which one is the last to be answered. */
static void number(struct netlink *nl, struct netlink_batch *b, struct reading *rd)
{
    rd->first = nl->seq;
    rd->last = rd->last_asked = nl->seq;
    for (size_t at = 0; at < b->len;) {
        struct nlmsghdr h;
        memcpy(&h, b->data + at, sizeof h);
        h.nlmsg_seq = nl->seq++;
        memcpy(b->data + at, &h, sizeof h);
        rd->last = h.nlmsg_seq;
        if ((h.nlmsg_flags & NLM_F_ACK) != 0 ||
            (h.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP) {
            rd->last_asked = h.nlmsg_seq;
        }
        at += h.nlmsg_len;
    }
}

static int receive(struct netlink *nl, struct reading *rd)
{
    uint8_t buf[RECEIVE_BYTES] __attribute__((aligned(8)));
    while (!rd->finished) {
        ssize_t n = recv(nl->fd, buf, sizeof buf, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN ? -EPROTO : -errno;
        }
        if ((size_t)n > sizeof buf) {
            return -EMSGSIZE;
        }
        int r = netlink_walk(buf, (size_t)n, read_one, rd);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int netlink_send(struct netlink *nl, struct netlink_batch *b, netlink_reply_fn *fn,
                 void *arg, struct netlink_result *ret)
{
    struct reading rd = {.fn = fn, .arg = arg};
    if (b->failed != 0) {
        rd.result.code = b->failed;
    } else if (b->n > 0) {
        number(nl, b, &rd);
        if (b->len > SEND_BYTES) {
            int room = (int)(b->len > INT_MAX / 4 ? INT_MAX : b->len * 2);
            (void)setsockopt(nl->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
        }
        ssize_t n;
        do {
            n = send(nl->fd, b->data, b->len, 0);
        } while (n < 0 && errno == EINTR);
        int r = n < 0 ? -errno : receive(nl, &rd);
        if (r < 0) {
            rd.result = (struct netlink_result){.code = r};
        }
    }
    if (ret != NULL) {
        *ret = rd.result;
    }
    return rd.result.code != 0 ? rd.result.code : rd.stopped;
}
