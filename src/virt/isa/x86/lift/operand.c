/* operand.c - reading and writing the operands of an instruction. */
#include "virt/isa/x86/lift/private.h"

static const uint8_t size_bytes[X86_SIZE_COUNT] = {1, 2, 4, 8};

enum ir_type lift_type(enum x86_size s)
{
    static const uint8_t types[X86_SIZE_COUNT] = {IR_I8, IR_I16, IR_I32, IR_I64};

    return types[s];
}

uint32_t lift_map(struct work *w)
{
    return ir_map_at(w->g, w->in->pc, w->in->done);
}

enum x86_size lift_size(const struct work *w, unsigned n)
{
    uint8_t s = w->row->operand[n].size;

    return s == SIZE_OF_INSN ? w->i->size : s;
}

ir_value lift_const(struct work *w, enum x86_size s, uint64_t v)
{
    return ir_const(w->g, lift_type(s), v);
}

/* ah, ch, dh, bh: registers 4..7 of one byte without a REX prefix. */
static bool is_high_byte(const struct work *w, unsigned reg, enum x86_size s)
{
    return s == X86_8 && !w->i->has_rex && reg >= 4 && reg < 8;
}

ir_value lift_register(struct work *w, unsigned reg, enum x86_size s)
{
    if (is_high_byte(w, reg, s)) {
        return ir_add(w->g,
                      &(struct ir_insn){.op = IR_EXTRACT,
                                        .type = IR_I8,
                                        .imm = 8,
                                        .arg = {ir_get(w->g, (uint16_t)(reg - 4))}});
    }
    return s == X86_64 ? ir_get(w->g, (uint16_t)reg)
                       : ir_1(w->g, IR_TRUNC, lift_type(s), ir_get(w->g, (uint16_t)reg));
}

void lift_set_register(struct work *w, unsigned reg, enum x86_size s, ir_value v)
{
    bool high = is_high_byte(w, reg, s);
    uint16_t n = (uint16_t)(high ? reg - 4 : reg);

    if (s == X86_32) {
        v = ir_1(w->g, IR_ZEXT, IR_I64, v);
    } else if (s != X86_64) {
        v = ir_add(w->g, &(struct ir_insn){.op = IR_DEPOSIT,
                                           .type = IR_I64,
                                           .imm = high ? 8 : 0,
                                           .arg = {ir_get(w->g, n), v}});
    }
    ir_set(w->g, n, v);
}

static ir_value segment_base(struct work *w)
{
    if (w->i->segment == X86_FS) {
        return ir_get(w->g, LIFT_FS_BASE);
    }
    return w->i->segment == X86_GS ? ir_get(w->g, LIFT_GS_BASE) : 0;
}

static ir_value slot(struct work *w, uint8_t reg)
{
    return reg == X86_ZERO ? 0 : ir_get(w->g, reg);
}

/* base + index << scale + disp, as the address size wraps it, plus FS or GS. */
struct ir_insn lift_address(struct work *w)
{
    const struct x86_insn *i = w->i;
    struct ir_insn a = {.imm = (uint64_t)(int64_t)i->disp,
                        .aux = i->segment == X86_SS ? X86_SS : X86_DS,
                        .access = {.scale = i->scale, .wrap32 = i->address == X86_32}};
    ir_value segment = segment_base(w);

    if (i->base == X86_RIP) {
        a.arg[0] = ir_const(w->g, IR_I64, w->in->pc + (uint64_t)(int64_t)i->disp);
        a.imm = 0;
    } else {
        a.arg[0] = slot(w, i->base);
        a.arg[1] = slot(w, i->index);
    }
    if (a.arg[0] == 0 && a.arg[1] != 0 && i->scale == 0) {
        a.arg[0] = a.arg[1];
        a.arg[1] = 0;
    } else if (a.arg[0] == 0) {
        a.arg[0] = ir_const(w->g, IR_I64, 0);
    }
    if (segment != 0) { /* the effective address by itself, then the base */
        ir_value at = a.arg[0];

        if (a.arg[1] != 0) {
            at = ir_2(w->g, IR_ADD, at,
                      ir_2(w->g, IR_SHL, a.arg[1], ir_const(w->g, IR_I64, i->scale)));
        }
        at = ir_2(w->g, IR_ADD, at, ir_const(w->g, IR_I64, a.imm));
        if (a.access.wrap32) {
            at = ir_1(w->g, IR_ZEXT, IR_I64, ir_1(w->g, IR_TRUNC, IR_I32, at));
        }
        a.arg[0] = ir_2(w->g, IR_ADD, at, segment);
        a.arg[1] = 0;
        a.imm = 0;
        a.access.wrap32 = w->i->mode != X86_CODE64;
    }
    return a;
}

static ir_value load_operand(struct work *w, enum x86_size s, bool for_write)
{
    struct ir_insn a = lift_address(w);

    a.op = IR_LOAD;
    a.type = lift_type(s);
    a.access.bytes = size_bytes[s];
    a.access.for_write = for_write;
    a.map = lift_map(w);
    return ir_add(w->g, &a);
}

ir_value lift_load(struct work *w, ir_value base, int64_t disp, enum x86_size s,
                   bool stack)
{
    return ir_add(w->g, &(struct ir_insn){.op = IR_LOAD,
                                          .type = lift_type(s),
                                          .aux = stack ? X86_SS : X86_DS,
                                          .arg = {base},
                                          .imm = (uint64_t)disp,
                                          .access = {.bytes = size_bytes[s],
                                                     .wrap32 = w->i->mode != X86_CODE64},
                                          .map = lift_map(w)});
}

void lift_store(struct work *w, ir_value base, int64_t disp, enum x86_size s, ir_value v,
                bool stack)
{
    ir_add(w->g, &(struct ir_insn){.op = IR_STORE,
                                   .aux = stack ? X86_SS : X86_DS,
                                   .arg = {base, 0, v},
                                   .imm = (uint64_t)disp,
                                   .access = {.bytes = size_bytes[s],
                                              .wrap32 = w->i->mode != X86_CODE64},
                                   .map = lift_map(w)});
}

bool lift_is_memory(const struct work *w, unsigned n)
{
    uint8_t p = w->row->operand[n].place;

    return p == AT_O || (p == AT_E && w->i->is_memory);
}

static ir_value absolute(struct work *w)
{
    ir_value at = ir_const(w->g, IR_I64, w->i->imm), segment = segment_base(w);

    return segment == 0 ? at : ir_2(w->g, IR_ADD, at, segment);
}

ir_value lift_soft(struct work *w, enum x86_size s)
{
    uint8_t bytes = (uint8_t)lift_soft_bytes(w->l, w->i);
    ir_value at = ir_const(w->g, IR_I64, (uint64_t)(uintptr_t)w->in->soft);

    return ir_add(w->g, &(struct ir_insn){
                            .op = IR_LOAD,
                            .type = lift_type(s),
                            .arg = {at},
                            .access = {.bytes = bytes, .sign = true, .space = IR_FLAT},
                            .map = lift_map(w)});
}

ir_value lift_read(struct work *w, unsigned n)
{
    enum x86_size s = lift_size(w, n);

    switch (w->row->operand[n].place) {
    case AT_E:
        return w->i->is_memory ? load_operand(w, s, false)
                               : lift_register(w, w->i->rm, s);
    case AT_G:
    case AT_Z:
        return lift_register(w, w->i->reg, s);
    case AT_A:
        return lift_register(w, X86_RAX, s);
    case AT_B:
        return lift_register(w, w->i->vvvv, s);
    case AT_CL:
        return lift_register(w, X86_RCX, X86_8);
    case AT_O:
        return lift_load(w, absolute(w), 0, s, false);
    case AT_ONE:
        return lift_const(w, s, 1);
    default:
        return w->in->soft != NULL ? lift_soft(w, s) : lift_const(w, s, w->i->imm);
    }
}

ir_value lift_read_wide(struct work *w, unsigned n, enum x86_size to, bool sign)
{
    enum x86_size from = lift_size(w, n);
    struct ir_insn a;

    if (w->row->operand[n].place != AT_E || !w->i->is_memory) {
        return lift_extend(w, lift_read(w, n), from, to, sign);
    }
    a = lift_address(w);
    a.op = IR_LOAD;
    a.type = lift_type(to);
    a.access.bytes = size_bytes[from];
    a.access.sign = sign;
    a.map = lift_map(w);
    return ir_add(w->g, &a);
}

ir_value lift_read_for_write(struct work *w, unsigned n)
{
    return w->row->operand[n].place == AT_E && w->i->is_memory
               ? load_operand(w, lift_size(w, n), true)
               : lift_read(w, n);
}

void lift_write(struct work *w, unsigned n, ir_value v)
{
    enum x86_size s = lift_size(w, n);

    switch (w->row->operand[n].place) {
    case AT_E:
        if (w->i->is_memory) {
            struct ir_insn a = lift_address(w);

            a.op = IR_STORE;
            a.arg[2] = v;
            a.access.bytes = size_bytes[s];
            a.map = lift_map(w);
            ir_add(w->g, &a);
        } else {
            lift_set_register(w, w->i->rm, s, v);
        }
        break;
    case AT_O:
        lift_store(w, absolute(w), 0, s, v, false);
        break;
    case AT_A:
        lift_set_register(w, X86_RAX, s, v);
        break;
    case AT_B:
        lift_set_register(w, w->i->vvvv, s, v);
        break;
    default:
        lift_set_register(w, w->i->reg, s, v);
        break;
    }
}

ir_value lift_extend(struct work *w, ir_value v, enum x86_size from, enum x86_size to,
                     bool sign)
{
    if (from == to) {
        return v;
    }
    return ir_1(w->g, to < from ? IR_TRUNC : sign ? IR_SEXT : IR_ZEXT, lift_type(to), v);
}

ir_value lift_cond(struct work *w, enum ir_cond c)
{
    return ir_add(w->g, &(struct ir_insn){.op = IR_COND,
                                          .type = IR_I1,
                                          .aux = (uint8_t)c,
                                          .arg = {ir_get(w->g, LIFT_FLAGS)}});
}

void lift_flags_3(struct work *w, enum ir_flags_kind k, enum x86_size s, ir_value a,
                  ir_value b, ir_value c)
{
    if (w->in->flags_dead) {
        return;
    }
    ir_set(w->g, LIFT_FLAGS,
           ir_add(w->g, &(struct ir_insn){.op = IR_FLAGS,
                                          .type = IR_FLAGS_TYPE,
                                          .aux = (uint8_t)k,
                                          .imm = size_bytes[s],
                                          .arg = {a, b, c}}));
}

void lift_flags(struct work *w, enum ir_flags_kind k, enum x86_size s, ir_value a,
                ir_value b)
{
    lift_flags_3(w, k, s, a, b, 0);
}
