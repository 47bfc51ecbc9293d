/* work.c - what all devices do alike. */
#include "virtio/work.h"

#include <stddef.h>
#include <string.h>

/* A timer, not a task: it can be taken back, and what a queue puts off comes behind the
 * descriptors of others. */
static void serve_again(struct loop_timer *t)
{
    struct virtio_work *w =
        (struct virtio_work *)((char *)t - offsetof(struct virtio_work, timer));
    uint32_t again = w->again;

    w->again = 0;
    for (unsigned i = 0; i < w->queues && w->is_on; i++) {
        if ((again >> i & 1) != 0) {
            w->device->ops->kicked(w->device, i);
        }
    }
}

void virtio_work_init(struct virtio_work *w, struct virtio_device *d, struct loop *l,
                      struct virtq *q, unsigned queues)
{
    *w = (struct virtio_work){.device = d, .loop = l, .q = q, .queues = queues};
    w->timer.fn = serve_again;
}

void virtio_work_fini(struct virtio_work *w)
{
    if (w->loop != NULL) {
        loop_timer_clear(w->loop, &w->timer);
    }
}

int virtio_work_start(struct virtio_work *w, uint64_t features,
                      const struct virtq_setup queues[], unsigned count)
{
    int r = 0;

    memset(w->q, 0, w->queues * sizeof *w->q);
    for (unsigned i = 0; i < count && i < w->queues && r == 0; i++) {
        if (queues[i].size != 0) {
            r = virtq_start(&w->q[i], &queues[i]);
        }
    }
    if (r != 0) {
        memset(w->q, 0, w->queues * sizeof *w->q);
        return r;
    }
    w->features = features;
    w->is_on = true;
    return 0;
}

void virtio_work_stop(struct virtio_work *w)
{
    struct virtio_device *d = w->device;

    loop_timer_clear(w->loop, &w->timer);
    w->again = 0;
    w->is_on = false;
    if (d->plug != NULL) {
        d->plug->stopped(d->transport);
    }
}

uint32_t virtio_work_base(const struct virtio_work *w, unsigned i)
{
    return i < w->queues && w->q[i].s.size != 0 ? virtq_base(&w->q[i]) : 0;
}

void virtio_work_break(struct virtio_work *w, unsigned i)
{
    struct virtio_device *d = w->device;

    w->q[i].broken = true;
    if (d->plug != NULL) {
        d->plug->broken(d->transport);
    }
}

int virtio_work_take(struct virtio_work *w, unsigned i, struct virtq_chain *ret)
{
    bool was_broken = w->q[i].broken;
    int r = w->is_on && !was_broken ? virtq_take(&w->q[i], ret) : 0;

    if (r < 0) {
        virtio_work_break(w, i);
    }
    return r > 0 ? 1 : 0;
}

void virtio_work_hush(struct virtio_work *w, unsigned i)
{
    if (w->is_on && w->q[i].s.size != 0) {
        virtq_hush(&w->q[i]);
    }
}

void virtio_work_again(struct virtio_work *w, unsigned i)
{
    if (!w->is_on) {
        return;
    }
    w->again |= UINT32_C(1) << i;
    if (!w->timer.set) {
        loop_timer_set(w->loop, &w->timer, 1); /* 0 would be due in the same turn */
    }
}

void virtio_work_listen(struct virtio_work *w, unsigned i)
{
    if (w->is_on && w->q[i].s.size != 0 && virtq_listen(&w->q[i])) {
        virtio_work_again(w, i);
    }
}

void virtio_work_show(struct virtio_work *w, unsigned i)
{
    struct virtio_device *d = w->device;

    if (w->is_on && virtq_show(&w->q[i]) && d->plug != NULL) {
        d->plug->notify(d->transport, i);
    }
}

void virtio_work_config(struct virtio_work *w)
{
    struct virtio_device *d = w->device;

    if (w->is_on && d->plug != NULL) {
        d->plug->config_changed(d->transport);
    }
}

void virtio_config_copy(const void *config, uint32_t have, uint32_t off, void *to,
                        uint32_t bytes)
{
    memset(to, 0, bytes);
    if (off < have) {
        memcpy(to, (const char *)config + off, bytes < have - off ? bytes : have - off);
    }
}
