/* flags.c - conditions of flags values, by as little as will do.
 *
 * If EFLAGS still hold the value, nothing is to be done.  Else the operation that made
 * it is done once more on operands that are still around: a comparison for what was
 * subtracted, a test for what only its result matters of. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/private.h"

/* RFLAGS places, Intel SDM volume 1, 3.4.3.1. */
#define F_C 0x001u
#define F_P 0x004u
#define F_Z 0x040u
#define F_S 0x080u
#define F_O 0x800u

static void store_image(struct emit *e, ir_value flags, struct asm_mem m);

/* Keeps something of other flags, which may be gone from the FLAGS global by then. */
static bool keeps(const struct ir_insn *f)
{
    uint32_t kept;

    (void)ir_flags_kept(f, &kept);
    return kept != 0;
}

static bool only_result_matters(enum ir_cond c)
{
    return c == IR_COND_Z || c == IR_COND_NZ || c == IR_COND_S || c == IR_COND_NS ||
           c == IR_COND_P || c == IR_COND_NP;
}

/* `cmp a, b` at the width of the flags. */
static void compare(struct emit *e, ir_value a, ir_value b, unsigned bits)
{
    enum host_reg ra = emit_use(e, a);
    int32_t imm;

    if (emit_imm32(e, b, bits, &imm)) {
        if (imm == 0) {
            asm_test(&e->o, bits, ra, ra);
        } else {
            asm_alu_imm(&e->o, ASM_CMP, bits, ra, imm);
        }
        return;
    }
    asm_alu(&e->o, ASM_CMP, bits, ra, emit_use(e, b));
}

/* test r32, imm32 */
static void test_bits(struct emit *e, enum host_reg r, uint32_t mask)
{
    asm_byte(&e->o, (uint8_t)(r >= 8 ? 0x41 : 0x40));
    asm_byte(&e->o, 0xf7);
    asm_byte(&e->o, (uint8_t)(0xc0 | (r & 7)));
    asm_word32(&e->o, mask);
}

/* The bits of an image of which one makes the condition true; 0: it is not so simple. */
static uint32_t mask_of(enum ir_cond c)
{
    static const uint32_t masks[IR_COND_COUNT / 2] = {F_O, F_C, F_Z, F_C | F_Z,
                                                      F_S, F_P, 0,   0};

    return masks[c / 2];
}

/* Bits of an image at home or in a value: [test] and a condition, or several steps. */
static unsigned condition_of_image(struct emit *e, struct asm_mem m, enum ir_cond c)
{
    uint32_t mask = mask_of(c);
    enum host_reg t = emit_temp(e);

    e->host_flags = 0;
    asm_load(&e->o, 32, t, m);
    if (mask != 0) {
        test_bits(e, t, mask);
        return (c & 1) != 0 ? IR_COND_Z : IR_COND_NZ;
    }
    /* SF xor OF to bit 7; for LE also ZF to bit 6, which then stands beside it. */
    {
        enum host_reg u = emit_temp(e);

        asm_mov(&e->o, 32, u, t);
        asm_shift_imm(&e->o, ASM_SHR, 32, u, 4);
        asm_alu(&e->o, ASM_XOR, 32, u, t);
        asm_alu_imm(&e->o, ASM_AND, 32, u, (int32_t)F_S);
        if (c / 2 == IR_COND_LE / 2) {
            asm_alu_imm(&e->o, ASM_AND, 32, t, (int32_t)F_Z);
            asm_alu(&e->o, ASM_OR, 32, u, t);
        } else {
            asm_test(&e->o, 32, u, u);
        }
        return (c & 1) != 0 ? IR_COND_Z : IR_COND_NZ;
    }
}

static void redo_with_carry(struct emit *e, const struct ir_insn *f, unsigned bits)
{
    enum host_reg c = emit_temp(e), t;

    asm_mov(&e->o, 32, c, emit_use(e, f->arg[2]));
    t = emit_temp(e);
    asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
    emit_use(e, f->arg[1]);
    asm_unary(&e->o, ASM_NEG, 8, c); /* carry: it was not 0 */
    asm_alu(&e->o, f->aux == IR_FLAGS_ADC ? ASM_ADC : ASM_SBB, bits, t,
            emit_use(e, f->arg[1]));
}

/* Does the operation again in a scratch register, so that EFLAGS are whole. */
static bool redo(struct emit *e, const struct ir_insn *f)
{
    unsigned bits = (unsigned)f->imm * 8;
    enum host_reg t;

    switch (f->aux) {
    case IR_FLAGS_SUB:
        compare(e, f->arg[0], f->arg[1], bits);
        return true;
    case IR_FLAGS_LOGIC:
        t = emit_use(e, f->arg[0]);
        asm_test(&e->o, bits, t, t);
        return true;
    case IR_FLAGS_ADD:
        t = emit_temp(e);
        asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
        asm_alu(&e->o, ASM_ADD, bits, t, emit_use(e, f->arg[1]));
        return true;
    case IR_FLAGS_ADC:
    case IR_FLAGS_SBB:
        redo_with_carry(e, f, bits);
        return true;
    case IR_FLAGS_ADD_R:
        t = emit_temp(e);
        asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
        asm_alu(&e->o, ASM_SUB, bits, t, emit_use(e, f->arg[1]));
        asm_alu(&e->o, ASM_ADD, bits, t, emit_use(e, f->arg[1]));
        return true;
    case IR_FLAGS_SUB_R:
        t = emit_temp(e);
        asm_lea(&e->o, 64, t,
                (struct asm_mem){.base = (uint8_t)emit_use(e, f->arg[0]),
                                 .index = (uint8_t)emit_use(e, f->arg[1])});
        asm_alu(&e->o, ASM_CMP, bits, t, emit_use(e, f->arg[1]));
        return true;
    case IR_FLAGS_SHL:
    case IR_FLAGS_SHR:
    case IR_FLAGS_SAR: {
        uint64_t n;

        if (!emit_is_const(e, f->arg[1], &n) || (n & (bits == 64 ? 63 : 31)) == 0) {
            return false;
        }
        t = emit_temp(e);
        asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
        asm_shift_imm(&e->o,
                      f->aux == IR_FLAGS_SHL   ? ASM_SHL
                      : f->aux == IR_FLAGS_SHR ? ASM_SHR
                                               : ASM_SAR,
                      bits, t, (uint8_t)(n & (bits == 64 ? 63 : 31)));
        return true;
    }
    case IR_FLAGS_MUL_S:
        if (bits == 8) {
            return false;
        }
        t = emit_temp(e);
        asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
        asm_imul(&e->o, bits, t, emit_use(e, f->arg[1]));
        return true;
    default:
        return false;
    }
}

bool emit_is_home(const struct emit *e, ir_value flags)
{
    return flags == e->home_flags ||
           (e->g->insn[flags].op == IR_GET && flags > e->home_since);
}

/* Of flags that keep some of others: by the one or the others; false: takes both. */
static bool condition_of_parts(struct emit *e, const struct ir_insn *f, enum ir_cond c,
                               unsigned *ret)
{
    enum host_reg r;

    if (c == IR_COND_C || c == IR_COND_NC) {
        r = emit_use(e, f->arg[0]);
        if (f->aux == IR_FLAGS_ROR_R) {
            asm_test(&e->o, (unsigned)f->imm * 8, r, r);
            *ret = c == IR_COND_C ? IR_COND_S : IR_COND_NS;
        } else {
            test_bits(e, r, 1);
            *ret = c == IR_COND_C ? IR_COND_NZ : IR_COND_Z;
        }
        return true;
    }
    if (only_result_matters(c) ||
        (f->aux == IR_FLAGS_CARRY && c != IR_COND_BE && c != IR_COND_A)) {
        *ret = emit_condition(e, f->arg[1], c);
        return true;
    }
    return false;
}

unsigned emit_condition(struct emit *e, ir_value flags, enum ir_cond c)
{
    const struct ir_insn *f = &e->g->insn[flags];
    unsigned bits = (unsigned)f->imm * 8;
    enum host_reg r;
    unsigned cond;

    if (e->host_flags == flags) {
        return c;
    }
    e->host_flags = 0; /* whatever follows changes EFLAGS */
    if (emit_is_home(e, flags) && (f->op == IR_GET || keeps(f))) {
        emit_make_whole(e);
        return condition_of_image(e, emit_field(e, offsetof(struct emit_frame, flags)),
                                  c);
    }
    if (f->op != IR_FLAGS) {
        e->error = -ENOTSUP;
        return 0;
    }
    switch (f->aux) {
    case IR_FLAGS_INC_R:
    case IR_FLAGS_DEC_R:
        if (c == IR_COND_C || c == IR_COND_NC) {
            return emit_condition(e, f->arg[1], c);
        }
        if (only_result_matters(c)) {
            r = emit_use(e, f->arg[0]);
            asm_test(&e->o, bits, r, r);
            return c;
        }
        if (c == IR_COND_BE || c == IR_COND_A) {
            break;
        }
        r = emit_temp(e);
        asm_mov(&e->o, 64, r, emit_use(e, f->arg[0]));
        asm_alu_imm(&e->o, f->aux == IR_FLAGS_INC_R ? ASM_SUB : ASM_ADD, bits, r, 1);
        asm_alu_imm(&e->o, f->aux == IR_FLAGS_INC_R ? ASM_ADD : ASM_SUB, bits, r, 1);
        return c;
    case IR_FLAGS_ADD_R:
    case IR_FLAGS_SUB_R:
        if (only_result_matters(c)) {
            r = emit_use(e, f->arg[0]);
            asm_test(&e->o, bits, r, r);
            return c;
        }
        break;
    case IR_FLAGS_RESULT:
        if (c / 2 == IR_COND_C / 2 || c / 2 == IR_COND_O / 2) {
            test_bits(e, emit_use(e, f->arg[1]), c / 2 == IR_COND_C / 2 ? 1 : 2);
            return (c & 1) != 0 ? IR_COND_Z : IR_COND_NZ;
        }
        if (only_result_matters(c) && c / 2 != IR_COND_P / 2) {
            r = emit_use(e, f->arg[0]);
            asm_test(&e->o, bits, r, r);
            return c;
        }
        break;
    case IR_FLAGS_BITS:
        if (mask_of(c) != 0) {
            test_bits(e, emit_use(e, f->arg[0]), mask_of(c));
            return (c & 1) != 0 ? IR_COND_Z : IR_COND_NZ;
        }
        break;
    case IR_FLAGS_CARRY:
    case IR_FLAGS_ROL_R:
    case IR_FLAGS_ROR_R:
        if (condition_of_parts(e, f, c, &cond)) {
            return cond;
        }
        break;
    default:
        break;
    }
    if (redo(e, f)) {
        e->host_flags = flags;
        return c;
    }
    store_image(e, flags, emit_field(e, offsetof(struct emit_frame, slow_value)));
    return condition_of_image(e, emit_field(e, offsetof(struct emit_frame, slow_value)),
                              c);
}

void emit_flags_pack(struct emit *e, uint32_t at, unsigned detail)
{
    ir_value flags = e->g->insn[at].arg[0];
    struct asm_mem image = emit_field(e, offsetof(struct emit_frame, flags));
    enum host_reg to;

    (void)detail;
    if (emit_is_home(e, flags)) {
        emit_make_whole(e);
    } else {
        image = emit_field(e, offsetof(struct emit_frame, slow_value));
        store_image(e, flags, image);
    }
    to = emit_define(e, at);
    asm_load(&e->o, 64, to, image);
    asm_alu_imm(&e->o, ASM_AND, 64, to, 0x8d5);
    e->host_flags = 0;
}

/* I1 values are made where they are used when they come from a condition or from a
 * comparison of this region; else they are bytes. */
unsigned emit_truth(struct emit *e, ir_value b)
{
    const struct ir_insn *i = &e->g->insn[b];
    const struct place *p = &e->place[emit_root(e, b)];
    bool unmade = p->reg == H_NONE && p->spill == NO_SPILL;
    static const uint8_t by_op[] = {
        [IR_EQ - IR_EQ] = IR_COND_Z,  [IR_NE - IR_EQ] = IR_COND_NZ,
        [IR_ULT - IR_EQ] = IR_COND_C, [IR_ULE - IR_EQ] = IR_COND_BE,
        [IR_SLT - IR_EQ] = IR_COND_L, [IR_SLE - IR_EQ] = IR_COND_LE};
    enum host_reg r;

    if (unmade && i->op == IR_COND) {
        return emit_condition(e, i->arg[0], i->aux);
    }
    if (unmade && i->op >= IR_EQ && i->op <= IR_SLE) {
        compare(e, i->arg[0], i->arg[1], emit_bits(e->g->insn[i->arg[0]].type));
        e->host_flags = 0;
        return by_op[i->op - IR_EQ];
    }
    r = emit_use(e, b);
    asm_test(&e->o, 8, r, r);
    e->host_flags = 0;
    return IR_COND_NZ;
}

static bool is_home(struct asm_mem m, const struct emit *e)
{
    return m.disp == emit_field(e, offsetof(struct emit_frame, flags)).disp;
}

void emit_push_flags(struct emit *e, struct asm_mem m)
{
    asm_push_flags(&e->o);
    asm_pop_mem(&e->o, m);
    if (is_home(m, e)) {
        emit_not_late(e);
    }
}

/* What is kept goes to `m` first; no register stays taken for it. */
static void store_kept(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    bool locked[EMIT_HOST_REGS];
    uint32_t kept;

    memcpy(locked, e->locked, sizeof locked);
    store_image(e, ir_flags_kept(f, &kept), m);
    memcpy(e->locked, locked, sizeof locked);
}

/* `bits` of `m` become those of `r`. */
static void replace_bits(struct emit *e, struct asm_mem m, uint32_t bits, enum host_reg r)
{
    asm_alu_store_imm(&e->o, ASM_AND, 32, m, (int32_t)~bits);
    asm_alu_store(&e->o, ASM_OR, 32, m, r);
}

static void redo_carry(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    enum host_reg t;

    store_kept(e, f, m);
    t = emit_temp(e);
    asm_mov(&e->o, 32, t, emit_use(e, f->arg[0]));
    asm_alu_imm(&e->o, ASM_AND, 32, t, (int32_t)F_C);
    replace_bits(e, m, F_C, t);
}

/* Turned back by one and once more. */
static void redo_rotate(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    bool left = f->aux == IR_FLAGS_ROL_R || f->aux == IR_FLAGS_ROL_N;
    bool counts = f->aux == IR_FLAGS_ROL_N || f->aux == IR_FLAGS_ROR_N;
    unsigned bits = (unsigned)f->imm * 8;
    uint8_t *nothing = NULL;
    enum host_reg t, u;

    store_kept(e, f, m);
    t = emit_temp(e);
    u = emit_temp(e);
    asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
    if (counts) {
        test_bits(e, emit_use(e, f->arg[1]), bits == 64 ? 63 : 31);
        nothing = asm_jcc(&e->o, IR_COND_Z);
    }
    asm_shift_imm(&e->o, left ? ASM_ROR : ASM_ROL, bits, t, 1);
    asm_shift_imm(&e->o, left ? ASM_ROL : ASM_ROR, bits, t, 1);
    asm_setcc(&e->o, IR_COND_O, t);
    asm_setcc(&e->o, IR_COND_C, u);
    asm_movzx(&e->o, 8, t, t);
    asm_movzx(&e->o, 8, u, u);
    asm_shift_imm(&e->o, ASM_SHL, 32, t, 11);
    asm_alu(&e->o, ASM_OR, 32, t, u);
    replace_bits(e, m, F_C | F_O, t);
    if (counts) {
        asm_bind(&e->o, nothing, e->o.at);
    }
}

/* By a count that is not known: 0 keeps all. */
static void redo_shift(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    unsigned bits = (unsigned)f->imm * 8;
    enum host_reg count, t;
    uint8_t *nothing;

    store_kept(e, f, m);
    e->locked[H_RCX] = true;
    t = emit_temp(e);
    asm_mov(&e->o, 64, t, emit_use(e, f->arg[0]));
    count = emit_use(e, f->arg[1]);
    test_bits(e, count, bits == 64 ? 63 : 31);
    nothing = asm_jcc(&e->o, IR_COND_Z);
    if (count != H_RCX) {
        asm_push(&e->o, H_RCX);
        asm_mov(&e->o, 32, H_RCX, count);
    }
    asm_shift_cl(&e->o,
                 f->aux == IR_FLAGS_SHL   ? ASM_SHL
                 : f->aux == IR_FLAGS_SHR ? ASM_SHR
                                          : ASM_SAR,
                 bits, t);
    if (count != H_RCX) {
        asm_pop(&e->o, H_RCX);
    }
    emit_push_flags(e, m);
    asm_bind(&e->o, nothing, e->o.at);
}

static void redo_result(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    enum host_reg r = emit_use(e, f->arg[0]), t = emit_temp(e), u = emit_temp(e);

    asm_mov(&e->o, 32, t, emit_use(e, f->arg[1]));
    asm_test(&e->o, (unsigned)f->imm * 8, r, r);
    emit_push_flags(e, m);
    asm_mov(&e->o, 32, u, t);
    asm_alu_imm(&e->o, ASM_AND, 32, u, 4); /* the place of P */
    asm_unary(&e->o, ASM_NOT, 32, u);
    asm_alu_store(&e->o, ASM_AND, 32, m, u);
    asm_mov(&e->o, 32, u, t);
    asm_alu_imm(&e->o, ASM_AND, 32, t, 1);
    asm_alu_imm(&e->o, ASM_AND, 32, u, 2);
    asm_shift_imm(&e->o, ASM_SHL, 32, u, 10);
    asm_alu(&e->o, ASM_OR, 32, t, u);
    asm_alu_store(&e->o, ASM_OR, 32, m, t);
}

/* Flags that keep some of others, or are made of parts; false: they are not. */
static bool redo_parts(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    if (f->aux == IR_FLAGS_RESULT) {
        redo_result(e, f, m);
        e->host_flags = 0;
        return true;
    }
    if (!keeps(f) || f->aux == IR_FLAGS_INC_R || f->aux == IR_FLAGS_DEC_R) {
        return false;
    }
    if (f->aux == IR_FLAGS_CARRY) {
        redo_carry(e, f, m);
    } else if (f->aux >= IR_FLAGS_ROL_R) {
        redo_rotate(e, f, m);
    } else {
        redo_shift(e, f, m);
    }
    e->host_flags = 0;
    return true;
}

/* INC and DEC keep the carry: it is taken from the image of the flags before. */
static void redo_step(struct emit *e, const struct ir_insn *f, struct asm_mem m)
{
    bool dec = f->aux == IR_FLAGS_DEC_R;
    unsigned bits = (unsigned)f->imm * 8;
    enum host_reg r;

    store_kept(e, f, m);
    r = emit_temp(e);
    asm_mov(&e->o, 64, r, emit_use(e, f->arg[0]));
    asm_alu_imm(&e->o, dec ? ASM_ADD : ASM_SUB, bits, r, 1);
    /* bt gs:[m], 0 */
    asm_byte(&e->o, 0x65);
    asm_byte(&e->o, 0x0f);
    asm_byte(&e->o, 0xba);
    asm_byte(&e->o, 0x24);
    asm_byte(&e->o, 0x25);
    asm_word32(&e->o, (uint32_t)m.disp);
    asm_byte(&e->o, 0);
    asm_step(&e->o, dec, bits, r);
}

/* An RFLAGS image of the value; its arithmetic bits count. */
static void store_image(struct emit *e, ir_value flags, struct asm_mem m)
{
    const struct ir_insn *f = &e->g->insn[flags];

    if (emit_is_home(e, flags)) {
        struct asm_mem home = emit_field(e, offsetof(struct emit_frame, flags));
        enum host_reg t;

        emit_make_whole(e);
        if (m.disp != home.disp) {
            t = emit_temp(e);
            asm_load(&e->o, 64, t, home);
            asm_store(&e->o, 64, m, t);
        }
        return;
    }
    if (f->op != IR_FLAGS) {
        e->error = -ENOTSUP;
        return;
    }
    if (f->aux == IR_FLAGS_BITS && e->host_flags != flags) {
        asm_store(&e->o, 64, m, emit_use(e, f->arg[0]));
        if (is_home(m, e)) {
            emit_not_late(e);
        }
        return;
    }
    if (e->host_flags != flags && redo_parts(e, f, m)) {
        return;
    }
    if (f->aux == IR_FLAGS_INC_R || f->aux == IR_FLAGS_DEC_R) {
        redo_step(e, f, m);
    } else if (e->host_flags != flags && !redo(e, f)) {
        e->error = -ENOTSUP;
        return;
    }
    e->host_flags = flags;
    emit_push_flags(e, m);
}

/* As what it is made from: its operands, in registers or constants. */
static void store_late(struct emit *e, ir_value flags)
{
    const struct ir_insn *f = &e->g->insn[flags];
    struct emit_pend p = {.flags_kind = f->aux, .flags_bytes = (uint8_t)f->imm};
    struct emit_loc *to[2] = {&p.a, &p.b};
    uint64_t c;
    unsigned n;

    for (n = 0; n < (f->aux == IR_FLAGS_LOGIC ? 1 : 2); n++) {
        if (!emit_is_const(e, f->arg[n], &c)) {
            (void)emit_use(e, f->arg[n]);
        }
        *to[n] = emit_locate(e, f->arg[n]);
    }
    emit_late_flags(e, &p, emit_temp(e));
}

void emit_flags_home(struct emit *e, ir_value flags)
{
    const struct ir_insn *f = &e->g->insn[flags];

    if (emit_is_home(e, flags)) {
        return;
    }
    if (f->op == IR_FLAGS && emit_can_be_late(f->aux)) {
        store_late(e, flags);
        e->home_whole = false;
        e->home_flags = flags;
        e->home_since = e->now;
        return;
    }
    store_image(e, flags, emit_field(e, offsetof(struct emit_frame, flags)));
    e->home_flags = flags;
    e->home_since = e->now;
}
