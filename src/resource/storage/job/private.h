/* private.h - what the files of this folder share. */
#ifndef RESOURCE_STORAGE_JOB_PRIVATE_H
#define RESOURCE_STORAGE_JOB_PRIVATE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/job/job.h"

/* A disk that is no longer on top and has to be flushed with the root until it is durable.
 * One at a time; -EBUSY. */
int job_root_owe(struct blk *root, struct blk *disk, struct err *e);

/* Flush it; 0: it is durable, and the root has done with it. */
int job_root_pay(struct blk *root);

/* There is another disk on top. */
void job_root_refresh(struct blk *root);

#endif
