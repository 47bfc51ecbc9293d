/* place.c - a place in the guest's memory that host and guest share. */
#include <stddef.h>

#include "contract/mem.h"
#include "virt/monitor/pv/private.h"

bool pv_find_place(struct mem *m, uint64_t at, unsigned bytes, struct pv_place *ret)
{
    const struct mem_region *r = mem_find(m, at);

    if (r == NULL || r->host == NULL || r->read_only ||
        (at & (MEM_PAGE_BYTES - 1)) + bytes > MEM_PAGE_BYTES ||
        mem_present(m, r, at) != 0) {
        return false;
    }
    *ret = (struct pv_place){.host = r->host + (at - r->base), .at = at};
    return true;
}

void pv_touch_place(struct mem *m, const struct pv_place *p, unsigned offset,
                    unsigned bytes)
{
    const struct mem_region *r = mem_find(m, p->at);

    if (r != NULL && mem_flags(r, p->at) != 0) {
        (void)mem_present(m, r, p->at);
        mem_touched(m, r, p->at + offset, bytes);
    }
}
