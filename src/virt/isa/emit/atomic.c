/* atomic.c - read-modify-write, compare-and-swap, fences, probes.
 *
 * The operands go to the frame before the address is looked up: the cold path reads
 * them there.  Between the look-up and the place where the cold path joins no value may
 * be put aside, since only the hot path would do it; so the hot path makes do with the
 * two registers that the look-up leaves free.  What the host has no instruction for is a
 * loop around CMPXCHG; its RAX may be pinned and is kept on the host's stack. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"

static struct asm_mem value_field(const struct emit *e)
{
    return emit_field(e, offsetof(struct emit_frame, slow_value));
}

static struct asm_mem wanted_field(const struct emit *e)
{
    return emit_field(e, offsetof(struct emit_frame, slow_wanted));
}

/* The memory's old value, of `bits`, becomes the result; the cold path joins behind. */
static void finish(struct emit *e, uint32_t at, struct cold *s, enum host_reg old)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned from = i->access.bytes * 8u, bits = emit_bits(i->type);
    enum host_reg to = emit_define(e, at);

    if (from < bits && i->access.sign) {
        asm_movsx(&e->o, bits < 32 ? 32 : bits, from, to, old);
    } else {
        asm_movzx(&e->o, from, to, old);
    }
    s->dst = (uint8_t)to;
    s->resume = e->o.at;
    emit_cold(e, s);
    e->host_flags = 0;
}

/* The old value of what the loop or CMPXCHG left in RAX goes to `to`, RAX comes back. */
static void leave_rax(struct emit *e, enum host_reg to)
{
    asm_mov(&e->o, 64, to, H_RAX);
    asm_pop(&e->o, H_RAX);
}

/* `t` becomes what is to be stored where RAX was read. */
static void combine(struct emit *e, enum ir_atomic kind, unsigned bits, enum host_reg t)
{
    static const uint8_t alu[] = {
        [IR_ATOMIC_AND] = ASM_AND, [IR_ATOMIC_OR] = ASM_OR, [IR_ATOMIC_XOR] = ASM_XOR};
    static const uint8_t keeps[] = {[IR_ATOMIC_MIN_S - IR_ATOMIC_MIN_S] = IR_COND_LE,
                                    [IR_ATOMIC_MAX_S - IR_ATOMIC_MIN_S] = IR_COND_GE,
                                    [IR_ATOMIC_MIN_U - IR_ATOMIC_MIN_S] = IR_COND_BE,
                                    [IR_ATOMIC_MAX_U - IR_ATOMIC_MIN_S] = IR_COND_NC};
    uint8_t *kept;

    asm_mov(&e->o, 64, t, H_RAX);
    if (kind < IR_ATOMIC_SWAP) {
        asm_alu_load(&e->o, alu[kind], bits, t, value_field(e));
        return;
    }
    asm_alu_load(&e->o, ASM_CMP, bits, t, value_field(e));
    kept = asm_jcc(&e->o, keeps[kind - IR_ATOMIC_MIN_S]);
    asm_load(&e->o, bits, t, value_field(e));
    asm_bind(&e->o, kept, e->o.at);
}

static void change_in_loop(struct emit *e, const struct ir_insn *i, enum host_reg where,
                           enum host_reg t)
{
    unsigned bits = i->access.bytes * 8u;
    uint8_t *again;

    asm_push(&e->o, H_RAX);
    asm_load(&e->o, bits, H_RAX, asm_at(where, 0));
    again = e->o.at;
    combine(e, i->aux, bits, t);
    asm_lock(&e->o);
    asm_cmpxchg(&e->o, bits, asm_at(where, 0), t);
    asm_bind(&e->o, asm_jcc(&e->o, IR_COND_NZ), again);
    leave_rax(e, t);
}

/* RAX is nobody's place: whoever is there moves. */
static void free_rax(struct emit *e)
{
    uint32_t root = e->owner[H_RAX];
    enum host_reg to;

    if (e->pinned_to[H_RAX] != NOT_PINNED) {
        return;
    }
    e->locked[H_RAX] = true;
    if (root != 0) {
        to = emit_temp(e);
        asm_mov(&e->o, 64, to, H_RAX);
        e->owner[H_RAX] = 0;
        e->owner[to] = root;
        e->owned |= UINT32_C(1) << to;
        e->place[root].reg = (uint8_t)to;
        e->locked[to] = false;
    }
}

static void operand_to(struct emit *e, ir_value v, struct asm_mem field)
{
    enum host_reg r = emit_use(e, v);

    asm_store(&e->o, 64, field, r);
    e->locked[r] = false;
}

/* The address in a register, looked up for a write: *ret_addend is what to add to it.
 * `s` is a cold path from here on; one more register is free behind it. */
static enum host_reg reach(struct emit *e, uint32_t at, enum host_reg *ret_addend,
                           struct cold *s)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg address = i->op == IR_CAS ? emit_use(e, i->arg[0]) : emit_address(e, i);

    *ret_addend = emit_temp(e);
    *s = (struct cold){.kind = COLD_SLOW, .at = at, .value = H_NONE, .dst = H_NONE};
    s->from =
        emit_look_up(e, address, *ret_addend,
                     &(struct look_up){.span = i->access.bytes,
                                       .align = i->access.aligned ? i->access.bytes : 1,
                                       .tag = e->env->tlb_write});
    s->site = emit_site_at(e, at);
    s->address = (uint8_t)address;
    return address;
}

/* The host address of the operand, in a register; another one for its value is free. */
static enum host_reg find(struct emit *e, uint32_t at, struct cold *s,
                          enum host_reg *ret_value)
{
    enum host_reg address, u;

    free_rax(e);
    address = reach(e, at, &u, s);
    asm_alu(&e->o, ASM_ADD, 64, u, address);
    *ret_value = emit_temp(e);
    return u;
}

static bool has_form(struct emit *e, const struct ir_insn *i)
{
    if (i->access.bytes > 8 || i->access.space != IR_PAGED || i->type < IR_I8 ||
        i->type > IR_I64) {
        e->error = -ENOTSUP;
    }
    return e->error == 0;
}

void emit_atomic(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned bits = i->access.bytes * 8u;
    enum host_reg where, v;
    struct cold s;

    (void)detail;
    if (!has_form(e, i)) {
        return;
    }
    operand_to(e, i->arg[2], value_field(e));
    where = find(e, at, &s, &v);
    if (i->aux == IR_ATOMIC_ADD) {
        asm_load(&e->o, 64, v, value_field(e));
        asm_lock(&e->o);
        asm_xadd(&e->o, bits, asm_at(where, 0), v);
    } else if (i->aux == IR_ATOMIC_SWAP) {
        asm_load(&e->o, 64, v, value_field(e));
        asm_swap(&e->o, bits, asm_at(where, 0), v);
    } else {
        change_in_loop(e, i, where, v);
    }
    e->locked[where] = false;
    finish(e, at, &s, v);
}

void emit_cas(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg where, v;
    struct cold s;

    (void)detail;
    if (!has_form(e, i)) {
        return;
    }
    operand_to(e, i->arg[1], wanted_field(e));
    operand_to(e, i->arg[2], value_field(e));
    where = find(e, at, &s, &v);
    asm_load(&e->o, 64, v, value_field(e));
    asm_push(&e->o, H_RAX);
    asm_load(&e->o, 64, H_RAX, wanted_field(e));
    asm_lock(&e->o);
    asm_cmpxchg(&e->o, i->access.bytes * 8u, asm_at(where, 0), v);
    leave_rax(e, v);
    e->locked[where] = false;
    finish(e, at, &s, v);
}

/* x86 orders all but a store before a load. */
void emit_fence(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    if (e->g->insn[at].aux == IR_SEQUENTIAL) {
        asm_mfence(&e->o);
    }
}

void emit_check(struct emit *e, uint32_t at, unsigned detail)
{
    enum host_reg u;
    struct cold s;

    (void)detail;
    reach(e, at, &u, &s);
    s.resume = e->o.at;
    emit_cold(e, &s);
}
