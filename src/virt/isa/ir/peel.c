/* peel.c - what a loop's flags are at its head is said by registers.
 *
 * A loop compares and branches back.  The flags of that comparison are nearly always
 * overtaken in the next round before anybody reads them; but a fault, or somebody who
 * waits, might come first, so they would have to reach their global in each round.
 *
 * Here the first round becomes a block of its own, and the loop a second one.  Both
 * leave flags of the same kind, of operands that are registers or constants when the
 * round ends.  So the loop begins with `set flags` of just these, as values, and the
 * round's end puts back what the global had before (which is no work): the other passes
 * then keep the flags in state maps alone.
 *
 * Only for regions of one block that jumps to itself and runs no unknown code, with flags
 * that follow from their operands. */
#include <string.h>

#include "virt/isa/ir/private.h"

#define GLOBALS_MAX 256

/* The round as it stands: the last `set` of each global, 0 when there is none. */
struct round {
    struct ir_region *g;
    struct ir_block block;
    uint32_t last_set[GLOBALS_MAX];
    uint16_t flags; /* the global */
};

static bool follows_from_operands(const struct ir_insn *f)
{
    return f->op == IR_FLAGS && (f->aux == IR_FLAGS_ADD || f->aux == IR_FLAGS_SUB ||
                                 f->aux == IR_FLAGS_ADD_R || f->aux == IR_FLAGS_SUB_R ||
                                 f->aux == IR_FLAGS_LOGIC);
}

static bool is_loop(const struct ir_region *g)
{
    const struct ir_block *b = &g->block[0];

    return g->blocks == 1 && b->params == 0 && b->end > b->first &&
           g->insn[b->end - 1].op == IR_JUMP && g->edge[b->edge].block == 0;
}

/* False: it runs unknown code, has been optimised already, or leaves no flags. */
static bool look_at(struct round *r)
{
    const struct ir_region *g = r->g;
    bool has_flags = false;
    uint32_t at;

    for (at = r->block.first; at < r->block.end; at++) {
        const struct ir_insn *i = &g->insn[at];

        if (ir_is_opaque(i) || ir_changes(i) != 0 ||
            (i->map != 0 && g->map[i->map].count != 0)) {
            return false;
        }
        if (i->op == IR_SET) {
            r->last_set[i->imm] = at;
        }
        if (i->op == IR_SET && g->global[i->imm].type == IR_FLAGS_TYPE) {
            r->flags = (uint16_t)i->imm;
            has_flags = true;
        }
    }
    return has_flags;
}

/* The global that has `v`, or begins with it, when the round ends; -1: none. */
static int holder_of(const struct round *r, ir_value v)
{
    const struct ir_region *g = r->g;
    const struct ir_insn *i = &g->insn[v];
    uint16_t n;

    if (i->op == IR_GET && r->last_set[i->imm] < v) {
        return (int)i->imm;
    }
    for (n = 0; n < g->globals; n++) {
        const struct ir_insn *s = &g->insn[r->last_set[n]];
        const struct ir_insn *what = &g->insn[s->arg[0]];

        if (r->last_set[n] == 0) {
            continue;
        }
        if (s->arg[0] == v || (what->op == IR_ZEXT && what->arg[0] == v) ||
            (what->op == IR_DEPOSIT && what->imm == 0 && what->arg[1] == v)) {
            return n;
        }
    }
    return i->op == IR_TRUNC ? holder_of(r, i->arg[0]) : -1;
}

static bool can_say(const struct round *r, ir_value v)
{
    int n;

    if (v == 0 || r->g->insn[v].op == IR_CONST) {
        return true;
    }
    n = holder_of(r, v);
    return n >= 0 && r->g->global[n].type == IR_I64;
}

static ir_value say(const struct round *r, ir_value v)
{
    struct ir_insn i = r->g->insn[v];
    ir_value whole;

    if (v == 0 || i.op == IR_CONST) {
        return v == 0 ? 0 : ir_const(r->g, i.type, i.imm);
    }
    whole = ir_get(r->g, (uint16_t)holder_of(r, v));
    return i.type == IR_I64 ? whole : ir_1(r->g, IR_TRUNC, i.type, whole);
}

/* The round once more, at the region's end; `again`: its flags are those of its end. */
static void write_round(struct round *r, bool again)
{
    struct ir_region *g = r->g;
    struct ir_insn f = g->insn[g->insn[r->last_set[r->flags]].arg[0]];
    ir_value new_name[IR_REGION_INSNS], before = ir_get(g, r->flags);
    uint32_t at;

    memset(new_name, 0, r->block.end * sizeof new_name[0]);
    if (again) {
        unsigned n;

        for (n = 0; n < 3; n++) {
            f.arg[n] = say(r, f.arg[n]);
        }
        ir_set(g, r->flags, ir_add(g, &f));
    }
    for (at = r->block.first; at < r->block.end - 1 && !g->full; at++) {
        struct ir_insn i = g->insn[at];

        ir_rename_arguments(&i, new_name);
        new_name[at] = ir_add(g, &i);
    }
    ir_set(g, r->flags, before);
}

void ir_pass_peel(struct ir_region *g)
{
    struct round r = {.g = g};
    const struct ir_insn *f;
    uint32_t first;
    unsigned n;

    if (g->full || g->globals > GLOBALS_MAX || g->blocks == 0 || !is_loop(g)) {
        return;
    }
    r.block = g->block[0];
    if (!look_at(&r)) {
        return;
    }
    f = &g->insn[g->insn[r.last_set[r.flags]].arg[0]];
    for (n = 0; n < 3; n++) {
        if (!follows_from_operands(f) || !can_say(&r, f->arg[n])) {
            return;
        }
    }
    first = g->insns;
    g->blocks = 0; /* `ir_add` must not stretch the old block */
    ir_forget(g);
    g->has_more_gets = true;
    write_round(&r, false);
    ir_add(g, &(struct ir_insn){.op = IR_JUMP});
    g->blocks = 1;
    g->block[0].first = first;
    g->block[0].end = g->insns;
    g->edge[r.block.edge].block = ir_block_begin(g);
    write_round(&r, true);
    ir_jump(g, 1, NULL, 0);
}
