/* contract/cpu_x86.h - the state of one x86 processor, in plain words.
 *
 * Neutral between engines: what one engine leaves, another goes on from, and a
 * snapshot holds.  Names and layouts follow the Intel SDM (September 2023),
 * volume 3A, chapters 2, 3 and 13, and AMD APM volume 2, 24593 rev. 3.41. */
#ifndef CONTRACT_CPU_X86_H
#define CONTRACT_CPU_X86_H

#include <stdbool.h>
#include <stdint.h>

enum x86_gpr {
    X86_RAX,
    X86_RCX,
    X86_RDX,
    X86_RBX,
    X86_RSP,
    X86_RBP,
    X86_RSI,
    X86_RDI,
    X86_R8,
    X86_R9,
    X86_R10,
    X86_R11,
    X86_R12,
    X86_R13,
    X86_R14,
    X86_R15,
    X86_GPR_COUNT,
    X86_RIP = X86_GPR_COUNT, /* slot of the instruction pointer */
    X86_ZERO,                /* slot that is always 0: an address without base or index */
    X86_GPR_SLOTS
};

enum x86_seg {
    X86_ES,
    X86_CS,
    X86_SS,
    X86_DS,
    X86_FS,
    X86_GS,
    X86_LDTR,
    X86_TR,
    X86_SEG_COUNT
};

/* A segment register with its hidden part. */
struct x86_segment {
    uint16_t selector;
    uint16_t attr;  /* descriptor bits 40..47 in 0..7, and 52..55 in 12..15 */
    uint32_t limit; /* in bytes, scaled: the last valid offset */
    uint64_t base;
};

#define X86_ATTR_TYPE      0x000fu
#define X86_ATTR_S         0x0010u
#define X86_ATTR_DPL_SHIFT 5
#define X86_ATTR_P         0x0080u
#define X86_ATTR_L         0x2000u
#define X86_ATTR_DB        0x4000u
#define X86_ATTR_G         0x8000u
#define X86_ATTR_NULL      0x0100u /* ours: loaded with a null selector, unusable */

struct x86_table {
    uint64_t base;
    uint16_t limit;
};

struct x86_ymm {
    uint8_t byte[32];
} __attribute__((aligned(32)));

/* x87 and SSE state as FXSAVE has it, registers in stack order st(0)..st(7). */
struct x86_fpu {
    uint8_t st[8][16]; /* 10 bytes used; by physical register R0..R7, not by stack */
    uint16_t fcw;
    uint16_t fsw; /* TOP in bits 11..13 */
    uint8_t ftw;  /* abridged: bit n set: R<n> is not empty */
    uint16_t fop;
    uint64_t fip; /* with selectors in the high word in legacy modes */
    uint64_t fdp;
    uint16_t fcs;
    uint16_t fds;
    uint32_t mxcsr;
    struct x86_ymm ymm[16];
};

struct x86_msrs {
    uint64_t efer;
    uint64_t star, lstar, cstar, sfmask;
    uint64_t kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t tsc_aux, tsc_offset, tsc_deadline;
    uint64_t pat, apic_base, misc_enable;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t spec_ctrl;
};

struct x86_regs {
    uint64_t gpr[X86_GPR_SLOTS]; /* with RIP in slot X86_RIP */
    uint64_t rflags;
    struct x86_segment seg[X86_SEG_COUNT];
    struct x86_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t xcr0;
    uint64_t dr[8]; /* 4 and 5 unused */
    struct x86_fpu fpu;
    struct x86_msrs msr;

    /* What is between instructions. */
    uint8_t cpl;
    bool halted;
    bool nmi_masked;
    bool nmi_waits; /* until it can be taken */
    bool
        irq_shadow; /* after STI or a load of SS: no interrupt before one more instruction */
    bool debug_shadow; /* after a load of SS: no debug trap either */
    uint64_t a20_mask; /* ANDed to physical addresses */
};

#endif
