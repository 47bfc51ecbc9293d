/* room.h - who may have which extent of a store, and how many there are. */
#ifndef RESOURCE_STORAGE_POOL_ROOM_H
#define RESOURCE_STORAGE_POOL_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct carve;
struct place_row;
struct place_store;

/* ---- room.c ---- */

int place_room_lock(struct place_store *s);
void place_room_unlock(struct place_store *s);

/* Set one extent or more aside for a disk. */
int place_reserve(struct carve *c);

/* Give extents of a disk back to the store; those that are not its own are left alone. */
int place_release(struct place_store *s, const struct place_row *owner,
                  const uint32_t *at, uint32_t count);
int place_remove_entries(struct place_store *s, const struct place_row *row);
int place_room_set(struct place_store *s, uint64_t free, bool settled);

/* What the sheet that counts says. */
struct place_count {
    uint64_t free;
    uint64_t released;
    uint64_t flushed;
    bool settled; /* nobody is changing what is free */
};

int place_room_get(struct place_store *s, struct place_count *ret);
int place_room_will_release(struct place_store *s);

/* With the room locked: so many more extents are there, and free. */
int place_room_extend(struct place_store *s, uint32_t more);

/* ---- grow.c ---- */

/* The store has so many extents, another process says. */
void place_adopt_extents(struct place_store *s, uint32_t extents);

/* With the room locked: take what the device has got; how many extents that is. */
int place_grow_locked(struct place_store *s, uint32_t *ret_more);

/* ---- store.c ---- */

/* What the device says of the store, as it is now; durable. */
int place_super_write(struct place_store *s);

/* ---- sweep.c ---- */

int place_sweep_locked(struct place_store *s);

#endif
