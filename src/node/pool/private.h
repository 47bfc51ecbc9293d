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

/* kind.c: what the word names, as one of the kinds of members. */
int pool_parse_place(const char *place, json_t **ret, struct err *e);

#endif
