/* room.h - who may have which extent of a store, and how many there are. */
#ifndef RESOURCE_STORAGE_POOL_ROOM_H
#define RESOURCE_STORAGE_POOL_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct carve;
struct pool_row;
struct pool_store;

/* ---- room.c ---- */

int pool_room_lock(struct pool_store *s);
void pool_room_unlock(struct pool_store *s);

/* Set one extent or more aside for a disk. */
int pool_reserve(struct carve *c);

/* Give extents of a disk back to the store; those that are not its own are left alone. */
int pool_release(struct pool_store *s, const struct pool_row *owner, const uint32_t *at,
                 uint32_t count);
int pool_remove_entries(struct pool_store *s, const struct pool_row *row);
int pool_room_set(struct pool_store *s, uint64_t free, bool settled);

/* What the sheet that counts says. */
struct pool_count {
    uint64_t free;
    uint64_t released;
    uint64_t flushed;
    bool settled; /* nobody is changing what is free */
};

int pool_room_get(struct pool_store *s, struct pool_count *ret);
int pool_room_will_release(struct pool_store *s);

/* With the room locked: so many more extents are there, and free. */
int pool_room_extend(struct pool_store *s, uint32_t more);

/* ---- grow.c ---- */

/* The store has so many extents, another process says. */
void pool_adopt_extents(struct pool_store *s, uint32_t extents);

/* With the room locked: take what the device has got; how many extents that is. */
int pool_grow_locked(struct pool_store *s, uint32_t *ret_more);

/* ---- store.c ---- */

/* What the device says of the store, as it is now; durable. */
int pool_super_write(struct pool_store *s);

/* ---- sweep.c ---- */

int pool_sweep_locked(struct pool_store *s);

#endif
