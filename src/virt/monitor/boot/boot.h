/* boot.h - operating systems into a machine's memory, and its first processor to their
 * start.
 *
 * Files are not trusted: each field of a header is checked against the file and the
 * memory before it is used. */
#ifndef VIRT_MONITOR_BOOT_BOOT_H
#define VIRT_MONITOR_BOOT_BOOT_H

#include <stddef.h>
#include <stdint.h>

struct cpu;
struct err;
struct mem;

#define BOOT_RAM_MOST 8

/* A range of the memory map. */
struct boot_range {
    uint64_t base, bytes;
    uint32_t type; /* of the BIOS's map: 1 usable, 2 reserved, 3 ACPI */
};

struct boot_files {
    const uint8_t *kernel;
    size_t kernel_bytes;
    const uint8_t *initrd; /* NULL: none; a multiboot kernel's module */
    size_t initrd_bytes;
    const char *command_line; /* "" */
};

struct boot_place {
    struct mem *mem;
    struct boot_range map[BOOT_RAM_MOST];
    unsigned ranges;
    uint64_t low_end; /* end of the RAM below 4 GiB */
    uint64_t rsdp;    /* where ACPI's tables begin; 0: none */
};

/* Load whatever kernel it is (Linux as a bzImage or unpacked, PVH, multiboot) and set the
 * registers of the boot processor. */
int boot_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
              struct err *e);

#endif
