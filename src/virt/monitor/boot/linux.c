/* linux.c - a Linux bzImage by the 64-bit boot protocol.
 *
 * Linux, Documentation/arch/x86/boot.rst, protocol 2.12 and later; zero-page.rst.  The
 * kernel inside (an ELF file) is unpacked here and entered at its start, which saves the
 * guest its own decompression; if it is packed in a way that is not known here, the
 * guest's own code does it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

#define SETUP_AT       0x1f1u
#define BOOT_FLAG      0x1feu /* 0xaa55 */
#define HEADER_JUMP    0x201u /* its second byte: where the header ends */
#define HEADER_MAGIC   0x202u /* "HdrS" */
#define HEADER_VERSION 0x206u
#define XLOADFLAGS     0x236u
#define COMMAND_MOST   0x238u
#define PAYLOAD_OFFSET 0x248u
#define PAYLOAD_LENGTH 0x24cu
#define PREFERRED      0x258u
#define INIT_SIZE      0x260u
#define INITRD_MOST    0x22cu
#define LEAST_VERSION  0x20cu
#define KERNEL_64      1u
#define SECTOR         512u
#define ENTRY_64       0x200u

/* Of the boot parameters. */
#define ZERO_BYTES      4096u
#define ZERO_RSDP       0x070u
#define ZERO_E820_COUNT 0x1e8u
#define ZERO_LOADER     0x210u
#define ZERO_LOADFLAGS  0x211u
#define ZERO_INITRD     0x218u
#define ZERO_INITRD_LEN 0x21cu
#define ZERO_COMMAND    0x228u
#define ZERO_E820       0x2d0u
#define ZERO_E820_MOST  128u
#define E820_BYTES      20u
#define LOADER_UNKNOWN  0xffu

static void set32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, 4);
}

static void set64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, 8);
}

bool linux_is(const struct boot_files *f)
{
    return f->kernel_bytes > 0x268 && boot_get16(f->kernel + BOOT_FLAG) == 0xaa55 &&
           memcmp(f->kernel + HEADER_MAGIC, "HdrS", 4) == 0;
}

static size_t setup_bytes(const struct boot_files *f)
{
    unsigned sectors = f->kernel[SETUP_AT];

    return (size_t)((sectors == 0 ? 4 : sectors) + 1) * SECTOR;
}

static int check(const struct boot_files *f, struct err *e)
{
    if (boot_get16(f->kernel + HEADER_VERSION) < LEAST_VERSION ||
        (boot_get16(f->kernel + XLOADFLAGS) & KERNEL_64) == 0) {
        return err_set(e, -EOPNOTSUPP, "cannot boot this Linux: it has no 64-bit entry");
    }
    if (setup_bytes(f) >= f->kernel_bytes) {
        return err_set(e, -EINVAL, "cannot boot this Linux: the file is cut");
    }
    if (strlen(f->command_line) > boot_get32(f->kernel + COMMAND_MOST)) {
        return err_set(e, -EINVAL,
                       "cannot boot this Linux: the command line is longer than %u bytes",
                       boot_get32(f->kernel + COMMAND_MOST));
    }
    return 0;
}

/* The kernel as it is: the guest unpacks it. */
static int load_packed(const struct boot_place *p, const struct boot_files *f,
                       struct elf_loaded *ret, struct err *e)
{
    uint64_t at = boot_get64(f->kernel + PREFERRED);
    size_t setup = setup_bytes(f);
    int r = mem_write(p->mem, at, f->kernel + setup, f->kernel_bytes - setup);

    if (r != 0) {
        return err_set(e, -ENOMEM, "cannot boot this Linux: there is too little memory");
    }
    ret->entry = at + ENTRY_64;
    ret->end = at + boot_get32(f->kernel + INIT_SIZE);
    return 0;
}

static int load_kernel(const struct boot_place *p, const struct boot_files *f,
                       struct elf_loaded *ret, struct err *e)
{
    uint64_t from = setup_bytes(f) + (uint64_t)boot_get32(f->kernel + PAYLOAD_OFFSET);
    uint64_t bytes = boot_get32(f->kernel + PAYLOAD_LENGTH);
    uint8_t *vmlinux = NULL;
    size_t n = 0;
    int r;

    if (from + bytes > f->kernel_bytes) {
        return err_set(e, -EINVAL, "cannot boot this Linux: the file is cut");
    }
    r = unpack(f->kernel + from, bytes, &vmlinux, &n, e);
    if (r == -ENOTSUP) {
        err_clear(e);
        return load_packed(p, f, ret, e);
    }
    r = r == 0 ? elf_load(p->mem, vmlinux, n, ret, e) : r;
    if (r == 0 && ret->end < boot_get64(f->kernel + PREFERRED) +
                                 boot_get32(f->kernel + INIT_SIZE)) {
        ret->end = boot_get64(f->kernel + PREFERRED) + boot_get32(f->kernel + INIT_SIZE);
    }
    free(vmlinux);
    return r;
}

/* As high as the kernel allows. */
static int load_initrd(const struct boot_place *p, const struct boot_files *f,
                       uint64_t kernel_end, uint8_t *zero, struct err *e)
{
    uint64_t most = (uint64_t)boot_get32(f->kernel + INITRD_MOST) + 1;
    uint64_t top = p->low_end < most ? p->low_end : most;
    uint64_t at;

    if (f->initrd == NULL) {
        return 0;
    }
    at = (top - f->initrd_bytes) & ~(uint64_t)(MEM_PAGE_BYTES - 1);
    if (f->initrd_bytes > top || at < kernel_end ||
        mem_write(p->mem, at, f->initrd, f->initrd_bytes) != 0) {
        return err_set(e, -ENOMEM,
                       "cannot boot this Linux: kernel and initrd need more memory");
    }
    set32(zero + ZERO_INITRD, (uint32_t)at);
    set32(zero + ZERO_INITRD_LEN, (uint32_t)f->initrd_bytes);
    return 0;
}

static void fill(const struct boot_place *p, const struct boot_files *f, uint8_t *zero)
{
    size_t header = 0x202u + f->kernel[HEADER_JUMP];

    memcpy(zero + SETUP_AT, f->kernel + SETUP_AT,
           (header > 0x290 ? 0x290 : header) - SETUP_AT);
    zero[ZERO_LOADER] = LOADER_UNKNOWN;
    zero[ZERO_LOADFLAGS] |= 1; /* loaded high */
    set32(zero + ZERO_COMMAND, BOOT_COMMAND_AT);
    set64(zero + ZERO_RSDP, p->rsdp);
    zero[ZERO_E820_COUNT] = (uint8_t)p->ranges;
    for (unsigned i = 0; i < p->ranges && i < ZERO_E820_MOST; i++) {
        uint8_t *at = zero + ZERO_E820 + (size_t)i * E820_BYTES;

        set64(at, p->map[i].base);
        set64(at + 8, p->map[i].bytes);
        set32(at + 16, p->map[i].type);
    }
}

int linux_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
               struct err *e)
{
    uint8_t zero[ZERO_BYTES] = {0};
    struct elf_loaded kernel = {0};
    int r = check(f, e);

    r = r == 0 ? load_kernel(p, f, &kernel, e) : r;
    if (r != 0) {
        return r;
    }
    fill(p, f, zero);
    r = load_initrd(p, f, kernel.end, zero, e);
    if (r != 0) {
        return r;
    }
    if (mem_write(p->mem, BOOT_COMMAND_AT, f->command_line,
                  strlen(f->command_line) + 1) != 0 ||
        mem_write(p->mem, BOOT_ZERO_AT, zero, sizeof zero) != 0) {
        return err_set(e, -ENOMEM, "cannot boot this Linux: there is too little memory");
    }
    return boot_start_long(p->mem, c, kernel.entry, BOOT_ZERO_AT, e);
}
