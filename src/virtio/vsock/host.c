/* host.c - streams of a guest joined to unix sockets.
 *
 * A door is a stream and a socket (at first only a socket, which says where it wants to go); bytes go from one to the other as long as the other has
 * room.  The end of one direction is passed on by itself; when the stream or the socket
 * is gone the door goes. */
#include "virtio/vsock/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "virtio/device.h"
#include "virtio/vsock/vsock.h"

#define PART_BYTES 16384 /* read from a socket at once */
#define LINE_BYTES 32    /* of a wish, at most */
#define DOORS_MOST (2 * VIRTIO_VSOCK_STREAMS_MOST)

struct door {
    struct vsock_host *host;
    struct door *next;
    struct vsock_stream *stream; /* NULL: gone */
    struct loop_watch watch;     /* its descriptor is owned */
    bool wishes;                 /* its first line is to come */
    bool is_visitor;             /* it came by the listening socket */
    bool is_open;                /* the guest has answered */
    bool reads;                  /* the socket has not ended */
    bool is_full;                /* bytes of the guest wait for room in it */
    unsigned have;               /* of the first line */
    char line[LINE_BYTES + 1];
};

struct vsock_host {
    struct loop *loop; /* borrowed */
    int dir;           /* owned; -1: none */
    struct virtio_device *device;
    struct door *doors;
    unsigned count;           /* of them */
    struct loop_watch listen; /* its descriptor is owned while it is watched */
};

static void choose_events(struct door *d)
{
    bool reads = d->wishes || (d->is_open && d->reads && d->stream != NULL &&
                               virtio_vsock_room(d->stream) > 0);
    uint32_t events = (reads ? EPOLLIN : 0u) | (d->is_full ? EPOLLOUT : 0u);

    /* Unwatched, not watched for nothing: a closed socket would report that for ever. */
    if (events == 0) {
        loop_unwatch(&d->watch);
        d->watch.events = 0;
    } else if (d->watch.loop == NULL) {
        d->watch.events = events;
        (void)loop_watch(d->host->loop, &d->watch);
    } else {
        (void)loop_watch_change(&d->watch, events);
    }
}

static void door_free(struct door *d)
{
    struct door **at = &d->host->doors;

    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    d->host->count--;
    loop_unwatch(&d->watch);
    (void)close(d->watch.fd);
    if (d->stream != NULL) {
        virtio_vsock_close(d->stream);
    }
    free(d);
}

/* ---- the stream's side ---- */

static void on_connected(void *who)
{
    struct door *d = who;

    d->is_open = true;
    if (d->is_visitor) {
        (void)!send(d->watch.fd, "OK\n", 3, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    choose_events(d);
}

static uint32_t on_received(void *who, const uint8_t *bytes, uint32_t n)
{
    struct door *d = who;
    ssize_t r = send(d->watch.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (r < 0 && errno != EAGAIN && errno != EINTR) {
        door_free(d); /* nobody reads it */
        return n;
    }
    d->is_full = r < (ssize_t)n;
    if (d->is_full) {
        choose_events(d);
    }
    return r > 0 ? (uint32_t)r : 0;
}

static void on_writable(void *who)
{
    choose_events(who);
}

static void on_finished(void *who)
{
    (void)shutdown(((struct door *)who)->watch.fd, SHUT_WR);
}

static void on_gone(void *who, int why)
{
    struct door *d = who;

    (void)why;
    d->stream = NULL;
    door_free(d);
}

static const struct vsock_user door_user = {
    .connected = on_connected,
    .received = on_received,
    .writable = on_writable,
    .finished = on_finished,
    .gone = on_gone,
};

/* ---- the socket's side ---- */

/* false: the door has gone. */
static bool read_part(struct door *d)
{
    uint8_t bytes[PART_BYTES];
    uint32_t room = virtio_vsock_room(d->stream);
    ssize_t n =
        recv(d->watch.fd, bytes, room < sizeof bytes ? room : sizeof bytes, MSG_DONTWAIT);

    if (n > 0) {
        (void)virtio_vsock_send(d->stream, bytes, (uint32_t)n);
    } else if (n == 0) {
        d->reads = false;
        virtio_vsock_shutdown(d->stream);
    } else if (errno != EAGAIN && errno != EINTR) {
        door_free(d);
        return false;
    }
    return true;
}

/* "CONNECT PORT" as a number, or -EINVAL. */
static int64_t parse_wish(const char *line)
{
    const char word[] = "CONNECT ";
    uint64_t port = 0;

    if (strncmp(line, word, sizeof word - 1) != 0 || line[sizeof word - 1] == '\0') {
        return -EINVAL;
    }
    for (const char *p = line + sizeof word - 1; *p != '\0'; p++) {
        if (*p < '0' || *p > '9') {
            return -EINVAL;
        }
        port = port * 10 + (uint64_t)(*p - '0');
    }
    return port < UINT32_MAX ? (int64_t)port : -EINVAL;
}

/* As much of the line as there is; what stands behind it is for the guest.  true: it is
 * whole, without its end; false: it is not yet, or the door has gone. */
static bool read_line(struct door *d)
{
    char part[LINE_BYTES];
    size_t room = sizeof d->line - 1 - d->have;
    ssize_t n = recv(d->watch.fd, part, room, MSG_DONTWAIT | MSG_PEEK);
    char *end = n > 0 ? memchr(part, '\n', (size_t)n) : NULL;
    size_t use = end != NULL ? (size_t)(end - part) + 1 : n > 0 ? (size_t)n : 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (use == 0 || recv(d->watch.fd, d->line + d->have, use, MSG_DONTWAIT) < 0 ||
        (end == NULL && use == room)) {
        door_free(d);
        return false;
    }
    d->have += (unsigned)use;
    if (end != NULL) {
        d->line[d->have - 1] = '\0';
    }
    return end != NULL;
}

static void read_wish(struct door *d)
{
    int64_t port;

    if (!read_line(d)) {
        return;
    }
    port = parse_wish(d->line);
    d->wishes = false;
    if (port < 0 || virtio_vsock_connect(d->host->device, (uint32_t)port, &door_user, d,
                                         &d->stream) != 0) {
        door_free(d);
        return;
    }
    choose_events(d);
}

static void on_event(struct loop_watch *w, uint32_t events)
{
    struct door *d = (struct door *)((char *)w - offsetof(struct door, watch));
    bool wrote = d->is_full && (events & ~(uint32_t)EPOLLIN) != 0;

    if (d->wishes) {
        read_wish(d);
        return;
    }
    if ((w->events & EPOLLIN) != 0 && (events & ~(uint32_t)EPOLLOUT) != 0 &&
        virtio_vsock_room(d->stream) > 0 && !read_part(d)) {
        return;
    }
    if (wrote) {
        struct vsock_stream *s = d->stream;

        d->is_full = false;
        choose_events(d);
        virtio_vsock_more(s); /* the door may go */
        return;
    }
    choose_events(d);
}

/* ---- doors ---- */

static int door_make(struct vsock_host *h, int take_fd, struct door **ret)
{
    struct door *d = h->count < DOORS_MOST ? fault_calloc(1, sizeof *d) : NULL;

    if (d == NULL) {
        (void)close(take_fd);
        return -ENOMEM;
    }
    d->host = h;
    d->reads = true;
    d->watch = (struct loop_watch){.fd = take_fd, .fn = on_event};
    d->next = h->doors;
    h->doors = d;
    h->count++;
    *ret = d;
    return 0;
}

static int connect_to(const struct vsock_host *h, uint32_t port)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd;

    if (h->dir < 0) {
        return -ECONNREFUSED;
    }
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/vsock_%u", h->dir,
                   port);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        int r = -errno;

        (void)close(fd);
        return r;
    }
    return fd < 0 ? -errno : fd;
}

static int on_accept(void *who, uint32_t port, struct vsock_stream *s,
                     const struct vsock_user **ret_user, void **ret_who)
{
    struct vsock_host *h = who;
    int fd = connect_to(h, port);
    struct door *d;
    int r = fd < 0 ? fd : door_make(h, fd, &d);

    if (r < 0) {
        return r;
    }
    d->stream = s;
    d->is_open = true;
    *ret_user = &door_user;
    *ret_who = d;
    choose_events(d);
    return 0;
}

int vsock_host_join(struct vsock_host *h, uint32_t port, int take_fd)
{
    struct door *d;
    int r = door_make(h, take_fd, &d);

    if (r == 0) {
        r = virtio_vsock_connect(h->device, port, &door_user, d, &d->stream);
        if (r != 0) {
            door_free(d);
        }
    }
    return r;
}

static void on_visitor(struct loop_watch *w, uint32_t events)
{
    struct vsock_host *h =
        (struct vsock_host *)((char *)w - offsetof(struct vsock_host, listen));
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct door *d;

    (void)events;
    if (fd >= 0 && door_make(h, fd, &d) == 0) {
        d->wishes = true;
        d->is_visitor = true;
        choose_events(d);
    }
}

int vsock_host_listen(struct vsock_host *h, int take_fd, struct err *e)
{
    int flags = fcntl(take_fd, F_GETFL);
    int is_listening = 0;
    socklen_t bytes = sizeof is_listening;
    int r;

    if (flags < 0 ||
        getsockopt(take_fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &bytes) < 0 ||
        fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return err_sys(e, -errno, "cannot use descriptor %d", take_fd);
    }
    if (is_listening == 0 || h->listen.loop != NULL) {
        return err_set(e, -EINVAL, "descriptor %d is no socket that listens", take_fd);
    }
    h->listen = (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = on_visitor};
    r = loop_watch(h->loop, &h->listen);
    return r < 0 ? err_sys(e, r, "cannot watch descriptor %d", take_fd) : 0;
}

int vsock_host_create(struct loop *l, uint32_t cid, int take_dir, struct vsock_host **ret,
                      struct err *e)
{
    struct virtio_vsock_options o = {.loop = l, .cid = cid, .accept = on_accept};
    struct vsock_host *h = fault_calloc(1, sizeof *h);
    int r;

    if (h == NULL) {
        return err_set(e, -ENOMEM, "cannot make a socket device: out of memory");
    }
    h->loop = l;
    h->dir = take_dir;
    o.who = h;
    r = virtio_vsock_create(&o, &h->device, e);
    if (r != 0) {
        free(h);
        return r;
    }
    *ret = h;
    return 0;
}

void vsock_host_destroy(struct vsock_host *h)
{
    if (h == NULL) {
        return;
    }
    h->device->ops->destroy(h->device);
    while (h->doors != NULL) {
        door_free(h->doors);
    }
    if (h->listen.loop != NULL) {
        loop_unwatch(&h->listen);
        (void)close(h->listen.fd);
    }
    if (h->dir >= 0) {
        (void)close(h->dir);
    }
    free(h);
}

struct virtio_device *vsock_host_device(const struct vsock_host *h)
{
    return h->device;
}
