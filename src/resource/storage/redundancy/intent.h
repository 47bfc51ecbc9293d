/* intent.h - the write-intent bitmap of a mirror: where its members may differ.
 *
 * A bit is durable on every member that is in before a write to its region begins, and
 * goes some time after the write is durable everywhere.  What differs after a crash, or
 * while a member is away, is what is marked. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_INTENT_H
#define RESOURCE_STORAGE_REDUNDANCY_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strand.h"

struct member_set;

#define INTENT_SHEET_ROOM 508 /* bytes of bits in a sheet of 512; then their CRC-32C */
#define INTENT_UNIT_BYTES 4096
#define INTENT_UNIT_BITS  ((uint64_t)8 * 8 * INTENT_SHEET_ROOM)

struct intent {
    struct member_set *set;
    uint64_t regions;
    uint64_t units;
    uint8_t *marked; /* owned; a byte per region: 0 or 1 */
    uint8_t *state;  /* owned; a byte per unit: enum intent_state bits */
    uint8_t *batch;  /* owned; one unit, of the lock's holder */
    struct strand_lock lock;
};

enum intent_state {
    INTENT_CHANGED = 1,
    INTENT_WRITING = 2
};

uint64_t intent_bytes(uint64_t regions); /* room that it takes on a member */
int intent_init(struct intent *x, struct member_set *set);
void intent_fini(struct intent *x);

/* For as many regions as the set has now; -ENOSPC: the area has no room for their marks.
 * New ones are not marked.  Nobody marks or clears meanwhile. */
int intent_resize(struct intent *x, uint64_t regions);

/* Add what is marked on a member; a damaged sheet counts as marked. */
int intent_load(struct intent *x, unsigned role);

/* Mark regions [first, end); durable when it returns 0. */
int intent_mark(struct intent *x, uint64_t first, uint64_t end);

/* In memory; `intent_put` makes it durable. */
void intent_clear(struct intent *x, uint64_t region);
void intent_change_all(struct intent *x); /* all of it has to be written again */
int intent_put(struct intent *x);

#endif
