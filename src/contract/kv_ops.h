/* contract/kv_ops.h - the other side of contract/kv.h: what a store implements.
 *
 * The guard in kv.c has checked keys, spans, lengths, numbers and the rule
 * about double puts before a slot is called.  Every slot is filled.  A slot
 * fills `ret` only when it succeeds. */
#ifndef CONTRACT_KV_OPS_H
#define CONTRACT_KV_OPS_H

#include "contract/kv.h"

struct kv_ops {
    const char *name; /* "sqlite" */

    /* All of it or, on failure, nothing. */
    int (*txn)(struct kv *kv, const struct kv_txn *t, struct kv_result *ret,
               struct err *e);
    int (*compact)(struct kv *kv, int64_t revision, struct err *e);

    int (*lease_grant)(struct kv *kv, int64_t id, int64_t ttl_seconds,
                       struct kv_lease *ret, struct err *e);
    int (*lease_keep)(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
    int (*lease_get)(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e);
    int (*lease_revoke)(struct kv *kv, int64_t id, struct err *e);

    /* Copies the span; sets `kv` of the watch. */
    int (*watch_open)(struct kv *kv, struct kv_span span, int64_t from,
                      struct kv_watch **ret, struct err *e);
    int (*watch_next)(struct kv_watch *w, int timeout_ms, struct kv_events *ret,
                      struct err *e);
    void (*watch_close)(struct kv_watch *w);

    void (*close)(struct kv *kv);
};

/* First members of every implementation's own structs. */
struct kv {
    const struct kv_ops *ops;
};

struct kv_watch {
    struct kv *kv;
};

/* Help for implementers. */

bool kv_span_holds(struct kv_span span, const char *key);

/* Whether any list of the transaction puts or deletes. */
bool kv_txn_writes(const struct kv_txn *t);

/* `item` with a NULL key: the record is missing. */
bool kv_cmp_holds(const struct kv_cmp *cmp, const struct kv_item *item);

/* An owned copy in one block; without its value when `keys_only`. */
int kv_item_copy(const struct kv_item *item, bool keys_only, struct kv_item *ret);

/* Append an owned copy; -ENOMEM leaves the list as it was. */
int kv_items_add(struct kv_items *items, const struct kv_item *item, bool keys_only);

#endif
