/* late.c - flags that reach their home as what they are made from.
 *
 * Most flags that leave a region are never read: the next region writes its own.  So what
 * a plain operation gives goes home as its operands, two or three stores, and becomes an
 * image (PUSHF costs about ten cycles) only when somebody asks: a region that reads flags
 * which it has not made, or C code.
 *
 * `late` is 0 while `flags` is whole, else 1 + 4 * (row of `kinds`) + log2 of the bytes.
 * The operands' bits above that width mean nothing. */
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/private.h"

static const uint8_t kinds[] = {IR_FLAGS_SUB, IR_FLAGS_SUB_R, IR_FLAGS_ADD,
                                IR_FLAGS_ADD_R, IR_FLAGS_LOGIC};

#define KINDS      (sizeof kinds / sizeof kinds[0])
#define FORM_BYTES 16 /* of the thunk, one for each number */
#define FORM_SHIFT 4

static struct asm_mem late(const struct emit_env *env)
{
    return asm_gs(env->frame + (uint32_t)offsetof(struct emit_frame, late));
}

static struct asm_mem operand(const struct emit_env *env, unsigned n)
{
    return asm_gs(env->frame + (uint32_t)(n == 0 ? offsetof(struct emit_frame, late_a)
                                                 : offsetof(struct emit_frame, late_b)));
}

bool emit_can_be_late(enum ir_flags_kind k)
{
    unsigned n;

    for (n = 0; n < KINDS && kinds[n] != k; n++) {
    }
    return n < KINDS;
}

static unsigned number_of(enum ir_flags_kind k, unsigned bytes)
{
    unsigned n;

    for (n = 0; kinds[n] != k; n++) {
    }
    return 1 + 4 * n + (unsigned)__builtin_ctz(bytes);
}

static void put(struct emit *e, struct asm_mem to, const struct emit_loc *l,
                enum host_reg spare)
{
    if (l->kind == EMIT_IN_REG) {
        asm_store(&e->o, 64, to, (enum host_reg)l->reg);
        return;
    }
    if (l->kind == EMIT_IS_CONST && (int64_t)l->value == (int32_t)l->value) {
        asm_store_imm(&e->o, 64, to, (int32_t)l->value);
        return;
    }
    if (l->kind == EMIT_IS_CONST) {
        asm_mov_imm(&e->o, spare, l->value);
    } else {
        asm_load(&e->o, 64, spare,
                 emit_field(e, offsetof(struct emit_frame, spill) + 8 * l->value));
    }
    asm_store(&e->o, 64, to, spare);
}

void emit_late_flags(struct emit *e, const struct emit_pend *p, enum host_reg spare)
{
    put(e, operand(e->env, 0), &p->a, spare);
    if (p->flags_kind != IR_FLAGS_LOGIC) {
        put(e, operand(e->env, 1), &p->b, spare);
    }
    asm_store_imm(&e->o, 32, late(e->env),
                  (int32_t)number_of(p->flags_kind, p->flags_bytes));
}

void emit_not_late(struct emit *e)
{
    asm_store_imm(&e->o, 32, late(e->env), 0);
    e->home_whole = true;
}

void emit_make_whole(struct emit *e)
{
    struct cold s = {.kind = COLD_WHOLE};

    if (e->home_whole) {
        return;
    }
    asm_alu_store_imm(&e->o, ASM_CMP, 32, late(e->env), 0);
    s.from = asm_jcc(&e->o, IR_COND_NZ);
    s.resume = e->o.at;
    emit_cold(e, &s);
    e->host_flags = 0;
    e->home_whole = true;
}

/* a in RAX, b in RDX. */
static void write_form(struct asm_out *o, enum ir_flags_kind k, unsigned bits)
{
    switch (k) {
    case IR_FLAGS_SUB:
        asm_alu(o, ASM_CMP, bits, H_RAX, H_RDX);
        break;
    case IR_FLAGS_SUB_R:
        asm_alu(o, ASM_ADD, bits, H_RAX, H_RDX);
        asm_alu(o, ASM_SUB, bits, H_RAX, H_RDX);
        break;
    case IR_FLAGS_ADD:
        asm_alu(o, ASM_ADD, bits, H_RAX, H_RDX);
        break;
    case IR_FLAGS_ADD_R:
        asm_alu(o, ASM_SUB, bits, H_RAX, H_RDX);
        asm_alu(o, ASM_ADD, bits, H_RAX, H_RDX);
        break;
    default:
        asm_test(o, bits, H_RAX, H_RAX);
        break;
    }
}

static void pad(struct asm_out *o, const uint8_t *to)
{
    while (o->at < to && !o->full) {
        asm_byte(o, 0xcc);
    }
}

/* Keeps all registers; `base` is the host address of o->start. */
void emit_whole_thunk(struct asm_out *o, const struct emit_env *env, uint64_t base)
{
    uint8_t *first, *end[4 * KINDS], *jump;
    unsigned n;

    asm_push(o, H_RAX);
    asm_push(o, H_RCX);
    asm_push(o, H_RDX);
    asm_load(o, 32, H_RCX, late(env));
    asm_shift_imm(o, ASM_SHL, 32, H_RCX, FORM_SHIFT);
    /* mov rax, imm64, at a known place: what follows begins at a multiple of its size */
    jump = o->at;
    first = o->start + ((size_t)(jump + 64 - o->start) & ~(size_t)(FORM_BYTES - 1));
    asm_mov_imm(o, H_RAX, base + (uint64_t)(first - o->start) - FORM_BYTES);
    asm_alu(o, ASM_ADD, 64, H_RCX, H_RAX);
    asm_load(o, 64, H_RAX, operand(env, 0));
    asm_load(o, 64, H_RDX, operand(env, 1));
    asm_jmp_reg(o, H_RCX);
    for (n = 0; n < 4 * KINDS; n++) {
        pad(o, first + (size_t)n * FORM_BYTES);
        write_form(o, kinds[n / 4], 8u << n % 4);
        end[n] = asm_jmp(o);
    }
    for (n = 0; n < 4 * KINDS; n++) {
        asm_bind(o, end[n], o->at);
    }
    asm_push_flags(o);
    asm_pop_mem(o, asm_gs(env->frame + (uint32_t)offsetof(struct emit_frame, flags)));
    asm_store_imm(o, 32, late(env), 0);
    asm_pop(o, H_RDX);
    asm_pop(o, H_RCX);
    asm_pop(o, H_RAX);
    asm_ret(o);
}

uint64_t emit_home_flags(const struct emit_frame *f)
{
    unsigned bits;
    uint64_t mask;

    if (f->late == 0) {
        return f->flags;
    }
    bits = 8u << (f->late - 1) % 4;
    mask = ~UINT64_C(0) >> (64 - bits);
    return ir_compute_flags(
        kinds[(f->late - 1) / 4], bits,
        (struct ir_words){.a = f->late_a & mask, .b = f->late_b & mask}, f->flags);
}
