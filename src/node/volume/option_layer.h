/* option_layer.h - layers whose bytes go through a filter of their own: with checksums, with equal
 * blocks kept once, or in tiers.
 *
 * The member `filter` of a layer's record says which; a layer has one at most, and those
 * that come to stand on it have the same. */
#ifndef NODE_VOLUME_OPTION_LAYER_H
#define NODE_VOLUME_OPTION_LAYER_H

#include "node/volume/arrange.h"

/* "checksum", "dedup", "tier"; "": none. */
const char *layer_filter(const struct layer *l);
bool layer_is_filtered(const struct layer *l);

/* What an order, or the record of a volume, says of new layers. */
const char *option_layer_wanted(const json_t *volume);
int option_layer_check_order(const json_t *order, struct err *e);
void option_layer_record(json_t *volume, const struct layer *top);

/* The members of a layer in tiers: the slow one and the fast one. */
int option_layer_choose(struct node *n, const struct layer_plan *p,
                        struct pool_choice *ret, struct err *e);

/* Bytes that the disk below needs for so many. */
uint64_t option_layer_bytes(const struct layer *l, uint64_t bytes);

/* As `arrange_words` and `arrange_make`. */
int option_layer_words(struct node *n, const struct layer *l,
                       const struct arrange_name *as, struct words *w, struct err *e);
int option_layer_make(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e);

/* Compare all that a layer has with its checksums (`mend`: and put right what another member
 * has); counts go into the row. */
int option_layer_check(struct node *n, const struct layer *l, bool mend, json_t *row,
                       struct err *e);

/* Give the pool the room that a store of equal blocks does not need any more: by the worker at
 * `control` that writes to the layer, or (-1) by a process of its own.  Of other layers: 0. */
int option_layer_reclaim(struct node *n, const struct layer *l, int control,
                         uint64_t *ret_bytes, struct err *e);

#endif
