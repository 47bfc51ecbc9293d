/* node/volume/private.h - what the files about volumes share. */
#ifndef NODE_VOLUME_PRIVATE_H
#define NODE_VOLUME_PRIVATE_H

#include "base/word.h"
#include "node/pool/pool.h"
#include "node/private.h"
#include "node/record.h"
#include "node/volume/image.h"
#include "node/volume/key.h"
#include "node/volume/piece.h"

#define VOLUME_SECTOR_BYTES 512
#define LAYER_ID_DIGITS     16
#define LAYER_CHAIN_MOST    200 /* of layers that stand on each other */

const char *volume_text(const json_t *object, const char *key); /* "" when missing */
uint64_t volume_number(const json_t *object, const char *key);

/* ---- record.c: a volume ---- */
struct volume {
    char name[WORD_NAME_BYTES];
    json_t *record;   /* owned */
    int64_t revision; /* of the record in the store */
};

void volume_fini(struct volume *v);
int volume_load(struct node *n, const char *name, struct volume *ret, struct err *e);
bool volume_is_disk(const json_t *volume);

/* The right to change the graph of a volume, until the descriptor is closed; -EBUSY. */
int volume_lock(struct node *n, const char *name, int *ret_fd, struct err *e);

/* Of a volume that is gone; the lock is held. */
void volume_forget_lock(const struct node *n, const char *name);

/* Load one that is a disk, under its lock. */
int volume_load_disk(struct node *n, const char *name, struct volume *ret, int *ret_lock,
                     struct err *e);

/* Whether the volume is that of "NAME:/PATH...", or of "NAME", as a machine has it. */
bool volume_is_named(const char *text, const char *name);

/* Names of the guests that have it; the caller owns the list. */
json_t *volume_users(struct node *n, const char *name);
void volume_now(char out[32]);

/* The snapshot of that name, borrowed; NULL. */
json_t *volume_snapshot_of(const json_t *volume, const char *snapshot);

/* ---- files/files.c: volumes that are directories (directory.h) ---- */
void volume_path(const struct node *n, const char *name, const char *tail,
                 char out[PATH_MAX]);

/* ---- layer.c: layers and who needs them ---- */
struct layer {
    char id[LAYER_ID_DIGITS + 1];
    json_t *record; /* owned */
    json_t *pool;   /* owned */
};

/* The layers that a disk is made of, the top first. */
struct chain {
    struct layer *layers; /* owned */
    size_t count;
    int key; /* owned: the passphrase of those that are encrypted; 0: none; or: */
};

#define CHAIN_LOCKED (-1) /* opened without: what they hold cannot be read */

void layer_fini(struct layer *l);
int layer_load(struct node *n, const char *id, struct layer *ret, struct err *e);
void chain_fini(struct chain *c);
int chain_load(struct node *n, const char *top, struct chain *ret, struct err *e);

/* No more than the first `most` of them: what takes the same time for every chain. */
int chain_load_most(struct node *n, const char *top, size_t most, struct chain *ret,
                    struct err *e);

/* A layer that does not exist yet; fills in all but its pieces. */
struct layer_plan {
    const json_t *pool;
    const char *class;
    const char *format; /* raw, qcow2 */
    uint64_t size_bytes;
    const struct layer *parent; /* NULL: stands alone */
    const struct layer *beside; /* NULL: as the parent, or where there is room */
    uint32_t block_bytes;       /* 0: as the parent, or 512 */
    const struct layer *like; /* has the same passphrases; NULL: as the parent, or none */
    int key;                  /* encrypted by this passphrase; 0: by none of its own */
    uint64_t key_work;        /* rounds to try it; 0: the usual */
    const json_t *of;         /* what says which filter it has; NULL: none */
};

/* Choose members, make an empty layer there, durable; until `layer_settle` it is swept when
 * this process dies.  The caller owns *ret and ends it with `layer_fini`. */
struct layer_new {
    struct layer layer;
    int intent; /* owned: held while the layer is being made */
};

int layer_make(struct node *n, const struct layer_plan *p, struct layer_new *ret,
               struct err *e);

/* The same for a device of the host that is there. */
int layer_make_device(struct node *n, const char *path, uint64_t size_bytes,
                      struct layer_new *ret, struct err *e);

/* Its record and keys, for a transaction; `user` is the first who needs it. */
void layer_record(struct record_change *c, const struct layer *l, const char *user);

/* After the transaction: keep it (or, when it failed, take its pieces away). */
void layer_settle(struct node *n, struct layer_new *l, bool kept);

/* "v/NAME", "s/NAME/SNAPSHOT", "l/CHILD" needs the layer, and does no more. */
void layer_use(struct record_change *c, const char *id, const char *user);
void layer_unuse(struct record_change *c, const char *id, const char *user);

/* Layers that go with the users they lose. */
#define LAYER_RELEASE_MOST 20 /* in one transaction */

struct layer_release {
    int held;                             /* borrowed; 0: none */
    char held_layer[LAYER_ID_DIGITS + 1]; /* which it holds */
    struct strv users;                    /* full keys that go */
    struct strv gone;                     /* ids */
    char rest[LAYER_ID_DIGITS + 1];       /* "" or where a long chain goes on */
    char rest_user[KV_KEY_BYTES];
};

void layer_release_fini(struct layer_release *r);

/* `held` (borrowed) is a hold on that layer, which may be one of those that go. */
void layer_release_hold(struct layer_release *r, const char *layer, int held);

/* `user` needs the layer no more: when nobody does, it goes, and its parent loses it. */
int layer_release(struct node *n, struct layer_release *r, const char *id,
                  const char *user, struct err *e);
void layer_release_record(struct record_change *c, const struct layer_release *r,
                          struct node *n);

/* The layer `gone` went into another: the change has what its users (`users`) need, and nobody
 * else may have come to need it. */
int layer_merge_do(struct node *n, struct record_change *c, struct layer_release *gone,
                   const struct strv *users, struct err *e);

/* Do the change and the release in one transaction, and take the bytes away. */
int layer_release_do(struct node *n, struct record_change *c, struct layer_release *r,
                     struct err *e);

/* Users of a layer as texts behind "/layer-users/ID/". */
int layer_users(struct node *n, const char *id, struct strv *ret, struct err *e);

/* ---- verbs of disks, one file each ---- */
json_t *disk_volume_record(const char *name, const json_t *order,
                           const struct layer *top);

/* Put the record of a new volume and its top layer, with what else is in the change; -EEXIST. */
int disk_volume_add(struct node *n, const json_t *record, const struct layer *top,
                    struct record_change *c, struct err *e);
int disk_volume_create(struct node *n, const char *name, const json_t *order,
                       json_t **ret, struct err *e);

int disk_volume_delete(struct node *n, const char *name, bool snapshots, struct err *e);
int disk_volume_snapshot(struct node *n, const json_t *order, json_t **ret,
                         struct err *e);

/* Rows of the list of snapshots; the caller owns it. */
int volume_snapshots(struct node *n, const struct volume *v, json_t **ret, struct err *e);
int disk_volume_clone(struct node *n, const json_t *order, json_t **ret, struct err *e);
int disk_volume_resize(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* serve.c: the disk is opened and locked for us alone; a descriptor, -EBUSY. */
int disk_open_alone(struct node *n, const struct volume *v, const struct layer *top,
                    struct err *e);

/* The same for a reader, beside other readers: nobody writes to it meanwhile. */
int disk_open_steady(struct node *n, const struct volume *v, const struct layer *top,
                     struct err *e);

/* copy.c */
struct words;

struct disk_source {
    struct words *words; /* of the source, which is called `from` there */
    uint64_t size_bytes;
    const char *format;   /* of the new layer */
    int key;              /* borrowed: of the new layer; 0: it is not encrypted */
    uint32_t block_bytes; /* of its disk; 0: 512 */
};

/* A new volume, as the order has it, with what the source reads. */
int disk_volume_make_from(struct node *n, const json_t *order,
                          const struct disk_source *source, json_t **ret, struct err *e);
int disk_volume_import(struct node *n, const json_t *order, json_t **ret, struct err *e);
int disk_volume_write_file(struct node *n, const struct volume *v, const json_t *order,
                           struct err *e);

/* What the chain reads goes to an empty layer; sharing bytes where the file system can. */
int disk_copy_layer(struct node *n, const struct chain *from, struct layer *to,
                    struct err *e);

/* move.c, look.c */
int disk_volume_move(struct node *n, const json_t *order, json_t **ret, struct err *e);
int disk_volume_check(struct node *n, const json_t *order, json_t **ret, struct err *e);
int disk_volume_locate(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* Who only reads an array with parity cannot finish what another, who was killed, left in its journal:
 * -EOWNERDEAD.  Finish it in all layers of the disk and its snapshots; -EBUSY: others have one open.
 * The volume's lock is held; the second takes it. */
int disk_settle_journals(struct node *n, const struct volume *v, struct err *e);
int volume_settle_journals(struct node *n, const char *name, struct err *e);

/* tidy.c: merge what is there for one other layer alone, where nobody reads it. */
void volume_tidy(struct node *n, const char *name, const json_t *order);
unsigned volume_untidy(struct node *n, const struct chain *chain); /* layers that wait */

/* The image of a layer calls the one that it stands on by its name of now, for other tools;
 * -EBUSY: somebody has it open.  `unlocked`: and nobody writes to it. */
int layer_rename_parent(struct node *n, const struct layer *child,
                        const struct layer *parent, bool unlocked);

/* backup.c */
int backup_list_load(int dir, const char *path, json_t **ret, struct err *e);
int backup_list_save(int dir, const json_t *list);
const json_t *backup_list_last(const json_t *list); /* borrowed; NULL: it is empty */
int disk_volume_backup(struct node *n, const json_t *order, json_t **ret, struct err *e);
int disk_volume_restore(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* snapshot.c: the top is kept, under a name (NULL: none), and the volume goes on above
 * it, in its worker or in the records alone. */
struct disk_hold;
int disk_volume_freeze(struct node *n, struct volume *v, const struct layer *top,
                       const char *name, const struct disk_hold *hold, struct err *e);
int disk_freeze_live(struct node *n, struct volume *v, const struct layer *top,
                     const char *name, const struct disk_hold *hold, struct err *e);

/* Parts of that, on the record in memory; a new, empty layer over another. */
void volume_set_top(struct volume *v, const struct layer *top);
void volume_add_snapshot(struct volume *v, const char *name, const char *layer);
int volume_make_over(struct node *n, const struct volume *v, const struct layer *parent,
                     struct layer_new *ret, struct err *e);

/* As `node_volume_export`. */
int disk_volume_serve(struct node *n, const struct volume *v, const json_t *order,
                      void (*ready)(void *arg, const char *address), void *arg,
                      struct err *e);

#endif
