/* seccomp_emit.c - the filter program for a list of calls and what each gets.
 *
 * For each architecture the numbers are cut into ranges with one outcome, neighbours
 * with the same outcome being one, and a balanced tree of comparisons finds the
 * range: some eight steps for a profile with 400 names.  What has conditions
 * gets a chain of them, the first that holds deciding.
 *
 *     load arch; for each: equal? -> its tree
 *     none of them: kill
 *
 * x86-64 and x32 are one architecture for the kernel: x32 has the numbers from
 * X32's bit up, and without it in the profile these are killed.  The number -1 is
 * left to the default: a tracer skips a call with it (seccomp(2)).
 *
 * The program is written from its end to its beginning, so that each jump knows its
 * target.  A label counts instructions from the end.  A conditional jump reaches
 * 255 instructions; for more an unconditional one is put before it. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "virt/container/confine/seccomp_plan.h"

#define REACH       250 /* of 255: two jumps may come between */
#define RETURNS     32
#define BAD_ARCH    SECCOMP_RET_KILL_THREAD /* as libseccomp has it */
#define NUMBER_SKIP 0xffffffffU

struct out {
    const struct seccomp_plan *plan;
    struct sock_filter *insns; /* the last `n` of BPF_MAXINSNS */
    uint32_t n;
    bool full;

    struct {
        uint32_t action, label;
    } returns[RETURNS];

    uint32_t n_returns;
};

/* Numbers from `start` on, up to the next range. */
struct range {
    uint32_t start;
    uint32_t action;
    uint32_t first, n; /* calls with conditions; n 0: `action` */
    bool is_wide;
};

static uint32_t put(struct out *o, struct sock_filter i)
{
    if (o->n == BPF_MAXINSNS) {
        o->full = true;
        return o->n;
    }
    o->n++;
    o->insns[BPF_MAXINSNS - o->n] = i;
    return o->n;
}

static uint32_t put_far(struct out *o, uint32_t to)
{
    return put(o, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, o->n - to));
}

static uint32_t near_to(struct out *o, uint32_t to)
{
    return o->n - to > REACH ? put_far(o, to) : to;
}

static uint32_t put_jump(struct out *o, unsigned op, uint32_t k, uint32_t yes,
                         uint32_t no)
{
    uint32_t t = near_to(o, yes);
    uint32_t f = yes == no ? t : near_to(o, no);

    return put(o, (struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | op | BPF_K), k,
                                               (uint8_t)(o->n - t), (uint8_t)(o->n - f)));
}

static uint32_t put_load(struct out *o, size_t offset)
{
    return put(o,
               (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* A return that is near, made when there is none. */
static uint32_t put_return(struct out *o, uint32_t action)
{
    uint32_t i = 0;

    while (i < o->n_returns && o->returns[i].action != action) {
        i++;
    }
    if (i < o->n_returns && o->n - o->returns[i].label < REACH) {
        return o->returns[i].label;
    }
    if (i == o->n_returns && i < RETURNS) {
        o->n_returns++;
    }
    i = i < RETURNS ? i : RETURNS - 1;
    o->returns[i].action = action;
    o->returns[i].label = put(o, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
    return o->returns[i].label;
}

/* The halves of an argument, on machines whose low half comes first. */
static uint32_t load_half(struct out *o, const struct seccomp_cond *c, bool high)
{
    uint32_t mask = (uint32_t)(high ? c->mask >> 32 : c->mask);

    if (mask != UINT32_MAX) {
        (void)put(o, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    }
    return put_load(o, offsetof(struct seccomp_data, args) + 8 * (size_t)c->arg +
                           (high ? 4 : 0));
}

static uint32_t put_equal(struct out *o, const struct seccomp_cond *c, bool is_wide,
                          uint32_t yes, uint32_t no)
{
    uint64_t value = c->value & c->mask;
    uint32_t at;

    (void)put_jump(o, BPF_JEQ, (uint32_t)value, yes, no);
    at = load_half(o, c, false);
    if (is_wide) {
        (void)put_jump(o, BPF_JEQ, (uint32_t)(value >> 32), at, no);
        at = load_half(o, c, true);
    }
    return at;
}

/* `op`: BPF_JGT or BPF_JGE. */
static uint32_t put_above(struct out *o, const struct seccomp_cond *c, unsigned op,
                          bool is_wide, const uint32_t to[2])
{
    uint32_t high = (uint32_t)(c->value >> 32);
    uint32_t at;

    (void)put_jump(o, op, (uint32_t)c->value, to[0], to[1]);
    at = load_half(o, c, false);
    if (is_wide) {
        at = put_jump(o, BPF_JEQ, high, at, to[1]);
        (void)put_jump(o, BPF_JGT, high, to[0], at);
        at = load_half(o, c, true);
    }
    return at;
}

static uint32_t put_condition(struct out *o, const struct seccomp_cond *c, bool is_wide,
                              uint32_t yes, uint32_t no)
{
    const uint32_t straight[2] = {yes, no};
    const uint32_t turned[2] = {no, yes};

    switch ((enum seccomp_op)c->op) {
    case SECCOMP_NE:
        return put_equal(o, c, is_wide, no, yes);
    case SECCOMP_LT:
        return put_above(o, c, BPF_JGE, is_wide, turned);
    case SECCOMP_LE:
        return put_above(o, c, BPF_JGT, is_wide, turned);
    case SECCOMP_GE:
        return put_above(o, c, BPF_JGE, is_wide, straight);
    case SECCOMP_GT:
        return put_above(o, c, BPF_JGT, is_wide, straight);
    case SECCOMP_EQ:
    case SECCOMP_MASKED_EQ:
        break;
    }
    return put_equal(o, c, is_wide, yes, no);
}

/* The rules of one call, in their order. */
static uint32_t put_rules(struct out *o, const struct range *of)
{
    uint32_t no = put_return(o, o->plan->fallback);

    for (uint32_t i = of->first + of->n; i-- > of->first;) {
        const struct seccomp_call *call = &o->plan->calls[i];
        uint32_t at = put_return(o, call->action);

        for (uint32_t k = call->n_conds; k-- > 0;) {
            at = put_condition(o, &o->plan->conds[call->first + k], of->is_wide, at, no);
        }
        no = at;
    }
    return no;
}

static uint32_t put_tree(struct out *o, const struct range *ranges, uint32_t n)
{
    uint32_t half = n / 2;
    uint32_t upper;
    uint32_t lower;

    if (n == 1) {
        return ranges->n != 0 ? put_rules(o, ranges) : put_return(o, ranges->action);
    }
    upper = put_tree(o, ranges + half, n - half);
    lower = put_tree(o, ranges, half);
    return put_jump(o, BPF_JGE, ranges[half].start, upper, lower);
}

struct ranges {
    struct range *list;
    uint32_t n;
};

static void add_range(struct ranges *r, struct range next)
{
    struct range *last = r->n > 0 ? &r->list[r->n - 1] : NULL;

    if (last != NULL && last->start == next.start) { /* nothing was in the gap */
        *last = next;
        last = --r->n > 0 ? last - 1 : NULL;
        if (last == NULL || last->n != 0 || next.n != 0 || last->action != next.action) {
            r->n++;
        }
        return;
    }
    if (last == NULL || last->n != 0 || next.n != 0 || last->action != next.action) {
        r->list[r->n++] = next;
    }
}

/* The calls of one architecture, which are next to one another, from `at` on. */
static uint32_t cut(const struct seccomp_plan *p, uint32_t arch, uint32_t at,
                    struct ranges *r)
{
    const struct seccomp_arch *a = &seccomp_arches[arch];

    add_range(r, (struct range){.start = a->bit, .action = p->fallback});
    while (at < p->n_calls && p->calls[at].arch == arch) {
        const struct seccomp_call *call = &p->calls[at];
        uint32_t n = 1;
        uint32_t start = call->nr | a->bit;

        while (at + n < p->n_calls && p->calls[at + n].arch == arch &&
               p->calls[at + n].nr == call->nr) {
            n++;
        }
        add_range(r, (struct range){.start = start,
                                    .action = call->action,
                                    .first = at,
                                    .n = call->n_conds != 0 ? n : 0,
                                    .is_wide = a->is_wide});
        add_range(r, (struct range){.start = start + 1, .action = p->fallback});
        at += n;
    }
    return at;
}

/* What one value of `arch` leads to: it and those that share it with it. */
static uint32_t put_arch(struct out *o, uint32_t arch, struct ranges *r)
{
    const struct seccomp_plan *p = o->plan;
    uint32_t root;

    r->n = 0;
    for (uint32_t i = arch; i < SECCOMP_ARCHES; i++) {
        uint32_t at = 0;

        if (seccomp_arches[i].audit != seccomp_arches[arch].audit) {
            continue;
        }
        while (at < p->n_calls && p->calls[at].arch < i) {
            at++;
        }
        if ((p->arches & 1U << i) != 0) {
            (void)cut(p, i, at, r);
        } else {
            add_range(r,
                      (struct range){.start = seccomp_arches[i].bit, .action = BAD_ARCH});
            add_range(r, (struct range){.start = NUMBER_SKIP, .action = p->fallback});
        }
    }
    root = put_tree(o, r->list, r->n);
    if (root != o->n) {
        (void)put_far(o, root);
    }
    return put_load(o, offsetof(struct seccomp_data, nr));
}

static bool is_first_of_its_kind(uint32_t arch)
{
    for (uint32_t i = 0; i < arch; i++) {
        if (seccomp_arches[i].audit == seccomp_arches[arch].audit) {
            return false;
        }
    }
    return true;
}

static int compare(const void *left, const void *right)
{
    const struct seccomp_call *a = left;
    const struct seccomp_call *b = right;

    if (a->arch != b->arch) {
        return a->arch < b->arch ? -1 : 1;
    }
    if (a->nr != b->nr) {
        return a->nr < b->nr ? -1 : 1;
    }
    if ((a->n_conds == 0) != (b->n_conds == 0)) { /* it decides alone */
        return a->n_conds == 0 ? -1 : 1;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

static void put_all(struct out *o, struct ranges *r)
{
    uint32_t at = put_return(o, BAD_ARCH);

    for (uint32_t i = SECCOMP_ARCHES; i-- > 0;) {
        if ((o->plan->arches & 1U << i) != 0 && is_first_of_its_kind(i)) {
            uint32_t to = put_arch(o, i, r);

            at = put_jump(o, BPF_JEQ, seccomp_arches[i].audit, to, at);
        }
    }
    (void)put_load(o, offsetof(struct seccomp_data, arch));
}

int seccomp_emit(struct seccomp_plan *p, struct seccomp_filter *f)
{
    SCOPED(scope_free)
    struct sock_filter *room = fault_malloc(BPF_MAXINSNS * sizeof *room);
    SCOPED(scope_free)
    struct range *list = fault_malloc((2 * p->n_calls + 8) * sizeof *list);
    struct out o = {.plan = p, .insns = room};
    struct ranges r = {.list = list};

    if (room == NULL || list == NULL) {
        return -ENOMEM;
    }
    if (p->n_calls > 0) {
        qsort(p->calls, p->n_calls, sizeof *p->calls, compare);
    }
    put_all(&o, &r);
    if (o.full) {
        return -E2BIG;
    }
    f->insns = fault_malloc(o.n * sizeof *f->insns);
    if (f->insns == NULL) {
        return -ENOMEM;
    }
    memcpy(f->insns, room + BPF_MAXINSNS - o.n, o.n * sizeof *f->insns);
    f->n = o.n;
    return 0;
}
