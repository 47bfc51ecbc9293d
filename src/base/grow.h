/* grow.h - arrays that grow by doubling. */
#ifndef BASE_GROW_H
#define BASE_GROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Make room for `wanted` elements of `bytes` each; `*room` is how many there is room for,
 * and stays true.  false: no memory, and the array is as it was. */
bool grow_to(void **array, uint32_t wanted, uint32_t *room, size_t bytes);

/* For an array named by its own pointer: `grow_for(&s->item, s->count + 1, &s->room)`. */
#define grow_for(array, wanted, room)                                                    \
    grow_to((void **)(array), (wanted), (room), sizeof **(array))

#endif
