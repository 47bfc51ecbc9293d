/* node/disk/private.h - what copies share, however they get their files. */
#ifndef NODE_DISK_PRIVATE_H
#define NODE_DISK_PRIVATE_H

#include "node/private.h"

/* The id in the destination; one beyond the guest's range is nobody there. */
uid_t copy_shifted(uint64_t id, const struct copy_how *how);

/* chmod of a name that is no link, never through one. */
int copy_set_mode(int dir, const char *name, mode_t mode);

/* Between the two, files are made as the guest's root, whose id is the only one that its
 * file system knows; our capabilities stay, since the source may be readable by us only. */
struct copy_identity {
    int uid, gid; /* before; -1: not changed */
    int bits;
};

void copy_identity_begin(const struct copy_how *how, struct copy_identity *was);
void copy_identity_end(const struct copy_identity *was);

#endif
