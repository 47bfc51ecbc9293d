/* pool.h - pools: the directories and devices of this host that volumes lie on.
 *
 * A pool is a record, /pools/NAME; the pool `default` is there without one and has one
 * member, the directory STATE/pool.  Layers (node/volume) that lie on a pool have a key
 * below /pool-layers/NAME/, so that no pool goes while something lies on it. */
#ifndef NODE_POOL_POOL_H
#define NODE_POOL_POOL_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct node;
struct words;

#define POOL_DEFAULT      "default"
#define POOL_MEMBERS_MOST 32
#define POOL_CLASS_USUAL  "normal"

enum pool_state {
    POOL_OK,
    POOL_FULL, /* takes no new layers */
    POOL_SLOW, /* does not answer in time */
    POOL_LOST, /* not there, or something else is there */
    POOL_STATE_COUNT
};

/* What a member can take. */
struct pool_room {
    enum pool_state state;
    uint64_t total_bytes; /* zeros when it is lost or does not answer */
    uint64_t used_bytes;
    uint64_t free_bytes;
};

const char *pool_state_name(enum pool_state s);

/* The record of a pool; -ENOENT with a text.  The caller owns it. */
int pool_load(struct node *n, const char *name, json_t **ret, struct err *e);

/* The member of that number, borrowed; NULL: there is none. */
json_t *pool_member(const json_t *pool, unsigned id);
unsigned pool_member_id(const json_t *member);
const char *pool_member_path(const json_t *member);
bool pool_member_is_leaving(const json_t *member); /* it takes nothing new */

/* ---- members that come and go ---- */

/* A word of the command line, PLACE[,class=CLASS], as a member without number. */
int pool_parse_member(const char *word, json_t **ret, struct err *e);

/* Make it ready and put the pool's label on it.  One that has something in it is
 * refused. */
int pool_claim_member(struct node *n, const json_t *pool, const json_t *member,
                      bool force, struct err *e);
void pool_release_member(struct node *n, const json_t *pool, const json_t *member);

/* Ask a member how it is, in a child with a time limit: a device that hangs does not hang
 * the caller. */
void pool_look(struct node *n, const json_t *pool, const json_t *member,
               struct pool_room *ret);

/* The directory `what` (layers, files, images) of a member that carries our label, made when
 * missing; a descriptor, or -ENODEV with a text; -EOPNOTSUPP: the member is none. */
int pool_open_dir(struct node *n, const json_t *pool, const json_t *member,
                  const char *what, struct err *e);

/* ---- what members hold of layers ---- */

enum pool_part {
    POOL_PART_DATA,
    POOL_PART_MAP, /* of a span: what lies on which member */
    POOL_PART_COUNT
};

struct pool_piece {
    const json_t *pool;
    const json_t *member;
    const char *layer; /* its id */
    enum pool_part part;
};

#define POOL_NODE_BYTES 120 /* of the name of a node */

enum pool_use {
    POOL_USE_READ,
    POOL_USE_WRITE,
    POOL_USE_NEW
};

/* What the words of a disk call a piece. */
struct pool_node {
    const char *name;
    enum pool_use use;
    uint64_t bytes; /* of a new one; 0: it grows */
    uint64_t most;  /* what that may come to */
    bool unlocked;  /* of a file: who asks knows that nobody is disturbed */
};

/* Words for the node of that name, with the bytes of the piece.  A new one is there once they
 * were run; -EEXIST, -ENODEV. */
int pool_piece_words(struct node *n, const struct pool_piece *p,
                     const struct pool_node *as, struct words *w, struct err *e);

/* A word `reopen=` for a worker that has the piece as that node, for reading only: it can be
 * written then.  -EOPNOTSUPP: its kind cannot be. */
int pool_piece_reopen(struct node *n, const struct pool_piece *p, const char *name,
                      struct words *w, struct err *e);

/* Keep others from using it (`writes`), or from writing to it, until the descriptor is closed.
 * -EBUSY without a text: somebody does.  -ENODEV. */
int pool_piece_hold(struct node *n, const struct pool_piece *p, bool writes,
                    struct err *e);

/* Bytes that it takes; -ENOENT. */
int pool_piece_used(struct node *n, const struct pool_piece *p, uint64_t *ret);

/* It is gone, or never was: 0.  `held`: what `pool_piece_hold` gave, if it was for this one; 0:
 * nothing.  -EBUSY: somebody else has it, and its kind cannot do without it then. */
int pool_piece_remove(struct node *n, const struct pool_piece *p, int held);

/* As a file of the host, and its path; -EOPNOTSUPP: it is none. */
int pool_piece_open(struct node *n, const struct pool_piece *p, int flags, struct err *e);
int pool_piece_path(const struct pool_piece *p, char out[PATH_MAX]);
bool pool_member_has_files(const json_t *member);

/* Before it gets another size: where its kind cannot do so by itself. */
int pool_piece_resize(struct node *n, const struct pool_piece *p, uint64_t bytes,
                      struct err *e);

/* Sizes of its pieces that do not grow are multiples of this. */
uint64_t pool_member_unit(const json_t *member);

/* All pieces of a member that is there. */
typedef void pool_piece_fn(void *arg, const struct pool_piece *p);
int pool_piece_list(struct node *n, const json_t *pool, const json_t *member,
                    pool_piece_fn *each, void *arg);

/* Where a new layer of that class may lie. */
struct pool_choice {
    unsigned id[POOL_MEMBERS_MOST]; /* the one with most room first */
    unsigned count;
};

/* -ENOSPC: all that could take it are full; -ENODEV: lost. */
int pool_choose(struct node *n, const json_t *pool, const char *class,
                struct pool_choice *ret, struct err *e);

/* -ENOSPC when layers of `bytes` more would pass the pool's quota. */
int pool_check_quota(struct node *n, const json_t *pool, uint64_t bytes, struct err *e);

#endif
