/* text.c - the string comparisons of SSE4.2: PCMPESTRI/M, PCMPISTRI/M.
 *
 * Two strings of 8 or 16 elements are compared, every element with every other, and
 * the matrix is folded into one bit for each element of the second (SDM volume 1,
 * 4.1 and figure 4-1 of volume 2; the immediate's fields: volume 2, 4.1):
 *
 *   bit 0  words, else bytes       bit 1  signed
 *   2-3    0 equal any, 1 ranges, 2 equal each, 3 equal ordered
 *   4-5    polarity: 1 inverts, 3 inverts valid elements only
 *   6      the index of the last match, or masks by elements, not bits
 *
 * Elements behind a string's end are invalid; what a comparison with them gives is
 * table 4-7 of volume 2. */
#include "virt/isa/x86/vector/simd.h"

struct string {
    int element[16];
    unsigned length; /* valid elements */
};

static void read_string(struct string *s, const union lane *v, uint8_t imm)
{
    unsigned count = (imm & 1) != 0 ? 8 : 16;

    for (unsigned n = 0; n < count; n++) {
        switch (imm & 3) {
        case 0:
            s->element[n] = v->b[n];
            break;
        case 1:
            s->element[n] = v->w[n];
            break;
        case 2:
            s->element[n] = v->sb[n];
            break;
        default:
            s->element[n] = v->sw[n];
            break;
        }
    }
}

static unsigned implicit_length(const struct string *s, unsigned count)
{
    unsigned n = 0;

    while (n < count && s->element[n] != 0) {
        n++;
    }
    return n;
}

/* The length in rAX or rDX: its magnitude, at most `count`. */
static unsigned explicit_length(uint64_t reg, bool wide, unsigned count)
{
    int64_t v = wide ? (int64_t)reg : (int32_t)reg;
    uint64_t length = v < 0 ? -(uint64_t)v : (uint64_t)v;

    return length > count ? count : (unsigned)length;
}

/* Whether element `j` of b matches, by the aggregation. */
static bool equal_any(const struct string *a, const struct string *b, unsigned j)
{
    for (unsigned i = 0; j < b->length && i < a->length; i++) {
        if (a->element[i] == b->element[j]) {
            return true;
        }
    }
    return false;
}

static bool in_ranges(const struct string *a, const struct string *b, unsigned j)
{
    for (unsigned i = 0; j < b->length && i + 1 < a->length; i += 2) {
        if (b->element[j] >= a->element[i] && b->element[j] <= a->element[i + 1]) {
            return true;
        }
    }
    return false;
}

static bool equal_each(const struct string *a, const struct string *b, unsigned j)
{
    if (j >= a->length || j >= b->length) {
        return j >= a->length && j >= b->length;
    }
    return a->element[j] == b->element[j];
}

static bool equal_ordered(const struct string *a, const struct string *b, unsigned j,
                          unsigned count)
{
    for (unsigned i = 0; i < a->length && j + i < count; i++) {
        if (j + i >= b->length || a->element[i] != b->element[j + i]) {
            return false;
        }
    }
    return true;
}

static uint32_t aggregate(const struct string *a, const struct string *b, unsigned count,
                          uint8_t imm)
{
    uint32_t bits = 0;

    for (unsigned j = 0; j < count; j++) {
        bool match;

        switch (imm >> 2 & 3) {
        case 0:
            match = equal_any(a, b, j);
            break;
        case 1:
            match = in_ranges(a, b, j);
            break;
        case 2:
            match = equal_each(a, b, j);
            break;
        default:
            match = equal_ordered(a, b, j, count);
            break;
        }
        if ((imm & 0x10) != 0 && ((imm & 0x20) == 0 || j < b->length)) {
            match = !match;
        }
        bits |= (uint32_t)match << j;
    }
    return bits;
}

static void put_index(struct x86_cpu *c, uint32_t bits, unsigned count, uint8_t imm)
{
    unsigned index = count;

    if (bits != 0) {
        index = (unsigned)((imm & 0x40) != 0 ? 31 - __builtin_clz(bits)
                                             : __builtin_ctz(bits));
    }
    c->r.gpr[X86_RCX] = index;
}

static void put_mask(struct x86_cpu *c, const struct x86_insn *i, uint32_t bits,
                     unsigned count)
{
    union lane t = {0};
    unsigned width = 16 / count;

    if ((i->imm & 0x40) == 0) {
        t.d[0] = bits;
    } else {
        for (unsigned n = 0; n < count; n++) {
            memset(t.b + n * width, (bits >> n & 1) != 0 ? 0xff : 0, width);
        }
    }
    lane_put_to(c, i, 0, &t, 16);
}

/* `is_explicit`: lengths in rAX and rDX, `wide` ones; `wants_mask`: the result goes to XMM0. */
static void compare(struct x86_cpu *c, const struct x86_insn *i, bool is_explicit,
                    bool wide, bool wants_mask)
{
    uint8_t imm = (uint8_t)i->imm;
    unsigned count = (imm & 1) != 0 ? 8 : 16;
    struct string a, b;
    union lane s;
    uint32_t bits;

    lane_need(c, i);
    if (i->is_memory) {
        lane_load_as(c, i, &s, 16, false);
    } else {
        s = *lane_reg(c, i->rm);
    }
    read_string(&a, lane_reg(c, i->reg), imm);
    read_string(&b, &s, imm);
    a.length = is_explicit ? explicit_length(c->r.gpr[X86_RAX], wide, count)
                           : implicit_length(&a, count);
    b.length = is_explicit ? explicit_length(c->r.gpr[X86_RDX], wide, count)
                           : implicit_length(&b, count);
    bits = aggregate(&a, &b, count, imm);
    if (wants_mask) {
        put_mask(c, i, bits, count);
    } else {
        put_index(c, bits, count, imm);
    }
    x86_flags_set(c, (bits != 0 ? X86_CF : 0) | (b.length < count ? X86_ZF : 0) |
                         (a.length < count ? X86_SF : 0) |
                         ((bits & 1) != 0 ? X86_OF_BIT : 0));
}

#define TEXT(routine, is_explicit, wide, wants_mask)                                     \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        compare(c, i, is_explicit, wide, wants_mask);                                    \
    }                                                                                    \
    FAMILY_ONE(routine, routine##_f, routine##_f);

TEXT(pcmpestri, true, false, false)
TEXT(pcmpestri_q, true, i->mode == X86_CODE64, false)
TEXT(pcmpestrm, true, false, true)
TEXT(pcmpestrm_q, true, i->mode == X86_CODE64, true)
TEXT(pcmpistri, false, false, false)
TEXT(pcmpistrm, false, false, true)
