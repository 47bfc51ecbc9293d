/* keep.h - files of STATE/kernels: named by content, found by links. */
#ifndef RESOURCE_IMAGE_KERNEL_KEEP_H
#define RESOURCE_IMAGE_KERNEL_KEEP_H

#include <stdbool.h>
#include <stddef.h>

struct err;

/* The directory, made when missing, and its lock, taken; what was left by a killed
 * process and what nobody asked for lately is removed. */
int keep_open(const char *state, int *ret_dir, int *ret_lock, struct err *e);
void keep_close(int dir, int lock);

/* Whether of/KEY.WHAT leads to a file. */
bool keep_has(int dir, const char *key, const char *what);

/* A file with these bytes, and the link to it; `what` is "kernel" or "initrd". */
int keep_file(int dir, const char *key, const char *what, const void *bytes, size_t len,
              struct err *e);

/* The link alone. */
int keep_link(int dir, const char *key, const char *what, const char *target,
              struct err *e);

#endif
