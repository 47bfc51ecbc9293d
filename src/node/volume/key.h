/* node/volume/key.h - encrypted disks and their passphrases. */
#ifndef NODE_VOLUME_KEY_H
#define NODE_VOLUME_KEY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct chain;
struct err;
struct layer;
struct layer_plan;
struct node;
struct words;

/* ---- header.c ---- */

/* A part of a file, in memory; a descriptor. */
int volume_key_memory(int from, uint64_t at, uint64_t bytes);

/* The encryption header of an image in a file, and that of a layer, wherever it lies: copies in
 * memory, descriptors. */
int volume_key_header(int image, struct err *e);
int layer_header(struct node *n, const struct layer *l, struct err *e);

/* The slot of a header in memory that the passphrase opens; -EACCES: none. */
int volume_key_slot(struct node *n, int header, int key, struct err *e);

/* The passphrase of the order, which opens that header; a descriptor. */
int volume_key_open(struct node *n, int header, const json_t *order, struct err *e);

bool layer_is_to_be_encrypted(const struct layer_plan *p);

/* The header that a new layer has in common with another; 0: none, or it has its own. */
int layer_plan_header(struct node *n, const struct layer_plan *p, struct err *e);

/* What makes the image of `create` an encrypted one, if the plan says so. */
int words_new_key(struct node *n, const struct layer_plan *p, struct words *w,
                  struct err *e);

/* ---- key.c ---- */

bool layer_is_encrypted(const struct layer *l);

/* The bytes of the file that a member of the order names, in memory: a descriptor. */
int volume_key_read(const json_t *order, const char *member, struct err *e);

/* The chain has the passphrase of the order, when it wants one and this one opens it. */
int chain_unlock(struct node *n, struct chain *c, const json_t *order, struct err *e);

/* An empty qcow2 image in an open file, of the plan's size, encrypted by its passphrase alone. */
int volume_image_make_locked(struct node *n, int fd, const struct layer_plan *p,
                             struct err *e);
int disk_volume_key(struct node *n, const json_t *order, json_t **ret, struct err *e);

#endif
