/* private.h - what the files of this folder share. */
#ifndef RESOURCE_STORAGE_JOB_PRIVATE_H
#define RESOURCE_STORAGE_JOB_PRIVATE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/job/job.h"

struct job_copy;

/* ---- root.c ---- */

/* A disk that is no longer on top and has to be flushed with the root until it is durable.
 * One at a time; -EBUSY. */
int job_root_owe(struct blk *root, struct blk *disk, struct err *e);

/* Flush it; 0: it is durable, and the root has done with it. */
int job_root_pay(struct blk *root);

/* Wait until no guest's request is under way that makes something durable; those that come
 * wait until they are let.  One job at a time. */
void job_root_hold_flushes(struct blk *root);
void job_root_let_flushes(struct blk *root);

/* ---- follow.c ---- */

struct job_follow_options {
    struct blk *second; /* that is to be made equal */
    bool only_own;      /* the first stands on it: copy what it holds itself */
};

/* Put it over the disk that `edge` leads to.  All is to be copied, or what is marked. */
int job_follow_insert(struct blk_edge *edge, const struct job_follow_options *o,
                      struct err *e);
struct job_copy *job_follow_copy(struct blk *b);

/* What is durable on the first is so on the second from now on. */
int job_follow_both(struct blk *b);

/* The second disk takes the place of both.  -EAGAIN: they are not equal. */
int job_follow_turn(struct blk_edge *edge, const struct job_control *j, struct err *e);

/* The first one does, as before. */
int job_follow_undo(struct blk_edge *edge);

/* ---- before.c ---- */

struct job_before_options {
    struct blk *copy; /* where what was there goes */

    /* Mark what is to be copied.  No request is under way. */
    int (*begin)(void *arg, struct job_copy *c, struct err *e);
    void *arg;
};

int job_before_insert(struct blk_edge *edge, const struct job_before_options *o,
                      struct err *e);
struct job_copy *job_before_copy(struct blk *b);

#endif
