/* region.c - building a region: growing arrays, folding of constants, edges. */
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "virt/isa/ir/build.h"
#include "virt/isa/ir/private.h"

const struct ir_op_info ir_ops[IR_OP_COUNT] = {
#define PURE      IR_PURE
#define MAY_FAULT IR_MAY_FAULT
#define EFFECT    IR_EFFECT
#define END       IR_END
#define IR_OP(id, name, arguments, result, traits, meaning)                              \
    [IR_##id] = {name, arguments, result, traits},
#include "virt/isa/ir/op.rows.h"
#undef PURE
#undef MAY_FAULT
#undef EFFECT
#undef END
};

const uint16_t ir_type_bits[IR_TYPE_COUNT] = {
    [IR_I1] = 1,   [IR_I8] = 8,   [IR_I16] = 16,   [IR_I32] = 32,   [IR_I64] = 64,
    [IR_F32] = 32, [IR_F64] = 64, [IR_V128] = 128, [IR_V256] = 256,
};

#define GROW(g, field, count, room)                                                      \
    ((g)->count < (g)->room || grow_for(&(g)->field, (g)->count + 1, &(g)->room) ||      \
     ((g)->full = true, false))

void ir_region_clear(struct ir_region *g)
{
    g->insns = 0;
    g->blocks = 0;
    g->edges = 0;
    g->args = 0;
    g->maps = 0;
    g->pendings = 0;
    g->full = false;
    g->has_more_gets = false;
    ir_forget(g);
    /* Index 0 of instructions and of maps means none. */
    if (GROW(g, insn, insns, insn_room)) {
        memset(&g->insn[0], 0, sizeof g->insn[0]);
        g->insns = 1;
    }
    if (GROW(g, map, maps, map_room)) {
        memset(&g->map[0], 0, sizeof g->map[0]);
        g->maps = 1;
    }
}

void ir_region_init(struct ir_region *g, const struct ir_global *globals, uint16_t count)
{
    memset(g, 0, sizeof *g);
    g->global = globals;
    g->globals = count;
    ir_region_clear(g);
}

void ir_region_fini(struct ir_region *g)
{
    free(g->insn);
    free(g->block);
    free(g->edge);
    free(g->arg);
    free(g->map);
    free(g->pending);
    memset(g, 0, sizeof *g);
}

bool ir_make_room(struct ir_region *g)
{
    if (g->full || g->insns == 0 || g->insns >= IR_REGION_INSNS ||
        !GROW(g, insn, insns, insn_room)) {
        g->full = true;
        return false;
    }
    if (g->insn_room > IR_REGION_INSNS) {
        g->insn_room = IR_REGION_INSNS;
    }
    return true;
}

void ir_rewind(struct ir_region *g, uint32_t insns, uint32_t maps)
{
    unsigned n;

    g->insns = insns;
    g->maps = maps;
    g->block[g->blocks - 1].end = insns;
    for (n = 0; n < IR_KNOWN; n++) {
        if (g->known[n] >= insns) { /* what it was before is forgotten, too */
            g->known[n] = 0;
            g->has_more_gets = true;
        }
    }
}

uint32_t ir_block_begin(struct ir_region *g)
{
    if (!GROW(g, block, blocks, block_room)) {
        return 0;
    }
    ir_forget(g);
    g->block[g->blocks] = (struct ir_block){.first = g->insns, .end = g->insns};
    return g->blocks++;
}

ir_value ir_param(struct ir_region *g, enum ir_type t)
{
    struct ir_block *b = &g->block[g->blocks - 1];

    return ir_add(g, &(struct ir_insn){.op = IR_PARAM, .type = t, .imm = b->params++});
}

uint64_t ir_mask(enum ir_type t)
{
    return ir_type_bits[t] >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << ir_type_bits[t]) - 1;
}

ir_value ir_const(struct ir_region *g, enum ir_type t, uint64_t v)
{
    return ir_add(g, &(struct ir_insn){.op = IR_CONST, .type = t, .imm = v & ir_mask(t)});
}

ir_value ir_get(struct ir_region *g, uint16_t global)
{
    bool forwards = g->forwards && global < IR_KNOWN;
    bool more = g->has_more_gets;
    ir_value v;

    if (forwards && g->known[global] != 0) {
        return g->known[global];
    }
    v = ir_add(g, &(struct ir_insn){
                      .op = IR_GET, .type = g->global[global].type, .imm = global});
    if (forwards) {
        g->known[global] = v;
        g->has_more_gets = more;
    }
    return v;
}

void ir_set(struct ir_region *g, uint16_t global, ir_value v)
{
    ir_add(g, &(struct ir_insn){.op = IR_SET, .arg = {v}, .imm = global});
}

static enum ir_type result_type(const struct ir_region *g, const struct ir_insn *i)
{
    switch (ir_ops[i->op].result) {
    case '=':
        return g->insn[i->arg[0]].type;
    case 'b':
        return IR_I1;
    case 'F':
        return IR_FLAGS_TYPE;
    case 'l':
        return IR_I64;
    case '.':
        return IR_VOID;
    default:
        return i->type;
    }
}

ir_value ir_3(struct ir_region *g, enum ir_op op, enum ir_type t, const ir_value arg[3])
{
    struct ir_insn i = {.op = op, .type = t, .arg = {arg[0], arg[1], arg[2]}};
    uint64_t folded;

    if (g->full) {
        return 0;
    }
    i.type = result_type(g, &i);
    if (op == IR_TRUNC && g->insn[arg[0]].op == IR_ZEXT &&
        g->insn[g->insn[arg[0]].arg[0]].type == i.type) {
        return g->insn[arg[0]].arg[0];
    }
    if (g->insn[arg[0]].op == IR_CONST && ir_fold(g, &i, &folded)) {
        return ir_const(g, i.type, folded);
    }
    return ir_add(g, &i);
}

ir_value ir_1(struct ir_region *g, enum ir_op op, enum ir_type t, ir_value a)
{
    return ir_3(g, op, t, (ir_value[3]){a});
}

ir_value ir_2(struct ir_region *g, enum ir_op op, ir_value a, ir_value b)
{
    return ir_3(g, op, IR_VOID, (ir_value[3]){a, b});
}

uint32_t ir_map_at(struct ir_region *g, uint64_t pc, uint32_t done)
{
    if (!GROW(g, map, maps, map_room)) {
        return 0;
    }
    g->map[g->maps] = (struct ir_map){.pc = pc, .done = done};
    return g->maps++;
}

bool ir_pend(struct ir_region *g, uint32_t map, uint16_t global, ir_value v)
{
    struct ir_map *m = &g->map[map];

    if (m->count == 0) {
        m->first = g->pendings;
    }
    /* Pending entries of one map lie together: maps are filled one by one. */
    if (m->first + m->count != g->pendings || !GROW(g, pending, pendings, pending_room)) {
        return false;
    }
    g->pending[g->pendings++] = (struct ir_pending){.global = global, .value = v};
    m->count++;
    return true;
}

static bool add_edge(struct ir_region *g, uint32_t block, const ir_value *args,
                     unsigned n)
{
    unsigned i;

    if (!GROW(g, edge, edges, edge_room)) {
        return false;
    }
    g->edge[g->edges++] = (struct ir_edge){.block = block, .first_arg = g->args};
    for (i = 0; i < n; i++) {
        if (!GROW(g, arg, args, arg_room)) {
            return false;
        }
        g->arg[g->args++] = args[i];
    }
    return true;
}

void ir_jump(struct ir_region *g, uint32_t block, const ir_value *args, unsigned n)
{
    g->block[g->blocks - 1].edge = g->edges;
    if (add_edge(g, block, args, n)) {
        ir_add(g, &(struct ir_insn){.op = IR_JUMP});
    }
}

void ir_branch_with(struct ir_region *g, ir_value cond, const struct ir_way *yes,
                    const struct ir_way *no)
{
    g->block[g->blocks - 1].edge = g->edges;
    if (add_edge(g, yes->block, yes->args, yes->count) &&
        add_edge(g, no->block, no->args, no->count)) {
        ir_add(g, &(struct ir_insn){.op = IR_BRANCH, .arg = {cond}});
    }
}

void ir_branch(struct ir_region *g, ir_value cond, uint32_t yes, uint32_t no)
{
    ir_branch_with(g, cond, &(struct ir_way){.block = yes},
                   &(struct ir_way){.block = no});
}
