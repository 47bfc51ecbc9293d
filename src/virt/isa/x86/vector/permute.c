/* permute.c - AVX and AVX2 movements across the halves: broadcasts, permutes, inserts
 * and extracts of 128 bits. */
#include "virt/isa/x86/vector/simd.h"

#define BROADCAST(routine, width)                                                        \
    static inline void routine##_k(union lane *ret, const union lane *a,                 \
                                   const union lane *b)                                  \
    {                                                                                    \
        (void)a;                                                                         \
        for (unsigned n = 0; n < 32; n += (width)) {                                     \
            memcpy(ret->b + n, b, width);                                                \
        }                                                                                \
    }                                                                                    \
    SIMD_FORM(routine##_x, routine##_k, 16, width)                                       \
    SIMD_FORM(routine##_y, routine##_k, 32, width)                                       \
    SIMD_FAMILY_Y(routine, routine##_x, routine##_y)

BROADCAST(vbroadcastb, 1)
BROADCAST(vbroadcastw, 2)
BROADCAST(vbroadcastd, 4)
BROADCAST(vbroadcastq, 8)
BROADCAST(vbroadcastdq, 16)

/* Only 256-bit forms exist of these. */
#define FAMILY_WIDE(routine, f)                                                          \
    FAMILY(routine) = {{NULL, f##_r, NULL, NULL}, {NULL, f##_m, NULL, NULL}};

static inline void permute_d(union lane *ret, const union lane *a, const union lane *b)
{
    for (unsigned n = 0; n < 8; n++) {
        ret->d[n] = b->d[a->d[n] & 7];
    }
}
SIMD_FORM(vpermd_y, permute_d, 32, 32)
FAMILY_WIDE(vpermd, vpermd_y)

static inline void permute_q(union lane *ret, const union lane *a, const union lane *b,
                             uint8_t imm)
{
    (void)a;
    for (unsigned n = 0; n < 4; n++) {
        ret->q[n] = b->q[imm >> (2 * n) & 3];
    }
}
SIMD_FORM_IMM(vpermq_y, permute_q, 32, 32)
FAMILY_WIDE(vpermq, vpermq_y)

/* Two bits choose among the four halves, bit 3 of each nibble clears. */
static inline void permute_dq(union lane *ret, const union lane *a, const union lane *b,
                              uint8_t imm)
{
    for (unsigned n = 0; n < 2; n++) {
        uint8_t pick = (uint8_t)(imm >> (4 * n));

        if ((pick & 8) != 0) {
            memset(ret->b + 16 * n, 0, 16);
        } else {
            memcpy(ret->b + 16 * n, ((pick & 2) != 0 ? b : a)->b + 16 * (pick & 1), 16);
        }
    }
}
SIMD_FORM_IMM(vperm2dq_y, permute_dq, 32, 32)
FAMILY_WIDE(vperm2dq, vperm2dq_y)

static inline void insert_dq(union lane *ret, const union lane *a, const union lane *b,
                             uint8_t imm)
{
    *ret = *a;
    memcpy(ret->b + 16 * (imm & 1), b, 16);
}
SIMD_FORM_IMM(vinsertdq_y, insert_dq, 32, 16)
FAMILY_WIDE(vinsertdq, vinsertdq_y)

static void vextractdq_y_r(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane t = {0};

    lane_need(c, i);
    memcpy(&t, lane_reg(c, i->reg)->b + 16 * (i->imm & 1), 16);
    lane_put_to(c, i, i->rm, &t, 16);
}

static void vextractdq_y_m(struct x86_cpu *c, const struct x86_insn *i)
{
    lane_need(c, i);
    lane_store(c, i, lane_reg(c, i->reg)->b + 16 * (i->imm & 1), 16, false);
}
FAMILY_WIDE(vextractdq, vextractdq_y)
