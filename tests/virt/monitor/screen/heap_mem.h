/* tests/virt/monitor/screen/heap_mem.h - guest memory from the heap, whose ends a sanitizer watches. */
#ifndef TESTS_VIRT_MONITOR_SCREEN_HEAP_MEM_H
#define TESTS_VIRT_MONITOR_SCREEN_HEAP_MEM_H

#include <errno.h>
#include <stdlib.h>

#include "contract/mem.h"

static inline int heap_mem_add(struct mem *m, gpa base, uint64_t bytes, bool read_only,
                               struct err *e)
{
    const struct mem_region r = {.base = base,
                                 .bytes = bytes,
                                 .read_only = read_only,
                                 .host = calloc(bytes, 1),
                                 .flags = calloc(bytes >> MEM_PAGE_SHIFT, 1)};

    (void)e;
    mem_insert(m, &r);
    return 0;
}

static inline void heap_mem_end(struct mem *m)
{
    for (unsigned i = 0; i < m->region_count; i++) {
        free(m->region[i].host);
        free(m->region[i].flags);
    }
    free(m);
}

static inline struct mem *heap_mem_make(void)
{
    static const struct mem_ops ops = {
        .name = "heap", .add_ram = heap_mem_add, .destroy = heap_mem_end};
    struct mem *m = calloc(1, sizeof *m);

    m->ops = &ops;
    return m;
}

#endif
