/* plug.c - a transport for tests. */
#include "tests/virtio/plug.h"

#include <stdlib.h>
#include <string.h>

#include "host/loop/loop.h"

const uint64_t plug_kinds[] = {
    0,
    VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
    VIRTIO_F_RING_PACKED,
    VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
};
const unsigned plug_kind_count = sizeof plug_kinds / sizeof plug_kinds[0];

static void must(bool so)
{
    if (!so) {
        abort();
    }
}

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret)
{
    struct plug *p = (struct plug *)s;

    (void)write;
    if (at < PLUG_GUEST || at >= PLUG_GUEST + PLUG_MEM_BYTES) {
        return NULL;
    }
    *ret = PLUG_GUEST + PLUG_MEM_BYTES - at;
    *ret = bytes < *ret ? bytes : *ret;
    return p->mem + (at - PLUG_GUEST);
}

static void notify(void *who, unsigned i)
{
    ((struct plug *)who)->notified[i]++;
}

static void config_changed(void *who)
{
    ((struct plug *)who)->config_changes++;
}

static void broken(void *who)
{
    ((struct plug *)who)->broken++;
}

static void stopped(void *who)
{
    ((struct plug *)who)->stopped++;
}

static const struct virtio_transport_ops plug_ops = {
    .notify = notify,
    .config_changed = config_changed,
    .broken = broken,
    .stopped = stopped,
};

void plug_init(struct plug *p)
{
    memset(p, 0, sizeof *p);
    p->space.reach = reach;
    p->mem = calloc(1, PLUG_MEM_BYTES);
    must(p->mem != NULL && loop_create(LOOP_DRIVER_CREW, &p->loop, NULL) == 0);
}

void plug_fini(struct plug *p)
{
    if (p->d != NULL) {
        p->d->ops->stop(p->d);
        p->d->ops->destroy(p->d);
    }
    loop_destroy(p->loop);
    free(p->mem);
}

void plug_in(struct plug *p, struct virtio_device *d)
{
    p->d = d;
    d->plug = &plug_ops;
    d->transport = p;
}

static void start(struct plug *p)
{
    must(p->d->ops->start(p->d, p->features, p->setup, p->queues) == 0);
    plug_turn(p);
}

void plug_start(struct plug *p, uint64_t features, unsigned queues)
{
    uint64_t at = 0;

    p->features = features | VIRTIO_F_VERSION_1;
    p->queues = queues;
    p->used = 0;
    for (unsigned i = 0; i < queues; i++) {
        struct driver *q = &p->driver[i];
        unsigned size = p->d->ops->queue_size(p->d, i);

        must(size > 0);
        q->packed = (features & VIRTIO_F_RING_PACKED) != 0;
        q->events = (features & VIRTIO_F_EVENT_IDX) != 0;
        driver_init(q, p->mem, PLUG_GUEST, at, size);
        p->setup[i] = (struct virtq_setup){
            .space = &p->space,
            .rings = {p->mem + q->desc, p->mem + q->avail, p->mem + q->used},
            .size = size,
            .features = p->features,
            .base = q->packed ? 0x80008000u : 0};
        at += (driver_bytes(size) + 4095) & ~UINT64_C(4095);
        must(at <= PLUG_DATA);
    }
    start(p);
}

void plug_pause(struct plug *p)
{
    unsigned before = p->stopped;

    p->d->ops->stop(p->d);
    must(p->stopped == before + 1);
    for (unsigned i = 0; i < p->queues; i++) {
        p->setup[i].base = p->d->ops->base(p->d, i);
    }
}

void plug_resume(struct plug *p)
{
    start(p);
}

void plug_reset(struct plug *p)
{
    p->d->ops->stop(p->d);
    if (p->d->ops->reset != NULL) {
        p->d->ops->reset(p->d);
    }
    plug_turn(p);
}

void plug_turn(struct plug *p)
{
    for (unsigned i = 0; i < 64; i++) {
        (void)loop_turn(p->loop, 0);
    }
}

void plug_kick(struct plug *p, unsigned q)
{
    if (driver_wants_kick(&p->driver[q])) {
        p->d->ops->kicked(p->d, q);
    }
    plug_turn(p);
}

uint64_t plug_room(struct plug *p, uint64_t bytes)
{
    uint64_t at = PLUG_DATA + p->used;

    p->used += (bytes + 63) & ~UINT64_C(63);
    must(PLUG_DATA + p->used <= PLUG_MEM_BYTES);
    return PLUG_GUEST + at;
}

uint8_t *plug_at(struct plug *p, uint64_t guest)
{
    return p->mem + (guest - PLUG_GUEST);
}

int plug_offer(struct plug *p, unsigned q, const struct driver_piece *pieces, unsigned n)
{
    bool indirect = n > 1 && (p->features & VIRTIO_F_INDIRECT_DESC) != 0;

    return driver_add(&p->driver[q], pieces, n, indirect);
}

int plug_offer_in(struct plug *p, unsigned q, uint64_t at, uint32_t bytes)
{
    struct driver_piece piece = {at, bytes, true};

    return plug_offer(p, q, &piece, 1);
}

int64_t plug_get(struct plug *p, unsigned q, uint16_t *ret_id)
{
    uint16_t id;
    uint32_t bytes;

    if (!driver_get(&p->driver[q], &id, &bytes)) {
        return -1;
    }
    if (ret_id != NULL) {
        *ret_id = id;
    }
    return bytes;
}
