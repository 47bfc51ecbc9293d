/* asm.c - encodings of host instructions.  See asm.h. */
#include "virt/isa/emit/asm.h"

#include <string.h>

#define GS_PREFIX 0x65
#define REX       0x40u
#define REX_W     8u
#define REX_R     4u
#define REX_X     2u
#define REX_B     1u

/* Room for one instruction's longest part; at the end of it all, room that is nowhere. */
static inline uint8_t *begin(struct asm_out *o)
{
    if (__builtin_expect(o->end - o->at < ASM_PART_MOST, 0)) {
        o->full = true;
        return o->nowhere;
    }
    return o->at;
}

static inline void finish(struct asm_out *o, uint8_t *at)
{
    if (__builtin_expect(!o->full, 1)) {
        o->at = at;
    }
}

static inline uint8_t *word32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, 4); /* this host is little-endian */
    return at + 4;
}

void asm_byte(struct asm_out *o, uint8_t b)
{
    uint8_t *at = begin(o);

    *at++ = b;
    finish(o, at);
}

void asm_word32(struct asm_out *o, uint32_t v)
{
    finish(o, word32(begin(o), v));
}

void asm_word64(struct asm_out *o, uint64_t v)
{
    uint8_t *at = begin(o);

    memcpy(at, &v, 8);
    finish(o, at + 8);
}

static bool is_high(unsigned r)
{
    return r != H_NONE && r >= 8;
}

/* spl, bpl, sil and dil need a REX byte to be named. */
static bool needs_rex8(unsigned bits, unsigned r)
{
    return bits == 8 && r >= H_RSP && r <= H_RDI;
}

static unsigned low3(unsigned r)
{
    return r & 7u;
}

/* Prefixes of an instruction whose operands are `reg` and a register or memory. */
struct shape {
    uint64_t bits      : 8; /* one word, so that it is made in a register */
    uint64_t prefix    : 8; /* 0, 0x66 comes by bits, 0xf2, 0xf3 */
    uint64_t opcode    : 8;
    uint64_t byte_regs : 8; /* width by which byte registers need REX */
    uint64_t is_0f     : 8;
};

/* Bytes that may be absent are written always, and stepped over if they are there: no
 * branch to guess. */
static inline uint8_t *put_head(uint8_t *at, const struct shape *s, unsigned rex,
                                bool force)
{
    *at = 0x66;
    at += s->bits == 16;
    *at = s->prefix;
    at += s->prefix != 0;
    rex |= s->bits == 64 ? REX_W : 0;
    *at = (uint8_t)(REX | rex);
    at += rex != 0 || force;
    *at = 0x0f;
    at += s->is_0f;
    *at++ = s->opcode;
    return at;
}

static inline void put_rr(struct asm_out *o, struct shape s, unsigned reg, unsigned rm)
{
    unsigned rex = (is_high(reg) ? REX_R : 0) | (is_high(rm) ? REX_B : 0);
    bool force = needs_rex8(s.byte_regs, reg) || needs_rex8(s.byte_regs, rm);
    uint8_t *at = put_head(begin(o), &s, rex, force);

    *at++ = (uint8_t)(0xc0 | low3(reg) << 3 | low3(rm));
    finish(o, at);
}

static inline uint8_t *put_sib_and_disp(uint8_t *at, unsigned reg, struct asm_mem m)
{
    bool sib = m.index != H_NONE || low3(m.base) == H_RSP;
    unsigned index = m.index == H_NONE ? 4 : low3(m.index);
    unsigned mod = 2;

    if (m.disp == 0 && low3(m.base) != H_RBP) {
        mod = 0;
    } else if (m.disp >= -128 && m.disp <= 127) {
        mod = 1;
    }
    *at++ = (uint8_t)(mod << 6 | low3(reg) << 3 | (sib ? 4 : low3(m.base)));
    *at = (uint8_t)(m.scale << 6 | index << 3 | low3(m.base));
    at += sib;
    (void)word32(at, (uint32_t)m.disp);
    return at + (mod == 2 ? 4 : mod);
}

/* Inline everywhere: most of the shape is constant where it is called. */
static inline __attribute__((always_inline)) void put_rm(struct asm_out *o,
                                                         struct shape s, unsigned reg,
                                                         struct asm_mem m)
{
    unsigned rex = is_high(reg) ? REX_R : 0;
    bool force = needs_rex8(s.byte_regs, reg);
    uint8_t *at = begin(o);

    if (m.base == H_NONE) {
        *at++ = GS_PREFIX;
        at = put_head(at, &s, rex, force);
        *at++ = (uint8_t)(low3(reg) << 3 | 4); /* modrm 00 100, */
        *at++ = 0x25;                          /* sib: no base, no index: disp32 */
        finish(o, word32(at, (uint32_t)m.disp));
        return;
    }
    rex |= is_high(m.base) ? REX_B : 0;
    rex |= is_high(m.index) ? REX_X : 0;
    finish(o, put_sib_and_disp(put_head(at, &s, rex, force), reg, m));
}

/* Opcodes whose lowest bit says "not 8 bits". */
static struct shape classic(unsigned bits, uint8_t opcode)
{
    return (struct shape){.bits = bits,
                          .opcode = (uint8_t)(bits == 8 ? opcode : opcode | 1),
                          .byte_regs = bits};
}

static struct shape two_byte(unsigned bits, uint8_t prefix, uint8_t opcode)
{
    return (struct shape){
        .bits = bits, .prefix = prefix, .is_0f = true, .opcode = opcode};
}

void asm_mov(struct asm_out *o, unsigned bits, enum host_reg to, enum host_reg from)
{
    put_rr(o, classic(bits, 0x88), from, to);
}

void asm_mov_imm(struct asm_out *o, enum host_reg to, uint64_t v)
{
    if (v <= UINT32_MAX) {
        if (is_high(to)) {
            asm_byte(o, REX | REX_B);
        }
        asm_byte(o, (uint8_t)(0xb8 + low3(to)));
        asm_word32(o, (uint32_t)v);
    } else if ((int64_t)v == (int32_t)v) {
        put_rr(o, (struct shape){.bits = 64, .opcode = 0xc7}, 0, to);
        asm_word32(o, (uint32_t)v);
    } else {
        asm_byte(o, (uint8_t)(REX | REX_W | (is_high(to) ? REX_B : 0)));
        asm_byte(o, (uint8_t)(0xb8 + low3(to)));
        asm_word64(o, v);
    }
}

void asm_load(struct asm_out *o, unsigned bits, enum host_reg to, struct asm_mem from)
{
    put_rm(o, classic(bits, 0x8a), to, from);
}

void asm_store(struct asm_out *o, unsigned bits, struct asm_mem to, enum host_reg from)
{
    put_rm(o, classic(bits, 0x88), from, to);
}

static void put_imm(struct asm_out *o, unsigned bits, int32_t v)
{
    uint8_t *at = begin(o);

    (void)word32(at, (uint32_t)v);
    finish(o, at + (bits < 32 ? bits / 8 : 4));
}

void asm_store_imm(struct asm_out *o, unsigned bits, struct asm_mem to, int32_t v)
{
    put_rm(o, classic(bits, 0xc6), 0, to);
    put_imm(o, bits, v);
}

void asm_lea(struct asm_out *o, unsigned bits, enum host_reg to, struct asm_mem from)
{
    put_rm(o, (struct shape){.bits = bits, .opcode = 0x8d}, to, from);
}

static struct shape zero_extend(unsigned from_bits)
{
    struct shape s = two_byte(32, 0, from_bits == 8 ? 0xb6 : 0xb7);

    s.byte_regs = from_bits;
    return s;
}

static struct shape sign_extend(unsigned bits, unsigned from_bits)
{
    struct shape s = two_byte(bits, 0, from_bits == 8 ? 0xbe : 0xbf);

    s.byte_regs = from_bits;
    if (from_bits == 32) {
        s = (struct shape){.bits = 64, .opcode = 0x63};
    }
    return s;
}

void asm_movzx(struct asm_out *o, unsigned from_bits, enum host_reg to,
               enum host_reg from)
{
    if (from_bits >= 32) {
        asm_mov(o, from_bits, to, from);
        return;
    }
    put_rr(o, zero_extend(from_bits), to, from);
}

void asm_movsx(struct asm_out *o, unsigned bits, unsigned from_bits, enum host_reg to,
               enum host_reg from)
{
    put_rr(o, sign_extend(bits, from_bits), to, from);
}

void asm_load_zx(struct asm_out *o, unsigned from_bits, enum host_reg to,
                 struct asm_mem m)
{
    if (from_bits >= 32) {
        asm_load(o, from_bits, to, m);
        return;
    }
    put_rm(o, zero_extend(from_bits), to, m);
}

void asm_load_sx(struct asm_out *o, unsigned bits, unsigned from_bits, enum host_reg to,
                 struct asm_mem m)
{
    put_rm(o, sign_extend(bits, from_bits), to, m);
}

void asm_alu(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
             enum host_reg from)
{
    put_rr(o, classic(bits, (uint8_t)(op << 3)), from, to);
}

static uint8_t imm_opcode(unsigned bits, int32_t v)
{
    if (bits == 8) {
        return 0x80;
    }
    return v >= -128 && v <= 127 ? 0x83 : 0x81;
}

void asm_alu_imm(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
                 int32_t v)
{
    uint8_t opcode = imm_opcode(bits, v);

    put_rr(o, (struct shape){.bits = bits, .opcode = opcode, .byte_regs = bits}, op, to);
    put_imm(o, opcode == 0x81 ? bits : 8, v);
}

void asm_alu_load(struct asm_out *o, enum asm_alu op, unsigned bits, enum host_reg to,
                  struct asm_mem m)
{
    put_rm(o, classic(bits, (uint8_t)(op << 3 | 2)), to, m);
}

void asm_alu_store(struct asm_out *o, enum asm_alu op, unsigned bits, struct asm_mem m,
                   enum host_reg from)
{
    put_rm(o, classic(bits, (uint8_t)(op << 3)), from, m);
}

void asm_alu_store_imm(struct asm_out *o, enum asm_alu op, unsigned bits,
                       struct asm_mem m, int32_t v)
{
    uint8_t opcode = imm_opcode(bits, v);

    put_rm(o, (struct shape){.bits = bits, .opcode = opcode, .byte_regs = 0}, op, m);
    put_imm(o, opcode == 0x81 ? bits : 8, v);
}

void asm_test(struct asm_out *o, unsigned bits, enum host_reg a, enum host_reg b)
{
    put_rr(o, classic(bits, 0x84), b, a);
}

void asm_unary(struct asm_out *o, enum asm_unary op, unsigned bits, enum host_reg r)
{
    put_rr(o, classic(bits, 0xf6), op, r);
}

void asm_step(struct asm_out *o, bool dec, unsigned bits, enum host_reg r)
{
    put_rr(o, classic(bits, 0xfe), dec ? 1 : 0, r);
}

void asm_imul(struct asm_out *o, unsigned bits, enum host_reg to, enum host_reg from)
{
    put_rr(o, two_byte(bits, 0, 0xaf), to, from);
}

void asm_shift_imm(struct asm_out *o, enum asm_shift op, unsigned bits, enum host_reg r,
                   uint8_t n)
{
    put_rr(o, classic(bits, 0xc0), op, r);
    asm_byte(o, n);
}

void asm_shift_cl(struct asm_out *o, enum asm_shift op, unsigned bits, enum host_reg r)
{
    put_rr(o, classic(bits, 0xd2), op, r);
}

void asm_0f(struct asm_out *o, uint8_t prefix, uint8_t op, unsigned bits,
            enum host_reg to, enum host_reg from)
{
    put_rr(o, two_byte(bits, prefix, op), to, from);
}

void asm_vex38(struct asm_out *o, struct asm_vex x, enum host_reg to, enum host_reg v,
               enum host_reg rm)
{
    asm_byte(o, 0xc4);
    asm_byte(o,
             (uint8_t)((is_high(to) ? 0 : 0x80) | 0x40 | (is_high(rm) ? 0 : 0x20) | 2));
    asm_byte(o, (uint8_t)((x.bits == 64 ? 0x80 : 0) | (~(unsigned)v & 15) << 3 | x.pp));
    asm_byte(o, x.op);
    asm_byte(o, (uint8_t)(0xc0 | low3(to) << 3 | low3(rm)));
}

void asm_rorx(struct asm_out *o, enum host_reg to, enum host_reg from, uint8_t n)
{
    asm_byte(o, 0xc4);
    asm_byte(o,
             (uint8_t)((is_high(to) ? 0 : 0x80) | 0x40 | (is_high(from) ? 0 : 0x20) | 3));
    asm_byte(o, 0x7b);
    asm_byte(o, 0xf0);
    asm_byte(o, (uint8_t)(0xc0 | low3(to) << 3 | low3(from)));
    asm_byte(o, n);
}

void asm_bswap(struct asm_out *o, unsigned bits, enum host_reg r)
{
    asm_byte(o, (uint8_t)(REX | (bits == 64 ? REX_W : 0) | (is_high(r) ? REX_B : 0)));
    asm_byte(o, 0x0f);
    asm_byte(o, (uint8_t)(0xc8 + low3(r)));
}

void asm_setcc(struct asm_out *o, unsigned cond, enum host_reg r)
{
    struct shape s = two_byte(32, 0, (uint8_t)(0x90 + cond));

    s.byte_regs = 8;
    put_rr(o, s, 0, r);
}

void asm_cmov(struct asm_out *o, unsigned cond, unsigned bits, enum host_reg to,
              enum host_reg from)
{
    put_rr(o, two_byte(bits, 0, (uint8_t)(0x40 + cond)), to, from);
}

void asm_shd(struct asm_out *o, bool left, unsigned bits, enum host_reg to,
             enum host_reg from, uint8_t n)
{
    put_rr(o, two_byte(bits, 0, left ? 0xa4 : 0xac), from, to);
    asm_byte(o, n);
}

void asm_lock(struct asm_out *o)
{
    asm_byte(o, 0xf0);
}

static void put_locked(struct asm_out *o, unsigned bits, uint8_t opcode, struct asm_mem m,
                       enum host_reg r)
{
    struct shape s = two_byte(bits, 0, (uint8_t)(bits == 8 ? opcode : opcode | 1));

    s.byte_regs = bits;
    put_rm(o, s, r, m);
}

void asm_cmpxchg(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg fresh)
{
    put_locked(o, bits, 0xb0, m, fresh);
}

void asm_xadd(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg r)
{
    put_locked(o, bits, 0xc0, m, r);
}

void asm_swap(struct asm_out *o, unsigned bits, struct asm_mem m, enum host_reg r)
{
    put_rm(o, classic(bits, 0x86), r, m);
}

void asm_mfence(struct asm_out *o)
{
    asm_byte(o, 0x0f);
    asm_byte(o, 0xae);
    asm_byte(o, 0xf0);
}

void asm_load_mxcsr(struct asm_out *o, struct asm_mem m)
{
    put_rm(o, two_byte(32, 0, 0xae), 2, m);
}

void asm_push_mem(struct asm_out *o, struct asm_mem m)
{
    put_rm(o, (struct shape){.bits = 32, .opcode = 0xff}, 6, m);
}

void asm_pop_mem(struct asm_out *o, struct asm_mem m)
{
    put_rm(o, (struct shape){.bits = 32, .opcode = 0x8f}, 0, m);
}

void asm_push(struct asm_out *o, enum host_reg r)
{
    if (is_high(r)) {
        asm_byte(o, REX | REX_B);
    }
    asm_byte(o, (uint8_t)(0x50 + low3(r)));
}

void asm_push_imm(struct asm_out *o, int32_t v)
{
    asm_byte(o, 0x68);
    asm_word32(o, (uint32_t)v);
}

void asm_test_imm(struct asm_out *o, enum host_reg r, uint32_t v)
{
    put_rr(o, (struct shape){.bits = 32, .opcode = 0xf7}, 0, r);
    asm_word32(o, v);
}

void asm_pop(struct asm_out *o, enum host_reg r)
{
    if (is_high(r)) {
        asm_byte(o, REX | REX_B);
    }
    asm_byte(o, (uint8_t)(0x58 + low3(r)));
}

void asm_ret(struct asm_out *o)
{
    asm_byte(o, 0xc3);
}

void asm_push_flags(struct asm_out *o)
{
    asm_byte(o, 0x9c);
}

void asm_jmp_reg(struct asm_out *o, enum host_reg r)
{
    put_rr(o, (struct shape){.bits = 32, .opcode = 0xff}, 4, r);
}

void asm_jmp_mem(struct asm_out *o, struct asm_mem m)
{
    put_rm(o, (struct shape){.bits = 32, .opcode = 0xff}, 4, m);
}

void asm_call_mem(struct asm_out *o, struct asm_mem m)
{
    put_rm(o, (struct shape){.bits = 32, .opcode = 0xff}, 2, m);
}

void asm_call_reg(struct asm_out *o, enum host_reg r)
{
    put_rr(o, (struct shape){.bits = 32, .opcode = 0xff}, 2, r);
}

uint8_t *asm_jcc(struct asm_out *o, unsigned cond)
{
    uint8_t *at = begin(o);

    at[0] = 0x0f;
    at[1] = (uint8_t)(0x80 + cond);
    finish(o, word32(at + 2, 0));
    return at + 2;
}

uint8_t *asm_jcc_short(struct asm_out *o, unsigned cond)
{
    uint8_t *at = begin(o);

    at[0] = (uint8_t)(0x70 + cond);
    finish(o, at + 2);
    return at + 1;
}

void asm_bind_short(struct asm_out *o, uint8_t *place)
{
    if (!o->full) {
        *place = (uint8_t)(o->at - (place + 1));
    }
}

static uint8_t *branch(struct asm_out *o, uint8_t opcode)
{
    uint8_t *at = begin(o);

    at[0] = opcode;
    finish(o, word32(at + 1, 0));
    return at + 1;
}

uint8_t *asm_jmp(struct asm_out *o)
{
    return branch(o, 0xe9);
}

uint8_t *asm_call(struct asm_out *o)
{
    return branch(o, 0xe8);
}

void asm_bind(struct asm_out *o, uint8_t *place, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (place + 4));

    if (!o->full) {
        memcpy(place, &distance, sizeof distance);
    }
}
