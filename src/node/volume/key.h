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

bool layer_is_encrypted(const struct layer *l);

/* The bytes of the file that a member of the order names, in memory: a descriptor. */
int volume_key_read(const json_t *order, const char *member, struct err *e);

/* The slot of an image that the passphrase opens; -EACCES: none.  The header is looked at in
 * memory, because the file may be somebody's who is writing to it. */
int volume_key_slot(struct node *n, int image, int key, struct err *e);

/* The passphrase of the order, which opens that image; a descriptor. */
int volume_key_open(struct node *n, int image, const json_t *order, struct err *e);

/* The chain has the passphrase of the order, when it wants one and this one opens it. */
int chain_unlock(struct node *n, struct chain *c, const json_t *order, struct err *e);

/* An empty qcow2 image in an open file, of the plan's size, encrypted by its passphrase alone. */
int volume_image_make_locked(struct node *n, int fd, const struct layer_plan *p,
                             struct err *e);
int disk_volume_key(struct node *n, const json_t *order, json_t **ret, struct err *e);

#endif
