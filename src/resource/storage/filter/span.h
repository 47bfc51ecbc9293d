/* span.h - ranges that one request at a time may change.
 *
 * Users: filters that keep a map, where two writes into one piece of it would undo each
 * other.  Threads: that of the disk. */
#ifndef RESOURCE_STORAGE_FILTER_SPAN_H
#define RESOURCE_STORAGE_FILTER_SPAN_H

#include <stdint.h>

#include "base/strand.h"

/* One range that is held; on the stack of the strand that holds it. */
struct filter_span {
    uint64_t first;
    uint64_t end;
    struct filter_span *next;
    struct strand_queue waiters;
};

/* Zeroed: nothing is held. */
struct filter_spans {
    struct filter_span *held;
};

/* Hold [first, end) as soon as nothing of it is held; in a strand. */
void filter_span_hold(struct strand_pool *strands, struct filter_spans *all,
                      struct filter_span *s, uint64_t first, uint64_t end);
void filter_span_free(struct filter_spans *all, struct filter_span *s);

#endif
