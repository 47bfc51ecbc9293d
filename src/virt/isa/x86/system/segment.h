/* segment.h - descriptors, stacks and code segments, as gates and returns use them. */
#ifndef VIRT_ISA_X86_SYSTEM_SEGMENT_H
#define VIRT_ISA_X86_SYSTEM_SEGMENT_H

#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

/* System descriptor types (SDM volume 3A, table 3-2). */
enum x86_system_type {
    X86_TSS16 = 1,
    X86_LDT = 2,
    X86_TSS16_BUSY = 3,
    X86_CALL16 = 4,
    X86_TASK_GATE = 5,
    X86_INT16 = 6,
    X86_TRAP16 = 7,
    X86_TSS32 = 9, /* in long mode the 64-bit one; likewise below */
    X86_TSS32_BUSY = 11,
    X86_CALL32 = 12,
    X86_INT32 = 14,
    X86_TRAP32 = 15
};

struct x86_descriptor {
    uint64_t low, high; /* high: second half of 16-byte descriptors, where asked for */
    uint64_t at;        /* linear address */
};

static inline unsigned x86_d_type(uint64_t low)
{
    return (unsigned)(low >> 40) & 15;
}

static inline bool x86_d_is_system(uint64_t low)
{
    return (low & (1ull << 44)) == 0;
}

static inline bool x86_d_is_code(uint64_t low)
{
    return (low >> 43 & 3) == 3;
}

static inline bool x86_d_is_conforming(uint64_t low)
{
    return (low & (1ull << 42)) != 0;
}

static inline bool x86_d_is_writable_data(uint64_t low)
{
    return (low >> 43 & 3) == 2 && (low & (1ull << 41)) != 0;
}

static inline unsigned x86_d_dpl(uint64_t low)
{
    return (unsigned)(low >> 45) & 3;
}

static inline bool x86_d_is_present(uint64_t low)
{
    return (low & (1ull << 47)) != 0;
}

static inline bool x86_d_is_long(uint64_t low)
{
    return (low & (1ull << 53)) != 0;
}

static inline bool x86_d_is_big(uint64_t low)
{
    return (low & (1ull << 54)) != 0;
}

static inline bool x86_is_null(uint16_t selector)
{
    return (selector & 0xfffc) == 0;
}

static inline bool x86_is_protected(const struct x86_cpu *c)
{
    return c->protected_mode && !c->v86;
}

struct x86_segment x86_d_segment(uint16_t selector, uint64_t low);

/* Read the descriptor a selector names; false: it lies outside its table. */
bool x86_read_descriptor(struct x86_cpu *c, uint16_t selector,
                         struct x86_descriptor *ret_d);
/* The second half of a 16-byte one; false: it lies outside. */
bool x86_read_descriptor_high(struct x86_cpu *c, uint16_t selector,
                              struct x86_descriptor *d);
/* As the first, but #`v`(selector with `ext`) instead of false. */
void x86_need_descriptor(struct x86_cpu *c, uint16_t selector, enum x86_vector v,
                         uint32_t ext, struct x86_descriptor *ret_d);
/* Set the accessed bit in memory, or change the busy bit of a TSS. */
void x86_mark_accessed(struct x86_cpu *c, struct x86_descriptor *d);
void x86_mark_busy(struct x86_cpu *c, const struct x86_descriptor *d, bool busy);

static inline uint32_t x86_selector_error(uint16_t selector, uint32_t ext)
{
    return (selector & 0xfffcu) | ext;
}

/* A stack, perhaps not yet the current one. */
struct x86_stack {
    struct x86_segment ss;
    uint64_t sp;
    uint64_t mask; /* of the stack pointer */
    enum x86_rights as;
    uint32_t error; /* of #SS */
    bool is_long;
    bool checks_alignment;
};

void x86_stack_current(const struct x86_cpu *c, struct x86_stack *ret_stack);
/* A stack for `cpl` with that segment. */
void x86_stack_new(const struct x86_cpu *c, const struct x86_segment *ss, uint64_t sp,
                   uint8_t cpl, struct x86_stack *ret_stack);
/* #SS or #PF now, if pushing `count` values of `bytes` would. */
void x86_stack_reserve(struct x86_cpu *c, const struct x86_stack *s, unsigned bytes,
                       unsigned count);
void x86_stack_push(struct x86_cpu *c, struct x86_stack *s, unsigned bytes, uint64_t v);
uint64_t x86_stack_pop(struct x86_cpu *c, struct x86_stack *s, unsigned bytes);
/* Make it the current stack, with or without its segment. */
void x86_stack_commit_pointer(struct x86_cpu *c, const struct x86_stack *s);

/* SS and the stack pointer for `cpl` from the TSS: legacy forms, with the #TS and #SS
 * that go with it. */
void x86_inner_stack(struct x86_cpu *c, uint8_t cpl, uint32_t ext,
                     struct x86_stack *ret_stack);
/* In long mode: RSP of a privilege (0..2), or of an interrupt stack (1..7). */
void x86_inner_stack_long(struct x86_cpu *c, uint8_t cpl, unsigned ist, uint32_t ext,
                          struct x86_stack *ret_stack);
/* #`v` if `selector` cannot be SS of `cpl`; its segment. */
void x86_check_ss(struct x86_cpu *c, uint16_t selector, uint8_t cpl, enum x86_vector v,
                  uint32_t ext, struct x86_segment *ret_ss);

/* Enter code: CS, privilege and address at once; mode bits follow. */
void x86_enter(struct x86_cpu *c, uint16_t selector, const struct x86_segment *cs,
               uint8_t cpl, uint64_t rip);
/* #GP(0) if `rip` cannot be in the code segment. */
void x86_check_code_address(struct x86_cpu *c, const struct x86_segment *cs,
                            uint64_t rip);
/* Put a segment register in place. */
void x86_set_segment(struct x86_cpu *c, enum x86_seg s, const struct x86_segment *seg);
/* Real and virtual-8086 form of a load. */
void x86_load_segment_real(struct x86_cpu *c, enum x86_seg s, uint16_t selector);
/* After a return outward: forget data segments that the outer level may not use. */
void x86_drop_inner_segments(struct x86_cpu *c);

/* Task switches (task.c). */
enum x86_switch {
    X86_SWITCH_JMP,
    X86_SWITCH_CALL, /* also of interrupts */
    X86_SWITCH_IRET
};

void x86_task_switch(struct x86_cpu *c, uint16_t selector,
                     const struct x86_descriptor *tss, enum x86_switch kind,
                     uint32_t ext);
/* Through a task gate, whose descriptor is `gate`. */
void x86_task_gate(struct x86_cpu *c, uint64_t gate, enum x86_switch kind, uint32_t ext);
void x86_task_return(struct x86_cpu *c);

/* Mode bits that follow from the registers, without the address space. */
void x86_derive(struct x86_cpu *c);
void x86_set_cr3(struct x86_cpu *c, uint64_t value);
void x86_write_efer(struct x86_cpu *c, uint64_t value);

#endif
