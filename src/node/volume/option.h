/* option.h - what stands over a disk while it is used: a cache, limits, a trace; made by the
 * folder `node/volume/option`.
 *
 * Members of the volume's record:
 *
 *     limits    {iops, bandwidth, burst_iops, burst_bandwidth, burst_seconds}
 *     log       the path of a trace
 *     cache     {pool, class, size_bytes, mode, layer}: `layer` is the store, a layer with
 *               the user c/NAME; without one a new store is made when the disk is used
 *
 * What a snapshot or a clone keeps lies below them.  From above to below: trace, limits, cache,
 * the images with their encryption, each layer's own filter (option_layer.h), the members.
 * So checksums and tiers see what is encrypted already, and are mended and moved without a
 * passphrase; a trace has places and lengths, never bytes; and the store of a cache,
 * which stands over the encryption, is an encrypted image itself, with the header of the top
 * layer, so that both open with the same passphrases. */
#ifndef NODE_VOLUME_OPTION_H
#define NODE_VOLUME_OPTION_H

#include "node/volume/words.h"
#include "node/volume/worker.h"

struct str;

#define OPTION_TRACE_MAGIC 0x31484f4cu /* how a trace begins: "LOH1" */

/* As `volume_load_disk`, whatever its cache still holds back. */
int volume_load_locked(struct node *n, const char *name, struct volume *ret,
                       int *ret_lock, struct err *e);

/* Whether an order names one. */
bool option_are_named(const json_t *order);

/* The limits of a record, all of them, each with `before` in front. */
void option_limit_words(const json_t *volume, const char *before, struct str *ret);

/* Take them into a record, without what has to be made for them. */
int option_take(struct node *n, const json_t *order, json_t *volume, struct err *e);

/* Whether there is anything: then one process has the disk, and nobody its file. */
bool option_stands_over(const json_t *volume);

/* Words for the disk as it is used: `disk` is the node of its image. */
int option_words(struct node *n, const struct volume *v, const char *disk,
                 struct words *w, struct err *e);

/* ---- store.c: of caches ---- */

/* The lock is held: what a server that was killed has left in the cache goes down.  A disk that
 * is served is left to its server. */
int option_cache_settle(struct node *n, const struct volume *v, struct err *e);

/* Make the store that the record asks for, if there is none; `key`: the passphrase of an encrypted
 * disk, whose store is encrypted as its top layer is; 0: none. */
int option_cache_need(struct node *n, const char *name, int key, struct err *e);

/* Words for the node of a store, which has its id. */
int option_store_words(struct node *n, const struct layer *store, struct words *w,
                       struct err *e);

/* The store goes; the option stays, unless `forget`.  Nothing is in it that the disk does not
 * have. */
int option_cache_leave(struct node *n, struct volume *v, bool forget, struct err *e);

/* Of a volume that goes. */
int option_cache_release(struct node *n, const json_t *volume, const char *name,
                         struct layer_release *gone, struct err *e);

/* set.c: the verb. */
int option_set(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* replay.c: the verb. */
int option_replay(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* Counts of what filters have done, of a disk that is served. */
void option_figures(struct node *n, struct volume *v);

#endif
