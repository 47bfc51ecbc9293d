/* store/private.h - the engine of the promises, and what it needs below it.
 *
 * The engine (engine.c, lease.c, watch.c) turns the calls of contract/kv.h into a
 * few steps over a *bed*: an append-only list of events in order (revision,
 * place), an index from each key to its newest event, and a table of leases.
 * A tombstone is an event with version 0.  Each event knows the one before it
 * on the same key, so an old revision is read by walking back. */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "contract/kv_ops.h"
#include "store/store.h"

struct store;

/* Called for each record or event in turn; everything is borrowed for the
 * call.  Non-zero ends the scan and becomes its result. */
typedef int store_item_fn(void *arg, const struct kv_item *item);
typedef int store_event_fn(void *arg, const struct kv_item *item,
                           const struct kv_item *prev); /* prev->key NULL: none */

struct store_lease {
    int64_t id;
    int64_t ttl_seconds;
    int64_t due_ms; /* on the clock of the store */
};

/* The bed.  `begin` comes first, then any slots, then `commit` or `rollback`
 * (also after a failed `commit`).  A slot that fails has filled `e`. */
struct store_bed {
    int (*begin)(struct store *s, bool writes, bool durable, struct err *e);
    int (*commit)(struct store *s, struct err *e);
    void (*rollback)(struct store *s);

    /* Revision of the newest event, or 1. */
    int (*revision)(struct store *s, int64_t *ret, struct err *e);
    int (*compacted)(struct store *s, int64_t *ret, struct err *e); /* 0: never */

    /* Live records of the span as of revision `at`, ordered by key. */
    int (*scan)(struct store *s, struct kv_span span, int64_t at, store_item_fn *fn,
                void *arg);
    /* Live records that hang on the lease, ordered by key. */
    int (*attached)(struct store *s, int64_t lease, store_item_fn *fn, void *arg);
    /* Every event from revision `from` on, in order. */
    int (*events)(struct store *s, int64_t from, store_event_fn *fn, void *arg);

    /* Make `item` (version 0: a tombstone) the newest event, at this place among
     * those of its revision. */
    int (*append)(struct store *s, const struct kv_item *item, int64_t place,
                  struct err *e);
    /* Drop what reads at `upto` and later do not need. */
    int (*compact)(struct store *s, int64_t from, int64_t upto, struct err *e);

    /* The lease, the first one due at `now`, the one due soonest: 1, or 0 when
     * there is none. */
    int (*lease_get)(struct store *s, int64_t id, struct store_lease *ret, struct err *e);
    int (*lease_due)(struct store *s, int64_t now, struct store_lease *ret,
                     struct err *e);
    int (*lease_next)(struct store *s, struct store_lease *ret, struct err *e);
    int (*lease_set)(struct store *s, const struct store_lease *lease, struct err *e);
    int (*lease_drop)(struct store *s, int64_t id, struct err *e);

    /* Text for a scan that failed with -errno. */
    int (*explain)(struct store *s, int code, struct err *e);

    /* Sleep until another process may have written, or `ms` have passed. */
    void (*wait)(struct store *s, int ms);
    void (*close)(struct store *s);
};

/* First member of both kinds of store. */
struct store {
    struct kv kv; /* first: the contract's base */
    const struct store_bed *bed;
    struct store_options options; /* completed: no zeros */

    /* Within a transaction: */
    int64_t revision; /* the newest finished one */
    int64_t place;    /* events of the one under way */
    bool writes;
};

/* Fill the base; `o` may be NULL. */
void store_init(struct store *s, const struct kv_ops *ops, const struct store_bed *bed,
                const struct store_options *o);
struct store *store_of(struct kv *kv);

/* A transaction of the bed, with ended leases swept out first. */
int store_begin(struct store *s, bool writes, bool durable, struct err *e);

/* End it: the result of the steps inside decides between commit and rollback.
 * Returns `result`, or why the commit failed. */
int store_end(struct store *s, int result, struct err *e);

/* End the revision under way, if it has events. */
void store_next_revision(struct store *s);

/* Append tombstones for the live records of the list. */
int store_delete_items(struct store *s, const struct kv_items *items, struct err *e);

/* Store function that adds a copy of the record to the `struct kv_items`. */
int store_collect(void *items, const struct kv_item *item);

/* End or renew what is due; lease.c. */
int store_sweep(struct store *s, struct err *e);
bool store_must_sweep(const struct store_lease *lease, int64_t now);
int64_t store_now(struct store *s);

int store_txn(struct kv *kv, const struct kv_txn *t, struct kv_result *ret,
              struct err *e);
int store_compact(struct kv *kv, int64_t revision, struct err *e);
int store_lease_grant(struct kv *kv, int64_t id, int64_t ttl_seconds,
                      struct kv_lease *ret, struct err *e);
int store_lease_keep(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
int store_lease_get(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
int store_lease_revoke(struct kv *kv, int64_t id, struct err *e);
int store_watch_open(struct kv *kv, struct kv_span span, int64_t from,
                     struct kv_watch **ret, struct err *e);
int store_watch_next(struct kv_watch *w, int timeout_ms, struct kv_events *ret,
                     struct err *e);
void store_watch_close(struct kv_watch *w);
void store_close(struct kv *kv);

/* The slots of contract/kv_ops.h, alike for both beds but for the name. */
#define STORE_OPS(word)                                                                  \
    {                                                                                    \
        .name = (word), .txn = store_txn, .compact = store_compact,                      \
        .lease_grant = store_lease_grant, .lease_keep = store_lease_keep,                \
        .lease_get = store_lease_get, .lease_revoke = store_lease_revoke,                \
        .watch_open = store_watch_open, .watch_next = store_watch_next,                  \
        .watch_close = store_watch_close, .close = store_close                           \
    }

#endif
