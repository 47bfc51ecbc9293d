/* thunk.c - what cold code of all regions has in common, so that each has little.
 *
 * A slow access is a call of one of the thunks, by the registers of its address and of its
 * value, a jump back, and the number of its site behind that, where the thunk finds it by
 * its return address.  An exit that leads nowhere puts its number into a register and
 * jumps.  All thunks take the same room, at the beginning of the code memory. */
#include "virt/isa/emit/thunk.h"

#include <stddef.h>

#define THUNK_BYTES 32
#define PAIRS       (EMIT_HOST_REGS * EMIT_HOST_REGS)
#define EXIT_THUNK  (2 * PAIRS)
#define JUMP_BYTES  5 /* between a call's return address and its site */

static uint32_t field(const struct emit_env *env, size_t offset)
{
    return env->frame + (uint32_t)offset;
}

static bool is_register(unsigned r)
{
    return r != H_RSP;
}

static unsigned place_of(const struct emit_slow *s)
{
    return (s->loads ? PAIRS : 0) + s->address * EMIT_HOST_REGS + s->value;
}

static const uint8_t *thunk_at(const struct emit *e, unsigned place)
{
    return e->thunks + (size_t)place * THUNK_BYTES;
}

void emit_call_slow(struct emit *e, const struct emit_slow *s, uint32_t site,
                    const uint8_t *resume)
{
    uint8_t *back;

    asm_bind(&e->o, asm_call(&e->o), thunk_at(e, place_of(s)));
    emit_fix(e, EMIT_FIX_THUNK);
    back = asm_jmp(&e->o);
    asm_word32(&e->o, site);
    emit_fix(e, EMIT_FIX_SITE);
    asm_bind(&e->o, back, resume != NULL ? resume : e->o.at);
}

void emit_leave_by(struct emit *e, int64_t why)
{
    asm_mov_imm(&e->o, (enum host_reg)__builtin_ctz(e->temps), (uint64_t)why);
    if (why >= 0) { /* an exit; 32 bits, whatever its number */
        emit_fix(e, EMIT_FIX_EXIT);
    }
    asm_bind(&e->o, asm_jmp(&e->o), thunk_at(e, EXIT_THUNK));
    emit_fix(e, EMIT_FIX_THUNK);
}

static void write_slow(struct asm_out *o, const struct emit_env *env,
                       const struct emit_slow *s, const uint8_t *slow)
{
    struct asm_mem value = asm_gs(field(env, offsetof(struct emit_frame, slow_value)));

    if (is_register(s->address)) {
        asm_store(o, 64, asm_gs(field(env, offsetof(struct emit_frame, slow_at))),
                  (enum host_reg)s->address);
    }
    if (is_register(s->value) && !s->loads) {
        asm_store(o, 64, value, (enum host_reg)s->value);
    }
    asm_bind(o, asm_call(o), slow);
    if (is_register(s->value) && s->loads) {
        asm_load(o, 64, (enum host_reg)s->value, value);
    }
    asm_ret(o);
}

size_t emit_thunks_bytes(void)
{
    return (size_t)(EXIT_THUNK + 1) * THUNK_BYTES;
}

void emit_find_site(struct asm_out *o, enum host_reg r)
{
    asm_load(o, 64, r, asm_at(H_RSP, sizeof(uint64_t)));
    asm_load(o, 32, r, asm_at(r, JUMP_BYTES));
}

void emit_thunks(struct asm_out *o, const struct emit_env *env,
                 const struct emit_thunk_ends *ends)
{
    uint8_t *start = o->at;

    for (unsigned n = 0; n < EXIT_THUNK; n++) {
        const struct emit_slow s = {.loads = n >= PAIRS,
                                    .address =
                                        (uint8_t)(n / EMIT_HOST_REGS % EMIT_HOST_REGS),
                                    .value = (uint8_t)(n % EMIT_HOST_REGS)};

        o->at = start + (size_t)n * THUNK_BYTES;
        write_slow(o, env, &s, ends->slow);
    }
    o->at = start + (size_t)EXIT_THUNK * THUNK_BYTES;
    asm_store(o, 64, asm_gs(field(env, offsetof(struct emit_frame, leave_exit))),
              ends->number);
    asm_bind(o, asm_jmp(o), ends->leave);
    o->at = start + emit_thunks_bytes();
}
