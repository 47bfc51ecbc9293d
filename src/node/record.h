/* node/record.h - keys of the store that belong to one guest. */
#ifndef NODE_RECORD_H
#define NODE_RECORD_H

#include <jansson.h>
#include <stddef.h>

#include "base/str.h"

#include "contract/kv.h"

struct err;
struct node;

#define RECORD_KEYS_MOST 60 /* of one transaction, and as many that must be there */

/* The JSON object under `key`; -ENOENT without a text.  Members that this version does
 * not know stay in it. */
int record_load(struct node *n, const char *key, json_t **ret, struct err *e);

/* Every key below `prefix` with its value; the caller ends it with `kv_items_fini`. */
int record_items(struct node *n, const char *prefix, struct kv_items *ret, struct err *e);

/* What `record_load` gives for every key below `prefix`, as an array; what cannot be read is left out. */
int record_list(struct node *n, const char *prefix, json_t **ret, struct err *e);

/* A number from `least` to `most` that no key "PREFIX%06u" has, as `gap_find` finds it;
 * -ENOSPC (without a text) when all are taken.  Somebody else may take it meanwhile:
 * `record_claim` tells. */
int record_free_number(struct node *n, const char *prefix, unsigned least, unsigned most,
                       unsigned *ret, struct err *e);

/* Put every key with the value `id`, and the record (NULL: none) of that guest, or
 * nothing: -EEXIST (without a text) when one of them is there already. */
int record_claim(struct node *n, const char *const *keys, size_t n_keys, const char *id,
                 const char *record, struct err *e);

/* What a new guest takes for itself, and what of others must be there then. */
struct record_claims {
    struct strv take;
    struct strv need;
};

void record_claims_fini(struct record_claims *c);

/* As `record_claim`; also -EEXIST when one of `need` is gone. */
int record_add(struct node *n, const struct record_claims *c, const char *id,
               const char *record, struct err *e);

/* Delete the keys, all at once; missing ones are fine. */
int record_release(struct node *n, const char *const *keys, size_t n_keys, struct err *e);

/* ---- a transaction that is put together step by step ----
 *
 * Zeroed: empty.  What cannot be added (no memory, too many) is told by
 * `record_change_do`, which does all or nothing. */
#define RECORD_CHANGE_MOST 100

struct record_change {
    struct kv_cmp compare[RECORD_CHANGE_MOST];
    struct kv_op then[RECORD_CHANGE_MOST];
    struct strv texts; /* owned: keys and values that the two lists borrow */
    size_t n_compare;
    size_t n_then;
    int failed; /* 0 or -errno */
};

void record_change_fini(struct record_change *c);

/* Conditions: a record is there; none is; it was last changed then (0: it is not there);
 * nothing is below a prefix. */
void record_need(struct record_change *c, const char *key);
void record_need_none(struct record_change *c, const char *key);
void record_need_same(struct record_change *c, const char *key, int64_t revision);
void record_need_empty(struct record_change *c, const char *prefix);

/* Nothing is below the prefix but, perhaps, these keys (sorted as the store does). */
void record_need_only(struct record_change *c, const char *prefix,
                      const char *const *keys, size_t n_keys);

void record_put(struct record_change *c, const char *key, const char *text);
void record_put_json(struct record_change *c, const char *key, const json_t *value);
void record_delete(struct record_change *c, const char *key);

/* -EAGAIN, without a text, when a condition does not hold. */
int record_change_do(struct node *n, struct record_change *c, struct err *e);

/* As `record_load`, and when it was changed last. */
int record_load_at(struct node *n, const char *key, json_t **ret, int64_t *ret_revision,
                   struct err *e);

/* A key of at most KV_KEY_BYTES. */
#define RECORD_KEY(buf, ...) ((void)str_print(buf, KV_KEY_BYTES, __VA_ARGS__))

#endif
