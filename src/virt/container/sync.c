/* sync.c - words between the two processes that make a container, and their order.
 *
 * The table below is the whole handshake.  Both sides go down it: a word is said
 * once, or not at all when its condition does not hold for this container, which
 * both know from the same `struct setup`.  So neither side asks whether a word is
 * due; it tells or awaits each in turn, and `sync_tell` and `sync_await` pass over
 * those that are not.  A word out of order is a failure.
 *
 *     parent                                   child
 *     prepare, clone ------------------------> control group, joined namespaces
 *     map ids             MAPPED ------------> become root, time, cgroup namespace
 *     open the root       ROOT --------------> names
 *     make the network    NETWORK -----------> (awaited at the first need of it)
 *     devices, hooks     <-------------- MEET
 *                         MET ---------------> root, mounts, devices
 *     open sources        MOUNT ... ---------> each mount that needs one
 *     record             <------------- READY  terminal, own hooks, pivot
 *     hand over, return                        wait for a starter
 *     (any process)       START -------------> no second one
 *                        <---------- STARTING  start hooks, limits, ids
 *     pass it on         <------------ NOTIFY  filter
 *                        <------- (end of file) execve; or FAILED before any word
 *
 * One packet of a SOCK_SEQPACKET pair is one word; a descriptor or an error record
 * may come with it. */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virt/container/setup.h"

enum side {
    PARENT,
    CHILD
};

static bool maps_ids(const struct setup *s)
{
    return s->new_user;
}

/* In a user namespace the child may not shift ids; an ordinary user's parent neither. */
static bool opens_root(const struct setup *s)
{
    return ns_has(&s->ns, NS_USER) && !s->rootless;
}

static bool has_hooks(const json_t *config, const char *kind)
{
    return json_array_size(json_object_get(config_get(config, "hooks"), kind)) != 0;
}

static bool meets(const struct setup *s)
{
    return has_hooks(s->config, "prestart") || has_hooks(s->config, "createRuntime") ||
           json_object_size(config_get(s->config, "linux.netDevices")) != 0;
}

/* The parent makes the network namespace while the child begins: it takes the kernel
 * as long as all the mounts. */
static bool lends_network(const struct setup *s)
{
    return (s->ns.fresh & CLONE_NEWNET) != 0 && !s->rootless &&
           !ns_has(&s->ns, NS_USER) && !meets(s);
}

/* clang-format off */
static const struct step {
    enum side from;
    bool many;                               /* may follow itself */
    bool of_create;                          /* not for one more program */
    bool (*happens)(const struct setup *s);  /* NULL: always */
} steps[SYNC_COUNT] = {
    [SYNC_MAPPED]  = {PARENT, false, true,  maps_ids},
    [SYNC_ROOT]    = {PARENT, false, true,  opens_root},
    [SYNC_NETWORK] = {PARENT, false, true,  lends_network},
    [SYNC_MEET]    = {CHILD,  false, true,  meets},
    [SYNC_MET]     = {PARENT, false, true,  meets},
    [SYNC_MOUNT]   = {PARENT, true,  true,  NULL},
    [SYNC_READY]   = {CHILD,  false, false, NULL},
    /* The rest goes over whichever connection the starter has: `sync_send`. */
};

/* clang-format on */

bool sync_happens(const struct setup *s, enum sync_word word)
{
    const struct step *at = &steps[word];

    return !(at->of_create && s->is_exec) && (at->happens == NULL || at->happens(s));
}

/* Words come in the order of the table; a mistake in it is the programmer's. */
static void advance(struct setup *s, enum sync_word word)
{
    assert(word > s->step || (word == s->step && steps[word].many));
    s->step = word;
}

int sync_tell(struct setup *s, enum sync_word word, int pass_fd, struct err *e)
{
    bool is_child = steps[word].from == CHILD;
    int r;

    if (!sync_happens(s, word)) {
        return 0;
    }
    advance(s, word);
    r = sync_send(s->sync[is_child ? 1 : 0], word, pass_fd);
    return r < 0 ? err_sys(e, r, "%s is gone",
                           is_child ? "the runtime" : "the container's process")
                 : 0;
}

int sync_await(struct setup *s, enum sync_word word, int *ret_fd, struct err *e)
{
    bool from_child = steps[word].from == CHILD;
    int r;

    if (ret_fd != NULL) {
        *ret_fd = -1;
    }
    if (!sync_happens(s, word)) {
        return 0;
    }
    advance(s, word);
    r = sync_receive(s->sync[from_child ? 0 : 1], ret_fd, e);
    if (r == (int)word) {
        return 0;
    }
    if (r < 0) {
        return from_child ? err_set(e, r, "the container's process ended early")
                          : err_sys(e, r, "the runtime is gone");
    }
    return err_set(e, -EPROTO, "word %d came instead of %d", r, (int)word);
}

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

/* A peer that ends without having read what we sent resets the connection; the kernel
 * tells that once, before the words that it has left for us. */
static ssize_t receive_packet(int fd, struct msghdr *m, int flags)
{
    bool reset = false;
    ssize_t n;

    for (;;) {
        n = recvmsg(fd, m, MSG_CMSG_CLOEXEC | flags);
        if (n >= 0 || (errno != EINTR && (errno != ECONNRESET || reset))) {
            break;
        }
        reset = reset || errno == ECONNRESET;
    }
    return n < 0 ? -errno : n == 0 ? -ECONNRESET : n;
}

static void take_fd(struct msghdr *m, int *ret_fd)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
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
}

static int receive(int fd, int flags, int *ret_fd, struct err *e)
{
    struct packet p = {0};
    struct iovec iov = {.iov_base = &p, .iov_len = sizeof p};
    char room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room,
                       .msg_controllen = sizeof room};
    ssize_t n;

    if (ret_fd != NULL) {
        *ret_fd = -1;
    }
    n = receive_packet(fd, &m, flags);
    if (n < 0) {
        return (int)n;
    }
    take_fd(&m, ret_fd);
    if (p.word == SYNC_FAILED) {
        p.err.text[sizeof p.err.text - 1] = '\0';
        return err_set(e, p.err.code < 0 ? p.err.code : -EIO, "%s", p.err.text);
    }
    return p.word;
}

int sync_receive(int fd, int *ret_fd, struct err *e)
{
    return receive(fd, 0, ret_fd, e);
}

/* A child that failed said so before it ended; one that waits for us says nothing. */
int sync_ask_child(struct setup *s, int r, struct err *e)
{
    struct err said = {0};
    int fd = -1;

    while (receive(s->sync[0], MSG_DONTWAIT, &fd, &said) > 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (said.code != 0) {
        err_clear(e);
        r = err_set(e, said.code, "%s", said.text);
    }
    return r;
}
