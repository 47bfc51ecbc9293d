/* code.c - host code of each operation but memory, flags and ways out.
 *
 * One row of `forms` for each operation: the function that writes it, and what the
 * function has to know. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/native.h"
#include "virt/isa/ir/private.h"

struct form {
    void (*write)(struct emit *e, uint32_t at, unsigned detail);
    unsigned detail;
};

static unsigned width(const struct emit *e, uint32_t at)
{
    return emit_bits(e->g->insn[at].type);
}

/* Operations of 8 and 16 bits are done in 32: what is above the width does not matter,
 * unless a comparison or a shift to the right looks at it. */
static unsigned wide(const struct emit *e, uint32_t at)
{
    unsigned bits = width(e, at);

    return bits < 32 ? 32 : bits;
}

static void touch_flags(struct emit *e)
{
    e->host_flags = 0;
}

/* If the flags of this very operation follow, EFLAGS will hold them: its index. */
static uint32_t flags_behind(const struct emit *e, uint32_t at, enum ir_flags_kind kind,
                             bool of_result)
{
    const struct ir_insn *i = &e->g->insn[at];
    uint32_t n, end = e->g->block[e->block].end;

    for (n = at + 1; n < end && n <= at + 4; n++) {
        const struct ir_insn *f = &e->g->insn[n];

        if (f->op == IR_FLAGS && e->place[n].last_use != 0 && f->aux == kind &&
            f->imm * 8 == width(e, at) && f->arg[0] == (of_result ? at : i->arg[0]) &&
            (kind == IR_FLAGS_LOGIC || kind == IR_FLAGS_INC_R || kind == IR_FLAGS_DEC_R ||
             f->arg[1] == i->arg[1])) {
            return n;
        }
    }
    return 0;
}

static bool is_commutative(unsigned op)
{
    return op == IR_ADD || op == IR_AND || op == IR_OR || op == IR_XOR || op == IR_MUL;
}

/* Operands in the order in which the result can take the first one's register. */
static void order_operands(struct emit *e, uint32_t at, ir_value *a, ir_value *b)
{
    const struct ir_insn *i = &e->g->insn[at];
    uint64_t c;

    *a = i->arg[0];
    *b = i->arg[1];
    if (is_commutative(i->op) &&
        (emit_is_const(e, *a, &c) ||
         (!emit_dies(e, *a) && emit_dies(e, *b) && !emit_is_const(e, *b, &c)))) {
        *a = i->arg[1];
        *b = i->arg[0];
    }
}

static enum ir_flags_kind kind_of(unsigned op)
{
    return op == IR_ADD ? IR_FLAGS_ADD_R : op == IR_SUB ? IR_FLAGS_SUB_R : IR_FLAGS_LOGIC;
}

/* An addition whose flags nobody wants, into another register: LEA. */
static bool add_by_lea(struct emit *e, uint32_t at, ir_value a, ir_value b)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg ra, rb, to;
    int32_t imm;

    if (i->op != IR_ADD || width(e, at) < 32 || emit_dies(e, a)) {
        return false;
    }
    ra = emit_use(e, a);
    if (emit_imm32(e, b, width(e, at), &imm)) {
        to = emit_define(e, at);
        asm_lea(&e->o, width(e, at), to, asm_at(ra, imm));
        return true;
    }
    rb = emit_use(e, b);
    to = emit_define(e, at);
    asm_lea(&e->o, width(e, at), to,
            (struct asm_mem){.base = (uint8_t)ra, .index = (uint8_t)rb});
    return true;
}

static void write_alu(struct emit *e, uint32_t at, unsigned op)
{
    const struct ir_insn *i = &e->g->insn[at];
    uint32_t flags = flags_behind(e, at, kind_of(i->op), true);
    unsigned bits = flags != 0 ? width(e, at) : wide(e, at);
    enum host_reg to, rb = H_NONE;
    ir_value a, b;
    int32_t imm;

    order_operands(e, at, &a, &b);
    if (flags == 0 && add_by_lea(e, at, a, b)) {
        return;
    }
    if (!emit_imm32(e, b, bits, &imm)) {
        rb = emit_use(e, b);
    }
    to = emit_define_from(e, at, a);
    if (rb == H_NONE) {
        asm_alu_imm(&e->o, op, bits, to, imm);
    } else {
        asm_alu(&e->o, op, bits, to, rb);
    }
    e->host_flags = flags;
}

static void write_mul(struct emit *e, uint32_t at, unsigned detail)
{
    enum host_reg to, rb;
    ir_value a, b;

    (void)detail;
    order_operands(e, at, &a, &b);
    rb = emit_use(e, b);
    to = emit_define_from(e, at, a);
    asm_imul(&e->o, wide(e, at), to, rb);
    touch_flags(e);
}

static void write_unary(struct emit *e, uint32_t at, unsigned op)
{
    enum host_reg to = emit_define_from(e, at, e->g->insn[at].arg[0]);

    asm_unary(&e->o, op, wide(e, at), to);
    if (op == ASM_NEG) {
        touch_flags(e);
    }
}

/* Brings the value's upper bits in order for an operation that looks at them. */
static void extend(struct emit *e, enum host_reg r, unsigned bits, bool sign)
{
    if (bits < 32) {
        if (sign) {
            asm_movsx(&e->o, 32, bits, r, r);
        } else {
            asm_movzx(&e->o, bits, r, r);
        }
    }
}

static void write_shift_imm(struct emit *e, uint32_t at, unsigned op, uint64_t n)
{
    unsigned bits = width(e, at);
    enum host_reg to = emit_define_from(e, at, e->g->insn[at].arg[0]);

    n %= bits;
    if (op == ASM_ROL || op == ASM_ROR) {
        asm_shift_imm(&e->o, op, bits, to, (uint8_t)n);
    } else {
        if (op != ASM_SHL) {
            extend(e, to, bits, op == ASM_SAR);
        }
        asm_shift_imm(&e->o, op, wide(e, at), to, (uint8_t)n);
    }
    touch_flags(e);
}

/* By a count in a register: SHLX, SHRX, SARX of BMI2; they take it modulo 32 or 64. */
static void write_shift_reg(struct emit *e, uint32_t at, unsigned op)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned bits = width(e, at);
    enum host_reg count = emit_use(e, i->arg[1]), n = count, to;
    struct asm_vex x = {.op = 0xf7, .bits = wide(e, at)};

    if (bits < 32) {
        n = emit_temp(e);
        asm_mov(&e->o, 32, n, count);
        asm_alu_imm(&e->o, ASM_AND, 32, n, (int32_t)bits - 1);
    }
    to = emit_define_from(e, at, i->arg[0]);
    if (op != ASM_SHL) {
        extend(e, to, bits, op == ASM_SAR);
    }
    x.pp = op == ASM_SHL ? 1 : op == ASM_SHR ? 3 : 2;
    asm_vex38(&e->o, x, to, n, to);
    touch_flags(e);
}

/* ROL and ROR want their count in CL, which may be pinned: it is exchanged for a while. */
static void write_rotate_reg(struct emit *e, uint32_t at, unsigned op)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg count = emit_use(e, i->arg[1]), to, v;

    e->locked[H_RCX] = true; /* it may be free, but not for the result */
    to = emit_temp(e);
    asm_mov(&e->o, 64, to, emit_use(e, i->arg[0]));
    if (count != H_RCX) {
        asm_push(&e->o, H_RCX);
        asm_mov(&e->o, 32, H_RCX, count);
    }
    asm_shift_cl(&e->o, op, width(e, at), to);
    if (count != H_RCX) {
        asm_pop(&e->o, H_RCX);
    }
    touch_flags(e);
    v = emit_define(e, at);
    asm_mov(&e->o, 64, v, to);
}

static void write_shift(struct emit *e, uint32_t at, unsigned op)
{
    uint64_t n;

    if (emit_is_const(e, e->g->insn[at].arg[1], &n)) {
        write_shift_imm(e, at, op, n);
    } else if (op == ASM_ROL || op == ASM_ROR) {
        write_rotate_reg(e, at, op);
    } else {
        write_shift_reg(e, at, op);
    }
}

static void write_double_shift(struct emit *e, uint32_t at, unsigned left)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg to, rb;
    uint64_t n;

    if (!emit_is_const(e, i->arg[2], &n) || width(e, at) < 32) {
        e->error = -ENOTSUP;
        return;
    }
    rb = emit_use(e, i->arg[1]);
    to = emit_define_from(e, at, i->arg[0]);
    asm_shd(&e->o, left != 0, width(e, at), to, rb, (uint8_t)(n % width(e, at)));
    touch_flags(e);
}

static void write_zext(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum ir_type from = e->g->insn[i->arg[0]].type;
    enum host_reg a, to;

    (void)detail;
    if (from == IR_I1) {
        unsigned cond = emit_truth(e, i->arg[0]);

        to = emit_temp(e); /* first: a `mov` of zero must not come behind */
        asm_setcc(&e->o, cond, to);
        a = emit_define(e, at);
        asm_movzx(&e->o, 8, a, to);
        return;
    }
    if (from == IR_I32 && e->place[emit_root(e, i->arg[0])].clean) {
        emit_alias(e, at, i->arg[0]);
        return;
    }
    a = emit_use(e, i->arg[0]);
    to = emit_define(e, at);
    asm_movzx(&e->o, emit_bits(from), to, a);
    e->place[at].clean = true;
}

static void write_sext(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg a = emit_use(e, i->arg[0]);
    enum host_reg to = emit_define(e, at);

    (void)detail;
    asm_movsx(&e->o, wide(e, at), emit_bits(e->g->insn[i->arg[0]].type), to, a);
}

static void write_trunc(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    emit_alias(e, at, e->g->insn[at].arg[0]);
}

static void write_extract(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg a, to;

    (void)detail;
    if (i->imm == 0) {
        emit_alias(e, at, i->arg[0]);
        return;
    }
    a = emit_use(e, i->arg[0]);
    to = emit_define(e, at);
    if (to != a) {
        asm_mov(&e->o, 64, to, a);
    }
    asm_shift_imm(&e->o, ASM_SHR, 64, to, (uint8_t)i->imm);
    touch_flags(e);
}

/* Any other part than a low or second byte or word: by a mask. */
static void deposit_masked(struct emit *e, uint32_t at, unsigned part)
{
    const struct ir_insn *i = &e->g->insn[at];
    uint64_t mask = (UINT64_C(1) << part) - 1;
    enum host_reg t = emit_temp(e), m = emit_temp(e), to;

    asm_mov(&e->o, 64, t, emit_use(e, i->arg[1]));
    asm_mov_imm(&e->o, m, mask);
    asm_alu(&e->o, ASM_AND, 64, t, m);
    asm_shift_imm(&e->o, ASM_SHL, 64, t, (uint8_t)i->imm);
    asm_mov_imm(&e->o, m, ~(mask << i->imm));
    to = emit_define_from(e, at, i->arg[0]);
    asm_alu(&e->o, ASM_AND, 64, to, m);
    asm_alu(&e->o, ASM_OR, 64, to, t);
    touch_flags(e);
}

/* A low part: one move of that width, which keeps the rest.  Bits 8..15: rotated there
 * and back. */
static void write_deposit(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum ir_type part = e->g->insn[i->arg[1]].type;
    enum host_reg b, to;

    (void)detail;
    if ((part != IR_I8 && part != IR_I16) || (i->imm != 0 && i->type != IR_I64)) {
        deposit_masked(e, at, part == IR_I1 ? 1 : emit_bits(part) & 63);
        return;
    }
    b = emit_use(e, i->arg[1]);
    if (i->imm != 0 && emit_root(e, i->arg[0]) == emit_root(e, i->arg[1])) {
        to = emit_temp(e); /* turning the one must not turn the other */
        asm_mov(&e->o, 64, to, b);
        b = to;
    }
    to = emit_define_from(e, at, i->arg[0]);
    if (i->imm != 0) {
        asm_shift_imm(&e->o, ASM_ROR, 64, to, (uint8_t)i->imm);
    }
    asm_mov(&e->o, emit_bits(part), to, b);
    if (i->imm != 0) {
        asm_shift_imm(&e->o, ASM_ROL, 64, to, (uint8_t)i->imm);
        touch_flags(e);
    }
}

static void write_select(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg yes = emit_use(e, i->arg[1]), to;
    unsigned cond;

    (void)detail;
    /* The moves before the condition must not need EFLAGS afterwards. */
    emit_use(e, i->arg[2]);
    cond = emit_truth(e, i->arg[0]);
    to = emit_define_from(e, at, i->arg[2]);
    asm_cmov(&e->o, cond, wide(e, at), to, yes);
}

static void write_two_byte(struct emit *e, uint32_t at, unsigned opcode)
{
    enum host_reg a = emit_use(e, e->g->insn[at].arg[0]);
    enum host_reg to;

    if (width(e, at) < 32) {
        enum host_reg t = emit_temp(e);

        asm_movzx(&e->o, width(e, at), t, a);
        if (opcode == 0xbc) { /* tzcnt of 0 gives the width */
            asm_alu_imm(&e->o, ASM_OR, 32, t, (int32_t)(1u << width(e, at)));
        }
        a = t;
    }
    to = emit_define(e, at);
    asm_0f(&e->o, 0xf3, (uint8_t)opcode, wide(e, at), to, a);
    if (opcode == 0xbd && width(e, at) < 32) { /* lzcnt of 32 counted too many */
        asm_alu_imm(&e->o, ASM_SUB, 32, to, 32 - (int32_t)width(e, at));
    }
    touch_flags(e);
}

static void write_bswap(struct emit *e, uint32_t at, unsigned detail)
{
    enum host_reg to = emit_define_from(e, at, e->g->insn[at].arg[0]);

    (void)detail;
    if (width(e, at) == 16) {
        asm_shift_imm(&e->o, ASM_ROL, 16, to, 8);
        touch_flags(e);
        return;
    }
    asm_bswap(&e->o, width(e, at), to);
}

/* ANDN, PDEP, PEXT: three operands. */
static void write_vex(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg a = emit_use(e, i->arg[0]), b = emit_use(e, i->arg[1]);
    enum host_reg to;

    if (width(e, at) < 32) {
        e->error = -ENOTSUP;
        return;
    }
    to = emit_define(e, at);
    asm_vex38(&e->o,
              (struct asm_vex){.pp = (uint8_t)(detail >> 8),
                               .op = (uint8_t)detail,
                               .bits = width(e, at)},
              to, a, b);
    if (i->op == IR_ANDN) {
        touch_flags(e);
    }
}

/* The high half of a product: MULX for unsigned would do; both by MUL and IMUL with RAX
 * and RDX kept on the host's stack. */
static void write_mulh(struct emit *e, uint32_t at, unsigned op)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg a = emit_use(e, i->arg[0]), b = emit_use(e, i->arg[1]);
    enum host_reg t, u, to;

    if (width(e, at) < 32) {
        e->error = -ENOTSUP;
        return;
    }
    e->locked[H_RAX] = e->locked[H_RDX] = true; /* not for what is kept in between */
    t = emit_temp(e);
    u = emit_temp(e);
    asm_mov(&e->o, 64, t, b);
    asm_mov(&e->o, 64, u, a);
    asm_push(&e->o, H_RAX);
    asm_push(&e->o, H_RDX);
    asm_mov(&e->o, 64, H_RAX, u);
    asm_unary(&e->o, op, width(e, at), t);
    asm_mov(&e->o, 64, t, H_RDX);
    asm_pop(&e->o, H_RDX);
    asm_pop(&e->o, H_RAX);
    touch_flags(e);
    to = emit_define(e, at);
    asm_mov(&e->o, 64, to, t);
}

static void write_get(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg home;

    (void)detail;
    if (i->type == IR_FLAGS_TYPE) {
        return;
    }
    home = emit_home(e, (uint16_t)i->imm);
    if (home == H_NONE) {
        enum host_reg to = emit_define(e, at);

        asm_load(&e->o, emit_bits(i->type), to, emit_global(e, (uint16_t)i->imm));
    } else if (e->owner[home] != 0) {
        emit_alias(e, at, e->owner[home]);
    } else {
        emit_own(e, home, at);
        e->place[at].reg = (uint8_t)home;
    }
}

static void write_set(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned bits = emit_bits(e->env->global[i->imm].type);
    int32_t imm;

    (void)detail;
    if (e->env->global[i->imm].type == IR_FLAGS_TYPE) {
        emit_flags_home(e, i->arg[0]);
    } else if (emit_home(e, (uint16_t)i->imm) != H_NONE) {
        emit_set_home(e, (uint16_t)i->imm, i->arg[0]);
    } else if (emit_imm32(e, i->arg[0], bits, &imm)) {
        asm_store_imm(&e->o, bits, emit_global(e, (uint16_t)i->imm), imm);
    } else {
        asm_store(&e->o, bits, emit_global(e, (uint16_t)i->imm), emit_use(e, i->arg[0]));
    }
}

/* The row's own routine, on guest state that is whole. */
static void write_routine(struct emit *e, uint32_t at, unsigned detail)
{
    uint32_t site = emit_site_at(e, at);

    (void)detail;
    emit_release_homes(e);
    emit_store_site(e, site);
    asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, routine_thunk)));
    touch_flags(e);
    e->home_flags = 0;
    e->home_since = at;
    e->noted_uppers = false;
}

static void write_exit_if(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned cond = emit_truth(e, i->arg[0]);
    struct cold s = {.kind = COLD_EXIT, .at = at};

    (void)detail;
    s.site = emit_site_at(e, at);
    s.from = asm_jcc(&e->o, cond);
    s.resume = e->o.at;
    emit_cold(e, &s);
}

/* At the head of a region: somebody waits?  Counted: the instructions of the region are
 * taken from the budget beforehand; who leaves in the middle gives the rest back.
 * Behind a routine (imm 0): did it ask to leave? */
static void write_budget(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    struct cold s = {.kind = COLD_WANTS, .at = at};

    (void)detail;
    if (i->imm != 0 && i->aux != 0) {
        asm_alu_store_imm(&e->o, ASM_SUB, 64, asm_gs(e->env->budget), (int32_t)i->imm);
        e->counted = (uint32_t)i->imm;
        s.site = emit_site_at(e, at);
        s.from = asm_jcc(&e->o, IR_COND_C);
        emit_cold(e, &s);
    } else {
        s.site = emit_site_at(e, at);
    }
    asm_alu_store_imm(&e->o, ASM_CMP, 32,
                      asm_gs(i->imm != 0 ? e->env->wants : e->env->local), 0);
    s.from = asm_jcc(&e->o, IR_COND_NZ);
    emit_cold(e, &s);
    if (i->imm != 0 && e->counter != 0) {
        asm_alu_store_imm(&e->o, ASM_SUB, 32, asm_gs(e->counter), 1);
        s.kind = COLD_HOT;
        s.from = asm_jcc(&e->o, IR_COND_C);
        emit_cold(e, &s);
    }
    touch_flags(e);
}

/* Leaves for good: nothing behind it needs what is pending. */
static void write_trap_if(struct emit *e, uint32_t at, unsigned detail)
{
    struct cold s = {.kind = COLD_TRAP, .at = at};
    unsigned cond = emit_truth(e, e->g->insn[at].arg[0]);

    (void)detail;
    s.site = emit_site_at(e, at);
    s.from = asm_jcc(&e->o, cond);
    emit_cold(e, &s);
}

/* Made where they are used: see `emit_truth`, and state maps. */
static void write_nothing(struct emit *e, uint32_t at, unsigned detail)
{
    (void)e;
    (void)at;
    (void)detail;
}

/* Conditions are made where they are used, but for those of the FLAGS global that is set
 * before that. */
static void write_cond(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *f = &e->g->insn[e->g->insn[at].arg[0]];
    uint32_t n, kept;
    ir_value v;

    (void)detail;
    while ((v = ir_flags_kept(f, &kept)) != 0) {
        f = &e->g->insn[v];
    }
    for (n = at + 1; f->op == IR_GET && n < e->place[at].last_use; n++) {
        const struct ir_insn *i = &e->g->insn[n];

        if (ir_is_opaque(i) ||
            (i->op == IR_SET && e->env->global[i->imm].type == IR_FLAGS_TYPE)) {
            emit_use(e, at);
            return;
        }
    }
}

static void write_load(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    emit_load(e, at);
}

static void write_store(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    emit_store(e, at);
}

static void write_native(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    if (((const struct ir_native *)(uintptr_t)e->g->insn[at].imm)->is_integer) {
        emit_integer(e, at);
    } else {
        emit_native(e, at);
    }
}

static const struct form forms[IR_OP_COUNT] = {
    [IR_NATIVE] = {write_native, 0},
    [IR_NOP] = {write_nothing, 0},
    [IR_CONST] = {write_nothing, 0},
    [IR_GET] = {write_get, 0},
    [IR_SET] = {write_set, 0},
    [IR_ADD] = {write_alu, ASM_ADD},
    [IR_SUB] = {write_alu, ASM_SUB},
    [IR_AND] = {write_alu, ASM_AND},
    [IR_OR] = {write_alu, ASM_OR},
    [IR_XOR] = {write_alu, ASM_XOR},
    [IR_ANDN] = {write_vex, 0x0f2},
    [IR_PDEP] = {write_vex, 0x3f5},
    [IR_PEXT] = {write_vex, 0x2f5},
    [IR_NOT] = {write_unary, ASM_NOT},
    [IR_NEG] = {write_unary, ASM_NEG},
    [IR_MUL] = {write_mul, 0},
    [IR_MULH_U] = {write_mulh, ASM_MUL},
    [IR_MULH_S] = {write_mulh, ASM_IMUL},
    [IR_SHL] = {write_shift, ASM_SHL},
    [IR_SHR] = {write_shift, ASM_SHR},
    [IR_SAR] = {write_shift, ASM_SAR},
    [IR_ROTL] = {write_shift, ASM_ROL},
    [IR_ROTR] = {write_shift, ASM_ROR},
    [IR_SHLD] = {write_double_shift, 1},
    [IR_SHRD] = {write_double_shift, 0},
    [IR_CLZ] = {write_two_byte, 0xbd},
    [IR_CTZ] = {write_two_byte, 0xbc},
    [IR_POPCNT] = {write_two_byte, 0xb8},
    [IR_BSWAP] = {write_bswap, 0},
    [IR_ZEXT] = {write_zext, 0},
    [IR_SEXT] = {write_sext, 0},
    [IR_TRUNC] = {write_trunc, 0},
    [IR_EXTRACT] = {write_extract, 0},
    [IR_DEPOSIT] = {write_deposit, 0},
    [IR_SELECT] = {write_select, 0},
    [IR_EQ] = {write_nothing, 0},
    [IR_NE] = {write_nothing, 0},
    [IR_ULT] = {write_nothing, 0},
    [IR_ULE] = {write_nothing, 0},
    [IR_SLT] = {write_nothing, 0},
    [IR_SLE] = {write_nothing, 0},
    [IR_FLAGS] = {write_nothing, 0},
    [IR_COND] = {write_cond, 0},
    [IR_FLAGS_PACK] = {emit_flags_pack, 0},
    [IR_LOAD] = {write_load, 0},
    [IR_STORE] = {write_store, 0},
    [IR_ROUTINE] = {write_routine, 0},
    [IR_EXIT_IF] = {write_exit_if, 0},
    [IR_BUDGET] = {write_budget, 0},
    [IR_EXIT] = {emit_exit, 0},
    [IR_EXIT_TO] = {emit_exit_by, 0},
    [IR_PARAM] = {emit_param, 0},
    [IR_PROBE] = {emit_check, 0},
    [IR_ATOMIC] = {emit_atomic, 0},
    [IR_CAS] = {emit_cas, 0},
    [IR_FENCE] = {emit_fence, 0},
    [IR_TRAP_IF] = {write_trap_if, 0},
    [IR_LEAVE] = {emit_leave, 0},
    [IR_JUMP] = {emit_jump, 0},
    [IR_BRANCH] = {emit_branch, 0},
    [IR_WINDOW] = {emit_window, 0},
};

void emit_insn(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    const struct form *f = &forms[i->op];

    e->now = at;
    if (i->op == IR_NOP || i->op == IR_CONST || e->place[at].is_dead) {
        return; /* nothing dies here */
    }
    if (f->write == NULL) {
        e->error = -ENOTSUP;
        return;
    }
    f->write(e, at, f->detail);
    if (i->type == IR_I32 && e->place[at].root == at && i->op != IR_GET) {
        e->place[at].clean =
            true; /* every 32-bit operation of the host clears the rest */
    }
    emit_done(e);
}
