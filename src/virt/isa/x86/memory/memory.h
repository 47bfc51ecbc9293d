/* memory.h - guest memory as instructions see it: segments, paging, physical.
 *
 *   segment:offset --(base, limit, type)--> linear --(soft TLB; page walk)--> physical
 *
 * Every access here is one of the guest's: it may not return (`x86_raise`), sets
 * accessed and dirty bits, honours breakpoints, and tells `mem` of stores to flagged
 * pages.  An access of at most 8 bytes inside one page of RAM is one host access of
 * that size, so x86's memory order holds between vCPUs on threads. */
#ifndef VIRT_ISA_X86_MEMORY_MEMORY_H
#define VIRT_ISA_X86_MEMORY_MEMORY_H

#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/memory/access.h"

/* Operand access by segment and offset, inline in access.h; the offset is wrapped
 * to `i->address` already (`x86_ea`).  #GP or #SS for limits and canonical form,
 * #AC, #PF.
 *
 *     uint8_t x86_load8(c, s, offset)  ... x86_load16, 32, 64
 *     void x86_store8(c, s, offset, v) ... x86_store16, 32, 64
 *
 * Up to 4096 bytes; the store faults before its first byte is written:
 *
 *     void x86_load_bytes(c, s, offset, buf, bytes), x86_store_bytes
 *     void x86_load_vector(c, s, offset, buf, is_256), x86_store_vector
 *
 * Read-modify-write of 1..32 bytes: the operand's bytes, checked for writing, in
 * guest RAM where that is possible (host atomics on them are the guest's, also where
 * they are not aligned), else in a copy that `x86_rmw_end` writes back.  Nothing may
 * fault in between.  `locked`: no other vCPU can come between, also where the bytes
 * are a copy.
 *
 *     void *x86_rmw_begin(c, s, offset, bytes, locked), x86_rmw_end(c) */

/* The offset of the memory operand of `i`, wrapped to its address size. */
static inline uint64_t x86_ea(const struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at =
        c->r.gpr[i->base] + (c->r.gpr[i->index] << i->scale) + (uint64_t)(int64_t)i->disp;

    return i->address == X86_64 ? at : i->address == X86_32 ? (uint32_t)at : (uint16_t)at;
}

/* Accesses by linear address with given rights: what the processor does by itself.
 * X86_AS_SYSTEM is for descriptor tables, the IDT and task states.  Any bytes 1..8. */
uint64_t x86_linear_load(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                         unsigned bytes);
void x86_linear_store(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                      unsigned bytes, uint64_t v);

/* Fault now, if a store (or load) of up to 4096 bytes there would. */
void x86_linear_probe(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                      unsigned bytes, enum x86_access access);

static inline uint64_t x86_system_load(struct x86_cpu *c, uint64_t linear, unsigned bytes)
{
    return x86_linear_load(c, X86_AS_SYSTEM, linear, bytes);
}

static inline void x86_system_store(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                                    uint64_t v)
{
    x86_linear_store(c, X86_AS_SYSTEM, linear, bytes, v);
}

/* A linear address as it is used: 32 bits outside long mode. */
static inline uint64_t x86_wrap(const struct x86_cpu *c, uint64_t linear)
{
    return c->long_mode ? linear : (uint32_t)linear;
}

/* Physical memory of any kind, without paging: 1, 2, 4, 8 bytes. */
uint64_t x86_physical_load(struct x86_cpu *c, gpa at, unsigned bytes);

/* String instructions: how many elements of `bytes` from offset on lie in one page
 * of RAM that may be accessed directly in this direction, and where; 0: take the
 * single-element way.  Checks as an access of the first element would.  Ends where
 * an address of 16 or 32 bits would wrap. */
struct x86_elements {
    unsigned bytes; /* of one */
    bool write, downwards;
};

uint64_t x86_elements_at(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                         struct x86_elements e, uint8_t **ret_host);

#define x86_span(c, s, offset, bytes, write, downwards, ret_host)                        \
    x86_elements_at(c, s, offset, (struct x86_elements){bytes, write, downwards},        \
                    ret_host)

/* The page of code at CS:rip: its bytes from rip on, up to the page's end, and
 * their physical address.  #PF or #GP as a fetch.  NULL: not RAM; fetch singly
 * with `x86_fetch8`. */
const uint8_t *x86_fetch_page(struct x86_cpu *c, uint64_t rip, unsigned *ret_bytes,
                              gpa *ret_at);
uint8_t x86_fetch8(struct x86_cpu *c, uint64_t rip);

/* The address space changed (MOV CR3, INVPCID, CR0/CR4/EFER writes), one page was
 * invalidated (INVLPG), or the privilege or SMAP override did. */
void x86_tlb_switch(struct x86_cpu *c);
void x86_tlb_flush_all(struct x86_cpu *c, bool also_global);
void x86_tlb_flush_pcid(struct x86_cpu *c, uint16_t pcid, bool also_global);
void x86_tlb_flush_page(struct x86_cpu *c, uint16_t pcid, uint64_t linear);
void x86_tlb_trim(struct x86_cpu *c); /* all of them forgotten, their memory given back */
void x86_tlb_select(struct x86_cpu *c); /* after CPL or EFLAGS.AC changed */
int x86_tlb_init(struct x86_cpu *c);
void x86_tlb_fini(struct x86_cpu *c);

/* The physical page of `at` got a flag: this processor's stores to it look again.
 * Other processors do so after CPU_KICK_FLUSH, at which the loop calls
 * `x86_tlb_protect_flagged`. */
void x86_tlb_protect(struct x86_cpu *c, gpa at);
void x86_tlb_protect_flagged(struct x86_cpu *c);

/* Segments or the mode changed: make `read_base` and its kin again, of one or all;
 * and with the address space and privilege. */
void x86_segment_changed(struct x86_cpu *c, enum x86_seg s);
void x86_segments_changed(struct x86_cpu *c);
void x86_memory_refresh(struct x86_cpu *c);

/* The four page-directory pointers of PAE paging, from CR3; false: one has reserved
 * bits, nothing changed (#GP for the instruction). */
bool x86_load_pdptes(struct x86_cpu *c, uint64_t cr3);

#endif
