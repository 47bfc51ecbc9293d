/* journal.h - records that are durable, and read back in order, before what they describe is
 * written elsewhere (write-ahead logging).
 *
 * The owner appends a record before he changes anything in place.  When the journal is full
 * he settles: everything that records describe is in place and flushed, then
 * `journal_restart` forgets them.  After opening, all records since the last restart
 * are given back. */
#ifndef RESOURCE_STORAGE_SAFE_JOURNAL_H
#define RESOURCE_STORAGE_SAFE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strand.h"

struct blk;

struct journal {
    struct blk *disk; /* borrowed */
    uint64_t at;      /* of its area */
    uint64_t bytes;   /* of its area; a multiple of 4096, at least 3 * 4096 */
    uint64_t id;      /* of its owner: records of others are none */

    /* Of the journal; zeroed before `journal_open`. */
    uint64_t place; /* in the area, of the next batch */
    uint64_t stream;
    uint64_t index;  /* of the next batch in its stream */
    uint64_t asked;  /* records that were appended */
    uint64_t stored; /* of them, those whose fate is known */
    uint64_t failed_from;
    uint64_t failed_to; /* records (from, to] were not stored, because of `failure` */
    int failure;
    bool broken;   /* to be restarted: opened, or a restart failed */
    uint8_t *fill; /* owned; records that wait */
    size_t fill_bytes;
    uint8_t *batch; /* owned; what is being written */
    struct strand_lock lock;
};

/* The most bytes of one record. */
size_t journal_most(const struct journal *j);

/* Allocate, and give each record since the last restart to `replay`, which may stop it
 * with an error.  The owner settles and restarts it then.  On failure nothing is held. */
int journal_open(struct journal *j,
                 int (*replay)(void *arg, const uint8_t *record, size_t bytes),
                 void *arg);
void journal_close(struct journal *j);

/* Durable when it returns 0.  -EAGAIN: settle and restart first.  Other errors: it may or
 * may not be there after a crash; it may be tried again. */
int journal_append(struct journal *j, const void *record, size_t bytes);

/* Bytes of records that one append is sure to have room for. */
uint64_t journal_room(const struct journal *j);

/* Forget all records; nobody may be appending.  After an error they may come back. */
int journal_restart(struct journal *j);

#endif
