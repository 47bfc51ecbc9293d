/* evaluate.c - see evaluate.h. */
#include "evaluate.h"

#include <math.h>
#include <string.h>

#include "virt/isa/ir/private.h"
#include "virt/isa/ir/window.h"

struct state {
    const struct ir_region *g;
    struct evaluate *v;
    uint64_t value[IR_REGION_INSNS];
    uint32_t block;
    uint32_t next_block;
    bool ended;
    enum evaluate_end end;
};

static void finish(struct state *s, enum evaluate_end end)
{
    s->ended = true;
    s->end = end;
}

/* The globals become what the map says, as an unwinder would make them. */
static void apply_map(struct state *s, const struct ir_insn *i)
{
    const struct ir_map *m = &s->g->map[i->map];
    uint64_t newest[256];
    uint32_t n;

    for (n = 0; n < m->count; n++) {
        newest[n] = s->value[s->g->pending[m->first + n].value];
    }
    for (n = 0; n < m->count; n++) {
        s->v->global[s->g->pending[m->first + n].global] = newest[n];
    }
    s->v->pc = m->pc;
}

static uint64_t address(const struct state *s, const struct ir_insn *i)
{
    uint64_t at = s->value[i->arg[0]] + i->imm;

    if (i->arg[1] != 0) {
        at += s->value[i->arg[1]] << i->access.scale;
    }
    return i->access.wrap32 ? (uint32_t)at : at;
}

static uint64_t widen(const struct ir_insn *i, uint64_t raw)
{
    unsigned bits = i->access.bytes * 8u;

    if (i->access.sign && bits < 64) {
        raw = (uint64_t)((int64_t)(raw << (64 - bits)) >> (64 - bits));
    }
    return raw & ir_mask(i->type);
}

/* Unaligned where that faults. */
static bool is_crooked(const struct ir_insn *i, uint64_t where)
{
    return i->access.aligned && where % i->access.bytes != 0;
}

static void run_memory(struct state *s, uint32_t at)
{
    const struct ir_insn *i = &s->g->insn[at];
    uint64_t where = address(s, i), old = 0;
    bool ok;

    if (is_crooked(i, where)) {
        ok = false;
    } else if (i->op == IR_STORE) {
        ok = s->v->store(s->v->who, where, i->access.bytes, s->value[i->arg[2]]);
    } else {
        ok = s->v->load(s->v->who, where, i->access.bytes, &old);
    }
    if (!ok) {
        apply_map(s, i);
        finish(s, EVALUATE_FAULT);
        return;
    }
    s->value[at] = widen(i, old);
}

/* The address of its beginning; a fault where the first access has one. */
static void run_window(struct state *s, uint32_t at)
{
    struct ir_insn i = s->g->insn[at];
    struct ir_window w = ir_window_unpack(i.imm);
    uint64_t first, old;

    i.imm = (uint64_t)(int64_t)w.disp;
    s->value[at] = address(s, &i);
    first = s->value[at] + w.before;
    if ((w.align > 1 && first % i.access.bytes != 0) ||
        !s->v->load(s->v->who, first, i.access.bytes, &old)) {
        apply_map(s, &i);
        finish(s, EVALUATE_FAULT);
    }
}

uint64_t evaluate_combine(enum ir_atomic kind, uint64_t old, uint64_t v, unsigned bits)
{
    int64_t a = (int64_t)(old << (64 - bits)), b = (int64_t)(v << (64 - bits));

    switch (kind) {
    case IR_ATOMIC_ADD:
        return old + v;
    case IR_ATOMIC_AND:
        return old & v;
    case IR_ATOMIC_OR:
        return old | v;
    case IR_ATOMIC_XOR:
        return old ^ v;
    case IR_ATOMIC_SWAP:
        return v;
    case IR_ATOMIC_MIN_S:
        return a < b ? old : v;
    case IR_ATOMIC_MAX_S:
        return a > b ? old : v;
    case IR_ATOMIC_MIN_U:
        return old < v ? old : v;
    default:
        return old > v ? old : v;
    }
}

static void run_atomic(struct state *s, uint32_t at)
{
    const struct ir_insn *i = &s->g->insn[at];
    uint64_t where = i->op == IR_CAS ? s->value[i->arg[0]] : address(s, i);
    unsigned bytes = i->access.bytes;
    uint64_t old, wanted;

    if (is_crooked(i, where) || !s->v->load(s->v->who, where, bytes, &old)) {
        apply_map(s, i);
        finish(s, EVALUATE_FAULT);
        return;
    }
    if (i->op == IR_CAS) {
        wanted = s->value[i->arg[1]] &
                 (bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << bytes * 8) - 1);
        if (old == wanted) {
            s->v->store(s->v->who, where, bytes, s->value[i->arg[2]]);
        }
    } else {
        s->v->store(s->v->who, where, bytes,
                    evaluate_combine(i->aux, old, s->value[i->arg[2]], bytes * 8));
    }
    s->value[at] = widen(i, old);
}

static uint64_t flags_of(struct state *s, const struct ir_insn *i)
{
    struct ir_words w = {0};
    uint64_t previous = 0, *word[3] = {&w.a, &w.b, &w.c};
    unsigned n;

    for (n = 0; n < 3; n++) {
        if (i->arg[n] != 0 && s->g->insn[i->arg[n]].type == IR_FLAGS_TYPE) {
            previous = s->value[i->arg[n]];
        } else {
            *word[n] = s->value[i->arg[n]];
        }
    }
    return ir_compute_flags(i->aux, (unsigned)i->imm * 8, w, previous);
}

union real {
    uint64_t bits;
    double d;
    float f;
};

static bool is_nan(uint64_t v, bool single)
{
    return single ? (v & 0x7fffffff) > 0x7f800000
                  : (v & INT64_MAX) > UINT64_C(0x7ff0000000000000);
}

static uint64_t quiet(uint64_t v, bool single)
{
    return v | (single ? 0x400000 : UINT64_C(0x8000000000000));
}

static bool is_signalling(uint64_t v, bool single)
{
    return is_nan(v, single) && quiet(v, single) != v;
}

static uint64_t pick_arm(uint64_t a, uint64_t b, uint64_t r, bool single)
{
    if (!is_nan(r, single)) {
        return r;
    }
    if (is_signalling(a, single) || (is_nan(a, single) && !is_signalling(b, single))) {
        return quiet(a, single);
    }
    if (is_nan(b, single)) {
        return quiet(b, single);
    }
    return single ? 0x7fc00000 : UINT64_C(0x7ff8000000000000);
}

/* The host's own arithmetic; its NaN rule is the one the names promise. */
static uint64_t real_2(enum ir_op op, uint64_t a, uint64_t b, bool single)
{
    union real x = {.bits = a}, y = {.bits = b}, r = {0};

    if (single) {
        __asm__ volatile("" : "+x"(x.f), "+x"(y.f));
        r.f = op == IR_FADD   ? x.f + y.f
              : op == IR_FSUB ? x.f - y.f
              : op == IR_FMUL ? x.f * y.f
                              : x.f / y.f;
        r.bits &= UINT32_MAX;
    } else {
        __asm__ volatile("" : "+x"(x.d), "+x"(y.d));
        r.d = op == IR_FADD   ? x.d + y.d
              : op == IR_FSUB ? x.d - y.d
              : op == IR_FMUL ? x.d * y.d
                              : x.d / y.d;
    }
    return r.bits;
}

static double real_of(uint64_t v, bool single)
{
    union real x = {.bits = v};

    return single ? (double)x.f : x.d;
}

static uint64_t to_integer(const struct ir_insn *i, uint64_t v, bool single)
{
    unsigned bits = ir_type_bits[i->type];
    double d = real_of(v, single);
    double top = ldexp(1.0, i->op == IR_FTOU_SAT ? (int)bits : (int)bits - 1);

    if (i->op == IR_FTOI_X86) {
        bool fits = !is_nan(v, single) && d < top && d > -top - 1.0;

        return (fits ? (uint64_t)(int64_t)d : UINT64_C(1) << (bits - 1)) &
               ir_mask(i->type);
    }
    if (is_nan(v, single)) {
        return 0;
    }
    if (d >= top) {
        return i->op == IR_FTOU_SAT ? ir_mask(i->type) : ir_mask(i->type) >> 1;
    }
    if (i->op == IR_FTOU_SAT) {
        return d <= -1.0 ? 0 : (uint64_t)d;
    }
    return (d <= -top ? UINT64_C(1) << (bits - 1) : (uint64_t)(int64_t)d) &
           ir_mask(i->type);
}

/* UCOMISD: unordered Z P C, less C, equal Z. */
static uint64_t compare_real(uint64_t a, uint64_t b, bool single)
{
    double x = real_of(a, single), y = real_of(b, single);

    return is_nan(a, single) || is_nan(b, single) ? 0x45u
           : x < y                                ? 0x01u
           : x == y                               ? 0x40u
                                                  : 0;
}

/* MINSD and MAXSD: the second operand unless the first is truly less (more). */
static uint64_t lesser(enum ir_op op, uint64_t a, uint64_t b, bool single)
{
    double x = real_of(a, single), y = real_of(b, single);

    return (op == IR_FMIN ? x < y : x > y) ? a : b;
}

/* Between widths, from an integer, and square roots: the host's own. */
static uint64_t real_1(const struct ir_insn *i, uint64_t a, enum ir_type from)
{
    union real x = {.bits = a}, r = {0};
    int64_t whole = from == IR_I32 ? (int32_t)a : (int64_t)a;

    if (i->op == IR_FSQRT && from == IR_F32) {
        __asm__("sqrtss %1, %0" : "=x"(r.f) : "x"(x.f));
    } else if (i->op == IR_FSQRT) {
        __asm__("sqrtsd %1, %0" : "=x"(r.d) : "x"(x.d));
    } else if (i->op == IR_ITOF && i->type == IR_F32) {
        r.f = (float)whole;
    } else if (i->op == IR_ITOF) {
        r.d = (double)whole;
    } else if (i->type == IR_F32) {
        __asm__("cvtsd2ss %1, %0" : "=x"(r.f) : "x"(x.d));
    } else {
        __asm__("cvtss2sd %1, %0" : "=x"(r.d) : "x"(x.f));
    }
    return r.bits & ir_mask(i->type);
}

static bool run_real(struct state *s, uint32_t at)
{
    const struct ir_insn *i = &s->g->insn[at];
    bool single = s->g->insn[i->arg[0]].type == IR_F32;
    uint64_t a = s->value[i->arg[0]], b = s->value[i->arg[1]];

    switch (i->op) {
    case IR_FADD:
    case IR_FSUB:
    case IR_FMUL:
    case IR_FDIV:
        s->value[at] = real_2(i->op, a, b, single);
        return true;
    case IR_FCMP:
        s->value[at] = compare_real(a, b, single);
        return true;
    case IR_FMIN:
    case IR_FMAX:
        s->value[at] = lesser(i->op, a, b, single);
        return true;
    case IR_FSQRT:
    case IR_ITOF:
    case IR_FCVT:
        s->value[at] = real_1(i, a, s->g->insn[i->arg[0]].type);
        return true;
    case IR_FCANON:
        s->value[at] = !is_nan(a, single) ? a
                       : single           ? 0x7fc00000
                                          : UINT64_C(0x7ff8000000000000);
        return true;
    case IR_FPICK_ARM:
        s->value[at] = pick_arm(a, b, s->value[i->arg[2]], single);
        return true;
    case IR_FTOI_X86:
    case IR_FTOI_SAT:
    case IR_FTOU_SAT:
        s->value[at] = to_integer(i, a, single);
        return true;
    default:
        return false;
    }
}

static void go(struct state *s, uint32_t edge)
{
    const struct ir_edge *e = &s->g->edge[edge];
    const struct ir_block *to = &s->g->block[e->block];
    uint64_t values[16];
    uint32_t n;

    for (n = 0; n < to->params && n < 16; n++) {
        values[n] = s->value[s->g->arg[e->first_arg + n]];
    }
    for (n = 0; n < to->params && n < 16; n++) {
        s->value[to->first + n] = values[n];
    }
    s->next_block = e->block;
}

static void run_way_out(struct state *s, const struct ir_insn *i)
{
    uint32_t edge = s->g->block[s->block].edge;

    switch (i->op) {
    case IR_JUMP:
        go(s, edge);
        break;
    case IR_BRANCH:
        go(s, s->value[i->arg[0]] != 0 ? edge : edge + 1);
        break;
    case IR_EXIT:
        s->v->pc = i->imm;
        finish(s, EVALUATE_EXIT);
        break;
    case IR_EXIT_TO:
        s->v->pc = s->value[i->arg[0]];
        finish(s, EVALUATE_EXIT);
        break;
    default:
        finish(s, EVALUATE_LEAVE);
        break;
    }
}

static void run_maybe_out(struct state *s, const struct ir_insn *i)
{
    if (s->value[i->arg[0]] == 0) {
        return;
    }
    apply_map(s, i);
    if (i->op == IR_EXIT_IF) {
        s->v->pc = i->imm;
        finish(s, EVALUATE_EXIT);
    } else {
        s->v->trap = i->imm;
        finish(s, EVALUATE_TRAP);
    }
}

static void run_insn(struct state *s, uint32_t at)
{
    const struct ir_insn *i = &s->g->insn[at];
    struct ir_words w = {s->value[i->arg[0]], s->value[i->arg[1]], s->value[i->arg[2]]};

    switch (i->op) {
    case IR_NOP:
    case IR_PARAM:
    case IR_FENCE:
    case IR_BUDGET:
        return;
    case IR_CONST:
        s->value[at] = i->imm;
        return;
    case IR_GET:
        s->value[at] = s->v->global[i->imm];
        return;
    case IR_SET:
        s->v->global[i->imm] = s->value[i->arg[0]];
        return;
    case IR_FLAGS:
        s->value[at] = flags_of(s, i);
        return;
    case IR_FLAGS_PACK:
    case IR_FLAGS_UNPACK:
        s->value[at] = s->value[i->arg[0]] & 0x8d5;
        return;
    case IR_COND:
        s->value[at] = ir_compute_cond(i->aux, s->value[i->arg[0]]);
        return;
    case IR_LOAD:
    case IR_STORE:
    case IR_PROBE:
        run_memory(s, at);
        return;
    case IR_WINDOW:
        run_window(s, at);
        return;
    case IR_ATOMIC:
    case IR_CAS:
        run_atomic(s, at);
        return;
    case IR_EXIT_IF:
    case IR_TRAP_IF:
        run_maybe_out(s, i);
        return;
    default:
        break;
    }
    if ((ir_ops[i->op].traits & IR_END) != 0) {
        run_way_out(s, i);
    } else if (!ir_compute(s->g, i, w, &s->value[at]) && !run_real(s, at)) {
        finish(s, EVALUATE_CANNOT);
    }
}

enum evaluate_end evaluate_region(const struct ir_region *g, struct evaluate *v)
{
    static struct state s;
    uint32_t steps = 0, at;

    memset(&s, 0, sizeof s);
    s.g = g;
    s.v = v;
    while (!s.ended) {
        s.block = s.next_block;
        for (at = g->block[s.block].first; at < g->block[s.block].end && !s.ended; at++) {
            run_insn(&s, at);
            if (++steps > v->steps_most) {
                return EVALUATE_LOOPS;
            }
        }
    }
    return s.end;
}
