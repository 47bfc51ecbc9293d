/* private.h - what the loaders share. */
#ifndef VIRT_MONITOR_BOOT_PRIVATE_H
#define VIRT_MONITOR_BOOT_PRIVATE_H

#include <stdbool.h>
#include <string.h>

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

static inline void boot_set32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof v);
}

static inline void boot_set64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, sizeof v);
}

/* boot.c: the initrd as high as possible below `top` and the end of low memory, and behind
 * `kernel_end`; nothing to do when there is none.  The command line. */
int boot_load_initrd(const struct boot_place *p, const struct boot_files *f,
                     uint64_t kernel_end, uint64_t top, uint64_t *ret_at, struct err *e);
int boot_load_command(const struct boot_place *p, const struct boot_files *f,
                      struct err *e);

/* linux.c: a bzImage, or an ELF file that was made of one. */
bool linux_is(const struct boot_files *f);
bool linux_is_packed(const struct boot_files *f);
int linux_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
               struct err *e);

/* pvh.c: an ELF file with a PVH entry. */
bool pvh_is(const struct boot_files *f);
int pvh_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
             struct err *e);

/* elf.c: 64-bit ELF files; the others only where `elf_is`. */
struct elf_loaded {
    uint64_t entry;
    uint64_t end; /* behind its last byte */
};

struct elf_note {
    const char *owner;
    uint32_t type;
};

bool elf_is(const uint8_t *file, size_t bytes);
int elf_load(struct mem *m, const uint8_t *file, size_t bytes, struct elf_loaded *ret,
             struct err *e);

/* The contents of a note, in the file; NULL: there is none. */
const uint8_t *elf_note(const uint8_t *file, size_t bytes, const struct elf_note *want,
                        size_t *ret_bytes);

/* state.c: the processor in flat 64-bit mode with the first 4 GiB mapped one to one, or in
 * flat 32-bit mode without paging. */
int boot_start_long(struct mem *m, struct cpu *c, uint64_t rip, uint64_t rsi,
                    struct err *e);
int boot_start_flat32(struct cpu *c, uint32_t rip, uint32_t eax, uint32_t ebx,
                      struct err *e);

#endif
