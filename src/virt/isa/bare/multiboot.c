/* multiboot.c - multiboot kernels into memory.
 *
 * Multiboot specification 0.6.96: the header lies in the first 8192 bytes (3.1), the
 * state at the start is 3.2's, the information structure 3.3's.  The file is not
 * trusted: each field is read once and checked against the file and the memory. */
#include "virt/isa/bare/multiboot.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"

#define HEADER_MAGIC   0x1badb002u
#define HEADER_IN      8192u
#define HEADER_ADDRESS (1u << 16) /* the load addresses are in the header */

#define INFO_AT     0x500u /* free low memory, as a PC has it */
#define INFO_MEMORY (1u << 0)
#define INFO_MODULE (1u << 3)
#define INFO_MAP    (1u << 6)
#define LOW_KIB     640u
#define MIB         0x100000u

#define ELF_MACHINE_386 3
#define ELF_LOAD        1

/* In order of the specification; those without use here have numbers. */
struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
    uint32_t syms[4], mmap_length, mmap_addr;
    uint32_t unused[9];

    struct {
        uint32_t start, end, string, reserved;
    } module;

    struct {
        uint32_t size, base, base_high, length, length_high, type;
    } map[2];
};

struct kernel {
    struct mem *mem;
    uint64_t memory_bytes;
    const uint8_t *file;
    size_t bytes;
    uint64_t entry, end; /* `end`: behind its last byte in memory */
};

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

/* A part of the file and where it goes; behind its bytes are zeros. */
struct part {
    uint64_t from, to, bytes, in_memory;
};

static int place(struct kernel *k, const struct part *p, struct err *e)
{
    if (p->from > k->bytes || p->bytes > k->bytes - p->from || p->bytes > p->in_memory) {
        return err_set(e, -EINVAL, "cannot load the kernel: a part is not in the file");
    }
    if (p->to < MIB || p->to + p->in_memory > k->memory_bytes ||
        mem_write(k->mem, p->to, k->file + p->from, p->bytes) != 0) {
        return err_set(e, -EINVAL,
                       "cannot load the kernel: a part at 0x%llx has no memory there",
                       (unsigned long long)p->to);
    }
    k->end = p->to + p->in_memory > k->end ? p->to + p->in_memory : k->end;
    return 0;
}

static int load_elf(struct kernel *k, struct err *e)
{
    const uint8_t *f = k->file;
    uint64_t offset;
    unsigned n, i;
    int r = 0;

    if (k->bytes < 52 || memcmp(f, "\177ELF\1\1", 6) != 0 ||
        get16(f + 18) != ELF_MACHINE_386 || get16(f + 42) != 32) {
        return err_set(e, -EINVAL, "cannot load the kernel: it is no 32-bit ELF for x86");
    }
    k->entry = get32(f + 24);
    offset = get32(f + 28);
    n = get16(f + 44);
    if (offset > k->bytes || n > (k->bytes - offset) / 32) {
        return err_set(e, -EINVAL, "cannot load the kernel: its headers are cut off");
    }
    for (i = 0; i < n && r == 0; i++) {
        const uint8_t *p = f + offset + 32 * i;

        if (get32(p) == ELF_LOAD && get32(p + 20) != 0) {
            struct part part = {get32(p + 4), get32(p + 12), get32(p + 16),
                                get32(p + 20)};

            r = place(k, &part, e);
        }
    }
    return r;
}

static int load_by_header(struct kernel *k, size_t header, struct err *e)
{
    const uint8_t *h = k->file + header;
    uint32_t at = get32(h + 12), load = get32(h + 16), load_end = get32(h + 20);
    uint32_t bss_end = get32(h + 24);
    uint64_t from, bytes;

    if (load > at || at - load > header) {
        return err_set(e, -EINVAL,
                       "cannot load the kernel: its header contradicts itself");
    }
    from = header - (at - load);
    bytes = load_end == 0 ? k->bytes - from : load_end - load;
    if (load_end != 0 && load_end < load) {
        return err_set(e, -EINVAL,
                       "cannot load the kernel: its header contradicts itself");
    }
    k->entry = get32(h + 28);
    return place(
        k,
        &(struct part){from, load, bytes,
                       bss_end > load && bss_end - load > bytes ? bss_end - load : bytes},
        e);
}

static int find_header(const struct kernel *k, size_t *ret_at, struct err *e)
{
    size_t most = k->bytes < HEADER_IN ? k->bytes : HEADER_IN;
    size_t at;

    for (at = 0; at + 12 <= most; at += 4) {
        uint32_t flags = get32(k->file + at + 4);

        if (get32(k->file + at) != HEADER_MAGIC ||
            HEADER_MAGIC + flags + get32(k->file + at + 8) != 0) {
            continue;
        }
        if ((flags & HEADER_ADDRESS) != 0 && at + 32 > k->bytes) {
            break;
        }
        *ret_at = at;
        return 0;
    }
    return err_set(e, -EINVAL, "the file is no multiboot kernel");
}

static int write_info(struct kernel *k, uint64_t module, uint64_t module_bytes)
{
    uint32_t upper = (uint32_t)((k->memory_bytes - MIB) / 1024);
    struct info i = {.flags = INFO_MEMORY | INFO_MAP,
                     .mem_lower = LOW_KIB,
                     .mem_upper = upper,
                     .mmap_length = sizeof i.map,
                     .mmap_addr = INFO_AT + offsetof(struct info, map),
                     .map = {{20, 0, 0, LOW_KIB * 1024, 0, 1},
                             {20, MIB, 0, upper * 1024, upper >> 22, 1}}};

    if (module_bytes != 0) {
        i.flags |= INFO_MODULE;
        i.mods_count = 1;
        i.mods_addr = INFO_AT + offsetof(struct info, module);
        i.module.start = (uint32_t)module;
        i.module.end = (uint32_t)(module + module_bytes);
    }
    return mem_write(k->mem, INFO_AT, &i, sizeof i);
}

bool multiboot_is(const uint8_t *file, size_t bytes)
{
    struct kernel k = {.file = file, .bytes = bytes};
    size_t at;

    return find_header(&k, &at, NULL) == 0;
}

int multiboot_load(const struct multiboot *b, struct multiboot_start *ret, struct err *e)
{
    struct kernel k = {.mem = b->mem,
                       .memory_bytes = b->memory_bytes,
                       .file = b->file,
                       .bytes = b->bytes};
    uint64_t at;
    size_t header = 0;
    int r = find_header(&k, &header, e);

    if (r == 0 && k.memory_bytes < 2 * (uint64_t)MIB) {
        r = err_set(e, -EINVAL,
                    "cannot load the kernel: it needs 2 MiB of memory or more");
    }
    if (r == 0) {
        r = (get32(k.file + header + 4) & HEADER_ADDRESS) != 0
                ? load_by_header(&k, header, e)
                : load_elf(&k, e);
    }
    if (r != 0) {
        return r;
    }
    at = (k.end + MEM_PAGE_BYTES - 1) & ~(uint64_t)(MEM_PAGE_BYTES - 1);
    if (at > UINT32_MAX || at + b->module_bytes > k.memory_bytes ||
        at + b->module_bytes > UINT32_MAX ||
        (b->module_bytes != 0 && mem_write(k.mem, at, b->module, b->module_bytes) != 0)) {
        return err_set(e, -EINVAL, "the program does not fit into memory");
    }
    r = write_info(&k, at, b->module_bytes);
    if (r != 0) {
        return err_sys(e, r, "cannot write what the kernel is told");
    }
    ret->entry = (uint32_t)k.entry;
    ret->info = INFO_AT;
    return 0;
}
