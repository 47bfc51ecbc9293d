/* control.c - packets come, are read with mistrust, and are answered at once. */
#include "virt/monitor/control/control.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/loop/loop.h"

#define CLIENTS_MOST 8

struct client {
    struct loop_watch watch; /* .fd -1: free */
    struct control *control;
    bool is_busy; /* its word is being done, which may turn the loop */
};

struct control {
    struct loop *loop;
    struct control_words words;
    struct loop_watch listen;
    struct client client[CLIENTS_MOST];
    uint8_t in[FAR_MOST_BYTES + 1], out[FAR_MOST_BYTES];
};

/* ---- one packet ---- */

static size_t say(enum far_kind kind, uint32_t serial, const json_t *body,
                  uint8_t out[FAR_MOST_BYTES])
{
    size_t room = FAR_MOST_BYTES - FAR_HEAD_BYTES;
    size_t len = body == NULL ? 0
                              : json_dumpb(body, (char *)out + FAR_HEAD_BYTES, room,
                                           JSON_COMPACT | JSON_ENSURE_ASCII);
    struct far_head h = {
        .version = FAR_VERSION, .word = (uint16_t)kind, .serial = serial};

    if (len > room) {
        static const char text[] = "{\"code\":90,\"text\":\"the answer is too long\"}";

        h.word = FAR_ERROR;
        len = sizeof text - 1;
        memcpy(out + FAR_HEAD_BYTES, text, len);
    }
    h.size = (uint32_t)(FAR_HEAD_BYTES + len);
    far_head_write(&h, out);
    return h.size;
}

struct packet {
    const uint8_t *bytes;
    size_t n;
    int fds[CONTROL_FDS_MOST]; /* owned */
    unsigned n_fds;
};

static int obey(const struct control_words *w, const struct packet *p, struct far_head *h,
                json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *arg = NULL;
    struct control_call call = {.n_fds = p->n_fds};
    const uint8_t *packet = p->bytes;
    size_t n = p->n;
    int r = far_head_read(packet, n, FAR_VERB_COUNT, h, e);

    if (r == 0 && n > FAR_HEAD_BYTES) {
        r = json_parse((const char *)packet + FAR_HEAD_BYTES, n - FAR_HEAD_BYTES,
                       "the request", &arg, e);
    }
    if (r == 0 && arg != NULL && !json_is_object(arg)) {
        r = err_set(e, -EINVAL, "the request is not an object");
    }
    if (r < 0) {
        return r;
    }
    if (w->fn[h->word] == NULL) {
        return err_set(e, -EOPNOTSUPP, "this machine cannot do '%s'",
                       far_verb_name(h->word));
    }
    call.arg = arg;
    memcpy(call.fds, p->fds, sizeof call.fds);
    return w->fn[h->word](w->who, &call, ret, e);
}

static size_t answer(const struct control_words *w, const struct packet *p,
                     uint8_t out[FAR_MOST_BYTES])
{
    SCOPED(scope_json) json_t *body = NULL;
    struct far_head h = {.serial = 0};
    struct err e = {0};

    if (obey(w, p, &h, &body, &e) < 0) {
        json_decref(body);
        body = json_pack("{s:i, s:s}", "code", -e.code, "text", e.text);
        return say(FAR_ERROR, h.serial, body, out);
    }
    return say(FAR_DONE, h.serial, body, out);
}

size_t control_answer(const struct control_words *w, const uint8_t *packet, size_t n,
                      uint8_t out[FAR_MOST_BYTES])
{
    const struct packet p = {.bytes = packet, .n = n};

    return answer(w, &p, out);
}

/* ---- connections ---- */

static void drop(struct client *c)
{
    loop_unwatch(&c->watch);
    (void)close(c->watch.fd);
    c->watch.fd = -1;
}

/* A packet, with the descriptors that came along. */
static ssize_t receive(int fd, uint8_t *bytes, size_t room, struct packet *p)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(CONTROL_FDS_MOST * sizeof(int))];
    } along;

    struct iovec iov = {.iov_base = bytes, .iov_len = room};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = along.bytes,
                         .msg_controllen = sizeof along};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg); c != NULL;
         c = CMSG_NXTHDR(&msg, c)) {
        size_t len = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            len <= sizeof p->fds) {
            memcpy(p->fds, CMSG_DATA(c), len);
            p->n_fds = (unsigned)(len / sizeof(int));
        }
    }
    p->bytes = bytes;
    p->n = n > 0 ? (size_t)n : 0;
    return n;
}

static void on_packet(struct loop_watch *w, uint32_t events)
{
    struct client *c = (struct client *)w; /* its first member */
    struct control *k = c->control;
    struct packet p = {.n_fds = 0};
    ssize_t n;
    size_t len;

    (void)events;
    if (c->is_busy) { /* its end shows when its word is done */
        (void)loop_watch_change(w, 0);
        return;
    }
    n = receive(w->fd, k->in, sizeof k->in, &p);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        drop(c);
        return;
    }
    c->is_busy = true;
    len = answer(&k->words, &p, k->out);
    c->is_busy = false;
    for (unsigned i = 0; i < p.n_fds; i++) {
        (void)close(p.fds[i]);
    }
    if (send(w->fd, k->out, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ||
        loop_watch_change(w, EPOLLIN) < 0) {
        drop(c); /* who does not read is not waited for */
    }
}

static bool is_welcome(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0;
}

static void on_client(struct loop_watch *w, uint32_t events)
{
    struct control *k = (struct control *)((char *)w - offsetof(struct control, listen));
    SCOPED(scope_close)
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    for (int i = 0; fd >= 0 && is_welcome(fd) && i < CLIENTS_MOST; i++) {
        struct client *c = &k->client[i];

        if (c->watch.fd < 0) {
            c->watch = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = on_packet};
            if (loop_watch(k->loop, &c->watch) == 0) {
                (void)scope_take_fd(&fd);
            } else {
                c->watch.fd = -1;
            }
            return;
        }
    }
}

int control_create(struct loop *l, int take_fd, const struct control_words *w,
                   struct control **ret, struct err *e)
{
    struct control *k = fault_calloc(1, sizeof *k);
    int r;

    if (k == NULL) {
        (void)close(take_fd);
        return err_set(e, -ENOMEM, "out of memory");
    }
    k->loop = l;
    k->words = *w;
    for (int i = 0; i < CLIENTS_MOST; i++) {
        k->client[i].control = k;
        k->client[i].watch.fd = -1;
    }
    k->listen = (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = on_client};
    r = loop_watch(l, &k->listen);
    if (r < 0) {
        (void)close(take_fd);
        free(k);
        return err_sys(e, r, "cannot listen to commands");
    }
    *ret = k;
    return 0;
}

void control_destroy(struct control *k)
{
    if (k == NULL) {
        return;
    }
    for (int i = 0; i < CLIENTS_MOST; i++) {
        if (k->client[i].watch.fd >= 0) {
            drop(&k->client[i]);
        }
    }
    loop_unwatch(&k->listen);
    (void)close(k->listen.fd);
    free(k);
}
