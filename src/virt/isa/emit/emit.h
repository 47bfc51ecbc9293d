/* emit.h - a region becomes x86-64 host code.
 *
 * The code finds the processor's struct through gs, keeps pinned globals in host
 * registers all the time, and enters and leaves only through the two trampolines.
 * What can go wrong on the way (a miss of the soft TLB, a fault, a side exit) is
 * cold code behind the region; each such place is a site, with the guest address and
 * where the values are that have not reached their globals. */
#ifndef VIRT_ISA_EMIT_EMIT_H
#define VIRT_ISA_EMIT_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/isa/ir/ir.h"
#include "virt/isa/ir/window.h"

#define EMIT_SPILLS    32
#define EMIT_HOST_REGS 16

#define EMIT_JUMP_BITS 14
#define EMIT_JUMPS     (1u << EMIT_JUMP_BITS)

/* The host's stack while generated code runs begins below a multiple of this, and
 * reaches at most as far down again. */
#define EMIT_STACK_BYTES 8192

#define EMIT_JUMP_SHIFT 3

/* The place of code for a guest address.  Many begin at multiples of 16, few within 8
 * bytes of each other. */
static inline unsigned emit_jump_place(uint64_t pc)
{
    return (unsigned)(pc >> EMIT_JUMP_SHIFT) & (EMIT_JUMPS - 1);
}

/* Code for a guest address.  An empty place has the tag of an address that belongs
 * elsewhere. */
struct emit_jump {
    uint64_t tag; /* the whole address */
    uint64_t code;
};

/* What is in `leave_exit` when it was no patchable exit. */
enum emit_left {
    EMIT_LEFT_WANTS = -1, /* somebody waits, or the budget is used up */
    EMIT_LEFT_ROUTINE =
        -3,                /* behind the routine of the last site, whose state is whole */
    EMIT_LEFT_MISS = -2,   /* `leave_to` is not in the jump table */
    EMIT_LEFT_REASON = -3, /* this, and less by the reason of an IR_LEAVE */
    EMIT_LEFT_HOT = -1000  /* `counter` ran out */
};

/* A window's value is the host address of its beginning, or this.  Then its guest address
 * is in `window`, and each access looks for itself.  Host addresses are not negative.
 * The slow helper of an IR_WINDOW gives one or the other in `slow_value`; `slow_at` is
 * its beginning. */
#define EMIT_NO_WINDOW UINT64_MAX

/* What generated code uses of the processor's struct, beside the globals. */
struct emit_frame {
    uint64_t self;                 /* the struct's own address */
    uint64_t save[EMIT_HOST_REGS]; /* host registers at a site, pinned ones excepted */
    uint64_t spill[EMIT_SPILLS];
    uint64_t window[IR_WINDOWS_MOST];
    uint64_t flags;  /* the FLAGS global: RFLAGS image, arithmetic bits count ... */
    uint64_t late_a; /* ... unless `late` says that it is to be made from these */
    uint64_t late_b;
    uint64_t slow_at;      /* linear address of a slow access */
    uint64_t slow_value;   /* value stored; value loaded; of IR_WINDOW see below */
    uint64_t slow_wanted;  /* of IR_CAS: what is compared; `slow_value` is the new one */
    uint64_t slow_last;    /* ... of its last byte, for a look-up */
    uint64_t slow_host;    /* what that found */
    uint64_t slow_site;    /* number of the site that is being served */
    uint64_t leave_to;     /* guest address where it left, but for patchable exits */
    uint64_t leave_exit;   /* number of the exit that was taken, or `enum emit_left` */
    uint64_t leave_branch; /* at EMIT_LEFT_MISS: the branch that left */
    uint64_t jumps;      /* address of the jump table, EMIT_JUMPS of `struct emit_jump` */
    uint64_t entry;      /* where the enter trampoline goes */
    uint64_t host_stack; /* the host's RSP inside the enter trampoline */
    uint32_t host_mxcsr; /* for C code */
    uint32_t fpu_lent;   /* not 0: the host's x87 unit holds the guest's x87 state */
    uint32_t vectors_lent; /* not 0: its vector registers and MXCSR are the guest's */
    uint32_t fpu_word;     /* a control or status word on its way */
    /* 0: the upper halves of the guest's vector registers are zeros, here and in their
     * home.  So they are not touched, and the host's SSE instructions run at full speed. */
    uint32_t uppers;
    uint32_t late; /* late.c; who stores `flags` sets it to 0 */
    uint64_t link; /* exits to other pages that were patched under this number hold; 31
                      bits */
    /* Host addresses of C functions, `void f(void *cpu)`.  `routine_helper` also stores
     * what is pending at a side exit, and does not return from a site of IR_TRAP_IF.
     * `fpu_helper` lends the x87 state to the host, or does not return. */
    uint64_t slow_helper;
    uint64_t routine_helper;
    uint64_t fpu_helper;
    /* Host addresses of generated code. */
    uint64_t look_up_read; /* `slow_at`, `slow_last` to `slow_host`; ZF: it is there */
    uint64_t look_up_write;
    uint64_t routine_thunk;
    uint64_t fpu_thunk;
    uint64_t vectors_thunk;
    uint64_t whole_thunk; /* makes `flags` whole; keeps all registers */
    uint64_t leave;
    uint64_t leave_behind; /* after a routine that asked to leave */
    uint64_t resume;       /* in code at `entry`, as if it was entered */
    uint64_t bottom;       /* the pair that stands for no call */
    uint64_t
        behind; /* `routine_helper` says it: one of the last two ways, for IR_LEAVE of
                        IR_LEAVE_BEHIND */
};

/* Where the things are; offsets into the processor's struct. */
struct emit_env {
    const struct ir_global *global;
    uint16_t globals;
    uint32_t frame;
    uint32_t tlb;    /* the pointer to the TLB in force */
    uint32_t wants;  /* 32 bits: not 0 when another thread waits */
    uint32_t local;  /* 32 bits: not 0 when a routine asked to leave */
    uint32_t budget; /* 64 bits: instructions that may still run */
    uint32_t tlb_read, tlb_write, tlb_addend; /* into an entry */
    uint32_t tlb_usual; /* 64 bits: the addend of most pages, a guess that is compared */
    uint32_t tlb_entry_bytes; /* power of two */
    uint32_t tlb_entries;
    bool has_vectors; /* the host has AVX: sixteen ymm registers are kept, too */
    uint32_t vectors; /* the guest's, 32 bytes each */
    uint32_t mxcsr;   /* the guest's */
};

enum emit_loc_kind {
    EMIT_NOWHERE,
    EMIT_IN_REG,
    EMIT_IN_SPILL,
    EMIT_IS_CONST,
    EMIT_AT_HOME,
    EMIT_IN_EFLAGS /* only at a side exit, whose cold code stores them */
};

struct emit_loc {
    uint8_t kind;
    uint8_t reg;
    uint64_t value; /* constant, spill slot or global */
};

/* A global whose newest value is elsewhere. */
struct emit_pend {
    uint16_t global;
    uint8_t type;
    uint8_t flags_kind, flags_bytes; /* of a FLAGS global */
    int32_t prev;                    /* pend of the flags it keeps something of; -1 */
    struct emit_loc a, b, c;
};

struct emit_site {
    uint64_t pc;
    uint64_t imm;  /* of a routine, a window: what the IR gave */
    uint32_t done; /* instructions of the region before it */
    uint32_t left; /* that were counted beforehand, and not done */
    uint32_t first;
    uint16_t count;
    uint16_t op;
    uint8_t type, aux;
    struct ir_access access;
};

/* A way out to a known guest address.  To patch it: the displacement `jump` (`home` takes
 * it back), and where `link` is not 0, there the number under which it holds. */
struct emit_exit {
    uint64_t pc;
    uint32_t jump, link;
    int32_t home;
};

/* What code holds that is another elsewhere: 32 bits at `at`. */
enum emit_fix_kind {
    EMIT_FIX_SITE, /* the number of a site; those that no code names are never served */
    EMIT_FIX_EXIT, /* of an exit */
    EMIT_FIX_THUNK /* the way from there to the trampolines, which lie where they are */
};

struct emit_fix {
    uint32_t at   : 30;
    uint32_t kind : 2;
};

struct emit_result {
    uint32_t bytes;
    uint32_t hot_bytes;
    struct emit_site *site; /* owned by whoever asked */
    uint32_t sites, site_room;
    struct emit_pend *pend;
    uint32_t pends, pend_room;
    struct emit_exit *exit;
    uint32_t exits, exit_room;
    struct emit_fix *fix; /* by their places, from front to back */
    uint32_t fixes, fix_room;
    void *work; /* of `emit_region` itself */
    size_t work_bytes;
};

/* Where code goes. */
struct emit_place {
    uint8_t *write;             /* it runs at the same distance from everything */
    const uint8_t *trampolines; /* where `emit_trampolines` wrote */
    size_t room;
    uint32_t counter; /* 32 bits there count its rounds down, and it leaves when they are
                         used up; 0: none */
};

/* Write the region's code, which numbers its sites and exits from 0 on.  -ENOSPC: no room; -ENOMEM; -ENOTSUP: an operation that this
 * host code has no form for. */
int emit_region(const struct ir_region *g, const struct emit_env *env,
                const struct emit_place *at, struct emit_result *ret_result);
void emit_result_fini(struct emit_result *r);

/* The code shared by all regions; writes its addresses into `frame`, returns its
 * size, 0 when there is no room. */
size_t emit_trampolines(const struct emit_env *env, uint8_t *write, const uint8_t *run,
                        size_t room, struct emit_frame *frame, uint64_t *ret_enter);

/* The FLAGS global, whole. */
uint64_t emit_home_flags(const struct emit_frame *f);

/* The value of a pend's global after a site stopped the processor. */
uint64_t emit_pend_value(const struct emit_env *env, const void *cpu,
                         const struct emit_pend *all, const struct emit_pend *p);

#endif
