/* linux.c - Linux by the 64-bit boot protocol.
 *
 * Linux, Documentation/arch/x86/boot.rst, protocol 2.12 and later; zero-page.rst.  The
 * kernel is an ELF file, entered at its start: what a distribution's bzImage holds,
 * unpacked before (`bzimage_layout`), with the image's setup header in a note.  A bzImage
 * itself is put into memory as it is, and its own code unpacks it: slower, and for any
 * packing. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

/* Of the boot parameters, and at the same place in a bzImage. */
#define ZERO_BYTES     4096u
#define ZERO_RSDP      0x070u
#define E820_COUNT     0x1e8u
#define SETUP_AT       0x1f1u
#define BOOT_FLAG      0x1feu /* 0xaa55 */
#define HEADER_JUMP    0x201u /* its second byte: where the header ends */
#define HEADER_MAGIC   0x202u /* "HdrS" */
#define HEADER_VERSION 0x206u
#define LOADER         0x210u
#define LOADFLAGS      0x211u
#define INITRD         0x218u
#define INITRD_BYTES   0x21cu
#define COMMAND        0x228u
#define INITRD_MOST    0x22cu
#define XLOADFLAGS     0x236u
#define COMMAND_MOST   0x238u
#define PAYLOAD_OFFSET 0x248u
#define PAYLOAD_LENGTH 0x24cu
#define PREFERRED      0x258u
#define INIT_SIZE      0x260u
#define HEADER_END     0x290u
#define E820_AT        0x2d0u
#define E820_MOST      128u
#define E820_BYTES     20u
#define LEAST_BYTES    0x268u
#define LEAST_VERSION  0x20cu
#define LOADER_UNKNOWN 0xffu
#define KERNEL_64      1u
#define LOADED_HIGH    1u
#define SECTOR         512u
#define ENTRY_64       0x200u

static const struct elf_note setup_note = {"Strata", 1};

bool linux_is_packed(const struct boot_files *f)
{
    return f->kernel_bytes > LEAST_BYTES && boot_get16(f->kernel + BOOT_FLAG) == 0xaa55 &&
           memcmp(f->kernel + HEADER_MAGIC, "HdrS", 4) == 0;
}

bool linux_is(const struct boot_files *f)
{
    size_t n = 0;

    return linux_is_packed(f) ||
           (elf_is(f->kernel, f->kernel_bytes) &&
            elf_note(f->kernel, f->kernel_bytes, &setup_note, &n) != NULL);
}

/* The kernel's setup header to its place in the boot parameters. */
static int take_header(const struct boot_files *f, uint8_t *zero, struct err *e)
{
    const uint8_t *setup = f->kernel + SETUP_AT;
    size_t n = HEADER_MAGIC + f->kernel[HEADER_JUMP] - SETUP_AT;

    if (!linux_is_packed(f)) {
        setup = elf_note(f->kernel, f->kernel_bytes, &setup_note, &n);
    }
    if (n > HEADER_END - SETUP_AT) {
        n = HEADER_END - SETUP_AT;
    }
    memcpy(zero + SETUP_AT, setup, n);
    if (memcmp(zero + HEADER_MAGIC, "HdrS", 4) != 0 ||
        boot_get16(zero + HEADER_VERSION) < LEAST_VERSION ||
        (boot_get16(zero + XLOADFLAGS) & KERNEL_64) == 0) {
        return err_set(e, -EOPNOTSUPP, "cannot boot this Linux: it has no 64-bit entry");
    }
    if (strlen(f->command_line) > boot_get32(zero + COMMAND_MOST)) {
        return err_set(e, -EINVAL,
                       "cannot boot this Linux: the command line is longer than %u bytes",
                       boot_get32(zero + COMMAND_MOST));
    }
    return 0;
}

/* The kernel as it is: the guest unpacks it. */
static int load_packed(const struct boot_place *p, const struct boot_files *f,
                       const uint8_t *zero, struct elf_loaded *ret, struct err *e)
{
    uint64_t at = boot_get64(zero + PREFERRED);
    unsigned sectors = zero[SETUP_AT];
    size_t setup = (size_t)((sectors == 0 ? 4 : sectors) + 1) * SECTOR;
    uint64_t end = setup + (uint64_t)boot_get32(zero + PAYLOAD_OFFSET) +
                   boot_get32(zero + PAYLOAD_LENGTH);

    if (setup >= f->kernel_bytes || end > f->kernel_bytes) {
        return err_set(e, -EINVAL, "cannot boot this Linux: the file is cut");
    }
    if (mem_write(p->mem, at, f->kernel + setup, f->kernel_bytes - setup) != 0) {
        return err_set(e, -ENOMEM, "cannot boot this Linux: there is too little memory");
    }
    ret->entry = at + ENTRY_64;
    ret->end = at;
    return 0;
}

static int load_kernel(const struct boot_place *p, const struct boot_files *f,
                       const uint8_t *zero, struct elf_loaded *ret, struct err *e)
{
    uint64_t end = boot_get64(zero + PREFERRED) + boot_get32(zero + INIT_SIZE);
    int r = linux_is_packed(f) ? load_packed(p, f, zero, ret, e)
                               : elf_load(p->mem, f->kernel, f->kernel_bytes, ret, e);

    if (r == 0 && ret->end < end) {
        ret->end = end;
    }
    return r;
}

static void fill(const struct boot_place *p, uint8_t *zero)
{
    zero[LOADER] = LOADER_UNKNOWN;
    zero[LOADFLAGS] |= LOADED_HIGH;
    boot_set32(zero + COMMAND, BOOT_COMMAND_AT);
    boot_set64(zero + ZERO_RSDP, p->rsdp);
    zero[E820_COUNT] = (uint8_t)p->ranges;
    for (unsigned i = 0; i < p->ranges && i < E820_MOST; i++) {
        uint8_t *at = zero + E820_AT + (size_t)i * E820_BYTES;

        boot_set64(at, p->map[i].base);
        boot_set64(at + 8, p->map[i].bytes);
        boot_set32(at + 16, p->map[i].type);
    }
}

int linux_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
               struct err *e)
{
    uint8_t zero[ZERO_BYTES] = {0};
    struct elf_loaded kernel = {0};
    uint64_t initrd = 0;
    int r = take_header(f, zero, e);

    r = r == 0 ? load_kernel(p, f, zero, &kernel, e) : r;
    r = r == 0
            ? boot_load_initrd(p, f, kernel.end,
                               (uint64_t)boot_get32(zero + INITRD_MOST) + 1, &initrd, e)
            : r;
    if (r != 0) {
        return r;
    }
    if (f->initrd != NULL) {
        boot_set32(zero + INITRD, (uint32_t)initrd);
        boot_set32(zero + INITRD_BYTES, (uint32_t)f->initrd_bytes);
    }
    fill(p, zero);
    r = boot_load_command(p, f, e);
    if (r == 0 && mem_write(p->mem, BOOT_ZERO_AT, zero, sizeof zero) != 0) {
        r = err_set(e, -ENOMEM, "cannot boot this Linux: there is too little memory");
    }
    return r == 0 ? boot_start_long(p->mem, c, kernel.entry, BOOT_ZERO_AT, e) : r;
}
