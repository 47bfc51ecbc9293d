/* node/pool/private.h - what the files about pools share. */
#ifndef NODE_POOL_PRIVATE_H
#define NODE_POOL_PRIVATE_H

#include "node/pool/pool.h"
#include "node/private.h"
#include "node/record.h"

#define POOL_LABEL     ".strata-pool" /* in a directory: whose it is */
#define POOL_LOOK_MS   2000           /* a member that takes longer is slow */
#define POOL_ID_DIGITS 16

const char *pool_text(const json_t *object, const char *key); /* "" when missing */

/* members.c: a word of the command line, PATH[,class=CLASS], as a member without number. */
int pool_parse_member(const char *word, json_t **ret, struct err *e);

/* label.c: make the directory ready and put the pool's label on it.  One that has something
 * in it is refused; `force`: not a mark of a pool that is not known. */
int pool_claim_member(struct node *n, const json_t *pool, const json_t *member,
                      bool force, struct err *e);
void pool_release_member(const json_t *pool, const json_t *member);

/* The label on the directory is this pool's and this member's: 0, -ENODEV with a text. */
int pool_check_label(int dir, const json_t *pool, const json_t *member, struct err *e);

#endif
