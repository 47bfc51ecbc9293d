/* boot.c - which kernel it is. */
#include "virt/monitor/boot/boot.h"

#include <errno.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/isa/bare/multiboot.h"
#include "virt/monitor/boot/private.h"

static int load_multiboot(const struct boot_place *p, const struct boot_files *f,
                          struct cpu *c, struct err *e)
{
    const struct multiboot kernel = {.mem = p->mem,
                                     .memory_bytes = p->low_end,
                                     .file = f->kernel,
                                     .bytes = f->kernel_bytes,
                                     .module = f->initrd,
                                     .module_bytes = f->initrd_bytes};
    struct multiboot_start start;
    int r = multiboot_load(&kernel, &start, e);

    return r == 0 ? boot_start_flat32(c, start.entry, MULTIBOOT_MAGIC, start.info, e) : r;
}

int boot_load_initrd(const struct boot_place *p, const struct boot_files *f,
                     uint64_t kernel_end, uint64_t top, uint64_t *ret_at, struct err *e)
{
    uint64_t end = p->low_end < top ? p->low_end : top;
    uint64_t at;

    if (f->initrd == NULL) {
        return 0;
    }
    at = (end - f->initrd_bytes) & ~(uint64_t)(MEM_PAGE_BYTES - 1);
    if (f->initrd_bytes > end || at < kernel_end ||
        mem_write(p->mem, at, f->initrd, f->initrd_bytes) != 0) {
        return err_set(e, -ENOMEM,
                       "cannot boot this kernel: it and its initrd need more memory");
    }
    *ret_at = at;
    return 0;
}

int boot_load_command(const struct boot_place *p, const struct boot_files *f,
                      struct err *e)
{
    size_t bytes = strlen(f->command_line) + 1;

    if (bytes > BOOT_LOW_END - BOOT_COMMAND_AT) {
        return err_set(e, -EINVAL,
                       "cannot boot this kernel: the command line is too long");
    }
    return mem_write(p->mem, BOOT_COMMAND_AT, f->command_line, bytes) == 0
               ? 0
               : err_set(e, -ENOMEM,
                         "cannot boot this kernel: there is too little memory");
}

int boot_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
              struct err *e)
{
    if (linux_is(f)) {
        return linux_load(p, f, c, e);
    }
    if (pvh_is(f)) {
        return pvh_load(p, f, c, e);
    }
    if (multiboot_is(f->kernel, f->kernel_bytes)) {
        return load_multiboot(p, f, c, e);
    }
    return err_set(e, -EINVAL,
                   "cannot boot this kernel: it is neither a Linux bzImage nor "
                   "an ELF file with a PVH entry nor a multiboot kernel");
}
