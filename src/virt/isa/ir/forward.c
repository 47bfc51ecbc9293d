/* forward.c - a `get` gives the value that the last `get` or `set` of its block had.
 *
 * One table: the known value of each global.  A call or routine may change any of
 * them; so may nothing else. */
#include <string.h>

#include "virt/isa/ir/native.h"
#include "virt/isa/ir/private.h"

#define GLOBALS_MAX 256

void ir_rename_rest(struct ir_region *g, const ir_value *new_name)
{
    uint32_t n;

    for (n = 0; n < g->args; n++) {
        g->arg[n] = new_name[g->arg[n]];
    }
    for (n = 0; n < g->pendings; n++) {
        g->pending[n].value = new_name[g->pending[n].value];
    }
}

static void forget(ir_value *known, uint32_t globals)
{
    unsigned n;

    for (n = 0; n < 32; n++) {
        known[n] = (globals >> n & 1) != 0 ? 0 : known[n];
    }
}

void ir_pass_forward(struct ir_region *g)
{
    ir_value known[GLOBALS_MAX], new_name[IR_REGION_INSNS];
    uint32_t b, at;

    if (g->full || g->globals > GLOBALS_MAX) {
        return;
    }
    for (at = 0; at < g->insns; at++) {
        new_name[at] = at;
    }
    for (b = 0; b < g->blocks; b++) {
        memset(known, 0, sizeof known);
        for (at = g->block[b].first; at < g->block[b].end; at++) {
            struct ir_insn *i = &g->insn[at];

            ir_rename_arguments(i, new_name);
            if (ir_is_opaque(i)) {
                memset(known, 0, sizeof known);
            } else if (ir_changes(i) != 0) {
                forget(known, ir_changes(i));
            } else if (i->op == IR_SET) {
                known[i->imm] = i->arg[0];
            } else if (i->op == IR_GET && known[i->imm] != 0) {
                new_name[at] = known[i->imm];
                *i = (struct ir_insn){.op = IR_NOP};
            } else if (i->op == IR_GET) {
                known[i->imm] = at;
            }
        }
    }
    ir_rename_rest(g, new_name);
}
