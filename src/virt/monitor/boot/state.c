/* state.c - the boot processor as a loader leaves it. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/monitor/boot/private.h"

#define CR0_PE    0x1u
#define CR0_ET    0x10u
#define CR0_PG    0x80000000u
#define CR4_PAE   0x20u
#define EFER_LONG 0x500u /* LME, LMA */

#define PAGE_PRESENT 0x3u /* and writable */
#define PAGE_LARGE   0x80u
#define LARGE_BYTES  (UINT64_C(2) << 20)

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18

#define CODE_ATTR (0xbu | X86_ATTR_S | X86_ATTR_P | X86_ATTR_G)
#define DATA_ATTR (0x3u | X86_ATTR_S | X86_ATTR_P | X86_ATTR_G | X86_ATTR_DB)

/* One table of level 4, one of level 3, four of level 2. */
static int write_pages(struct mem *m)
{
    static const unsigned entries = MEM_PAGE_BYTES / 8;
    uint64_t page[MEM_PAGE_BYTES / 8] = {0};
    uint64_t at = BOOT_PAGES_AT;
    int r;

    page[0] = (at + MEM_PAGE_BYTES) | PAGE_PRESENT;
    r = mem_write(m, at, page, sizeof page);
    for (unsigned i = 0; i < 4; i++) {
        page[i] = (at + (uint64_t)(2 + i) * MEM_PAGE_BYTES) | PAGE_PRESENT;
    }
    r = r == 0 ? mem_write(m, at + MEM_PAGE_BYTES, page, sizeof page) : r;
    for (unsigned i = 0; r == 0 && i < 4; i++) {
        for (unsigned n = 0; n < entries; n++) {
            page[n] =
                ((uint64_t)i * entries + n) * LARGE_BYTES | PAGE_PRESENT | PAGE_LARGE;
        }
        r = mem_write(m, at + (uint64_t)(2 + i) * MEM_PAGE_BYTES, page, sizeof page);
    }
    return r;
}

static int write_descriptors(struct mem *m)
{
    static const uint64_t gdt[4] = {0, 0, UINT64_C(0x00af9b000000ffff),
                                    UINT64_C(0x00cf93000000ffff)};

    return mem_write(m, BOOT_GDT_AT, gdt, sizeof gdt);
}

static void set_flat(struct x86_regs *r, uint16_t code_mode)
{
    const struct x86_segment data = {
        .selector = SELECTOR_DATA, .attr = DATA_ATTR, .limit = UINT32_MAX};

    for (unsigned i = X86_ES; i <= X86_GS; i++) {
        r->seg[i] = data;
    }
    r->seg[X86_CS] = (struct x86_segment){.selector = SELECTOR_CODE,
                                          .attr = (uint16_t)(CODE_ATTR | code_mode),
                                          .limit = UINT32_MAX};
    r->rflags = 2;
    r->cpl = 0;
    r->halted = false;
    r->a20_mask = ~UINT64_C(0);
}

int boot_start_long(struct mem *m, struct cpu *c, uint64_t rip, uint64_t rsi,
                    struct err *e)
{
    struct x86_regs r;

    if (write_pages(m) != 0 || write_descriptors(m) != 0) {
        return err_set(e, -ENOMEM, "cannot boot: there is too little memory");
    }
    cpu_get(c, &r);
    memset(r.gpr, 0, sizeof r.gpr);
    r.gpr[X86_RIP] = rip;
    r.gpr[X86_RSI] = rsi;
    r.gdtr = (struct x86_table){.base = BOOT_GDT_AT, .limit = 31};
    r.cr0 = CR0_PE | CR0_ET | CR0_PG;
    r.cr3 = BOOT_PAGES_AT;
    r.cr4 = CR4_PAE;
    r.msr.efer = EFER_LONG;
    set_flat(&r, X86_ATTR_L);
    return cpu_set(c, &r, e);
}

int boot_start_flat32(struct cpu *c, uint32_t rip, uint32_t eax, uint32_t ebx,
                      struct err *e)
{
    struct x86_regs r;

    cpu_get(c, &r);
    memset(r.gpr, 0, sizeof r.gpr);
    r.gpr[X86_RIP] = rip;
    r.gpr[X86_RAX] = eax;
    r.gpr[X86_RBX] = ebx;
    r.cr0 = CR0_PE | CR0_ET;
    set_flat(&r, X86_ATTR_DB);
    return cpu_set(c, &r, e);
}
