/* private.h - what the files of this folder share. */
#ifndef VIRT_MONITOR_PV_PRIVATE_H
#define VIRT_MONITOR_PV_PRIVATE_H

#include "virt/monitor/pv/pv.h"

/* place.c: `bytes` of the guest's RAM at `at`, inside one page; false: there is none. */
bool pv_find_place(struct mem *m, uint64_t at, unsigned bytes, struct pv_place *ret);

/* Before and after a store there: who watches the page is told. */
void pv_touch_place(struct mem *m, const struct pv_place *p, unsigned offset,
                    unsigned bytes);

/* clock.c: the registers' stores. */
bool pv_write_time(struct pv_cpu *p, uint64_t value);
bool pv_write_wall(struct pv_cpu *p, uint64_t value);
int64_t pv_pair_clocks(struct pv_cpu *p, uint64_t at, uint64_t kind);

/* steal.c, eoi.c; `pv_open_steal` stores nothing yet. */
bool pv_open_steal(struct pv_cpu *p, uint64_t value);
bool pv_write_steal(struct pv_cpu *p, uint64_t value);
bool pv_write_eoi(struct pv_cpu *p, uint64_t value);

#endif
