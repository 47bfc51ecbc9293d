/* work.h - what all devices do alike: their queues come and go, are looked at again at the
 * next turn of the loop, and show what was given back.
 *
 * Nothing is done while the device is not started: each call may be made at any time.
 *
 * Threads: that of the loop. */
#ifndef VIRTIO_WORK_H
#define VIRTIO_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "host/loop/loop.h"
#include "virtio/device.h"

struct virtio_work {
    struct virtio_device *device; /* borrowed */
    struct loop *loop;            /* borrowed */
    struct virtq *q;              /* borrowed: `queues` of them */
    unsigned queues;
    uint64_t features; /* negotiated */
    bool is_on;        /* between start and stop */
    uint32_t again;    /* queues to be served at the next turn */
    struct loop_timer timer;
};

void virtio_work_init(struct virtio_work *w, struct virtio_device *d, struct loop *l,
                      struct virtq *q, unsigned queues);

/* The device goes: nothing comes any more. */
void virtio_work_fini(struct virtio_work *w);

/* `start` of a device: queues that the driver has not set up stay without size. */
int virtio_work_start(struct virtio_work *w, uint64_t features,
                      const struct virtq_setup queues[], unsigned count);

/* `stop` of a device that has no requests under way. */
void virtio_work_stop(struct virtio_work *w);

/* `base` of a device. */
uint32_t virtio_work_base(const struct virtio_work *w, unsigned i);

/* Take a chain of queue `i`: 1, or 0: there is none, or the driver broke the rules and was
 * told so. */
int virtio_work_take(struct virtio_work *w, unsigned i, struct virtq_chain *ret);

/* The driver did what it may not: it hears that it must reset the device. */
void virtio_work_break(struct virtio_work *w, unsigned i);

/* Ask the driver not to kick. */
void virtio_work_hush(struct virtio_work *w, unsigned i);

/* Serve queue `i` at the next turn as if it had been kicked. */
void virtio_work_again(struct virtio_work *w, unsigned i);

/* Ask for the next kick; when something is there already it is served at the next turn. */
void virtio_work_listen(struct virtio_work *w, unsigned i);

/* Show what was given back in queue `i`; the driver is told if it wants to be. */
void virtio_work_show(struct virtio_work *w, unsigned i);

/* The configuration space has changed. */
void virtio_work_config(struct virtio_work *w);

/* Read a part of a configuration space of `have` bytes; zeros behind its end. */
void virtio_config_copy(const void *config, uint32_t have, uint32_t off, void *to,
                        uint32_t bytes);

#endif
