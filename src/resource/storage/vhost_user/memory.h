/* memory.h - the memory of a front end's machine, as it was handed over.
 *
 * Regions are mapped from the front end's files.  A region has two addresses: the guest's,
 * which rings and requests use, and the front end's own, which its messages use.
 *
 * The log tells a migrating front end which pages of the guest were written. */
#ifndef RESOURCE_STORAGE_VHOST_USER_MEMORY_H
#define RESOURCE_STORAGE_VHOST_USER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/space.h"

struct vhost_user_area;
struct vhost_user_region;

#define VHOST_MEMORY_REGIONS_MOST 64

/* A part of a file that is mapped. */
struct vhost_mapping {
    uint8_t *base; /* NULL: none */
    size_t bytes;  /* mapped */
    uint8_t *at;   /* the part that was asked for */
    int slot;      /* of lost.h */
};

struct vhost_region {
    uint64_t guest;
    uint64_t user;
    uint64_t bytes;
    struct vhost_mapping map;
};

struct vhost_memory {
    struct virtio_space space; /* first */
    struct vhost_region region[VHOST_MEMORY_REGIONS_MOST];
    unsigned count;
    unsigned last; /* the region that was found last */
    struct vhost_mapping log;
    uint64_t log_bytes;
};

void vhost_memory_init(struct vhost_memory *m);
void vhost_memory_fini(struct vhost_memory *m);

/* Map part of a file, which must have it; -EINVAL, -ERANGE or what mmap(2) says. */
int vhost_map(int fd, const struct vhost_user_area *area, struct vhost_mapping *ret);
void vhost_unmap(struct vhost_mapping *map);

/* Whether the front end took it away meanwhile: it reads zeros now. */
bool vhost_mapping_is_lost(const struct vhost_mapping *map);
bool vhost_memory_is_lost(const struct vhost_memory *m);

/* -EEXIST: it overlaps another one; -ENOSPC: there are too many. */
int vhost_memory_add(struct vhost_memory *m, int fd, const struct vhost_user_region *r);

/* Take the region of these addresses and this length away. */
int vhost_memory_remove(struct vhost_memory *m, const struct vhost_user_region *r);
void vhost_memory_clear(struct vhost_memory *m);

/* Where the front end's address lies; NULL: not all of it in one region. */
uint8_t *vhost_memory_user(struct vhost_memory *m, uint64_t user, uint64_t bytes);

/* Log writes of requests' data from now on, or not. */
void vhost_memory_log(struct vhost_memory *m, bool on);

/* Mark guest pages as written, if there is a log. */
void vhost_memory_mark(struct vhost_memory *m, uint64_t guest, uint64_t bytes);

#endif
