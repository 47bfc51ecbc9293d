/* node/pool/kind.h - the kinds of members, each a row of operations: nobody else tells them
 * apart. */
#ifndef NODE_POOL_KIND_H
#define NODE_POOL_KIND_H

#include "node/pool/private.h"

struct words;

struct pool_kind {
    const char *name;    /* in the record of a member */
    const char *prefix;  /* of the word that names one, "lvm:"; NULL: it is a path */
    uint64_t unit_bytes; /* of sizes of pieces that do not grow; 0: any */

    /* Put what the word says into the record of a member: `path` and what else is needed.
     * -ENOTSUP without a text: the path is of another kind. */
    int (*parse)(const char *place, json_t *member, struct err *e);

    /* Put the pool's label on it.  One that has something in it is refused; `force`: only
     * if that is worth something to somebody known. */
    int (*claim)(struct node *n, const json_t *pool, const json_t *member, bool force,
                 struct err *e);
    void (*release)(struct node *n, const json_t *pool, const json_t *member);

    /* How it is, in a process that may be killed; *ret says that it is lost.  Whether it is
     * full is for the caller to say. */
    void (*look)(struct node *n, const json_t *pool, const json_t *member,
                 struct pool_room *ret);

    /* ---- pieces; as the functions of pool.h say ---- */
    int (*words)(struct node *n, const struct pool_piece *p, const struct pool_node *as,
                 struct words *w, struct err *e);
    int (*hold)(struct node *n, const struct pool_piece *p, bool writes, struct err *e);
    int (*remove)(struct node *n, const struct pool_piece *p, int held);
    int (*used)(struct node *n, const struct pool_piece *p, uint64_t *ret);
    int (*list)(struct node *n, const json_t *pool, const json_t *member,
                pool_piece_fn *each, void *arg);

    /* NULL: what was opened for reading only stays so. */
    int (*reopen)(struct node *n, const struct pool_piece *p, const char *name,
                  struct words *w, struct err *e);

    /* NULL: the program does so. */
    int (*resize)(struct node *n, const struct pool_piece *p, uint64_t bytes,
                  struct err *e);

    /* NULL: its pieces are no files of the host. */
    int (*open)(struct node *n, const struct pool_piece *p, int flags, struct err *e);
    int (*path)(const struct pool_piece *p, char out[PATH_MAX]);
};

extern const struct pool_kind pool_directory_kind, pool_device_kind, pool_lvm_kind,
    pool_ceph_kind;

/* That of the record; never NULL. */
const struct pool_kind *pool_kind_of(const json_t *member);

/* ---- label.c: words that say whose a member is ---- */

#define POOL_MARK_BYTES 128

void pool_mark(const json_t *pool, const json_t *member, char out[POOL_MARK_BYTES]);

/* The part of it that identifies: without the name of the pool. */
void pool_mark_short(const json_t *pool, const json_t *member, char out[POOL_MARK_BYTES]);
bool pool_mark_is_ours(const char *text, const json_t *pool, const json_t *member);

/* The mark of another pool is respected; `force`: unless that pool is none of this node's. */
int pool_check_mark(struct node *n, const char *text, const char *path, bool force,
                    struct err *e);
int pool_lost(const json_t *member, const char *why, struct err *e);

#endif
