/* integer.c - the host's own multiplications and divisions, in place.
 *
 * The guest's rax and rdx are the host's (else there is no form), so the instruction is
 * written as it is.  A division comes behind a look at its operands:
 *
 *   unsigned   the high half is below the divisor: the quotient fits
 *   signed     the high half is the low one's sign, and the divisor is neither 0 nor -1
 *
 * What does not pass is done by the row's routine, which faults where it has to. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/native.h"

static bool is_pinned(const struct emit *e, enum host_reg r)
{
    return e->pinned_to[r] != NOT_PINNED && e->pinned_to[r] == (uint16_t)r;
}

static void check_unsigned(struct emit *e, uint32_t at, struct cold *s, unsigned bits,
                           enum host_reg by)
{
    asm_alu(&e->o, ASM_CMP, bits, H_RDX, by);
    s->from = asm_jcc(&e->o, IR_COND_NC);
    s->site = emit_site_at(e, at);
}

static void check_signed(struct emit *e, uint32_t at, struct cold *s, unsigned bits,
                         enum host_reg by)
{
    enum host_reg t = emit_temp(e);
    struct cold other = *s;

    s->site = other.site = emit_site_at(e, at);
    asm_mov(&e->o, 64, t, H_RAX);
    asm_shift_imm(&e->o, ASM_SAR, bits, t, (uint8_t)(bits - 1));
    asm_alu(&e->o, ASM_CMP, bits, t, H_RDX);
    s->from = asm_jcc(&e->o, IR_COND_NZ);
    asm_lea(&e->o, 64, t, asm_at(by, 1));
    asm_alu_imm(&e->o, ASM_CMP, bits, t, 1);
    other.from = asm_jcc(&e->o, IR_COND_BE);
    emit_cold(e, &other);
}

/* F6, F7 /digit; any REX makes spl..dil of the byte registers. */
static void put_instruction(struct emit *e, const struct ir_native *n, enum host_reg r)
{
    if (n->bits == 16) {
        asm_byte(&e->o, 0x66);
    }
    asm_byte(&e->o, (uint8_t)(0x40 | (n->bits == 64 ? 8 : 0) | (r >= 8 ? 1 : 0)));
    asm_byte(&e->o, n->opcode);
    asm_byte(&e->o, (uint8_t)(0xc0 | n->reg << 3 | (r & 7)));
}

void emit_integer(struct emit *e, uint32_t at)
{
    const struct ir_native *n = (const struct ir_native *)(uintptr_t)e->g->insn[at].imm;
    struct cold s = {.kind = COLD_NATIVE, .at = at, .dst = H_NONE};
    unsigned colds = e->colds;
    enum host_reg by;

    if (!is_pinned(e, H_RAX) || !is_pinned(e, H_RDX)) {
        e->error = -ENOTSUP;
        return;
    }
    by = emit_use(e, e->g->insn[at].arg[2]);
    emit_evict(e, H_RAX);
    if ((n->changes >> H_RDX & 1) != 0) {
        emit_evict(e, H_RDX);
    }
    e->host_flags = 0;
    if (n->check == IR_NATIVE_DIVIDES_U) {
        check_unsigned(e, at, &s, n->bits, by);
    } else if (n->check == IR_NATIVE_DIVIDES_S) {
        check_signed(e, at, &s, n->bits, by);
    }
    put_instruction(e, n, by);
    if (n->stores_flags) {
        emit_push_flags(e, emit_field(e, offsetof(struct emit_frame, flags)));
        e->home_flags = 0;
        e->home_since = at;
    }
    s.resume = e->o.at;
    for (; colds < e->colds; colds++) {
        e->cold[colds].resume = e->o.at;
    }
    if (n->check != IR_NATIVE_ALWAYS) {
        emit_cold(e, &s);
    }
}
