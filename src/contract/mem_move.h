/* contract/mem_move.h - RAM of a guest that lies elsewhere from now on: a card's memory, where an
 * address register says. */
#ifndef CONTRACT_MEM_MOVE_H
#define CONTRACT_MEM_MOVE_H

#include "contract/mem.h"

/* No processor addresses what lies from here on: a region is kept there that its guest has
 * nowhere for the moment. */
#define MEM_AWAY (UINT64_C(1) << 52)

/* RAM that begins at `from` begins at `to` now, with the same bytes.  -EEXIST: another region
 * is in the way; -ENOENT; -EOPNOTSUPP: memory that is shared stays.  While no vCPU runs; their
 * translations are to be flushed before one does. */
int mem_move(struct mem *m, gpa from, gpa to);

#endif
