/* simplify.c - algebra, constants and common values, in one walk of each block.
 *
 * A value is replaced by an older one that is always the same: by an identity
 * (x + 0, x ^ x ...), or because the same pure operation stands earlier in the
 * block (found through a small hash of the instructions, newest first). */
#include <string.h>

#include "virt/isa/ir/private.h"

#define SEEN_SLOTS 512 /* power of two */
#define CHAIN_MAX  2

struct simplify {
    struct ir_region *g;
    ir_value new_name[IR_REGION_INSNS];
    uint16_t seen[SEEN_SLOTS][CHAIN_MAX]; /* values are below IR_REGION_INSNS */
};

static bool is_const(const struct ir_region *g, ir_value v, uint64_t *ret)
{
    if (g->insn[v].op != IR_CONST) {
        return false;
    }
    *ret = g->insn[v].imm;
    return true;
}

static void become_const(struct ir_insn *i, uint64_t v)
{
    *i = (struct ir_insn){.op = IR_CONST, .type = i->type, .imm = v & ir_mask(i->type)};
}

/* x op constant that is x itself. */
static bool is_identity(enum ir_op op, uint64_t c, enum ir_type t)
{
    switch (op) {
    case IR_ADD:
    case IR_SUB:
    case IR_OR:
    case IR_XOR:
        return c == 0;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROTL:
    case IR_ROTR:
        return c % ir_type_bits[t] == 0;
    case IR_AND:
        return c == ir_mask(t);
    case IR_MUL:
    case IR_DIV_U:
    case IR_DIV_S:
        return c == 1;
    default:
        return false;
    }
}

static bool is_commutative(enum ir_op op)
{
    return op == IR_ADD || op == IR_MUL || op == IR_AND || op == IR_OR || op == IR_XOR ||
           op == IR_EQ || op == IR_NE || op == IR_MULH_U || op == IR_MULH_S;
}

/* A condition of flags whose operands are constants. */
static bool fold_cond(const struct ir_region *g, const struct ir_insn *i, bool *ret)
{
    const struct ir_insn *f = &g->insn[i->arg[0]];
    bool asks_carry = i->aux / 2 == IR_COND_C / 2 || i->aux / 2 == IR_COND_BE / 2;
    struct ir_words w = {0};

    if (i->op != IR_COND || f->op != IR_FLAGS || !is_const(g, f->arg[0], &w.a)) {
        return false;
    }
    switch (f->aux) {
    case IR_FLAGS_ADD:
    case IR_FLAGS_SUB:
    case IR_FLAGS_ADD_R:
    case IR_FLAGS_SUB_R:
        if (!is_const(g, f->arg[1], &w.b)) {
            return false;
        }
        break;
    case IR_FLAGS_INC_R:
    case IR_FLAGS_DEC_R: /* the carry is another's */
        if (asks_carry) {
            return false;
        }
        break;
    case IR_FLAGS_LOGIC:
        break;
    default:
        return false;
    }
    *ret = ir_compute_cond(i->aux, ir_compute_flags(f->aux, (unsigned)f->imm * 8, w, 0));
    return true;
}

/* The value that `i` always equals; 0: none known. */
static ir_value same_as(struct simplify *s, struct ir_insn *i)
{
    struct ir_region *g = s->g;
    uint64_t c, v;
    bool truth;

    if (ir_ops[i->op].traits != IR_PURE || i->op == IR_FLAGS) {
        return 0;
    }
    if (fold_cond(g, i, &truth)) {
        become_const(i, truth);
        return 0;
    }
    if (ir_fold(g, i, &v)) {
        become_const(i, v);
        return 0;
    }
    if (is_commutative(i->op) && is_const(g, i->arg[0], &c)) {
        ir_value left = i->arg[0];

        i->arg[0] = i->arg[1];
        i->arg[1] = left;
    }
    if (i->arg[1] != 0 && is_const(g, i->arg[1], &c) && is_identity(i->op, c, i->type)) {
        return i->arg[0];
    }
    if ((i->op == IR_XOR || i->op == IR_SUB) && i->arg[0] == i->arg[1]) {
        become_const(i, 0);
        return 0;
    }
    if ((i->op == IR_AND || i->op == IR_OR) && i->arg[0] == i->arg[1]) {
        return i->arg[0];
    }
    if (i->op == IR_SELECT && i->arg[1] == i->arg[2]) {
        return i->arg[1];
    }
    if (i->op == IR_SELECT && is_const(g, i->arg[0], &c)) {
        return c != 0 ? i->arg[1] : i->arg[2];
    }
    if ((i->op == IR_ZEXT || i->op == IR_SEXT || i->op == IR_TRUNC || i->op == IR_BITS) &&
        g->insn[i->arg[0]].type == i->type) {
        return i->arg[0];
    }
    return 0;
}

/* trunc of an extension, extension of an extension: look through the inner one. */
static void look_through(struct ir_region *g, struct ir_insn *i)
{
    const struct ir_insn *inner;

    if (i->op != IR_TRUNC && i->op != IR_ZEXT) {
        return;
    }
    inner = &g->insn[i->arg[0]];
    if (inner->op != IR_ZEXT && !(inner->op == IR_SEXT && i->op == IR_TRUNC) &&
        !(inner->op == IR_TRUNC && i->op == IR_TRUNC)) {
        return;
    }
    if (i->op == IR_ZEXT) {
        i->arg[0] = inner->arg[0];
        return;
    }
    if (ir_type_bits[g->insn[inner->arg[0]].type] >= ir_type_bits[i->type]) {
        i->arg[0] = inner->arg[0]; /* trunc to its own width: `same_as` drops it */
    } else {
        i->op = inner->op;
        i->arg[0] = inner->arg[0];
    }
}

/* Flags that keep of others only what those keep of still others: those are asked. */
static void skip_flags(const struct ir_region *g, struct ir_insn *i)
{
    uint32_t kept, below;
    ir_value v = ir_flags_kept(i, &kept), next;

    for (; kept != 0; v = next) {
        const struct ir_insn *f = &g->insn[v];

        next = ir_flags_kept(f, &below);
        if ((kept & ~below) != 0 || next == f->arg[2]) {
            break; /* not all, or only for some counts */
        }
        i->arg[v == i->arg[2] ? 2 : 1] = next;
    }
}

static bool equal(const struct ir_insn *a, const struct ir_insn *b)
{
    return a->op == b->op && a->type == b->type && a->aux == b->aux && a->imm == b->imm &&
           memcmp(a->arg, b->arg, sizeof a->arg) == 0;
}

static uint32_t slot_of(const struct ir_insn *i)
{
    uint64_t h = i->op;
    unsigned n;

    for (n = 0; n < 3; n++) {
        h = (h ^ i->arg[n]) * UINT64_C(0x9e3779b97f4a7c15);
    }
    h = (h ^ i->imm ^ (uint64_t)i->type << 56) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 40) % SEEN_SLOTS;
}

/* An equal older instruction of this block; else remember this one. */
static ir_value find_or_keep(struct simplify *s, uint32_t at, uint32_t block_first)
{
    const struct ir_insn *i = &s->g->insn[at];
    uint16_t *chain = s->seen[slot_of(i)];
    unsigned n;

    for (n = 0; n < CHAIN_MAX; n++) {
        if (chain[n] >= block_first && chain[n] < at && equal(&s->g->insn[chain[n]], i)) {
            return chain[n];
        }
    }
    memmove(chain + 1, chain, (CHAIN_MAX - 1) * sizeof chain[0]);
    chain[0] = (uint16_t)at;
    return 0;
}

static void simplify_insn(struct simplify *s, uint32_t at, uint32_t block_first)
{
    struct ir_insn *i = &s->g->insn[at];
    ir_value older;
    uint64_t never;

    ir_rename_arguments(i, s->new_name);
    if (i->op == IR_EXIT_IF && is_const(s->g, i->arg[0], &never) && never == 0) {
        *i = (struct ir_insn){.op = IR_NOP};
        return;
    }
    if (ir_ops[i->op].traits != IR_PURE || i->op == IR_PARAM) {
        return;
    }
    look_through(s->g, i);
    skip_flags(s->g, i);
    older = same_as(s, i);
    if (older == 0) {
        older = find_or_keep(s, at, block_first);
    }
    if (older != 0) {
        s->new_name[at] = older;
        *i = (struct ir_insn){.op = IR_NOP};
    }
}

void ir_pass_simplify(struct ir_region *g)
{
    struct simplify s;
    uint32_t b, at;

    if (g->full) {
        return;
    }
    s.g = g;
    memset(s.seen, 0, sizeof s.seen);
    for (at = 0; at < g->insns; at++) {
        s.new_name[at] = at;
    }
    for (b = 0; b < g->blocks; b++) {
        for (at = g->block[b].first; at < g->block[b].end; at++) {
            simplify_insn(&s, at, g->block[b].first);
        }
    }
    ir_rename_rest(g, s.new_name);
}
