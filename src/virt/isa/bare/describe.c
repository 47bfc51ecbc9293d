/* describe.c - the next instruction as text, without touching the guest: page tables
 * are read as they stand (SDM volume 3A, chapter 4), no bit of them is set. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "contract/mem.h"
#include "virt/isa/bare/private.h"
#include "virt/isa/x86/cpu.h"

#define PTE_PRESENT 1u
#define PTE_LARGE   0x80u
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

/* Bits of the address that a table of each kind takes, and its entries' bytes. */
struct paging {
    int levels;
    unsigned index_bits, entry_bytes;
};

static struct paging paging_of(const struct x86_regs *r)
{
    if ((r->cr4 & X86_CR4_PAE) == 0) {
        return (struct paging){2, 10, 4};
    }
    return (struct paging){(r->msr.efer & X86_EFER_LMA) != 0 ? 4 : 3, 9, 8};
}

static bool to_physical(const struct bare *b, const struct x86_regs *r, uint64_t linear,
                        uint64_t *ret_physical)
{
    struct paging p = paging_of(r);
    uint64_t table = r->cr3 & (p.levels == 3 ? UINT64_C(0xffffffe0) : PTE_ADDRESS);
    uint64_t entry = 0;
    unsigned shift;
    int level;

    if ((r->cr0 & X86_CR0_PG) == 0) {
        *ret_physical = linear;
        return true;
    }
    for (level = p.levels - 1; level >= 0; level--) {
        shift = MEM_PAGE_SHIFT + p.index_bits * (unsigned)level;
        entry = 0;
        if (mem_read(b->mem,
                     table +
                         ((linear >> shift) & ((1u << p.index_bits) - 1)) * p.entry_bytes,
                     &entry, p.entry_bytes) != 0 ||
            (entry & PTE_PRESENT) == 0) {
            return false;
        }
        if (level > 0 && level < 3 && (entry & PTE_LARGE) != 0) {
            uint64_t inside = (UINT64_C(1) << shift) - 1;

            *ret_physical = (entry & PTE_ADDRESS & ~inside) | (linear & inside);
            return true;
        }
        table = entry & PTE_ADDRESS;
    }
    *ret_physical = table | (linear & (MEM_PAGE_BYTES - 1));
    return true;
}

static enum x86_code_mode mode_of(const struct x86_regs *r)
{
    if ((r->cr0 & X86_CR0_PE) == 0 || (r->rflags & X86_VM) != 0) {
        return X86_CODE16;
    }
    if ((r->msr.efer & X86_EFER_LMA) != 0 && (r->seg[X86_CS].attr & X86_ATTR_L) != 0) {
        return X86_CODE64;
    }
    return (r->seg[X86_CS].attr & X86_ATTR_DB) != 0 ? X86_CODE32 : X86_CODE16;
}

void bare_describe(const struct bare *b, const struct x86_regs *r, char *text,
                   size_t bytes)
{
    uint64_t linear = r->gpr[X86_RIP] + r->seg[X86_CS].base;
    uint8_t code[X86_INSN_BYTES_MAX];
    struct x86_insn insn;
    unsigned have = 0;
    uint64_t at;

    if (mode_of(r) != X86_CODE64) {
        linear = (uint32_t)linear;
    }
    while (have < sizeof code && to_physical(b, r, linear + have, &at) &&
           mem_read(b->mem, at & r->a20_mask, &code[have], 1) == 0) {
        have++;
    }
    if (have == 0) {
        (void)str_print(text, bytes, "(no memory)");
    } else if (x86_decode(code, have, mode_of(r), &insn) == X86_DECODED) {
        (void)x86_disassemble(&insn, r->gpr[X86_RIP], text, bytes);
    } else {
        (void)str_print(text, bytes, "(no instruction)");
    }
}
