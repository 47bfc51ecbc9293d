/* hold.h - a carved disk is kept for one who does not use its store. */
#ifndef RESOURCE_STORAGE_POOL_HOLD_H
#define RESOURCE_STORAGE_POOL_HOLD_H

#include <stdbool.h>
#include <stdint.h>

/* Keep others from opening a carved disk (`writes`), or from writing to it, until the descriptor
 * of the device, which is opened for that alone, is closed.  -EBUSY: somebody has it open. */
int place_carve_hold(int device, uint64_t id, uint32_t part, bool writes);

#endif
