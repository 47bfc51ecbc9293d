/* extent_map.c - open addressing; sixteen neighbours lie in a row, so that a walk over a disk is
 * one over memory.  What is dropped is closed up, so there are no graves. */
#include "resource/storage/pool/extent_map.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/fault.h"

#define LEAST 64u

static uint32_t home(const struct extent_map *m, uint32_t index)
{
    uint64_t far = (uint64_t)(index >> 4) * 0x9e3779b97f4a7c15u;

    return ((uint32_t)(far >> 32) << 4 | (index & 15)) & (m->size - 1);
}

struct extent_slot *extent_map_find(const struct extent_map *m, uint32_t index)
{
    if (m->size == 0) {
        return NULL;
    }
    for (uint32_t i = home(m, index);; i = (i + 1) & (m->size - 1)) {
        struct extent_slot *s = &m->slot[i];

        if (s->at == 0) {
            return NULL;
        }
        if (s->index == index) {
            return s;
        }
    }
}

static struct extent_slot *free_slot(const struct extent_map *m, uint32_t index)
{
    uint32_t i = home(m, index);

    while (m->slot[i].at != 0) {
        i = (i + 1) & (m->size - 1);
    }
    return &m->slot[i];
}

int extent_map_room(struct extent_map *m)
{
    struct extent_map wider = {.size = m->size == 0 ? LEAST : m->size * 2,
                               .count = m->count};

    if (((uint64_t)m->count + 1) * 2 < m->size) {
        return 0;
    }
    if (wider.size == 0) {
        return -ENOMEM;
    }
    wider.slot = fault_calloc(wider.size, sizeof *wider.slot);
    if (wider.slot == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < m->size; i++) {
        if (m->slot[i].at != 0) {
            *free_slot(&wider, m->slot[i].index) = m->slot[i];
        }
    }
    free(m->slot);
    *m = wider;
    return 0;
}

struct extent_slot *extent_map_put(struct extent_map *m, uint32_t index, uint32_t at)
{
    struct extent_slot *s = free_slot(m, index);

    assert(at != 0 && ((uint64_t)m->count + 1) * 2 < m->size);
    *s = (struct extent_slot){.index = index, .at = at};
    m->count++;
    return s;
}

void extent_map_drop(struct extent_map *m, struct extent_slot *slot)
{
    uint32_t mask = m->size - 1;
    uint32_t hole = (uint32_t)(slot - m->slot);

    for (uint32_t i = (hole + 1) & mask; m->slot[i].at != 0; i = (i + 1) & mask) {
        uint32_t wants = home(m, m->slot[i].index);

        if (((i - wants) & mask) >= ((i - hole) & mask)) {
            m->slot[hole] = m->slot[i];
            hole = i;
        }
    }
    m->slot[hole].at = 0;
    m->count--;
}

void extent_map_fini(struct extent_map *m)
{
    free(m->slot);
    *m = (struct extent_map){0};
}
