/* multiboot.h - kernels of the multiboot specification, version 1, into a guest's memory.
 *
 * The file is not trusted: each field is read once and checked against the file and the
 * memory. */
#ifndef VIRT_ISA_BARE_MULTIBOOT_H
#define VIRT_ISA_BARE_MULTIBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct mem;

#define MULTIBOOT_MAGIC 0x2badb002u /* in EAX at the start: 3.2 */

struct multiboot {
    struct mem *mem;
    uint64_t memory_bytes; /* RAM from address 0 */
    const uint8_t *file;
    size_t bytes;
    const uint8_t *module; /* the one module's bytes; NULL: none */
    size_t module_bytes;
};

/* For a processor in flat 32-bit protected mode, with the magic number in EAX. */
struct multiboot_start {
    uint32_t entry;
    uint32_t info; /* EBX */
};

bool multiboot_is(const uint8_t *file, size_t bytes);

/* -EINVAL: not one, or it does not fit. */
int multiboot_load(const struct multiboot *b, struct multiboot_start *ret, struct err *e);

#endif
