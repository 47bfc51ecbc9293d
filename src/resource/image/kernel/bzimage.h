/* bzimage.h - a Linux kernel as distributions ship it, and the ELF file inside.
 *
 * Nothing of the file is trusted; every function reads between `file` and its end. */
#ifndef RESOURCE_IMAGE_KERNEL_BZIMAGE_H
#define RESOURCE_IMAGE_KERNEL_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
struct bzimage {
    const uint8_t *setup; /* the setup header, from BZIMAGE_SETUP_AT of the file */
    size_t setup_bytes;
    const uint8_t *payload; /* the packed kernel */
    size_t payload_bytes;
    size_t plain_bytes; /* what the file says it unpacks to */
};

#define BZIMAGE_SETUP_AT   0x1f1u
#define BZIMAGE_PLAIN_MOST (512u << 20)

/* Whether it is one at all; the rest of the file may still be nonsense. */
bool bzimage_is(const uint8_t *file, size_t bytes);

/* -EBADMSG: cut or damaged.  -ENOTSUP: there is no payload to be unpacked here. */
int bzimage_read(const uint8_t *file, size_t bytes, struct bzimage *ret, struct err *e);

/* A kernel file as this platform keeps it, in a new buffer: the ELF file `elf` with
 * its LOAD segments on pages - so that they can be mapped - and nothing else but two
 * notes: the setup header (owner "Strata", type 1), and the entry of PVH if there was one
 * (owner "Xen", type 18).  The caller frees it. */
int bzimage_layout(const struct bzimage *b, const uint8_t *elf, size_t bytes,
                   uint8_t **ret, size_t *ret_bytes, struct err *e);

#endif
