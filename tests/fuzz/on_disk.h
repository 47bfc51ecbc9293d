/* on_disk.h - an input of a fuzzer as the bytes of a disk.
 *
 * The first byte chooses: 0 the input is the disk as it is; else a record of
 * safe/slot.c with right checksums around the next bytes, so that what is behind
 * the checksum is reached, and the rest behind `rest_off`. */
#ifndef TESTS_FUZZ_ON_DISK_H
#define TESTS_FUZZ_ON_DISK_H

#include <stdlib.h>
#include <string.h>

#include "base/strand.h"
#include "contract/blk_ops.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/safe/slot.h"

struct on_disk {
    struct strand_pool *strands;
    const uint8_t *data;
    size_t size;
    struct slot slot; /* magic, version, bytes and off; the disk is filled in */
    uint64_t rest_off;
    uint64_t disk_bytes;
    void (*open)(struct blk *take_disk);
};

static inline void on_disk_put(struct blk *b, const uint8_t *data, size_t size,
                               uint64_t off, uint64_t most)
{
    size_t n = size < most ? size : (size_t)most;
    size_t whole = (n + 4095) & ~(size_t)4095;
    uint8_t *room = calloc(1, whole + 1);

    memcpy(room, data, n);
    if (n > 0 && off + whole <= b->size_bytes) {
        (void)blk_write(b, room, whole, off, 0);
    }
    free(room);
}

static inline void on_disk_strand(void *arg)
{
    struct on_disk *d = arg;
    struct blk *b = NULL;
    size_t head = d->slot.bytes - SLOT_HEAD_BYTES;

    if (leaf_memory_create(d->strands, d->disk_bytes, 512, &b, NULL) != 0) {
        return;
    }
    if (d->size > 0 && d->data[0] != 0) {
        head = d->size - 1 < head ? d->size - 1 : head;
        d->slot.disk = b;
        (void)slot_store(&d->slot, d->data + 1, head);
        on_disk_put(b, d->data + 1 + head, d->size - 1 - head, d->rest_off, 1u << 20);
    } else {
        on_disk_put(b, d->data, d->size, 0, d->disk_bytes);
    }
    d->open(b);
}

static inline void on_disk_run(struct on_disk *d)
{
    if (strand_pool_create(&d->strands) == 0) {
        (void)strand_start(d->strands, on_disk_strand, d);
        strand_pool_destroy(d->strands);
    }
}

#endif
