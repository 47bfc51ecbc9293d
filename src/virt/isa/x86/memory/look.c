/* look.c - page tables as they stand (Intel SDM volume 3A, chapter 4), for debuggers and
 * traces: nothing is cached, no fault is raised, no accessed bit set. */
#include "virt/isa/x86/memory/look.h"

#include <errno.h>

#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/memory/tlb.h"

#define PRESENT    UINT64_C(1)
#define WRITABLE   UINT64_C(2)
#define FOR_USERS  UINT64_C(4)
#define LARGE      UINT64_C(0x80)
#define NO_EXECUTE (UINT64_C(1) << 63)
#define FRAME      UINT64_C(0x000ffffffffff000)

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

/* Table entries that end the walk at `level`; in 32-bit paging only with CR4.PSE. */
static bool is_last(const struct x86_regs *r, const struct paging *p, int level,
                    uint64_t entry)
{
    if (level == 0) {
        return true;
    }
    if ((entry & LARGE) == 0 || level > (p->levels == 4 ? 2 : 1)) {
        return false;
    }
    return p->levels != 2 || (r->cr4 & X86_CR4_PSE) != 0;
}

/* The frame of an entry; a 4-MiB page keeps its upper bits in 13..20 (4.3). */
static uint64_t frame_of(const struct paging *p, uint64_t entry, unsigned shift)
{
    uint64_t frame = entry & FRAME & ~((UINT64_C(1) << shift) - 1);

    if (p->levels == 2 && shift == 22) {
        frame |= (entry >> 13 & 0xff) << 32;
    }
    return frame;
}

int x86_look(const struct x86_regs *r, struct mem *m, uint64_t linear,
             struct x86_view *ret)
{
    struct paging p = paging_of(r);
    uint64_t table = r->cr3 & (p.levels == 3 ? UINT64_C(0xffffffe0) : FRAME);
    struct x86_view v = {
        .at = linear, .writable = true, .executable = true, .for_users = true};

    if ((r->msr.efer & X86_EFER_LMA) != 0 ? !x86_is_canonical(linear)
                                          : linear >> 32 != 0) {
        return -EFAULT;
    }
    if ((r->cr0 & X86_CR0_PG) == 0) {
        v.at &= r->a20_mask;
        *ret = v;
        return 0;
    }
    for (int level = p.levels - 1; level >= 0; level--) {
        unsigned shift = MEM_PAGE_SHIFT + p.index_bits * (unsigned)level;
        uint64_t index = linear >> shift & ((1u << p.index_bits) - 1);
        bool has_rights = !(p.levels == 3 && level == 2); /* 4.4.1: a pointer has none */
        uint64_t entry = 0;

        if (mem_read(m, (table + index * p.entry_bytes) & r->a20_mask, &entry,
                     p.entry_bytes) != 0 ||
            (entry & PRESENT) == 0) {
            return -EFAULT;
        }
        v.writable = v.writable && (!has_rights || (entry & WRITABLE) != 0);
        v.for_users = v.for_users && (!has_rights || (entry & FOR_USERS) != 0);
        v.executable = v.executable && (entry & NO_EXECUTE) == 0;
        if (is_last(r, &p, level, entry)) {
            v.shift = shift;
            v.at = frame_of(&p, entry, shift) | (linear & ((UINT64_C(1) << shift) - 1));
            v.at &= r->a20_mask;
            *ret = v;
            return 0;
        }
        table = entry & FRAME;
    }
    return -EFAULT;
}
