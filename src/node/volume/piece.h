/* node/volume/piece.h - what members of pools hold of layers. */
#ifndef NODE_VOLUME_PIECE_H
#define NODE_VOLUME_PIECE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct layer;
struct node;
struct pool_node;
struct words;

int piece_path(const struct layer *l, char out[PATH_MAX]);

/* What the image of a layer calls the one that it stands on: a name beside it, or a path,
 * so that other tools find it. */
int piece_name(const struct layer *l, const struct layer *parent, char out[PATH_MAX]);
int piece_open(struct node *n, const struct layer *l, int flags, struct err *e);

uint32_t layer_block_bytes(const struct layer *l); /* of its disk's blocks: 512, 4096 */
bool layer_is_one_file(const struct layer *l); /* or a device; else several: arrange.h */
bool layer_has_file(const struct layer *l);    /* `piece_open` has it */
uint64_t piece_used_bytes(struct node *n, const struct layer *l);

/* Announce that the layer comes or goes: whoever finds it unannounced, or its announcer
 * dead, and without a record, takes its pieces away. */
int piece_announce(struct node *n, const struct layer *l, int *ret_fd, struct err *e);
void piece_settled(struct node *n, const char *id, int *fd);
void piece_mend(struct node *n); /* after commands that were killed */
void piece_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg);

/* `held`: what `piece_hold` gave for one of them; 0: nothing. */
int piece_remove(struct node *n, const struct layer *l, int held);

/* ---- of each member ---- */

unsigned piece_count(const struct layer *l);
unsigned piece_member(const struct layer *l, unsigned at); /* its number; 0: nobody */

/* As `piece_path` and `piece_open`; the member as its pool calls it. */
int piece_path_at(const struct layer *l, unsigned at, char out[PATH_MAX]);
int piece_open_at(struct node *n, const struct layer *l, unsigned at, int flags,
                  struct err *e);
const char *piece_place(const struct layer *l, unsigned at);

/* Words for the node of a piece; of a copy of the map of a span; of a piece
 * whose member may be lost or not answer: -ENODEV. */
int piece_words(struct node *n, const struct layer *l, unsigned at,
                const struct pool_node *as, struct words *w, struct err *e);
int piece_words_map(struct node *n, const struct layer *l, unsigned copy,
                    const struct pool_node *as, struct words *w, struct err *e);
int piece_words_there(struct node *n, const struct layer *l, unsigned at,
                      const struct pool_node *as, struct words *w);
bool piece_is_there(struct node *n, const struct layer *l, unsigned at);

/* Words `reopen=` for all of a layer that is there, for a worker that may have it for reading
 * only; it has the layer's own name there.  -EOPNOTSUPP: some of it cannot be. */
int piece_reopen(struct node *n, const struct layer *l, struct words *w, struct err *e);

/* Keep others from using a piece, or (not `writes`) from writing to it, until the descriptor is
 * closed.  -EBUSY; -ENODEV, without a text when it is one of several. */
int piece_hold(struct node *n, const struct layer *l, unsigned at, bool writes,
               struct err *e);

/* A layer is about to have another size. */
int piece_resize(struct node *n, const struct layer *l, uint64_t bytes, struct err *e);

/* Copies of the map of a span, each beside one of its pieces: 2, or 1 in those of earlier
 * versions; 0: it is none.  The piece that has a copy, the copy that a piece has: -1: none. */
unsigned piece_maps(const struct layer *l);
int piece_map_at(const struct layer *l, unsigned copy);
int piece_map_of(const struct layer *l, unsigned at);

/* Another member has that copy; 0: nobody. */
int piece_set_map(struct layer *l, unsigned copy, unsigned member);

/* Take away what that member holds of it; the copy of the map alone. */
int piece_remove_at(struct node *n, const struct layer *l, unsigned at, int held);
void piece_remove_map(struct node *n, const struct layer *l, unsigned copy);

/* What one member has that no record names, and nobody has announced. */
void piece_sweep_member(struct node *n, const json_t *pool, const json_t *member,
                        void (*fn)(void *arg, const char *name), void *arg);

/* Whether somebody makes or moves a layer just now that may lie there. */
bool piece_is_awaited(struct node *n, const json_t *pool, const json_t *member);

/* What was made by words is durable. */
int piece_sync(struct node *n, const struct layer *l, struct err *e);

#endif
