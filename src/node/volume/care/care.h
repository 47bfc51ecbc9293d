/* node/volume/care/care.h - what the files about the care of pools share. */
#ifndef NODE_VOLUME_CARE_CARE_H
#define NODE_VOLUME_CARE_CARE_H

#include "node/volume/arrange.h"
#include "node/volume/option_layer.h"
#include "node/volume/worker.h"

/* A volume over a layer, kept from other commands. */
struct care_holder {
    struct volume v;
    int lock;    /* owned */
    int control; /* owned; -1: it has no worker */
};

struct care_holders {
    struct care_holder *list; /* owned */
    size_t count;
};

/* ---- holders.c ---- */

/* Names of the volumes that have the layer, by themselves, a snapshot or a clone; sorted. */
int care_volumes(struct node *n, const char *layer, struct strv *ret, struct err *e);

/* All of them, locked and settled. */
int care_hold(struct node *n, const char *layer, struct care_holders *ret, struct err *e);
void care_let_go(struct care_holders *h);

/* The one whose top the layer is; NULL. */
struct care_holder *care_writer(const struct care_holders *h, const struct layer *l);

/* One with a worker; NULL: nobody uses the layer, as far as workers do. */
struct care_holder *care_live(const struct care_holders *h);

/* The one whose worker moves what lies below a layer: who writes to it, or the only worker that
 * reads it, as it alone knows then where its parts are.  NULL: there is none. */
struct care_holder *care_mover(const struct care_holders *h, const struct layer *l);

/* ---- change.c: a member of a pool is to be empty ---- */

struct care {
    struct node *n;
    json_t *pool;     /* owned */
    int64_t revision; /* of its record */
    int lock;         /* owned */
    unsigned member;  /* that is left */
    unsigned to;      /* the only one that takes its place; 0: any */
    bool lost;        /* the member is not there: what it had is made of other copies */
    bool again;       /* a command that was killed had begun it */
    unsigned moved;   /* layers */
    unsigned rebuilt;
    struct strv notes; /* for people */
};

/* The pool, its record as it is, and nobody else takes care of it meanwhile. */
int care_begin(struct node *n, const char *pool, struct care *ret, struct err *e);
void care_end(struct care *c);

/* Put the record of the pool, if nobody changed it meanwhile (-EAGAIN with a text). */
int care_save(struct care *c, struct err *e);
int care_reload(struct care *c, const char *name, struct err *e);
const char *care_pool(const struct care *c);

/* The member that a word names: by its number or its path. */
int care_find_member(const json_t *pool, const char *word, json_t **ret, struct err *e);

/* Ids of the layers of the pool, with something on that member (0: all). */
int care_layers(struct node *n, const char *pool, unsigned member, struct strv *ret,
                struct err *e);
int care_piece_of(const struct layer *l, unsigned member); /* its number; -1 */
bool care_lacks_map(const struct layer *l); /* a copy that a member could have */

/* What would be lost with the member: -ENODATA and a text that says all of it. */
int care_check_loss(struct care *c, struct err *e);

/* Bring everything away from the member. */
int care_empty(struct care *c, struct err *e);

/* ---- piece.c: one layer's part of it ---- */

/* Images that stand on the layer name it where it is now, for other tools. */
void care_rename(struct care *c, const struct layer *l, const struct care_holders *h);

/* With its volumes held. */
int care_move_layer(struct care *c, const struct layer *l, struct care_holders *h,
                    struct err *e);

/* The same layer with another member for a piece; 0: nobody.  To be ended with `layer_fini`. */
int care_moved(const struct layer *l, unsigned at, unsigned to, struct layer *ret,
               struct err *e);
int care_same(const struct layer *l, struct layer *ret, struct err *e);

/* Members for what leaves; -ENOSPC. */
int care_choose(struct care *c, const struct layer *l, struct pool_choice *ret,
                struct err *e);

/* The layer has its pieces where `to` says; what the volumes' records say of them, too. */
int care_record(struct care *c, struct layer *to, struct care_holders *h, struct err *e);

/* What a member has of a layer. */
struct care_part {
    const struct layer *l;
    unsigned at;
    bool map; /* of a span: the copy of that number */
};

/* Its bytes to a new one, durable. */
int care_copy(struct node *n, const struct care_part *from, const struct care_part *to,
              struct err *e);
int care_size(struct node *n, const struct care_part *p, uint64_t *ret, struct err *e);

/* Who has it open and cannot be asked. */
int care_refuse_use(const struct care_holder *h, const char *why, struct err *e);

#define CARE_NODE_BYTES 64

/* What a worker calls the disk over the pieces. */
void care_node(const struct layer *l, char out[CARE_NODE_BYTES]);

/* ---- span.c, rebuild.c ---- */
int care_move_span(struct care *c, const struct layer *l, unsigned at,
                   struct care_holders *h, struct err *e);

/* Make a member's part anew from the others. */
int care_rebuild(struct care *c, const struct layer *l, unsigned at,
                 struct care_holders *h, struct err *e);

/* The same with a copy of the map of a span, which is announced: on a member that has a piece
 * of it and no copy, or nowhere; with those that nobody has before it.  -1: those alone.  `l` is
 * as it is recorded. */
int care_rebuild_map(struct care *c, struct layer *l, int copy, struct care_holders *h,
                     struct err *e);

/* Copy what somebody was to copy who was killed; a worker that writes to it does so itself. */
int care_make_equal(struct care *c, struct layer *l, struct care_holders *h,
                    struct err *e);

/* Let another member take over an empty role: as `care_rebuild`, member 0. */
int care_fill(struct care *c, const struct layer *l, struct care_holders *h,
              struct err *e);

/* ---- remove.c: what it has in common with replace ---- */

/* Find the member, and whether it is as `lost` says; *ret_member is as it was (owned). */
int care_prepare(struct care *c, const char *word, bool lost, json_t **ret_member,
                 struct err *e);

/* Empty the member and forget it; c->to no longer waits for it. */
int care_leave(struct care *c, struct err *e);
json_t *care_result(const struct care *c, const json_t *member);

/* ---- the verbs, one file each ---- */
int care_remove(struct node *n, const json_t *order, json_t **ret, struct err *e);
int care_replace(struct node *n, const json_t *order, json_t **ret, struct err *e);
int care_scrub(struct node *n, const json_t *order, json_t **ret, struct err *e);
int care_set(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* show.c: what is known of how the volumes of a pool are, added to what describes it. */
void care_show(struct node *n, json_t *pool);

/* When it is to be scrubbed, as seconds; whether that is now. */
bool care_is_due(const json_t *pool);

#endif
