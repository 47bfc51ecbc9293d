/* lost.h - memory of a file of somebody else's, who may make it shorter at any time. */
#ifndef RESOURCE_STORAGE_VHOST_USER_LOST_H
#define RESOURCE_STORAGE_VHOST_USER_LOST_H

#include <stdbool.h>
#include <stddef.h>

/* From now on all of a mapping reads zeros once a part of it is gone and touched; a number to ask
 * by, or -ENOSPC. */
int lost_watch(void *base, size_t bytes);

/* Before it is unmapped. */
void lost_unwatch(int slot);
bool lost_is(int slot);

/* How often that has happened in this process. */
unsigned lost_count(void);

#endif
