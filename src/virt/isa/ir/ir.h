/* ir.h - the intermediate representation between front ends and host code.
 *
 * A region is a control-flow graph of blocks with parameters; block 0 is entered.
 * A value is the index of the instruction that makes it, so every value is made
 * once (SSA) and its uses come after it in its block, or reach other blocks through
 * edge arguments.  Rows of op.rows.h say what each operation means.
 *
 * Globals are the guest's registers: typed places in the processor's struct, named
 * by a table of the front end.  `get` and `set` move between them and values; a
 * back end may keep any of them in host registers.
 *
 * Flags are one opaque value: a kind, a width, operands.  `cond` reads it; it becomes
 * bits only where somebody needs them.
 *
 * Precise exceptions.  An operation that may fault names a state map: the guest
 * address to report, and the globals whose newest values are not in their places yet
 * (`pending`), as values.  Whoever unwinds writes those first.  So a `set` may be
 * delayed across a fault, or removed when a later one overtakes it, without a trace.
 * An instruction of the guest faults before its first write, or at a named restart
 * point whose address its map holds.
 *
 * Traces.  A region is most often one block: `exit_if` leaves it at the side, with a
 * state map like a fault's, so that what only the side exit needs (flags, registers
 * without a host register) is made there and not on the way.
 *
 * Memory.  An access says all that matters of it (`ir_access`); translation is the
 * back end's: soft TLB, base and bound, or flat.
 *
 * Threads: a region belongs to one thread.  Nothing here is guest-controlled but
 * constants. */
#ifndef VIRT_ISA_IR_IR_H
#define VIRT_ISA_IR_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t ir_value; /* index into `insn`; 0: none */

enum ir_type {
    IR_VOID,
    IR_I1,
    IR_I8,
    IR_I16,
    IR_I32,
    IR_I64,
    IR_F32,
    IR_F64,
    IR_V128,
    IR_V256,
    IR_FLAGS_TYPE,
    IR_TYPE_COUNT
};

enum ir_trait {
    IR_PURE = 1,
    IR_MAY_FAULT = 2,
    IR_EFFECT = 4,
    IR_END = 8
};

#define IR_LEAVE_BEHIND 255 /* `aux` of IR_LEAVE */

enum ir_op {
#define IR_OP(id, ...) IR_##id,
#include "virt/isa/ir/op.rows.h"
    IR_OP_COUNT
};

struct ir_op_info {
    const char *name;
    const char *arguments;
    char result;
    uint8_t traits;
};

extern const struct ir_op_info ir_ops[IR_OP_COUNT];

/* How a flags value was made, from its arguments a, b, c.  The kinds that end in _R take
 * the result in the place of the first operand, which a two-address instruction has
 * overwritten: it follows from the others. */
enum ir_flags_kind {
    IR_FLAGS_ADD,   /* a + b */
    IR_FLAGS_SUB,   /* a - b; C is the borrow */
    IR_FLAGS_ADD_R, /* a is the sum, b what was added */
    IR_FLAGS_SUB_R, /* a is the difference, b what was taken away */
    IR_FLAGS_ADC,   /* a + b + c, c an I8: 0 or 1 */
    IR_FLAGS_SBB,   /* a - b - c */
    IR_FLAGS_LOGIC, /* of a: C and O clear, A clear */
    IR_FLAGS_INC_R, /* a is the result; C of the flags b */
    IR_FLAGS_DEC_R,
    IR_FLAGS_SHL, /* a << b; b modulo 32, of 8 bytes 64; 0 gives the flags c */
    IR_FLAGS_SHR,
    IR_FLAGS_SAR,
    IR_FLAGS_MUL_U, /* a * b; C and O: the high half matters; Z is clear */
    IR_FLAGS_MUL_S,
    IR_FLAGS_BITS,  /* a (I64) in RFLAGS places */
    IR_FLAGS_CARRY, /* C is a's lowest bit; the rest of the flags b */
    IR_FLAGS_ROL_R, /* a is the result; C and O as by one; the rest of the flags b */
    IR_FLAGS_ROR_R,
    IR_FLAGS_ROL_N, /* the same by b, modulo as in SHL; 0 gives the flags c */
    IR_FLAGS_ROR_N,
    IR_FLAGS_RESULT, /* S, Z, P of a; b's lowest bit is C, the next O; bit 2: P is clear */
    IR_FLAGS_KIND_COUNT
};

/* In the order of x86's condition codes: an odd one is the opposite of the even. */
enum ir_cond {
    IR_COND_O,
    IR_COND_NO,
    IR_COND_C,
    IR_COND_NC,
    IR_COND_Z,
    IR_COND_NZ,
    IR_COND_BE,
    IR_COND_A,
    IR_COND_S,
    IR_COND_NS,
    IR_COND_P,
    IR_COND_NP,
    IR_COND_L,
    IR_COND_GE,
    IR_COND_LE,
    IR_COND_G,
    IR_COND_COUNT
};

enum ir_space {
    IR_PAGED,
    IR_BASE_BOUND,
    IR_FLAT,  /* host addresses; cannot fault */
    IR_DIRECT /* at `imm` (a `native`: the constant argument 1) behind the beginning of the
               * window that argument 0 names */
};

enum ir_order {
    IR_PLAIN,
    IR_ACQUIRE,
    IR_RELEASE,
    IR_SEQUENTIAL
};

enum ir_atomic {
    IR_ATOMIC_ADD,
    IR_ATOMIC_AND,
    IR_ATOMIC_OR,
    IR_ATOMIC_XOR,
    IR_ATOMIC_SWAP,
    IR_ATOMIC_MIN_S,
    IR_ATOMIC_MAX_S,
    IR_ATOMIC_MIN_U,
    IR_ATOMIC_MAX_U
};

/* Everything about one access but its address. */
struct ir_access {
    uint8_t bytes; /* 1, 2, 4, 8, 10, 16, 32 */
    bool sign;     /* a load narrower than `type` is sign-extended, else zero-extended */
    uint8_t scale; /* shift of the index */
    uint8_t space     : 2;
    uint8_t order     : 2;
    uint8_t wrap32    : 1; /* the address is taken modulo 2^32 */
    uint8_t as_user   : 1; /* privilege override: as the least privileged */
    uint8_t aligned   : 1; /* unaligned faults */
    uint8_t for_write : 1; /* a load that faults as a store would: one will follow */
};

struct ir_insn {
    uint16_t op;
    uint8_t type; /* of the result */
    uint8_t aux;
    ir_value arg[3];
    struct ir_access access;
    uint32_t map; /* of operations that may fault; 0: none */
    uint64_t imm; /* constant, displacement, table index */
};

/* One `set` that has not reached its place when the operation faults. */
struct ir_pending {
    uint16_t global;
    ir_value value;
};

struct ir_map {
    uint64_t pc;    /* guest address to report */
    uint32_t done;  /* guest instructions of the region before it */
    uint32_t first; /* into `pending` */
    uint32_t count;
};

struct ir_edge {
    uint32_t block;
    uint32_t first_arg; /* into `args`, as many as the block has parameters */
};

struct ir_block {
    uint32_t first, end; /* instructions [first, end); the last one ends it */
    uint32_t params;     /* the first so many are `param` */
    uint32_t edge;       /* first of its edges, into `edges`; jump 1, branch 2 */
};

struct ir_global {
    const char *name;
    uint32_t offset; /* into the processor's struct */
    uint8_t type;
    uint8_t pin; /* wish for a host register class slot, IR_NO_PIN: memory */
};

#define IR_NO_PIN       0xff
#define IR_REGION_INSNS 8192
#define IR_KNOWN        32

/* What leads out of a region, and what is known of where it leads.  A call names by
 * argument b, a constant, where it will be returned to: a host may predict by that, no
 * more. */
enum ir_exit {
    IR_EXIT_JUMP,
    IR_EXIT_CALL,
    IR_EXIT_RETURN,
    IR_EXIT_ALONE, /* calls from before are not returned to behind it */
    IR_EXIT_KIND = 3,
    IR_EXIT_FAR = 4,     /* to an address whose translation may change, and this region's
                            not with it */
    IR_EXIT_FAR_BACK = 8 /* ... where a call will be returned to is such an address */
};

struct ir_region {
    struct ir_insn *insn;
    uint32_t insns, insn_room;
    struct ir_block *block;
    uint32_t blocks, block_room;
    struct ir_edge *edge;
    uint32_t edges, edge_room;
    ir_value *arg;
    uint32_t args, arg_room;
    struct ir_map *map;
    uint32_t maps, map_room;
    struct ir_pending *pending;
    uint32_t pendings, pending_room;
    const struct ir_global *global; /* borrowed: the front end's table */
    uint16_t globals;
    bool full; /* an addition was refused: no memory, or IR_REGION_INSNS */
    /* Wanted by the front end: `ir_get` gives what the last set or get of this block
     * had, so that IR_GET comes once. */
    bool forwards;
    bool has_more_gets;       /* ... but some were added otherwise */
    ir_value known[IR_KNOWN]; /* of the first globals; 0: not known */
};

#endif
