/* fpu.c - the host's own x87 and MMX instructions on the guest's registers.
 *
 * The x87 state is not moved in and out with the others, since most code has no use for
 * it.  It lies in the processor's struct until the first instruction that needs it asks
 * for it: one test, and a call where it is not lent yet.  From there on the host's x87
 * unit holds it until generated code ends; helpers that run in between and need the
 * state take it, and lend it again.  So within a block one test is enough.
 *
 * The state may be lent only while it masks all exceptions and none waits: no x87
 * instruction of ours ever traps.  FLDCW looks at what it is going to load. */
#include <stddef.h>

#include "virt/isa/emit/private.h"
#include "virt/isa/ir/native.h"

#define X87_MASKS 0x3f

void emit_fpu_claim(struct emit *e, uint32_t at)
{
    struct cold s = {.kind = COLD_FPU, .at = at};

    if (e->fpu_block == e->block + 1) {
        return;
    }
    asm_alu_store_imm(&e->o, ASM_CMP, 32,
                      emit_field(e, offsetof(struct emit_frame, fpu_lent)), 0);
    e->host_flags = 0;
    s.site = emit_site_at(e, at);
    s.from = asm_jcc(&e->o, IR_COND_Z);
    s.resume = e->o.at;
    emit_cold(e, &s);
    e->fpu_block = e->block + 1;
}

void emit_fpu_cold(struct emit *e, const struct cold *s)
{
    emit_store_site(e, s->site);
    asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, fpu_thunk)));
    asm_bind(&e->o, asm_jmp(&e->o), s->resume);
}

/* opcode /digit gs:[fpu_word] */
static void put_word(struct emit *e, uint8_t opcode, unsigned digit)
{
    asm_byte(&e->o, 0x65);
    asm_byte(&e->o, opcode);
    asm_byte(&e->o, (uint8_t)(digit << 3 | 4));
    asm_byte(&e->o, 0x25);
    asm_word32(&e->o, e->env->frame + (uint32_t)offsetof(struct emit_frame, fpu_word));
}

static void put_status(struct emit *e, uint32_t at)
{
    enum host_reg to;

    put_word(e, 0xdd, 7); /* fnstsw */
    to = emit_define(e, at);
    asm_load_zx(&e->o, 16, to, emit_field(e, offsetof(struct emit_frame, fpu_word)));
}

static void put_control(struct emit *e, uint32_t at)
{
    struct cold s = {.kind = COLD_NATIVE, .at = at, .dst = H_NONE};
    enum host_reg v = emit_use(e, e->g->insn[at].arg[2]), t = emit_temp(e);

    asm_mov(&e->o, 32, t, v);
    asm_alu_imm(&e->o, ASM_AND, 32, t, X87_MASKS);
    asm_alu_imm(&e->o, ASM_CMP, 32, t, X87_MASKS);
    e->host_flags = 0;
    s.site = emit_site_at(e, at);
    s.from = asm_jcc(&e->o, IR_COND_NZ);
    asm_store(&e->o, 32, emit_field(e, offsetof(struct emit_frame, fpu_word)), v);
    put_word(e, 0xd9, 5); /* fldcw */
    s.resume = e->o.at;
    emit_cold(e, &s);
}

/* DA C0+i, DB C0+i: by C, Z, BE and P; other conditions of the host become NZ. */
static void put_move_if(struct emit *e, uint32_t at, const struct ir_native *n)
{
    static const uint8_t modrm[8] = {[IR_COND_C >> 1] = 0xc0,
                                     [IR_COND_Z >> 1] = 0xc8,
                                     [IR_COND_BE >> 1] = 0xd0,
                                     [IR_COND_P >> 1] = 0xd8};
    unsigned cond = emit_truth(e, e->g->insn[at].arg[2]);

    if (modrm[cond >> 1] == 0) {
        enum host_reg t = emit_temp(e);

        asm_setcc(&e->o, cond, t);
        asm_test(&e->o, 8, t, t);
        e->host_flags = 0;
        cond = IR_COND_NZ;
    }
    asm_byte(&e->o, (cond & 1) != 0 ? 0xdb : 0xda);
    asm_byte(&e->o, (uint8_t)(modrm[cond >> 1] | n->rm));
}

bool emit_fpu_form(struct emit *e, uint32_t at, const struct ir_native *n)
{
    switch (n->fpu) {
    case IR_FPU_STATUS:
        put_status(e, at);
        return true;
    case IR_FPU_CONTROL:
        put_control(e, at);
        return true;
    case IR_FPU_MOVE_IF:
        put_move_if(e, at, n);
        return true;
    case IR_FPU_EMPTY:
        asm_byte(&e->o, 0x0f);
        asm_byte(&e->o, 0x77);
        return true;
    default:
        return false;
    }
}
