/* node/record.h - keys of the store that belong to one guest. */
#ifndef NODE_RECORD_H
#define NODE_RECORD_H

#include <jansson.h>
#include <stddef.h>

#include "base/str.h"

struct err;
struct kv_items;
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

#endif
