/* modules.h - the modules of one kernel: which there are, what each needs, their bytes.
 *
 * Names are those of the kernel: of "drivers/char/hw_random/virtio-rng.ko.xz" it is
 * "virtio_rng".  What a module needs it says itself (modinfo's depends and softdep), so
 * that a package that was only unpacked, and whose lists nobody made, serves as well. */
#ifndef RESOURCE_IMAGE_KERNEL_MODULES_H
#define RESOURCE_IMAGE_KERNEL_MODULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct err;
struct modules;
struct tree;

/* Of lib/modules/RELEASE, the directory `dir` of the tree; both are borrowed. */
int modules_open(struct tree *tree, const char *dir, struct modules **ret, struct err *e);
void modules_close(struct modules *m);

/* Whether the kernel has it without loading anything. */
bool modules_is_builtin(const struct modules *m, const char *name);

/* Whether there is a file of it. */
bool modules_has(const struct modules *m, const char *name);

/* The plain bytes of one, which the caller frees. */
int modules_read(const struct modules *m, const char *name, uint8_t **ret,
                 size_t *ret_bytes, struct err *e);

/* Append `name` and whatever it needs to `order`, each once and behind what it needs.
 * Nothing for what is built in.  -ENOENT: there is no such module. */
int modules_close_over(const struct modules *m, const char *name, struct strv *order,
                       struct err *e);

/* ---- modinfo.c ---- */

/* Append to `ret` each word that stands for `key` ("depends", "softdep") in the
 * module's .modinfo, parted at blanks and commas.  -EBADMSG: no ELF file. */
int modinfo_words(const uint8_t *file, size_t bytes, const char *key, struct strv *ret);

#endif
