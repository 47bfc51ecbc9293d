/* grow.c - arrays that grow by doubling. */
#include "base/grow.h"

#include "base/fault.h"

#define FIRST_ROOM 64u

bool grow_to(void **array, uint32_t wanted, uint32_t *room, size_t bytes)
{
    uint64_t more = *room == 0 ? FIRST_ROOM : *room;
    size_t total;
    void *p;

    if (wanted <= *room) {
        return true;
    }
    while (more < wanted) {
        more *= 2;
    }
    if (more > UINT32_MAX || __builtin_mul_overflow((size_t)more, bytes, &total)) {
        return false;
    }
    p = fault_realloc(*array, total);
    if (p == NULL) {
        return false;
    }
    *array = p;
    *room = (uint32_t)more;
    return true;
}
