/* tests/virtio/plug.h - a transport for tests: a device, its queues, and drivers of them.
 *
 * Guest memory is one block; `plug_room` hands parts of it out. */
#ifndef TESTS_VIRTIO_PLUG_H
#define TESTS_VIRTIO_PLUG_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/virtio/driver.h"
#include "virtio/device.h"
#include "virtio/space.h"

#define PLUG_QUEUES    16
#define PLUG_GUEST     0x10000u
#define PLUG_MEM_BYTES (8u << 20)
#define PLUG_DATA      (6u << 20) /* offset of what `plug_room` hands out */

struct loop;

struct plug {
    struct virtio_space space; /* first */
    struct loop *loop;         /* owned */
    uint8_t *mem;
    uint64_t used; /* of the data */
    struct virtio_device *d;
    uint64_t features;
    unsigned queues;
    struct driver driver[PLUG_QUEUES];
    struct virtq_setup setup[PLUG_QUEUES];
    unsigned notified[PLUG_QUEUES];
    unsigned config_changes;
    unsigned broken;
    unsigned stopped;
};

/* The kinds of rings that each device is tried with. */
extern const uint64_t plug_kinds[];
extern const unsigned plug_kind_count;

void plug_init(struct plug *p);
void plug_fini(struct plug *p); /* the device, too */

/* Plug a device in, and start it with rings of our own making. */
void plug_in(struct plug *p, struct virtio_device *d);
void plug_start(struct plug *p, uint64_t features, unsigned queues);

/* A pause, and on; a reset by the driver. */
void plug_pause(struct plug *p);
void plug_resume(struct plug *p);
void plug_reset(struct plug *p);

/* Let the loop turn until nothing is due. */
void plug_turn(struct plug *p);

/* Kick if the device wants to hear of it, and turn. */
void plug_kick(struct plug *p, unsigned q);

/* Guest memory: its address, and where it lies. */
uint64_t plug_room(struct plug *p, uint64_t bytes);
uint8_t *plug_at(struct plug *p, uint64_t guest);

/* Offer buffers; the chain's id. */
int plug_offer(struct plug *p, unsigned q, const struct driver_piece *pieces, unsigned n);
int plug_offer_in(struct plug *p, unsigned q, uint64_t at, uint32_t bytes);

/* What came back: its length, or -1: nothing. */
int64_t plug_get(struct plug *p, unsigned q, uint16_t *ret_id);

#endif
