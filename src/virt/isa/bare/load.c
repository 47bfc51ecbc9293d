/* load.c - multiboot kernels and flat code into memory, and vCPU 0 to their start. */
#include <errno.h>

#include "base/err.h"
#include "contract/mem.h"
#include "virt/isa/bare/multiboot.h"
#include "virt/isa/bare/private.h"
#include "virt/isa/x86/cpu.h"

#define MIB 0x100000u

int bare_load_multiboot(struct bare *b, const uint8_t *file, size_t bytes,
                        const uint8_t *module, size_t module_bytes, struct err *e)
{
    const struct multiboot kernel = {.mem = b->mem,
                                     .memory_bytes = b->o.memory_bytes,
                                     .file = file,
                                     .bytes = bytes,
                                     .module = module,
                                     .module_bytes = module_bytes};
    struct multiboot_start start;
    int r = multiboot_load(&kernel, &start, e);

    if (r != 0) {
        return r;
    }
    return bare_start_flat32(b->cpu[0].cpu, start.entry, MULTIBOOT_MAGIC, start.info, e);
}

static struct x86_segment flat_segment(uint16_t selector, uint16_t attr)
{
    return (struct x86_segment){.selector = selector, .attr = attr, .limit = 0xffffffff};
}

int bare_start_flat32(struct cpu *c, uint64_t at, uint32_t eax, uint32_t ebx,
                      struct err *e)
{
    struct x86_regs r;
    unsigned i;

    cpu_get(c, &r);
    for (i = X86_ES; i <= X86_GS; i++) {
        r.seg[i] = flat_segment(0x10, 0xc093);
    }
    r.seg[X86_CS] = flat_segment(0x08, 0xc09b);
    r.cr0 = X86_CR0_PE | X86_CR0_ET;
    r.gpr[X86_RAX] = eax;
    r.gpr[X86_RBX] = ebx;
    r.gpr[X86_RIP] = at;
    r.rflags = 2;
    r.cpl = 0;
    r.halted = false;
    r.a20_mask = ~UINT64_C(0);
    return cpu_set(c, &r, e);
}

int bare_load_flat(struct bare *b, const uint8_t *code, size_t bytes, uint64_t at,
                   struct err *e)
{
    struct x86_regs r;

    if (at >= MIB || bytes > b->o.memory_bytes - at ||
        mem_write(b->mem, at, code, bytes) != 0) {
        return err_set(e, -EINVAL, "the code does not fit into memory at 0x%llx",
                       (unsigned long long)at);
    }
    cpu_get(b->cpu[0].cpu, &r);
    r.seg[X86_CS].selector = (uint16_t)(at >> 4);
    r.seg[X86_CS].base = at & ~UINT64_C(15);
    r.gpr[X86_RIP] = at & 15;
    return cpu_set(b->cpu[0].cpu, &r, e);
}
