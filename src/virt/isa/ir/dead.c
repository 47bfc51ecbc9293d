/* dead.c - pure values that nobody uses become `nop`, and so does the `set` of a global
 * that is set again before anybody can look.
 *
 * One walk from the end: a use marks its arguments; state maps and edges are uses. */
#include <string.h>

#include "virt/isa/ir/private.h"

static void mark_map(const struct ir_region *g, uint32_t map, bool *used)
{
    const struct ir_map *m = &g->map[map];
    uint32_t n;

    for (n = 0; map != 0 && n < m->count; n++) {
        used[g->pending[m->first + n].value] = true;
    }
}

static void mark_insn(struct ir_region *g, uint32_t at, bool *used)
{
    struct ir_insn *i = &g->insn[at];
    unsigned n;

    if (i->op == IR_NOP || i->op == IR_PARAM) {
        return;
    }
    if (!ir_stays(i) && !used[at]) {
        *i = (struct ir_insn){.op = IR_NOP};
        return;
    }
    for (n = 0; n < 3; n++) {
        used[i->arg[n]] = true;
    }
    mark_map(g, i->map, used);
}

void ir_pass_dead(struct ir_region *g)
{
    bool used[IR_REGION_INSNS];
    uint64_t again;
    uint32_t b, n;

    if (g->full) {
        return;
    }
    memset(used, 0, g->insns * sizeof used[0]);
    for (n = 0; n < g->args; n++) {
        used[g->arg[n]] = true;
    }
    for (b = g->blocks; b > 0; b--) {
        again = 0;
        for (n = g->block[b - 1].end; n > g->block[b - 1].first; n--) {
            if (ir_is_overtaken(&g->insn[n - 1], &again)) {
                g->insn[n - 1] = (struct ir_insn){.op = IR_NOP};
            }
            mark_insn(g, n - 1, used);
        }
    }
}

void ir_optimise_quickly(struct ir_region *g)
{
    if (!g->forwards || g->has_more_gets) {
        ir_pass_forward(g);
    }
}

void ir_optimise(struct ir_region *g)
{
    ir_pass_peel(g);
    if (!g->forwards || g->has_more_gets) {
        ir_pass_forward(g);
    }
    ir_pass_simplify(g);
    ir_pass_sink(g);
    ir_pass_dead(g);
    ir_pass_window(g);
}
