/* quota.h - a filter that bounds what a growing file takes.
 *
 * Room is counted in granules of 64 KiB: one that holds data, or was written, counts whole until
 * it is discarded or zeroed away.  A write that would take more than the bound fails with
 * -ENOSPC and changes nothing; it may be tried again when the bound is moved. */
#ifndef RESOURCE_STORAGE_POOL_QUOTA_H
#define RESOURCE_STORAGE_POOL_QUOTA_H

#include <stdint.h>

struct blk;
struct err;

#define PLACE_QUOTA_GRANULE_BYTES 65536

/* Takes `lower`, also on failure; what it holds already is counted, and may be more than the
 * bound.  In a strand. */
int place_quota_create(struct blk *take_lower, uint64_t bound_bytes,
                       struct blk **ret_disk, struct err *e);

void place_quota_set(struct blk *quota, uint64_t bound_bytes);
uint64_t place_quota_taken(const struct blk *quota);

#endif
