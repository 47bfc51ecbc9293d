/* print.c - a region as text, for people and for tests. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "virt/isa/ir/private.h"
#include "virt/isa/ir/window.h"

struct out {
    char *text;
    size_t bytes, used;
};

static const char *const type_names[IR_TYPE_COUNT] = {
    "void", "i1", "i8", "i16", "i32", "i64", "f32", "f64", "v128", "v256", "flags"};
static const char *const cond_names[IR_COND_COUNT] = {"o",  "no", "c",  "nc", "z", "nz",
                                                      "be", "a",  "s",  "ns", "p", "np",
                                                      "l",  "ge", "le", "g"};
static const char *const flags_names[IR_FLAGS_KIND_COUNT] = {
    "add",   "sub", "add_r", "sub_r", "adc",   "sbb",   "logic", "inc_r",
    "dec_r", "shl", "shr",   "sar",   "mul_u", "mul_s", "bits"};

static void put(struct out *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct out *o, const char *format, ...)
{
    size_t room = o->used < o->bytes ? o->bytes - o->used : 0;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(room > 0 ? o->text + o->used : NULL, room, format, args);
    va_end(args);
    o->used += n > 0 ? (size_t)n : 0;
}

static void put_access(struct out *o, const struct ir_insn *i)
{
    const struct ir_access *a = &i->access;

    put(o, " [%%%u", i->arg[0]);
    if (i->arg[1] != 0) {
        put(o, " + %%%u*%u", i->arg[1], 1u << a->scale);
    }
    if (i->imm != 0) {
        put(o, " %+" PRId64, (int64_t)i->imm);
    }
    put(o, "] bytes %u%s%s%s", a->bytes, a->sign ? " signed" : "",
        a->wrap32 ? " wrap32" : "", a->order != IR_PLAIN ? " ordered" : "");
}

static void put_arguments(struct out *o, const struct ir_insn *i)
{
    unsigned n;

    for (n = 0; n < 3; n++) {
        if (i->arg[n] != 0) {
            put(o, "%s %%%u", n > 0 ? "," : "", i->arg[n]);
        }
    }
}

static void put_edge(struct out *o, const struct ir_region *g, uint32_t n)
{
    const struct ir_edge *e = &g->edge[n];
    uint32_t p;

    put(o, " block%u(", e->block);
    for (p = 0; p < g->block[e->block].params; p++) {
        put(o, "%s%%%u", p > 0 ? ", " : "", g->arg[e->first_arg + p]);
    }
    put(o, ")");
}

static void put_special(struct out *o, const struct ir_region *g, const struct ir_insn *i)
{
    switch (i->op) {
    case IR_CONST:
    case IR_BUDGET:
    case IR_EXIT:
    case IR_EXIT_IF:
    case IR_EXTRACT:
    case IR_DEPOSIT:
        put(o, " 0x%" PRIx64, i->imm);
        break;
    case IR_GET:
    case IR_SET:
        put(o, " @%s", g->global[i->imm].name);
        break;
    case IR_FLAGS:
        put(o, " %s.%u", flags_names[i->aux], (unsigned)i->imm * 8);
        break;
    case IR_COND:
        put(o, " %s", cond_names[i->aux]);
        break;
    case IR_CALL:
    case IR_ROUTINE:
    case IR_NATIVE:
        put(o, " #%" PRIu64, i->imm);
        break;
    default:
        break;
    }
}

static void put_insn(struct out *o, const struct ir_region *g, uint32_t at)
{
    const struct ir_insn *i = &g->insn[at];

    put(o, "  ");
    if (i->type != IR_VOID) {
        put(o, "%%%u:%s = ", at, type_names[i->type]);
    }
    put(o, "%s", ir_ops[i->op].name);
    put_special(o, g, i);
    if (i->op == IR_WINDOW) {
        struct ir_window w = ir_window_unpack(i->imm);
        struct ir_insn from = *i;

        from.imm = (uint64_t)w.disp;
        put_access(o, &from);
        put(o, ", %u bytes", w.span);
    } else if (i->op == IR_LOAD || i->op == IR_STORE || i->op == IR_PROBE ||
               i->op == IR_ATOMIC) {
        put_access(o, i);
        if (i->arg[2] != 0) {
            put(o, ", %%%u", i->arg[2]);
        }
    } else {
        put_arguments(o, i);
    }
    if (i->map != 0) {
        const struct ir_map *m = &g->map[i->map];
        uint32_t n;

        put(o, "  ; at 0x%" PRIx64, m->pc);
        for (n = 0; n < m->count; n++) {
            put(o, " @%s=%%%u", g->global[g->pending[m->first + n].global].name,
                g->pending[m->first + n].value);
        }
    }
}

size_t ir_print(const struct ir_region *g, char *text, size_t bytes)
{
    struct out o = {.text = text, .bytes = bytes};
    uint32_t b, at;

    for (b = 0; b < g->blocks; b++) {
        put(&o, "block%u:\n", b);
        for (at = g->block[b].first; at < g->block[b].end; at++) {
            put_insn(&o, g, at);
            if (g->insn[at].op == IR_JUMP || g->insn[at].op == IR_BRANCH) {
                put_edge(&o, g, g->block[b].edge);
            }
            if (g->insn[at].op == IR_BRANCH) {
                put(&o, " else");
                put_edge(&o, g, g->block[b].edge + 1);
            }
            put(&o, "\n");
        }
    }
    return o.used;
}
