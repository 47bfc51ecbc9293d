/* lift.h - x86 instructions become IR.
 *
 * A trace is made instruction by instruction: `lift_insn` appends what one does.
 * Operands are read from the rows (their letters say where), so one function serves
 * all forms of an operation.  What has no form here calls its row's own routine.
 *
 * Assumes: segments are flat but for FS and GS, and no alignment checks; the engine
 * keeps code for other states apart. */
#ifndef VIRT_ISA_X86_LIFT_LIFT_H
#define VIRT_ISA_X86_LIFT_LIFT_H

#include "virt/isa/ir/build.h"
#include "virt/isa/x86/cpu.h"

#define LIFT_SIDE_WORDS 6

/* Globals: the general registers by number, then these. */
enum lift_global {
    LIFT_FLAGS = 16,
    LIFT_FS_BASE,
    LIFT_GS_BASE,
    LIFT_X87_IP,    /* of the last x87 instruction */
    LIFT_RFLAGS,    /* the rest of them: IF, DF; the arithmetic ones do not count */
    LIFT_IRQ,       /* not 0: an interrupt waits until it may come */
    LIFT_KERNEL_GS, /* what SWAPGS has for GS */
    LIFT_GS_READ,   /* GS as the interpreter adds it */
    LIFT_GS_WRITE,
    LIFT_CR2,
    LIFT_CR3,
    /* What SYSCALL and SYSRET change: */
    LIFT_SFMASK,
    LIFT_LSTAR,
    LIFT_CPL,
    LIFT_CS, /* the first word of a segment: selector, attributes, limit */
    LIFT_CS_BASE,
    LIFT_SS,
    LIFT_SS_BASE,
    LIFT_TLB,
    LIFT_USUAL,
    LIFT_JUMPS,
    LIFT_LINK,
    LIFT_SYSTEM,                                /* `struct lift_side`, word by word */
    LIFT_USERS = LIFT_SYSTEM + LIFT_SIDE_WORDS, /* ... of level 3 */
    LIFT_GLOBALS = LIFT_USERS + LIFT_SIDE_WORDS
};

/* What belongs to code of one privilege, which the engine keeps ready for changes to it. */
struct lift_side {
    uint64_t tlb; /* 0: not ready, the routine does it */
    uint64_t jumps, link;
    uint64_t cs, ss;
    uint64_t usual; /* the host address of the addend of most pages */
};

/* Offsets into the processor's struct. */
struct lift_places {
    uint32_t flags;       /* the FLAGS image */
    uint32_t jumps, link; /* as in `struct lift_side`, of what runs */
    uint32_t system, users;
};

/* Fill in the table; `pins` names a host register for each general register or
 * IR_NO_PIN. */
void lift_globals(struct ir_global ret_table[LIFT_GLOBALS], const struct lift_places *at,
                  const uint8_t pins[16]);

struct lift_row; /* what is known of one row; made once */
struct lift;

/* NULL: no memory. */
struct lift *lift_create(void);
void lift_destroy(struct lift *l);

enum lift_end {
    LIFT_GOES_ON, /* the next instruction follows */
    LIFT_BRANCH,  /* a direct conditional branch: `target`, `cond` */
    LIFT_JUMP,    /* a direct jump or call: `target` */
    LIFT_ENDED,   /* the way out is in the region */
    LIFT_CANNOT   /* leave it to the interpreter: end in front of it */
};

struct lift_out {
    enum lift_end end;
    uint64_t target;
    ir_value cond;
    bool is_call;
};

/* One instruction at `pc`; `done` others of the region come before it; `flags_dead`:
 * nobody reads the flags that it leaves. */
struct lift_in {
    const struct x86_insn *insn;
    uint64_t pc;
    uint32_t done;
    bool flags_dead;
    bool sse, avx;            /* the processor's state lets such instructions run */
    bool system;              /* it is at level 0 in 64-bit mode */
    bool is_last;             /* no other of the region follows */
    bool fpu;                 /* ... x87 and MMX ones, with all exceptions masked */
    const uint8_t *soft;      /* where its immediate is fetched each time; NULL: it is
                                 what it was when it was decoded */
    struct ir_native *native; /* room for one, which lives as long as the region */
};

struct lift_out lift_insn(const struct lift *l, struct ir_region *g,
                          const struct lift_in *in);

/* The flags that an instruction reads and certainly writes, as RFLAGS bits. */
void lift_flags_of(const struct lift *l, const struct x86_insn *i, uint32_t *ret_reads,
                   uint32_t *ret_writes);

/* Whether its immediate, or its target, can be fetched when it runs (`soft`): how many
 * bytes at its end that is; 0: it cannot. */
unsigned lift_soft_bytes(const struct lift *l, const struct x86_insn *i);

/* Whether it can neither fault nor be looked into: registers only, by an IR form. */
bool lift_is_quiet(const struct lift *l, const struct x86_insn *i);

/* How a row is translated: "form" (IR), "native" (as it is, by the host), "routine"
 * (a call of its routine from translated code). */
const char *lift_way_of(const struct lift *l, enum x86_row row);

/* The flags that an instruction may change. */
uint32_t lift_flags_touched(const struct lift *l, const struct x86_insn *i);

#endif
