/* node/verb/private.h - what the verbs share. */
#ifndef NODE_VERB_PRIVATE_H
#define NODE_VERB_PRIVATE_H

#include "node/private.h"

#define VERB_LOCK_WAIT_MS 10000

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

/* Volumes that are disks (volume_disk.c); `volume` is a record. */
bool volume_is_disk(const json_t *volume);

/* Make the file of a new disk, sparse and durable. */
int volume_disk_make(const char *path, uint64_t bytes);

/* Add what only the file knows: the room that it takes. */
void volume_disk_describe(json_t *volume);

/* 0: nobody uses it; -EBUSY. */
int volume_disk_free(const json_t *volume, struct err *e);

/* Change the file as the order says, and then the record (in memory). */
int volume_disk_resize(json_t *volume, const json_t *order, struct err *e);

/* As `node_volume_export`. */
int volume_disk_serve(struct node *n, const json_t *volume, const json_t *order,
                      void (*ready)(void *arg, const char *address), void *arg,
                      struct err *e);

#endif
