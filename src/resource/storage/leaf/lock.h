/* lock.h - locks on image files that QEMU honours. */
#ifndef RESOURCE_STORAGE_LEAF_LOCK_H
#define RESOURCE_STORAGE_LEAF_LOCK_H

#include <stdbool.h>

struct err;

/* Lock an open image for this process's use of it until the descriptor is closed.
 * A writer excludes other writers, and readers too unless `let_others_read`; a
 * reader excludes writers that do not let others read.  A dead process's lock is gone with it.
 * -EBUSY: somebody excludes us.  Hosts without OFD locks: 0, nothing is locked. */
int leaf_lock(int fd, bool writes, bool let_others_read, const char *label,
              struct err *e);

/* A writer's lock becomes a reader's. */
void leaf_lock_lower(int fd);

/* Let go of all locks now: the file lives on behind its last close(2) for as long as an
 * io_uring or a child process still refers to it. */
void leaf_unlock(int fd);

#endif
