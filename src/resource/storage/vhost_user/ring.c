/* ring.c - a queue at work: kicks come in, requests go to the disk, calls go out.
 *
 * A kick is a descriptor that becomes readable.  All requests that are in the queue by
 * then go to the disk at once; what is finished is shown at the end of the loop's turn,
 * with one call for all.  While requests keep coming, the loop looks at the queues
 * without sleeping (host/loop) and the driver is asked not to kick; before the loop
 * sleeps, kicks are asked for again and the queues looked at once more.
 *
 * A queue goes through: placed and kickable (messages have said all that is needed),
 * started (its position is known), enabled (requests are taken), and stopped again when
 * its base is asked for. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "resource/storage/vhost_user/lost.h"
#include "resource/storage/vhost_user/private.h"

#define SOON_NS     200000 /* requests that follow so fast are waited for awake */
#define LOOK_NS     500000 /* between looks at a queue without kicks */
#define KICKS_BYTES 64

/* A front end that does not speak of protocol features enables no rings either. */
static bool is_running(const struct vhost_ring *r)
{
    const struct vhost_session *s = r->session;

    return r->started && !r->blk.q.broken && !r->stopping && !s->paused &&
           (r->enabled || (s->features & VHOST_USER_F_PROTOCOL) == 0);
}

static void signal_event(int fd)
{
    uint64_t one = 1;

    if (fd >= 0) {
        ssize_t n = write(fd, &one, sizeof one);

        (void)n; /* full: it is readable anyway */
    }
}

/* The driver broke the rules: tell the front end, once. */
static void report_broken(struct vhost_ring *r)
{
    if (!r->told) {
        r->told = true;
        r->session->server->counts.broken++;
        loop_unwatch(&r->watch);
        signal_event(r->error);
    }
}

/* A machine whose memory is gone has nothing more to say: its session ends. */
static void notice_loss(struct vhost_session *s)
{
    unsigned now = lost_count();

    if (now != s->losses) {
        s->losses = now;
        if (vhost_memory_is_lost(&s->memory) || vhost_mapping_is_lost(&s->inflight)) {
            (void)shutdown(s->fd, SHUT_RDWR);
        }
    }
}

/* The size of the disk may have changed behind our back. */
static void notice_size(struct vhost_session *s)
{
    struct vhost_user_server *v = s->server;
    uint64_t now = blk_size(v->edge.disk);

    if (now != v->told_bytes || s->config_changed) {
        v->told_bytes = now;
        vhost_session_tell_config(s);
    }
}

static void answer(struct vhost_ring *r)
{
    if (virtio_blk_ring_finish(&r->blk)) {
        signal_event(r->call);
    }
}

/* Take what is in the queue, at most once round: big requests in parts, so that the
 * driver goes on while we do.  How many there were, or -EPROTO. */
static int take_all(struct vhost_ring *r)
{
    int count = 0;
    int n;

    for (;;) {
        n = virtio_blk_ring_serve(&r->blk);
        count += n > 0 ? n : 0;
        if (n <= 0 || count >= (int)r->size || !virtq_more(&r->blk.q)) {
            return n < 0 ? n : count;
        }
        answer(r);
    }
}

/* Take what is in the queue; whether anything was. */
static bool serve(struct vhost_ring *r)
{
    struct vhost_session *s = r->session;
    uint64_t now = loop_now_ns(s->server->loop);
    int n;

    if (!is_running(r)) {
        return false;
    }
    virtq_hush(&r->blk.q);
    n = take_all(r);
    notice_loss(s);
    if (n < 0) {
        report_broken(r);
        return false;
    }
    if (n > 0) {
        s->server->counts.served += (uint64_t)n;
        notice_size(s);
        if (now - s->last_ns < SOON_NS) {
            loop_expect_more(s->server->loop);
        }
        s->last_ns = now;
    }
    return n > 0;
}

static void give_answers(struct loop_task *t)
{
    struct vhost_ring *r =
        (struct vhost_ring *)((char *)t - offsetof(struct vhost_ring, answers));
    bool was_full = r->blk.q.in_flight >= r->size;

    answer(r);
    notice_loss(r->session);
    if (was_full) {
        (void)serve(r);
    }
    if (r->blk.running == 0) {
        (void)strand_wake_all(&r->session->idle);
    }
}

static void ready(struct virtio_blk_ring *b)
{
    struct vhost_ring *r = (struct vhost_ring *)b;

    loop_later(r->session->server->loop, &r->answers);
}

/* ---- kicks ---- */

static void kicked(struct loop_watch *w, uint32_t events)
{
    struct vhost_ring *r =
        (struct vhost_ring *)((char *)w - offsetof(struct vhost_ring, watch));
    char room[KICKS_BYTES];
    ssize_t n = read(w->fd, room, sizeof room);

    (void)events;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        loop_unwatch(w); /* no eventfd: it would stay readable for ever */
    }
    (void)serve(r);
}

static int watch_kick(struct vhost_ring *r)
{
    if (!is_running(r) || r->kick < 0 || r->watch.loop != NULL) {
        return 0;
    }
    r->watch = (struct loop_watch){.fd = r->kick, .events = EPOLLIN, .fn = kicked};
    return loop_watch(r->session->server->loop, &r->watch);
}

void vhost_ring_set_kick(struct vhost_ring *r, int take_fd)
{
    loop_unwatch(&r->watch);
    if (r->kick >= 0) {
        (void)close(r->kick);
    }
    r->kick = take_fd;
    r->kickable = true;
}

/* A driver that waits for what an earlier process showed and did not tell is woken. */
void vhost_ring_set_call(struct vhost_ring *r, int take_fd)
{
    if (r->call >= 0) {
        (void)close(r->call);
    }
    r->call = take_fd;
    if (r->started) {
        signal_event(r->call);
    }
}

/* ---- looks without kicks ---- */

static bool look(struct loop_poller *p)
{
    struct vhost_session *s =
        (struct vhost_session *)((char *)p - offsetof(struct vhost_session, poller));
    bool found = false;

    for (unsigned i = 0; i < s->server->device.queues; i++) {
        struct vhost_ring *r = &s->ring[i];

        if (is_running(r) && virtq_more(&r->blk.q)) {
            found = serve(r) || found;
        }
    }
    return found;
}

static void look_by_time(struct loop_timer *t)
{
    struct vhost_session *s =
        (struct vhost_session *)((char *)t - offsetof(struct vhost_session, look));

    (void)look(&s->poller);
}

/* Kicks are asked for where they were not wanted; true: a queue has something. */
static bool rest(struct loop_poller *p)
{
    struct vhost_session *s =
        (struct vhost_session *)((char *)p - offsetof(struct vhost_session, poller));
    bool any = false;
    bool by_time = false;

    for (unsigned i = 0; i < s->server->device.queues; i++) {
        struct vhost_ring *r = &s->ring[i];

        if (is_running(r) && r->blk.q.hushed) {
            any = virtq_listen(&r->blk.q) || any;
        }
        if (r->started && r->blk.q.broken) {
            report_broken(r);
        }
        by_time = by_time || (is_running(r) && r->kick < 0);
    }
    notice_loss(s);
    if (by_time && !s->look.set) {
        loop_timer_set(s->server->loop, &s->look, LOOK_NS);
        any = true; /* the loop's patience was measured before */
    }
    return any;
}

void vhost_session_poll_begin(struct vhost_session *s)
{
    s->poller = (struct loop_poller){.fn = look, .rest = rest};
    s->look.fn = look_by_time;
    loop_poller_add(s->server->loop, &s->poller);
}

void vhost_session_poll_end(struct vhost_session *s)
{
    loop_timer_clear(s->server->loop, &s->look);
    loop_poller_remove(s->server->loop, &s->poller);
}

/* ---- life ---- */

static void ring_writes(struct virtq *q, uint8_t *host, uint64_t bytes, bool done)
{
    struct vhost_ring *r = (struct vhost_ring *)q;

    if (done && (r->addresses.flags & VHOST_USER_VRING_LOG) != 0 &&
        host >= q->s.rings.device &&
        host < q->s.rings.device + virtq_device_bytes(q->s.features, q->s.size)) {
        vhost_memory_mark(&r->session->memory,
                          r->addresses.log + (uint64_t)(host - q->s.rings.device), bytes);
    } else if (done && (r->addresses.flags & VHOST_USER_VRING_LOG) != 0 &&
               r->session->memory.space.wrote != NULL) {
        r->session->memory.space.wrote(&r->session->memory.space, host, bytes);
    }
}

static int translate(struct vhost_ring *r, struct virtq_rings *ret)
{
    struct vhost_memory *m = &r->session->memory;
    uint64_t f = r->session->features;

    ret->desc = vhost_memory_user(m, r->addresses.desc, virtq_desc_bytes(f, r->size));
    ret->driver =
        vhost_memory_user(m, r->addresses.available, virtq_driver_bytes(f, r->size));
    ret->device = vhost_memory_user(m, r->addresses.used, virtq_device_bytes(f, r->size));
    return ret->desc == NULL || ret->driver == NULL || ret->device == NULL ? -EFAULT : 0;
}

int vhost_ring_place(struct vhost_ring *r)
{
    struct virtq_rings rings;
    int e = 0;

    if (r->started) {
        e = translate(r, &rings);
        e = e == 0 ? virtq_move(&r->blk.q, &rings) : e;
        if (e != 0) {
            r->blk.q.broken = true;
            report_broken(r);
        }
    }
    return e;
}

/* The part of the account that is this queue's; NULL: there is none. */
static uint8_t *account_of(const struct vhost_ring *r, bool packed)
{
    const struct vhost_session *s = r->session;
    unsigned index = (unsigned)(r - s->ring);
    uint64_t stride;

    if (s->inflight.base == NULL || index >= s->inflight_shape.queues) {
        return NULL;
    }
    stride = s->inflight_shape.area.bytes / s->inflight_shape.queues & ~(uint64_t)63;
    if (r->size > s->inflight_shape.size ||
        stride < vhost_inflight_bytes(packed, s->inflight_shape.size)) {
        return NULL;
    }
    return s->inflight.at + index * stride;
}

static int begin(struct vhost_ring *r)
{
    struct vhost_session *s = r->session;
    struct virtq_setup setup = {
        .space = &s->memory.space,
        .size = r->size,
        .features = s->features & VIRTQ_FEATURES,
        .base = r->base,
        .ring_writes = ring_writes,
    };
    uint8_t *account = account_of(r, (s->features & VIRTIO_F_RING_PACKED) != 0);
    int e = translate(r, &setup.rings);

    if (e == 0) {
        e = virtq_start(&r->blk.q, &setup); /* checks all that the account relies on */
    }
    if (e == 0 && account != NULL) {
        e = vhost_inflight_open(&r->inflight, account, &setup, &setup.base);
        setup.tracker = &r->inflight.tracker;
        e = e == 0 ? virtq_start(&r->blk.q, &setup) : e;
        if (e != 0) {
            vhost_inflight_close(&r->inflight);
        }
    }
    r->started = e == 0;
    r->told = false;
    return e;
}

/* What an earlier process had taken and not finished, in its order. */
static void do_again(struct vhost_ring *r)
{
    uint16_t id;
    uint16_t token;
    unsigned count;

    while (vhost_inflight_next(&r->inflight, &id, &count, &token)) {
        if (virtio_blk_ring_again(&r->blk, id, r->inflight.tracker.scratch, count,
                                  token) != 0) {
            r->blk.q.broken = true;
            report_broken(r);
            return;
        }
        r->session->server->counts.served++;
        r->session->server->counts.again++;
    }
}

int vhost_ring_update(struct vhost_ring *r)
{
    int e = 0;

    if (!r->started && r->placed && r->kickable && r->size != 0) {
        e = begin(r);
        if (e == 0) {
            signal_event(r->call);
        }
    }
    if (e == 0 && is_running(r)) {
        do_again(r);
        e = watch_kick(r);
        (void)serve(r);
    } else {
        loop_unwatch(&r->watch);
    }
    return e;
}

void vhost_ring_wait(struct vhost_ring *r)
{
    while (r->blk.running > 0 || r->answers.queued) {
        strand_wait(loop_strands(r->session->server->loop), &r->session->idle);
    }
}

void vhost_ring_stop(struct vhost_ring *r)
{
    if (!r->started) {
        return;
    }
    r->stopping = true;
    loop_unwatch(&r->watch);
    vhost_ring_wait(r);
    r->base = virtq_base(&r->blk.q);
    r->started = false;
    r->stopping = false;
    r->kickable = false;
    vhost_inflight_close(&r->inflight);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

void vhost_ring_reset(struct vhost_ring *r)
{
    loop_unwatch(&r->watch);
    close_fd(&r->kick);
    close_fd(&r->call);
    close_fd(&r->error);
    virtio_blk_ring_fini(&r->blk);
    vhost_ring_init(r, r->session);
}

void vhost_ring_init(struct vhost_ring *r, struct vhost_session *s)
{
    *r = (struct vhost_ring){.session = s, .kick = -1, .call = -1, .error = -1};
    virtio_blk_ring_init(&r->blk, &s->server->device, ready);
    r->answers.fn = give_answers;
}
