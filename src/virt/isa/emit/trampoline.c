/* trampoline.c - the ways into generated code, out of it, and to C functions and back.
 *
 *   enter(code)   a C function: saves what C wants kept, loads the guest's registers
 *   leave         stores them and returns to who called enter
 *   slow, routine, fpu
 *                 stores them, calls the helper, loads them again, returns
 *   vectors       loads the guest's vector registers and MXCSR, returns
 *
 * Vector registers are lent to the guest from the first instruction on that uses them
 * (native.c); until then they are C's, and no way in or out has to move them.
 *
 * The stack is aligned to 16 bytes while code of a region runs, and begins where
 * exit.c wants it: below a border of EMIT_STACK_BYTES, with one pair that stands for "no
 * call": the guest's address 0, and host code that leaves to there. */
#include <stddef.h>

#include "virt/isa/emit/thunk.h"

static const uint8_t kept_by_c[] = {H_RBX, H_RBP, H_R12, H_R13, H_R14, H_R15};

#define KEPT (sizeof kept_by_c / sizeof kept_by_c[0])

enum way {
    STORE,
    LOAD
};

/* vmovups between xmm or ymm `n` and gs:[at] (VEX.128 or .256.0F 10 or 11). */
static void move_vector(struct asm_out *o, unsigned n, bool whole, uint32_t at,
                        enum way way)
{
    asm_byte(o, 0x65);
    asm_byte(o, 0xc5);
    asm_byte(o, (uint8_t)((n >= 8 ? 0x78 : 0xf8) | (whole ? 4 : 0)));
    asm_byte(o, way == LOAD ? 0x10 : 0x11);
    asm_byte(o, (uint8_t)((n & 7) << 3 | 4));
    asm_byte(o, 0x25);
    asm_word32(o, at);
}

/* ldmxcsr (2) or stmxcsr (3) gs:[at] */
static void move_mxcsr(struct asm_out *o, unsigned digit, uint32_t at)
{
    asm_byte(o, 0x65);
    asm_byte(o, 0x0f);
    asm_byte(o, 0xae);
    asm_byte(o, (uint8_t)(digit << 3 | 4));
    asm_byte(o, 0x25);
    asm_word32(o, at);
}

static uint32_t field(const struct emit_env *env, size_t offset)
{
    return env->frame + (uint32_t)offset;
}

static void zero_uppers(struct asm_out *o)
{
    asm_byte(o, 0xc5); /* vzeroupper */
    asm_byte(o, 0xf8);
    asm_byte(o, 0x77);
}

/* An upper half that was written, even with zeros, makes each SSE instruction wait for
 * its register's old value: so those that are zeros are not written, and C code gets
 * them clean. */
static void move_vectors(struct asm_out *o, const struct emit_env *env, enum way way)
{
    uint8_t *lower, *done;
    unsigned r;

    asm_alu_store_imm(o, ASM_CMP, 32,
                      asm_gs(field(env, offsetof(struct emit_frame, uppers))), 0);
    lower = asm_jcc(o, IR_COND_Z);
    for (r = 0; r < 16; r++) {
        move_vector(o, r, true, env->vectors + 32 * r, way);
    }
    if (way == STORE) {
        zero_uppers(o);
    }
    done = asm_jmp(o);
    asm_bind(o, lower, o->at);
    if (way == LOAD) {
        zero_uppers(o);
    }
    for (r = 0; r < 16; r++) {
        move_vector(o, r, false, env->vectors + 32 * r, way);
    }
    asm_bind(o, done, o->at);
}

static void move_guest(struct asm_out *o, const struct emit_env *env, enum way way)
{
    uint16_t n;

    for (n = 0; n < env->globals; n++) {
        const struct ir_global *g = &env->global[n];

        if (g->pin < EMIT_HOST_REGS && way == LOAD) {
            asm_load(o, 64, g->pin, asm_gs(g->offset));
        } else if (g->pin < EMIT_HOST_REGS) {
            asm_store(o, 64, asm_gs(g->offset), g->pin);
        }
    }
}

static struct asm_mem vectors_lent(const struct emit_env *env)
{
    return asm_gs(field(env, offsetof(struct emit_frame, vectors_lent)));
}

/* The host's registers become the guest's. */
static void lend_vectors(struct asm_out *o, const struct emit_env *env)
{
    move_vectors(o, env, LOAD);
    move_mxcsr(o, 2, env->mxcsr);
}

/* ... and C's again, if they were; then nothing is lent. */
static void take_vectors(struct asm_out *o, const struct emit_env *env)
{
    uint8_t *none;

    if (!env->has_vectors) {
        return;
    }
    asm_alu_store_imm(o, ASM_CMP, 32, vectors_lent(env), 0);
    none = asm_jcc(o, IR_COND_Z);
    move_vectors(o, env, STORE);
    move_mxcsr(o, 3, env->mxcsr);
    move_mxcsr(o, 2, field(env, offsetof(struct emit_frame, host_mxcsr)));
    asm_store_imm(o, 32, vectors_lent(env), 0);
    asm_bind(o, none, o->at);
}

static void write_lend(struct asm_out *o, const struct emit_env *env)
{
    lend_vectors(o, env);
    asm_store_imm(o, 32, vectors_lent(env), 1);
    asm_ret(o);
}

/* Registers that are pinned to nothing. */
static uint32_t temps_of(const struct emit_env *env)
{
    uint32_t pinned = 1u << H_RSP;

    for (uint16_t n = 0; n < env->globals; n++) {
        pinned |= env->global[n].pin < EMIT_HOST_REGS ? 1u << env->global[n].pin : 0;
    }
    return ~pinned & ((1u << EMIT_HOST_REGS) - 1);
}

static void move_temps(struct asm_out *o, const struct emit_env *env, enum way way)
{
    uint32_t temps = temps_of(env);

    for (unsigned r = 0; r < EMIT_HOST_REGS; r++) {
        struct asm_mem m =
            asm_gs(field(env, offsetof(struct emit_frame, save) + sizeof(uint64_t) * r));

        if ((temps >> r & 1) != 0 && way == LOAD) {
            asm_load(o, 64, r, m);
        } else if ((temps >> r & 1) != 0) {
            asm_store(o, 64, m, r);
        }
    }
}

static void write_enter(struct asm_out *o, const struct emit_env *env, uint64_t bottom)
{
    size_t n;

    for (n = 0; n < KEPT; n++) {
        asm_push(o, kept_by_c[n]);
    }
    asm_store(o, 64, asm_gs(field(env, offsetof(struct emit_frame, host_stack))), H_RSP);
    asm_alu_imm(o, ASM_AND, 64, H_RSP, -(int32_t)EMIT_STACK_BYTES);
    asm_push_imm(o, 0);
    asm_mov_imm(o, H_RAX, bottom);
    asm_push(o, H_RAX);
    move_guest(o, env, LOAD);
    asm_jmp_mem(o, asm_gs(field(env, offsetof(struct emit_frame, entry))));
}

static void write_leave(struct asm_out *o, const struct emit_env *env)
{
    size_t n;

    move_guest(o, env, STORE);
    take_vectors(o, env);
    asm_load(o, 64, H_RSP, asm_gs(field(env, offsetof(struct emit_frame, host_stack))));
    for (n = KEPT; n > 0; n--) {
        asm_pop(o, kept_by_c[n - 1]);
    }
    asm_ret(o);
}

void emit_forget_calls(struct asm_out *o, const struct emit_env *env)
{
    asm_load(o, 64, H_RSP, asm_gs(field(env, offsetof(struct emit_frame, host_stack))));
    asm_alu_imm(o, ASM_AND, 64, H_RSP, -(int32_t)EMIT_STACK_BYTES);
    asm_push_imm(o, 0);
    asm_push_mem(o, asm_gs(field(env, offsetof(struct emit_frame, bottom))));
}

/* From code to other code, which the engine found meanwhile; the guest's registers are in
 * the host's. */
static void write_resume(struct asm_out *o, const struct emit_env *env)
{
    emit_forget_calls(o, env);
    asm_jmp_mem(o, asm_gs(field(env, offsetof(struct emit_frame, entry))));
}

/* A return to address 0 that no call in translated code belongs to. */
static void write_bottom(struct asm_out *o, const struct emit_env *env)
{
    asm_store_imm(o, 64, asm_gs(field(env, offsetof(struct emit_frame, leave_to))), 0);
    asm_store_imm(o, 64, asm_gs(field(env, offsetof(struct emit_frame, leave_exit))),
                  EMIT_LEFT_MISS);
    asm_jmp_mem(o, asm_gs(field(env, offsetof(struct emit_frame, leave))));
}

/* A helper that does not come back leaves nothing lent. */
static void write_call(struct asm_out *o, const struct emit_env *env, size_t helper)
{
    bool is_slow = helper == offsetof(struct emit_frame, slow_helper);
    uint8_t *none;

    move_temps(o, env, STORE);
    move_guest(o, env, STORE);
    if (is_slow) { /* a thunk called, for a site that is known by its own call */
        emit_find_site(o, H_RAX);
        asm_store(o, 64, asm_gs(field(env, offsetof(struct emit_frame, slow_site))),
                  H_RAX);
    }
    asm_load(o, 32, H_RAX, vectors_lent(env));
    asm_push(o, H_RAX);
    if (is_slow) { /* two return addresses: the stack stays aligned */
        asm_push(o, H_RAX);
    }
    take_vectors(o, env);
    asm_load(o, 64, H_RDI, asm_gs(field(env, offsetof(struct emit_frame, self))));
    asm_call_mem(o, asm_gs(field(env, helper)));
    if (is_slow) {
        asm_pop(o, H_RAX);
    }
    asm_pop(o, H_RAX);
    asm_test(o, 32, H_RAX, H_RAX);
    none = asm_jcc(o, IR_COND_Z);
    lend_vectors(o, env);
    asm_store_imm(o, 32, vectors_lent(env), 1);
    asm_bind(o, none, o->at);
    move_guest(o, env, LOAD);
    move_temps(o, env, LOAD);
    asm_ret(o);
}

size_t emit_trampolines(const struct emit_env *env, uint8_t *write, const uint8_t *run,
                        size_t room, struct emit_frame *frame, uint64_t *ret_enter)
{
    size_t thunks = emit_thunks_bytes();
    struct asm_out o = {.start = write, .at = write + thunks, .end = write + room};
    struct asm_out first = {
        .start = write, .at = write, .end = write + thunks + ASM_PART_MOST};
    struct emit_thunk_ends ends = {.number = (enum host_reg)__builtin_ctz(temps_of(env))};
    uint64_t base = (uint64_t)(uintptr_t)run;

    if (room < thunks) {
        return 0;
    }
    frame->bottom = base + thunks;
    write_bottom(&o, env);
    *ret_enter = base + (uint64_t)(o.at - o.start);
    write_enter(&o, env, frame->bottom);
    frame->leave = base + (uint64_t)(o.at - o.start);
    ends.leave = o.at;
    write_leave(&o, env);
    frame->leave_behind = base + (uint64_t)(o.at - o.start);
    asm_store_imm(&o, 64, asm_gs(field(env, offsetof(struct emit_frame, leave_exit))),
                  EMIT_LEFT_ROUTINE);
    asm_jmp_mem(&o, asm_gs(field(env, offsetof(struct emit_frame, leave))));
    frame->resume = base + (uint64_t)(o.at - o.start);
    write_resume(&o, env);
    ends.slow = o.at;
    write_call(&o, env, offsetof(struct emit_frame, slow_helper));
    frame->look_up_read = base + (uint64_t)(o.at - o.start);
    emit_look_up_thunk(&o, env, env->tlb_read);
    frame->look_up_write = base + (uint64_t)(o.at - o.start);
    emit_look_up_thunk(&o, env, env->tlb_write);
    frame->routine_thunk = base + (uint64_t)(o.at - o.start);
    write_call(&o, env, offsetof(struct emit_frame, routine_helper));
    frame->fpu_thunk = base + (uint64_t)(o.at - o.start);
    write_call(&o, env, offsetof(struct emit_frame, fpu_helper));
    frame->vectors_thunk = base + (uint64_t)(o.at - o.start);
    write_lend(&o, env);
    frame->whole_thunk = base + (uint64_t)(o.at - o.start);
    emit_whole_thunk(&o, env, base);
    emit_thunks(&first, env, &ends);
    return o.full ? 0 : (size_t)(o.at - o.start);
}
