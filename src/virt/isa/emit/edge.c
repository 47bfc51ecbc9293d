/* edge.c - blocks, their parameters, and the ways from one to another.
 *
 * A parameter has its place before its block is written: a spill slot, counted from the
 * last one down.  An edge puts the arguments there and changes nothing that is known of
 * registers, so both edges of a branch are written from the same state: what an argument
 * needs in order to lie somewhere is done before the branch.  Arguments that lie in slots
 * go over the host's stack, all of them read before one is written. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"

static struct asm_mem param_slot(const struct emit *e, uint32_t n)
{
    return emit_field(e, offsetof(struct emit_frame, spill) +
                             sizeof(uint64_t) * (EMIT_SPILLS - 1 - n));
}

void emit_param(struct emit *e, uint32_t at, unsigned detail)
{
    uint64_t n = e->g->insn[at].imm;

    (void)detail;
    if (n >= EMIT_PARAMS_MOST || e->g->insn[at].type > IR_F64) {
        e->error = -ENOTSUP;
        return;
    }
    e->place[at].spill = (uint8_t)(EMIT_SPILLS - 1 - n);
    e->spill_owner[e->place[at].spill] = at;
    e->spilled |= UINT32_C(1) << e->place[at].spill;
    e->next_death = 0; /* nothing is known of it */
}

/* Every argument of the edge lies in a register or slot, or is constant. */
static void settle_arguments(struct emit *e, uint32_t edge)
{
    const struct ir_edge *to = &e->g->edge[edge];
    uint32_t params = e->g->block[to->block].params, n;
    uint64_t c;

    if (params > EMIT_PARAMS_MOST) {
        e->error = -ENOTSUP;
        return;
    }
    for (n = 0; n < params; n++) {
        ir_value v = e->g->arg[to->first_arg + n];
        const struct place *p = &e->place[emit_root(e, v)];

        if (p->reg == H_NONE && p->spill == NO_SPILL && !emit_is_const(e, v, &c)) {
            enum host_reg r = emit_use(e, v);

            e->locked[r] = false; /* there may be more of them than registers */
        }
    }
}

static void store_argument(struct emit *e, uint32_t n, const struct emit_loc *from)
{
    struct asm_mem to = param_slot(e, n), upper = to;

    if (from->kind == EMIT_IN_REG) {
        asm_store(&e->o, 64, to, from->reg);
    } else if (from->kind == EMIT_IS_CONST) {
        upper.disp += 4;
        asm_store_imm(&e->o, 32, to, (int32_t)from->value);
        asm_store_imm(&e->o, 32, upper, (int32_t)(from->value >> 32));
    }
}

static bool is_elsewhere(const struct emit_loc *l, uint32_t n)
{
    return l->kind == EMIT_IN_SPILL && l->value != EMIT_SPILLS - 1 - n;
}

static void put_arguments(struct emit *e, uint32_t edge)
{
    const struct ir_edge *to = &e->g->edge[edge];
    uint32_t params = e->g->block[to->block].params, n;
    struct emit_loc from[EMIT_PARAMS_MOST];

    for (n = 0; n < params && e->error == 0; n++) {
        from[n] = emit_locate(e, e->g->arg[to->first_arg + n]);
        if (from[n].kind == EMIT_NOWHERE) {
            e->error = -EINVAL;
        }
        if (is_elsewhere(&from[n], n)) {
            asm_push_mem(&e->o, emit_field(e, offsetof(struct emit_frame, spill) +
                                                  sizeof(uint64_t) * from[n].value));
        }
    }
    for (n = params; n > 0 && e->error == 0; n--) {
        if (is_elsewhere(&from[n - 1], n - 1)) {
            asm_pop_mem(&e->o, param_slot(e, n - 1));
        }
    }
    for (n = 0; n < params && e->error == 0; n++) {
        store_argument(e, n, &from[n]);
    }
}

/* `is_last`: what is written next here is the next block. */
static void go(struct emit *e, uint32_t edge, bool is_last)
{
    uint32_t block = e->g->edge[edge].block;
    uint8_t *jump;

    put_arguments(e, edge);
    if (is_last && block == e->block + 1) {
        return;
    }
    jump = asm_jmp(&e->o);
    if (block <= e->block) {
        asm_bind(&e->o, jump, e->block_at[block]);
    } else {
        e->fix[e->fixes++] = (struct fix){.from = jump, .block = block};
    }
}

void emit_jump(struct emit *e, uint32_t at, unsigned detail)
{
    uint32_t edge = e->g->block[e->block].edge;

    (void)at;
    (void)detail;
    settle_arguments(e, edge);
    go(e, edge, true);
}

void emit_branch(struct emit *e, uint32_t at, unsigned detail)
{
    uint32_t edge = e->g->block[e->block].edge;
    uint8_t *yes;

    (void)detail;
    settle_arguments(e, edge);
    settle_arguments(e, edge + 1);
    yes = asm_jcc(&e->o, emit_truth(e, e->g->insn[at].arg[0]));
    go(e, edge + 1, false);
    asm_bind(&e->o, yes, e->o.at);
    go(e, edge, true);
}

void emit_fix_jumps(struct emit *e)
{
    uint32_t n;

    for (n = 0; n < e->fixes; n++) {
        asm_bind(&e->o, e->fix[n].from, e->block_at[e->fix[n].block]);
    }
}
