/* node/verb/private.h - what the verbs share. */
#ifndef NODE_VERB_PRIVATE_H
#define NODE_VERB_PRIVATE_H

#include "node/private.h"

#define VERB_LOCK_WAIT_MS 10000

struct probe_result;

/* A guest and what it is doing now; the caller ends it with `guest_fini`. */
int verb_find(struct node *n, const char *word, struct guest *g, struct guest_status *st,
              struct err *e);

/* Record whether the guest is to run: "running" or "stopped". */
int verb_set_desired(struct node *n, struct guest *g, const char *word, struct err *e);

/* Start a guest that is not running and whose lock is ours. */
int verb_start(struct node *n, struct guest *g, int lock, bool attach, int *ret_console,
               struct err *e);

/* Ask the keeper; returns when the guest and what it held are gone.  signal 0 and
 * timeout UINT64_MAX: the guest's own. */
int verb_stop(struct node *n, struct guest *g, int signal, uint64_t timeout_ms,
              struct err *e);

/* A copy between a guest and here. */
struct verb_copy {
    const char *path;  /* of the guest */
    const char *there; /* of the host; "-": a tar stream */
    bool is_output;    /* from the guest */
    bool follows;      /* what a link leads to */
};

/* cp_machine.c: the same for a machine. */
int verb_cp_machine(struct node *n, struct guest *g, const struct verb_copy *c,
                    struct err *e);
/* The same without letting a paused one go on first. */
int verb_end(struct node *n, struct guest *g, int signal, uint64_t timeout_ms,
             struct err *e);

/* host.c: "ok", "limited" or "missing" of an `enum probe_answer`. */
const char *verb_answer(int answer);

/* features.c: {feature: {here, container, machine}}; strategies.c: {strategy: {guests, ...}}. */
json_t *verb_features(void);
json_t *verb_strategies(const struct probe_result *rows, size_t count);

#endif
