/* verify.c - whether a region keeps the rules of ir.h.
 *
 * Uses must come after their value in the same block; values cross blocks only as
 * edge arguments.  So no dominance has to be computed. */
#include <stdarg.h>
#include <stdio.h>

#include "virt/isa/ir/private.h"

struct check {
    const struct ir_region *g;
    char *why;
    size_t bytes;
    uint32_t block;
};

static bool fail(struct check *c, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(struct check *c, uint32_t at, const char *format, ...)
{
    char text[96];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(c->why, c->bytes, "block %u, %%%u: %s", c->block, at, text);
    return false;
}

static bool letter_allows(char letter, enum ir_type t)
{
    switch (letter) {
    case 'i':
        return t >= IR_I1 && t <= IR_I64;
    case 'b':
        return t == IR_I1;
    case 'l':
        return t == IR_I64;
    case 'f':
        return t == IR_F32 || t == IR_F64;
    case 'v':
        return t == IR_V128 || t == IR_V256;
    case 'F':
        return t == IR_FLAGS_TYPE;
    default:
        return t != IR_VOID;
    }
}

/* Arguments that may be missing: index of an access, spare ones of `*`. */
static bool may_miss(const struct ir_insn *i, unsigned n)
{
    char letter = ir_ops[i->op].arguments[n];

    return letter == '*' || (letter == 'l' && n == 1);
}

static bool check_argument(struct check *c, uint32_t at, unsigned n)
{
    const struct ir_insn *i = &c->g->insn[at];
    char letter = ir_ops[i->op].arguments[n];
    enum ir_type t;

    if (letter == '.') {
        return i->arg[n] == 0 || fail(c, at, "argument %u is too many", n);
    }
    if (i->arg[n] == 0) {
        return may_miss(i, n) || fail(c, at, "argument %u is missing", n);
    }
    if (i->arg[n] >= at || i->arg[n] < c->g->block[c->block].first) {
        return fail(c, at, "%%%u is not made before it in this block", i->arg[n]);
    }
    t = c->g->insn[i->arg[n]].type;
    return letter_allows(letter, t) || fail(c, at, "argument %u is of the wrong type", n);
}

static bool check_map(struct check *c, uint32_t at)
{
    const struct ir_insn *i = &c->g->insn[at];
    const struct ir_map *m;
    uint32_t n;

    if ((ir_ops[i->op].traits & IR_MAY_FAULT) == 0) {
        return i->map == 0 || fail(c, at, "a map, but it cannot fault");
    }
    if (i->map == 0 || i->map >= c->g->maps) {
        return fail(c, at, "may fault, but has no map");
    }
    m = &c->g->map[i->map];
    for (n = 0; n < m->count; n++) {
        const struct ir_pending *p = &c->g->pending[m->first + n];

        if (p->value == 0 || p->value >= at || p->global >= c->g->globals) {
            return fail(c, at, "its map names a value that is not there");
        }
    }
    return true;
}

/* A direct access goes through a window, and nothing else does. */
static bool check_window(struct check *c, uint32_t at)
{
    const struct ir_insn *i = &c->g->insn[at];
    bool direct = i->access.space == IR_DIRECT;
    unsigned n;

    if (direct && ((i->op != IR_NATIVE && i->arg[1] != 0) ||
                   c->g->insn[i->arg[0]].op != IR_WINDOW)) {
        return fail(c, at, "a direct access without a window");
    }
    for (n = direct ? 1 : 0; n < 3; n++) {
        if (i->arg[n] != 0 && c->g->insn[i->arg[n]].op == IR_WINDOW) {
            return fail(c, at, "a window is no value to calculate with");
        }
    }
    return true;
}

static bool same_types(const struct ir_region *g, const struct ir_insn *i)
{
    const char *letters = ir_ops[i->op].arguments;
    bool two = letters[1] == letters[0] && (letters[0] == 'i' || letters[0] == 'f');

    if (i->op == IR_DEPOSIT || !two) {
        return true;
    }
    return g->insn[i->arg[0]].type == g->insn[i->arg[1]].type;
}

static bool check_global(struct check *c, uint32_t at)
{
    const struct ir_insn *i = &c->g->insn[at];
    enum ir_type t;

    if (i->op != IR_GET && i->op != IR_SET) {
        return true;
    }
    if (i->imm >= c->g->globals) {
        return fail(c, at, "there is no such global");
    }
    t = i->op == IR_GET ? i->type : c->g->insn[i->arg[0]].type;
    return t == c->g->global[i->imm].type || fail(c, at, "not the global's type");
}

static bool check_insn(struct check *c, uint32_t at, bool last)
{
    const struct ir_insn *i = &c->g->insn[at];
    unsigned n;

    if (i->op >= IR_OP_COUNT) {
        return fail(c, at, "no such operation");
    }
    if (((ir_ops[i->op].traits & IR_END) != 0) != last) {
        return fail(c, at, last ? "does not end its block" : "ends the block too early");
    }
    for (n = 0; n < 3; n++) {
        if (!check_argument(c, at, n)) {
            return false;
        }
    }
    if (!same_types(c->g, i)) {
        return fail(c, at, "arguments of different types");
    }
    if (ir_ops[i->op].result == '.'
            ? i->type != IR_VOID
            : i->type == IR_VOID && i->op != IR_CALL && i->op != IR_NATIVE) {
        return fail(c, at, "the result's type is wrong");
    }
    return check_global(c, at) && check_map(c, at) && check_window(c, at);
}

static bool check_edge(struct check *c, uint32_t n, uint32_t at)
{
    const struct ir_edge *e = &c->g->edge[n];
    const struct ir_block *to;
    uint32_t p;

    if (n >= c->g->edges || e->block >= c->g->blocks) {
        return fail(c, at, "an edge to no block");
    }
    to = &c->g->block[e->block];
    if (e->first_arg + to->params > c->g->args) {
        return fail(c, at, "an edge with too few arguments");
    }
    for (p = 0; p < to->params; p++) {
        ir_value v = c->g->arg[e->first_arg + p];

        if (v == 0 || v >= at || v < c->g->block[c->block].first ||
            c->g->insn[v].type != c->g->insn[to->first + p].type) {
            return fail(c, at, "edge argument %u is not one", p);
        }
    }
    return true;
}

static bool check_block(struct check *c)
{
    const struct ir_block *b = &c->g->block[c->block];
    uint32_t at, n, edges;

    if (b->first >= b->end) {
        return fail(c, b->first, "an empty block");
    }
    for (at = b->first; at < b->end; at++) {
        if ((c->g->insn[at].op == IR_PARAM) != (at < b->first + b->params)) {
            return fail(c, at, "parameters come first, and only there");
        }
        if (!check_insn(c, at, at + 1 == b->end)) {
            return false;
        }
    }
    at = b->end - 1;
    edges = c->g->insn[at].op == IR_JUMP ? 1 : c->g->insn[at].op == IR_BRANCH ? 2 : 0;
    for (n = 0; n < edges; n++) {
        if (!check_edge(c, b->edge + n, at)) {
            return false;
        }
    }
    return true;
}

bool ir_verify(const struct ir_region *g, char *why, size_t bytes)
{
    struct check c = {.g = g, .why = why, .bytes = bytes};

    if (g->full || g->blocks == 0) {
        return fail(&c, 0, "not whole");
    }
    for (c.block = 0; c.block < g->blocks; c.block++) {
        if (!check_block(&c)) {
            return false;
        }
    }
    return true;
}
