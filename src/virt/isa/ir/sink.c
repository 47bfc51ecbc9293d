/* sink.c - sets of globals without a host register go to where they are needed.
 *
 * Such a global is a store to memory.  Only the last value in a block has to reach
 * it, at the block's end; until then whoever leaves at the side finds the newest
 * value in the state map.  This is what makes flags nearly free: of ten results one
 * is looked at, and the others are made only on the cold path of a fault.
 *
 * Walks each block once: remembers the newest pending value of each global, removes
 * its `set`, adds all of them to each map, and puts the sets back in front of the
 * end and of code that may read globals.  The block is rebuilt behind the others,
 * since instructions are added. */
#include <string.h>

#include "virt/isa/ir/private.h"

#define GLOBALS_MAX 256

struct sink {
    struct ir_region *g;
    ir_value newest[GLOBALS_MAX];
    uint16_t order[GLOBALS_MAX]; /* globals that have one */
    unsigned count;
};

static void note(struct sink *s, uint16_t global, ir_value v)
{
    if (s->newest[global] == 0) {
        s->order[s->count++] = global;
    }
    s->newest[global] = v;
}

static void put_back(struct sink *s)
{
    unsigned n;

    for (n = 0; n < s->count; n++) {
        ir_set(s->g, s->order[n], s->newest[s->order[n]]);
        s->newest[s->order[n]] = 0;
    }
    s->count = 0;
}

static void fill_map(struct sink *s, struct ir_insn *i, const ir_value *new_name)
{
    struct ir_map m = s->g->map[i->map];
    uint32_t copy, n;

    if (s->count == 0 && m.count == 0) {
        return;
    }
    copy = ir_map_at(s->g, m.pc, m.done);
    for (n = 0; n < m.count; n++) {
        struct ir_pending p = s->g->pending[m.first + n];

        ir_pend(s->g, copy, p.global, new_name[p.value]);
    }
    for (n = 0; n < s->count; n++) {
        ir_pend(s->g, copy, s->order[n], s->newest[s->order[n]]);
    }
    i->map = copy;
}

/* What waits for these globals has been overtaken. */
static void overtake(struct sink *s, uint32_t globals)
{
    unsigned n, kept = 0;

    for (n = 0; n < s->count; n++) {
        if (s->order[n] < 32 && (globals >> s->order[n] & 1) != 0) {
            s->newest[s->order[n]] = 0;
        } else {
            s->order[kept++] = s->order[n];
        }
    }
    s->count = kept;
}

static void move_insn(struct sink *s, uint32_t at, ir_value *new_name)
{
    struct ir_insn i = s->g->insn[at];
    bool leaves = (ir_ops[i.op].traits & IR_END) != 0;

    ir_rename_arguments(&i, new_name);
    if (i.op == IR_NOP) {
        return;
    }
    if (i.op == IR_SET && s->g->global[i.imm].pin == IR_NO_PIN) {
        note(s, (uint16_t)i.imm, i.arg[0]);
        return;
    }
    if (leaves || ir_is_opaque(&i) || (i.op == IR_GET && s->newest[i.imm] != 0)) {
        put_back(s);
    }
    if (i.map != 0) {
        fill_map(s, &i, new_name);
    }
    new_name[at] = ir_add(s->g, &i);
    overtake(s, ir_changes(&i));
}

static void sink_block(struct sink *s, uint32_t b, ir_value *new_name)
{
    struct ir_region *g = s->g;
    struct ir_block old = g->block[b];
    uint32_t keep = g->blocks, first = g->insns, at;

    g->blocks = 0; /* `ir_add` must not stretch the last block */
    for (at = old.first; at < old.end && !g->full; at++) {
        move_insn(s, at, new_name);
    }
    g->blocks = keep;
    g->block[b].first = first;
    g->block[b].end = g->insns;
}

void ir_pass_sink(struct ir_region *g)
{
    struct sink s;                      /* much of it is never looked at */
    ir_value new_name[IR_REGION_INSNS]; /* of what there is now */
    uint32_t b, n;

    if (g->full || g->globals > GLOBALS_MAX) {
        return;
    }
    s.g = g;
    s.count = 0;
    memset(s.newest, 0, g->globals * sizeof s.newest[0]);
    memset(new_name, 0, g->insns * sizeof new_name[0]);
    for (b = 0; b < g->blocks; b++) {
        sink_block(&s, b, new_name);
    }
    for (n = 0; n < g->args; n++) {
        g->arg[n] = new_name[g->arg[n]];
    }
}
