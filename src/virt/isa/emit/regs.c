/* regs.c - where values live while the code of a region is written, front to back.
 *
 * Last uses are known beforehand (emit.c), so a register is free as soon as its value
 * has none left.  A result goes, in this order: into the pinned register of the global
 * that is set to it next (so that the set costs nothing), into the register of its
 * first operand when that dies, into a free register, into one whose value is used
 * latest and is put aside. */
#include <errno.h>
#include <string.h>

#include "virt/isa/emit/private.h"

unsigned emit_bits(enum ir_type t)
{
    switch (t) {
    case IR_I1:
    case IR_I8:
        return 8;
    case IR_I16:
        return 16;
    case IR_I32:
    case IR_F32:
        return 32;
    default:
        return 64;
    }
}

enum host_reg emit_home(const struct emit *e, uint16_t global)
{
    uint8_t pin = e->env->global[global].pin;

    return pin == IR_NO_PIN ? H_NONE : (enum host_reg)pin;
}

struct asm_mem emit_global(const struct emit *e, uint16_t global)
{
    return asm_gs(e->env->global[global].offset);
}

struct asm_mem emit_field(const struct emit *e, size_t offset)
{
    return asm_gs(e->env->frame + (uint32_t)offset);
}

static struct asm_mem spill_slot(const struct emit *e, unsigned n)
{
    return emit_field(e, offsetof(struct emit_frame, spill) + 8 * n);
}

bool emit_imm32(const struct emit *e, ir_value v, unsigned bits, int32_t *ret)
{
    uint64_t c;

    if (!emit_is_const(e, v, &c)) {
        return false;
    }
    if (bits < 64) {
        c = (uint64_t)((int64_t)(c << (64 - bits)) >> (64 - bits));
    }
    *ret = (int32_t)c;
    return (int64_t)c == (int32_t)c;
}

static bool is_temp(const struct emit *e, unsigned r)
{
    return (e->temps >> r & 1) != 0;
}

bool emit_dies(const struct emit *e, ir_value v)
{
    return e->place[emit_root(e, v)].last_use <= e->now;
}

static void take(struct emit *e, enum host_reg r, uint32_t root)
{
    emit_own(e, r, root);
    e->place[root].reg = (uint8_t)r;
    e->locked[r] = true;
}

static void forget_spill(struct emit *e, uint32_t root)
{
    if (e->place[root].spill != NO_SPILL) {
        e->spill_owner[e->place[root].spill] = 0;
        e->place[root].spill = NO_SPILL;
    }
}

static void put_aside(struct emit *e, enum host_reg r)
{
    uint32_t root = e->owner[r];
    unsigned n;

    if (e->place[root].spill == NO_SPILL) {
        for (n = 0; n < EMIT_SPILLS && e->spill_owner[n] != 0; n++) {
        }
        if (n == EMIT_SPILLS) {
            e->error = -ENOSPC;
            return;
        }
        e->spill_owner[n] = root;
        e->spilled |= UINT32_C(1) << n;
        e->place[root].spill = (uint8_t)n;
        asm_store(&e->o, 64, spill_slot(e, n), r);
    }
    e->place[root].reg = H_NONE;
    e->owner[r] = 0;
}

static enum host_reg find_free(const struct emit *e)
{
    uint32_t left;
    unsigned r;

    for (left = e->temps; left != 0; left &= left - 1) {
        r = (unsigned)__builtin_ctz(left);
        if (e->owner[r] == 0 && !e->locked[r]) {
            return r;
        }
    }
    return H_NONE;
}

static enum host_reg any_temp(struct emit *e)
{
    enum host_reg r = find_free(e), best = H_NONE;
    unsigned n;

    if (r != H_NONE) {
        return r;
    }
    for (n = 0; n < EMIT_HOST_REGS; n++) {
        if (is_temp(e, n) && !e->locked[n] &&
            (best == H_NONE ||
             e->place[e->owner[n]].last_use > e->place[e->owner[best]].last_use)) {
            best = n;
        }
    }
    if (best == H_NONE) {
        e->error = -ENOSPC;
        return H_RAX;
    }
    put_aside(e, best);
    return best;
}

enum host_reg emit_temp(struct emit *e)
{
    enum host_reg r = any_temp(e);

    e->locked[r] = true;
    return r;
}

enum host_reg emit_scratch(struct emit *e, ir_value a, ir_value b, ir_value kept)
{
    ir_value of[2] = {a, b};
    enum host_reg r;
    unsigned n;

    for (n = 0; n < 2; n++) {
        uint32_t root = emit_root(e, of[n]);

        r = e->place[root].reg;
        if (of[n] != 0 && r != H_NONE && is_temp(e, r) && emit_dies(e, of[n]) &&
            root != emit_root(e, kept)) {
            e->owner[r] = 0;
            e->place[root].reg = H_NONE;
            forget_spill(e, root);
            e->locked[r] = true;
            return r;
        }
    }
    for (n = 0; n < 2; n++) {
        if (of[n] != 0 && e->place[emit_root(e, of[n])].reg != H_NONE) {
            e->locked[e->place[emit_root(e, of[n])].reg] = true;
        }
    }
    r = emit_temp(e);
    for (n = 0; n < 2; n++) {
        if (of[n] != 0 && e->place[emit_root(e, of[n])].reg != H_NONE) {
            e->locked[e->place[emit_root(e, of[n])].reg] = false;
        }
    }
    return r;
}

/* The value leaves this register, for another or for its slot, if it is still used. */
void emit_evict(struct emit *e, enum host_reg r)
{
    uint32_t root = e->owner[r];
    enum host_reg to;

    if (root == 0) {
        return;
    }
    e->owner[r] = 0;
    e->place[root].reg = H_NONE;
    if (e->place[root].last_use <= e->now || e->place[root].spill != NO_SPILL) {
        return;
    }
    e->locked[r] = true;
    to = any_temp(e);
    asm_mov(&e->o, 64, to, r);
    emit_own(e, to, root);
    e->place[root].reg = (uint8_t)to;
}

/* Conditions and comparisons are made where they are used: here, as a byte. */
static bool is_truth(unsigned op)
{
    return op == IR_COND || (op >= IR_EQ && op <= IR_SLE);
}

enum host_reg emit_use(struct emit *e, ir_value v)
{
    uint32_t root = emit_root(e, v);
    struct place *p = &e->place[root];
    enum host_reg r;
    uint64_t c;

    if (p->reg != H_NONE) {
        e->locked[p->reg] = true;
        return p->reg;
    }
    if (p->spill == NO_SPILL && is_truth(e->g->insn[root].op)) {
        unsigned cond = emit_truth(e, root);

        r = emit_temp(e);
        asm_setcc(&e->o, cond, r);
        take(e, r, root);
        return r;
    }
    r = emit_temp(e);
    if (emit_is_const(e, root, &c)) {
        asm_mov_imm(&e->o, r, c);
        if (p->last_use <= e->now) {
            return r;
        }
    } else if (p->spill != NO_SPILL) {
        asm_load(&e->o, 64, r, spill_slot(e, p->spill));
    } else {
        e->error = -EINVAL; /* used before it was made */
    }
    take(e, r, root);
    return r;
}

/* The global whose `set` follows `v` so soon that its register may already hold the new
 * value: nothing in between can leave, read the global, or needs what lived there. */
static enum host_reg wished_home(const struct emit *e, ir_value v)
{
    uint32_t at, end = e->g->block[e->block].end;
    uint32_t read = 0; /* pinned registers that are read in between */

    if (e->place[v].set_at == 0) {
        return H_NONE;
    }
    for (at = v + 1; at < end && at < v + 8; at++) {
        const struct ir_insn *i = &e->g->insn[at];
        enum host_reg home =
            i->op == IR_SET || i->op == IR_GET ? emit_home(e, (uint16_t)i->imm) : H_NONE;

        if (i->op == IR_SET && e->place[i->arg[0]].root == v && !e->place[at].is_dead) {
            bool free =
                home != H_NONE && !e->locked[home] && (read >> home & 1) == 0 &&
                (e->owner[home] == 0 || e->place[e->owner[home]].last_use <= e->now);

            return free ? home : H_NONE;
        }
        if (i->op == IR_GET && home != H_NONE) {
            read |= 1u << home;
        }
        if (i->map != 0 || i->op == IR_ROUTINE || i->op == IR_CALL ||
            (ir_ops[i->op].traits & IR_END) != 0) {
            return H_NONE;
        }
    }
    return H_NONE;
}

static void settle(struct emit *e, enum host_reg r, ir_value v)
{
    uint32_t old = e->owner[r];

    if (old != 0 && old != v) {
        e->place[old].reg = H_NONE;
    }
    take(e, r, v);
}

/* Never a register that an operand of this instruction is in. */
enum host_reg emit_define(struct emit *e, ir_value v)
{
    enum host_reg r = wished_home(e, v);

    if (r == H_NONE) {
        r = any_temp(e);
    }
    settle(e, r, v);
    return r;
}

/* A register that holds `a` and becomes `v`: for two-address instructions. */
enum host_reg emit_define_from(struct emit *e, ir_value v, ir_value a)
{
    uint32_t root = emit_root(e, a);
    enum host_reg from, home;
    uint64_t c;

    if (emit_is_const(e, a, &c) && e->place[root].reg == H_NONE) {
        enum host_reg r = emit_define(e, v);

        asm_mov_imm(&e->o, r, c);
        return r;
    }
    from = emit_use(e, a);
    if (emit_dies(e, a)) { /* the wish for its own home is open again */
        e->locked[from] = false;
    }
    home = wished_home(e, v);
    if (home == H_NONE && emit_dies(e, a) && is_temp(e, from)) {
        home = from;
    }
    if (home == H_NONE) {
        e->locked[from] = true;
        home = any_temp(e);
    }
    if (home != from) {
        asm_mov(&e->o, 64, home, from);
    } else {
        forget_spill(e, root);
    }
    settle(e, home, v);
    return home;
}

void emit_alias(struct emit *e, ir_value v, ir_value of)
{
    uint32_t root = emit_root(e, of);

    e->place[v].root = root;
    if (e->place[root].last_use < e->place[v].last_use) { /* of another get */
        e->place[root].last_use = e->place[v].last_use;
    }
}

void emit_done(struct emit *e)
{
    uint32_t spilled, owned;
    unsigned r;

    memset(e->locked, 0, sizeof e->locked);
    if (e->next_death > e->now) {
        return;
    }
    e->next_death = UINT32_MAX;
    for (owned = e->owned; owned != 0; owned &= owned - 1) {
        uint32_t root;

        r = (unsigned)__builtin_ctz(owned);
        root = e->owner[r];
        if (e->place[root].last_use <= e->now) { /* or there is none: value 0 */
            e->owned &= ~(UINT32_C(1) << r);
            e->owner[r] = 0;
            e->place[root].reg = H_NONE;
        } else if (e->place[root].last_use < e->next_death) {
            e->next_death = e->place[root].last_use;
        }
    }
    for (spilled = e->spilled; spilled != 0; spilled &= spilled - 1) {
        r = (unsigned)__builtin_ctz(spilled);
        if (e->place[e->spill_owner[r]].last_use <= e->now) {
            e->spill_owner[r] = 0;
            e->spilled &= ~(UINT32_C(1) << r);
        } else if (e->place[e->spill_owner[r]].last_use < e->next_death) {
            e->next_death = e->place[e->spill_owner[r]].last_use;
        }
    }
}

void emit_set_home(struct emit *e, uint16_t global, ir_value v)
{
    enum host_reg home = emit_home(e, global);
    uint32_t root = emit_root(e, v);
    enum host_reg from;
    uint64_t c;

    if (e->place[root].reg == home) {
        return;
    }
    emit_evict(e, home);
    if (e->place[root].reg == H_NONE && emit_is_const(e, root, &c)) {
        asm_mov_imm(&e->o, home, c);
        return;
    }
    from = emit_use(e, v);
    asm_mov(&e->o, 64, home, from);
    if (is_temp(e, from)) { /* from now on it lives in its home */
        e->owner[from] = 0;
        take(e, home, root);
    }
}

void emit_release_homes(struct emit *e)
{
    unsigned r;

    for (r = 0; r < EMIT_HOST_REGS; r++) {
        if (r != H_RSP && !is_temp(e, r)) {
            emit_evict(e, r);
        }
    }
}

void emit_reset_regs(struct emit *e)
{
    memset(e->owner, 0, sizeof e->owner);
    e->owned = 0;
    e->next_death = 0;
    memset(e->locked, 0, sizeof e->locked);
    memset(e->spill_owner, 0, sizeof e->spill_owner);
    e->spilled = 0;
    e->host_flags = 0;
    e->home_flags = 0;
    e->home_since = 0;
    e->home_whole = false;
    e->noted_uppers = false;
}

struct emit_loc emit_locate(const struct emit *e, ir_value v)
{
    uint32_t root = v == 0 ? 0 : emit_root(e, v);
    const struct place *p = &e->place[root];

    if (root == 0) {
        return (struct emit_loc){.kind = EMIT_NOWHERE};
    }
    if (e->g->insn[root].op == IR_CONST) {
        return (struct emit_loc){.kind = EMIT_IS_CONST, .value = e->g->insn[root].imm};
    }
    if (p->reg != H_NONE) {
        return (struct emit_loc){.kind = EMIT_IN_REG, .reg = p->reg};
    }
    if (p->spill != NO_SPILL) {
        return (struct emit_loc){.kind = EMIT_IN_SPILL, .value = p->spill};
    }
    return (struct emit_loc){.kind = EMIT_NOWHERE};
}
