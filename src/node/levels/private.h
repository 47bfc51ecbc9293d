/* node/levels/private.h - what the files of the folder share. */
#ifndef NODE_LEVELS_PRIVATE_H
#define NODE_LEVELS_PRIVATE_H

#include "node/private.h"

/* What the job told, wherever it ran. */
struct levels_told {
    int64_t ordered_ns, began_ns, ended_ns; /* 0: not seen */
    char found[128];                        /* what it found; equal at every level */
    uint64_t memory_bytes;                  /* 0: not known */
};

/* The job as files: for a process, an image, and a machine. */
struct levels_job {
    char directory[PATH_MAX]; /* of all that is made here */
    char program[PATH_MAX];
    char initrd[PATH_MAX];
    char kernel[PATH_MAX]; /* "": there is none, `no_kernel` says why */
    char image[64];        /* "": not made yet */
    struct err no_kernel;
    uint64_t units;
};

/* job.c: everything is there when it answers 0; `levels_clear` also after a failure. */
int levels_prepare(struct node *n, const char *kernel, uint64_t units,
                   struct levels_job *ret, struct err *e);
int levels_need_image(struct node *n, struct levels_job *j, struct err *e);
void levels_clear(struct node *n, struct levels_job *j);

/* run.c: run it as a process; as a guest of the order, which is ended at once if another
 * engine than `engine` (NULL: any) was chosen for it. */
int levels_run_here(const struct levels_job *j, struct levels_told *ret, struct err *e);
int levels_run_guest(struct node *n, json_t *order, const char *engine,
                     struct levels_told *ret, struct err *e);

#endif
