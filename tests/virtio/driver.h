/* tests/virtio/driver.h - the other side of a virtqueue: a small driver for tests.
 *
 * Written from VIRTIO 1.2, 2.7 and 2.8, without the device's code. */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRIVER_SIZE_MOST 1024

struct driver_piece {
    uint64_t at; /* guest address */
    uint32_t bytes;
    bool write; /* by the device */
};

struct driver {
    uint8_t *mem; /* what lies at `guest` */
    uint64_t guest;
    bool packed;
    bool events; /* VIRTIO_F_EVENT_IDX */
    unsigned size;
    uint64_t desc; /* offsets in mem */
    uint64_t avail;
    uint64_t used;
    uint64_t tables; /* room for indirect tables, of 32 entries each */

    uint16_t next; /* available ring */
    bool wrap;
    uint16_t seen; /* used ring */
    bool seen_wrap;
    uint16_t kicked; /* `next` when kicks were last thought of */
    unsigned added;
    unsigned free; /* descriptors */
    uint16_t free_head;
    uint16_t link[DRIVER_SIZE_MOST];  /* split: free list */
    uint16_t count[DRIVER_SIZE_MOST]; /* by id: descriptors taken; 0: not in use */
};

/* Bytes of memory that the rings take from `at` on. */
uint64_t driver_bytes(unsigned size);

/* Lay the rings out at mem[at] and forget all. */
void driver_init(struct driver *d, uint8_t *mem, uint64_t guest, uint64_t at,
                 unsigned size);

/* Offer a chain, as one indirect descriptor if `indirect`; its id, or -1: no room. */
int driver_add(struct driver *d, const struct driver_piece *p, unsigned n, bool indirect);

/* Whether the device wants to hear of what was added. */
bool driver_wants_kick(struct driver *d);

/* What the device has given back; false: nothing. */
bool driver_get(struct driver *d, uint16_t *ret_id, uint32_t *ret_bytes);

/* Ask for an interrupt at the next one, or for none. */
void driver_listen(struct driver *d, bool on);

#endif
