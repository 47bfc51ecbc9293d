/* window.h - a part of a disk as a disk. */
#ifndef RESOURCE_STORAGE_GRAPH_WINDOW_H
#define RESOURCE_STORAGE_GRAPH_WINDOW_H

#include <stdint.h>

struct blk;
struct err;

/* [off, off + bytes) of `take_lower`, which is taken, also on failure.  `uses`: what it does with
 * it (enum blk_use); 0: it belongs to whoever has the disk already, who answers for it. */
int window_create(struct blk *take_lower, uint64_t off, uint64_t bytes, unsigned uses,
                  struct blk **ret_disk, struct err *e);

#endif
