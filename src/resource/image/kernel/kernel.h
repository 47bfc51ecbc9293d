/* resource/image/kernel/kernel.h - what a guest's kernel boots from, as files that are
 * made once.
 *
 * Below the state directory:
 *
 *     kernels/HEX.elf     a kernel without its packing, ready to be mapped
 *     kernels/HEX.cpio    an initramfs
 *     kernels/of/KEY.*    a symbolic link: what was made of the files that KEY names
 *
 * HEX is the SHA-256 of the file's bytes.  KEY is made of device, inode, size and times of
 * the files something was made of, so that finding it again reads none of them.
 *
 * Two halves.  The small one (`find.c`) is linked into `strata` and takes nothing apart; the
 * other makes, in the program `image` (operation `kernel`), whose unpacking runs in a
 * child that can do nothing but compute (`confine.c`).
 *
 * Processes: any number at once; one makes, the others wait and find. */
#ifndef RESOURCE_IMAGE_KERNEL_KERNEL_H
#define RESOURCE_IMAGE_KERNEL_KERNEL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct tree;

/* What is to be booted.  A kernel is a file of this host, or lies in the tree of an
 * image; an initramfs is made of its modules and the agent. */
struct kernel_order {
    const char *file;    /* path; NULL: the newest boot/vmlinuz-* of the tree */
    const char *modules; /* path of its lib/modules/RELEASE; NULL: beside `file`
                          * (../lib/modules/RELEASE), or in the tree, if there */
    const char *tree_id; /* "sha256:HEX", what the tree holds; NULL: there is none */
    const char *agent;   /* path of the program that becomes /init; NULL: no initramfs */
    bool is_fleeting;    /* the tree will be gone: what is booted as it is, is copied */
};

struct kernel_ready {
    char *kernel; /* owned; path: an ELF file, or the file itself where it is no
                   * bzImage or is packed in a way that is not known here */
    char *initrd; /* owned; path, or NULL: none was ordered */
};

/* What was made before.  -ENOENT: nothing yet, or a file has changed since; then
 * `image_tool_run` of the operation "kernel" makes it. */
int kernel_find(const char *state, const struct kernel_order *o,
                struct kernel_ready *ret);
void kernel_ready_fini(struct kernel_ready *r);

/* The name of the newest boot/vmlinuz-* of a tree, by the order of versions.  -ENOENT: it has
 * none. */
int kernel_newest(struct tree *t, char ret_name[NAME_MAX + 1]);

/* Make what is missing; `tree` as the order's `tree_id` says, or NULL.  In the program
 * `image` only.  -ENOENT: there is no kernel in the tree. */
int kernel_make(const char *state, const struct kernel_order *o, struct tree *tree,
                struct kernel_ready *ret, struct err *e);

#endif
