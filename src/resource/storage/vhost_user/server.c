/* server.c - the life of a server and of its front ends, one after another.
 *
 * A session is a strand that reads messages and handles them in order; requests of the
 * machine run beside it.  It ends when the front end goes or speaks nonsense: rings stop,
 * requests under way are finished and shown, and only then the next front end, which
 * may be the same one again, is listened to. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/vhost_user/private.h"

#define QUEUES_DEFAULT 16

/* ---- sessions ---- */

static void close_session(struct vhost_session *s)
{
    for (unsigned i = 0; i < s->server->device.queues; i++) {
        vhost_ring_reset(&s->ring[i]);
    }
    vhost_memory_fini(&s->memory);
    vhost_unmap(&s->inflight);
    if (s->backend >= 0) {
        (void)close(s->backend);
    }
    (void)close(s->fd);
    free(s);
}

static void end_session(struct vhost_session *s)
{
    struct vhost_user_server *v = s->server;

    for (unsigned i = 0; i < v->device.queues; i++) {
        vhost_ring_stop(&s->ring[i]);
    }
    vhost_session_poll_end(s);
    close_session(s);
    v->session = NULL;
    v->counts.clients = 0;
    v->device.features = 0;
    v->device.write_through = false;
    if (v->listener.loop != NULL) {
        (void)loop_watch_change(&v->listener, EPOLLIN);
    }
    (void)strand_wake_all(&v->gone);
}

static void converse(void *arg)
{
    struct vhost_session *s = arg;
    int r = 0;

    while (r == 0) {
        struct vhost_message m;

        r = vhost_message_read(s, &m);
        if (r == 0) {
            r = vhost_session_handle(s, &m);
        }
        vhost_message_close(&m);
    }
    end_session(s);
}

static struct vhost_session *make_session(struct vhost_user_server *v, int fd)
{
    struct vhost_session *s = fault_calloc(1, sizeof *s);

    if (s == NULL) {
        return NULL;
    }
    s->server = v;
    s->fd = fd;
    s->backend = -1;
    vhost_memory_init(&s->memory);
    for (unsigned i = 0; i < VHOST_USER_QUEUES_MOST; i++) {
        vhost_ring_init(&s->ring[i], s);
    }
    return s;
}

int vhost_user_server_serve(struct vhost_user_server *v, int take_fd, struct err *e)
{
    struct vhost_session *s = NULL;
    int r = v->session != NULL ? -EBUSY : -ENOMEM;

    if (r != -EBUSY) {
        s = make_session(v, take_fd);
    }
    if (s == NULL) {
        (void)close(take_fd);
        return err_sys(e, r, "cannot serve a front end");
    }
    v->session = s;
    v->counts.clients = 1;
    v->counts.accepted++;
    v->told_bytes = blk_size(v->edge.disk);
    vhost_session_poll_begin(s);
    if (v->listener.loop != NULL) {
        (void)loop_watch_change(&v->listener, 0);
    }
    r = strand_start(loop_strands(v->loop), converse, s);
    if (r != 0) {
        vhost_session_poll_end(s);
        close_session(s);
        v->session = NULL;
        v->counts.clients = 0;
        if (v->listener.loop != NULL) {
            (void)loop_watch_change(&v->listener, EPOLLIN);
        }
        return err_sys(e, r, "cannot serve a front end");
    }
    return 0;
}

/* ---- the server ---- */

static void accept_one(struct loop_watch *w, uint32_t events)
{
    struct vhost_user_server *v =
        (struct vhost_user_server *)((char *)w -
                                     offsetof(struct vhost_user_server, listener));
    int fd;

    (void)events;
    if (v->session != NULL) {
        return;
    }
    fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        (void)vhost_user_server_serve(v, fd, NULL);
    }
}

int vhost_user_server_listen(struct vhost_user_server *v, int take_fd, struct err *e)
{
    int flags = fcntl(take_fd, F_GETFL);
    int accepts = 0;
    socklen_t bytes = sizeof accepts;
    int r = v->listener.loop != NULL ? -EBUSY : 0;

    if (r == 0 &&
        (getsockopt(take_fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &bytes) != 0 ||
         accepts == 0)) {
        r = -ENOTSOCK;
    }

    if (r == 0 && (flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
        r = -errno;
    }
    if (r == 0) {
        v->listener = (struct loop_watch){
            .fd = take_fd, .events = v->session == NULL ? EPOLLIN : 0, .fn = accept_one};
        r = loop_watch(v->loop, &v->listener);
    }
    if (r != 0) {
        (void)close(take_fd);
        return err_sys(e, r, "cannot listen for front ends");
    }
    return 0;
}

void vhost_user_server_resized(struct vhost_user_server *v)
{
    v->told_bytes = blk_size(v->edge.disk);
    if (v->session != NULL) {
        vhost_session_tell_config(v->session);
    }
}

struct vhost_user_counts vhost_user_server_counts(const struct vhost_user_server *v)
{
    return v->counts;
}

static int check_options(const struct vhost_user_options *o, struct err *e)
{
    if (o->queues > VHOST_USER_QUEUES_MOST) {
        return err_set(e, -EINVAL, "cannot serve %u queues: %d are the most", o->queues,
                       VHOST_USER_QUEUES_MOST);
    }
    if (o->id != NULL && strlen(o->id) > VIRTIO_BLK_ID_BYTES) {
        return err_set(e, -EINVAL, "the id '%s' is longer than %d characters", o->id,
                       VIRTIO_BLK_ID_BYTES);
    }
    return 0;
}

int vhost_user_server_create(struct loop *l, const struct vhost_user_options *o,
                             struct vhost_user_server **ret_server, struct err *e)
{
    struct vhost_user_server *v;
    int r = check_options(o, e);

    if (r != 0) {
        return r;
    }
    v = fault_calloc(1, sizeof *v);
    if (v == NULL) {
        return err_sys(e, -ENOMEM, "cannot start the vhost-user server");
    }
    v->loop = l;
    v->device = (struct virtio_blk){
        .edge = &v->edge,
        .loop = l,
        .read_only = o->read_only || blk_is_read_only(o->disk),
        .queues = (uint16_t)(o->queues != 0 ? o->queues : QUEUES_DEFAULT),
    };
    if (o->id != NULL) {
        memcpy(v->device.id, o->id, strlen(o->id));
    }
    v->edge = (struct blk_edge){
        .user = "vhost-user export",
        .uses = v->device.read_only ? (unsigned)BLK_USE_READ
                                    : BLK_USE_READ | (unsigned)BLK_USE_WRITE,
        .lets = BLK_USE_ALL,
    };
    r = blk_attach(&v->edge, o->disk, e);
    if (r != 0) {
        free(v);
        return r;
    }
    *ret_server = v;
    return 0;
}

void vhost_user_server_destroy(struct vhost_user_server *v)
{
    if (v == NULL) {
        return;
    }
    if (v->listener.loop != NULL) {
        loop_unwatch(&v->listener);
        (void)close(v->listener.fd);
    }
    if (v->session != NULL) {
        (void)shutdown(v->session->fd, SHUT_RDWR);
    }
    while (v->session != NULL) {
        strand_wait(loop_strands(v->loop), &v->gone);
    }
    blk_detach(&v->edge);
    free(v);
}
