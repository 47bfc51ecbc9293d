/* overlay.h - private changes over a disk that is shared: copy on write by blocks.
 *
 * The base is never written; what is written goes to a store of the overlay's own,
 * with a map of it.  Many overlays may stand on one base. */
#ifndef RESOURCE_STORAGE_FILTER_OVERLAY_H
#define RESOURCE_STORAGE_FILTER_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;

#define FILTER_OVERLAY_SIZE_MOST_BYTES ((uint64_t)1 << 46)

struct filter_overlay_options {
    bool fresh;          /* begin without changes, whatever the store has */
    bool discard_at_end; /* fresh, and nothing outlives the disk: nothing is kept for
                            a power cut, flush is free, the store is emptied at the end */
    uint64_t size_bytes; /* fresh: of the overlay; 0: as large as the base */
};

/* Takes both disks, also on failure.  The store may be smaller than the base: writes
 * that find no room get -ENOSPC.  -EUCLEAN: the store is not one of an overlay, or
 * damaged; -ESTALE: it belongs to a base of another size.  A damaged page of the map is
 * found when it is first used, and requests there get -EUCLEAN. */
int filter_overlay_create(struct blk *take_base, struct blk *take_store,
                          const struct filter_overlay_options *o, struct blk **ret_disk,
                          struct err *e);

/* Bytes that a store needs so that every block of `size_bytes` can be changed. */
uint64_t filter_overlay_store_bytes(uint64_t size_bytes);

#endif
