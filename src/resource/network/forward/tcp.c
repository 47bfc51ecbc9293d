/* A TCP client's connection and ours to the guest: two sockets, and for each direction
 * a pipe that splice(2) fills and empties, so that the bytes never come here.
 *
 * A direction borrows its pipe while it holds bytes; an idle connection has none.
 * Events are edge-triggered: whatever the event says, both directions are carried
 * until neither can go on.  One connection gets at most ROUNDS_MOST rounds a turn, so
 * that a fast one does not starve the others; it is `unfinished` until the next. */
#include "resource/network/forward/private.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/epoll.h>

#include "base/fault.h"
#include "base/scope.h"

#define ACCEPT_MOST 64 /* in one turn */
#define ROUNDS_MOST 32
#define PIPE_BYTES  65536 /* what a new pipe holds */
#define BOTH        (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct half {
    struct watch watch;
    struct connection *of;
    struct forward_pipe pipe; /* bytes read from this side; owned while `has_pipe` */
    bool has_pipe;
    bool ended; /* this side sends no more */
    bool told;  /* and the other side knows */
    size_t held;
};

struct connection {
    struct connection *next;
    struct connection *prev;
    struct half client;
    struct half guest;
    uint16_t port;
    uint8_t version;
    uint8_t which; /* of the guest's addresses */
    bool connected;
    bool unfinished;
};

static bool take_pipe(struct forward *f, struct half *h)
{
    if (h->has_pipe) {
        return true;
    }
    if (f->n_spare > 0) {
        h->pipe = f->spare[--f->n_spare];
    } else if (pipe2(h->pipe.ends, O_NONBLOCK | O_CLOEXEC) < 0) {
        return false;
    }
    h->has_pipe = true;
    return true;
}

static void close_pipe(const struct forward_pipe *p)
{
    (void)close(p->ends[0]);
    (void)close(p->ends[1]);
}

static void give_pipe(struct forward *f, struct half *h)
{
    if (!h->has_pipe) {
        return;
    }
    if (h->held == 0 && f->n_spare < FORWARD_SPARE_PIPES) {
        f->spare[f->n_spare++] = h->pipe;
    } else {
        close_pipe(&h->pipe);
    }
    h->has_pipe = false;
}

static void set_unfinished(struct forward *f, struct connection *c, bool on)
{
    if (c->unfinished != on) {
        f->n_unfinished += on ? 1 : -1u;
        c->unfinished = on;
    }
}

/* With `reset` both sides learn that bytes were lost. */
static void close_half(struct forward *f, struct half *h, bool reset)
{
    const struct linger now = {.l_onoff = 1};
    if (h->watch.fd >= 0) {
        if (reset) {
            (void)setsockopt(h->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        (void)close(h->watch.fd);
        h->watch.fd = -1;
    }
    give_pipe(f, h);
}

static void end(struct forward *f, struct connection *c, bool reset)
{
    set_unfinished(f, c, false);
    close_half(f, &c->client, reset);
    close_half(f, &c->guest, reset);
    *(c->prev != NULL ? &c->prev->next : &f->connections) = c->next;
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    f->n_connections--;
    c->next = f->dead;
    f->dead = c;
}

void tcp_free_dead(struct forward *f)
{
    while (f->dead != NULL) {
        struct connection *c = f->dead;
        f->dead = c->next;
        free(c);
    }
}

void tcp_close_all(struct forward *f)
{
    while (f->connections != NULL) {
        end(f, f->connections, true);
    }
    tcp_free_dead(f);
    while (f->n_spare > 0) {
        close_pipe(&f->spare[--f->n_spare]);
    }
}

static ssize_t move(int from, int to, size_t most)
{
    ssize_t n;
    do {
        n = splice(from, NULL, to, NULL, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* One round of one direction: 1 when something moved, 0 when nothing could, -errno. */
static int carry(struct forward *f, struct half *from, struct half *to)
{
    int moved = 0;
    if (!from->ended && from->held < PIPE_BYTES) {
        if (!take_pipe(f, from)) {
            return -ENFILE;
        }
        ssize_t n = move(from->watch.fd, from->pipe.ends[1], PIPE_BYTES);
        if (n < 0 && n != -EAGAIN) {
            return (int)n;
        }
        from->ended = n == 0;
        from->held += n > 0 ? (size_t)n : 0;
        moved = n > 0;
    }
    if (from->held > 0) {
        ssize_t n = move(from->pipe.ends[0], to->watch.fd, from->held);
        if (n < 0 && n != -EAGAIN) {
            return (int)n;
        }
        from->held -= n > 0 ? (size_t)n : 0;
        moved |= n > 0;
    }
    if (from->held == 0) {
        give_pipe(f, from);
        if (from->ended && !from->told) {
            from->told = true;
            (void)shutdown(to->watch.fd, SHUT_WR);
        }
    }
    return moved;
}

static void carry_both(struct forward *f, struct connection *c)
{
    int one = 1;
    int two = 1;
    for (unsigned i = 0; i < ROUNDS_MOST && (one > 0 || two > 0); i++) {
        one = carry(f, &c->client, &c->guest);
        two = one < 0 ? 0 : carry(f, &c->guest, &c->client);
        if (one < 0 || two < 0) {
            end(f, c, true);
            return;
        }
    }
    if (c->client.told && c->guest.told) {
        end(f, c, false);
        return;
    }
    set_unfinished(f, c, one > 0 || two > 0);
}

void tcp_go_on(struct forward *f)
{
    struct connection *next;
    for (struct connection *c = f->connections; c != NULL && f->n_unfinished > 0;
         c = next) {
        next = c->next;
        if (c->unfinished) {
            carry_both(f, c);
        }
    }
}

static void on_guest(struct forward *f, struct watch *w, uint32_t events);

/* Connect to the guest's address number `which` or a later one; 0 or -errno. */
static int approach(struct forward *f, struct connection *c, uint8_t which)
{
    int r = -ECONNREFUSED;
    int on = 1;
    for (; which < 2; which++) {
        const struct network_ip *to = forward_target(f, c->version, which);
        r = forward_connect(to, c->port, SOCK_STREAM);
        if (r >= 0) {
            c->which = which;
            c->guest.watch = (struct watch){.fd = r, .ready = on_guest};
            (void)setsockopt(r, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            return forward_watch(f, &c->guest.watch, BOTH);
        }
    }
    return r;
}

static struct half *half_of(struct watch *w)
{
    return (struct half *)(void *)w;
}

static void on_client(struct forward *f, struct watch *w, uint32_t events)
{
    struct connection *c = half_of(w)->of;
    if (c->connected) {
        carry_both(f, c);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        end(f, c, true);
    }
}

static void on_guest(struct forward *f, struct watch *w, uint32_t events)
{
    struct connection *c = half_of(w)->of;
    int code = 0;
    socklen_t len = sizeof code;
    if (!c->connected) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
            return;
        }
        (void)getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &code, &len);
        if (code != 0) {
            (void)close(w->fd);
            w->fd = -1;
            if (approach(f, c, (uint8_t)(c->which + 1)) < 0) {
                end(f, c, true);
            }
            return;
        }
        c->connected = true;
    }
    carry_both(f, c);
}

static void begin(struct forward *f, const struct listener *l, int client)
{
    const struct linger now = {.l_onoff = 1};
    struct connection *c =
        f->n_connections < f->clients_most ? fault_calloc(1, sizeof *c) : NULL;
    int on = 1;
    if (c == NULL) {
        (void)setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        (void)close(client);
        return;
    }
    c->version = l->version;
    c->port = l->to_port;
    c->client = (struct half){.watch = {.fd = client, .ready = on_client}, .of = c};
    c->guest = (struct half){.watch = {.fd = -1, .ready = on_guest}, .of = c};
    c->next = f->connections;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    f->connections = c;
    f->n_connections++;
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (approach(f, c, 0) < 0 || forward_watch(f, &c->client.watch, BOTH) < 0) {
        end(f, c, true);
    }
}

void tcp_accept(struct forward *f, struct watch *w, uint32_t events)
{
    const struct listener *l = (const struct listener *)(const void *)w;
    (void)events;
    for (unsigned i = 0; i < ACCEPT_MOST; i++) {
        int client = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            return;
        }
        begin(f, l, client);
    }
}
