/* window.c - several accesses by one look-up.
 *
 *   look up [t, t + span)                     as in access.c
 *   lea   h, [addend + t]                     the window's value
 *
 *   test  h, h;  js cold                      each access: no window?
 *   mov   result, [h + disp]
 *
 * Where the window is not in one page of plain memory the first cold path asks C, which
 * enters a page that was missing, or says that there is no window.  Then the cold path of
 * each access finds its own page by a short routine, and only what that does not find
 * goes to C: so a window across the end of a page costs little. */
#include <stddef.h>

#include "virt/isa/emit/private.h"

void emit_window(struct emit *e, uint32_t at, unsigned detail)
{
    struct ir_insn i = e->g->insn[at];
    struct ir_window w = ir_window_unpack(i.imm);
    struct cold s = {.kind = COLD_SLOW, .at = at, .value = H_NONE};
    struct look_up l = {.span = w.span,
                        .align = w.align,
                        .tag = w.writes ? e->env->tlb_write : e->env->tlb_read,
                        .is_loaded = emit_is_loaded(e, &i)};
    enum host_reg address, u, to;

    (void)detail;
    i.imm = (uint64_t)(int64_t)w.disp;
    address = emit_address(e, &i);
    u = emit_temp(e);
    s.from = emit_look_up(e, address, u, &l);
    s.site = emit_site_at(e, at);
    to = emit_define(e, at); /* the look-up left a register free */
    asm_lea(&e->o, 64, to,
            (struct asm_mem){.base = (uint8_t)u, .index = (uint8_t)address});
    s.address = (uint8_t)address;
    s.dst = (uint8_t)to;
    s.resume = e->o.at;
    emit_cold(e, &s);
}

/* If there is no code between the window and this access, that needs no look at it: the
 * cold path of the window goes on in that of the access, if there is none. */
static bool is_right_behind(struct emit *e, const struct cold *s)
{
    struct cold *last = e->colds > 0 ? &e->cold[e->colds - 1] : NULL;

    if (last == NULL || last->at != e->g->insn[s->at].arg[0] || last->at + 1 != s->at ||
        last->resume != e->o.at) {
        return false;
    }
    last->goes_on = true;
    return true;
}

/* The branch to the cold path, and what every direct access has in it. */
static void begin(struct emit *e, struct cold *s, enum host_reg window)
{
    s->kind = COLD_DIRECT;
    s->address = (uint8_t)window;
    if (is_right_behind(e, s)) {
        return;
    }
    asm_test(&e->o, 64, window, window);
    s->from = asm_jcc(&e->o, IR_COND_S);
    e->host_flags = 0;
}

static void end(struct emit *e, struct cold *s)
{
    s->resume = e->o.at;
    emit_cold(e, s);
}

/* From the window's beginning to the access. */
static uint64_t disp_of(const struct emit *e, const struct ir_insn *i)
{
    return i->op == IR_NATIVE ? e->g->insn[i->arg[1]].imm : i->imm;
}

void emit_direct_load(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    struct cold s = {.at = at, .value = H_NONE};
    enum host_reg window = emit_use(e, i->arg[0]), to;

    s.site = emit_site_at(e, at);
    to = emit_define(e, at);
    s.dst = (uint8_t)to;
    begin(e, &s, window);
    emit_load_value(e, i, to, asm_at(window, (int32_t)i->imm));
    end(e, &s);
}

void emit_direct_store(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned bits = i->access.bytes * 8u;
    struct cold s = {.at = at, .value = H_NONE, .dst = H_NONE};
    enum host_reg window = emit_use(e, i->arg[0]);
    struct asm_mem m = asm_at(window, (int32_t)i->imm);
    int32_t imm;

    if (emit_imm32(e, i->arg[2], bits, &imm)) {
        s.constant = (uint64_t)(int64_t)imm;
    } else {
        s.value = (uint8_t)emit_use(e, i->arg[2]);
    }
    s.site = emit_site_at(e, at);
    begin(e, &s, window);
    if (s.value == H_NONE) {
        asm_store_imm(&e->o, bits, m, imm);
    } else {
        asm_store(&e->o, bits, m, s.value);
    }
    end(e, &s);
    if (i->access.order == IR_SEQUENTIAL) {
        asm_mfence(&e->o);
    }
}

void emit_direct_native(struct emit *e, uint32_t at, const struct ir_native *n)
{
    const struct ir_insn *i = &e->g->insn[at];
    struct cold s = {.at = at, .value = H_NONE, .dst = H_NONE};
    enum host_reg window;

    emit_clear_home(e, n);
    window = emit_use(e, i->arg[0]);
    s.site = emit_site_at(e, at);
    s.dst = (uint8_t)emit_native_result(e, at, n);
    begin(e, &s, window);
    emit_native_at(e, n, asm_at(window, (int32_t)disp_of(e, i)), s.dst);
    emit_native_end(e, n, &s);
}

/* The access itself, at the host address in `where`. */
static void access_at(struct emit *e, const struct cold *s, enum host_reg where)
{
    const struct ir_insn *i = &e->g->insn[s->at];
    struct asm_mem m = asm_at(where, 0);

    if (i->op == IR_NATIVE) {
        emit_native_at(e, (const struct ir_native *)(uintptr_t)i->imm, m, s->dst);
    } else if (i->op == IR_LOAD) {
        emit_load_value(e, i, s->dst, m);
    } else if (s->value == H_NONE) {
        asm_store_imm(&e->o, i->access.bytes * 8u, m, (int32_t)s->constant);
    } else {
        asm_store(&e->o, i->access.bytes * 8u, m, s->value);
    }
}

struct wanted {
    unsigned bytes;
    uint64_t disp;
    bool writes, aligned;
};

static struct wanted wanted_of(const struct emit *e, const struct ir_insn *i)
{
    const struct ir_native *n = (const struct ir_native *)(uintptr_t)i->imm;

    if (i->op == IR_NATIVE) {
        return (struct wanted){n->bytes, disp_of(e, i), n->writes_memory, n->aligned};
    }
    return (struct wanted){i->access.bytes, i->imm,
                           i->op == IR_STORE || i->access.for_write, i->access.aligned};
}

/* Guest addresses of its first and last byte to the frame, by no register. */
static void put_addresses(struct emit *e, unsigned number, const struct wanted *w)
{
    struct asm_mem from =
        emit_field(e, offsetof(struct emit_frame, window) + sizeof(uint64_t) * number);
    struct asm_mem at = emit_field(e, offsetof(struct emit_frame, slow_at));
    struct asm_mem last = emit_field(e, offsetof(struct emit_frame, slow_last));

    asm_push_mem(&e->o, from);
    asm_pop_mem(&e->o, at);
    asm_alu_store_imm(&e->o, ASM_ADD, 64, at, (int32_t)w->disp);
    asm_push_mem(&e->o, from);
    asm_pop_mem(&e->o, last);
    asm_alu_store_imm(&e->o, ASM_ADD, 64, last, (int32_t)(w->disp + w->bytes - 1));
}

/* test dword gs:[slow_at], bytes - 1 */
static uint8_t *if_unaligned(struct emit *e, unsigned bytes)
{
    asm_byte(&e->o, 0x65);
    asm_byte(&e->o, 0xf7);
    asm_byte(&e->o, 0x04);
    asm_byte(&e->o, 0x25);
    asm_word32(&e->o, e->env->frame + (uint32_t)offsetof(struct emit_frame, slow_at));
    asm_word32(&e->o, bytes - 1);
    return asm_jcc(&e->o, IR_COND_NZ);
}

void emit_direct_cold(struct emit *e, const struct cold *s)
{
    const struct ir_insn *i = &e->g->insn[s->at];
    struct ir_window window = ir_window_unpack(e->g->insn[i->arg[0]].imm);
    struct wanted w = wanted_of(e, i);
    uint8_t *unaligned = NULL, *missing;

    put_addresses(e, window.number, &w);
    if (w.aligned) {
        unaligned = if_unaligned(e, w.bytes);
    }
    asm_call_mem(&e->o,
                 emit_field(e, w.writes ? offsetof(struct emit_frame, look_up_write)
                                        : offsetof(struct emit_frame, look_up_read)));
    missing = asm_jcc(&e->o, IR_COND_NZ);
    asm_load(&e->o, 64, s->address,
             emit_field(e, offsetof(struct emit_frame, slow_host)));
    access_at(e, s, s->address);
    asm_mov_imm(&e->o, s->address, EMIT_NO_WINDOW);
    asm_bind(&e->o, asm_jmp(&e->o), s->resume);
    asm_bind(&e->o, missing, e->o.at);
    if (unaligned != NULL) {
        asm_bind(&e->o, unaligned, e->o.at);
    }
    if (i->op == IR_NATIVE) {
        emit_slow_native(e, s);
    } else {
        emit_slow_access(e, s, H_RSP);
    }
}

/* The look-up as a routine: keeps all registers, gives ZF. */
void emit_look_up_thunk(struct asm_out *o, const struct emit_env *env, uint32_t tag)
{
    unsigned entry = (unsigned)__builtin_ctz(env->tlb_entry_bytes);
    uint32_t at = env->frame + (uint32_t)offsetof(struct emit_frame, slow_at);
    uint32_t last = env->frame + (uint32_t)offsetof(struct emit_frame, slow_last);
    uint32_t host = env->frame + (uint32_t)offsetof(struct emit_frame, slow_host);
    uint8_t *miss;

    asm_push(o, H_RAX);
    asm_push(o, H_RCX);
    asm_load(o, 32, H_RCX, asm_gs(at));
    asm_shift_imm(o, ASM_SHR, 32, H_RCX, (uint8_t)(12 - entry));
    asm_alu_imm(o, ASM_AND, 32, H_RCX, (int32_t)((env->tlb_entries - 1) << entry));
    asm_alu_load(o, ASM_ADD, 64, H_RCX, asm_gs(env->tlb));
    asm_load(o, 64, H_RAX, asm_gs(last));
    asm_alu_imm(o, ASM_AND, 64, H_RAX, -4096);
    asm_alu_load(o, ASM_CMP, 64, H_RAX, asm_at(H_RCX, (int32_t)tag));
    miss = asm_jcc(o, IR_COND_NZ);
    asm_load(o, 64, H_RCX, asm_at(H_RCX, (int32_t)env->tlb_addend));
    asm_alu_load(o, ASM_ADD, 64, H_RCX, asm_gs(at));
    asm_store(o, 64, asm_gs(host), H_RCX);
    asm_alu(o, ASM_XOR, 32, H_RAX, H_RAX);
    asm_bind(o, miss, o->at);
    asm_pop(o, H_RCX);
    asm_pop(o, H_RAX);
    asm_ret(o);
}
