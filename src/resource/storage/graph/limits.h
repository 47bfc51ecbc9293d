/* limits.h - limits of a throttled disk from words. */
#ifndef RESOURCE_STORAGE_GRAPH_LIMITS_H
#define RESOURCE_STORAGE_GRAPH_LIMITS_H

#include <stdint.h>

struct filter_throttle_limits;

/* Set the limit of that word (`limits.rows.h`, or op-bytes).  A burst without a time lasts a
 * second.  -EINVAL: no such word; -ERANGE. */
int limits_set(struct filter_throttle_limits *l, const char *word, uint64_t number);

#endif
