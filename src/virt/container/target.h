/* target.h - the file that is executed, found once and not looked up again. */
#ifndef VIRT_CONTAINER_TARGET_H
#define VIRT_CONTAINER_TARGET_H

#include "virt/container/setup.h"

struct target {
    int file;                /* O_PATH descriptor of the file that was checked; -1 */
    int dir;                 /* the directory it lies in, ... */
    char name[NAME_MAX + 1]; /* ... and its name there, no link; "": `file` itself */
    uint64_t dev, ino;       /* of it */
    bool foreign;            /* neither a program for this machine nor a script */
    char **argv;             /* owned array of borrowed texts */
    struct strv texts;       /* those that a script's first line gave */
};

/* Find what the kernel would execute for `path`: through links, and through the first
 * lines of scripts to their interpreter, with the arguments that then belong to it.
 * -EXDEV: on that way is this program itself.  Free it in either case. */
int target_find(const struct setup *s, const char *path, char *const *argv,
                struct target *t);
void target_fini(struct target *t);

/* Move its descriptors to numbers from `least` on: those below are the program's. */
int target_move_above(struct target *t, int least);

/* Execute exactly this file; returns -errno.  `path`: as it was found by. */
int target_execute(const struct setup *s, const struct target *t, const char *path,
                   char *const *env);

#endif
