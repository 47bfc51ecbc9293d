/* asm.h - x86-64 host instructions, one function for each shape.
 *
 * Writes bytes at `at` and stops, with `full` set, where they might pass `end`; what
 * was written then is not to be run.  Encodings: Intel SDM volume 2, 2.1 to 2.3. */
#ifndef VIRT_ISA_EMIT_ASM_H
#define VIRT_ISA_EMIT_ASM_H

#include <stdbool.h>
#include <stdint.h>

enum host_reg {
    H_RAX,
    H_RCX,
    H_RDX,
    H_RBX,
    H_RSP,
    H_RBP,
    H_RSI,
    H_RDI,
    H_R8,
    H_R9,
    H_R10,
    H_R11,
    H_R12,
    H_R13,
    H_R14,
    H_R15,
    H_COUNT,
    H_NONE = 0xff
};

/* The /digit of the 80..83 group, and bits 3..5 of the classic opcodes. */
enum asm_alu {
    ASM_ADD,
    ASM_OR,
    ASM_ADC,
    ASM_SBB,
    ASM_AND,
    ASM_SUB,
    ASM_XOR,
    ASM_CMP
};

/* The /digit of the C0..D3 group. */
enum asm_shift {
    ASM_ROL,
    ASM_ROR,
    ASM_RCL,
    ASM_RCR,
    ASM_SHL,
    ASM_SHR,
    ASM_SAR = 7
};

/* The /digit of F6/F7. */
enum asm_unary {
    ASM_NOT = 2,
    ASM_NEG = 3,
    ASM_MUL = 4,
    ASM_IMUL = 5,
    ASM_DIV = 6,
    ASM_IDIV = 7
};

#define ASM_PART_MOST 16 /* written at once; nothing is written nearer to the end */

struct asm_out {
    uint8_t *start; /* where the bytes are written */
    uint8_t *at;
    uint8_t *end;
    bool full;
    uint8_t nowhere[ASM_PART_MOST];
};

/* A memory operand: [base + (index << scale) + disp], or gs:[disp] without a base. */
struct asm_mem {
    uint8_t base;  /* H_NONE: gs-relative, `disp` alone */
    uint8_t index; /* H_NONE: none; never H_RSP */
    uint8_t scale;
    int32_t disp;
};

static inline struct asm_mem asm_gs(uint32_t offset)
{
    return (struct asm_mem){.base = H_NONE, .index = H_NONE, .disp = (int32_t)offset};
}

static inline struct asm_mem asm_at(enum host_reg base, int32_t disp)
{
    return (struct asm_mem){.base = base, .index = H_NONE, .disp = disp};
}

void asm_byte(struct asm_out *o, uint8_t b);
void asm_word32(struct asm_out *o, uint32_t v);
void asm_word64(struct asm_out *o, uint64_t v);

/* `bits` is 8, 16, 32 or 64 throughout; 32 clears the upper half. */
void asm_mov(struct asm_out *o, unsigned bits, enum host_reg to, enum host_reg from);
void asm_mov_imm(struct asm_out *o, enum host_reg to,
                 uint64_t v); /* shortest form; keeps flags */
void asm_load(struct asm_out *o, unsigned bits, enum host_reg to, struct asm_mem from);
void asm_store(struct asm_out *o, unsigned bits, struct asm_mem to, enum host_reg from);
void asm_store_imm(struct asm_out *o, unsigned bits, struct asm_mem to, int32_t v);
void asm_lea(struct asm_out *o, unsigned bits, enum host_reg to, struct asm_mem from);

/* Zero- and sign-extension from `from_bits`, out of a register or memory. */
void asm_movzx(struct asm_out *o, unsigned from_bits, enum host_reg to,
               enum host_reg from);
void asm_movsx(struct asm_out *o, unsigned bits, unsigned from_bits, enum host_reg to,
               enum host_reg from);
void asm_load_zx(struct asm_out *o, unsigned from_bits, enum host_reg to,
                 struct asm_mem m);
void asm_load_sx(struct asm_out *o, unsigned bits, unsigned from_bits, enum host_reg to,
                 struct asm_mem m);

void asm_alu(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
             enum host_reg from);
void asm_alu_imm(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
                 int32_t v);
void asm_alu_load(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
                  struct asm_mem m);
void asm_alu_store(struct asm_out *o, enum asm_alu op, unsigned bits, struct asm_mem m,
                   enum host_reg from);
void asm_alu_store_imm(struct asm_out *o, enum asm_alu op, unsigned bits,
                       struct asm_mem m, int32_t v);
void asm_test(struct asm_out *o, unsigned bits, enum host_reg a, enum host_reg b);
void asm_test_imm(struct asm_out *o, enum host_reg r, uint32_t v); /* 32 bits */
void asm_unary(struct asm_out *o, enum asm_unary op, unsigned bits, enum host_reg r);
void asm_step(struct asm_out *o, bool dec, unsigned bits, enum host_reg r); /* inc, dec */
void asm_imul(struct asm_out *o, unsigned bits, enum host_reg to, enum host_reg from);
void asm_shift_imm(struct asm_out *o, enum asm_shift op, unsigned bits, enum host_reg r,
                   uint8_t n);
void asm_shift_cl(struct asm_out *o, enum asm_shift op, unsigned bits, enum host_reg r);

/* A VEX instruction of map 0F 38: its prefix, opcode and width. */
struct asm_vex {
    uint8_t pp, op;
    unsigned bits;
};

/* Two-byte-opcode instructions `0F op` with register operands (bsf, popcnt ...);
 * `prefix` 0 or 0xf3; and the VEX ones of map 2 (shlx, andn, pdep ...). */
void asm_0f(struct asm_out *o, uint8_t prefix, uint8_t op, unsigned bits,
            enum host_reg to, enum host_reg from);
void asm_vex38(struct asm_out *o, struct asm_vex x, enum host_reg to, enum host_reg v,
               enum host_reg rm);
void asm_rorx(struct asm_out *o, enum host_reg to, enum host_reg from,
              uint8_t n); /* of 32 bits; keeps flags */
void asm_bswap(struct asm_out *o, unsigned bits, enum host_reg r);
void asm_setcc(struct asm_out *o, unsigned cond, enum host_reg r);
void asm_cmov(struct asm_out *o, unsigned cond, unsigned bits, enum host_reg to,
              enum host_reg from);
void asm_shd(struct asm_out *o, bool left, unsigned bits, enum host_reg to,
             enum host_reg from, uint8_t n);

/* On memory; `asm_lock` in front makes the next one atomic, SWAP always is. */
void asm_lock(struct asm_out *o);
void asm_cmpxchg(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg fresh);
void asm_xadd(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg r);
void asm_swap(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg r);
void asm_mfence(struct asm_out *o);
void asm_load_mxcsr(struct asm_out *o, struct asm_mem m);

void asm_push_mem(struct asm_out *o, struct asm_mem m);
void asm_pop_mem(struct asm_out *o, struct asm_mem m);
void asm_push(struct asm_out *o, enum host_reg r);
void asm_push_imm(struct asm_out *o, int32_t v); /* extended to 64 bits */
void asm_pop(struct asm_out *o, enum host_reg r);
void asm_push_flags(struct asm_out *o);
void asm_ret(struct asm_out *o);
void asm_jmp_reg(struct asm_out *o, enum host_reg r);
void asm_jmp_mem(struct asm_out *o, struct asm_mem m);
void asm_call_mem(struct asm_out *o, struct asm_mem m);
void asm_call_reg(struct asm_out *o, enum host_reg r);

/* Branches whose 32-bit displacement is filled by `asm_bind`; the place returned is
 * that of the displacement. */
uint8_t *asm_jcc(struct asm_out *o, unsigned cond);
uint8_t *asm_jmp(struct asm_out *o);
uint8_t *asm_call(struct asm_out *o);
void asm_bind(struct asm_out *o, uint8_t *place, const uint8_t *target);
/* ... whose 8-bit displacement leads to what is written next, at most 127 bytes on. */
uint8_t *asm_jcc_short(struct asm_out *o, unsigned cond);
void asm_bind_short(struct asm_out *o, uint8_t *place);

#endif
