/* tables.h - what tools/isagen.py makes of the rows for decoder and encoder.
 *
 * An instruction's facts, known after its modrm byte, are one 16-bit word:
 *
 *    15  13 12  10   9    8  7   6  5    4     3   2   1  0
 *   |  rm  |  reg  | m3 | addr | oper | long | L | W | prefix |
 *
 *   prefix  0 none, 1 66, 2 F3, 3 F2 (F2 and F3 before 66; VEX.pp)
 *   oper    operand size by mode and prefixes, addr: address size; as `enum x86_size`
 *   m3      modrm.mod is 3; without a modrm byte: REX.B
 *
 * A row is found by map and opcode byte (a head), then by the first case whose
 * masked bits agree.  A head with more than two cases is split by modrm.reg. */
#ifndef VIRT_ISA_X86_TABLES_H
#define VIRT_ISA_X86_TABLES_H

#include "virt/isa/x86/x86.h"

#define X86_FACT_WIDE    2
#define X86_FACT_LONG    3
#define X86_FACT_MODE64  4
#define X86_FACT_OPERAND 5
#define X86_FACT_ADDRESS 7
#define X86_FACT_MOD3    9
#define X86_FACT_REG     10
#define X86_FACT_RM      13

/* Maps: 0 one byte, 1 0F, 2 0F 38, 3 0F 3A; VEX 1, 2, 3 follow as 4, 5, 6. */
#define X86_MAP_VEX 3
#define X86_MAPS    7

enum x86_head_flag {
    X86_HEAD_MODRM = 1,
    X86_HEAD_SPLIT = 2, /* `first` is the first of eight heads, by modrm.reg */
    X86_HEAD_KNOWN = 4,
};

struct x86_head {
    uint16_t first; /* into x86_cases */
    uint8_t count;
    uint8_t flags; /* `enum x86_head_flag` */
};

struct x86_case {
    uint16_t mask;
    uint16_t value;
    uint16_t row;
};

enum x86_immediate {
    X86_IMM_NONE,
    X86_IMM_U8,
    X86_IMM_S8,
    X86_IMM_U16,
    X86_IMM_U32,
    X86_IMM_Z, /* 16 or 32 bits, sign-extended */
    X86_IMM_V, /* 16, 32 or 64 bits */
    X86_IMM_FAR,
    X86_IMM_MOFFS, /* as wide as an address */
    X86_IMM_IS4,   /* register in bits 4..7 */
};

/* Where `x86_insn.size` comes from. */
enum x86_rule {
    X86_RULE_OPERAND, /* mode and prefixes */
    X86_RULE_D64,
    X86_RULE_F64,
    X86_RULE_BYTE,
    X86_RULE_VECTOR,  /* VEX.L */
    X86_RULE_WIDE,    /* 32, or 64 with W */
    X86_RULE_CONTROL, /* 32, or 64 in 64-bit mode */
};

enum x86_shape_flag {
    X86_SHAPE_CONTROL = 1, /* modrm names a register whatever mod says; CR or DR */
    X86_SHAPE_VVVV = 2,    /* VEX.vvvv is an operand */
    X86_SHAPE_VSIB = 4,
    X86_SHAPE_REG8 = 8,     /* modrm.reg names one of eight: REX.R is ignored */
    X86_SHAPE_RM8 = 16,     /* modrm.rm likewise, if a register */
    X86_SHAPE_SEGMENT = 32, /* ... one of six */
    X86_SHAPE_PLUS_R = 64,
    X86_SHAPE_LOCK = 128,
    X86_SHAPE_VEX = 256,
    X86_SHAPE_PREFIX = 512, /* 66, F2, F3 belong to the opcode, or may not stand */
    X86_SHAPE_DEBUG = 1024, /* with CONTROL: DR */
};

/* What the decoder does for a row once it is found. */
struct x86_shape {
    uint8_t immediate;
    uint8_t immediate2;
    uint8_t rule;
    uint8_t prefix; /* 0, 0x66, 0xf2, 0xf3 */
    uint16_t flags; /* `enum x86_shape_flag` */
};

/* Operands, by their letter in the manual, or fixed. */
enum x86_place {
    X86_P_NONE,
    X86_P_E,
    X86_P_G,
    X86_P_M,
    X86_P_R,
    X86_P_I,
    X86_P_J,
    X86_P_O,
    X86_P_X,
    X86_P_Y,
    X86_P_S,
    X86_P_C,
    X86_P_D,
    X86_P_A,
    X86_P_Z,
    X86_P_P,
    X86_P_Q,
    X86_P_N,
    X86_P_V,
    X86_P_W,
    X86_P_U,
    X86_P_H,
    X86_P_L,
    X86_P_B,
    X86_P_AL,
    X86_P_CL,
    X86_P_DX,
    X86_P_AX,
    X86_P_AH,
    X86_P_EAX,
    X86_P_RAX,
    X86_P_RCX,
    X86_P_RDX,
    X86_P_RBX,
    X86_P_RSP,
    X86_P_RBP,
    X86_P_RSI,
    X86_P_RDI,
    X86_P_ONE,
    X86_P_ST0,
    X86_P_STI,
    X86_P_XMM0,
    X86_P_ES,
    X86_P_CS,
    X86_P_SS,
    X86_P_DS,
    X86_P_FS,
    X86_P_GS,
};

enum x86_operand_size {
    X86_S_NONE,
    X86_S_B,
    X86_S_W,
    X86_S_D,
    X86_S_Q,
    X86_S_V,
    X86_S_Y,
    X86_S_Z,
    X86_S_S,
    X86_S_P,
    X86_S_A,
    X86_S_SS,
    X86_S_SD,
    X86_S_PS,
    X86_S_PD,
    X86_S_PI,
    X86_S_SI,
    X86_S_X,
    X86_S_DQ,
    X86_S_QQ,
    X86_S_F32,
    X86_S_F64,
    X86_S_F80,
    X86_S_I16,
    X86_S_I32,
    X86_S_I64,
    X86_S_BCD,
    X86_S_ENV,
    X86_S_STATE,
};

struct x86_operand {
    uint8_t place;       /* `enum x86_place` */
    uint8_t size;        /* `enum x86_operand_size`, as a register */
    uint8_t memory_size; /* as memory */
};

#define X86_OPERANDS_MAX 5

struct x86_pattern {
    uint16_t mask;
    uint16_t value;
};

/* What encoder and disassembler need of a row; implied operands left out. */
struct x86_spot {
    uint8_t map;
    uint8_t opcode;
    uint8_t has_modrm;
    uint8_t operand_count;
    struct x86_pattern pattern[2]; /* twice the same if there is one */
    struct x86_operand operand[X86_OPERANDS_MAX];
};

extern const struct x86_head x86_heads[];
extern const struct x86_case x86_cases[];
extern const struct x86_shape x86_shapes[]; /* by `enum x86_row` */
extern const struct x86_spot x86_spots[];   /* by `enum x86_row` */
extern const uint8_t x86_sizes[][32];       /* by `enum x86_rule`, facts 2..6 */

#endif
