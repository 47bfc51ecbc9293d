/* node/volume/archive.h - backups of volumes that are directories, made by the folder
 * `node/volume/archive`. */
#ifndef NODE_VOLUME_ARCHIVE_H
#define NODE_VOLUME_ARCHIVE_H

#include <jansson.h>
#include <stdbool.h>

struct err;
struct node;

/* Whether an entry of a list of backups (backup.c) is of a directory. */
bool archive_is_one(const json_t *backup);

/* The verb `backup` of one; `list` is that of the open directory `dir`, and gets a row. */
int archive_backup(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* What a verb `restore` wants of this backup in the open directory: a volume, or a file out of it. */
int archive_restore(struct node *n, const json_t *order, int dir, const json_t *backup,
                    json_t **ret, struct err *e);

#endif
