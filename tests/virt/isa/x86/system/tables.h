/* tables.h - a descriptor table with a segment of every kind, and processors that use
 * it in protected and in long mode. */
#ifndef TESTS_VIRT_ISA_X86_SYSTEM_TABLES_H
#define TESTS_VIRT_ISA_X86_SYSTEM_TABLES_H

#include "tests/virt/isa/x86/system/bench.h"

#define GDT  0x1000u
#define IDT  0x2000u
#define TSS  0x3000u
#define TSS2 0x3400u
#define LDT  0x3800u
#define CODE 0x10000u

#define STACK0 0x20000u
#define STACK1 0x24000u
#define STACK3 0x28000u

/* Selectors of the table that `bench_protected` builds. */
enum {
    CODE0 = 0x08,
    DATA0 = 0x10,
    CODE3 = 0x18,
    DATA3 = 0x20,
    CONFORMING = 0x28,
    CODE16 = 0x30,
    DATA16 = 0x38,
    TASK = 0x40,
    TASK2 = 0x48,
    LOCAL = 0x50,
    GATE3 = 0x58, /* to CODE0, three parameters, for level 3 */
    ABSENT = 0x60,
    READ_ONLY = 0x68,
    EXECUTE_ONLY = 0x70,
    CODE64 = 0x78,
    TASK_GATE = 0x80,
    ABSENT_CODE = 0x88,
    TASK16 = 0x90,
    GATE0 = 0x98,        /* as GATE3, for level 0 */
    GATE_TO_DATA = 0xa0, /* for level 3 */
    CODE1 = 0xa8,
    DATA1 = 0xb0,
    GATE16 = 0xb8,
    CODE64_3 = 0xc0,
    LONG_GATE = 0xd0, /* two places */
    LONG_TSS = 0xe0,  /* two places */
    BUSY = 0xf0,
    OUTSIDE = 0x200
};

/* `access`: descriptor bits 47..40; `flags`: 55..52. */
static inline uint64_t segment(uint32_t base, uint32_t limit, unsigned access,
                               unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

static inline uint64_t gate(uint16_t selector, uint32_t offset, unsigned access,
                            unsigned count)
{
    return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 |
           (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

static inline void put_descriptor(struct bench *b, unsigned selector, uint64_t d)
{
    poke(b, GDT + (selector & ~7u), 8, d);
}

static inline void put_idt(struct bench *b, unsigned vector, uint64_t d)
{
    poke(b, IDT + vector * 8, 8, d);
}

static inline void build_gdt(struct bench *b)
{
    put_descriptor(b, CODE0, segment(0, 0xfffff, 0x9b, 0xc));
    put_descriptor(b, DATA0, segment(0, 0xfffff, 0x93, 0xc));
    put_descriptor(b, CODE3, segment(0, 0xfffff, 0xfb, 0xc));
    put_descriptor(b, DATA3, segment(0, 0xfffff, 0xf3, 0xc));
    put_descriptor(b, CONFORMING, segment(0, 0xfffff, 0x9f, 0xc));
    put_descriptor(b, CODE16, segment(0, 0xffff, 0x9b, 0));
    put_descriptor(b, DATA16, segment(0, 0xffff, 0x93, 0));
    put_descriptor(b, TASK, segment(TSS, 0x67, 0x89, 0));
    put_descriptor(b, TASK2, segment(TSS2, 0x67, 0x89, 0));
    put_descriptor(b, LOCAL, segment(LDT, 0x1f, 0x82, 0));
    put_descriptor(b, GATE3, gate(CODE0, CODE + 0x100, 0xec, 3));
    put_descriptor(b, ABSENT, segment(0, 0xfffff, 0x73, 0xc));
    put_descriptor(b, READ_ONLY, segment(0, 0xfffff, 0xf1, 0xc));
    put_descriptor(b, EXECUTE_ONLY, segment(0, 0xfffff, 0xf9, 0xc));
    put_descriptor(b, CODE64, segment(0, 0, 0x9b, 2));
    put_descriptor(b, TASK_GATE, gate(TASK2, 0, 0xe5, 0));
    put_descriptor(b, ABSENT_CODE, segment(0, 0xfffff, 0x1b, 0xc));
    put_descriptor(b, TASK16, segment(TSS2, 0x2b, 0x81, 0));
    put_descriptor(b, GATE0, gate(CODE0, CODE + 0x100, 0x8c, 3));
    put_descriptor(b, GATE_TO_DATA, gate(DATA0, CODE, 0xec, 0));
    put_descriptor(b, CODE1, segment(0, 0xfffff, 0xbb, 0xc));
    put_descriptor(b, DATA1, segment(0, 0xfffff, 0xb3, 0xc));
    put_descriptor(b, GATE16, gate(CODE0, 0x1234, 0xe4, 0));
    put_descriptor(b, CODE64_3, segment(0, 0, 0xfb, 2));
    put_descriptor(b, BUSY, segment(TSS2, 0x67, 0x8b, 0));
    b->c.r.gdtr = (struct x86_table){.base = GDT, .limit = 0xff};
    b->c.r.idtr = (struct x86_table){.base = IDT, .limit = 0x3ff};
}

/* 32-bit protected mode at `cpl` with its stack; TR is TASK. */
static inline void bench_protected(struct bench *b, uint8_t cpl)
{
    struct x86_regs *r = &b->c.r;
    unsigned data = cpl == 3 ? DATA3 | 3u : cpl == 1 ? DATA1 | 1u : DATA0;
    unsigned code = cpl == 3 ? CODE3 | 3u : cpl == 1 ? CODE1 | 1u : CODE0;

    build_gdt(b);
    r->cr0 |= X86_CR0_PE;
    r->cpl = cpl;
    for (unsigned s = 0; s < 6; s++) {
        r->seg[s] = (struct x86_segment){
            .selector = (uint16_t)data, .limit = 0xffffffff, .attr = 0xc093};
        r->seg[s].attr |= (uint16_t)(cpl << 5);
    }
    r->seg[X86_CS].selector = (uint16_t)code;
    r->seg[X86_CS].attr |= 8;
    r->seg[X86_TR] =
        (struct x86_segment){.selector = TASK, .base = TSS, .limit = 0x67, .attr = 0x8b};
    r->seg[X86_LDTR] = (struct x86_segment){.attr = X86_ATTR_NULL};
    r->gpr[X86_RSP] = cpl == 3 ? STACK3 : STACK0;
    r->gpr[X86_RIP] = CODE;
    b->c.next_rip = CODE + 2;
    poke(b, TSS + 4, 4, STACK0);
    poke(b, TSS + 8, 4, DATA0);
    poke(b, TSS + 12, 4, STACK1);
    poke(b, TSS + 16, 4, DATA1 | 1);
    x86_refresh(&b->c);
}

#define PML4 0x100000u

/* 64-bit mode at `cpl`: the first gigabyte maps to itself for everyone. */
static inline void bench_long(struct bench *b, uint8_t cpl)
{
    struct x86_regs *r = &b->c.r;

    build_gdt(b);
    poke(b, PML4, 8, (PML4 + 0x1000) | 7);
    poke(b, PML4 + 0x1000, 8, (PML4 + 0x2000) | 7);
    for (unsigned i = 0; i < 512; i++) {
        poke(b, PML4 + 0x2000 + i * 8, 8, ((uint64_t)i << 21) | 0x87);
    }
    r->cr0 |= X86_CR0_PE | X86_CR0_PG;
    r->cr4 |= X86_CR4_PAE;
    r->cr3 = PML4;
    r->msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE;
    r->cpl = cpl;
    for (unsigned s = 0; s < 6; s++) {
        r->seg[s] = (struct x86_segment){.selector = cpl == 3 ? DATA3 | 3 : DATA0,
                                         .limit = 0xffffffff,
                                         .attr = (uint16_t)(0xc093 | cpl << 5)};
    }
    r->seg[X86_CS].selector = cpl == 3 ? CODE64_3 | 3 : CODE64;
    r->seg[X86_CS].attr = (uint16_t)(0xa09b | cpl << 5);
    r->seg[X86_TR] = (struct x86_segment){
        .selector = LONG_TSS, .base = TSS, .limit = 0x67, .attr = 0x8b};
    r->seg[X86_LDTR] = (struct x86_segment){.attr = X86_ATTR_NULL};
    r->gpr[X86_RSP] = cpl == 3 ? STACK3 : STACK0;
    r->gpr[X86_RIP] = CODE;
    b->c.next_rip = CODE + 2;
    r->idtr = (struct x86_table){.base = IDT, .limit = 0xfff};
    poke(b, TSS + 4, 8, STACK0);
    poke(b, TSS + 0x24, 8, STACK1); /* IST1 */
    x86_refresh(&b->c);
}

#endif
