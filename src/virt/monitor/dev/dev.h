/* dev.h - a device of a machine: what every model has.
 *
 * A class is one row of functions; the machine allocates `state_bytes`, whose first
 * member is a `struct dev`.  Two machines may live in one process.
 *
 * Threads: under the board's lock, unless a device says otherwise. */
#ifndef VIRT_MONITOR_DEV_DEV_H
#define VIRT_MONITOR_DEV_DEV_H

#include <stdbool.h>
#include <stddef.h>

struct board;
struct dev;
struct err;
struct snap;

struct dev_class {
    const char *name;
    const char *summary; /* one line for people */
    const char *source;  /* document, version, section that the model follows */
    size_t state_bytes;

    /* Claim addresses; `config` is what the class's header says, borrowed.  On failure
     * leave nothing claimed. */
    int (*start)(struct dev *d, const void *config, struct err *e);

    /* Guest-visible reset; keeps claims.  NULL: there is no state. */
    void (*reset)(struct dev *d);

    /* The guest-visible state, both ways.  NULL: there is none. */
    void (*carry)(struct dev *d, struct snap *s);

    /* Take nothing new and finish what was taken: whether it is done; else the machine asks
     * again.  All vCPUs stand still; on the loop's thread, without the lock.  NULL: it is
     * done at once. */
    bool (*rest)(struct dev *d);

    /* Go on after `rest`, also from a state that came by `reset` or `carry` meanwhile; these
     * two are called at rest only.  On the loop's thread, without the lock.  NULL: there is
     * nothing to do. */
    void (*wake)(struct dev *d);

    /* Undo start.  NULL: claims go with the board. */
    void (*stop)(struct dev *d);
};

struct dev {
    const struct dev_class *class;
    struct board *board;
};

int dev_create(const struct dev_class *class, struct board *b, const void *config,
               struct dev **ret, struct err *e);
void dev_destroy(struct dev *d);

#endif
