/* node/volume/directory.h - volumes that are directories: where they lie, their quotas, their moves; made
 * by the folder `node/volume/files`. */
#ifndef NODE_VOLUME_DIRECTORY_H
#define NODE_VOLUME_DIRECTORY_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/word.h"

struct err;
struct node;

/* ---- files.c ---- */

int directory_create(struct node *n, const char *name, const json_t *order, json_t **ret,
                     struct err *e);
int directory_delete(struct node *n, const char *name, struct err *e);

/* What fills a new one, before it has its name; a limit that its file system does not keep may be left
 * out. */
struct directory_source {
    int (*fill)(void *arg, int data, struct err *e);
    void *arg;
    bool limit_may_go;
};

int directory_create_from(struct node *n, const char *name, const json_t *order,
                          const struct directory_source *from, json_t **ret,
                          struct err *e);

/* Its files and its limit, for those who look: members of the record. */
void directory_describe(struct node *n, json_t *record);

/* ---- place.c ---- */

/* The directory that has those of volumes: beside the state, or on a member of a pool; a descriptor,
 * -ENODEV: the member is lost. */
int directory_open_places(struct node *n, const json_t *record, struct err *e);

/* The path of its files. */
int directory_path(struct node *n, const json_t *record, char out[PATH_MAX],
                   struct err *e);

/* Give the directory of a volume, if there is one, a name that means "on its way out". */
int directory_put_away(int places, const char *name, char gone[NAME_MAX + 1]);

/* The same, and remove what has it. */
int directory_remove(struct node *n, int places, const char *name);

/* An empty one; what was left there is removed. */
int directory_make(struct node *n, int places, const char *name, uint32_t project);

/* An empty directory there under a name that no volume has; the lock (a descriptor) keeps it from
 * being swept, and `volume_forget_lock` wants its name. */
int directory_scratch(struct node *n, int places, char name[WORD_NAME_BYTES],
                      int *ret_lock, struct err *e);

/* On which member of a pool a new one lies: members of the record. */
int directory_choose(struct node *n, const json_t *pool, const char *class,
                     json_t *record, struct err *e);

/* Whether it is being moved: a directory of its name is on its way in. */
bool directory_is_moving(const struct node *n, const char *name);

/* What no record has, on members of pools. */
void directory_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg);

/* ---- quota.c ---- */

/* A number for what belongs together there, and how much it may take.  -EOPNOTSUPP, with what else to do:
 * the file system counts nothing. */
int directory_take_project(int places, uint64_t most_bytes, uint32_t *ret, struct err *e);

/* Another limit; 0: none. */
int directory_set_quota(int places, uint32_t project, uint64_t most_bytes);
uint64_t directory_used(int places, uint32_t project);

/* What is made in this directory from now on belongs to it. */
int directory_set_project(int dir, uint32_t project);

/* ---- change.c ---- */

int directory_resize(struct node *n, const json_t *order, json_t **ret, struct err *e);
int directory_move(struct node *n, const json_t *order, json_t **ret, struct err *e);

#endif
