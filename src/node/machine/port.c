/* port.c - bytes between a port of a guest's console device and a socket. */
#include "node/machine/port.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "virtio/console/console.h"
#include "virtio/device.h"

struct port {
    struct virtio_device *device; /* owned */
    struct loop *loop;
    struct loop_watch watch; /* its descriptor is owned */
    bool is_full;            /* bytes of the guest wait for room in the socket */
    bool has_ended;          /* the socket's other end */
    uint32_t have;           /* bytes that the guest had no buffers for */
    uint8_t held[4096];
};

static void choose_events(struct port *p)
{
    uint32_t events = (p->have == 0 && !p->has_ended ? EPOLLIN : 0u) |
                      (p->is_full && !p->has_ended ? EPOLLOUT : 0u);

    if (events == 0) {
        loop_unwatch(&p->watch); /* an end would be reported for ever */
        p->watch.events = 0;
    } else if (p->watch.loop == NULL) {
        p->watch.events = events;
        (void)loop_watch(p->loop, &p->watch);
    } else {
        (void)loop_watch_change(&p->watch, events);
    }
}

static uint32_t on_output(void *who, const uint8_t *bytes, uint32_t n)
{
    struct port *p = who;
    ssize_t r = send(p->watch.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (r < 0 && errno != EAGAIN && errno != EINTR) {
        return n; /* nobody reads it */
    }
    p->is_full = r < (ssize_t)n;
    choose_events(p);
    return r > 0 ? (uint32_t)r : 0;
}

static void pass_on(struct port *p)
{
    uint32_t took = virtio_console_type(p->device, 0, p->held, p->have);

    p->have -= took;
    memmove(p->held, p->held + took, p->have);
    choose_events(p);
}

static void on_room(void *who)
{
    pass_on(who);
}

static void on_event(struct loop_watch *w, uint32_t events)
{
    struct port *p = (struct port *)((char *)w - offsetof(struct port, watch));
    ssize_t n;

    if (p->is_full && (events & ~(uint32_t)EPOLLIN) != 0) {
        p->is_full = false;
        virtio_console_more(p->device, 0);
    }
    if ((w->events & EPOLLIN) != 0 && (events & ~(uint32_t)EPOLLOUT) != 0) {
        n = recv(w->fd, p->held, sizeof p->held, MSG_DONTWAIT);
        p->has_ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        p->have = n > 0 ? (uint32_t)n : 0;
        if (p->has_ended) {
            virtio_console_open(p->device, 0, false);
        }
        pass_on(p);
    } else {
        choose_events(p);
    }
}

int port_create(struct loop *l, const char *name, int take_fd, struct port **ret,
                struct err *e)
{
    struct port *p = calloc(1, sizeof *p);
    struct virtio_console_port port = {
        .name = name, .output = on_output, .room = on_room, .who = p};
    const struct virtio_console_options o = {.loop = l, .ports = &port, .count = 1};
    int type = 0;
    socklen_t bytes = sizeof type;
    int r;

    if (p == NULL) {
        return err_set(e, -ENOMEM, "cannot make a port: out of memory");
    }
    if (getsockopt(take_fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 ||
        type != SOCK_STREAM) {
        free(p);
        return err_set(e, -EINVAL, "descriptor %d is no stream socket", take_fd);
    }
    r = virtio_console_create(&o, &p->device, e);
    if (r != 0) {
        free(p);
        return r;
    }
    p->loop = l;
    p->watch = (struct loop_watch){.fd = take_fd, .fn = on_event};
    virtio_console_open(p->device, 0, true);
    choose_events(p);
    *ret = p;
    return 0;
}

void port_destroy(struct port *p)
{
    if (p != NULL) {
        loop_unwatch(&p->watch);
        (void)close(p->watch.fd);
        p->device->ops->destroy(p->device);
        free(p);
    }
}

struct virtio_device *port_device(const struct port *p)
{
    return p->device;
}
