/* slot.h - a small record on a disk that is replaced whole or not at all. */
#ifndef RESOURCE_STORAGE_SAFE_SLOT_H
#define RESOURCE_STORAGE_SAFE_SLOT_H

#include <stddef.h>
#include <stdint.h>

struct blk;

#define SLOT_HEAD_BYTES 40

/* Where a record lies: two places, one behind the other. */
struct slot {
    struct blk *disk; /* borrowed */
    uint64_t off;     /* of the first place */
    uint32_t bytes;   /* of a place, with its head; a multiple of 4096 */
    uint64_t magic;
    uint32_t version;  /* of the payload's layout */
    uint64_t sequence; /* of the newest record known; 0: none */
};

/* The payload of the newer valid record into `to`, which has room for all that a place
 * holds.  -ENOENT: no place has a record of this magic; -EUCLEAN: a damaged one;
 * -EOPNOTSUPP: one of another version. */
int slot_load(struct slot *s, void *to, size_t *ret_bytes);

/* Durable when it returns 0; after an error the old record or the new one is there, and
 * the next store settles it. */
int slot_store(struct slot *s, const void *payload, size_t bytes);

#endif
