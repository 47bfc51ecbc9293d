/* remote.h - disks that others serve: over NBD by libnbd, over iSCSI by libiscsi, in Ceph by
 * librbd. */
#ifndef RESOURCE_STORAGE_REMOTE_REMOTE_H
#define RESOURCE_STORAGE_REMOTE_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct remote_rbd;

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

/* ---- Ceph: images of a pool; librbd is loaded at the first use ---- */

struct remote_rbd_options {
    const char
        *conf; /* the cluster's configuration; NULL: /etc/ceph/ceph.conf and so on */
    const char *user; /* "admin" is client.admin; NULL: that */
    const char *pool;
    const char *space;  /* a namespace of the pool; NULL: none */
    const char *soname; /* NULL: librbd.so.1; another for tests */
};

/* All of these in a strand; names are those of Ceph. */

/* Connect to a pool.  -ENOPKG: there is no librbd. */
int remote_rbd_connect(struct loop *l, const struct remote_rbd_options *o,
                       struct remote_rbd **ret_pool, struct err *e);

/* Give the connection up; it goes when its last disk is closed.  NULL is allowed. */
void remote_rbd_leave(struct remote_rbd *p);

int remote_rbd_make(struct remote_rbd *p, const char *image, uint64_t size_bytes,
                    struct err *e);

/* -EBUSY: somebody has it open, or it has snapshots, also such as only clones know. */
int remote_rbd_remove(struct remote_rbd *p, const char *image, struct err *e);

int remote_rbd_snapshot(struct remote_rbd *p, const char *image, const char *snapshot,
                        struct err *e);

/* Remove a snapshot, also one that has clones: they keep what they need of it. */
int remote_rbd_forget(struct remote_rbd *p, const char *image, const char *snapshot,
                      struct err *e);

/* A new image that begins as the snapshot; its cost does not depend on the size. */
int remote_rbd_clone(struct remote_rbd *p, const char *image, const char *snapshot,
                     const char *clone, struct err *e);

int remote_rbd_list(struct remote_rbd *p, void (*each)(void *arg, const char *image),
                    void *arg, struct err *e);

/* Of the whole cluster, before it is copied or coded. */
int remote_rbd_room(struct remote_rbd *p, uint64_t *ret_size_bytes,
                    uint64_t *ret_free_bytes, struct err *e);

struct remote_rbd_image {
    const char *name;
    const char *snapshot; /* NULL: the image itself; a snapshot is read only */
    bool read_only;
    bool exclusive; /* nobody else may write while it is open; -EBUSY: somebody may not
                     * be asked to let go */
};

/* Open an image as a disk. */
int remote_rbd_create(struct remote_rbd *p, const struct remote_rbd_image *o,
                      struct blk **ret_disk, struct err *e);

#endif
