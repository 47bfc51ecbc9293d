/* remote.h - disks that others serve: over NBD, by libnbd. */
#ifndef RESOURCE_STORAGE_REMOTE_REMOTE_H
#define RESOURCE_STORAGE_REMOTE_REMOTE_H

#include <stdbool.h>

struct blk;
struct err;
struct loop;

/* Connect to `uri` (the protocol's doc/uri.md: nbd://, nbd+unix://, nbds://).  In a strand.
 * When the connection is lost every request fails with -ENODEV. */
int remote_nbd_create(struct loop *l, const char *uri, bool read_only,
                      struct blk **ret_disk, struct err *e);

#endif
