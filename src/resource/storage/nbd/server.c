/* server.c - who is connected, and what is offered to whom.
 *
 * A connection begins with a handshake, which a strand reads option by option, and
 * goes on with requests, which handlers take in batches (transmit.c).  It ends in
 * three steps: nothing more is read, requests under way are answered, and at the end
 * of a turn of the loop it is freed. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define CLIENTS_MOST_DEFAULT 64
#define IDLE_SECONDS_DEFAULT 30
#define SOCKET_BYTES         (4 * 1024 * 1024) /* of the kernel's send buffer */

/* ---- exports ---- */

struct export *nbd_export_find(const struct nbd_server *s, const char *name,
                               size_t length)
{
    for (struct export *x = s->exports; x != NULL; x = x->next) {
        if (strlen(x->name) == length && memcmp(x->name, name, length) == 0) {
            return x;
        }
    }
    return NULL;
}

uint16_t nbd_export_flags(const struct export *x)
{
    unsigned flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_SEND_DF |
                     NBD_CAN_MULTI_CONN | NBD_SEND_CACHE;

    if (x->read_only) {
        return (uint16_t)(flags | NBD_READ_ONLY);
    }
    flags |= NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES | NBD_SEND_FAST_ZERO;
    return (uint16_t)(flags | (x->resizable ? NBD_SEND_RESIZE : 0u));
}

static void export_free(struct export *x)
{
    if (x != NULL) {
        blk_detach(&x->edge);
        free(x->name);
        free(x->description);
        free(x);
    }
}

int nbd_server_add(struct nbd_server *s, const struct nbd_export *x, struct err *e)
{
    struct export *own = fault_calloc(1, sizeof *own);
    int r = 0;

    assert(x->context_count < NBD_CONTEXTS_MOST);
    if (own == NULL) {
        return err_sys(e, -ENOMEM, "cannot export '%s'", x->name);
    }
    own->name = fault_strdup(x->name);
    own->description = x->description != NULL ? fault_strdup(x->description) : NULL;
    own->read_only = x->read_only || blk_is_read_only(x->disk);
    own->resizable = x->resizable;
    own->contexts = x->contexts;
    own->context_count = x->context_count;
    own->edge = (struct blk_edge){
        .user = "NBD export",
        .uses = own->read_only ? (unsigned)BLK_USE_READ
                               : BLK_USE_READ | BLK_USE_WRITE |
                                     (own->resizable ? BLK_USE_RESIZE : 0u),
        .lets = BLK_USE_ALL,
    };
    if (own->name == NULL || (x->description != NULL && own->description == NULL)) {
        r = err_sys(e, -ENOMEM, "cannot export '%s'", x->name);
    } else if (strlen(x->name) > NBD_NAME_MOST) {
        r = err_set(e, -EINVAL, "cannot export '%s': the name is too long", x->name);
    } else if (nbd_export_find(s, x->name, strlen(x->name)) != NULL) {
        r = err_set(e, -EEXIST, "cannot export '%s': the name is taken", x->name);
    }
    if (r == 0) {
        r = blk_attach(&own->edge, x->disk, e);
    }
    if (r != 0) {
        export_free(own);
        return r;
    }
    own->next = s->exports;
    s->exports = own;
    return 0;
}

/* ---- connections ---- */

static void free_requests(struct request *r)
{
    while (r != NULL) {
        struct request *next = r->next;

        free(r->buf);
        free(r->text);
        free(r);
        r = next;
    }
}

static void end_now(struct loop_task *t)
{
    struct connection *c =
        (struct connection *)((char *)t - offsetof(struct connection, end_task));
    struct nbd_server *s = c->server;
    struct connection **at = &s->connections;

    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    loop_unwatch(&c->watch);
    nbd_tls_close(c);
    nbd_pipe_close(c);
    (void)close(c->fd);
    free_requests(c->free);
    free_requests(c->out_first);
    free(c->in);
    free(c);
    s->counts.clients--;
    if (s->connections == NULL) {
        (void)strand_wake_all(&s->all_gone);
    }
}

void nbd_connection_maybe_free(struct connection *c)
{
    if (c->phase == PHASE_ENDING && c->flight == 0 && c->handshake == NULL &&
        (c->out_first == NULL || c->broken) && !c->ended) {
        c->ended = true;
        c->end_task.fn = end_now;
        loop_later(c->server->loop, &c->end_task);
    }
}

void nbd_connection_end(struct connection *c)
{
    if (c->phase == PHASE_TRANSMIT) {
        loop_poller_remove(c->server->loop, &c->poller);
    }
    c->phase = PHASE_ENDING;
    if (c->watch.loop != NULL) {
        (void)loop_watch_change(&c->watch, c->out_blocked ? EPOLLOUT : 0);
    }
    if (c->incoming != NULL) { /* its payload will not come any more */
        nbd_request_put(c->incoming);
        c->incoming = NULL;
    }
    nbd_connection_maybe_free(c);
}

static void shake_hands(void *arg)
{
    struct connection *c = arg;
    int r;

    c->handshake = strand_current(loop_strands(c->server->loop));
    r = nbd_handshake(c);
    if (r == 0) {
        r = nbd_transmit_begin(c);
    }
    c->handshake = NULL;
    if (r != 0) {
        c->server->counts.refused++;
        c->broken = true;
        nbd_connection_end(c);
    } else {
        nbd_connection_maybe_free(c); /* it may have left with its first request */
    }
}

static void tune(int fd)
{
    int yes = 1;
    int bytes = SOCKET_BYTES;
    int flags = fcntl(fd, F_GETFL);

    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
}

int nbd_server_serve(struct nbd_server *s, int take_fd, struct err *e)
{
    struct connection *c = fault_calloc(1, sizeof *c);
    int r = -ENOMEM;

    if (c != NULL) {
        c->server = s;
        c->fd = take_fd;
        c->in = fault_malloc(NBD_IN_BYTES);
    }
    if (c != NULL && c->in != NULL) {
        tune(take_fd);
        c->next = s->connections;
        s->connections = c;
        s->counts.clients++;
        s->counts.accepted++;
        r = strand_start(loop_strands(s->loop), shake_hands, c);
        if (r == 0) {
            return 0;
        }
        s->connections = c->next;
        s->counts.clients--;
    }
    (void)close(take_fd);
    if (c != NULL) {
        free(c->in);
        free(c);
    }
    return err_sys(e, r, "cannot serve a client");
}

static void accept_clients(struct loop_watch *w, uint32_t events)
{
    struct nbd_server *s = ((struct listener *)w)->server;

    (void)events;
    for (;;) {
        int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            return;
        }
        if (s->counts.clients >= s->options.clients_most) {
            (void)close(fd);
            s->counts.refused++;
        } else {
            (void)nbd_server_serve(s, fd, NULL);
        }
    }
}

int nbd_server_listen(struct nbd_server *s, int take_fd, struct err *e)
{
    struct listener *l = &s->listen[s->listen_count];
    int flags = fcntl(take_fd, F_GETFL);
    int r = s->listen_count == NBD_LISTEN_MOST ? -ENOSPC : 0;

    if (r == 0 && (flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
        r = -errno;
    }
    if (r == 0) {
        l->server = s;
        l->watch =
            (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = accept_clients};
        r = loop_watch(s->loop, &l->watch);
    }
    if (r != 0) {
        (void)close(take_fd);
        return err_sys(e, r, "cannot listen for clients");
    }
    s->listen_count++;
    return 0;
}

struct nbd_counts nbd_server_counts(const struct nbd_server *s)
{
    return s->counts;
}

int nbd_server_create(struct loop *l, const struct nbd_server_options *o,
                      struct nbd_server **ret_server, struct err *e)
{
    struct nbd_server *s = fault_calloc(1, sizeof *s);

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot start the NBD server");
    }
    s->loop = l;
    s->options = *o;
    if (s->options.clients_most == 0) {
        s->options.clients_most = CLIENTS_MOST_DEFAULT;
    }
    if (s->options.idle_seconds == 0) {
        s->options.idle_seconds = IDLE_SECONDS_DEFAULT;
    }
    *ret_server = s;
    return 0;
}

void nbd_server_destroy(struct nbd_server *s)
{
    if (s == NULL) {
        return;
    }
    for (unsigned i = 0; i < s->listen_count; i++) {
        loop_unwatch(&s->listen[i].watch);
        (void)close(s->listen[i].watch.fd);
    }
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        (void)shutdown(c->fd, SHUT_RD); /* a handshake that waits sees the end */
        if (c->phase == PHASE_TRANSMIT) {
            nbd_connection_end(c);
        }
    }
    while (s->connections != NULL) {
        strand_wait(loop_strands(s->loop), &s->all_gone);
    }
    while (s->exports != NULL) {
        struct export *x = s->exports;

        s->exports = x->next;
        export_free(x);
    }
    free(s);
}
