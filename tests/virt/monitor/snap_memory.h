/* tests/virt/monitor/snap_memory.h - a stream of state in memory. */
#ifndef TESTS_VIRT_MONITOR_SNAP_MEMORY_H
#define TESTS_VIRT_MONITOR_SNAP_MEMORY_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/snap.h"

struct snap_memory {
    struct snap snap; /* first */
    unsigned char *bytes;
    size_t count, at;
};

static inline int snap_memory_put(struct snap *s, const void *bytes, size_t n)
{
    struct snap_memory *m = (struct snap_memory *)s;

    m->bytes = realloc(m->bytes, m->count + n);
    memcpy(m->bytes + m->count, bytes, n);
    m->count += n;
    return 0;
}

static inline int snap_memory_get(struct snap *s, void *bytes, size_t n)
{
    struct snap_memory *m = (struct snap_memory *)s;

    if (n > m->count - m->at) {
        return -EBADMSG;
    }
    memcpy(bytes, m->bytes + m->at, n);
    m->at += n;
    return 0;
}

/* Begin an empty one; read what was written from its begin. */
static inline void snap_memory_write(struct snap_memory *m)
{
    static const struct snap_ops ops = {snap_memory_put, snap_memory_get};

    *m = (struct snap_memory){.snap = {.ops = &ops}};
}

static inline void snap_memory_read(struct snap_memory *m)
{
    m->snap.is_loading = true;
    m->snap.error = 0;
    m->at = 0;
}

static inline void snap_memory_fini(struct snap_memory *m)
{
    free(m->bytes);
}

#endif
