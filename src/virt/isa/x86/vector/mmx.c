/* mmx.c - packed integers in 64-bit registers (SDM volume 1, chapter 9).
 *
 * A register is the mantissa of an x87 register, by physical number.  Every MMX
 * instruction sets TOP to 0 and all tags to valid; one that writes sets sign and
 * exponent to ones.
 *
 * The host's MMX unit is not used: it would need EMMS each time.  The SSE form on the
 * low halves gives the same 64 bits, except where lanes cross; there the operands are
 * laid out so that it does (`MMX_PACK`, `MMX_HIGH`). */
#include "virt/isa/x86/vector/number.h"

static inline uint64_t mmx_get(const struct x86_cpu *c, unsigned n)
{
    uint64_t v;

    memcpy(&v, c->r.fpu.st[n & 7], 8);
    return v;
}

static inline void mmx_enter(struct x86_cpu *c)
{
    c->r.fpu.fsw &= (uint16_t)~0x3800u;
    c->r.fpu.ftw = 0xff;
}

static inline void mmx_put(struct x86_cpu *c, unsigned n, uint64_t v)
{
    mmx_enter(c);
    memcpy(c->r.fpu.st[n & 7], &v, 8);
    memset(c->r.fpu.st[n & 7] + 8, 0xff, 2);
}

/* The second operand: a register, or `bytes` of memory. */
static inline uint64_t mmx_source(struct x86_cpu *c, const struct x86_insn *i,
                                  unsigned bytes)
{
    union lane s = {0};

    if (!i->is_memory) {
        return mmx_get(c, i->rm);
    }
    lane_load(c, i, &s, bytes);
    return s.q[0];
}

#define MMX_SHAPE(routine, op, lay_a, lay_b, result, bytes)                              \
    SIMD_KERNEL(routine##_k, op)                                                         \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        uint64_t a, b;                                                                   \
                                                                                         \
        x86_need_mmx(c);                                                                 \
        b = mmx_source(c, i, bytes);                                                     \
        a = mmx_get(c, i->reg);                                                          \
        mmx_put(c, i->reg,                                                               \
                (uint64_t)routine##_k_v((lane_xmm)lay_a, (lane_xmm)lay_b)[result]);      \
    }                                                                                    \
    FAMILY_ONE(routine##_mmx, routine##_f, routine##_f);

#define ONE(v)                                                                           \
    {                                                                                    \
        (long long)(v), 0                                                                \
    }
#define TWO(v, w)                                                                        \
    {                                                                                    \
        (long long)(v), (long long)(w)                                                   \
    }
#define MMX_OP(name)        MMX_SHAPE(name, #name, ONE(a), ONE(b), 0, 8)
#define MMX_LOW(name)       MMX_SHAPE(name, #name, ONE(a), ONE(b), 0, 4)
#define MMX_HIGH(name, low) MMX_SHAPE(name, low, ONE(a), ONE(b), 1, 8)
#define MMX_PACK(name)      MMX_SHAPE(name, #name, TWO(a, b), TWO(a, b), 0, 8)
#define MMX_SHUFFLE(name)                                                                \
    MMX_SHAPE(name, #name, ONE(a), ONE(b & 0x8787878787878787u), 0, 8)

/* One source, which stands where the kernel has its second. */
#define MMX_UNARY(name)                                                                  \
    SIMD_UNARY(name##_k, #name)                                                          \
    static void name##_f(struct x86_cpu *c, const struct x86_insn *i)                    \
    {                                                                                    \
        lane_xmm v = {0, 0};                                                             \
                                                                                         \
        x86_need_mmx(c);                                                                 \
        v[0] = (long long)mmx_source(c, i, 8);                                           \
        mmx_put(c, i->reg, (uint64_t)name##_k_v(v, v)[0]);                               \
    }                                                                                    \
    FAMILY_ONE(name##_mmx, name##_f, name##_f);

/* Shifts by an immediate. */
#define MMX_SHIFT(name)                                                                  \
    static void name##_imm_f(struct x86_cpu *c, const struct x86_insn *i)                \
    {                                                                                    \
        lane_xmm v = {0, 0};                                                             \
                                                                                         \
        x86_need_mmx(c);                                                                 \
        v[0] = (long long)mmx_get(c, i->rm);                                             \
        v = name##_k_v(v, (lane_xmm){(uint8_t)i->imm, 0});                               \
        mmx_put(c, i->rm, (uint64_t)v[0]);                                               \
    }                                                                                    \
    FAMILY_ONE(name##_mmx_imm, name##_imm_f, NULL);

static void palignr_f(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned by = (uint8_t)i->imm;
    uint8_t both[16], t[8];
    uint64_t v;

    x86_need_mmx(c);
    v = mmx_source(c, i, 8);
    memcpy(both, &v, 8);
    v = mmx_get(c, i->reg);
    memcpy(both + 8, &v, 8);
    for (unsigned n = 0; n < 8; n++) {
        t[n] = n + by < 16 ? both[n + by] : 0;
    }
    memcpy(&v, t, 8);
    mmx_put(c, i->reg, v);
}

static void pshufw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v, t = 0;

    x86_need_mmx(c);
    v = mmx_source(c, i, 8);
    for (unsigned n = 0; n < 4; n++) {
        t |= (v >> 16 * (i->imm >> (2 * n) & 3) & 0xffff) << (16 * n);
    }
    mmx_put(c, i->reg, t);
}

static void pinsrw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned shift = 16 * ((unsigned)i->imm & 3);
    union lane s = {0};
    uint64_t v;

    x86_need_mmx(c);
    if (i->is_memory) {
        lane_load(c, i, &s, 2);
    } else {
        s.w[0] = (uint16_t)c->r.gpr[i->rm];
    }
    v = mmx_get(c, i->reg) & ~((uint64_t)0xffff << shift);
    mmx_put(c, i->reg, v | (uint64_t)s.w[0] << shift);
}

static void pextrw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_mmx(c);
    lane_put_gpr(c, i->reg, mmx_get(c, i->rm) >> 16 * (i->imm & 3) & 0xffff);
    mmx_enter(c);
}

static void pmovmskb_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v, t = 0;

    x86_need_mmx(c);
    v = mmx_get(c, i->rm);
    for (unsigned n = 0; n < 8; n++) {
        t |= (v >> (8 * n + 7) & 1) << n;
    }
    lane_put_gpr(c, i->reg, t);
    mmx_enter(c);
}

FAMILY_ONE(palignr_mmx, palignr_f, palignr_f);
FAMILY_ONE(pshufw_mmx, pshufw_f, pshufw_f);
FAMILY_ONE(pinsrw_mmx, pinsrw_f, pinsrw_f);
FAMILY_ONE(pextrw_mmx, pextrw_f, NULL);
FAMILY_ONE(pmovmskb_mmx, pmovmskb_f, NULL);

/* MOVD, MOVQ; REX.W exists in 64-bit mode only. */
static inline void to_mmx(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes)
{
    union lane s = {0};

    x86_need_mmx(c);
    if (i->is_memory) {
        lane_load(c, i, &s, bytes);
    } else {
        memcpy(&s, &c->r.gpr[i->rm], bytes);
    }
    mmx_put(c, i->reg, s.q[0]);
}

static inline void from_mmx(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes)
{
    uint64_t v;

    x86_need_mmx(c);
    v = mmx_get(c, i->reg);
    if (i->is_memory) {
        lane_store(c, i, &v, bytes, false);
    } else {
        lane_put_gpr(c, i->rm, bytes == 4 ? (uint32_t)v : v);
    }
    mmx_enter(c);
}

#define GENERAL(routine, way, bytes)                                                     \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        way(c, i, bytes);                                                                \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);

static void movq_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_mmx(c);
    mmx_put(c, i->reg, mmx_source(c, i, 8));
}

static void movq_store_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t v;

    x86_need_mmx(c);
    v = mmx_get(c, i->reg);
    if (i->is_memory) {
        lane_store(c, i, &v, 8, false);
        mmx_enter(c);
    } else {
        mmx_put(c, i->rm, v);
    }
}

/* Bytes chosen by the mask's top bits go to DS:rDI; the rest is not accessed. */
static void maskmovq_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at = c->r.gpr[X86_RDI], v, mask;

    x86_need_mmx(c);
    v = mmx_get(c, i->reg);
    mask = mmx_get(c, i->rm);
    at = i->address == X86_64 ? at : i->address == X86_32 ? (uint32_t)at : (uint16_t)at;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned n = 0; n < 8; n++) {
            if ((mask >> (8 * n + 7) & 1) == 0) {
                continue;
            }
            if (pass == 0) { /* faults come before the first byte is written */
                x86_rmw_begin(c, (enum x86_seg)i->segment, at + n, 1, false);
                x86_rmw_end(c);
            } else {
                x86_store8(c, (enum x86_seg)i->segment, at + n, (uint8_t)(v >> 8 * n));
            }
        }
    }
    mmx_enter(c);
}

static void emms_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_need_mmx(c);
    c->r.fpu.fsw &= (uint16_t)~0x3800u;
    c->r.fpu.ftw = 0;
}

FAMILY_ONE(movq_mmx, movq_f, movq_f);
FAMILY_ONE(movq_mmx_store, movq_store_f, movq_store_f);
FAMILY_ONE(movntq_mmx, NULL, movq_store_f);
FAMILY_ONE(maskmovq_mmx, maskmovq_f, NULL);
FAMILY_ONE(emms, emms_f, NULL);

/* Between MMX and XMM registers. */
static void movq2dq_f(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane t = {0};

    x86_need_sse(c);
    x86_need_mmx(c);
    t.q[0] = mmx_get(c, i->rm);
    lane_put(c, i, &t, 16);
    mmx_enter(c);
}

static void movdq2q_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_sse(c);
    x86_need_mmx(c);
    mmx_put(c, i->reg, lane_reg(c, i->rm)->q[0]);
}

FAMILY_ONE(movq2dq, movq2dq_f, NULL);
FAMILY_ONE(movdq2q, movdq2q_f, NULL);

/* Conversions: the SSE2 forms on two integers; what stands above is zero, and raises
 * nothing. */
FLOAT_UNARY_CODE(cvtdq2ps_k, "cvtdq2ps %[b], %[a]")
FLOAT_UNARY_CODE(cvtdq2pd_k, "cvtdq2pd %[b], %[a]")
FLOAT_UNARY_CODE(cvtps2dq_k, "cvtps2dq %[b], %[a]")
FLOAT_UNARY_CODE(cvttps2dq_k, "cvttps2dq %[b], %[a]")
FLOAT_UNARY_CODE(cvtpd2dq_k, "cvtpd2dq %[b], %[a]")
FLOAT_UNARY_CODE(cvttpd2dq_k, "cvttpd2dq %[b], %[a]")

/* With a memory operand these are SSE instructions only. */
static inline void from_integers(struct x86_cpu *c, const struct x86_insn *i,
                                 float_kernel *k, unsigned bytes)
{
    union lane t, s = {0};

    x86_need_sse(c);
    if (!i->is_memory) {
        x86_need_mmx(c);
    }
    s.q[0] = mmx_source(c, i, 8);
    if (!i->is_memory) { /* also where an exception of the conversion follows */
        mmx_enter(c);
    }
    float_run(c, k, &t, &s, &s);
    memcpy(lane_reg(c, i->reg), &t, bytes);
}

static inline void to_integers(struct x86_cpu *c, const struct x86_insn *i,
                               float_kernel *k, unsigned bytes)
{
    union lane t, s = {0};

    x86_need_sse(c);
    x86_need_mmx(c);
    if (i->is_memory) {
        lane_load(c, i, &s, bytes);
    } else {
        memcpy(&s, lane_reg(c, i->rm), bytes);
    }
    mmx_enter(c);
    float_run(c, k, &t, &s, &s);
    mmx_put(c, i->reg, t.q[0]);
}

#define CONVERT(routine, call)                                                           \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        call;                                                                            \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);

CONVERT(cvtpi2ps, from_integers(c, i, cvtdq2ps_k, 8))
CONVERT(cvtpi2pd, from_integers(c, i, cvtdq2pd_k, 16))
CONVERT(cvtps2pi, to_integers(c, i, cvtps2dq_k, 8))
CONVERT(cvttps2pi, to_integers(c, i, cvttps2dq_k, 8))
CONVERT(cvtpd2pi, to_integers(c, i, cvtpd2dq_k, 16))
CONVERT(cvttpd2pi, to_integers(c, i, cvttpd2dq_k, 16))

GENERAL(movd_to_mmx, to_mmx, 4)
GENERAL(movq_to_mmx, to_mmx, 8)
GENERAL(movd_from_mmx, from_mmx, 4)
GENERAL(movq_from_mmx, from_mmx, 8)

MMX_LOW(punpcklbw)
MMX_LOW(punpcklwd)
MMX_LOW(punpckldq)
MMX_HIGH(punpckhbw, "punpcklbw")
MMX_HIGH(punpckhwd, "punpcklwd")
MMX_HIGH(punpckhdq, "punpckldq")
MMX_PACK(packsswb)
MMX_PACK(packssdw)
MMX_PACK(packuswb)
MMX_PACK(phaddw)
MMX_PACK(phaddd)
MMX_PACK(phaddsw)
MMX_PACK(phsubw)
MMX_PACK(phsubd)
MMX_PACK(phsubsw)
MMX_SHUFFLE(pshufb)
MMX_OP(pcmpgtb)
MMX_OP(pcmpgtw)
MMX_OP(pcmpgtd)
MMX_OP(pcmpeqb)
MMX_OP(pcmpeqw)
MMX_OP(pcmpeqd)
MMX_OP(psrlw)
MMX_OP(psrld)
MMX_OP(psrlq)
MMX_OP(psraw)
MMX_OP(psrad)
MMX_OP(psllw)
MMX_OP(pslld)
MMX_OP(psllq)
MMX_OP(paddb)
MMX_OP(paddw)
MMX_OP(paddd)
MMX_OP(paddq)
MMX_OP(paddsb)
MMX_OP(paddsw)
MMX_OP(paddusb)
MMX_OP(paddusw)
MMX_OP(psubb)
MMX_OP(psubw)
MMX_OP(psubd)
MMX_OP(psubq)
MMX_OP(psubsb)
MMX_OP(psubsw)
MMX_OP(psubusb)
MMX_OP(psubusw)
MMX_OP(pmullw)
MMX_OP(pmulhw)
MMX_OP(pmulhuw)
MMX_OP(pmulhrsw)
MMX_OP(pmuludq)
MMX_OP(pmaddwd)
MMX_OP(pmaddubsw)
MMX_OP(psadbw)
MMX_OP(pavgb)
MMX_OP(pavgw)
MMX_OP(pminub)
MMX_OP(pminsw)
MMX_OP(pmaxub)
MMX_OP(pmaxsw)
MMX_OP(pand)
MMX_OP(pandn)
MMX_OP(por)
MMX_OP(pxor)
MMX_OP(psignb)
MMX_OP(psignw)
MMX_OP(psignd)

MMX_UNARY(pabsb)
MMX_UNARY(pabsw)
MMX_UNARY(pabsd)

MMX_SHIFT(psrlw)
MMX_SHIFT(psrld)
MMX_SHIFT(psrlq)
MMX_SHIFT(psraw)
MMX_SHIFT(psrad)
MMX_SHIFT(psllw)
MMX_SHIFT(pslld)
MMX_SHIFT(psllq)
