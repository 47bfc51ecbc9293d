/* native.c - the host's own vector instructions on the guest's registers.
 *
 *   legacy   [66|F2|F3] [REX] 0F [38|3A] opcode modrm [sib disp] [imm8]
 *   x87      [REX] D8..DF modrm [sib disp]
 *   VEX      C4 RXB.map W.vvvv.L.pp opcode modrm ...
 *
 * A memory operand is reached through the soft TLB.  Where that does not answer, the
 * row's own routine executes the instruction on guest state that is whole. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/native.h"

struct parts {
    unsigned reg, rm; /* host numbers */
    bool memory;
    enum host_reg base, index; /* of memory */
    bool byte_rm;
};

static void put_legacy_head(struct emit *e, const struct ir_native *n,
                            const struct parts *p)
{
    unsigned rex = (n->wide ? 8u : 0) | (p->reg >= 8 ? 4u : 0);

    if (p->memory) {
        rex |= (p->index >= 8 ? 2u : 0) | (p->base >= 8 ? 1u : 0);
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
    unsigned x = p->memory && p->index >= 8, b = p->memory ? p->base >= 8 : p->rm >= 8;

    asm_byte(&e->o, 0xc4);
    asm_byte(&e->o, (uint8_t)((p->reg >= 8 ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) |
                              n->map));
    asm_byte(&e->o, (uint8_t)((n->wide ? 0x80 : 0) | (~(unsigned)n->vvvv & 15) << 3 |
                              (n->l256 ? 4 : 0) | n->prefix));
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
    if (p->memory) { /* [base + index], with a zero displacement where rbp or r13 want one */
        bool disp = (p->base & 7) == H_RBP;

        asm_byte(&e->o, (uint8_t)((disp ? 0x44 : 0x04) | (p->reg & 7) << 3));
        asm_byte(&e->o, (uint8_t)((p->index & 7) << 3 | (p->base & 7)));
        if (disp) {
            asm_byte(&e->o, 0);
        }
    } else {
        asm_byte(&e->o, (uint8_t)(0xc0 | (p->reg & 7) << 3 | (p->rm & 7)));
    }
    if (n->has_imm8) {
        asm_byte(&e->o, n->imm8);
    }
}

static bool changes_flags(const struct ir_native *n)
{
    return n->gives_flags;
}

/* The integer result, or the flags as RFLAGS. */
static void put_result(struct emit *e, uint32_t at, const struct ir_native *n,
                       const struct parts *p)
{
    enum host_reg to;

    if (n->gives_flags) {
        to = emit_define(e, at);
        asm_byte(&e->o, 0x9c); /* pushfq */
        asm_pop(&e->o, to);
        return;
    }
    if (e->g->insn[at].type != IR_VOID) {
        enum host_reg from = n->reg_is_result ? p->reg : p->rm;

        to = emit_define(e, at);
        asm_mov(&e->o, 64, to, from);
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
        p.reg = emit_temp(e);
    } else if (n->rm_is_result) {
        p.rm = emit_temp(e);
    }
    put_instruction(e, n, &p);
    if (changes_flags(n)) {
        e->host_flags = 0;
    }
    put_result(e, at, n, &p);
}

static void with_memory(struct emit *e, uint32_t at, const struct ir_native *n)
{
    struct ir_insn i = e->g->insn[at];
    struct cold s = {.kind = COLD_NATIVE, .at = at, .dst = H_NONE};
    struct parts p = {.reg = n->reg, .memory = true};
    enum host_reg address, u;

    i.imm = (uint64_t)n->disp;
    i.arg[2] = 0;
    address = emit_address(e, &i);
    u = emit_temp(e);
    s.from =
        emit_tlb(e, address, u, n->bytes,
                 n->writes_memory ? e->env->tlb_write : e->env->tlb_read, n->aligned);
    s.site = emit_site_at(e, at);
    p.base = u;
    p.index = address;
    put_instruction(e, n, &p);
    if (n->gives_flags) {
        e->host_flags = 0;
        put_result(e, at, n, &p);
        s.dst = e->place[at].reg;
    }
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
    if (n->rm_is_memory) {
        with_memory(e, at, n);
    } else {
        registers_only(e, at, n);
    }
}
