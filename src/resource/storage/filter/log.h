/* log.h - a filter that watches requests: a histogram of how long they take, and a trace
 * that can be made again on another disk.
 *
 * A trace holds what was asked, when, and how it ended; not the data.  It is written
 * behind the requests' backs: they never wait for it, and what it cannot keep up with
 * is counted as lost. */
#ifndef RESOURCE_STORAGE_FILTER_LOG_H
#define RESOURCE_STORAGE_FILTER_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk.h"

struct err;
struct loop;

struct filter_log_record {
    uint64_t at_ns; /* it began, since the trace did */
    uint64_t off;
    uint64_t bytes;
    uint64_t took_ns;
    int32_t result; /* 0 or -errno */
    enum blk_kind kind;
    unsigned flags; /* enum blk_flag */
};

/* Takes the disk, and the one for the trace (NULL: histograms only), also on failure.
 * The trace begins anew.  It ends when its disk is full. */
int filter_log_create(struct loop *l, struct blk *take_lower, struct blk *take_trace,
                      struct blk **ret_disk, struct err *e);

/* Of the requests of one kind since the disk was made. */
struct filter_log_figures {
    uint64_t count;
    uint64_t failed;
    uint64_t bytes;
    uint64_t total_ns;
    uint64_t least_ns;
    uint64_t most_ns;
};

void filter_log_figures(const struct blk *b, enum blk_kind kind,
                        struct filter_log_figures *ret);

/* So many of a thousand took at most this long; at most an eighth too much.  0: there
 * were none. */
uint64_t filter_log_latency_ns(const struct blk *b, enum blk_kind kind,
                               unsigned of_a_thousand);

/* Requests that are not in the trace, as it did not keep up or its disk was full. */
uint64_t filter_log_lost(const struct blk *b);

/* Give each record of a trace to `take`, in the order in which they began; it answers
 * 0, or -errno to end it.  In a strand.  -EUCLEAN: it is none, or damaged. */
int filter_log_read(struct blk *trace,
                    int (*take)(void *arg, const struct filter_log_record *r), void *arg,
                    struct err *e);

struct filter_log_replay {
    bool at_once; /* as fast as the disk goes; else at the times of the trace */
    bool reads_only;
    unsigned depth; /* requests at a time at most, 1 to 256; 0: 64 */

    /* What came of it. */
    uint64_t count;
    uint64_t failed;
    uint64_t skipped; /* behind the end of the disk, or not reads */
    uint64_t took_ns;
};

/* Make the requests of a trace on a disk: a request begins after all that had ended
 * before it began then.  Written is a pattern of its own.  In a strand. */
int filter_log_replay(struct loop *l, struct blk *trace, struct blk *onto,
                      struct filter_log_replay *io, struct err *e);

#endif
