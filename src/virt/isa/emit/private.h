/* private.h - the state of one translation, shared by the files of this folder.
 *
 * Registers.  A host register is pinned to a global, free for values, or neither (RSP).
 * A pinned register always holds its global's value; it may at the same time be where a
 * value lives (`owner`), until the global is set.  Values that are the same bits as
 * another (a truncation, a free zero-extension) share its root's place.
 *
 * Host flags.  `host_flags` names the flags value that EFLAGS hold right now; whatever
 * changes EFLAGS clears it. */
#ifndef VIRT_ISA_EMIT_PRIVATE_H
#define VIRT_ISA_EMIT_PRIVATE_H

#include "virt/isa/emit/asm.h"
#include "virt/isa/emit/emit.h"
#include "virt/isa/ir/native.h"

struct ir_native; /* ir/native.h */

struct place {
    uint32_t last_use;
    uint32_t root;   /* itself, or the value whose place it shares */
    uint32_t set_at; /* the first set of a global to it; 0: none */
    uint8_t reg;     /* H_NONE: not in a register */
    uint8_t spill;   /* 0xff: no slot */
    bool clean;      /* bits above its type are zeros */
    bool is_dead;    /* nobody sees what the instruction does: it is not written */
};

enum cold_kind {
    COLD_SLOW,
    COLD_DIRECT, /* `address` is the window */
    COLD_EXIT,
    COLD_TRAP,
    COLD_WANTS,
    COLD_HOT,
    COLD_DEEP,
    COLD_NATIVE,
    COLD_FPU,
    COLD_VECTORS,
    COLD_WHOLE,
    COLD_ADDEND
};

/* Cold code to be written behind the region. */
struct cold {
    enum cold_kind kind;
    uint8_t *from;   /* displacement to bind here; NULL: the code before goes on here */
    uint8_t *resume; /* where it goes back */
    bool goes_on;    /* of a window: in the next cold path, when there is none */
    uint32_t site;
    uint32_t at;                 /* the instruction */
    uint8_t address, value, dst; /* registers of an access; H_NONE: none */
    uint64_t constant;           /* stored value when `value` is H_NONE */
};

#define COLD_MAX 2048

/* A jump to a block that is not written yet. */
struct fix {
    uint8_t *from;
    uint32_t block;
};

#define EMIT_PARAMS_MOST 16 /* of one block */

struct emit {
    struct asm_out o;
    const struct ir_region *g;
    const struct emit_env *env;
    struct emit_result *r;
    const uint8_t *thunks; /* thunk.h */
    uint32_t now;
    uint32_t block;
    struct place *place;            /* by value */
    uint32_t owner[EMIT_HOST_REGS]; /* root of the value that lives there; 0 */
    uint32_t owned;                 /* the registers whose owner may not be 0, as bits */
    uint32_t next_death; /* no value that has a place is used for the last time before */
    uint32_t temps;      /* those that are not pinned */
    uint16_t pinned_to[EMIT_HOST_REGS]; /* global; NOT_PINNED */
    bool locked[EMIT_HOST_REGS];        /* operand of the instruction in work */
    uint32_t spill_owner[EMIT_SPILLS];
    uint32_t spilled; /* which of them may not be 0, as bits */
    uint32_t host_flags;
    uint32_t home_flags; /* the value that the FLAGS global was set to; 0: none known */
    uint32_t home_since; /* the instruction that did it: older gets are not there */
    bool home_whole;     /* the FLAGS global is an image, not late (late.c) */
    uint32_t fpu_block; /* since when the x87 state is lent: block + 1; 0: is not known */
    uint32_t counter;   /* of `struct emit_place` */
    uint64_t lends;     /* blocks, of the first 64, at whose end vectors are lent */
    uint32_t counted;   /* instructions that the region's BUDGET counted; 0: does not */
    uint64_t loaded;    /* globals that are set to what was loaded, as bits */
    uint8_t **block_at; /* start of each block's code */
    struct fix *fix;
    uint32_t fixes;
    struct cold *cold;
    unsigned colds;
    bool noted_uppers; /* `uppers` is set since the block's beginning */
    int error;
};

#define NOT_PINNED 0xffff
#define NO_SPILL   0xff

unsigned emit_bits(enum ir_type t); /* 8, 16, 32 or 64: how wide its operations are */
enum host_reg emit_home(const struct emit *e, uint16_t global); /* H_NONE: memory */
struct asm_mem emit_global(const struct emit *e, uint16_t global);
struct asm_mem emit_field(const struct emit *e, size_t offset); /* of the frame */

/* regs.c */
static inline uint32_t emit_root(const struct emit *e, ir_value v)
{
    return e->place[v].root;
}

static inline bool emit_is_const(const struct emit *e, ir_value v, uint64_t *ret)
{
    const struct ir_insn *i = &e->g->insn[v];

    if (v == 0 || i->op != IR_CONST) {
        return false;
    }
    *ret = i->imm;
    return true;
}

/* From here on the value lives in that register. */
static inline void emit_own(struct emit *e, enum host_reg r, uint32_t root)
{
    e->owner[r] = root;
    e->owned |= UINT32_C(1) << r;
    if (e->place[root].last_use < e->next_death) {
        e->next_death = e->place[root].last_use;
    }
}

bool emit_imm32(const struct emit *e, ir_value v, unsigned bits, int32_t *ret);
enum host_reg emit_use(struct emit *e, ir_value v);    /* in a register, locked */
enum host_reg emit_temp(struct emit *e);               /* a free register, locked */
enum host_reg emit_define(struct emit *e, ir_value v); /* a register for the result */
enum host_reg emit_define_from(struct emit *e, ir_value v, ir_value a); /* holding a */
/* A free register, locked: that of `a` or `b` if it dies here and is not `kept`; else
 * another, and theirs stay readable. */
enum host_reg emit_scratch(struct emit *e, ir_value a, ir_value b, ir_value kept);
void emit_alias(struct emit *e, ir_value v, ir_value of);
void emit_evict(struct emit *e, enum host_reg r);
void emit_done(struct emit *e); /* after an instruction: unlock, free what died */
bool emit_dies(const struct emit *e, ir_value v);
void emit_set_home(struct emit *e, uint16_t global, ir_value v);
void emit_release_homes(
    struct emit *e); /* values that live in pinned registers move out */
void emit_reset_regs(struct emit *e);
struct emit_loc emit_locate(const struct emit *e, ir_value v);

/* code.c */
void emit_insn(struct emit *e, uint32_t at);

/* flags.c */
unsigned emit_condition(struct emit *e, ir_value flags, enum ir_cond c); /* host's code */
void emit_flags_pack(struct emit *e, uint32_t at, unsigned detail);
unsigned emit_truth(struct emit *e, ir_value b); /* the host condition of an I1 value */
void emit_flags_home(struct emit *e, ir_value flags);
void emit_push_flags(struct emit *e, struct asm_mem m);  /* RFLAGS, as EFLAGS are now */
bool emit_is_home(const struct emit *e, ir_value flags); /* the FLAGS global holds it */

/* late.c: the FLAGS global as operands, and as an image */
bool emit_can_be_late(enum ir_flags_kind k);
void emit_late_flags(struct emit *e, const struct emit_pend *p, enum host_reg spare);
void emit_not_late(struct emit *e);   /* behind what stored an image */
void emit_make_whole(struct emit *e); /* before it is read; EFLAGS change */
void emit_whole_thunk(struct asm_out *o, const struct emit_env *env, uint64_t base);

/* native.c */
void emit_native(struct emit *e, uint32_t at);
/* Its result's register, if it has one, is `to`. */
void emit_native_at(struct emit *e, const struct ir_native *n, struct asm_mem m,
                    enum host_reg to);
enum host_reg emit_native_result(struct emit *e, uint32_t at, const struct ir_native *n);
void emit_native_end(struct emit *e, const struct ir_native *n, struct cold *s);
void emit_clear_home(struct emit *e, const struct ir_native *n);

/* integer.c */
void emit_integer(struct emit *e, uint32_t at);

/* fpu.c: the x87 state is lent from here on; instructions with a form of their own */
void emit_fpu_claim(struct emit *e, uint32_t at);
bool emit_fpu_form(struct emit *e, uint32_t at, const struct ir_native *n);
void emit_fpu_cold(struct emit *e, const struct cold *s);

/* access.c */
enum host_reg emit_address(struct emit *e, const struct ir_insn *i);

/* `span` bytes whose first is a multiple of `align`. */
struct look_up {
    unsigned span, align;
    uint32_t tag;
    bool is_loaded; /* the address; see access.c */
};

/* `u` gets what is to be added to `address`; returns the branch to the cold path. */
uint8_t *emit_look_up(struct emit *e, enum host_reg address, enum host_reg u,
                      const struct look_up *l);
bool emit_is_loaded(const struct emit *e, const struct ir_insn *i);
void emit_find_loaded(struct emit *e);
void emit_load_value(struct emit *e, const struct ir_insn *i, enum host_reg to,
                     struct asm_mem m);
void emit_load(struct emit *e, uint32_t at);
void emit_store(struct emit *e, uint32_t at);

/* window.c */
void emit_window(struct emit *e, uint32_t at, unsigned detail);
void emit_direct_load(struct emit *e, uint32_t at);
void emit_direct_store(struct emit *e, uint32_t at);
void emit_direct_native(struct emit *e, uint32_t at, const struct ir_native *n);
void emit_direct_cold(struct emit *e, const struct cold *s);
void emit_look_up_thunk(struct asm_out *o, const struct emit_env *env, uint32_t tag);

/* atomic.c, edge.c: forms as in code.c */
void emit_atomic(struct emit *e, uint32_t at, unsigned detail);
void emit_cas(struct emit *e, uint32_t at, unsigned detail);
void emit_fence(struct emit *e, uint32_t at, unsigned detail);
void emit_check(struct emit *e, uint32_t at, unsigned detail);
void emit_param(struct emit *e, uint32_t at, unsigned detail);
void emit_jump(struct emit *e, uint32_t at, unsigned detail);
void emit_branch(struct emit *e, uint32_t at, unsigned detail);
void emit_fix_jumps(struct emit *e); /* when all blocks are written */

/* leave.c */
uint32_t emit_site_at(struct emit *e, uint32_t at);
void emit_cold(struct emit *e, const struct cold *s);
/* The last 32 bits that were written are such. */
void emit_fix(struct emit *e, enum emit_fix_kind kind);
void emit_store_site(struct emit *e, uint32_t site); /* to `slow_site` */
/* The address is in `at`; H_RSP: in `slow_at`. */
void emit_slow_access(struct emit *e, const struct cold *s, enum host_reg at);
void emit_slow_native(struct emit *e, const struct cold *s);
void emit_cold_code(struct emit *e);
void emit_leave(struct emit *e, uint32_t at, unsigned detail);

/* exit.c */
void emit_exit(struct emit *e, uint32_t at, unsigned detail);
void emit_exit_by(struct emit *e, uint32_t at, unsigned detail);
void emit_exit_to(struct emit *e, uint64_t pc, bool is_far);
void emit_shallow(struct emit *e, const struct cold *s);
/* Behind the region any register that is not pinned may be used. */
enum host_reg emit_another(const struct emit *e, enum host_reg a, enum host_reg b);

#endif
