/* emit.c - one region, front to back.
 *
 * First the last use of each value, from the end; then the code of each operation;
 * then the cold code.  Conditions and flags are made where they are used, so using one
 * is using what it was made from. */
#include "virt/isa/emit/emit.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "virt/isa/emit/private.h"
#include "virt/isa/ir/private.h"

/* How a value is made, where its last use is one of its arguments', too. */
enum made {
    LAZY = 1,    /* where it is used */
    SHARES_PLACE /* of its argument */
};

static const uint8_t made[IR_OP_COUNT] = {[IR_FLAGS] = LAZY,
                                          [IR_COND] = LAZY,
                                          [IR_EQ] = LAZY,
                                          [IR_NE] = LAZY,
                                          [IR_ULT] = LAZY,
                                          [IR_ULE] = LAZY,
                                          [IR_SLT] = LAZY,
                                          [IR_SLE] = LAZY,
                                          [IR_TRUNC] = SHARES_PLACE,
                                          [IR_ZEXT] = SHARES_PLACE,
                                          [IR_EXTRACT] = SHARES_PLACE};

static void use_all_of(struct emit *e, const struct ir_insn *i, uint32_t at);

/* `v` is used at `at`: it, or what it is made from.  Whoever used it later has said so of
 * what it is made from; value 0 is used for ever. */
static inline void use(struct emit *e, ir_value v, uint32_t at)
{
    if (e->place[v].last_use < at) {
        const struct ir_insn *i = &e->g->insn[v];

        e->place[v].last_use = at;
        if (made[i->op] != 0 && (i->op != IR_EXTRACT || i->imm == 0)) {
            use_all_of(e, i, at);
        }
    }
}

static void use_all_of(struct emit *e, const struct ir_insn *i, uint32_t at)
{
    use(e, i->arg[0], at);
    use(e, i->arg[1], at);
    use(e, i->arg[2], at);
}

/* Arguments of the edges are used where their block ends. */
static void find_edge_uses(struct emit *e)
{
    const struct ir_region *g = e->g;
    uint32_t b, edge, n;

    for (b = 0; b < g->blocks; b++) {
        uint32_t last = g->block[b].end - 1;
        uint32_t edges = g->insn[last].op == IR_JUMP     ? 1
                         : g->insn[last].op == IR_BRANCH ? 2
                                                         : 0;

        for (edge = g->block[b].edge; edges > 0; edges--, edge++) {
            for (n = 0; n < g->block[g->edge[edge].block].params; n++) {
                use(e, g->arg[g->edge[edge].first_arg + n], last);
            }
        }
    }
}

static void find_uses_of(struct emit *e, uint32_t at)
{
    const struct ir_region *g = e->g;
    const struct ir_insn *i = &g->insn[at];
    uint32_t n;

    if (made[i->op] == LAZY || i->op <= IR_GET) {
        return;
    }
    if (i->op == IR_SET) {
        e->place[i->arg[0]].set_at = at;
    }
    use_all_of(e, i, at);
    for (n = 0; i->map != 0 && n < g->map[i->map].count; n++) {
        /* ... through an access: its site is read when operands are dead. */
        use(e, g->pending[g->map[i->map].first + n].value,
            i->op == IR_EXIT_IF ? at : at + 1);
    }
}

/* Values that nobody uses, and sets that others overtake, are not written; but arguments
 * of edges are not known yet. */
static bool is_dead(const struct emit *e, uint32_t at, uint64_t *again)
{
    const struct ir_insn *i = &e->g->insn[at];
    bool is_unused = e->place[at].last_use == 0 && e->g->args == 0;

    if (ir_ops[i->op].traits == IR_PURE) {
        return is_unused && i->op != IR_PARAM;
    }
    return ir_is_overtaken(i, again) || (is_unused && i->op == IR_GET);
}

static void find_uses(struct emit *e)
{
    const struct ir_region *g = e->g;
    uint64_t again;
    uint32_t b, at;

    e->place[0] =
        (struct place){.reg = H_NONE, .spill = NO_SPILL, .last_use = UINT32_MAX};
    for (b = 0; b < g->blocks; b++) {
        for (at = g->block[b].first; at < g->block[b].end; at++) {
            e->place[at] = (struct place){.root = at, .reg = H_NONE, .spill = NO_SPILL};
        }
        for (again = 0; at-- > g->block[b].first;) {
            if (g->insn[at].op <= IR_CONST) {
                continue;
            }
            e->place[at].is_dead = is_dead(e, at, &again);
            if (!e->place[at].is_dead) {
                find_uses_of(e, at);
            }
        }
    }
}

/* Two gets of one global are one value until it is set: they share a place, so the later
 * uses count for the first.  `ir_pass_forward` has left at most one. */
static void pin_registers(struct emit *e)
{
    uint16_t n;

    memset(e->pinned_to, 0xff, sizeof e->pinned_to);
    for (n = 0; n < e->env->globals; n++) {
        if (e->env->global[n].pin < EMIT_HOST_REGS) {
            e->pinned_to[e->env->global[n].pin] = n;
        }
    }
    e->temps = 0;
    for (n = 0; n < EMIT_HOST_REGS; n++) {
        if (n != H_RSP && e->pinned_to[n] == NOT_PINNED) {
            e->temps |= UINT32_C(1) << n;
        }
    }
}

static int write_region(struct emit *e)
{
    const struct ir_region *g = e->g;
    uint32_t at;

    for (e->block = 0; e->block < g->blocks && e->error == 0; e->block++) {
        emit_reset_regs(e);
        e->block_at[e->block] = e->o.at;
        for (at = g->block[e->block].first; at < g->block[e->block].end; at++) {
            emit_insn(e, at);
            if (e->error != 0 || e->o.full) {
                break;
            }
        }
    }
    e->r->hot_bytes = (uint32_t)(e->o.at - e->o.start);
    if (e->error == 0) {
        emit_fix_jumps(e);
        emit_cold_code(e);
    }
    e->r->bytes = (uint32_t)(e->o.at - e->o.start);
    return e->error != 0 ? e->error : e->o.full ? -ENOSPC : 0;
}

/* Room for what is only known during one translation, in one piece, which is kept. */
static bool take_room(struct emit *e)
{
    size_t cold = COLD_MAX * sizeof *e->cold;
    size_t blocks = e->g->blocks * sizeof *e->block_at;
    size_t fixes = (e->g->edges + 1) * sizeof *e->fix;
    size_t bytes = cold + blocks + fixes + (e->g->insns + 1) * sizeof *e->place;
    uint8_t *p = e->r->work;

    if (bytes > e->r->work_bytes) {
        p = fault_realloc(p, bytes);
        if (p == NULL) {
            return false;
        }
        e->r->work = p;
        e->r->work_bytes = bytes;
    }
    e->cold = (void *)p;
    e->block_at = (void *)(p + cold);
    e->fix = (void *)(p + cold + blocks);
    e->place = (void *)(p + cold + blocks + fixes);
    memset(e->block_at, 0, blocks);
    return true;
}

int emit_region(const struct ir_region *g, const struct emit_env *env,
                const struct emit_place *at, struct emit_result *ret_result)
{
    struct emit e = {
        .g = g,
        .env = env,
        .thunks = at->trampolines,
        .r = ret_result,
        .counter = at->counter,
        .o = {.start = at->write, .at = at->write, .end = at->write + at->room}};

    ret_result->sites = 0;
    ret_result->pends = 0;
    ret_result->exits = 0;
    ret_result->fixes = 0;
    if (!take_room(&e)) {
        return -ENOMEM;
    }
    pin_registers(&e);
    find_uses(&e);
    find_edge_uses(&e);
    e.place[0].last_use = 0;
    if (e.counter == 0) { /* what is made quickly goes without */
        emit_find_loaded(&e);
    }
    return write_region(&e);
}

void emit_result_fini(struct emit_result *r)
{
    free(r->site);
    free(r->pend);
    free(r->exit);
    free(r->fix);
    free(r->work);
    memset(r, 0, sizeof *r);
}
