/* mounts.h - one mount of a configuration, read; and who opens its source. */
#ifndef VIRT_CONTAINER_TREE_MOUNTS_H
#define VIRT_CONTAINER_TREE_MOUNTS_H

#include <linux/mount.h>

#include "virt/container/setup.h"

/* Texts are borrowed from the configuration. */
struct mount_plan {
    const char *to;
    const char *type;
    const char *from;
    bool bind;
    bool recursive; /* a bind mount takes what is mounted below, too */
    bool idmap;
    bool idmap_recursive;
    bool change;            /* no new mount: other attributes for what is there */
    bool copy_up;           /* a tmpfs begins with what its mount point holds */
    struct mount_attr flat; /* for the mount itself */
    struct mount_attr deep; /* for it and all below */
    struct strv data;       /* options of the file system; owned */
};

/* Read one member of `mounts`. */
int mount_plan_read(const json_t *mount, struct mount_plan *p, struct err *e);
void mount_plan_fini(struct mount_plan *p);

/* Whether mounts below it spread to the host and back: a bind mount that is "shared", in a
 * root whose propagation is "shared", too, as engines ask for it; never from a user
 * namespace. */
bool mount_stays_shared(const struct setup *s, const struct mount_plan *p);

/* Whether the parent must open the source and send it. */
bool mount_needs_parent(const struct setup *s, const struct mount_plan *p);

/* A detached copy of the source. */
int mount_open_source(const struct setup *s, const struct mount_plan *p, struct err *e);

/* Copy the content of the directory `from` into `to`; without devices and sockets. */
int mounts_copy_up(int from, int to, struct err *e);

#endif
