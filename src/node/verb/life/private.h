/* node/verb/life/private.h - what is done to machines only, by words to their workers. */
#ifndef NODE_VERB_LIFE_PRIVATE_H
#define NODE_VERB_LIFE_PRIVATE_H

#include "node/private.h"
#include "virt/monitor/remote/remote.h"

/* A machine that runs or is paused; the caller ends it with `guest_fini`.  `what`, a verb,
 * for the errors: "cannot WHAT guest 'x': ...". */
int life_find(struct node *n, const char *word, const char *what, struct guest *g,
              struct guest_status *st, struct err *e);

/* Ask its worker. */
int life_ask(struct node *n, const struct guest *g, const struct far_question *q,
             json_t **ret, struct err *e);

/* One of a machine's disks that are files. */
struct life_disk {
    const char *word; /* as the worker takes it (node/machine/drives.h); borrowed */
    char path[PATH_MAX];
    char name[16]; /* in a snapshot */
    bool is_root;  /* of a machine made from an image */
    bool is_kept;  /* it can be written, so that there is something to keep */
};

/* life.c: do it with each of them, in their order, until one fails. */
typedef int life_disk_step(void *arg, const struct life_disk *d, struct err *e);

int life_each_disk(struct node *n, const struct guest *g, life_disk_step *step, void *arg,
                   struct err *e);

/* attach.c: a machine that is changed, and while it does not run the right to do so.  The first
 * slot for devices that come in which nothing is; 0: there is none. */
struct life_change {
    struct guest g;
    struct guest_status st;
    int lock; /* -1: it runs */
};

unsigned life_free_slot(const struct guest *g);
bool life_slot_has_disk(const struct guest *g, unsigned slot);

/* Change the record, whoever else does meanwhile, and of one that runs the plan by which it would
 * be started again; `edit` is false where there is nothing to change. */
typedef bool life_edit(struct guest *g, const char *name);
int life_save(struct node *n, struct life_change *c, life_edit *edit, const char *name,
              struct err *e);

/* Of one that runs: that plan follows the record; or it is said that it does not. */
void life_plan_again(struct node *n, struct life_change *c);

/* cable.c: the network comes to a machine, and has gone.  Whether it has the one of that name;
 * the slot of its card, if that came: wanted, before it gets a network. */
int life_attach_network(struct node *n, struct life_change *c, const char *name,
                        struct err *e);
int life_forget_network(struct node *n, struct life_change *c, struct err *e);
bool life_has_network(const struct guest *g, const char *name);
unsigned life_card_slot(const struct guest *g);
void life_want_card(struct guest *g, unsigned slot);

/* Elsewhere, if a disk is in its slot; -ENOSPC. */
int life_place_card(struct guest *g, struct err *e);

/* agent.c: the file systems of a machine that runs rest until `life_thaw`, for some seconds at
 * most: a descriptor; -1: they do not, which is said. */
int life_freeze(struct node *n, const struct guest *g);
void life_thaw(struct node *n, const struct guest *g, int take_fd);

/* save.c: its state into new files "state" and "memory" of `dir`; `ends`: it is paused, and
 * not to go on. */
int life_write_state(struct node *n, const struct guest *g, int dir, bool ends,
                     struct err *e);

/* save.c: what was saved, as a directory; a new one, and the end of its making. */
int life_open_saved(struct node *n, const struct guest *g, struct err *e);
int life_make_saved(struct node *n, const struct guest *g, struct err *e);
int life_keep_saved(struct node *n, const struct guest *g, struct err *e);
void life_drop_made(struct node *n, const struct guest *g);

#endif
