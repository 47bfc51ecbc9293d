/* window.c - accesses near each other share one look-up of the soft TLB.
 *
 * Two accesses belong together when their addresses differ by a constant: the same root
 * (what remains when constants that were added are taken off), index and scale.  All
 * addresses that are constants have one root, and belong together within a page.  In
 * front of the first access of a group goes a `window` over all of them; they become
 * direct.
 *
 * Why that is right.  The window faults only where the first access would, with the same
 * map.  Between it and the last of its accesses only such code runs that cannot change
 * how memory is mapped or whose it is: not calls or routines, which end all groups.  A
 * slow access on the way may refill the soft TLB, but that changes what is remembered, not
 * what is true.  What another processor or the engine changes (a mapping, a page that is
 * to be watched) counts from the next safe point on, as it does for a look-up.
 *
 * A load may go by a window that was looked up for writing, which needs more.  A store
 * makes its group's window one for writing, if it is certain to be reached from the first
 * access; behind a side exit it does not, so that loads of what is never written stay
 * fast.  An access that must be aligned goes by a window whose
 * beginning is, at a multiple of its own bytes. */
#include "virt/isa/ir/window.h"

#include <string.h>

#include "virt/isa/ir/native.h"
#include "virt/isa/ir/private.h"

#define PAGE_BYTES    4096
#define SPAN_MOST     256 /* of accesses by one root; longer ones cross pages too often */
#define GROUPS_MOST   256
#define GROUPS_OPEN   12
#define CHAIN_LONGEST 16

/* An access, its address taken apart. */
struct reach {
    ir_value root, index; /* 0: a constant; none */
    uint64_t at;          /* behind the root */
    uint8_t scale, bytes, align;
    bool writes;
};

struct group {
    struct reach key;  /* of the first access */
    int64_t low, high; /* of all, to the first one's address */
    uint32_t members;
    ir_value window; /* where it was written; 0: not yet */
    bool writes;     /* one of them does */
    bool open, refused;
    bool certain; /* no side exit since the first access */
};

struct pass {
    struct ir_region *g;
    struct group group[GROUPS_MOST];
    uint32_t groups;
    uint16_t of[IR_REGION_INSNS]; /* group of each access, from 1 on; 0: none */
    unsigned windows;
};

uint64_t ir_window_pack(const struct ir_window *w)
{
    return (uint32_t)w->disp | (uint64_t)w->before << 32 | (uint64_t)(w->span - 1) << 44 |
           (uint64_t)w->writes << 56 | (uint64_t)w->number << 57 |
           (uint64_t)__builtin_ctz(w->align) << 61;
}

struct ir_window ir_window_unpack(uint64_t imm)
{
    return (struct ir_window){.disp = (int32_t)imm,
                              .before = imm >> 32 & 0xfff,
                              .span = (imm >> 44 & 0xfff) + 1,
                              .writes = imm >> 56 & 1,
                              .number = imm >> 57 & 0xf,
                              .align = (uint8_t)(1u << (imm >> 61))};
}

static bool const_of(const struct ir_region *g, ir_value v, uint64_t *ret)
{
    if (v == 0 || g->insn[v].op != IR_CONST) {
        return false;
    }
    *ret = g->insn[v].imm;
    return true;
}

/* Takes constants off `v`; what is left, and their sum. */
static ir_value root_of(const struct ir_region *g, ir_value v, uint64_t *ret_sum)
{
    unsigned n;
    uint64_t c;

    *ret_sum = 0;
    for (n = 0; n < CHAIN_LONGEST && v != 0; n++) {
        const struct ir_insn *i = &g->insn[v];

        if (i->op == IR_ADD && i->type == IR_I64 && const_of(g, i->arg[1], &c)) {
            *ret_sum += c;
            v = i->arg[0];
        } else if (i->op == IR_ADD && i->type == IR_I64 && const_of(g, i->arg[0], &c)) {
            *ret_sum += c;
            v = i->arg[1];
        } else if (i->op == IR_SUB && i->type == IR_I64 && const_of(g, i->arg[1], &c)) {
            *ret_sum -= c;
            v = i->arg[0];
        } else {
            break;
        }
    }
    if (const_of(g, v, &c)) {
        *ret_sum += c;
        v = 0;
    }
    return v;
}

static bool is_native_access(const struct ir_insn *i)
{
    return i->op == IR_NATIVE &&
           ((const struct ir_native *)(uintptr_t)i->imm)->rm_is_memory;
}

/* What kind of access, and the displacement that it adds itself. */
static bool kind_of(const struct ir_insn *i, struct reach *ret, uint64_t *ret_disp)
{
    const struct ir_native *n = (const struct ir_native *)(uintptr_t)i->imm;
    bool aligned = i->access.aligned;

    if (i->access.space != IR_PAGED || i->access.wrap32 || i->access.as_user) {
        return false;
    }
    if (i->op == IR_LOAD || i->op == IR_STORE) {
        *ret = (struct reach){.bytes = i->access.bytes,
                              .writes = i->op == IR_STORE || i->access.for_write};
        *ret_disp = i->imm;
    } else if (is_native_access(i)) {
        *ret = (struct reach){.bytes = n->bytes, .writes = n->writes_memory};
        *ret_disp = (uint64_t)n->disp;
        aligned = n->aligned;
    } else {
        return false;
    }
    ret->align = aligned ? ret->bytes : 1;
    return ret->bytes <= 32 && (ret->bytes & (ret->bytes - 1)) == 0;
}

static bool reach_of(const struct ir_region *g, const struct ir_insn *i,
                     struct reach *ret)
{
    uint64_t disp = 0, base = 0, index = 0;

    if (!kind_of(i, ret, &disp) || (int64_t)disp != (int32_t)disp) {
        return false;
    }
    ret->root = root_of(g, i->arg[0], &base);
    ret->index = root_of(g, i->arg[1], &index);
    ret->scale = ret->index != 0 ? i->access.scale : 0;
    ret->at = disp + base + (index << i->access.scale);
    return true;
}

/* Bytes in front of the first access, rounded so that the beginning is aligned, too. */
static int64_t before_first(const struct group *p)
{
    int64_t a = p->key.align;

    return (a - 1 - p->low) & -a;
}

static int64_t span_of(const struct group *p)
{
    int64_t a = p->key.align;

    return (before_first(p) + p->high + a - 1) & -a;
}

static int64_t distance(const struct group *p, const struct reach *r)
{
    return (int64_t)(r->at - p->key.at);
}

static void join(struct group *p, const struct reach *r)
{
    int64_t d = distance(p, r);

    p->low = d < p->low ? d : p->low;
    p->high = d + r->bytes > p->high ? d + r->bytes : p->high;
    p->writes |= r->writes;
    p->members++;
}

static bool may_join(const struct group *p, const struct reach *r)
{
    struct group q = *p;
    int64_t d = distance(p, r);

    if (!p->open || p->key.root != r->root || p->key.index != r->index ||
        p->key.scale != r->scale || (r->writes && !p->writes && !p->certain) ||
        r->align > p->key.align || d >= PAGE_BYTES || d <= -PAGE_BYTES ||
        d % r->align != 0) {
        return false;
    }
    join(&q, r);
    if (r->root == 0 && r->index == 0) { /* the page is known */
        uint64_t low = q.key.at - (uint64_t)before_first(&q);

        return (low & (PAGE_BYTES - 1)) + (uint64_t)span_of(&q) <= PAGE_BYTES;
    }
    return span_of(&q) <= SPAN_MOST;
}

/* Puts the access into a group; the newest ones are looked at. */
static void sort_access(struct pass *s, uint32_t at)
{
    uint32_t n, least = s->groups > GROUPS_OPEN ? s->groups - GROUPS_OPEN : 0;
    struct reach r;

    if (!reach_of(s->g, &s->g->insn[at], &r)) {
        return;
    }
    for (n = s->groups; n > least; n--) {
        if (may_join(&s->group[n - 1], &r)) {
            join(&s->group[n - 1], &r);
            s->of[at] = (uint16_t)n;
            return;
        }
    }
    if (s->groups == GROUPS_MOST) {
        return;
    }
    s->group[s->groups++] = (struct group){.key = r,
                                           .high = r.bytes,
                                           .members = 1,
                                           .writes = r.writes,
                                           .open = true,
                                           .certain = true};
    s->of[at] = (uint16_t)s->groups;
}

static bool find_groups(struct pass *s, uint32_t block)
{
    const struct ir_block *b = &s->g->block[block];
    uint32_t at, n, first = s->groups;
    bool any = false;

    for (at = b->first; at < b->end; at++) {
        bool closes = ir_is_opaque(&s->g->insn[at]);

        for (n = first; n < s->groups && (closes || s->g->insn[at].op == IR_EXIT_IF ||
                                          s->g->insn[at].op == IR_TRAP_IF);
             n++) {
            s->group[n].open &= !closes;
            s->group[n].certain = false;
        }
        sort_access(s, at);
    }
    for (n = first; n < s->groups; n++) {
        s->group[n].open = false;
        any |= s->group[n].members > 1;
    }
    return any;
}

/* In front of the first access of a group; `i` is that one. */
static ir_value write_window(struct pass *s, const struct group *p,
                             const struct ir_insn *i)
{
    int64_t before = before_first(p), span = span_of(p);
    struct ir_insn w = {.op = IR_WINDOW,
                        .type = IR_I64,
                        .aux = i->aux,
                        .arg = {i->arg[0], i->arg[1]},
                        .access = {.bytes = p->key.bytes,
                                   .scale = i->access.scale,
                                   .for_write = p->key.writes},
                        .map = i->map};
    struct reach unused;
    uint64_t disp;

    kind_of(i, &unused, &disp);
    disp -= (uint64_t)before;
    if (s->windows == IR_WINDOWS_MOST || (int64_t)disp != (int32_t)disp ||
        span > PAGE_BYTES) {
        return 0;
    }
    w.imm = ir_window_pack(&(struct ir_window){.disp = (int32_t)disp,
                                               .before = (uint16_t)before,
                                               .span = (uint16_t)span,
                                               .writes = p->writes,
                                               .number = (uint8_t)s->windows++,
                                               .align = p->key.align});
    return ir_add(s->g, &w);
}

static void make_direct(struct pass *s, struct ir_insn *i, const struct group *p,
                        const struct reach *r)
{
    uint64_t at = (uint64_t)(distance(p, r) + before_first(p));

    i->arg[0] = p->window;
    i->arg[1] = 0;
    i->access.space = IR_DIRECT;
    i->access.scale = 0;
    if (i->op == IR_NATIVE) {
        i->arg[1] = ir_const(s->g, IR_I64, at);
    } else {
        i->imm = at;
    }
}

static void move_insn(struct pass *s, uint32_t at, ir_value *new_name)
{
    struct group *p = s->of[at] != 0 ? &s->group[s->of[at] - 1] : NULL;
    struct ir_insn i = s->g->insn[at];
    struct reach r;

    if (i.op == IR_NOP) {
        return;
    }
    if (p != NULL && p->members > 1 && !p->refused) {
        reach_of(s->g, &s->g->insn[at], &r);
        ir_rename_arguments(&i, new_name);
        if (p->window == 0) {
            p->window = write_window(s, p, &i);
            p->refused = p->window == 0;
        }
        if (!p->refused) {
            make_direct(s, &i, p, &r);
        }
    } else {
        ir_rename_arguments(&i, new_name);
    }
    new_name[at] = ir_add(s->g, &i);
}

static void rebuild(struct pass *s, uint32_t b, ir_value *new_name)
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

void ir_pass_window(struct ir_region *g)
{
    struct pass s;
    ir_value new_name[IR_REGION_INSNS];
    uint32_t b, blocks = g->blocks, at;
    bool any = false;

    if (g->full || g->insns == 0) {
        return;
    }
    s.g = g;
    s.groups = 0;
    s.windows = 0;
    memset(s.of, 0, g->insns * sizeof s.of[0]);
    for (at = 0; at < g->insns; at++) {
        new_name[at] = at;
    }
    for (b = 0; b < blocks; b++) {
        if (find_groups(&s, b)) {
            rebuild(&s, b, new_name);
            any = true;
        }
    }
    if (any) {
        ir_rename_rest(g, new_name);
    }
}
