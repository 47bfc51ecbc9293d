/* node/record.h - keys of the store that belong to one guest. */
#ifndef NODE_RECORD_H
#define NODE_RECORD_H

#include <stddef.h>

struct err;
struct node;

#define RECORD_KEYS_MOST 8

/* The lowest number from `least` to `most` that no key "PREFIX%06u" has; -ENOSPC
 * (without a text) when all are taken.  Somebody else may take it meanwhile:
 * `record_claim` tells. */
int record_first_free(struct node *n, const char *prefix, unsigned least, unsigned most,
                      unsigned *ret, struct err *e);

/* Put every key with the value `id`, and the record (NULL: none) of that guest, or
 * nothing: -EEXIST (without a text) when one of them is there already. */
int record_claim(struct node *n, const char *const *keys, size_t n_keys, const char *id,
                 const char *record, struct err *e);

/* Delete the keys, all at once; missing ones are fine. */
int record_release(struct node *n, const char *const *keys, size_t n_keys, struct err *e);

#endif
