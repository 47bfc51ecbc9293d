/* fault.h - a filter that makes rare failures happen, for tests and drills.
 *
 * Errors at a chosen request, slow and re-ordered requests, and a power cut: with
 * `holds_back` the filter is a disk with a volatile cache, of which a cut lets any
 * part survive, block by block. */
#ifndef RESOURCE_STORAGE_FILTER_FAULT_H
#define RESOURCE_STORAGE_FILTER_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk.h"

struct err;
struct loop;

struct filter_fault_plan {
    uint64_t seed;
    bool holds_back; /* nothing is durable until a flush (or BLK_FUA) */

    /* Requests of these kinds (bits 1 << enum blk_kind) count; the ones from number
     * `fail_from` (1: the first) to before `fail_until` fail with `error`. */
    unsigned fail_kinds;
    uint64_t fail_from;
    uint64_t fail_until;
    int error;
    bool fail_partly; /* a failing write does some of its blocks first */

    /* One of so many requests (0: none) waits up to `delay_ns`; others overtake it. */
    unsigned delay_one_in;
    uint64_t delay_ns;
};

/* Takes `lower`, also on failure. */
int filter_fault_create(struct loop *l, struct blk *take_lower,
                        const struct filter_fault_plan *plan, struct blk **ret_disk,
                        struct err *e);

/* Another plan from now on; what is held back stays so. */
void filter_fault_plan(struct blk *b, const struct filter_fault_plan *plan);

/* The power goes at the n-th write, zero or discard from now (0: at the next one). */
void filter_fault_cut_after(struct blk *b, uint64_t count);

/* The power goes now: some of what was held back reaches the disk below, and every
 * request from now on fails with -ENODEV.  In a strand. */
void filter_fault_cut(struct blk *b);
bool filter_fault_is_cut(const struct blk *b);

/* Writes, zeros and discards that were begun so far. */
uint64_t filter_fault_writes(const struct blk *b);

#endif
