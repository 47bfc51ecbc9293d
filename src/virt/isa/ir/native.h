/* native.h - one of the host's own instructions inside a region. */
#ifndef VIRT_ISA_IR_NATIVE_H
#define VIRT_ISA_IR_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

/* What an instruction is to the x87 unit, whose state is lent to the host only from the
 * first such instruction of a region on. */
enum ir_native_fpu {
    IR_FPU_NONE,
    IR_FPU_USED,    /* of MMX, or of x87: `map` 0, `opcode` D8 to DF, `reg`, `rm` */
    IR_FPU_STATUS,  /* FNSTSW AX; the result is an I16 */
    IR_FPU_CONTROL, /* FLDCW of c; the routine, where that would unmask an exception */
    IR_FPU_MOVE_IF, /* FCMOVcc of `rm` if c, an I1 */
    IR_FPU_EMPTY    /* EMMS */
};

/* An instruction of the guest that the host has too, on registers that both keep in the
 * same places (vectors).  `bytes` is the instruction without modrm's memory: opcode with
 * its prefixes; the integer registers and the address are put in.  Where the memory cannot
 * be reached directly, or the host is another, the row's routine does it. */
/* An integer instruction (`is_integer`) works on general registers that the host has
 * under the same numbers, where globals are pinned: F6 or F7 with the digit `reg` on the
 * operand c.  What it changes by itself is named in `changes`. */
enum ir_native_check {
    IR_NATIVE_ALWAYS,
    IR_NATIVE_DIVIDES_U, /* where the quotient fits; else by the routine */
    IR_NATIVE_DIVIDES_S, /* where that is seen easily */
    IR_NATIVE_MXCSR /* LDMXCSR of c, where it masks all exceptions; else the routine */
};

struct ir_native {
    uint8_t fpu;    /* `enum ir_native_fpu` */
    uint8_t prefix; /* 0, 0x66, 0xf2, 0xf3; of VEX: pp */
    uint8_t map;    /* 0 none, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;
    bool vex, wide, l256;
    bool no_modrm;       /* the opcode is all */
    bool no_vectors;     /* it is nothing to vector registers and MXCSR */
    uint8_t vvvv;        /* as in the guest's instruction */
    uint8_t reg;         /* modrm.reg, when it is a vector register */
    uint8_t rm;          /* modrm.rm, when it is a vector register */
    bool reg_is_result;  /* modrm.reg is the integer result */
    bool reg_is_operand; /* ... or the integer operand c */
    bool rm_is_result;
    bool rm_is_operand;
    bool rm_is_memory;
    bool gives_flags;       /* the result is the host's RFLAGS behind it */
    uint16_t result_global; /* ... or where the routine leaves the integer result */
    bool has_imm8;
    uint8_t imm8;
    bool writes_memory;
    uint8_t bytes; /* of the memory operand */
    bool aligned;  /* its address must be a multiple of `bytes` */
    int64_t disp;
    uintptr_t routine; /* what IR_ROUTINE would have had */

    bool is_integer;
    uint8_t bits;      /* its operand's width */
    uint8_t check;     /* `enum ir_native_check`, of others too */
    bool stores_flags; /* the host's RFLAGS behind it go to the place of the flags */
    uint32_t changes;  /* globals, a bit each */
};

#endif
