/* words.h - disks of volumes in the words of the program `volume`. */
#ifndef NODE_VOLUME_WORDS_H
#define NODE_VOLUME_WORDS_H

#include <jansson.h>

#include "node/words.h"

struct chain;
struct layer;

/* From now on `key` of the words is the passphrase, a descriptor that is borrowed; 0: none. */
void words_unlock(struct words *w, int key);

/* What a layer's node says of its passphrase, a descriptor that is borrowed, or
 * `CHAIN_LOCKED`; "" when the layer is not encrypted. */
const char *words_key(struct words *w, const struct layer *l, int key);

/* What the order says of blocks ("block_size"); 0: nothing. */
unsigned words_block_size(const json_t *order);

/* The files of that chain have blocks as the order wants them. */
int words_want_block(struct words *w, const struct chain *c, const json_t *order,
                     struct err *e);

/* A volume's disk as the node `name`; NULL: all nodes are called by the layers' ids.  Only the
 * top is written to, if `writes`. */
int words_chain(struct node *n, const struct chain *c, const char *name, bool writes,
                struct words *w, struct err *e);

#endif
