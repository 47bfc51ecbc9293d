/* node/volume/mounted.h - disks of volumes as files of the host, and where those are mounted; made by
 * the folder `node/volume/use`. */
#ifndef NODE_VOLUME_MOUNTED_H
#define NODE_VOLUME_MOUNTED_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct layer;
struct node;
struct volume;
struct words;

/* ---- served.c ---- */

/* The disk of these words as an open file; the program that serves it has nothing else, and
 * ends when nobody has the file open any more.  The words are used up. */
int mounted_file(struct node *n, struct words *w, bool read_only, int *ret_file,
                 struct err *e);

/* The disk of a volume as a file to be written to: by its worker, so that it can be kept,
 * resized and moved meanwhile.  The volume's lock is held.  -EBUSY: it is served already. */
int mounted_live(struct node *n, const struct volume *v, const json_t *order,
                 int *ret_file, struct err *e);

/* The disk of a new layer, for programs that write to it. */
int mounted_layer(struct node *n, const struct layer *top, int key, int *ret_file,
                  struct err *e);

/* ---- attach.c ---- */

/* Whether there is a volume of that name, and it is a disk. */
bool volume_names_disk(struct node *n, const char *name);

/* A file system of that type on a new disk, before anybody has it; `key`: its passphrase, or 0. */
int disk_volume_format(struct node *n, const struct layer *top, int key, const char *type,
                       struct err *e);

/* The disk of a volume, whose lock is held, as a file; the order has the passphrase.
 * -EBUSY: somebody else uses it. */
int mounted_open(struct node *n, const struct volume *v, const json_t *order, bool writes,
                 int *ret_file, struct err *e);

/* ---- extract.c ---- */

/* A file or directory of the disk of these words, which are used up, to the host, as
 * the order says: "file", "to", "partition", "owners". */
int disk_extract(struct node *n, struct words *w, const json_t *order, json_t **ret,
                 struct err *e);

/* Where a copy goes: a directory that exists takes it under its own name. */
struct disk_place {
    int dir; /* owned */
    char name[NAME_MAX + 1];
};

int disk_find_target(const char *to, const char *name, struct disk_place *ret,
                     struct err *e);

/* The same of a snapshot, which the order's "directory" names: VOLUME@SNAPSHOT. */
bool disk_is_snapshot_word(const char *word);
int disk_extract_snapshot(struct node *n, const json_t *order, json_t **ret,
                          struct err *e);

/* ---- mounted.c ---- */

#define MOUNTED_MOST 16 /* places of one disk: partitions */

struct mounted_place {
    int dir; /* owned: the root of the file system */
    char device[32];
    char type[16];
};

/* Where a running guest has a disk mounted to be written to; count 0: nowhere.  A machine has it as
 * a disk of its own. */
struct mounted {
    struct mounted_place places[MOUNTED_MOST];
    size_t count;
    char guest[64];         /* its name */
    char machine[PATH_MAX]; /* its run-time files; "": it is none */
};

void mounted_find(struct node *n, const char *volume, struct mounted *ret);
void mounted_fini(struct mounted *m);

/* The devices see that their disk is larger; `grow`: and the file systems on them. */
int mounted_grown(struct mounted *m, bool grow, struct err *e);

/* The machine, and the system in it, see that their disk `volume` has so many bytes. */
int mounted_told(const struct mounted *m, const char *volume, uint64_t bytes,
                 struct err *e);

/* ---- keep.c ---- of a raw disk that a guest has mounted and no worker serves */

/* Keep it as it is now, by a copy that has its bytes in common with it; -EBUSY: it is not mounted;
 * -EOPNOTSUPP: the file system of its pool cannot. */
int disk_keep_mounted(struct node *n, struct volume *v, const struct layer *top,
                      const char *name, struct err *e);

/* ---- freeze.c ---- */

/* A file system that stands still: all that was written to it is on its disk. */
struct mounted_freeze {
    struct node *n;
    const char *volume; /* borrowed */
    int child; /* owned: the one who lets it go on, also when we are killed; -1: none */
    pid_t pid;
    int agent; /* owned: of a machine that has the disk; -1: none */
};

/* Where the disk is mounted, a machine with an agent included; else nothing is done.  -ETIMEDOUT: it has too much to write. */
int mounted_freeze(struct node *n, const char *volume, struct mounted_freeze *ret,
                   struct err *e);

/* It goes on.  -ETIMEDOUT: it went on before. */
int mounted_thaw(struct mounted_freeze *f, struct err *e);

/* What was forgotten, when both of us were killed, goes on; `volume` NULL: everywhere. */
void mounted_mend(struct node *n, const char *volume);

#endif
