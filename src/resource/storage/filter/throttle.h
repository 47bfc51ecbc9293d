/* throttle.h - a filter that holds requests back so that rates are kept.
 *
 * Limits belong to a group; a group has one disk or several, which share them
 * fairly: whoever waits and has had the least of the group's time goes first, so
 * that a disk with large requests does not push aside one with small ones.
 *
 * Threads: that of the disks; a group belongs to one loop. */
#ifndef RESOURCE_STORAGE_FILTER_THROTTLE_H
#define RESOURCE_STORAGE_FILTER_THROTTLE_H

#include <stdint.h>

struct blk;
struct err;
struct loop;
struct filter_throttle_group;

enum filter_throttle_what {
    FILTER_THROTTLE_OPS, /* reads and writes together */
    FILTER_THROTTLE_READ_OPS,
    FILTER_THROTTLE_WRITE_OPS,
    FILTER_THROTTLE_BYTES,
    FILTER_THROTTLE_READ_BYTES,
    FILTER_THROTTLE_WRITE_BYTES,
    FILTER_THROTTLE_WHAT_COUNT
};

#define FILTER_THROTTLE_RATE_MOST     ((uint64_t)1 << 50) /* a second */
#define FILTER_THROTTLE_BURST_MS_MOST 3600000u

struct filter_throttle_rate {
    uint64_t per_second;       /* in the long run; 0: not limited */
    uint64_t burst_per_second; /* after idle time, for `burst_ms`; 0: no bursts */
    uint32_t burst_ms;
};

struct filter_throttle_limits {
    struct filter_throttle_rate rate[FILTER_THROTTLE_WHAT_COUNT];
    uint64_t op_bytes; /* a request counts as one operation per so many; 0: one */
};

struct filter_throttle_figures {
    uint64_t ops; /* let through */
    uint64_t bytes;
    uint64_t waits; /* requests that had to wait */
    uint64_t waited_ns;
};

/* A group without disks; `filter_throttle_group_drop` gives it up, and it goes with
 * its last disk.  -EINVAL: limits that contradict themselves. */
int filter_throttle_group_create(struct loop *l,
                                 const struct filter_throttle_limits *limits,
                                 struct filter_throttle_group **ret_group, struct err *e);
void filter_throttle_group_drop(struct filter_throttle_group *g);

/* Other limits from now on, also for those that wait.  On failure nothing changes. */
int filter_throttle_group_set(struct filter_throttle_group *g,
                              const struct filter_throttle_limits *limits, struct err *e);
void filter_throttle_group_get(const struct filter_throttle_group *g,
                               struct filter_throttle_limits *ret_limits);

/* Put a disk under the group's limits; takes `lower`, also on failure.  A request is
 * never too large: it goes when the rate allows anything at all, and those behind
 * it wait as much longer.  Zeros and discards count as operations, and as bytes where
 * the disk below writes them as such.  A disk that is drained does not wait. */
int filter_throttle_create(struct filter_throttle_group *g, struct blk *take_lower,
                           struct blk **ret_disk, struct err *e);

void filter_throttle_figures(const struct blk *b, struct filter_throttle_figures *ret);

#endif
