/* pvh.c - a kernel by its PVH entry: 32 bits, no paging, EBX at a description of what
 * there is (Xen, docs/misc/pvh.pandoc; public/arch-x86/hvm/start_info.h). */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

#define START_MAGIC   0x336ec578u
#define START_VERSION 1u
#define START_BYTES   56u
#define MODULE_BYTES  32u
#define RANGE_BYTES   24u
#define MODULES_AT    (BOOT_ZERO_AT + START_BYTES)
#define RANGES_AT     (MODULES_AT + MODULE_BYTES)
#define RANGES_MOST   BOOT_RAM_MOST

static const struct elf_note entry_note = {"Xen", 18}; /* XEN_ELFNOTE_PHYS32_ENTRY */

bool pvh_is(const struct boot_files *f)
{
    size_t n = 0;

    return elf_is(f->kernel, f->kernel_bytes) &&
           elf_note(f->kernel, f->kernel_bytes, &entry_note, &n) != NULL && n >= 4;
}

static void describe(const struct boot_place *p, const struct boot_files *f,
                     uint64_t initrd, uint8_t *out)
{
    uint8_t *module = out + START_BYTES;
    uint8_t *range = module + MODULE_BYTES;

    boot_set32(out, START_MAGIC);
    boot_set32(out + 4, START_VERSION);
    boot_set32(out + 12, f->initrd != NULL ? 1 : 0);
    boot_set64(out + 16, f->initrd != NULL ? MODULES_AT : 0);
    boot_set64(out + 24, BOOT_COMMAND_AT);
    boot_set64(out + 32, p->rsdp);
    boot_set64(out + 40, RANGES_AT);
    boot_set32(out + 48, p->ranges);
    if (f->initrd != NULL) {
        boot_set64(module, initrd);
        boot_set64(module + 8, f->initrd_bytes);
    }
    for (unsigned i = 0; i < p->ranges && i < RANGES_MOST; i++, range += RANGE_BYTES) {
        boot_set64(range, p->map[i].base);
        boot_set64(range + 8, p->map[i].bytes);
        boot_set32(range + 16, p->map[i].type);
    }
}

int pvh_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
             struct err *e)
{
    uint8_t start[START_BYTES + MODULE_BYTES + RANGES_MOST * RANGE_BYTES] = {0};
    struct elf_loaded kernel;
    uint64_t initrd = 0;
    size_t n = 0;
    const uint8_t *entry = elf_note(f->kernel, f->kernel_bytes, &entry_note, &n);
    int r = elf_load(p->mem, f->kernel, f->kernel_bytes, &kernel, e);

    r = r == 0 ? boot_load_initrd(p, f, kernel.end, p->low_end, &initrd, e) : r;
    if (r != 0) {
        return r;
    }
    describe(p, f, initrd, start);
    r = boot_load_command(p, f, e);
    if (r == 0 && mem_write(p->mem, BOOT_ZERO_AT, start, sizeof start) != 0) {
        r = err_set(e, -ENOMEM, "cannot boot this kernel: there is too little memory");
    }
    return r == 0 ? boot_start_flat32(c, boot_get32(entry), 0, BOOT_ZERO_AT, e) : r;
}
