/* boot.c - which kernel it is. */
#include "virt/monitor/boot/boot.h"

#include <errno.h>

#include "base/err.h"
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

int boot_load(const struct boot_place *p, const struct boot_files *f, struct cpu *c,
              struct err *e)
{
    if (linux_is(f)) {
        return linux_load(p, f, c, e);
    }
    if (multiboot_is(f->kernel, f->kernel_bytes)) {
        return load_multiboot(p, f, c, e);
    }
    return err_set(e, -EINVAL,
                   "cannot boot this kernel: it is neither a Linux bzImage nor "
                   "a multiboot kernel");
}
