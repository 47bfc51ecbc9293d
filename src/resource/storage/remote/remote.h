/* remote.h - disks that others serve: over NBD by libnbd, over iSCSI by libiscsi. */
#ifndef RESOURCE_STORAGE_REMOTE_REMOTE_H
#define RESOURCE_STORAGE_REMOTE_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;

/* Connect to `uri` (the protocol's doc/uri.md: nbd://, nbd+unix://, nbds://).  In a strand.
 * When the connection is lost every request fails with -ENODEV. */
int remote_nbd_create(struct loop *l, const char *uri, bool read_only,
                      struct blk **ret_disk, struct err *e);

struct remote_iscsi_options {
    const char *url; /* iscsi://[USER%SECRET@]HOST[:PORT]/TARGET/LUN */
    bool read_only;
    const char *initiator;   /* who we are; NULL: made of the host's name */
    const char *user;        /* CHAP: what the target asks for; NULL: as in the URL */
    const char *secret;      /* of `user` */
    const char *target_user; /* CHAP: what we ask the target for; NULL: nothing */
    const char *target_secret;
    unsigned patience_seconds; /* that requests wait for a target that went away; 0: 60 */
    unsigned silence_seconds;  /* of a target that has commands and says nothing; 0: 15 */
};

/* Log in to a target and use one of its units.  In a strand.  When the connection is lost
 * it is made again, and what was under way is done again; a target that stays away longer
 * than the patience is given up for good, with -ENODEV for every request.  The program
 * ignores SIGPIPE, which libiscsi does not keep from it. */
int remote_iscsi_create(struct loop *l, const struct remote_iscsi_options *o,
                        struct blk **ret_disk, struct err *e);

#endif
