/* slow.c - what generated code asks of C.
 *
 * A slow access is done here when it is an ordinary one: to a page that the soft TLB
 * does not have yet, or a store beside code.  Everything else - stores to code, page tables, watched
 * pages, devices - is given up: the state becomes that in front of the instruction, and
 * the interpreter executes it, exact in every case.  A fault raised here arrives at the
 * run loop, which also asks for that state. */
#include <stdatomic.h>
#include <string.h>

#include "virt/isa/x86/memory/access.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/translate/private.h"

#define GIVEN_UP 2 /* value of the longjmp */

static const struct half *half_of(const struct translate_cpu *t)
{
    return &t->half[t->frame.slow_site >> HALF_SHIFT];
}

const struct site *slow_site(const struct translate_cpu *t)
{
    return &half_of(t)->site[t->frame.slow_site & ((UINT32_C(1) << HALF_SHIFT) - 1)];
}

static uint64_t pc_of(const struct translate_cpu *t, const struct site *s)
{
    return (unit_numbered(t, s->unit)->rip & ~X86_PAGE_MASK) + s->pc;
}

static uint64_t widened(const struct site *s, uint64_t v)
{
    unsigned bits = s->bytes * 8u;

    if (s->is_signed && bits < 64) {
        v = (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits));
        v = s->is_32 ? (uint32_t)v : v;
    }
    return v;
}

static uint64_t load(struct x86_cpu *c, enum x86_seg seg, uint64_t at, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return x86_load8(c, seg, at);
    case 2:
        return x86_load16(c, seg, at);
    case 4:
        return x86_load32(c, seg, at);
    default:
        return x86_load64(c, seg, at);
    }
}

static void store(struct x86_cpu *c, enum x86_seg seg, uint64_t at, unsigned bytes,
                  uint64_t v)
{
    switch (bytes) {
    case 1:
        x86_store8(c, seg, at, (uint8_t)v);
        break;
    case 2:
        x86_store16(c, seg, at, (uint16_t)v);
        break;
    case 4:
        x86_store32(c, seg, at, (uint32_t)v);
        break;
    default:
        x86_store64(c, seg, at, v);
        break;
    }
}

/* The bytes at `at`, of one page, if they are RAM that may be accessed without a look, but
 * for the flags `but`. */
static bool is_plain_page(struct x86_cpu *c, uint64_t at, unsigned bytes, bool writes,
                          uint8_t but, struct x86_part *ret_part)
{
    enum x86_access access = writes ? X86_WRITE : X86_READ;
    struct x86_part p = {.bytes = bytes};
    const struct mem_region *r;

    x86_translate(c, at, access, x86_rights_now(c), &p);
    r = p.region;
    *ret_part = p;
    return p.host != NULL && !(writes && r->read_only) &&
           (r->flags[(p.at - r->base) >> MEM_PAGE_SHIFT] & ~but) == 0 &&
           !x86_is_watched(c, at & ~X86_PAGE_MASK, access);
}

static bool crosses(uint64_t at, unsigned bytes)
{
    return (((at + bytes - 1) ^ at) & ~X86_PAGE_MASK) != 0;
}

/* The same of one page, which may hold code, or of two, which may not; the first that is
 * missing faults. */
static bool is_plain(struct x86_cpu *c, uint64_t at, unsigned bytes, bool writes,
                     struct x86_part *ret_part)
{
    unsigned here = (unsigned)(MEM_PAGE_BYTES - (at & X86_PAGE_MASK));
    struct x86_part second;

    if (!crosses(at, bytes)) {
        return is_plain_page(c, at, bytes, writes, MEM_CODE, ret_part);
    }
    return is_plain_page(c, at, here, writes, 0, ret_part) &&
           is_plain_page(c, at + here, bytes - here, writes, 0, &second);
}

/* Where the window lies in the host, if it lies in one page that may be reached directly.
 * The first access's fault is raised here; all else that is unusual is left to the
 * accesses. */
static uint64_t find_window(struct translate_cpu *t, const struct site *s)
{
    struct x86_cpu *c = &t->x;
    struct ir_window w = draft_window(s);
    uint64_t begin = t->frame.slow_at, first = begin + w.before;
    struct x86_part p = {.bytes = s->bytes};
    const struct x86_tlb_entry *entry;

    t->frame.window[w.number] = begin;
    if (c->tlb == &c->tlbs->none || begin % w.align != 0 || crosses(first, s->bytes) ||
        !x86_is_canonical(first)) {
        return EMIT_NO_WINDOW;
    }
    x86_translate(c, first, s->for_write ? X86_WRITE : X86_READ, x86_rights_now(c), &p);
    entry = &c->tlb->entry[x86_tlb_index(first)];
    if ((w.writes ? entry->write : entry->read) != (first & ~X86_PAGE_MASK) ||
        crosses(begin, w.span)) {
        return EMIT_NO_WINDOW;
    }
    return begin + entry->addend;
}

/* One host store of that size each, whatever the alignment. */
static void put(uint8_t *host, unsigned bytes, uint64_t v)
{
    switch (bytes) {
    case 1:
        memcpy(host, &v, 1);
        break;
    case 2:
        memcpy(host, &v, 2);
        break;
    case 4:
        memcpy(host, &v, 4);
        break;
    default:
        memcpy(host, &v, 8);
        break;
    }
}

/* A store to a page with code, where the bytes themselves are none: nobody makes code of
 * them before they are written, since the lock is held.  False: they are code. */
static bool store_beside(struct x86_cpu *c, const struct x86_part *p, uint64_t v)
{
    struct code_share *s = c->code->share;
    unsigned from = (unsigned)(p->at & X86_PAGE_MASK);
    bool is_code;

    pthread_mutex_lock(&s->lock);
    is_code = x86_share_covers_locked(s, p->at & ~X86_PAGE_MASK, from, from + p->bytes);
    if (!is_code) {
        put(p->host, p->bytes, v);
    }
    pthread_mutex_unlock(&s->lock);
    return !is_code;
}

/* A store to a page that is known to the soft TLB, and plain but for the code in it. */
static bool is_known_code_page(const struct x86_cpu *c, uint64_t at, unsigned bytes,
                               struct x86_part *ret_part)
{
    const struct x86_tlb_page *p = &x86_tlb_real(c)->page[x86_tlb_index(at)];
    const struct mem_region *r = p->region;

    if (!p->used || p->linear != (at & ~X86_PAGE_MASK) || (p->allowed & X86_WRITE) == 0 ||
        crosses(at, bytes) || c->tlb == &c->tlbs->none ||
        x86_is_watched(c, p->linear, X86_WRITE) || r == NULL || r->host == NULL ||
        r->read_only || r->flags[(p->at - r->base) >> MEM_PAGE_SHIFT] != MEM_CODE) {
        return false;
    }
    ret_part->at = p->at | (at & X86_PAGE_MASK);
    ret_part->host = r->host + (ret_part->at - r->base);
    ret_part->bytes = bytes;
    return true;
}

void slow_helper(void *cpu)
{
    struct translate_cpu *t = cpu;
    struct x86_cpu *c = &t->x;
    const struct site *s = slow_site(t);
    enum x86_seg seg = s->is_stack ? X86_SS : X86_DS;
    uint64_t at = t->frame.slow_at;
    bool writes = s->op == IR_STORE;
    bool will_write = writes || s->for_write;
    struct x86_part p;

    if (s->op == IR_WINDOW) {
        t->frame.slow_value = find_window(t, s);
        return;
    }
    if (writes && is_known_code_page(c, at, s->bytes, &p) &&
        store_beside(c, &p, t->frame.slow_value)) {
        return;
    }
    /* A locked operation is the interpreter's, which also fills the soft TLB for it; and
     * without a soft TLB alignment is checked, in front of all else. */
    if ((s->op != IR_LOAD && s->op != IR_STORE) || c->tlb == &c->tlbs->none ||
        !x86_is_canonical(at) || !x86_is_canonical(at + s->bytes - 1) ||
        !is_plain(c, at, s->bytes, will_write, &p)) {
        longjmp(c->unwind, GIVEN_UP);
    }
    if (!writes) {
        t->frame.slow_value = widened(s, load(c, seg, at, s->bytes));
    } else if (p.region->flags[(p.at - p.region->base) >> MEM_PAGE_SHIFT] == 0) {
        store(c, seg, at, s->bytes, t->frame.slow_value);
    } else if (!store_beside(c, &p, t->frame.slow_value)) {
        longjmp(c->unwind, GIVEN_UP);
    }
}

static void put_pends(struct translate_cpu *t, const struct site *s)
{
    const struct unit *u = unit_numbered(t, s->unit);
    struct emit_pend all[DRAFT_PENDS];
    unsigned count = draft_pends(s, &half_of(t)->word[u->first_word + s->first], all);
    uint64_t newest[LIFT_GLOBALS];
    unsigned n;

    for (n = 0; n < count; n++) {
        const struct emit_pend *p = &all[n];

        if (p->global < LIFT_GLOBALS) {
            newest[p->global] = emit_pend_value(&t->env, t, all, p);
        }
    }
    for (n = 0; n < count; n++) {
        const struct emit_pend *p = &all[n];

        if (p->global < LIFT_GLOBALS) {
            memcpy((uint8_t *)t + t->global[p->global].offset, &newest[p->global], 8);
            if (t->global[p->global].type == IR_FLAGS_TYPE) {
                t->frame.late = 0;
            }
        }
    }
}

static void flags_to_guest(struct translate_cpu *t)
{
    x86_flags_set(&t->x, (uint32_t)emit_home_flags(&t->frame));
}

void slow_apply(struct translate_cpu *t)
{
    const struct site *s = slow_site(t);

    put_pends(t, s);
    flags_to_guest(t);
    t->x.next_rip = pc_of(t, s);
    t->x.r.gpr[X86_RIP] = t->x.next_rip;
    t->x.budget += s->left;
    t->inside = false;
}

/* A row that may go anywhere, even to another task before it faults: what follows is as
 * in the interpreter, with the state whole and nothing counted that is not done. */
static void run_last(struct translate_cpu *t, const struct site *s,
                     const struct x86_insn *i)
{
    struct x86_cpu *c = &t->x;

    c->budget += s->left;
    c->code->block = NULL;
    t->inside = false;
    i->run(c, i);
    t->inside = true;
    c->budget -= s->left;
    if ((x86_rows[i->row].attributes & X86_A_F64) == 0) {
        c->wants |= X86_WANT_RELOAD;
    }
}

/* Behind such a row: at once to the code that comes next, if that is known, else to the
 * loop.  Units may go here, and with them the instruction that has just run. */
static void choose_behind(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    uint64_t code = 0;

    if (!t->is_counted && translate_goes_on(t) && translate_is_suitable(c)) {
        link_refresh(t);
        code = link_recall(t, c->next_rip & c->rip_mask);
    }
    t->frame.entry = code;
    t->frame.behind = code != 0 ? t->frame.resume : t->frame.leave_behind;
}

/* A repeated one that stopped because somebody waits is not done; those to and from ports
 * count with each element. */
static bool is_interrupted(const struct x86_cpu *c, uint64_t pc, const struct x86_insn *i)
{
    return i->repeat != 0 && (x86_rows[i->row].attributes & X86_A_ENDS) == 0 &&
           c->next_rip == pc && x86_is_awaited(c);
}

bool slow_has_uppers(const struct x86_cpu *c)
{
    uint64_t any = 0;
    unsigned n;

    for (n = 0; n < 16; n++) {
        uint64_t half[2];

        memcpy(half, (const uint8_t *)&c->r.fpu.ymm[n] + 16, sizeof half);
        any |= half[0] | half[1];
    }
    return any != 0;
}

/* By what the processor must have for it. */
static bool may_change_vectors(const struct x86_insn *i)
{
    static const uint64_t none =
        UINT64_C(1) << X86_F_BASE | UINT64_C(1) << X86_F_TSC | UINT64_C(1) << X86_F_MSR |
        UINT64_C(1) << X86_F_CX8 | UINT64_C(1) << X86_F_CX16 | UINT64_C(1) << X86_F_LM |
        UINT64_C(1) << X86_F_SYSCALL | UINT64_C(1) << X86_F_RDTSCP |
        UINT64_C(1) << X86_F_FSGSBASE | UINT64_C(1) << X86_F_SMAP |
        UINT64_C(1) << X86_F_INVPCID;

    return (none >> x86_rows[i->row].feature & 1) == 0;
}

/* A unit whose instruction ends in the next page found other bytes there: it goes, unless
 * the soft TLB just does not have that page. */
static void drop_crossing(struct translate_cpu *t, const struct unit *u)
{
    struct x86_cpu *c = &t->x;
    uint64_t next = (u->rip | X86_PAGE_MASK) + 1;

    if (c->tlb->entry[x86_tlb_index(next)].execute == next) {
        pthread_mutex_lock(&c->code->share->lock);
        unit_note_dirty_locked(t, &(struct dirty){.page = u->at & ~X86_PAGE_MASK,
                                                  .from = u->low,
                                                  .to = u->high});
        pthread_mutex_unlock(&c->code->share->lock);
    }
}

/* Its instruction, then, by the interpreter; the run loop comes next. */
static void interpret_crossing(struct translate_cpu *t, const struct site *s)
{
    struct x86_cpu *c = &t->x;

    fpu_take(t);
    flags_to_guest(t);
    c->next_rip = pc_of(t, s);
    c->r.gpr[X86_RIP] = c->next_rip;
    c->budget += s->left;
    c->code->block = NULL;
    t->inside = false;
    drop_crossing(t, unit_numbered(t, s->unit));
    translate_interpret(t, 1);
    t->inside = true;
    x86_flags_pack(c);
    t->frame.flags = c->r.rflags;
    t->frame.late = 0;
    t->frame.uppers = slow_has_uppers(c);
    t->frame.leave_to = c->next_rip;
}

/* Called for a row's routine, and by side exits to have their values stored. */
void routine_helper(void *cpu)
{
    struct translate_cpu *t = cpu;
    struct x86_cpu *c = &t->x;
    const struct site *s = slow_site(t);
    const uint64_t pc = pc_of(t, s);
    const struct x86_insn *i;
    bool lent = t->frame.fpu_lent != 0, touches_flags;

    put_pends(t, s);
    if (s->op == IR_TRAP_IF && s->bytes != 0) {
        interpret_crossing(t, s);
        return;
    }
    if (s->op != IR_NATIVE && s->op != IR_ROUTINE && s->op != IR_TRAP_IF) {
        return;
    }
    i = &unit_numbered(t, s->unit)->insn[s->detail];
    fpu_take(t);
    touches_flags = x86_rows[i->row].flags[0] != '\0' ||
                    (x86_rows[i->row].attributes & X86_A_ENDS) != 0;
    if (touches_flags) {
        flags_to_guest(t);
    }
    c->r.gpr[X86_RIP] = pc;
    c->next_rip = pc + i->length;
    if ((x86_rows[i->row].attributes & X86_A_ENDS) != 0) {
        run_last(t, s, i);
    } else {
        i->run(c, i);
    }
    x86_settle(c);
    if (s->left > 0 && is_interrupted(c, pc, i)) {
        c->budget++;
    }
    if (s->op == IR_TRAP_IF && s->left > 0) { /* the rest of the region is not done */
        c->budget += s->left - 1;
    }
    if (touches_flags) {
        x86_flags_pack(c);
        t->frame.flags = c->r.rflags;
        t->frame.late = 0;
    }
    t->frame.leave_to = c->next_rip;
    /* Behind the cold path of a native one the region counts on what it has noted. */
    if (may_change_vectors(i)) {
        t->frame.uppers =
            slow_has_uppers(c) || (s->op == IR_NATIVE && t->frame.uppers != 0);
    }
    t->local = c->wants | (c->next_rip != pc + i->length) |
               ((c->r.fpu.mxcsr & 0x1f80) != 0x1f80) |
               (fpu_can_lend(c) != ((t->key & UNIT_FPU) != 0));
    if ((x86_rows[i->row].attributes & X86_A_ENDS) != 0) {
        choose_behind(t);
    }
    if (lent && fpu_can_lend(c)) { /* behind all that C code does */
        fpu_lend(t);
    }
}
