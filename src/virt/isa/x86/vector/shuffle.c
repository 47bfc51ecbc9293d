/* shuffle.c - rearrangements that an immediate directs, lane by lane in C: shuffles,
 * blends, byte shifts, MPSADBW, inserts and extracts of elements.
 *
 * Instructions on 256 bits do what the 128-bit form does, in each half (`halves`). */
#include "virt/isa/x86/vector/simd.h"

typedef void imm_step(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm);

static inline void halves(union lane *ret, const union lane *a, const union lane *b,
                          uint8_t imm, imm_step *step, unsigned shift)
{
    step(ret->b, a->b, b->b, imm);
    step(ret->b + 16, a->b + 16, b->b + 16, (uint8_t)(imm >> shift));
}

/* `shift`: how far the upper half's part of the immediate lies above the lower's. */
#define STEPPED_X(routine, step)                                                         \
    static inline void routine##_k(union lane *ret, const union lane *a,                 \
                                   const union lane *b, uint8_t imm)                     \
    {                                                                                    \
        step(ret->b, a->b, b->b, imm);                                                   \
    }                                                                                    \
    SIMD_FORM_IMM(routine##_x, routine##_k, 16, 16)
#define STEPPED(routine, step, shift)                                                    \
    STEPPED_X(routine, step)                                                             \
    static inline void routine##_ky(union lane *ret, const union lane *a,                \
                                    const union lane *b, uint8_t imm)                    \
    {                                                                                    \
        halves(ret, a, b, imm, step, shift);                                             \
    }                                                                                    \
    SIMD_FORM_IMM(routine##_y, routine##_ky, 32, 32)                                     \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

static inline void shuffle_d(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                             uint8_t imm)
{
    (void)a;
    for (unsigned n = 0; n < 4; n++) {
        memcpy(ret + 4 * n, b + 4 * (imm >> (2 * n) & 3), 4);
    }
}

static inline void shuffle_w(uint8_t *ret, const uint8_t *b, uint8_t imm)
{
    for (unsigned n = 0; n < 4; n++) {
        memcpy(ret + 2 * n, b + 2 * (imm >> (2 * n) & 3), 2);
    }
}

static inline void shuffle_lw(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                              uint8_t imm)
{
    (void)a;
    shuffle_w(ret, b, imm);
    memcpy(ret + 8, b + 8, 8);
}

static inline void shuffle_hw(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                              uint8_t imm)
{
    (void)a;
    memcpy(ret, b, 8);
    shuffle_w(ret + 8, b + 8, imm);
}

static inline void shuffle_ps(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                              uint8_t imm)
{
    for (unsigned n = 0; n < 4; n++) {
        memcpy(ret + 4 * n, (n < 2 ? a : b) + 4 * (imm >> (2 * n) & 3), 4);
    }
}

static inline void shuffle_pd(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                              uint8_t imm)
{
    memcpy(ret, a + 8 * (imm & 1), 8);
    memcpy(ret + 8, b + 8 * (imm >> 1 & 1), 8);
}

static inline void permute_pd(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                              uint8_t imm)
{
    (void)a;
    shuffle_pd(ret, b, b, imm);
}

static inline void align_right(uint8_t *ret, const uint8_t *a, const uint8_t *b,
                               uint8_t imm)
{
    uint8_t both[32];

    memcpy(both, b, 16);
    memcpy(both + 16, a, 16);
    for (unsigned n = 0; n < 16; n++) {
        ret[n] = n + imm < 32 ? both[n + imm] : 0;
    }
}

static inline void blend(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm,
                         unsigned width)
{
    for (unsigned n = 0; n < 16 / width; n++) {
        memcpy(ret + n * width, ((imm >> n & 1) != 0 ? b : a) + n * width, width);
    }
}

static inline void blend_w(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm)
{
    blend(ret, a, b, imm, 2);
}

static inline void blend_d(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm)
{
    blend(ret, a, b, imm, 4);
}

static inline void blend_q(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm)
{
    blend(ret, a, b, imm, 8);
}

/* Sums of absolute differences of one block of four bytes of b with eight of a. */
static inline void sad(uint8_t *ret, const uint8_t *a, const uint8_t *b, uint8_t imm)
{
    uint16_t sum[8] = {0};
    const uint8_t *block = b + 4 * (imm & 3), *window = a + (imm & 4);

    for (unsigned n = 0; n < 8; n++) {
        for (unsigned k = 0; k < 4; k++) {
            int difference = window[n + k] - block[k];

            sum[n] = (uint16_t)(sum[n] + (difference < 0 ? -difference : difference));
        }
    }
    memcpy(ret, sum, 16);
}

STEPPED(pshufd, shuffle_d, 0)
STEPPED(pshuflw, shuffle_lw, 0)
STEPPED(pshufhw, shuffle_hw, 0)
STEPPED(shufps, shuffle_ps, 0)
STEPPED(shufpd, shuffle_pd, 2)
STEPPED(vpermilps_imm, shuffle_d, 0)
STEPPED(vpermilpd_imm, permute_pd, 2)
STEPPED(palignr, align_right, 0)
STEPPED(pblendw, blend_w, 0)
STEPPED(blendps, blend_d, 4)
STEPPED(blendpd, blend_q, 2)
STEPPED(mpsadbw, sad, 3)

/* PSRLDQ, PSLLDQ: by bytes. */
static inline void shift_right(uint8_t *ret, const uint8_t *v, uint8_t imm)
{
    for (unsigned n = 0; n < 16; n++) {
        ret[n] = n + imm < 16 ? v[n + imm] : 0;
    }
}

static inline void shift_left(uint8_t *ret, const uint8_t *v, uint8_t imm)
{
    for (unsigned n = 0; n < 16; n++) {
        ret[n] = n >= imm ? v[n - imm] : 0;
    }
}

#define BYTES(routine, step)                                                             \
    static void routine##_i(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        const union lane *s = lane_reg(c, i->rm);                                        \
        union lane t = {0};                                                              \
        unsigned bytes = i->vex && i->size == 1 ? 32 : 16;                               \
                                                                                         \
        lane_need(c, i);                                                                 \
        for (unsigned n = 0; n < bytes; n += 16) {                                       \
            step(t.b + n, s->b + n, (uint8_t)i->imm);                                    \
        }                                                                                \
        lane_put_to(c, i, i->vex ? i->vvvv : i->rm, &t, bytes);                          \
    }                                                                                    \
    FAMILY(routine) = {{routine##_i, routine##_i, NULL, NULL}, {NULL}};

BYTES(psrldq, shift_right)
BYTES(pslldq, shift_left)

/* Blends by the top bits of a register: XMM0 in legacy forms, is4 in VEX. */
static inline void blend_by(struct x86_cpu *c, const struct x86_insn *i,
                            const union lane *b, unsigned bytes, unsigned width)
{
    const union lane *mask = lane_reg(c, i->vex ? i->imm8 : 0);
    union lane t = *lane_first(c, i);

    for (unsigned n = 0; n < bytes; n += width) {
        if ((mask->b[n + width - 1] & 0x80) != 0) {
            memcpy(t.b + n, b->b + n, width);
        }
    }
    lane_put(c, i, &t, bytes);
}

#define BLEND_FORM(f, bytes, width)                                                      \
    static void f##_r(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        blend_by(c, i, lane_reg(c, i->rm), bytes, width);                                \
    }                                                                                    \
    static void f##_m(struct x86_cpu *c, const struct x86_insn *i)                       \
    {                                                                                    \
        union lane s;                                                                    \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, bytes);                                                      \
        blend_by(c, i, &s, bytes, width);                                                \
    }
#define BLEND(routine, width)                                                            \
    BLEND_FORM(routine##_x, 16, width)                                                   \
    BLEND_FORM(routine##_y, 32, width)                                                   \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

BLEND(pblendvb, 1)
BLEND(blendvps, 4)
BLEND(blendvpd, 8)

/* One element, from a general register or memory. */
static inline void insert(struct x86_cpu *c, const struct x86_insn *i, uint64_t v,
                          unsigned width)
{
    union lane t = *lane_first(c, i);

    memcpy(t.b + ((unsigned)i->imm & (16 / width - 1)) * width, &v, width);
    lane_put(c, i, &t, 16);
}

#define INSERT(routine, width)                                                           \
    static void routine##_x_r(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        insert(c, i, c->r.gpr[i->rm], width);                                            \
    }                                                                                    \
    static void routine##_x_m(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        union lane s = {0};                                                              \
                                                                                         \
        lane_need(c, i);                                                                 \
        lane_load(c, i, &s, width);                                                      \
        insert(c, i, s.q[0], width);                                                     \
    }                                                                                    \
    SIMD_FAMILY(routine, routine##_x)

INSERT(pinsrb, 1)
INSERT(pinsrw, 2)
INSERT(pinsrd, 4)

/* VEX.W is ignored outside 64-bit mode. */
static void pinsrq_x_r(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    insert(c, i, c->r.gpr[i->rm], i->mode == X86_CODE64 ? 8 : 4);
}

static void pinsrq_x_m(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned width = i->mode == X86_CODE64 ? 8 : 4;
    union lane s = {0};

    lane_need(c, i);
    lane_load(c, i, &s, width);
    insert(c, i, s.q[0], width);
}
SIMD_FAMILY(pinsrq, pinsrq_x)

static inline uint64_t extract(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                               unsigned width)
{
    uint64_t v = 0;

    memcpy(&v, lane_reg(c, n)->b + ((unsigned)i->imm & (16 / width - 1)) * width, width);
    return v;
}

#define EXTRACT(routine, width)                                                          \
    static void routine##_x_r(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        lane_need(c, i);                                                                 \
        lane_put_gpr(c, i->rm, extract(c, i, i->reg, width));                            \
    }                                                                                    \
    static void routine##_x_m(struct x86_cpu *c, const struct x86_insn *i)               \
    {                                                                                    \
        uint64_t v;                                                                      \
                                                                                         \
        lane_need(c, i);                                                                 \
        v = extract(c, i, i->reg, width);                                                \
        lane_store(c, i, &v, width, false);                                              \
    }                                                                                    \
    SIMD_FAMILY(routine, routine##_x)

EXTRACT(pextrb, 1)
EXTRACT(pextrw, 2)
EXTRACT(pextrd, 4)
EXTRACT(pextrq, i->mode == X86_CODE64 ? 8 : 4)

static void pextrw_gpr_x(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    lane_put_gpr(c, i->reg, extract(c, i, i->rm, 2));
}

FAMILY_ONE(pextrw_gpr, pextrw_gpr_x, NULL);

/* INSERTPS: bits 6-7 choose the source element (a register's), 4-5 the place, 0-3
 * what becomes 0. */
static inline void insert_ps(struct x86_cpu *c, const struct x86_insn *i, uint32_t v)
{
    union lane t = *lane_first(c, i);

    t.d[i->imm >> 4 & 3] = v;
    for (unsigned n = 0; n < 4; n++) {
        if ((i->imm >> n & 1) != 0) {
            t.d[n] = 0;
        }
    }
    lane_put(c, i, &t, 16);
}

static void insertps_x_r(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    insert_ps(c, i, lane_reg(c, i->rm)->d[i->imm >> 6 & 3]);
}

static void insertps_x_m(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane s = {0};

    lane_need(c, i);
    lane_load(c, i, &s, 4);
    insert_ps(c, i, s.d[0]);
}
SIMD_FAMILY(insertps, insertps_x)

/* The top bits of lanes, to a general register. */
static inline void top_bits(struct x86_cpu *c, const struct x86_insn *i, unsigned bytes,
                            unsigned width)
{
    const union lane *s = lane_reg(c, i->rm);
    uint32_t v = 0;

    lane_need(c, i);
    for (unsigned n = 0; n < bytes / width; n++) {
        v |= (uint32_t)(s->b[n * width + width - 1] >> 7) << n;
    }
    lane_put_gpr(c, i->reg, v);
}

#define TOP_BITS(routine, width)                                                         \
    static void routine##_x(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        top_bits(c, i, 16, width);                                                       \
    }                                                                                    \
    static void routine##_y(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        top_bits(c, i, 32, width);                                                       \
    }                                                                                    \
    FAMILY(routine) = {{routine##_x, routine##_y, NULL, NULL}, {NULL}};

TOP_BITS(pmovmskb, 1)
TOP_BITS(movmskps, 4)
TOP_BITS(movmskpd, 8)
