/* encode.c - from a row and its operands to bytes.
 *
 * The row's pattern (tables.h) says which prefixes and modrm bits are its own; the
 * rest comes from the form.  What was made is decoded again: a form that another
 * row's bytes would be (nop for xchg eax,eax), or that the row forbids, is none. */
#include "virt/isa/x86/encode.h"

#include <string.h>

#include "contract/cpu_x86.h"
#include "virt/isa/x86/tables.h"

#define ROOM_BYTES 32

/* Bytes on their way. */
struct encoding {
    uint8_t bytes[ROOM_BYTES];
    unsigned at;
    const struct x86_form *form;
    const struct x86_shape *shape;
    const struct x86_spot *spot;
    struct x86_pattern pattern;
    uint8_t rex; /* W R X B in bits 3..0 */
    uint8_t address;
    uint8_t modrm;
    bool has_sib;
    uint8_t sib;
    uint8_t disp_bytes;
    bool is_rip;
};

void x86_form_init(struct x86_form *f, enum x86_code_mode mode)
{
    *f = (struct x86_form){.mode = (uint8_t)mode, .base = X86_ZERO, .index = X86_ZERO};
    f->size = mode == X86_CODE16 ? X86_16 : X86_32;
}

static void put(struct encoding *o, uint64_t v, unsigned n)
{
    memcpy(o->bytes + o->at, &v, n);
    o->at += n;
}

/* The bits of a fact that the row fixes; `otherwise` where it does not. */
static unsigned fixed(const struct encoding *o, unsigned shift, unsigned bits,
                      unsigned otherwise)
{
    return o->pattern.mask >> shift & bits ? o->pattern.value >> shift & bits : otherwise;
}

static uint8_t default_address(uint8_t mode)
{
    return mode == X86_CODE16 ? X86_16 : mode == X86_CODE32 ? X86_32 : X86_64;
}

/* Which of the two patterns this mode has. */
static bool pick_pattern(struct encoding *o)
{
    unsigned in64 = o->form->mode == X86_CODE64;

    for (int n = 0; n < 2; n++) {
        o->pattern = o->spot->pattern[n];
        if (fixed(o, X86_FACT_MODE64, 1, in64) == in64) {
            return true;
        }
    }
    return false;
}

static bool has_open_size(const struct encoding *o)
{
    return o->shape->rule == X86_RULE_OPERAND || o->shape->rule == X86_RULE_D64 ||
           o->shape->rule == X86_RULE_F64;
}

static bool wants_wide(const struct encoding *o)
{
    bool by_size = o->form->size == X86_64 && (o->shape->rule == X86_RULE_OPERAND ||
                                               o->shape->rule == X86_RULE_WIDE);

    return o->form->mode == X86_CODE64 && fixed(o, X86_FACT_WIDE, 1, by_size);
}

static bool wants_operand_prefix(const struct encoding *o)
{
    unsigned size = o->form->size;
    bool own = o->form->mode == X86_CODE16;

    if (o->shape->prefix == 0x66 && !(o->shape->flags & X86_SHAPE_VEX)) {
        return true;
    }
    return has_open_size(o) && size != X86_64 && (size == X86_16) != own &&
           !(o->shape->rule == X86_RULE_F64 && o->form->mode == X86_CODE64);
}

static void put_prefixes(struct encoding *o)
{
    const struct x86_form *f = o->form;

    if (f->lock) {
        put(o, 0xf0, 1);
    }
    if (f->segment != 0) {
        put(o, f->segment, 1);
    }
    if (o->address != default_address(f->mode)) {
        put(o, 0x67, 1);
    }
    if (o->shape->flags & X86_SHAPE_VEX) {
        return;
    }
    if (wants_operand_prefix(o)) {
        put(o, 0x66, 1);
    }
    if (o->shape->prefix == 0xf2 || o->shape->prefix == 0xf3) {
        put(o, o->shape->prefix, 1);
    } else if (f->repeat != 0) {
        put(o, f->repeat, 1);
    }
}

static void put_vex(struct encoding *o)
{
    unsigned map = o->spot->map - X86_MAP_VEX;
    unsigned wide = o->rex >> 3;
    unsigned vvvv = o->shape->flags & X86_SHAPE_VVVV ? o->form->vvvv : 0;
    unsigned last =
        (~vvvv & 15) << 3 | fixed(o, X86_FACT_LONG, 1, 0) << 2 | fixed(o, 0, 3, 0);

    if (map == 1 && (o->rex & 11) == 0) {
        put(o, 0xc5, 1);
        put(o, (o->rex & 4 ? 0 : 0x80) | last, 1);
        return;
    }
    put(o, 0xc4, 1);
    put(o, (~(unsigned)o->rex & 7) << 5 | map, 1);
    put(o, wide << 7 | last, 1);
}

static void put_opcode(struct encoding *o)
{
    static const uint8_t escape[4] = {0, 0, 0x38, 0x3a};
    uint8_t opcode = o->spot->opcode;

    if (o->shape->flags & X86_SHAPE_PLUS_R) {
        opcode |= o->form->reg & 7;
        o->rex |= o->form->reg >> 3;
    }
    if (o->shape->flags & X86_SHAPE_VEX) {
        put_vex(o);
    } else {
        if (o->rex != 0 || o->form->has_rex) {
            put(o, 0x40u | o->rex, 1);
        }
        if (o->spot->map > 0) {
            put(o, 0x0f, 1);
        }
        if (o->spot->map > 1) {
            put(o, escape[o->spot->map], 1);
        }
    }
    put(o, opcode, 1);
}

static bool plan_memory16(struct encoding *o)
{
    static const uint8_t pairs[8][2] = {{X86_RBX, X86_RSI},  {X86_RBX, X86_RDI},
                                        {X86_RBP, X86_RSI},  {X86_RBP, X86_RDI},
                                        {X86_RSI, X86_ZERO}, {X86_RDI, X86_ZERO},
                                        {X86_RBP, X86_ZERO}, {X86_RBX, X86_ZERO}};
    const struct x86_form *f = o->form;

    if (f->base == X86_ZERO && f->index == X86_ZERO) {
        o->modrm |= 6;
        o->disp_bytes = 2;
        return true;
    }
    for (unsigned n = 0; n < 8; n++) {
        if (pairs[n][0] == f->base && pairs[n][1] == f->index) {
            o->disp_bytes = f->disp == 0 && n != 6       ? 0
                            : f->disp == (int8_t)f->disp ? 1
                                                         : 2;
            o->modrm |= (uint8_t)(n | (unsigned)o->disp_bytes << 6);
            return f->disp == (int16_t)f->disp && f->scale == 0;
        }
    }
    return false;
}

static void plan_displacement(struct encoding *o)
{
    int64_t disp = o->form->disp;

    if (disp == 0 && (o->form->base & 7) != X86_RBP) {
        return;
    }
    o->disp_bytes = disp == (int8_t)disp ? 1 : 4;
    o->modrm |= o->disp_bytes == 1 ? 0x40 : 0x80;
}

static bool plan_memory32(struct encoding *o)
{
    const struct x86_form *f = o->form;
    bool is_vector = o->shape->flags & X86_SHAPE_VSIB;
    uint8_t index = is_vector ? f->imm8 : f->index;
    bool none = !is_vector && index == X86_ZERO;

    if (f->disp != (int32_t)f->disp && f->base != X86_RIP) {
        return false;
    }
    if ((!none && index == X86_RSP && !is_vector) || (none && f->scale != 0)) {
        return false;
    }
    if (f->base == X86_RIP) {
        o->modrm |= 5;
        o->disp_bytes = 4;
        o->is_rip = true;
        return none && f->mode == X86_CODE64;
    }
    o->rex |= (uint8_t)((none ? 0 : index >> 3 << 1) |
                        (f->base == X86_ZERO ? 0 : f->base >> 3));
    if (f->base == X86_ZERO && none && f->mode != X86_CODE64) {
        o->modrm |= 5;
        o->disp_bytes = 4;
        return true;
    }
    o->has_sib = !none || f->base == X86_ZERO || (f->base & 7) == X86_RSP;
    o->sib = (uint8_t)(f->scale << 6 | (none ? 4 : index & 7) << 3 |
                       (f->base == X86_ZERO ? 5 : f->base & 7));
    o->modrm |= o->has_sib ? 4 : f->base & 7;
    if (f->base == X86_ZERO) {
        o->disp_bytes = 4;
    } else {
        plan_displacement(o);
    }
    return true;
}

/* modrm, sib, displacement and the REX bits that they need. */
static bool plan_modrm(struct encoding *o)
{
    const struct x86_form *f = o->form;
    unsigned reg = fixed(o, X86_FACT_REG, 7, f->reg);

    if (!o->spot->has_modrm) {
        return !f->is_memory;
    }
    o->rex |= (uint8_t)(reg >> 3 << 2);
    o->modrm = (uint8_t)((reg & 7) << 3);
    if (fixed(o, X86_FACT_MOD3, 1, !f->is_memory) == f->is_memory) {
        return false;
    }
    if (!f->is_memory) {
        unsigned rm = o->pattern.mask >> X86_FACT_RM & 7
                          ? o->pattern.value >> X86_FACT_RM & 7
                          : f->rm;

        o->rex |= (uint8_t)(rm >> 3);
        o->modrm |= (uint8_t)(0xc0 | (rm & 7));
        return true;
    }
    return o->address == X86_16 ? plan_memory16(o) : plan_memory32(o);
}

static void put_immediate(struct encoding *o, uint8_t kind, uint64_t v)
{
    unsigned size = has_open_size(o) ? o->form->size : X86_32;

    switch ((enum x86_immediate)kind) {
    case X86_IMM_NONE:
        return;
    case X86_IMM_U8:
    case X86_IMM_S8:
        return put(o, v, 1);
    case X86_IMM_U16:
        return put(o, v, 2);
    case X86_IMM_U32:
        return put(o, v, 4);
    case X86_IMM_Z:
        return put(o, v, size == X86_16 ? 2 : 4);
    case X86_IMM_V:
        return put(o, v, 1u << size);
    case X86_IMM_FAR:
        put(o, v, size == X86_16 ? 2 : 4);
        return put(o, v >> 32, 2);
    case X86_IMM_MOFFS:
        return put(o, v, 1u << o->address);
    case X86_IMM_IS4:
        return put(o, (unsigned)o->form->imm8 << 4, 1);
    }
}

static bool put_all(struct encoding *o)
{
    unsigned disp_at;

    put_prefixes(o);
    put_opcode(o);
    if (o->spot->has_modrm) {
        put(o, o->modrm, 1);
    }
    if (o->has_sib) {
        put(o, o->sib, 1);
    }
    disp_at = o->at;
    put(o, (uint64_t)o->form->disp, o->disp_bytes);
    put_immediate(o, o->shape->immediate, o->form->imm);
    put_immediate(o, o->shape->immediate2, o->form->imm8);
    if (o->is_rip) {
        int64_t disp = o->form->disp - o->at;

        memcpy(o->bytes + disp_at, &disp, 4);
        return disp == (int32_t)disp;
    }
    return true;
}

/* The memory operand that was decoded is the one asked for. */
static bool same_memory(const struct x86_insn *i, const struct x86_form *f,
                        bool is_vector)
{
    return i->base == f->base && i->disp == f->disp && i->scale == f->scale &&
           (is_vector ? i->imm8 == f->imm8 : i->index == f->index);
}

static bool is_as_asked(const struct encoding *o, enum x86_row row)
{
    const struct x86_form *f = o->form;
    struct x86_insn i;

    if (x86_decode(o->bytes, o->at, (enum x86_code_mode)f->mode, &i) != X86_DECODED ||
        i.row != row || i.length != o->at || i.is_memory != f->is_memory) {
        return false;
    }
    if (has_open_size(o) && i.size != f->size) {
        return false;
    }
    if (f->is_memory && !same_memory(&i, f, o->shape->flags & X86_SHAPE_VSIB)) {
        return false;
    }
    return !(o->shape->flags & X86_SHAPE_VVVV) || i.vvvv == f->vvvv;
}

int x86_encode(enum x86_row row, const struct x86_form *form,
               uint8_t bytes[X86_INSN_BYTES_MAX])
{
    struct encoding o = {
        .form = form, .shape = &x86_shapes[row], .spot = &x86_spots[row]};

    if (row == X86_INVALID || row >= X86_ROW_COUNT || !pick_pattern(&o)) {
        return 0;
    }
    o.address = form->address != X86_8 ? form->address : default_address(form->mode);
    o.address = (uint8_t)fixed(&o, X86_FACT_ADDRESS, 3, o.address);
    if (wants_wide(&o)) {
        o.rex |= 8;
    }
    if (!plan_modrm(&o) || (o.rex != 0 && form->mode != X86_CODE64) || !put_all(&o) ||
        o.at > X86_INSN_BYTES_MAX || !is_as_asked(&o, row)) {
        return 0;
    }
    memcpy(bytes, o.bytes, o.at);
    return (int)o.at;
}

void x86_form_of_cell(struct x86_form *ret_form, const struct x86_cell *cell)
{
    x86_form_init(ret_form, (enum x86_code_mode)cell->mode);
    ret_form->size = cell->operand;
    ret_form->is_memory = cell->is_memory;
    if (cell->is_memory) {
        ret_form->base = cell->mode == X86_CODE16 ? X86_RBX : X86_RAX;
        ret_form->index = cell->mode == X86_CODE16 ? X86_RSI : X86_ZERO;
    }
    if (cell->is_memory && x86_shapes[cell->row].flags & X86_SHAPE_VSIB) {
        ret_form->address = cell->mode == X86_CODE64 ? X86_64 : X86_32;
        ret_form->base = X86_RAX;
        ret_form->index = X86_ZERO;
        ret_form->imm8 = 1;
    }
}

/* The cell's plain form can be encoded, and no cell before has the same. */
static bool is_new_cell(struct x86_cell *cell, const struct x86_cell *cells, unsigned n)
{
    uint8_t bytes[X86_INSN_BYTES_MAX];
    struct x86_form form;
    struct x86_insn i;
    int length;

    x86_form_of_cell(&form, cell);
    if (x86_shapes[cell->row].flags & X86_SHAPE_PLUS_R) {
        form.reg = 1; /* xchg eax,eax is nop */
    }
    length = x86_encode((enum x86_row)cell->row, &form, bytes);
    if (length == 0) {
        return false;
    }
    (void)x86_decode(bytes, (unsigned)length, (enum x86_code_mode)cell->mode, &i);
    cell->size = i.size;
    for (unsigned k = 0; k < n; k++) {
        if (cells[k].mode == cell->mode && cells[k].size == cell->size &&
            cells[k].is_memory == cell->is_memory) {
            return false;
        }
    }
    return true;
}

unsigned x86_cells(enum x86_row row, struct x86_cell ret_cells[X86_CELLS_MAX])
{
    unsigned n = 0;

    for (unsigned k = 0; k < X86_CELLS_MAX; k++) {
        struct x86_cell cell = {.row = (uint16_t)row,
                                .mode = (uint8_t)(k / 6),
                                .operand = (uint8_t)(X86_16 + k / 2 % 3),
                                .is_memory = k % 2};

        if (is_new_cell(&cell, ret_cells, n)) {
            ret_cells[n++] = cell;
        }
    }
    return n;
}
