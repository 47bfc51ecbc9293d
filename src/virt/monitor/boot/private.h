/* private.h - what the loaders share. */
#ifndef VIRT_MONITOR_BOOT_PRIVATE_H
#define VIRT_MONITOR_BOOT_PRIVATE_H

#include <stdbool.h>

#include "virt/monitor/boot/boot.h"

/* Low memory that loaders use; the BIOS's of a PC is free there. */
#define BOOT_GDT_AT     0x500u
#define BOOT_ZERO_AT    0x7000u /* Linux' boot parameters, multiboot's information */
#define BOOT_PAGES_AT   0x9000u /* six pages of tables */
#define BOOT_COMMAND_AT 0x20000u
#define BOOT_LOW_END    0xa0000u

static inline uint16_t boot_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t boot_get32(const uint8_t *at)
{
    return boot_get16(at) | (uint32_t)boot_get16(at + 2) << 16;
}

static inline uint64_t boot_get64(const uint8_t *at)
{
    return boot_get32(at) | (uint64_t)boot_get32(at + 4) << 32;
}

bool linux_is(const struct boot_files *f);
int linux_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
               struct err *e);

/* unpack.c: what the payload of a bzImage unpacks to; the caller frees it.  -ENOTSUP: it
 * is packed in a way that is not known here. */
int unpack(const uint8_t *in, size_t bytes, uint8_t **ret, size_t *ret_bytes,
           struct err *e);

/* elf.c: the segments of a 64-bit ELF file to their physical addresses. */
struct elf_loaded {
    uint64_t entry;
    uint64_t end; /* behind its last byte */
};

int elf_load(struct mem *m, const uint8_t *file, size_t bytes, struct elf_loaded *ret,
             struct err *e);

/* state.c: the processor in flat 64-bit mode with the first 4 GiB mapped one to one, or in
 * flat 32-bit mode without paging. */
int boot_start_long(struct mem *m, struct cpu *c, uint64_t rip, uint64_t rsi,
                    struct err *e);
int boot_start_flat32(struct cpu *c, uint32_t rip, uint32_t eax, uint32_t ebx,
                      struct err *e);

#endif
