/* node/boot.h - what a machine boots from; made by the folder `node/boot` for the rest of
 * the node. */
#ifndef NODE_BOOT_H
#define NODE_BOOT_H

#include <limits.h>

#include <jansson.h>

struct err;
struct guest;
struct node;

/* choose.c: of a new machine whose record has an image: its kernel, the disk that its root
 * stands on, and whether the image has a system of its own to be started.  The store is
 * held. */
int guest_boot_choose(struct node *n, struct guest *g, struct err *e);

/* disk.c: the guest's own disk above that, empty. */
int guest_boot_disk(struct node *n, const struct guest *g, struct err *e);

/* disk.c: all its disks that are files, as words of node/machine/drives.h: the root first, if
 * it was made from an image, then those that were ordered.  The caller owns the list. */
json_t *guest_boot_disks(struct node *n, const struct guest *g);
#define BOOT_ROOT "root.qcow2" /* the root's file in STATE/guests/ID/disk */

#define BOOT_UEFI "/usr/share/OVMF/OVMF_CODE_4M.fd" /* what --firmware uefi is */

/* kernel.c: files that a plan names are there, made if need be: the kernel without its
 * packing ("boot.unpacked"), the first file system ("boot.initrd"), the disk of the image. */
int guest_boot_prepare(struct node *n, const struct guest *g, json_t *spec,
                       struct err *e);

/* kernel.c: a kernel for a machine that has no image: that of the stored image `name`,
 * unpacked, else this host's. */
int guest_boot_kernel(struct node *n, const char *name, char ret[PATH_MAX],
                      struct err *e);

/* seed.c: the files that were ordered for a new guest (--ssh-key, --user-data) are read, once;
 * and a plan's volume for cloud-init: a descriptor. */
int guest_boot_seed(struct guest *g, struct err *e);
int guest_boot_volume(const json_t *spec, struct err *e);

/* initrd.c: the first file system of a plan with its command behind it; a descriptor. */
int guest_boot_initrd(const json_t *spec, struct err *e);

#endif
