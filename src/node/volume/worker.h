/* node/volume/worker.h - the process that serves a volume in use, seen from commands. */
#ifndef NODE_VOLUME_WORKER_H
#define NODE_VOLUME_WORKER_H

#include "node/volume/private.h"
#include "node/volume/words.h"

/* Talk to the worker of a volume, which does not end meanwhile; a descriptor, or -ENOENT without a
 * text: there is none, or it is ending.  One for care alone (below) is told to end. */
int volume_worker_connect(struct node *n, const char *name);

/* The same, of any: for who looks at it, and lets others have the disk. */
int volume_worker_peek(struct node *n, const char *name);

/* One for care alone: of an encrypted disk, started without its passphrase for what needs none.  It
 * ends (-ECANCELED) when somebody wants the disk.  The volume's lock is held. */
int volume_worker_for_care(struct node *n, const struct volume *v, int *ret_fd,
                           struct err *e);

/* The same, and one is started when there is none; the volume's lock is held.  `tls` may be
 * NULL. */
int volume_worker_need(struct node *n, const struct volume *v, const json_t *order,
                       int *ret_fd, struct err *e);

/* A clock for those who wait for one to end. */
int64_t volume_now_ms(void);

/* Whether one may be alive or ending. */
bool volume_worker_has_socket(const struct node *n, const char *name);
void volume_worker_forget(const struct node *n, const char *name);

struct worker_ask {
    struct words *words;                    /* a message: the verb first */
    words_line_fn *line;                    /* may be NULL */
    int (*ready)(void *arg, struct err *e); /* of a job with `hold`; 0: go on */
    void *arg;
};

/* Ask, and wait for the end of the answer. */
int volume_worker_ask(struct node *n, int fd, const struct worker_ask *a, struct err *e);

struct worker_now {
    char top[LAYER_ID_DIGITS + 1]; /* the layer that it writes to */
    bool turns;                    /* a move or a merge is under way */
    bool serves;                   /* somebody */
    bool locked;                   /* it is for care alone */
    int pid;
};

int volume_worker_look(struct node *n, int fd, struct worker_now *ret, struct err *e);

/* What it was started with: the words of disks that are added say the same. */
int volume_worker_block(struct node *n, int fd, unsigned *ret, struct err *e);

/* How many exports it has, of that kind or (NULL) of any; when it does not say: -errno. */
int volume_worker_exports(struct node *n, int fd, const char *way);

/* Words for a layer's node that stands alone, named by its id. */
int volume_worker_layer(struct node *n, const struct layer *l, int key, struct words *w,
                        struct err *e);

/* A volume's disk for a change: by its worker, or alone. */
struct disk_hold {
    int control; /* owned; -1: there is no worker */
    int alone;   /* owned; -1: there is a worker */
    int key;     /* owned: the passphrase for new layers of the worker's; 0: none */
};

int disk_take(struct node *n, const struct volume *v, const struct layer *top,
              struct disk_hold *ret, struct err *e);
void disk_let_go(struct disk_hold *h);

/* A worker opens new layers with the passphrase of the order, if the disk is encrypted. */
int disk_hold_key(struct node *n, const struct volume *v, struct disk_hold *h,
                  const struct layer *top, const json_t *order, struct err *e);

/* As `volume_load`; what was interrupted at a disk is ended first. */
int volume_load_settled(struct node *n, const char *name, struct volume *ret,
                        struct err *e);

/* Of a change that was killed while a worker was at it: end it; the volume's lock is held. */
int disk_settle(struct node *n, struct volume *v, struct err *e);

/* move.c, tidy.c: of a move, of a merge; `now` is the layer that was written last. */
int disk_settle_move(struct node *n, struct volume *v, const char *now, struct err *e);
int disk_settle_merge(struct node *n, struct volume *v, const char *now, struct err *e);

/* live.c: a file that says whether a worker has left one layer for another: a digit, 1 once
 * that is so.  It outlives both, and the host. */
int volume_turn_make(struct node *n, const char *name, int *ret_fd, struct err *e);
void volume_turn_forget(const struct node *n, const char *name);

/* live.c: put the record with what else is in the change, and load it anew. */
int volume_save(struct node *n, struct volume *v, struct record_change *c, struct err *e);

#endif
