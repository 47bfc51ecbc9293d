/* insn.h - one decoded instruction, and the routine that executes it.
 *
 * The decoder makes it from bytes and a mode, with all prefixes folded in: no
 * routine looks at a REX or VEX byte again.  It depends on nothing but bytes and
 * mode, so that it can be kept as long as the bytes stay. */
#ifndef VIRT_ISA_X86_INSN_H
#define VIRT_ISA_X86_INSN_H

#include <stdbool.h>
#include <stdint.h>

struct x86_cpu;
struct x86_insn;

/* Executes one instruction whole, or faults (`x86_raise`, which does not return)
 * before its first visible change.  `c->next_rip` holds the address behind it and
 * may be changed. */
typedef void x86_routine(struct x86_cpu *c, const struct x86_insn *i);

enum x86_size {
    X86_8,
    X86_16,
    X86_32,
    X86_64,
    X86_SIZE_COUNT
};

/* The routines of a row.  Integer rows: by operand size.  Vector rows: [0] for
 * 128 bits, [1] for 256.  A form that cannot occur is NULL. */
struct x86_family {
    x86_routine *reg[X86_SIZE_COUNT]; /* no modrm byte, or modrm names a register */
    x86_routine *mem[X86_SIZE_COUNT]; /* modrm names memory */
};

/* The mode bits that decoding depends on. */
enum x86_code_mode {
    X86_CODE16,
    X86_CODE32,
    X86_CODE64,
    X86_CODE_MODE_COUNT
};

#define X86_INSN_BYTES_MAX 15 /* Intel SDM, volume 2A, 2.3.11 */
#define X86_NO_SEGMENT     8

struct x86_insn {
    x86_routine *run; /* NULL until the executor fills it from the row */
    uint16_t row;     /* `enum x86_row` */
    uint8_t length;   /* 1..15 */
    uint8_t size;     /* by the row's operands, the first that applies: v or z, or no
                         rule below: the operand size (16, 32, 64); y: 32 or 64 by W;
                         a vector, or VEX: 0 128 bits, 1 256; byte operands: X86_8 */
    uint8_t address;  /* address size: X86_16, X86_32 or X86_64 */
    uint8_t mode;     /* `enum x86_code_mode` it was decoded for */
    uint8_t reg;      /* modrm.reg with REX.R; the register of `+r` */
    uint8_t rm;       /* register of modrm.rm with REX.B; low 3 bits also without it */
    uint8_t vvvv;     /* VEX.vvvv, not inverted */
    bool is_memory;
    bool lock;
    uint8_t repeat;  /* 0, 0xf2, 0xf3: the last such prefix, where it is not part of the
                        opcode; on rows without REP it means nothing */
    bool has_rex;    /* byte registers 4..7 are spl..dil, not ah..bh */
    bool vex;        /* VEX encoded: upper halves are cleared */
    uint8_t segment; /* of the memory operand, override included: `enum x86_seg` */
    uint8_t base;    /* slot of `gpr`; X86_RIP: relative, with `disp` counted from the
                        instruction's own first byte; X86_ZERO: none */
    uint8_t index;   /* slot of `gpr`; X86_ZERO: none */
    uint8_t scale;   /* shift, 0..3 */
    uint8_t imm8;    /* the second immediate: enter's level; the register of is4; with
                        a vector index (`index` is then X86_ZERO): its register */
    uint8_t prefix;  /* 0x66, 0xf2, 0xf3 where it is part of the opcode, else 0 */
    int64_t disp;    /* 32 bits, or with the length added */
    uint64_t imm;    /* sign-extended to 64 where the row's operand says so; branch
                     displacement; far pointer: offset | selector << 32; moffs: the
                     offset, and `is_memory` is false: no modrm byte */
};

enum x86_row {
    X86_INVALID, /* no such instruction in this mode: #UD */
#define X86_ROW(id, ...) X86_R_##id,
#include "virt/isa/x86/rows.h"
    X86_ROW_COUNT
};

enum x86_decode_result {
    X86_DECODED,
    X86_NEED_MORE, /* `have` bytes end inside the instruction */
    X86_TOO_LONG,  /* over 15 bytes: #GP */
};

/* Decode the instruction at `bytes`, of which `have` may be read.  An encoding
 * that no row has, or a LOCK where none may stand, gives X86_DECODED with row
 * X86_INVALID and the length up to where that is certain.  Features are not
 * looked at: that is the executor's, who knows the CPUID model. */
enum x86_decode_result x86_decode(const uint8_t *bytes, unsigned have,
                                  enum x86_code_mode mode, struct x86_insn *ret_insn);

#endif
