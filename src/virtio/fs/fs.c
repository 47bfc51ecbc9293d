/* fs.c - the virtio file-system device: VIRTIO 1.2, 5.11.
 *
 * Two queues: urgent requests (that nobody waits for) and the others; both become one stream
 * to the server, which answers in its order.  What was taken waits in `flight`, first come
 * first; a request that finds the socket full waits in `out`, and nothing more is taken
 * meanwhile.  A server that breaks the rules of the stream is as one that has gone. */
#include "virtio/fs/fs.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "base/err.h"
#include "base/fault.h"
#include "virtio/chain.h"
#include "virtio/work.h"

#define FS_QUEUES          2
#define FS_QUEUE_SIZE      128 /* as many pages, less four, are the most of a request */
#define FS_FLIGHT_MOST     32
#define FS_REQUESTS_A_TURN 16
#define FS_ANSWERS_A_TURN  16
#define FS_ID              26
#define FS_CLASS           0x00018000u /* mass storage, other */

/* VIRTIO 1.2, 5.11.4 */
struct fs_config {
    char tag[VIRTIO_FS_TAG_BYTES];
    uint32_t request_queues;
};

struct flight {
    struct virtq_chain chain;
    unsigned queue;
    uint64_t unique; /* of the request, for an answer of ours */
};

struct fs {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[FS_QUEUES];
    struct fs_config config;
    struct loop *loop;
    struct loop_watch watch; /* its descriptor is owned */
    bool is_gone, is_stopping;
    unsigned first, count; /* of `flight`, a ring */
    struct flight flight[FS_FLIGHT_MOST];
    size_t out_at, out_bytes; /* sent, and in all */
    size_t in_at;             /* received, with the head */

    struct {
        struct virtio_fs_frame head;
        uint8_t bytes[VIRTIO_FS_MESSAGE_MOST];
    } out, in;
};

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return VIRTQ_FEATURES;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i < FS_QUEUES ? FS_QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct fs *f = (const struct fs *)d;

    virtio_config_copy(&f->config, sizeof f->config, off, to, bytes);
}

static void choose_events(struct fs *f)
{
    if (!f->is_gone) {
        (void)loop_watch_change(&f->watch, EPOLLIN | (f->out_bytes > 0 ? EPOLLOUT : 0u));
    }
}

/* ---- answers ---- */

/* The oldest request is answered with `n` bytes. */
static void give(struct fs *f, const void *bytes, uint32_t n)
{
    struct flight *t = &f->flight[f->first];
    struct virtq *q = &f->q[t->queue];

    n = n <= t->chain.write_bytes ? n : 0;
    (void)virtio_chain_write(q, &t->chain, 0, bytes, n);
    virtq_give(q, &t->chain, n);
    virtio_work_show(&f->work, t->queue);
    f->first = (f->first + 1) % FS_FLIGHT_MOST;
    f->count -= 1;
}

static void fail_oldest(struct fs *f)
{
    const struct fuse_out_header h = {
        .len = sizeof h, .error = -ENOTCONN, .unique = f->flight[f->first].unique};

    give(f, &h, f->flight[f->first].chain.write_bytes >= sizeof h ? sizeof h : 0);
}

static void lose(struct fs *f)
{
    if (!f->is_gone) {
        f->is_gone = true;
        loop_unwatch(&f->watch);
    }
    f->out_bytes = f->out_at = 0;
    while (f->count > 0) {
        fail_oldest(f);
    }
}

/* What has come of an answer: 1: it is whole; 0: there is more to come. */
static int receive(struct fs *f)
{
    size_t head = sizeof f->in.head;
    size_t want = f->in_at < head ? head - f->in_at : head + f->in.head.bytes - f->in_at;
    ssize_t n = want == 0
                    ? 0
                    : recv(f->watch.fd, (uint8_t *)&f->in + f->in_at, want, MSG_DONTWAIT);

    if (want > 0 && n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
    }
    f->in_at += (size_t)n;
    if (f->in_at == head &&
        (f->count == 0 || f->in.head.bytes > VIRTIO_FS_MESSAGE_MOST)) {
        return -EPROTO;
    }
    return f->in_at >= head && f->in_at == head + f->in.head.bytes;
}

/* ---- requests ---- */

static void send_more(struct fs *f)
{
    ssize_t n = send(f->watch.fd, (const uint8_t *)&f->out + f->out_at,
                     f->out_bytes - f->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        lose(f);
        return;
    }
    f->out_at += n > 0 ? (size_t)n : 0;
    if (f->out_at == f->out_bytes) {
        f->out_at = f->out_bytes = 0;
    }
}

/* One request of queue `i`: 1; 0: there is none, or no room; below 0: it is none. */
static int take(struct fs *f, unsigned i)
{
    struct flight *t = &f->flight[(f->first + f->count) % FS_FLIGHT_MOST];
    const struct fuse_in_header *in = (const void *)f->out.bytes;
    uint64_t n;

    if (f->count == FS_FLIGHT_MOST || f->out_bytes > 0 ||
        virtio_work_take(&f->work, i, &t->chain) != 1) {
        return 0;
    }
    n = t->chain.read_bytes;
    if (n < sizeof *in || n > VIRTIO_FS_MESSAGE_MOST) {
        return -EPROTO;
    }
    (void)virtio_chain_read(&t->chain, 0, f->out.bytes, n);
    t->queue = i;
    t->unique = in->unique;
    f->count += 1;
    f->out.head.bytes = (uint32_t)n;
    f->out.head.room = (uint32_t)(t->chain.write_bytes < VIRTIO_FS_MESSAGE_MOST
                                      ? t->chain.write_bytes
                                      : VIRTIO_FS_MESSAGE_MOST);
    if (f->is_gone) {
        fail_oldest(f);
        return 1;
    }
    f->out_bytes = sizeof f->out.head + (size_t)n;
    f->out_at = 0;
    send_more(f);
    return 1;
}

static void serve(struct fs *f, unsigned i)
{
    unsigned n = 0;
    int r = 1;

    if (f->is_stopping) {
        return;
    }
    virtio_work_hush(&f->work, i);
    while (r == 1 && n < FS_REQUESTS_A_TURN) {
        r = take(f, i);
        n += r == 1;
    }
    if (r < 0) {
        virtio_work_break(&f->work, i);
    } else if (r == 1) {
        virtio_work_again(&f->work, i);
    } else if (f->count < FS_FLIGHT_MOST && f->out_bytes == 0) {
        virtio_work_listen(&f->work, i);
    }
    choose_events(f);
}

static void kicked(struct virtio_device *d, unsigned i)
{
    if (i < FS_QUEUES) {
        serve((struct fs *)d, i);
    }
}

/* Nothing is under way any more, and somebody waits for that. */
static void end_stop(struct fs *f)
{
    if (f->is_stopping && f->count == 0) {
        f->is_stopping = false;
        virtio_work_stop(&f->work);
    }
}

static void on_event(struct loop_watch *w, uint32_t events)
{
    struct fs *f = (struct fs *)((char *)w - offsetof(struct fs, watch));
    int r = 1;

    if (f->out_bytes > 0 && (events & EPOLLOUT) != 0) {
        send_more(f);
    }
    for (unsigned n = 0; r == 1 && n < FS_ANSWERS_A_TURN && !f->is_gone; n++) {
        r = receive(f);
        if (r == 1) {
            f->in_at = 0;
            give(f, f->in.bytes, f->in.head.bytes);
        }
    }
    if (r < 0) {
        lose(f);
    }
    for (unsigned i = 0; i < FS_QUEUES; i++) {
        serve(f, i);
    }
    end_stop(f);
}

/* ---- */

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct fs *f = (struct fs *)d;
    int r = virtio_work_start(&f->work, negotiated, queues, count);

    for (unsigned i = 0; r == 0 && i < FS_QUEUES; i++) {
        serve(f, i);
    }
    return r;
}

static void stop(struct virtio_device *d)
{
    struct fs *f = (struct fs *)d;

    f->is_stopping = true;
    end_stop(f);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct fs *)d)->work, i);
}

static void destroy(struct virtio_device *d)
{
    struct fs *f = (struct fs *)d;

    virtio_work_fini(&f->work);
    if (!f->is_gone) {
        loop_unwatch(&f->watch);
    }
    (void)close(f->watch.fd);
    free(f);
}

static const struct virtio_device_ops virtio_fs_ops = {
    .name = "fs",
    .id = FS_ID,
    .pci_class = FS_CLASS,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .base = base,
    .destroy = destroy,
};

int virtio_fs_create(const struct virtio_fs_options *o, int take_fd,
                     struct virtio_device **ret, struct err *e)
{
    size_t n = strlen(o->tag);
    struct fs *f;
    int r;

    if (n == 0 || n > VIRTIO_FS_TAG_BYTES) {
        return err_set(e, -EINVAL, "'%s' cannot be the tag of a file system", o->tag);
    }
    f = fault_calloc(1, sizeof *f);
    if (f == NULL) {
        return err_set(e, -ENOMEM, "cannot make a file-system device: out of memory");
    }
    f->device.ops = &virtio_fs_ops;
    memcpy(f->config.tag, o->tag, n);
    f->config.request_queues = FS_QUEUES - 1;
    f->loop = o->loop;
    f->watch = (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = on_event};
    virtio_work_init(&f->work, &f->device, o->loop, f->q, FS_QUEUES);
    r = loop_watch(o->loop, &f->watch);
    if (r != 0) {
        virtio_work_fini(&f->work);
        free(f);
        return err_sys(e, r, "cannot watch descriptor %d", take_fd);
    }
    *ret = &f->device;
    return 0;
}
