/* node/boot/private.h - what the files of the folder share. */
#ifndef NODE_BOOT_PRIVATE_H
#define NODE_BOOT_PRIVATE_H

#include "node/boot.h"
#include "node/private.h"

struct kernel_order;
struct kernel_ready;
struct tree;

/* The file system of the guest's image; the caller closes it. */
int guest_boot_tree(struct node *n, const struct guest *g, struct tree **ret,
                    struct err *e);

/* choose.c: the kernel that this host runs, if the one who asks may read it; else NULL. */
const char *guest_boot_host_kernel(char out[PATH_MAX]);

/* own.c: what the newest kernel on the guest's own root boots from; the order has the agent. */
int guest_boot_own(struct node *n, const struct guest *g, const struct kernel_order *o,
                   struct kernel_ready *ret, struct err *e);

/* The disk of the image, made at the first time; its path. */
int guest_boot_base(struct node *n, const struct guest *g, char out[PATH_MAX],
                    struct err *e);

#endif
