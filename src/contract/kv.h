/* contract/kv.h - what the platform's record store promises to its users.
 *
 * The promises are those of etcd v3, so that etcd can stand behind them:
 *
 *  - One revision counts for the whole store.  It is 1 when the store is empty
 *    and grows by one with each transaction that changes something.
 *  - A record knows the revision that created it, the one that changed it last,
 *    and its version: 1 when created, one more with each put.
 *  - A transaction compares, then does one of two lists of operations: all or
 *    nothing, alone, and a read in it sees the writes before it.
 *  - Keys are texts without NUL, ordered as unsigned bytes; values are bytes.
 *  - Old revisions stay readable, and watches can begin there, until compaction.
 *  - A lease that is not kept alive takes its records with it.
 *
 * Implemented by store (SQLite, memory); see contract/kv_ops.h.  Used by node.
 * Threads: one caller at a time per handle.  A child of fork() may not use it.
 * Errors: -ESTALE the revision was compacted, -ERANGE it is yet to come,
 * -EBUSY others held the store too long, -ENOSPC, -EUCLEAN the file is damaged. */
#ifndef CONTRACT_KV_H
#define CONTRACT_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct kv;
struct kv_watch;

#define KV_KEY_BYTES          1024          /* with the NUL */
#define KV_VALUE_MOST_BYTES   (1024 * 1024) /* etcd takes requests up to 1.5 MiB */
#define KV_TXN_MOST_OPS       128           /* per list; default of etcd */
#define KV_LEASE_MOST_SECONDS 9000000000    /* limit of etcd */

struct kv_bytes {
    const void *data;
    size_t len;
};

/* Keys from `first` up to, not including, `end`.  end NULL: the one key;
 * end "": no upper end.  first "" with an end: from the lowest key. */
struct kv_span {
    const char *first;
    const char *end;
};

struct kv_item {
    const char *key;   /* NULL: no record; one owned block with the value */
    const char *value; /* with a NUL behind its last byte */
    size_t len;        /* of the value */
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    int64_t lease; /* 0: none */
};

struct kv_items {
    struct kv_item *items; /* owned, ordered by key */
    size_t n;
    uint64_t count;   /* in the span, whatever the limit; of a delete: deleted */
    bool more;        /* the limit cut the list */
    int64_t revision; /* of the store at the answer */
};

enum kv_op_kind {
    KV_OP_PUT,
    KV_OP_RANGE,
    KV_OP_DELETE,
    KV_OP_KIND_COUNT
};

struct kv_op {
    enum kv_op_kind kind;
    struct kv_span span;   /* of a put: end is NULL */
    struct kv_bytes value; /* put */
    int64_t lease;         /* put: -ENOENT when there is no such lease */
    bool keep_lease;       /* put: stay with the lease; -ENOENT without a record */
    bool prev;             /* put, delete: answer with the former records */
    bool keys_only;        /* range */
    uint64_t limit;        /* range; 0: none */
    int64_t revision;      /* range: as of then; 0: now */
};

enum kv_target {
    KV_TARGET_VERSION,
    KV_TARGET_CREATE,
    KV_TARGET_MOD,
    KV_TARGET_LEASE,
    KV_TARGET_VALUE, /* never holds for a record that is missing */
    KV_TARGET_COUNT
};

enum kv_order {
    KV_EQUAL,
    KV_NOT_EQUAL,
    KV_LESS,
    KV_GREATER,
    KV_ORDER_COUNT
};

/* Holds when each record of the span does; a missing one has zeros. */
struct kv_cmp {
    struct kv_span span;
    enum kv_target target;
    enum kv_order order;   /* record ORDER number, or ORDER value */
    int64_t number;        /* every target but the value */
    struct kv_bytes value; /* ordered as bytes */
};

/* A list may put a key once, and not delete what it puts (-EINVAL). */
struct kv_txn {
    const struct kv_cmp *compare;
    size_t n_compare;
    const struct kv_op *then_ops;
    size_t n_then;
    const struct kv_op *else_ops;
    size_t n_else;
    bool durable; /* survives a power cut once the call returns; else a process crash */
};

struct kv_result {
    bool succeeded;         /* the comparisons held */
    int64_t revision;       /* of the store after the transaction */
    struct kv_items *parts; /* owned; one for each operation done */
    size_t n;
};

int kv_txn(struct kv *kv, const struct kv_txn *t, struct kv_result *ret, struct err *e);
void kv_close(struct kv *kv); /* after its watches; NULL is fine */
void kv_item_fini(struct kv_item *item);
void kv_items_fini(struct kv_items *items);
void kv_result_fini(struct kv_result *result);

/* Parts of a transaction; the words they are made of stay borrowed. */
struct kv_bytes kv_text(const char *text);
struct kv_span kv_key(const char *key);
struct kv_span kv_prefix(const char *prefix, char end[KV_KEY_BYTES]); /* fills `end` */
struct kv_op kv_op_put(const char *key, struct kv_bytes value);
struct kv_op kv_op_range(struct kv_span span, uint64_t limit);
struct kv_op kv_op_delete(struct kv_span span);
struct kv_cmp kv_cmp_mod(const char *key, int64_t revision); /* 0: no such record */

/* One operation each.  -ENOENT of `kv_get`, and of the two with "if" -EEXIST
 * (expected 0, but there is a record) and -EAGAIN (changed or gone) are
 * answers, not failures: they leave `e` alone.  `ret_revision` may be NULL. */
int kv_get(struct kv *kv, const char *key, struct kv_item *ret, struct err *e);
int kv_put(struct kv *kv, const char *key, struct kv_bytes value, int64_t *ret_revision,
           struct err *e);
int kv_put_if(struct kv *kv, const char *key, struct kv_bytes value, int64_t expected,
              int64_t *ret_revision, struct err *e);
int kv_delete(struct kv *kv, struct kv_span span, uint64_t *ret_count, struct err *e);
int kv_delete_if(struct kv *kv, const char *key, int64_t expected, struct err *e);
int kv_range(struct kv *kv, struct kv_span span, uint64_t limit, struct kv_items *ret,
             struct err *e);
int kv_list(struct kv *kv, const char *prefix, struct kv_items *ret, struct err *e);

/* Forget what is not needed to read at `revision` or later.  -ESTALE when that
 * is done already.  Stores also do so themselves, beyond some length of history. */
int kv_compact(struct kv *kv, int64_t revision, struct err *e);

struct kv_lease {
    int64_t id;
    int64_t ttl_seconds;
    int64_t left_ms; /* until it ends, at least */
};

/* id 0: the store chooses; else -EEXIST when taken. */
int kv_lease_grant(struct kv *kv, int64_t id, int64_t ttl_seconds, struct kv_lease *ret,
                   struct err *e);
/* The rest: -ENOENT when the lease is unknown or has ended. */
int kv_lease_keep(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
int kv_lease_get(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
int kv_lease_revoke(struct kv *kv, int64_t id, struct err *e);

enum kv_event_kind {
    KV_EVENT_PUT,
    KV_EVENT_DELETE,
    KV_EVENT_KIND_COUNT
};

struct kv_event {
    enum kv_event_kind kind;
    struct kv_item item; /* delete: key and mod_revision only */
    struct kv_item prev; /* the record before; key NULL: none, or compacted */
};

struct kv_events {
    struct kv_event *items; /* owned, in the order they happened */
    size_t n;
    int64_t revision; /* everything up to here was told; of the store at a timeout */
};

/* Changes in the span from revision `from` on (0: from now), without gaps. */
int kv_watch_open(struct kv *kv, struct kv_span span, int64_t from, struct kv_watch **ret,
                  struct err *e);

/* Wait for changes, at most `timeout_ms` (-1: for ever; n is 0 at the end of
 * it).  The changes of one revision come together.  -ESTALE: changes were
 * compacted before they could be told; list again, watch from there. */
int kv_watch_next(struct kv_watch *w, int timeout_ms, struct kv_events *ret,
                  struct err *e);
void kv_watch_close(struct kv_watch *w);
void kv_events_fini(struct kv_events *events);

#endif
