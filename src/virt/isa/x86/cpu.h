/* cpu.h - the processor as the x86 executors hold it.
 *
 * `struct x86_regs` (contract/cpu_x86.h) is the state; what stands beside it here
 * is derived, kept for speed, and rebuilt by `x86_refresh` after the registers
 * were set from outside.
 *
 * Flags.  While the interpreter runs, the six arithmetic flags may be held as the
 * result and the carries that would make them (`flags_lazy` true):
 *
 *   flag_result  the result, sign-extended to 64 bits:  ZF = (it is 0),
 *                SF = (it is negative), PF = even parity of its low byte
 *   flag_carry   bit 63: CF;  bit 62: CF xor OF (the carry into the top bit);
 *                bit 3: AF;  bit 16: SF is inverted;  bit 17: PF is inverted
 *
 * so that an addition costs three stores.  `rflags` is then right but for those
 * six.  `x86_flags_pack` makes it whole; everything outside the executors sees it
 * whole.
 *
 * Faults.  `x86_raise` leaves a routine by `longjmp` to the loop that called it:
 * routines read like the manual's pseudo-code, and no access pays for a check of
 * a status word.  A routine therefore owns nothing that needs release, and changes
 * no guest state before its last access that may fault.
 *
 * Floating point.  A run of floating-point instructions finds the host's MXCSR, or the
 * control word of its x87 unit, holding the guest's (`ready`), where the flags gather.
 * `x86_settle` takes them back and gives the host its own again.  Everybody who looks at
 * the guest's flags calls it first, and so does everything that leaves the executors:
 * code of others never computes under a guest's rounding mode. */
#ifndef VIRT_ISA_X86_CPU_H
#define VIRT_ISA_X86_CPU_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/isa/x86/x86.h"

struct x86_model;   /* a CPUID model: system/model.h */
struct x86_tlb;     /* memory/tlb.h */
struct x86_tlb_set; /* memory/tlb.h */
struct x86_code;    /* decoded instructions: interpret/ */

enum x86_vector {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OF = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DF = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SS_FAULT = 12,
    X86_GP = 13,
    X86_PF = 14,
    X86_MF = 16,
    X86_AC = 17,
    X86_MC = 18,
    X86_XM = 19
};

#define X86_CF         0x00000001u
#define X86_PF_BIT     0x00000004u
#define X86_AF         0x00000010u
#define X86_ZF         0x00000040u
#define X86_SF         0x00000080u
#define X86_TF         0x00000100u
#define X86_IF         0x00000200u
#define X86_DF_BIT     0x00000400u
#define X86_OF_BIT     0x00000800u
#define X86_IOPL       0x00003000u
#define X86_NT         0x00004000u
#define X86_RF         0x00010000u
#define X86_VM         0x00020000u
#define X86_AC_BIT     0x00040000u
#define X86_VIF        0x00080000u
#define X86_VIP        0x00100000u
#define X86_ID         0x00200000u
#define X86_ARITHMETIC 0x000008d5u /* O S Z A P C */

#define X86_CR0_PE 0x1u
#define X86_CR0_MP 0x2u
#define X86_CR0_EM 0x4u
#define X86_CR0_TS 0x8u
#define X86_CR0_ET 0x10u
#define X86_CR0_NE 0x20u
#define X86_CR0_WP 0x10000u
#define X86_CR0_AM 0x40000u
#define X86_CR0_PG 0x80000000u

#define X86_CR4_VME        0x1u
#define X86_CR4_PVI        0x2u
#define X86_CR4_TSD        0x4u
#define X86_CR4_DE         0x8u
#define X86_CR4_PSE        0x10u
#define X86_CR4_PAE        0x20u
#define X86_CR4_PGE        0x80u
#define X86_CR4_PCE        0x100u
#define X86_CR4_OSFXSR     0x200u
#define X86_CR4_OSXMMEXCPT 0x400u
#define X86_CR4_UMIP       0x800u
#define X86_CR4_FSGSBASE   0x10000u
#define X86_CR4_PCIDE      0x20000u
#define X86_CR4_OSXSAVE    0x40000u
#define X86_CR4_SMEP       0x100000u
#define X86_CR4_SMAP       0x200000u

#define X86_EFER_SCE 0x1u
#define X86_EFER_LME 0x100u
#define X86_EFER_LMA 0x400u
#define X86_EFER_NXE 0x800u

/* A fault or trap on its way to the guest. */
struct x86_fault {
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint64_t address; /* of a page fault: CR2 */
    uint64_t dr6;     /* of a debug exception: bits to set */
};

/* Bits of `wants`: why the loop must look up between two instructions. */
enum x86_want {
    X86_WANT_TRAP = 1,    /* TF, or a data breakpoint was hit */
    X86_WANT_SHADOW = 2,  /* an interrupt shadow must end */
    X86_WANT_LEAVE = 4,   /* `env->exit` said stop */
    X86_WANT_RELOAD = 16, /* code in flight may have changed, or the mode did */
};

/* Bits of `ready`: what need not be asked again until `x86_settle`.  Right as long as no
 * control register changes; whatever changes one ends a block, and `x86_between` settles. */
enum x86_ready {
    X86_MAY_SSE = 1,  /* CR0 and CR4 allow SSE instructions */
    X86_MAY_AVX = 2,  /* ... AVX instructions */
    X86_LIVE_SSE = 4, /* the host's MXCSR is the guest's, which masks every exception */
    X86_LIVE_X87 = 8, /* CR0 allows x87 instructions, the host's x87 control word is the
                         guest's, which masks every exception */
};

struct x86_cpu {
    struct cpu base;
    struct x86_regs r;

    uint64_t next_rip; /* behind the instruction that executes; a branch changes it */
    int64_t flag_result;
    uint64_t flag_carry;
    bool flags_lazy;

    /* Derived from r: mode and what the fast paths test. */
    uint8_t code_mode; /* `enum x86_code_mode` */
    bool long_mode;    /* EFER.LMA */
    bool protected_mode, v86;
    bool flat;          /* no segment but FS and GS needs a base or a limit */
    uint8_t stack_size; /* X86_16, X86_32 or X86_64 */
    uint64_t rip_mask;  /* all ones in 64-bit mode, else 0xffffffff */

    uint64_t irq_pending; /* not 0: an interrupt was asked for, not yet possible */
    uint32_t wants;       /* `enum x86_want` bits; only this thread */
    uint8_t ready;        /* `enum x86_ready` bits */
    unsigned pauses;      /* since the last exit */
    uint64_t budget;
    uint64_t budget_at_fault; /* when the last fault was delivered */
    uint64_t map_generation;  /* the last that an address space got: memory/tlb.h */
    struct x86_tlb *tlb;      /* of the current address space and privilege; never NULL */
    struct x86_tlb_set *tlbs; /* owned; all of them: memory/tlb.c */
    uint64_t usual_addend;    /* of `tlb` */

    /* What to add to an offset for the linear address, by segment, where no limit or
     * type needs a look; else a number that makes an address no entry has. */
    uint64_t read_base[X86_SEG_COUNT];
    uint64_t write_base[X86_SEG_COUNT];
    uint64_t physical_mask; /* the address bits of a page table entry, by the model */
    bool has_1g_pages;
    uint64_t pdpte[4]; /* of PAE paging, as the last load of CR3 found them */

    struct x86_code *code;         /* owned; decoded instructions: interpret/ */
    struct mem *mem;               /* borrowed */
    const struct x86_model *model; /* borrowed */

    struct x86_fault fault;
    jmp_buf unwind;
    int leave_code; /* what `cpu_run` returns after X86_WANT_LEAVE */

    uint64_t dr6_pending; /* bits of data breakpoints hit by what executes */

    const struct cpu_debug *debug; /* borrowed; NULL: nobody on the host debugs */
    uint64_t hit_at;               /* a `cpu_watch` was hit, if `is_hit` */
    bool is_hit, is_stepped;       /* to be told before the next instruction */

    /* A read-modify-write under way; `pending`: `x86_rmw_end` has something to do. */
    struct {
        uint8_t bounce[64] __attribute__((aligned(32)));
        const struct mem_region *region[2]; /* NULL: no RAM */
        gpa at[2];
        uint8_t bytes[2]; /* [1] is 0: all lies in one page */
        bool pending, direct, locked;
    } rmw;

    struct cpu_counters count;
};

static inline struct x86_cpu *x86_of(struct cpu *c)
{
    return (struct x86_cpu *)c;
}

/* Leave the routine; the loop delivers the exception. */
_Noreturn void x86_raise(struct x86_cpu *c, enum x86_vector v);
_Noreturn void x86_raise_error(struct x86_cpu *c, enum x86_vector v, uint32_t error);
_Noreturn void x86_raise_page(struct x86_cpu *c, uint64_t linear, uint32_t error);

/* The host's floating point is its own again, and the guest's flags are in `r`. */
void x86_settle_now(struct x86_cpu *c);

static inline void x86_settle(struct x86_cpu *c)
{
    if (__builtin_expect(c->ready != 0, 0)) {
        x86_settle_now(c);
    }
}

/* Whether a repeated instruction has to stop between two elements.  What it did to code,
 * its own bytes among it, counts when it ends. */
static inline bool x86_is_awaited(const struct x86_cpu *c)
{
    return ((c->wants & ~(uint32_t)X86_WANT_RELOAD) | c->base.kicks) != 0;
}

/* One exit to the surroundings; remembers when they say stop. */
void x86_exit(struct x86_cpu *c, struct cpu_exit *x);

/* Make `rflags` whole; the flags are then held there. */
void x86_flags_pack(struct x86_cpu *c);

/* Set all six arithmetic flags, from bits in their RFLAGS places. */
static inline void x86_flags_set(struct x86_cpu *c, uint32_t flags)
{
    c->r.rflags = (c->r.rflags & ~(uint64_t)X86_ARITHMETIC) | (flags & X86_ARITHMETIC);
    c->flags_lazy = false;
}

/* Rebuild what is derived, after `r` changed from outside or the mode did. */
void x86_refresh(struct x86_cpu *c);

#endif
