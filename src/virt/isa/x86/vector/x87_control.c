/* x87_control.c - control and status words, the stack's shape, and the images of
 * FSTENV and FSAVE (SDM volume 1, 8.1.10, 8.3.11). */
#include "virt/isa/x86/vector/vector.h"
#include "virt/isa/x86/vector/x87.h"

#define CONTROL_BITS  0x1f3fu
#define CONTROL_FIXED 0x0040u /* reads as one */

static void fldcw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    union lane s = {0};

    x87_begin(c);
    lane_load(c, i, &s, 2);
    c->r.fpu.fcw = (s.w[0] & CONTROL_BITS) | CONTROL_FIXED;
    if (x87_is_live(c) && (s.w[0] & X87_FLAGS) == X87_FLAGS) {
        __asm__ volatile("fldcw %0" : : "m"(c->r.fpu.fcw));
        return;
    }
    x86_settle(c);
    x86_x87_summarise(c);
}

static void fnstcw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_x87_begin_control(c);
    lane_store(c, i, &c->r.fpu.fcw, 2, false);
}

static void fnstsw_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_x87_begin_control(c);
    lane_store(c, i, &c->r.fpu.fsw, 2, false);
}

static void fnstsw_ax_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_x87_begin_control(c);
    c->r.gpr[X86_RAX] = (c->r.gpr[X86_RAX] & ~(uint64_t)0xffff) | c->r.fpu.fsw;
}

static void fnclex_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_x87_begin_control(c);
    x86_settle(c);
    c->r.fpu.fsw &= (uint16_t) ~(X87_FLAGS | X87_SF | X87_ES | X87_BUSY);
}

static void fninit_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_x87_begin_control(c);
    x86_settle(c);
    x86_fpu_init(&c->r.fpu);
}

static void fwait_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    if (x87_is_live(c)) {
        return;
    }
    x86_need_fpu(c, true);
    if ((c->r.fpu.fsw & X87_ES) != 0 && (c->r.cr0 & X86_CR0_NE) != 0) {
        x86_raise(c, X86_MF);
    }
}

static void fnop_control_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_x87_begin_control(c);
}

static void fnop_f(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x87_begin(c);
    x87_mark(c);
}

static void fincstp_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x87_begin(c);
    (void)x87_note(c, i, 0, X87_C1);
    x87_turn(c, 1);
}

static void fdecstp_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x87_begin(c);
    (void)x87_note(c, i, 0, X87_C1);
    x87_turn(c, 7);
}

static void ffree_f(struct x86_cpu *c, const struct x86_insn *i)
{
    x87_begin(c);
    (void)x87_note(c, i, 0, X87_C1);
    x87_free(c, i->rm & 7);
}

static void ffreep_f(struct x86_cpu *c, const struct x86_insn *i)
{
    ffree_f(c, i);
    x87_pop(c);
}

FAMILY_ONE(fldcw, NULL, fldcw_f);
FAMILY_ONE(fnstcw, NULL, fnstcw_f);
FAMILY_ONE(fnstsw, NULL, fnstsw_f);
FAMILY_ONE(fnstsw_ax, fnstsw_ax_f, NULL);
FAMILY_ONE(fnclex, fnclex_f, NULL);
FAMILY_ONE(fninit, fninit_f, NULL);
FAMILY_ONE(fwait, fwait_f, NULL);
FAMILY_ONE(fnop_control, fnop_control_f, NULL);
FAMILY_ONE(fnop, fnop_f, NULL);
FAMILY_ONE(fincstp, fincstp_f, NULL);
FAMILY_ONE(fdecstp, fdecstp_f, NULL);
FAMILY_ONE(ffree, ffree_f, NULL);
FAMILY_ONE(ffreep, ffreep_f, NULL);

/* The full tag word: 0 valid, 1 zero, 2 special, 3 empty, of R7 down to R0. */
static unsigned tag_of(const struct x86_fpu *fpu, unsigned n)
{
    uint64_t mantissa;
    uint16_t exponent;

    if ((fpu->ftw >> n & 1) == 0) {
        return 3;
    }
    memcpy(&mantissa, fpu->st[n], 8);
    memcpy(&exponent, fpu->st[n] + 8, 2);
    exponent &= 0x7fff;
    if (exponent == 0 && mantissa == 0) {
        return 1;
    }
    return exponent == 0 || exponent == 0x7fff || mantissa >> 63 == 0 ? 2 : 0;
}

static uint16_t tag_word(const struct x86_fpu *fpu)
{
    unsigned tags = 0;

    for (unsigned n = 0; n < 8; n++) {
        tags |= tag_of(fpu, n) << (2 * n);
    }
    return (uint16_t)tags;
}

static void put16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

static unsigned get16(const uint8_t *at)
{
    return at[0] | (unsigned)at[1] << 8;
}

static bool is_short(const struct x86_insn *i)
{
    return i->size == X86_16;
}

static bool is_real(const struct x86_cpu *c)
{
    return !c->protected_mode || c->v86;
}

/* Seven words, or seven doublewords with ones in the upper halves (figures 8-9 to
 * 8-12): control, status, tags, instruction, its selector and opcode, data, selector.
 * Real modes hold linear addresses of 20 (32) bits in place of selectors. */
static unsigned make_environment(const struct x86_cpu *c, const struct x86_insn *i,
                                 uint8_t image[28])
{
    const struct x86_fpu *f = &c->r.fpu;
    uint32_t at = (uint32_t)f->fip, data = (uint32_t)f->fdp;
    unsigned step = is_short(i) ? 2 : 4;

    memset(image, step == 2 ? 0 : 0xff, 28);
    put16(image, f->fcw);
    put16(image + step, f->fsw);
    put16(image + 2 * step, tag_word(f));
    if (is_real(c)) {
        at += (uint32_t)f->fcs << 4;
        data += (uint32_t)f->fds << 4;
    }
    put16(image + 3 * step, at);
    put16(image + 5 * step, data);
    if (step == 2) {
        put16(image + 8, is_real(c) ? (at >> 4 & 0xf000) | f->fop : f->fcs);
        put16(image + 12, is_real(c) ? data >> 4 & 0xf000 : f->fds);
    } else if (is_real(c)) {
        put16(image + 14, 0);
        put16(image + 16, (at >> 4 & 0xf000) | f->fop);
        put16(image + 18, at >> 20);
        put16(image + 22, 0);
        put16(image + 24, data >> 4 & 0xf000);
        put16(image + 26, data >> 20);
    } else {
        put16(image + 14, at >> 16);
        put16(image + 16, f->fcs);
        put16(image + 18, f->fop);
        put16(image + 22, data >> 16);
        put16(image + 24, f->fds);
    }
    return 7 * step;
}

static void take_pointers(struct x86_cpu *c, const uint8_t *image, unsigned step)
{
    struct x86_fpu *f = &c->r.fpu;
    uint32_t at = get16(image + 3 * step), data = get16(image + 5 * step);

    f->fcs = 0;
    f->fds = 0;
    if (step == 2 && is_real(c)) {
        f->fop = get16(image + 8) & 0x7ff;
        at |= (get16(image + 8) & 0xf000) << 4;
        data |= (get16(image + 12) & 0xf000) << 4;
    } else if (step == 2) {
        f->fop = 0;
    } else if (is_real(c)) {
        f->fop = get16(image + 16) & 0x7ff;
        at |= (get16(image + 16) & 0xf000) << 4 | get16(image + 18) << 20;
        data |= (get16(image + 24) & 0xf000) << 4 | get16(image + 26) << 20;
    } else {
        f->fop = get16(image + 18) & 0x7ff;
        at |= get16(image + 14) << 16;
        data |= get16(image + 22) << 16;
    }
    f->fip = at;
    f->fdp = data;
}

static void take_environment(struct x86_cpu *c, const struct x86_insn *i,
                             const uint8_t image[28])
{
    struct x86_fpu *f = &c->r.fpu;
    unsigned step = is_short(i) ? 2 : 4;
    unsigned tags = get16(image + 2 * step);

    f->fcw = (uint16_t)((get16(image) & CONTROL_BITS) | CONTROL_FIXED);
    f->fsw = (uint16_t)get16(image + step);
    f->ftw = 0;
    for (unsigned n = 0; n < 8; n++) {
        if ((tags >> (2 * n) & 3) != 3) {
            f->ftw |= (uint8_t)(1u << n);
        }
    }
    take_pointers(c, image, step);
    x86_x87_summarise(c);
}

static void fnstenv_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t image[28];
    unsigned bytes;

    x86_x87_begin_control(c);
    bytes = make_environment(c, i, image);
    lane_store(c, i, image, bytes, false);
    x86_settle(c);
    c->r.fpu.fcw |= X87_FLAGS;
    x86_x87_summarise(c);
}

static void fldenv_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t image[28];

    x87_begin(c);
    x86_load_bytes(c, (enum x86_seg)i->segment, x86_ea(c, i), image,
                   is_short(i) ? 14 : 28);
    x86_settle(c);
    take_environment(c, i, image);
}

static void fnsave_f(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t image[28 + 80];
    unsigned bytes;

    x86_x87_begin_control(c);
    bytes = make_environment(c, i, image);
    for (unsigned n = 0; n < 8; n++) {
        memcpy(image + bytes + 10 * n, x87_st(c, n), 10);
    }
    lane_store(c, i, image, bytes + 80, false);
    x86_settle(c);
    x86_fpu_init(&c->r.fpu);
}

static void frstor_f(struct x86_cpu *c, const struct x86_insn *i)
{
    unsigned bytes = is_short(i) ? 14 : 28;
    uint8_t image[28 + 80];

    x87_begin(c);
    x86_load_bytes(c, (enum x86_seg)i->segment, x86_ea(c, i), image, bytes + 80);
    x86_settle(c);
    take_environment(c, i, image);
    for (unsigned n = 0; n < 8; n++) {
        memcpy(x87_st(c, n), image + bytes + 10 * n, 10);
    }
}

FAMILY_ONE(fnstenv, NULL, fnstenv_f);
FAMILY_ONE(fldenv, NULL, fldenv_f);
FAMILY_ONE(fnsave, NULL, fnsave_f);
FAMILY_ONE(frstor, NULL, frstor_f);
