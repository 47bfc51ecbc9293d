/* leave.c - sites, the cold code behind a region, and the trampolines.
 *
 * A site's pends are where the values are at that moment; so they are written down
 * when the site's place in the hot code is reached, and both users read them: the C
 * code that unwinds after a fault, and the cold of a side exit, which stores them. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "virt/isa/emit/thunk.h"
#include "virt/isa/ir/native.h"
#include "virt/isa/ir/private.h"

static struct emit_pend *add_pend(struct emit *e)
{
    struct emit_result *r = e->r;

    if (!grow_for(&r->pend, r->pends + 1, &r->pend_room)) {
        e->error = -ENOMEM;
        return NULL;
    }
    r->pend[r->pends] = (struct emit_pend){.prev = -1};
    return &r->pend[r->pends++];
}

static void locate_arguments(struct emit *e, struct emit_pend *p, const struct ir_insn *f)
{
    struct emit_loc *to[3] = {&p->a, &p->b, &p->c};
    unsigned n;

    for (n = 0; n < 3; n++) {
        if (f->arg[n] != 0 && e->g->insn[f->arg[n]].type != IR_FLAGS_TYPE) {
            *to[n] = emit_locate(e, f->arg[n]);
        }
    }
}

/* Where a flags value comes from, as far as these flags are asked for; `prev` is another
 * pend, before this one. */
static void pend_flags(struct emit *e, uint16_t global, ir_value v, uint32_t asked)
{
    const struct ir_insn *f = &e->g->insn[v];
    int32_t prev = -1;
    struct emit_pend *p;
    uint32_t kept;
    ir_value before = ir_flags_kept(f, &kept);

    if (!emit_is_home(e, v) && (kept & asked) != 0) {
        pend_flags(e, NOT_PINNED, before, kept & asked);
        prev = (int32_t)(e->r->pends - 1);
    }
    p = add_pend(e);
    if (p == NULL) {
        return;
    }
    p->global = global;
    p->type = IR_FLAGS_TYPE;
    p->prev = prev;
    if (f->op == IR_GET && !emit_is_home(e, v)) {
        e->error = -ENOTSUP;
    }
    if (emit_is_home(e, v)) {
        p->a.kind = EMIT_AT_HOME;
        return;
    }
    p->flags_kind = f->aux;
    p->flags_bytes = (uint8_t)f->imm;
    locate_arguments(e, p, f);
    if (f->aux == IR_FLAGS_BITS && p->a.kind == EMIT_NOWHERE && e->host_flags == v) {
        p->a.kind = EMIT_IN_EFLAGS;
    }
}

uint32_t emit_site_at(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    const struct ir_map *m = &e->g->map[i->map];
    struct emit_result *r = e->r;
    struct emit_site *s;
    uint32_t n;

    if (!grow_for(&r->site, r->sites + 1, &r->site_room)) {
        e->error = -ENOMEM;
        return 0;
    }
    s = &r->site[r->sites];
    *s = (struct emit_site){.pc = m->pc,
                            .imm = i->imm,
                            .done = m->done,
                            .left = e->counted > m->done ? e->counted - m->done : 0,
                            .first = r->pends,
                            .op = i->op,
                            .type = i->type,
                            .aux = i->aux,
                            .access = i->access};
    for (n = 0; n < m->count; n++) {
        const struct ir_pending *p = &e->g->pending[m->first + n];

        if (e->env->global[p->global].type == IR_FLAGS_TYPE) {
            pend_flags(e, p->global, p->value, 0x8d5);
        } else {
            struct emit_pend *to = add_pend(e);

            if (to != NULL) {
                to->global = p->global;
                to->type = e->env->global[p->global].type;
                to->a = emit_locate(e, p->value);
            }
        }
    }
    r->site[r->sites].count = (uint16_t)(r->pends - r->site[r->sites].first);
    return r->sites++;
}

void emit_cold(struct emit *e, const struct cold *s)
{
    if (e->colds == COLD_MAX) {
        e->error = -ENOSPC;
        return;
    }
    e->cold[e->colds++] = *s;
}

void emit_fix(struct emit *e, enum emit_fix_kind kind)
{
    struct emit_result *r = e->r;

    if (!grow_for(&r->fix, r->fixes + 1, &r->fix_room)) {
        e->error = -ENOMEM;
        return;
    }
    r->fix[r->fixes++] = (struct emit_fix){
        .at = (uint32_t)(e->o.at - 4 - e->o.start) & UINT32_MAX >> 2, .kind = kind};
}

void emit_store_site(struct emit *e, uint32_t site)
{
    asm_store_imm(&e->o, 64, emit_field(e, offsetof(struct emit_frame, slow_site)),
                  (int32_t)site);
    emit_fix(e, EMIT_FIX_SITE);
}

/* A window across the end of a page is none, which needs no C; returns the branch. */
static uint8_t *if_crossing(struct emit *e, const struct cold *s)
{
    struct ir_window w = ir_window_unpack(e->g->insn[s->at].imm);
    uint8_t *within, *crossing;

    asm_lea(&e->o, 64, s->dst, asm_at(s->address, (int32_t)w.span - 1));
    asm_alu(&e->o, ASM_XOR, 64, s->dst, s->address);
    asm_alu_imm(&e->o, ASM_AND, 64, s->dst, -4096);
    within = asm_jcc(&e->o, IR_COND_Z);
    asm_store(
        &e->o, 64,
        emit_field(e, offsetof(struct emit_frame, window) + sizeof(uint64_t) * w.number),
        s->address);
    asm_mov_imm(&e->o, s->dst, EMIT_NO_WINDOW);
    crossing = asm_jmp(&e->o);
    asm_bind(&e->o, within, e->o.at);
    return crossing;
}

void emit_slow_access(struct emit *e, const struct cold *s, enum host_reg at)
{
    const struct ir_insn *i = &e->g->insn[s->at];
    uint8_t *crossing = i->op == IR_WINDOW ? if_crossing(e, s) : NULL;
    struct emit_slow slow = {.loads = s->dst != H_NONE, .address = at, .value = H_RSP};

    if (slow.loads) {
        slow.value = s->dst;
    } else if (i->op == IR_STORE && s->value != H_NONE) {
        slow.value = s->value;
    } else if (i->op == IR_STORE) {
        asm_store_imm(&e->o, 64, emit_field(e, offsetof(struct emit_frame, slow_value)),
                      (int32_t)s->constant);
    }
    emit_call_slow(e, &slow, s->site, s->goes_on ? NULL : s->resume);
    if (s->goes_on) {
        asm_test(&e->o, 64, s->dst, s->dst);
        asm_bind(&e->o, asm_jcc(&e->o, IR_COND_NS), s->resume);
    }
    if (crossing != NULL) {
        asm_bind(&e->o, crossing, s->goes_on ? e->o.at : s->resume);
    }
}

static bool is_free(const struct emit *e, unsigned r)
{
    return r != H_RSP && e->pinned_to[r] == NOT_PINNED;
}

/* What was counted and is not done goes back to the budget. */
static void give_back(struct emit *e, const struct emit_site *site)
{
    if (site->left != 0) {
        asm_alu_store_imm(&e->o, ASM_ADD, 64, asm_gs(e->env->budget),
                          (int32_t)site->left);
    }
}

static void load_loc(struct emit *e, enum host_reg to, const struct emit_loc *l)
{
    if (l->kind == EMIT_IS_CONST) {
        asm_mov_imm(&e->o, to, l->value);
    } else if (l->kind == EMIT_IN_SPILL) {
        asm_load(&e->o, 64, to,
                 emit_field(e, offsetof(struct emit_frame, spill) + 8 * l->value));
    } else if (l->kind == EMIT_IN_REG && to != l->reg) {
        asm_mov(&e->o, 64, to, l->reg);
    }
}

/* A register that is not pinned and holds none of these. */
static enum host_reg spare(const struct emit *e, const struct emit_pend *p)
{
    unsigned r;

    for (r = 0; r < EMIT_HOST_REGS; r++) {
        if (is_free(e, r) && !(p->a.kind == EMIT_IN_REG && p->a.reg == r) &&
            !(p->b.kind == EMIT_IN_REG && p->b.reg == r)) {
            return r;
        }
    }
    return H_NONE;
}

static bool has_short_flags(const struct emit_pend *p)
{
    return p->flags_kind == IR_FLAGS_BITS || emit_can_be_late(p->flags_kind);
}

/* To their home: what they are made from, or an image that was made before. */
static void store_flags(struct emit *e, const struct emit_pend *p)
{
    enum host_reg t = spare(e, p);

    if (p->flags_kind != IR_FLAGS_BITS) {
        emit_late_flags(e, p, t);
        return;
    }
    load_loc(e, t, &p->a);
    asm_store(&e->o, 64, emit_field(e, offsetof(struct emit_frame, flags)), t);
    emit_not_late(e);
}

/* What is pending goes home in place; false: nothing was written, the engine has to. */
static bool store_pends(struct emit *e, const struct emit_site *site)
{
    const struct emit_pend *flags = NULL;
    unsigned n;

    for (n = 0; n < site->count; n++) {
        const struct emit_pend *p = &e->r->pend[site->first + n];

        if (p->type == IR_FLAGS_TYPE) {
            if (flags != NULL || p->prev >= 0 ||
                !(p->a.kind == EMIT_AT_HOME || has_short_flags(p))) {
                return false;
            }
            flags = p;
        } else if (emit_bits(p->type) != 64 || emit_home(e, p->global) != H_NONE) {
            return false;
        }
    }
    for (n = 0; n < site->count;
         n++) { /* registers first, then nothing else needs them */
        const struct emit_pend *p = &e->r->pend[site->first + n];

        if (p != flags && p->a.kind == EMIT_IN_REG) {
            asm_store(&e->o, 64, emit_global(e, p->global), p->a.reg);
        }
    }
    if (flags != NULL && flags->a.kind != EMIT_AT_HOME) {
        store_flags(e, flags);
    }
    for (n = 0; n < site->count; n++) {
        const struct emit_pend *p = &e->r->pend[site->first + n];

        if (p != flags && p->a.kind != EMIT_IN_REG) {
            enum host_reg t = emit_another(e, H_NONE, H_NONE);

            load_loc(e, t, &p->a);
            asm_store(&e->o, 64, emit_global(e, p->global), t);
        }
    }
    return true;
}

/* Flags that only EFLAGS hold go home, before anything changes those. */
static void store_eflags(struct emit *e, const struct emit_site *site)
{
    unsigned n;

    for (n = 0; n < site->count; n++) {
        struct emit_pend *p = &e->r->pend[site->first + n];

        if (p->a.kind == EMIT_IN_EFLAGS) {
            emit_push_flags(e, emit_field(e, offsetof(struct emit_frame, flags)));
            p->a.kind = EMIT_AT_HOME;
        }
    }
}

/* What is pending is stored here, or where that is long by the engine, as after a fault. */
static void side_exit(struct emit *e, const struct cold *s)
{
    struct emit_site *site = &e->r->site[s->site];

    if (site->left > 0) {
        site->left--; /* the branch itself is done */
    }
    store_eflags(e, site);
    if (site->count != 0 && !store_pends(e, site)) {
        emit_store_site(e, s->site);
        asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, routine_thunk)));
    }
    give_back(e, site);
    emit_exit_to(e, e->g->insn[s->at].imm, (e->g->insn[s->at].aux & IR_EXIT_FAR) != 0);
}

/* The helper sees by the site's operation that it is not to come back. */
static void trap(struct emit *e, const struct cold *s)
{
    emit_store_site(e, s->site);
    asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, routine_thunk)));
    emit_leave_by(e, EMIT_LEFT_WANTS);
}

void emit_leave(struct emit *e, uint32_t at, unsigned detail)
{
    (void)detail;
    if (e->g->insn[at].aux == IR_LEAVE_BEHIND) {
        asm_jmp_mem(&e->o, emit_field(e, offsetof(struct emit_frame, behind)));
        return;
    }
    emit_leave_by(e, EMIT_LEFT_REASON - (int32_t)e->g->insn[at].aux);
}

/* Somebody waits, or the rounds are used up: what is pending is stored, and the engine looks.  Behind a routine it
 * goes where that said: a repeated instruction may have more to do. */
static void wants(struct emit *e, const struct cold *s)
{
    struct emit_site *site = &e->r->site[s->site];
    enum host_reg t = emit_another(e, H_NONE, H_NONE);

    if (site->count != 0 && !store_pends(e, site)) {
        emit_store_site(e, s->site);
        asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, routine_thunk)));
    }
    give_back(e, site);
    if (e->g->insn[s->at].imm != 0) {
        asm_mov_imm(&e->o, t, site->pc);
        asm_store(&e->o, 64, emit_field(e, offsetof(struct emit_frame, leave_to)), t);
    }
    emit_leave_by(e, s->kind == COLD_HOT ? EMIT_LEFT_HOT : EMIT_LEFT_WANTS);
}

/* The arithmetic flags of their home: push; and qword [rsp], 8d5h; popfq */
static void load_eflags(struct emit *e)
{
    asm_push_mem(&e->o, emit_field(e, offsetof(struct emit_frame, flags)));
    asm_byte(&e->o, 0x48);
    asm_byte(&e->o, 0x81);
    asm_byte(&e->o, 0x24);
    asm_byte(&e->o, 0x24);
    asm_word32(&e->o, 0x8d5);
    asm_byte(&e->o, 0x9d);
}

/* The row's routine does the whole instruction; then the region goes on, unless it asked
 * to leave.  Its integer result, or the flags, are fetched from where it left them. */
void emit_slow_native(struct emit *e, const struct cold *s)
{
    const struct ir_native *n =
        (const struct ir_native *)(uintptr_t)e->g->insn[s->at].imm;
    uint8_t *leave;

    emit_store_site(e, s->site);
    asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, routine_thunk)));
    if (s->dst != H_NONE && n->gives_flags) {
        asm_load(&e->o, 64, s->dst, emit_field(e, offsetof(struct emit_frame, flags)));
    } else if (s->dst != H_NONE) {
        asm_load(&e->o, 64, s->dst, emit_global(e, n->result_global));
    }
    asm_alu_store_imm(&e->o, ASM_CMP, 32, asm_gs(e->env->local), 0);
    if (n->gives_flags && s->dst == H_NONE) {
        leave = asm_jcc(&e->o, IR_COND_NZ);
        load_eflags(e);
        asm_bind(&e->o, asm_jmp(&e->o), s->resume);
        asm_bind(&e->o, leave, e->o.at);
    } else {
        leave = asm_jcc(&e->o, IR_COND_Z);
        asm_bind(&e->o, leave, s->resume);
    }
    asm_jmp_mem(&e->o, emit_field(e, offsetof(struct emit_frame, leave_behind)));
}

void emit_cold_code(struct emit *e)
{
    unsigned n;

    for (n = 0; n < e->colds && e->error == 0; n++) {
        const struct cold *s = &e->cold[n];

        if (s->from != NULL) {
            asm_bind(&e->o, s->from, e->o.at);
        }
        if (s->kind == COLD_SLOW) {
            emit_slow_access(e, s, (enum host_reg)s->address);
        } else if (s->kind == COLD_DIRECT) {
            emit_direct_cold(e, s);
        } else if (s->kind == COLD_NATIVE) {
            emit_slow_native(e, s);
        } else if (s->kind == COLD_DEEP) {
            emit_shallow(e, s);
        } else if (s->kind == COLD_ADDEND) {
            asm_load(&e->o, 64, (enum host_reg)s->dst,
                     asm_at((enum host_reg)s->address, (int32_t)e->env->tlb_addend));
            asm_bind(&e->o, asm_jmp(&e->o), s->resume);
        } else if (s->kind == COLD_WHOLE) {
            asm_call_mem(&e->o, emit_field(e, offsetof(struct emit_frame, whole_thunk)));
            asm_bind(&e->o, asm_jmp(&e->o), s->resume);
        } else if (s->kind == COLD_VECTORS) {
            asm_call_mem(&e->o,
                         emit_field(e, offsetof(struct emit_frame, vectors_thunk)));
            asm_bind(&e->o, asm_jmp(&e->o), s->resume);
        } else if (s->kind == COLD_FPU) {
            emit_fpu_cold(e, s);
        } else if (s->kind == COLD_EXIT) {
            side_exit(e, s);
        } else if (s->kind == COLD_TRAP) {
            trap(e, s);
        } else {
            wants(e, s);
        }
    }
}

static uint64_t loc_value(const struct emit_env *env, const uint8_t *cpu,
                          const struct emit_loc *l)
{
    const struct emit_frame *f =
        (const struct emit_frame *)(const void *)(cpu + env->frame);
    uint64_t v = 0;
    unsigned n;

    switch (l->kind) {
    case EMIT_IS_CONST:
        return l->value;
    case EMIT_IN_SPILL:
        return f->spill[l->value];
    case EMIT_IN_REG:
        for (n = 0; n < env->globals; n++) {
            if (env->global[n].pin == l->reg) {
                memcpy(&v, cpu + env->global[n].offset, 8);
                return v;
            }
        }
        return f->save[l->reg];
    default:
        return 0;
    }
}

uint64_t emit_pend_value(const struct emit_env *env, const void *cpu,
                         const struct emit_pend *all, const struct emit_pend *p)
{
    const struct emit_frame *f =
        (const struct emit_frame *)(const void *)((const uint8_t *)cpu + env->frame);
    uint64_t a = loc_value(env, cpu, &p->a), mask, previous;
    struct ir_words w;

    if (p->type != IR_FLAGS_TYPE) {
        return a;
    }
    if (p->a.kind == EMIT_AT_HOME) {
        return emit_home_flags(f);
    }
    mask = p->flags_bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << p->flags_bytes * 8) - 1;
    w = (struct ir_words){
        .a = a, .b = loc_value(env, cpu, &p->b) & mask, .c = loc_value(env, cpu, &p->c)};
    if (p->flags_kind != IR_FLAGS_BITS) {
        w.a &= mask;
    }
    previous =
        p->prev >= 0 ? emit_pend_value(env, cpu, all, &all[p->prev]) : emit_home_flags(f);
    return ir_compute_flags(p->flags_kind, p->flags_bytes * 8u, w, previous);
}
