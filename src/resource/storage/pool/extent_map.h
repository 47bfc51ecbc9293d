/* extent_map.h - where the extents of one carved disk lie: a hash table by their index. */
#ifndef RESOURCE_STORAGE_POOL_EXTENT_MAP_H
#define RESOURCE_STORAGE_POOL_EXTENT_MAP_H

#include <stdint.h>

struct extent_slot {
    uint64_t bits;  /* granules that hold data; the others read zeros */
    uint32_t index; /* in the disk */
    uint32_t at;    /* extent of the device, plus 1; 0: nothing here */
    uint32_t
        told; /* its place in the list of those to be told to the table, plus 1; 0: none */
};

/* Zeroed: empty. */
struct extent_map {
    struct extent_slot *slot; /* owned */
    uint32_t size;            /* a power of two, more than twice `count`; or 0 */
    uint32_t count;
};

/* Slots move when another is put or dropped. */
struct extent_slot *extent_map_find(const struct extent_map *m, uint32_t index);

int extent_map_room(struct extent_map *m); /* for one more; 0 or -ENOMEM */
struct extent_slot *extent_map_put(struct extent_map *m, uint32_t index, uint32_t at);
void extent_map_drop(struct extent_map *m, struct extent_slot *slot);
void extent_map_fini(struct extent_map *m);

#endif
