/* exit.c - ways from one region to another.
 *
 * To a known address: a jump that the engine patches to lead there.  When the address
 * may come to mean another page (`IR_EXIT_FAR`) the jump holds only under a number,
 * compared with that in the frame; under another the jump table is asked.
 *
 * To an address in a register: by the jump table, here and not in a shared place, so
 * that the host predicts each site by itself.
 *
 * Calls and returns.  A call of the guest is one of the host's, too: the guest's return
 * address is pushed on the host's stack, and the host's call pushes its own behind it.  A
 * return compares the guest's address that it read from guest memory with the one on
 * top; when they are the same the host's RET goes back behind the call, predicted as
 * natively, and from there a patched jump to the region of that address.  Otherwise the
 * pair is dropped and the jump table decides; so a guest that does strange things with
 * its stack is right, only slower.
 *
 * The host's stack needs no end of calls: it begins below a border of EMIT_STACK_BYTES,
 * with a pair that stands for "none".  A call that finds it full (the bits within the
 * border are zeros) forgets all pairs but that one.  Whatever leaves generated code
 * forgets them as well, so a pair never outlives what a region knows of its page; so does
 * who goes to code of another privilege (IR_EXIT_ALONE). */
#include <errno.h>
#include <stddef.h>

#include "base/grow.h"
#include "virt/isa/emit/thunk.h"

#define DEPTH_BITS (EMIT_STACK_BYTES - 16)
#define NO_LINK    0x7fffffff /* no `emit_frame.link` is this; long form of immediates */

enum host_reg emit_another(const struct emit *e, enum host_reg a, enum host_reg b)
{
    uint32_t left = e->temps & ~(UINT32_C(1) << (a & 31)) & ~(UINT32_C(1) << (b & 31));

    return left != 0 ? (enum host_reg)__builtin_ctz(left) : H_RAX;
}

#define JUMP_SHIFT 4 /* of sizeof(struct emit_jump) */

/* Goes to the code for the guest address in `to`; what is written behind it is for when
 * there is none. */
static void look_up(struct emit *e, enum host_reg to)
{
    enum host_reg t = emit_another(e, to, to), table = emit_another(e, to, t);
    struct asm_mem m = {.base = (uint8_t)table,
                        .index = (uint8_t)t,
                        .scale = JUMP_SHIFT - EMIT_JUMP_SHIFT,
                        .disp = offsetof(struct emit_jump, tag)};
    uint8_t *miss;

    asm_mov(&e->o, 32, t, to);
    asm_alu_imm(&e->o, ASM_AND, 32, t,
                (int32_t)((EMIT_JUMPS - 1) << EMIT_JUMP_SHIFT)); /* emit_jump_place */
    asm_load(&e->o, 64, table, emit_field(e, offsetof(struct emit_frame, jumps)));
    asm_alu_load(&e->o, ASM_CMP, 64, to, m);
    miss = asm_jcc_short(&e->o, IR_COND_NZ);
    m.disp = offsetof(struct emit_jump, code);
    asm_jmp_mem(&e->o, m);
    asm_bind_short(&e->o, miss);
}

/* The same of an address that is known. */
static void look_up_known(struct emit *e, uint64_t pc)
{
    enum host_reg t = emit_another(e, H_NONE, H_NONE), table = emit_another(e, t, t);
    struct asm_mem m = asm_at(table, (int32_t)(emit_jump_place(pc) << JUMP_SHIFT));
    uint8_t *miss;

    asm_mov_imm(&e->o, t, pc);
    asm_load(&e->o, 64, table, emit_field(e, offsetof(struct emit_frame, jumps)));
    m.disp += (int32_t)offsetof(struct emit_jump, tag);
    asm_alu_load(&e->o, ASM_CMP, 64, t, m);
    miss = asm_jcc_short(&e->o, IR_COND_NZ);
    m.disp +=
        (int32_t)(offsetof(struct emit_jump, code) - offsetof(struct emit_jump, tag));
    asm_jmp_mem(&e->o, m);
    asm_bind_short(&e->o, miss);
}

static void look_up_or_leave(struct emit *e, enum host_reg to, uint64_t branch)
{
    enum host_reg t = emit_another(e, to, to);

    look_up(e, to);
    asm_store(&e->o, 64, emit_field(e, offsetof(struct emit_frame, leave_to)), to);
    asm_mov_imm(&e->o, t, branch);
    asm_store(&e->o, 64, emit_field(e, offsetof(struct emit_frame, leave_branch)), t);
    emit_leave_by(e, EMIT_LEFT_MISS);
}

static struct emit_exit *add_exit(struct emit *e, uint64_t pc)
{
    struct emit_result *r = e->r;

    if (!grow_for(&r->exit, r->exits + 1, &r->exit_room)) {
        e->error = -ENOMEM;
        return NULL;
    }
    r->exit[r->exits] = (struct emit_exit){.pc = pc};
    return &r->exit[r->exits++];
}

/* The jump at `place` leads to what is written next, until it is patched. */
static void set_home(struct emit *e, struct emit_exit *x, uint8_t *place)
{
    asm_bind(&e->o, place, e->o.at);
    x->jump = (uint32_t)(place - e->o.start);
    x->home = (int32_t)(e->o.at - (place + 4));
}

void emit_exit_to(struct emit *e, uint64_t pc, bool is_far)
{
    struct emit_exit *x = add_exit(e, pc);
    uint32_t number = e->r->exits - 1;
    uint8_t *jump, *other = NULL;

    if (x == NULL) {
        return;
    }
    if (is_far) {
        asm_alu_store_imm(&e->o, ASM_CMP, 32,
                          emit_field(e, offsetof(struct emit_frame, link)), NO_LINK);
        x->link = (uint32_t)(e->o.at - 4 - e->o.start);
        other = asm_jcc_short(&e->o, IR_COND_NZ);
    }
    jump = asm_jmp(&e->o);
    set_home(e, x, jump);
    if (is_far) {
        asm_bind_short(&e->o, other);
        look_up_known(e, pc);
    }
    emit_leave_by(e, number);
}

/* The guest's half of a pair, if need be after all others were forgotten; `to` (H_NONE:
 * none) is needed behind it. */
static void push_return(struct emit *e, uint32_t at, uint64_t back, enum host_reg to)
{
    struct cold s = {.kind = COLD_DEEP, .at = at};

    asm_test_imm(&e->o, H_RSP, DEPTH_BITS);
    s.from = asm_jcc(&e->o, IR_COND_Z);
    s.resume = e->o.at;
    emit_cold(e, &s);
    if ((int64_t)back == (int32_t)back) {
        asm_push_imm(&e->o, (int32_t)back);
    } else {
        enum host_reg t = emit_another(e, to, H_NONE);

        asm_mov_imm(&e->o, t, back);
        asm_push(&e->o, t);
    }
}

void emit_shallow(struct emit *e, const struct cold *s)
{
    asm_lea(&e->o, 64, H_RSP, asm_at(H_RSP, DEPTH_BITS));
    asm_bind(&e->o, asm_jmp(&e->o), s->resume);
}

/* What a host's RET comes back to: the guest's half goes, and so do we. */
static void go_back(struct emit *e, uint64_t back, unsigned aux)
{
    asm_lea(&e->o, 64, H_RSP, asm_at(H_RSP, 8));
    emit_exit_to(e, back, (aux & IR_EXIT_FAR_BACK) != 0);
}

/* A call to a known address of the same page is itself the jump to patch. */
static void call_near(struct emit *e, uint64_t pc, uint64_t back, unsigned aux)
{
    struct emit_exit *x = add_exit(e, pc);
    uint32_t number = e->r->exits - 1;
    uint8_t *call;

    if (x == NULL) {
        return;
    }
    call = asm_call(&e->o);
    go_back(e, back, aux);
    set_home(e, &e->r->exit[number], call);
    emit_leave_by(e, number);
}

static bool back_of(const struct emit *e, uint32_t at, uint64_t *ret)
{
    const struct ir_insn *i = &e->g->insn[at];

    return (i->aux & IR_EXIT_KIND) == IR_EXIT_CALL && emit_is_const(e, i->arg[1], ret);
}

void emit_exit(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    bool is_far = (i->aux & IR_EXIT_FAR) != 0;
    uint64_t back;
    uint8_t *call;

    (void)detail;
    if (!back_of(e, at, &back)) {
        emit_exit_to(e, i->imm, is_far);
        return;
    }
    push_return(e, at, back, H_NONE);
    if (!is_far) {
        call_near(e, i->imm, back, i->aux);
        return;
    }
    call = asm_call(&e->o);
    go_back(e, back, i->aux);
    asm_bind(&e->o, call, e->o.at);
    emit_exit_to(e, i->imm, true);
}

static void return_to(struct emit *e, enum host_reg to)
{
    enum host_reg t = emit_another(e, to, to);
    uint8_t *other;

    asm_alu_load(&e->o, ASM_CMP, 64, to, asm_at(H_RSP, 8));
    other = asm_jcc_short(&e->o, IR_COND_NZ);
    asm_ret(&e->o);
    asm_bind_short(&e->o, other);
    asm_lea(&e->o, 64, t, asm_at(H_RSP, 16));
    asm_test_imm(&e->o, t, DEPTH_BITS);
    asm_cmov(&e->o, IR_COND_NZ, 64, H_RSP, t); /* not the pair that stands for none */
}

void emit_exit_by(struct emit *e, uint32_t at, unsigned detail)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg to = emit_use(e, i->arg[0]);
    uint64_t back;

    (void)detail;
    if (back_of(e, at, &back)) {
        uint8_t *call;

        push_return(e, at, back, to);
        call = asm_call(&e->o);
        go_back(e, back, i->aux);
        asm_bind(&e->o, call, e->o.at);
    } else if ((i->aux & IR_EXIT_KIND) == IR_EXIT_RETURN) {
        return_to(e, to);
    } else if ((i->aux & IR_EXIT_KIND) == IR_EXIT_ALONE) {
        emit_forget_calls(&e->o, e->env);
    }
    look_up_or_leave(e, to, i->imm);
}
