/* trace.c - which instructions make one region, and its translation.
 *
 * From its first instruction the trace follows what comes next: behind a conditional
 * branch where the guest went last (path.c; the other way is a side exit), behind a jump
 * its target in the same page.  A branch back to the beginning closes a loop in the
 * region; one that goes round a few times on the way is written down round by round, so
 * that its counters are constants and its accesses share look-ups.  The trace ends at
 * calls, returns, what the translator has no form for, the page's end, and the limit.
 *
 * The instructions are collected first, since what one leaves in the flags is only worth
 * making if another reads it: `flags_dead` says that all of them are written again before
 * anybody could look - no reader, no way out and no access to memory in between. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/translate/private.h"

#define FLAGS_ALL       UINT32_MAX
#define TOUCHED_AHEAD   8192u /* more than most units take */
#define TOUCHED_AT_ONCE 65536u

struct trace {
    struct translate_cpu *t;
    const uint8_t *host; /* the page's bytes */
    uint64_t base;       /* rip of the page's first byte */
    gpa page;
    uint64_t start;
    uint64_t pc[TRACE_INSNS_MAX];
    struct piece piece[TRACE_INSNS_MAX];
    struct x86_insn insn[TRACE_INSNS_MAX];
    struct ir_native native[TRACE_INSNS_MAX]; /* of those that have one */
    bool flags_dead[TRACE_INSNS_MAX];         /* nobody sees those that it leaves */
    unsigned count, pieces;
    uint64_t next;   /* behind the last one */
    uint64_t high;   /* no step is behind this address */
    unsigned on_way; /* steps of the path that are used up */
    unsigned again;  /* up to so many instructions, some may be there already */
    unsigned most;   /* instructions */
    unsigned
        rounds; /* of the whole loop that are still to be written down; 0: not known */
    uint16_t key;
    bool crosses;           /* the only instruction ends in the next page */
    uint64_t tail, mask;    /* its bytes there */
    struct x86_known known; /* what the interpreter has decoded */
};

static bool in_page(const struct trace *r, uint64_t pc)
{
    return pc - r->base < MEM_PAGE_BYTES;
}

static bool is_visited(const struct trace *r, uint64_t pc)
{
    unsigned n;

    if (r->count == 0 || pc > r->high) {
        return false;
    }
    for (n = 0; n < r->count; n++) {
        if (r->pc[n] == pc) {
            return true;
        }
    }
    return false;
}

/* As the interpreter has it, who knows most of what is warm; else decoded.  False: it is
 * none, or not all in the page. */
static bool decode(struct trace *r, unsigned offset, struct x86_insn *i)
{
    const struct x86_cpu *c = &r->t->x;
    const struct x86_insn *known = x86_known_at(&r->known, offset);

    if (known != NULL) {
        *i = *known;
        return i->run != x86_long_insn;
    }
    if (x86_decode(r->host + offset, MEM_PAGE_BYTES - offset,
                   (enum x86_code_mode)c->code_mode, i) != X86_DECODED ||
        offset + i->length > MEM_PAGE_BYTES) {
        return false;
    }
    interpret_bind(c->model, (x86_code_key(c) & 4) != 0, i);
    return true;
}

/* Take one instruction at `pc`; false: the trace ends in front of it. */
static bool collect_one(struct trace *r, uint64_t pc)
{
    struct x86_insn *i = &r->insn[r->count];
    unsigned offset = (unsigned)(pc - r->base);

    if (!decode(r, offset, i) || i->row == X86_INVALID || i->run == x86_bad_insn ||
        ((r->key & UNIT_SEGMENTS) != 0 &&
         (i->segment == X86_FS || i->segment == X86_GS))) {
        return false;
    }
    r->high = r->count == 0 || pc > r->high ? pc : r->high;
    r->pc[r->count] = pc;
    r->piece[r->count++] = (struct piece){
        .at = (uint16_t)offset,
        .bytes = i->length & 15,
        .field = lift_soft_bytes(r->t->lift, i) & 15,
        .soft = soft_is(r->t, r->page + offset) ? (uint8_t)lift_soft_bytes(r->t->lift, i)
                                                : 0};
    return true;
}

/* The first instruction, where it begins in this page and ends in the next, which the soft
 * TLB has: it is compared there each time (`guard_second`). */
static void collect_crossing(struct trace *r)
{
    const struct x86_cpu *c = &r->t->x;
    unsigned offset = (unsigned)(r->start - r->base);
    unsigned here = MEM_PAGE_BYTES - offset, there = X86_INSN_BYTES_MAX - here;
    uint64_t next = r->base + MEM_PAGE_BYTES;
    const struct x86_tlb_entry *entry = &c->tlb->entry[x86_tlb_index(next)];
    uint8_t bytes[X86_INSN_BYTES_MAX];
    struct x86_insn *i = &r->insn[0];

    if (c->code_mode != X86_CODE64 || entry->execute != next) {
        return;
    }
    memcpy(bytes, r->host + offset, here);
    memcpy(bytes + here, (const uint8_t *)(uintptr_t)(next + entry->addend), there);
    if (x86_decode(bytes, sizeof bytes, (enum x86_code_mode)c->code_mode, i) !=
            X86_DECODED ||
        i->row == X86_INVALID || i->length <= here || i->length - here > sizeof r->tail) {
        return;
    }
    interpret_bind(c->model, (x86_code_key(c) & 4) != 0, i);
    if (i->run == x86_bad_insn) {
        return;
    }
    there = i->length - here;
    r->mask = UINT64_MAX >> (64 - there * 8);
    r->tail = 0;
    memcpy(&r->tail, bytes + here, there);
    r->pc[0] = r->high = r->start;
    r->piece[0] = (struct piece){.at = (uint16_t)offset, .bytes = here & 15};
    r->count = 1;
    r->crosses = true;
    r->next = r->start + i->length;
    r->t->is_quick = false; /* there is nothing to make better */
}

/* Whether more bytes than the page has would make an instruction. */
static bool is_crossing(const struct trace *r)
{
    const struct x86_cpu *c = &r->t->x;
    unsigned offset = (unsigned)(r->start - r->base);
    struct x86_insn i;

    return MEM_PAGE_BYTES - offset < X86_INSN_BYTES_MAX &&
           x86_decode(r->host + offset, MEM_PAGE_BYTES - offset,
                      (enum x86_code_mode)c->code_mode, &i) == X86_NEED_MORE;
}

/* Nobody knows yet where it goes. */
static bool is_soft_branch(const struct trace *r, unsigned n)
{
    return r->piece[n].soft != 0 && x86_rows[r->insn[n].row].operands[0] == 'J';
}

static bool is_direct_jump(const struct x86_insn *i)
{
    return i->row == X86_R_JMP_JB || i->row == X86_R_JMP_JZ;
}

static bool is_direct_branch(const struct x86_insn *i)
{
    return x86_rows[i->row].mnemonic[0] == 'j' && x86_rows[i->row].operands[0] == 'J';
}

/* A system's STI goes on, for its next instruction belongs to it. */
static bool ends(const struct trace *r, const struct x86_insn *i)
{
    return (x86_rows[i->row].attributes & X86_A_ENDS) != 0 && !is_direct_branch(i) &&
           !(i->row == X86_R_STI && (r->key & UNIT_SYSTEM) != 0);
}

/* Whether a loop that began in this trace and goes back to `to` is short enough to be
 * written down round by round; then it may be. */
static bool may_repeat(struct trace *r, uint64_t behind, uint64_t to)
{
    unsigned rounds = path_rounds(&r->t->path, r->on_way, behind, to);
    unsigned first, body;

    for (first = 0; r->pc[first] != to; first++) {
    }
    body = r->count - first;
    if (r->again >= r->count || rounds == 0 || rounds > ROUNDS_MOST ||
        r->count + body * rounds > TRACE_INSNS_MAX) {
        return false;
    }
    r->again = r->count + body * rounds;
    r->most += body * rounds;
    return true;
}

/* Where the trace goes on from a branch: where the guest did, if that is known. */
static uint64_t follow(struct trace *r, uint64_t behind, uint64_t to)
{
    if (path_next(&r->t->path, &r->on_way, behind) != to || !in_page(r, to)) {
        return behind;
    }
    return r->count <= r->again || !is_visited(r, to) || may_repeat(r, behind, to)
               ? to
               : behind;
}

/* The trace is back at its start: whether it goes round once more before it closes the
 * loop, so that accesses of several rounds share look-ups. */
static bool goes_round(struct trace *r)
{
    unsigned n, memory = 0;

    if (r->rounds == 0) {
        for (n = 0; n < r->count; n++) {
            memory += r->insn[n].is_memory;
        }
        r->rounds = memory == 0 || r->again != 0 ? 1
                    : r->count <= ROUND_SHORT    ? 4
                    : r->count <= ROUND_LONG     ? 2
                                                 : 1;
        r->again = r->rounds * r->count;
    }
    r->on_way = 0;
    return --r->rounds != 0;
}

static void collect(struct trace *r)
{
    uint64_t pc = r->start;

    while ((r->count < r->most || r->count < r->again) && r->count < TRACE_INSNS_MAX &&
           in_page(r, pc) && (r->count < r->again || !is_visited(r, pc))) {
        const struct x86_insn *i = &r->insn[r->count];

        if (!collect_one(r, pc)) {
            break;
        }
        pc += i->length;
        if (is_soft_branch(r, r->count - 1)) {
            break;
        }
        if (is_direct_jump(i)) {
            pc += i->imm;
        } else if (is_direct_branch(i) && pc + i->imm == r->start) {
            if (!goes_round(r)) {
                break; /* the loop is closed; what follows is another trace */
            }
            pc = r->start;
        } else if (is_direct_branch(i)) {
            pc = follow(r, pc, pc + i->imm);
        }
        if (ends(r, i)) {
            break;
        }
    }
    r->next = pc;
}

/* From the end: the flags that are needed behind each instruction.  Whoever may fault or
 * leave needs them all. */
static void find_dead_flags(struct trace *r)
{
    const struct lift *l = r->t->lift;
    uint32_t needed = FLAGS_ALL, reads, writes;
    unsigned n;

    for (n = r->count; n > 0; n--) {
        const struct x86_insn *i = &r->insn[n - 1];
        uint32_t touched = lift_flags_touched(l, i);

        r->flags_dead[n - 1] = touched != 0 && (touched & needed) == 0;
        if (!lift_is_quiet(l, i)) {
            needed = FLAGS_ALL;
        } else {
            lift_flags_of(l, i, &reads, &writes);
            needed = (needed & ~writes) | reads;
        }
    }
}

/* Whether a way out to `to` leads to another page, whose translation may change. */
static uint8_t farness(const struct trace *r, uint64_t to)
{
    return in_page(r, to) ? 0 : IR_EXIT_FAR;
}

static void leave_if(struct trace *r, ir_value cond, uint64_t to,
                     const struct lift_in *in)
{
    struct ir_region *g = &r->t->region;

    ir_add(g, &(struct ir_insn){.op = IR_EXIT_IF,
                                .aux = IR_EXIT_JUMP | farness(r, to),
                                .arg = {cond},
                                .imm = to,
                                .map = ir_map_at(g, in->pc, in->done)});
}

static void leave(struct trace *r, uint64_t to)
{
    ir_add(&r->t->region, &(struct ir_insn){.op = IR_EXIT,
                                            .aux = IR_EXIT_JUMP | farness(r, to),
                                            .imm = to});
}

static uint8_t farness_back(const struct trace *r, uint64_t back)
{
    return in_page(r, back) ? 0 : IR_EXIT_FAR_BACK;
}

static void leave_by_call(struct trace *r, uint64_t to, uint64_t back)
{
    struct ir_region *g = &r->t->region;
    ir_value b = ir_const(g, IR_I64, back);

    ir_add(g,
           &(struct ir_insn){.op = IR_EXIT,
                             .aux = IR_EXIT_CALL | farness(r, to) | farness_back(r, back),
                             .arg = {0, b},
                             .imm = to});
}

/* The lifter does not know of pages. */
static void mark_call_back(struct trace *r)
{
    struct ir_region *g = &r->t->region;
    struct ir_insn *i = &g->insn[g->insns - 1];

    if (i->op == IR_EXIT_TO && i->arg[1] != 0) {
        i->aux |= farness_back(r, g->insn[i->arg[1]].imm);
    }
}

static ir_value opposite(struct ir_region *g, ir_value cond)
{
    struct ir_insn i = g->insn[cond];

    i.aux ^= 1;
    return ir_add(g, &i);
}

/* Where the immediate of step `n` is, if it is one that is fetched when it runs. */
static const uint8_t *soft_of(const struct trace *r, unsigned n)
{
    const struct piece *p = &r->piece[n];

    return p->soft == 0 ? NULL : r->host + p->at + p->bytes - p->soft;
}

/* Whoever wants to know is told that step `n`, whose operations begin at `from`, traps. */
static void tell_trap(const struct trace *r, unsigned n, uint32_t from, enum lift_end end)
{
    const struct ir_region *g = &r->t->region;
    bool traps = end == LIFT_CANNOT;

    if (r->t->trapped == NULL || x86_rows[r->insn[n].row].sensitivity == X86_INNOCUOUS) {
        return;
    }
    for (; from < g->insns; from++) {
        traps |= g->insn[from].op == IR_ROUTINE || g->insn[from].op == IR_TRAP_IF;
    }
    if (traps) {
        (r->t->trapped)(r->t->trapped_who, r->pc[n], &r->insn[n]);
    }
}

/* Lift step `n`; false: the region has got its end. */
static bool lift_step(struct trace *r, unsigned n)
{
    struct ir_region *g = &r->t->region;
    const struct x86_insn *i = &r->insn[n];
    struct lift_in in = {.insn = i,
                         .pc = r->pc[n],
                         .done = n,
                         .flags_dead = r->flags_dead[n],
                         .sse = (r->key & UNIT_SSE) != 0,
                         .avx = (r->key & UNIT_AVX) != 0,
                         .system = (r->key & UNIT_SYSTEM) != 0,
                         .is_last = n + 1 == r->count,
                         .fpu = (r->key & UNIT_FPU) != 0,
                         .soft = soft_of(r, n),
                         .native = &r->native[n]};
    uint32_t from = g->insns;
    struct lift_out out = lift_insn(r->t->lift, g, &in);
    uint64_t behind = in.pc + i->length;
    bool last = n + 1 == r->count;
    uint64_t next = last ? r->next : r->pc[n + 1];

    tell_trap(r, n, from, out.end);
    switch (out.end) {
    case LIFT_CANNOT:
        leave(r, in.pc);
        r->count = n;
        return false;
    case LIFT_ENDED:
        mark_call_back(r);
        return false;
    case LIFT_BRANCH:
        if (last && out.target == r->start) {
            leave_if(r, opposite(g, out.cond), behind, &in);
            ir_jump(g, 0, NULL, 0);
            return false;
        }
        if (next == out.target && next != behind) {
            leave_if(r, opposite(g, out.cond), behind, &in);
        } else {
            leave_if(r, out.cond, out.target, &in);
        }
        break;
    case LIFT_JUMP:
        if (last) {
            if (out.is_call) {
                leave_by_call(r, out.target, r->t->x.rip_mask & behind);
            } else if (out.target == r->start) {
                ir_jump(g, 0, NULL, 0);
            } else {
                leave(r, out.target);
            }
            return false;
        }
        break;
    default:
        if (g->insn[g->insns - 1].op == IR_ROUTINE) {
            ir_add(g, &(struct ir_insn){.op = IR_BUDGET,
                                        .map = ir_map_at(g, behind, n + 1)});
        }
        break;
    }
    return true;
}

static ir_value host_word(struct ir_region *g, ir_value base, uint64_t offset,
                          uint32_t map)
{
    return ir_add(g, &(struct ir_insn){.op = IR_LOAD,
                                       .type = IR_I64,
                                       .arg = {base},
                                       .access = {.bytes = 8, .space = IR_FLAT},
                                       .imm = offset,
                                       .map = map});
}

static void trap_unless(struct trace *r, ir_value a, uint64_t is, uint32_t map)
{
    struct ir_region *g = &r->t->region;

    ir_add(g, &(struct ir_insn){.op = IR_TRAP_IF,
                                .arg = {ir_2(g, IR_NE, a, ir_const(g, IR_I64, is))},
                                .access = {.bytes = 1}, /* for slow.c */
                                .imm = (uint64_t)(uintptr_t)&r->insn[0],
                                .map = map});
}

/* An instruction that ends in the next page: the soft TLB has that for a fetch, and the
 * bytes are those that were decoded; else the interpreter executes it (slow.c). */
static void guard_second(struct trace *r)
{
    struct ir_region *g = &r->t->region;
    uint64_t next = r->base + MEM_PAGE_BYTES;
    uint64_t entry = offsetof(struct x86_tlb, entry) +
                     x86_tlb_index(next) * sizeof(struct x86_tlb_entry);
    uint32_t map = ir_map_at(g, r->start, 0);
    ir_value tlb = ir_get(g, LIFT_TLB), at;

    trap_unless(r,
                host_word(g, tlb, entry + offsetof(struct x86_tlb_entry, execute), map),
                next, map);
    at = host_word(g, tlb, entry + offsetof(struct x86_tlb_entry, addend), map);
    at = ir_2(g, IR_ADD, at, ir_const(g, IR_I64, next));
    trap_unless(r,
                ir_2(g, IR_AND, host_word(g, at, 0, map), ir_const(g, IR_I64, r->mask)),
                r->tail, map);
}

static int build(struct trace *r)
{
    struct ir_region *g = &r->t->region;
    uint32_t budget;
    unsigned n;

    ir_region_clear(g);
    ir_block_begin(g);
    budget = ir_add(g, &(struct ir_insn){.op = IR_BUDGET,
                                         .aux = r->t->is_counted,
                                         .imm = 1,
                                         .map = ir_map_at(g, r->start, 0)});
    find_dead_flags(r);
    if (r->crosses) {
        guard_second(r);
    }
    for (n = 0; n < r->count && lift_step(r, n); n++) {
    }
    if (n == r->count &&
        (g->insns == 0 || (ir_ops[g->insn[g->insns - 1].op].traits & IR_END) == 0)) {
        leave(r, r->next);
    }
    if (g->full || r->count == 0) {
        return -ENOTSUP;
    }
    g->insn[budget].imm = r->count;
    if (r->t->is_quick) {
        ir_optimise_quickly(g);
    } else {
        ir_optimise(g);
    }
    return g->full ? -ENOSPC : 0;
}

/* Pages for what is about to be written come before it, many at once. */
static void touch_ahead(struct translate_cpu *t, struct half *h)
{
    size_t to = (h->ready + TOUCHED_AT_ONCE) & ~(size_t)(TOUCHED_AT_ONCE - 1);

    if (h->ready < h->used + TOUCHED_AHEAD && to <= h->end) {
        code_memory_touch(&t->code, h->ready & ~(size_t)(MEM_PAGE_BYTES - 1), to);
        h->ready = to;
    }
}

/* Code where the next unit's will be, and a draft of the rest. */
static int generate(struct trace *r, struct draft *d)
{
    struct translate_cpu *t = r->t;
    struct half *h = &t->half[t->filling];
    uint8_t *write = t->code.write + h->used;
    const struct draft_from from = {.insn = r->insn, .insns = r->count, .page = r->base};
    const struct emit_place place = {
        .write = write,
        .trampolines = t->code.write,
        .room = h->end - h->used,
        .counter = t->is_quick ? (uint32_t)(offsetof(struct translate_cpu, rounds) +
                                            sizeof t->rounds[0] * round_slot(r->start))
                               : 0};
    int x;

    touch_ahead(t, h);
    x = emit_region(&t->region, &t->env, &place, &t->result);
    d->origin = (uint32_t)h->used;
    d->insns = (uint8_t)r->count;
    return x != 0 ? x : draft_make(d, &t->draft, &from, &t->result, write);
}

/* Decode, where stores are noticed: marked before the bytes are read.  NULL: they are not
 * yet (the interpreter will see to it, as it executes this code), or not by all
 * processors, or no memory. */
static struct unit_page *collect_watched(struct trace *r)
{
    struct translate_cpu *t = r->t;
    pthread_mutex_t *lock = &t->x.code->share->lock;
    const struct mem_region *region = mem_find(t->x.mem, r->page);
    struct unit_page *p = NULL;

    pthread_mutex_lock(lock);
    if (region != NULL && (mem_flags(region, r->page) & MEM_CODE) != 0 &&
        !x86_fresh_is_locked(t->x.code->share, r->page)) {
        p = unit_page_make_locked(t, r->page);
    }
    if (p != NULL) {
        r->known = x86_known_locked(t->x.code, r->page, x86_code_key(&t->x));
        collect(r);
        if (r->count == 0 && is_crossing(r)) {
            collect_crossing(r);
            p = r->count != 0 ? p : NULL; /* another time */
        }
        r->pieces = r->count;
        if (p != NULL &&
            r->count ==
                0) { /* that it cannot be translated follows from its bytes, too */
            r->piece[r->pieces++] =
                (struct piece){.at = (uint16_t)(r->start - r->base), .bytes = 1};
        }
        if (p != NULL) {
            unit_mark_locked(p, r->piece, r->pieces);
        }
    }
    pthread_mutex_unlock(lock);
    return p;
}

static bool same_insn(const struct x86_insn *a, const struct x86_insn *b)
{
    size_t from = offsetof(struct x86_insn, row);
    size_t to = offsetof(struct x86_insn, prefix) + sizeof a->prefix;

    return a->run == b->run && a->disp == b->disp && a->imm == b->imm &&
           memcmp((const uint8_t *)a + from, (const uint8_t *)b + from, to - from) == 0;
}

/* The bytes of the trace, piece by piece, if its instructions are what they say now; else
 * somebody writes to them.  Returns how many; 0: it cannot be kept for others. */
static size_t read_raw(const struct trace *r, uint8_t *raw)
{
    const struct x86_cpu *c = &r->t->x;
    size_t bytes = 0;

    for (unsigned n = 0; n < r->pieces; n++) {
        const struct piece *p = &r->piece[n];
        struct x86_insn i;

        memcpy(raw + bytes, r->host + p->at, p->bytes);
        if (p->soft != 0 ||
            x86_decode(raw + bytes, p->bytes, (enum x86_code_mode)c->code_mode, &i) !=
                X86_DECODED) {
            return 0;
        }
        interpret_bind(c->model, (x86_code_key(c) & 4) != 0, &i);
        if (!same_insn(&i, &r->insn[n])) {
            return 0;
        }
        bytes += p->bytes;
    }
    return bytes;
}

/* The draft, whose code is made, goes into the stock. */
static void stock(const struct trace *r, const struct draft *d)
{
    uint8_t raw[TRACE_INSNS_MAX * X86_INSN_BYTES_MAX];
    size_t bytes = stock_is_open(r->t) ? read_raw(r, raw) : 0;

    if (bytes != 0) {
        stock_put(r->t, d, r->t->code.write + d->origin, raw, bytes);
    }
}

/* One that is too long for the host's registers or the room is tried shorter.  NULL: no
 * memory. */
static struct unit *make(struct trace *r, gpa at)
{
    struct translate_cpu *t = r->t;
    struct draft d = {.rip = r->start,
                      .at = at,
                      .key = r->key,
                      .is_counted = t->is_counted,
                      .is_quick = t->is_quick,
                      .pieces = (uint8_t)r->pieces,
                      .piece = r->piece};
    unsigned most;
    struct unit *u;

    for (most = TRACE_INSNS_MAX; most > 0 && r->count > 0; most /= 2) {
        if (r->count > most) {
            r->count = most;
            r->next = r->pc[most];
        }
        if (build(r) == 0 && generate(r, &d) == 0) {
            stock(r, &d);
            u = unit_install(t, &d, t->code.write + d.origin);
            if (u != NULL) {
                t->x.count.blocks++;
                t->x.count.lifted += r->count;
            }
            return u;
        }
    }
    d.insns = d.kept = 0;
    d.bytes = d.sites = d.words = d.exits = d.fixes = 0;
    return unit_install(t, &d, NULL);
}

struct unit *trace_translate(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                             gpa at)
{
    unsigned offset = (unsigned)(at & X86_PAGE_MASK);
    struct unit_page *p;
    struct unit *u;
    struct trace r; /* much of it is never looked at */

    r.t = t;
    r.start = rip;
    r.page = at - offset;
    r.host = host - offset;
    r.base = rip - offset;
    r.key = unit_key(&t->x);
    r.count = 0;
    r.high = 0;
    r.crosses = false;
    r.on_way = 0;
    r.again = 0;
    r.rounds = t->is_quick; /* known: goes round once */
    r.most = TRACE_INSNS;
    p = collect_watched(&r);
    u = p != NULL ? make(&r, at) : NULL;
    if (u != NULL) {
        unit_add(t, p, u);
    }
    return u;
}
