/* native.c - the host's own vector instructions on the guest's registers.
 *
 *   legacy   [66|F2|F3] [REX] 0F [38|3A] opcode modrm [sib disp] [imm8]
 *   x87      [REX] D8..DF modrm [sib disp]
 *   VEX      C4 RXB.map W.vvvv.L.pp opcode modrm ...
 *
 * The vector registers and MXCSR are the guest's from the first such instruction on.
 *
 * A memory operand is reached through the soft TLB.  Where that does not answer, the
 * row's own routine executes the instruction on guest state that is whole. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/native.h"

/* Intel SDM volume 1, 10.2.3. */
#define MXCSR_MASKS    0x1f80
#define MXCSR_RESERVED 0xffff0000u

struct parts {
    unsigned reg, rm; /* host numbers */
    bool memory;
    struct asm_mem at;
};

static bool has_high_index(const struct parts *p)
{
    return p->at.index != H_NONE && p->at.index >= 8;
}

static void put_legacy_head(struct emit *e, const struct ir_native *n,
                            const struct parts *p)
{
    unsigned rex = (n->wide ? 8u : 0) | (p->reg >= 8 ? 4u : 0);

    if (p->memory) {
        rex |= (has_high_index(p) ? 2u : 0) | (p->at.base >= 8 ? 1u : 0);
    } else {
        rex |= p->rm >= 8 ? 1u : 0;
    }
    if (n->prefix != 0) {
        asm_byte(&e->o, n->prefix);
    }
    if (rex != 0) {
        asm_byte(&e->o, (uint8_t)(0x40 | rex));
    }
    if (n->map > 0) {
        asm_byte(&e->o, 0x0f);
    }
    if (n->map > 1) {
        asm_byte(&e->o, n->map == 2 ? 0x38 : 0x3a);
    }
}

static void put_vex_head(struct emit *e, const struct ir_native *n, const struct parts *p)
{
    bool x = p->memory && has_high_index(p);
    bool b = p->memory ? p->at.base >= 8 : p->rm >= 8;

    asm_byte(&e->o, 0xc4);
    asm_byte(&e->o, (uint8_t)((p->reg >= 8 ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) |
                              n->map));
    asm_byte(&e->o, (uint8_t)((n->wide ? 0x80 : 0) | (~(unsigned)n->vvvv & 15) << 3 |
                              (n->l256 ? 4 : 0) | n->prefix));
}

/* modrm, sib and displacement: SDM volume 2, tables 2-2 and 2-3. */
static void put_memory(struct emit *e, const struct parts *p)
{
    unsigned base = p->at.base & 7u, reg = (p->reg & 7) << 3;
    int32_t disp = p->at.disp;
    unsigned mod = disp == 0 && base != H_RBP ? 0 : disp == (int8_t)disp ? 1 : 2;
    bool sib = p->at.index != H_NONE || base == H_RSP;

    asm_byte(&e->o, (uint8_t)(mod << 6 | reg | (sib ? 4 : base)));
    if (sib) {
        unsigned index = p->at.index != H_NONE ? p->at.index & 7u : 4;

        asm_byte(&e->o, (uint8_t)(p->at.scale << 6 | index << 3 | base));
    }
    if (mod == 1) {
        asm_byte(&e->o, (uint8_t)disp);
    } else if (mod == 2) {
        asm_word32(&e->o, (uint32_t)disp);
    }
}

static void put_instruction(struct emit *e, const struct ir_native *n,
                            const struct parts *p)
{
    if (n->vex) {
        put_vex_head(e, n, p);
    } else {
        put_legacy_head(e, n, p);
    }
    asm_byte(&e->o, n->opcode);
    if (p->memory) {
        put_memory(e, p);
    } else if (!n->no_modrm) {
        asm_byte(&e->o, (uint8_t)(0xc0 | (p->reg & 7) << 3 | (p->rm & 7)));
    }
    if (n->has_imm8) {
        asm_byte(&e->o, n->imm8);
    }
}

static void put_flags(struct emit *e, enum host_reg to)
{
    if (to != H_NONE) {
        asm_push_flags(&e->o);
        asm_pop(&e->o, to);
    }
}

/* The flags value made of the RFLAGS that `at` gives; 0: there is none. */
static uint32_t flags_of(const struct emit *e, uint32_t at)
{
    uint32_t n, end = e->g->block[e->block].end;

    for (n = at + 1; n < end && n < at + 4; n++) {
        if (e->g->insn[n].op == IR_FLAGS && e->g->insn[n].arg[0] == at) {
            return n;
        }
    }
    return 0;
}

/* Whether EFLAGS still hold the flags of `at` wherever they are used, since nothing else
 * is in between: then they need no register. */
static bool stays_in_eflags(const struct emit *e, uint32_t at)
{
    uint32_t n, last = e->place[at].last_use;

    for (n = at + 1; n <= last; n++) {
        unsigned op = e->g->insn[n].op;

        if (op != IR_NOP && op != IR_CONST && op != IR_GET && op != IR_SET &&
            op != IR_FLAGS && op != IR_COND && op != IR_EXIT_IF) {
            return false;
        }
    }
    return flags_of(e, at) != 0;
}

/* Where the result goes; EFLAGS that stay need no place. */
enum host_reg emit_native_result(struct emit *e, uint32_t at, const struct ir_native *n)
{
    bool none =
        e->g->insn[at].type == IR_VOID || (n->gives_flags && stays_in_eflags(e, at));

    return none ? H_NONE : emit_define(e, at);
}

/* Behind it: who asks for the flags finds them in EFLAGS.  After a cold path they are
 * there only if they are nowhere else. */
static void note_flags(struct emit *e, uint32_t at, const struct ir_native *n,
                       enum host_reg to)
{
    if (n->gives_flags) {
        e->host_flags = !n->rm_is_memory || to == H_NONE ? flags_of(e, at) : 0;
    }
}

static void registers_only(struct emit *e, uint32_t at, const struct ir_native *n)
{
    const struct ir_insn *i = &e->g->insn[at];
    struct parts p = {.reg = n->reg, .rm = n->rm};

    if (n->reg_is_operand) {
        p.reg = emit_use(e, i->arg[2]);
    } else if (n->rm_is_operand) {
        p.rm = emit_use(e, i->arg[2]);
    }
    if (n->reg_is_result) {
        p.reg = emit_define(e, at);
    } else if (n->rm_is_result) {
        p.rm = emit_define(e, at);
    }
    put_instruction(e, n, &p);
    if (n->gives_flags) {
        enum host_reg to = emit_native_result(e, at, n);

        put_flags(e, to);
        note_flags(e, at, n, to);
    }
}

void emit_native_at(struct emit *e, const struct ir_native *n, struct asm_mem m,
                    enum host_reg to)
{
    struct parts p = {.reg = n->reg_is_result ? to : n->reg, .memory = true, .at = m};

    put_instruction(e, n, &p);
    if (n->gives_flags) {
        put_flags(e, to);
    }
}

/* On the cold path the routine writes the result's home, so a value that lives there and
 * is used later has to be elsewhere on both paths. */
void emit_clear_home(struct emit *e, const struct ir_native *n)
{
    enum host_reg home = n->reg_is_result ? emit_home(e, n->result_global) : H_NONE;

    if (home != H_NONE && e->owner[home] != 0 &&
        e->place[e->owner[home]].last_use > e->now) {
        emit_evict(e, home);
        e->locked[home] = false;
    }
}

void emit_native_end(struct emit *e, const struct ir_native *n, struct cold *s)
{
    note_flags(e, s->at, n, s->dst);
    s->resume = e->o.at;
    emit_cold(e, s);
}

static void with_memory(struct emit *e, uint32_t at, const struct ir_native *n)
{
    struct ir_insn i = e->g->insn[at];
    struct cold s = {.kind = COLD_NATIVE, .at = at, .dst = H_NONE};
    enum host_reg address, u;

    i.imm = (uint64_t)n->disp;
    i.arg[2] = 0;
    emit_clear_home(e, n);
    address = emit_address(e, &i);
    u = emit_temp(e);
    s.from = emit_look_up(e, address, u,
                          &(struct look_up){.span = n->bytes,
                                            .align = n->aligned ? n->bytes : 1,
                                            .tag = n->writes_memory ? e->env->tlb_write
                                                                    : e->env->tlb_read});
    s.site = emit_site_at(e, at);
    s.dst = (uint8_t)emit_native_result(e, at, n); /* the look-up left a register free */
    emit_native_at(e, n, (struct asm_mem){.base = (uint8_t)u, .index = (uint8_t)address},
                   s.dst);
    emit_native_end(e, n, &s);
}

/* Whether vectors are lent wherever this block is entered from. */
static bool enters_lent(const struct emit *e, uint32_t block)
{
    const struct ir_region *g = e->g;
    uint32_t b, edge;

    for (b = 0; b < g->blocks; b++) {
        unsigned op = g->insn[g->block[b].end - 1].op;
        uint32_t end = g->block[b].edge + (op == IR_JUMP ? 1 : op == IR_BRANCH ? 2 : 0);

        for (edge = g->block[b].edge; edge < end; edge++) {
            if (g->edge[edge].block == block && b != block &&
                (b > 63 || (e->lends >> b & 1) == 0)) {
                return false;
            }
        }
    }
    return block != 0;
}

/* The vector registers are the guest's from here on: once in a block. */
static void claim_vectors(struct emit *e, uint32_t at)
{
    struct cold s = {.kind = COLD_VECTORS, .at = at};

    if (e->block < 64 && (e->lends >> e->block & 1) != 0) {
        return;
    }
    if (!enters_lent(e, e->block)) {
        asm_alu_store_imm(&e->o, ASM_CMP, 32,
                          emit_field(e, offsetof(struct emit_frame, vectors_lent)), 0);
        e->host_flags = 0;
        s.from = asm_jcc(&e->o, IR_COND_Z);
        s.resume = e->o.at;
        emit_cold(e, &s);
    }
    e->lends |= e->block < 64 ? UINT64_C(1) << e->block : 0;
}

/* What unmasks an exception, or sets what is reserved, is the routine's. */
static void load_mxcsr(struct emit *e, uint32_t at)
{
    struct cold s = {.kind = COLD_NATIVE, .at = at, .dst = H_NONE};
    enum host_reg v = emit_use(e, e->g->insn[at].arg[2]), t = emit_temp(e);
    struct asm_mem word = emit_field(e, offsetof(struct emit_frame, fpu_word));

    asm_mov(&e->o, 32, t, v);
    asm_alu_imm(&e->o, ASM_AND, 32, t, (int32_t)(MXCSR_MASKS | MXCSR_RESERVED));
    asm_alu_imm(&e->o, ASM_CMP, 32, t, MXCSR_MASKS);
    e->host_flags = 0;
    s.site = emit_site_at(e, at);
    s.from = asm_jcc(&e->o, IR_COND_NZ);
    asm_store(&e->o, 32, word, v);
    asm_load_mxcsr(&e->o, word);
    s.resume = e->o.at;
    emit_cold(e, &s);
}

void emit_native(struct emit *e, uint32_t at)
{
    const struct ir_native *n = (const struct ir_native *)(uintptr_t)e->g->insn[at].imm;

    if (n->fpu != IR_FPU_NONE) {
        emit_fpu_claim(e, at);
    }
    if (emit_fpu_form(e, at, n)) {
        return;
    }
    if ((n->map != 0 || n->vex) && !n->no_vectors) {
        claim_vectors(e, at);
    }
    if (n->check == IR_NATIVE_MXCSR) {
        load_mxcsr(e, at);
        return;
    }
    if (n->l256 && !e->noted_uppers) {
        asm_store_imm(&e->o, 32, emit_field(e, offsetof(struct emit_frame, uppers)), 1);
        e->noted_uppers = true;
    }
    if (!n->rm_is_memory) {
        registers_only(e, at, n);
    } else if (e->g->insn[at].access.space == IR_DIRECT) {
        emit_direct_native(e, at, n);
    } else {
        with_memory(e, at, n);
    }
}
