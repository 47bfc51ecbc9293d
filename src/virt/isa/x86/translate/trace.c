/* trace.c - which instructions make one region, and its translation.
 *
 * From its first instruction the trace follows what comes next: behind a conditional
 * branch the next instruction (the branch is a side exit), behind a jump its target in
 * the same page.  A branch back to the beginning closes a loop in the region.  It ends
 * at calls, returns, what the translator has no form for, the page's end, and the limit.
 *
 * The instructions are collected first, since what one leaves in the flags is only worth
 * making if another reads it: `flags_dead` says that all of them are written again before
 * anybody could look - no reader, no way out and no access to memory in between. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/grow.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/translate/private.h"

struct step {
    uint64_t pc;
    uint16_t offset; /* in the page */
};

struct trace {
    struct translate_cpu *t;
    const uint8_t *host; /* the page's bytes */
    uint64_t base;       /* rip of the page's first byte */
    gpa page;
    uint64_t start;
    struct unit *unit;
    struct step step[TRACE_INSNS_MAX];
    unsigned count;
    uint64_t next; /* behind the last one */
    bool counted;
};

static bool in_page(const struct trace *r, uint64_t pc)
{
    return pc - r->base < MEM_PAGE_BYTES;
}

static bool is_visited(const struct trace *r, uint64_t pc)
{
    unsigned n;

    for (n = 0; n < r->count; n++) {
        if (r->step[n].pc == pc) {
            return true;
        }
    }
    return false;
}

/* Decode one instruction at `pc`; false: the trace ends in front of it. */
static bool collect_one(struct trace *r, uint64_t pc)
{
    struct x86_cpu *c = &r->t->x;
    struct x86_insn *i = &r->unit->insn[r->count];
    unsigned offset = (unsigned)(pc - r->base);

    if (x86_decode(r->host + offset, MEM_PAGE_BYTES - offset,
                   (enum x86_code_mode)c->code_mode, i) != X86_DECODED ||
        offset + i->length > MEM_PAGE_BYTES) {
        return false;
    }
    interpret_bind(c->model, (x86_code_key(c) & 4) != 0, i);
    if (i->row == X86_INVALID || i->run == x86_bad_insn ||
        ((r->unit->key & UNIT_SEGMENTS) != 0 &&
         (i->segment == X86_FS || i->segment == X86_GS))) {
        return false;
    }
    r->step[r->count++] = (struct step){.pc = pc, .offset = (uint16_t)offset};
    return true;
}

static bool is_direct_jump(const struct x86_insn *i)
{
    return i->row == X86_R_JMP_JB || i->row == X86_R_JMP_JZ;
}

static bool is_direct_branch(const struct x86_insn *i)
{
    return x86_rows[i->row].mnemonic[0] == 'j' && x86_rows[i->row].operands[0] == 'J';
}

static bool ends(const struct x86_insn *i)
{
    return (x86_rows[i->row].attributes & X86_A_ENDS) != 0 && !is_direct_branch(i);
}

static void collect(struct trace *r)
{
    uint64_t pc = r->start;

    while (r->count < TRACE_INSNS_MAX && in_page(r, pc) && !is_visited(r, pc)) {
        const struct x86_insn *i = &r->unit->insn[r->count];

        if (!collect_one(r, pc)) {
            break;
        }
        pc += i->length;
        if (is_direct_jump(i)) {
            pc += i->imm;
        } else if (is_direct_branch(i) && pc + i->imm == r->start) {
            break; /* the loop is closed; what follows is another trace */
        }
        if (ends(i)) {
            break;
        }
    }
    r->next = pc;
}

static bool flags_dead_behind(const struct trace *r, unsigned n)
{
    uint32_t live = lift_flags_touched(r->t->lift, &r->unit->insn[n]), reads, writes;

    for (n++; n < r->count; n++) {
        lift_flags_of(r->t->lift, &r->unit->insn[n], &reads, &writes);
        if ((reads & live) != 0 || !lift_is_quiet(r->t->lift, &r->unit->insn[n])) {
            return false;
        }
        live &= ~writes;
        if (live == 0) {
            return true;
        }
    }
    return false;
}

static void leave_if(struct trace *r, ir_value cond, uint64_t to,
                     const struct lift_in *in)
{
    struct ir_region *g = &r->t->region;

    ir_add(g, &(struct ir_insn){.op = IR_EXIT_IF,
                                .aux = in_page(r, to) ? IR_EXIT_JUMP : IR_EXIT_FAR,
                                .arg = {cond},
                                .imm = to,
                                .map = ir_map_at(g, in->pc, in->done)});
}

static void leave(struct trace *r, uint64_t to)
{
    ir_add(&r->t->region,
           &(struct ir_insn){.op = IR_EXIT,
                             .aux = in_page(r, to) ? IR_EXIT_JUMP : IR_EXIT_FAR,
                             .imm = to});
}

static ir_value opposite(struct ir_region *g, ir_value cond)
{
    struct ir_insn i = g->insn[cond];

    i.aux ^= 1;
    return ir_add(g, &i);
}

/* Lift step `n`; false: the region has got its end. */
static bool lift_step(struct trace *r, unsigned n)
{
    struct ir_region *g = &r->t->region;
    const struct x86_insn *i = &r->unit->insn[n];
    struct lift_in in = {.insn = i,
                         .pc = r->step[n].pc,
                         .done = n,
                         .flags_dead = flags_dead_behind(r, n),
                         .sse = (r->unit->key & UNIT_SSE) != 0,
                         .avx = (r->unit->key & UNIT_AVX) != 0,
                         .fpu = (r->unit->key & UNIT_FPU) != 0,
                         .native = &r->unit->native[n]};
    struct lift_out out = lift_insn(r->t->lift, g, &in);
    uint64_t behind = in.pc + i->length;
    bool last = n + 1 == r->count;

    switch (out.end) {
    case LIFT_CANNOT:
        leave(r, in.pc);
        r->count = n;
        return false;
    case LIFT_ENDED:
        return false;
    case LIFT_BRANCH:
        if (last && out.target == r->start) {
            leave_if(r, opposite(g, out.cond), behind, &in);
            ir_jump(g, 0, NULL, 0);
            return false;
        }
        leave_if(r, out.cond, out.target, &in);
        break;
    case LIFT_JUMP:
        if (last) {
            if (out.target == r->start && !out.is_call) {
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

static int build(struct trace *r)
{
    struct ir_region *g = &r->t->region;
    uint32_t budget;
    unsigned n;

    ir_region_clear(g);
    ir_block_begin(g);
    budget = ir_add(g, &(struct ir_insn){.op = IR_BUDGET,
                                         .aux = r->counted,
                                         .imm = 1,
                                         .map = ir_map_at(g, r->start, 0)});
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
    ir_optimise(g);
    return g->full ? -ENOSPC : 0;
}

/* The results of one region join those of all. */
static int keep(struct trace *r, uint8_t *write)
{
    struct translate_cpu *t = r->t;
    struct emit_result *e = &t->result;
    uint32_t n;

    if (!grow_for(&t->site, t->sites + e->sites, &t->site_room) ||
        !grow_for(&t->pend, t->pends + e->pends, &t->pend_room) ||
        !grow_for(&t->exit, t->exits + e->exits, &t->exit_room)) {
        return -ENOMEM;
    }
    for (n = 0; n < e->sites; n++) {
        t->site[t->sites + n] = e->site[n];
        t->site[t->sites + n].first += t->pends;
    }
    for (n = 0; n < e->pends; n++) {
        t->pend[t->pends + n] = e->pend[n];
        t->pend[t->pends + n].prev += e->pend[n].prev >= 0 ? (int32_t)t->pends : 0;
    }
    for (n = 0; n < e->exits; n++) {
        t->exit[t->exits + n] = (struct exit_of){
            .pc = e->exit[n].pc, .page = r->page, .jump = write + e->exit[n].jump};
    }
    t->sites += e->sites;
    t->pends += e->pends;
    t->exits += e->exits;
    return 0;
}

static int generate(struct trace *r)
{
    struct translate_cpu *t = r->t;
    uint8_t *write = t->code.write + t->code.used;
    const struct emit_place place = {.write = write,
                                     .room = t->code.bytes - t->code.used,
                                     .first_site = t->sites,
                                     .first_exit = t->exits};
    int x = emit_region(&t->region, &t->env, &place, &t->result);

    if (x == 0) {
        x = keep(r, write);
    }
    if (x == 0) {
        r->unit->code = (uint64_t)(uintptr_t)t->code.run + t->code.used;
        t->code.used = (t->code.used + t->result.bytes + 15) & ~(size_t)15;
        t->x.count.blocks++;
    }
    return x;
}

struct unit *trace_translate(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                             unsigned room, gpa at, bool counted)
{
    struct trace r = {.t = t, .start = rip, .counted = counted};
    struct unit *u = fault_calloc(1, sizeof *u);
    unsigned offset = (unsigned)(at & (MEM_PAGE_BYTES - 1));
    unsigned most = TRACE_INSNS_MAX;

    (void)room;
    if (u == NULL) {
        return NULL;
    }
    u->at = at;
    u->rip = rip;
    u->key = unit_key(&t->x);
    u->is_counted = counted;
    r.unit = u;
    r.page = at - offset;
    r.host = host - offset;
    r.base = rip - offset;
    collect(&r);
    /* One that is too long for the host's registers or the room is tried shorter. */
    for (;; most /= 2) {
        if (r.count > most) {
            r.count = most;
            r.next = r.step[most].pc;
        }
        if (most == 0 || r.count == 0 || (build(&r) == 0 && generate(&r) == 0)) {
            break;
        }
    }
    u->insns = r.count;
    mem_flag_page(t->x.mem, r.page, MEM_CODE);
    if (unit_add(t, u) != 0) {
        free(u);
        return NULL;
    }
    return u;
}
