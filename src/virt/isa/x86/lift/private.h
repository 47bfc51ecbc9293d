/* private.h - what the files of this folder share. */
#ifndef VIRT_ISA_X86_LIFT_PRIVATE_H
#define VIRT_ISA_X86_LIFT_PRIVATE_H

#include "virt/isa/ir/native.h"
#include "virt/isa/x86/lift/lift.h"

/* The instruction in work. */
struct work {
    const struct lift *l;
    struct ir_region *g;
    const struct lift_in *in;
    const struct x86_insn *i;
    const struct lift_row *row;
    struct lift_out out;
    uint32_t map; /* 0: none made yet */
};

typedef bool lift_fn(struct work *w, unsigned detail);

enum operand_place {
    AT_NONE,
    AT_E, /* modrm.rm: register or memory */
    AT_G, /* modrm.reg */
    AT_Z, /* register in the opcode */
    AT_A, /* rax */
    AT_I, /* immediate */
    AT_ONE,
    AT_CL,
    AT_O, /* memory at an absolute address */
    AT_B, /* VEX.vvvv */
    AT_OTHER
};

struct operand {
    uint8_t place;
    uint8_t size; /* `enum x86_size`, or SIZE_OF_INSN */
};

#define SIZE_OF_INSN  0xff
#define LIFT_OPERANDS 3

/* A row that the host executes itself. */
struct vector_row {
    uint8_t prefix, map, opcode, digit;
    bool vex, wide, l256, has_imm8, is4;
    bool reg_is_integer, rm_is_integer, result; /* the integer is what comes out */
    bool memory_is_first;                       /* ... of the operands: it is written */
    bool gives_flags, aligned;
    bool marks_first; /* sets MXCSR's flags also where its store faults */
    bool has_xmm, has_mmx, reg_is_mmx, rm_is_mmx, is_emms;
    bool is_fence, is_zero; /* VZEROUPPER, VZEROALL */
    bool loads_mxcsr;
    uint8_t memory_bytes;
};

/* An x87 instruction that the host executes itself. */
struct x87_row {
    uint8_t fpu; /* `enum ir_native_fpu` */
    uint8_t opcode, reg, rm;
    bool has_rm; /* modrm.rm is the instruction's */
    bool is_memory, writes, gives_flags;
    bool marks; /* it becomes the last instruction of the environment */
    bool is_wait;
    int8_t cond; /* of FCMOVcc; -1 */
    uint8_t bytes;
};

struct lift_row {
    lift_fn *fn; /* NULL: by its routine */
    unsigned detail;
    struct operand operand[LIFT_OPERANDS];
    bool is_vector;
    struct vector_row vector;
    bool is_x87;
    struct x87_row x87;
    uint32_t reads, writes;      /* flags */
    uint32_t touches;            /* ... that it may change */
    uint32_t writes_by_constant; /* ... by a constant operand that is not 0 */
    bool ends;
    bool uses_stack;
    bool is_soft; /* all that depends on its immediate is a value */
    bool is_loud; /* may fault without a memory operand of modrm */
};

struct lift {
    struct lift_row row[X86_ROW_COUNT];
};

struct lift_name {
    const char *mnemonic;
    lift_fn *fn;
    unsigned detail;
};

extern const struct lift_name lift_integer_names[];
extern const struct lift_name lift_shift_names[];
extern const struct lift_name lift_bit_names[];
extern const struct lift_name lift_exchange_names[];
extern const struct lift_name lift_multiply_names[];
extern const struct lift_name lift_flag_names[];
extern const struct lift_name lift_loop_names[];
extern const struct lift_name lift_control_names[];
extern const struct lift_name lift_system_names[];

/* The /digit of the 80..83 group. */
enum lift_alu_kind {
    LIFT_ADD,
    LIFT_OR,
    LIFT_AND = 4,
    LIFT_SUB,
    LIFT_XOR
};

/* exchange.c: with a LOCK prefix; false: only by the routine. */
bool lift_locked_alu(struct work *w, unsigned op);
bool lift_locked_step(struct work *w, bool down);
bool lift_locked_not(struct work *w);
/* Read-modify-write of memory at `a` by `v`; gives the old value. */
ir_value lift_atomic(struct work *w, enum ir_atomic kind, enum x86_size s,
                     struct ir_insn a, ir_value v);

/* system.c */
ir_value lift_rflags(struct work *w); /* in 64-bit mode, as PUSHF and SYSCALL save them */
bool lift_from_control(struct work *w, unsigned detail);

/* vector.c */
bool lift_vector_row(struct vector_row *v, const struct x86_row_info *info);
bool lift_vector(struct work *w);

/* x87.c */
bool lift_x87_row(struct x87_row *x, const struct x86_row_info *info);
bool lift_x87(struct work *w);

/* operand.c */
enum ir_type lift_type(enum x86_size s);
uint32_t lift_map(struct work *w);
enum x86_size lift_size(const struct work *w, unsigned n);
ir_value lift_register(struct work *w, unsigned reg, enum x86_size s);
void lift_set_register(struct work *w, unsigned reg, enum x86_size s, ir_value v);
ir_value lift_read_wide(struct work *w, unsigned n, enum x86_size to, bool sign);
ir_value lift_read_for_write(struct work *w, unsigned n); /* it will be written, too */
ir_value lift_read(struct work *w, unsigned n);           /* operand n */
void lift_write(struct work *w, unsigned n, ir_value v);  /* stores fault before that */
bool lift_is_memory(const struct work *w, unsigned n);
ir_value lift_load(struct work *w, ir_value base, int64_t disp, enum x86_size s,
                   bool stack);
void lift_store(struct work *w, ir_value base, int64_t disp, enum x86_size s, ir_value v,
                bool stack);
struct ir_insn lift_address(struct work *w); /* arg, access, imm of the memory operand */
ir_value lift_soft(struct work *w, enum x86_size s); /* the immediate as it is then */
ir_value lift_const(struct work *w, enum x86_size s, uint64_t v);
ir_value lift_extend(struct work *w, ir_value v, enum x86_size from, enum x86_size to,
                     bool sign);
ir_value lift_cond(struct work *w, enum ir_cond c);
void lift_flags(struct work *w, enum ir_flags_kind k, enum x86_size s, ir_value a,
                ir_value b);
void lift_flags_3(struct work *w, enum ir_flags_kind k, enum x86_size s, ir_value a,
                  ir_value b, ir_value c);

#endif
