/* access.c - loads and stores through the soft TLB.
 *
 *   lea   t, [base + index*scale + disp]      the linear address
 *   rorx  u, t, 7;  and                       its place in the table
 *   lea   w, [t + bytes - 1];  and w, -4096   the page of its last byte
 *   add   u, gs:[tlb]
 *   cmp   w, [u + tag];  jne cold
 *   mov   u, [u + addend]
 *   mov   result, [u + t]
 *
 * Where the address is itself something that was loaded, the addend would stand in the way
 * of one load to the next; most pages have the same one, so it is foretold:
 *
 *   mov   w, gs:[usual]
 *   cmp   w, [u + addend];  jne  (cold: mov w, [u + addend])
 *   mov   result, [w + t]
 *
 * An access that crosses a page looks for the tag of the second page in the first
 * one's place, where it is not; so do pages that are watched, hold code, or are not
 * RAM (their tags are not entered).  The cold path calls a C function with the
 * address and the site. */
#include <errno.h>
#include <stddef.h>

#include "virt/isa/emit/private.h"

#define PAGE_SHIFT 12
#define PAGE_MASK  (-4096)

static unsigned log2_of(unsigned n)
{
    return (unsigned)__builtin_ctz(n);
}

static bool is_short(uint64_t v)
{
    return (int64_t)v == (int32_t)v;
}

/* lea t, [index << scale + disp]: without a base there is always a displacement. */
static enum host_reg index_alone(struct emit *e, const struct ir_insn *i, int32_t disp)
{
    enum host_reg index = emit_use(e, i->arg[1]), t;

    e->locked[index] = false;
    t = emit_scratch(e, i->arg[1], 0, i->arg[2]);
    asm_byte(&e->o, (uint8_t)(0x40 | (i->access.wrap32 ? 0 : 8) | (t >= 8 ? 4 : 0) |
                              (index >= 8 ? 2 : 0)));
    asm_byte(&e->o, 0x8d);
    asm_byte(&e->o, (uint8_t)((t & 7) << 3 | 4));
    asm_byte(&e->o, (uint8_t)(i->access.scale << 6 | (index & 7) << 3 | 5));
    asm_word32(&e->o, (uint32_t)disp);
    return t;
}

/* The linear address in a register: the base itself when nothing is added. */
enum host_reg emit_address(struct emit *e, const struct ir_insn *i)
{
    struct asm_mem m = {.index = H_NONE, .scale = i->access.scale};
    uint64_t base;
    enum host_reg t;

    if (emit_is_const(e, i->arg[0], &base)) {
        uint64_t at = base + i->imm;

        if (i->arg[1] == 0) {
            t = emit_temp(e);
            asm_mov_imm(&e->o, t, i->access.wrap32 ? (uint32_t)at : at);
            return t;
        }
    }
    if ((int64_t)i->imm != (int32_t)i->imm) {
        e->error = -ENOTSUP;
        return H_RAX;
    }
    if (emit_is_const(e, i->arg[0], &base) && is_short(base + i->imm)) {
        return index_alone(e, i, (int32_t)(base + i->imm));
    }
    m.base = (uint8_t)emit_use(e, i->arg[0]);
    m.disp = (int32_t)i->imm;
    if (i->arg[1] != 0) {
        m.index = (uint8_t)emit_use(e, i->arg[1]);
    } else if (m.disp == 0 && !i->access.wrap32) {
        return m.base;
    }
    /* The result may take the place of an operand that is used here for the last time. */
    e->locked[m.base] = false;
    if (m.index != H_NONE) {
        e->locked[m.index] = false;
    }
    t = emit_scratch(e, i->arg[0], i->arg[1], i->arg[2]);
    asm_lea(&e->o, i->access.wrap32 ? 32 : 64, t, m);
    return t;
}

/* Whether the value is a pointer that was loaded, plus something at most. */
static bool is_loaded(const struct emit *e, ir_value v, unsigned depth)
{
    const struct ir_insn *i = &e->g->insn[v];

    if (v == 0 || depth == 0) {
        return false;
    }
    switch (i->op) {
    case IR_LOAD:
        return i->access.bytes >= 4;
    case IR_GET:
        return i->imm < 64 && (e->loaded >> i->imm & 1) != 0;
    case IR_ADD:
        return is_loaded(e, i->arg[0], depth - 1) || is_loaded(e, i->arg[1], depth - 1);
    case IR_ZEXT:
        return is_loaded(e, i->arg[0], depth - 1);
    default:
        return false;
    }
}

bool emit_is_loaded(const struct emit *e, const struct ir_insn *i)
{
    return is_loaded(e, i->arg[0], 4);
}

/* Globals that are set to what was loaded, somewhere in the region. */
void emit_find_loaded(struct emit *e)
{
    uint32_t n;

    for (n = 0; n < e->g->insns; n++) {
        const struct ir_insn *i = &e->g->insn[n];

        if (i->op == IR_SET && i->imm < 64 && is_loaded(e, i->arg[0], 4)) {
            e->loaded |= UINT64_C(1) << i->imm;
        }
    }
}

/* The addend of the entry in `w`, into `u`. */
static void foretell(struct emit *e, enum host_reg u, enum host_reg w)
{
    struct asm_mem addend = asm_at(w, (int32_t)e->env->tlb_addend);
    struct cold s = {.kind = COLD_ADDEND, .address = (uint8_t)w, .dst = (uint8_t)u};

    asm_load(&e->o, 64, u, asm_gs(e->env->tlb_usual));
    asm_alu_load(&e->o, ASM_CMP, 64, u, addend);
    s.from = asm_jcc(&e->o, IR_COND_NZ);
    s.resume = e->o.at;
    emit_cold(e, &s);
}

/* Compares the tag; returns the displacement of the branch to the cold path. `u` then
 * holds the addend. */
uint8_t *emit_look_up(struct emit *e, enum host_reg address, enum host_reg u,
                      const struct look_up *l)
{
    unsigned entry = log2_of(e->env->tlb_entry_bytes);
    enum host_reg w = emit_temp(e);
    uint8_t *miss;

    asm_rorx(&e->o, w, address, (uint8_t)(PAGE_SHIFT - entry));
    asm_alu_imm(&e->o, ASM_AND, 32, w, (int32_t)((e->env->tlb_entries - 1) << entry));
    if (l->span > l->align) {
        asm_lea(&e->o, 64, u, asm_at(address, (int32_t)(l->span - l->align)));
    } else {
        asm_mov(&e->o, 64, u, address);
    }
    /* What is aligned cannot cross, and what is not keeps bits that no tag has. */
    asm_alu_imm(&e->o, ASM_AND, 64, u, PAGE_MASK | (int32_t)(l->align - 1));
    asm_alu_load(&e->o, ASM_ADD, 64, w, asm_gs(e->env->tlb));
    asm_alu_load(&e->o, ASM_CMP, 64, u, asm_at(w, (int32_t)l->tag));
    miss = asm_jcc(&e->o, IR_COND_NZ);
    if (l->is_loaded) {
        foretell(e, u, w);
    } else {
        asm_load(&e->o, 64, u, asm_at(w, (int32_t)e->env->tlb_addend));
    }
    e->locked[w] = false;
    e->host_flags = 0;
    return miss;
}

static bool is_plain(const struct ir_insn *i)
{
    unsigned n = i->access.bytes;

    return (n == 1 || n == 2 || n == 4 || n == 8) && i->access.space == IR_PAGED &&
           !i->access.as_user;
}

/* Bytes of an access into a register. */
void emit_load_value(struct emit *e, const struct ir_insn *i, enum host_reg to,
                     struct asm_mem m)
{
    unsigned from = i->access.bytes * 8u, bits = emit_bits(i->type);

    if (from < bits && i->access.sign) {
        asm_load_sx(&e->o, bits < 32 ? 32 : bits, from, to, m);
    } else if (from < bits || bits < 32) { /* no partial register writes */
        asm_load_zx(&e->o, from, to, m);
    } else {
        asm_load(&e->o, bits, to, m);
    }
}

static void load_flat(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    enum host_reg address = emit_address(e, i), to = emit_define(e, at);

    emit_load_value(e, i, to, asm_at(address, 0));
}

void emit_load(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    struct cold s = {.kind = COLD_SLOW, .at = at, .value = H_NONE};
    enum host_reg address, u, to;

    if (i->access.space == IR_DIRECT) {
        emit_direct_load(e, at);
        return;
    }
    if (i->access.space == IR_FLAT) {
        load_flat(e, at);
        return;
    }
    if (!is_plain(i)) {
        e->error = -ENOTSUP;
        return;
    }
    address = emit_address(e, i);
    u = emit_temp(e);
    s.from =
        emit_look_up(e, address, u,
                     &(struct look_up){.span = i->access.bytes,
                                       .align = i->access.aligned ? i->access.bytes : 1,
                                       .tag = i->access.for_write ? e->env->tlb_write
                                                                  : e->env->tlb_read,
                                       .is_loaded = emit_is_loaded(e, i)});
    s.site = emit_site_at(e, at);
    to = emit_define(e, at);
    emit_load_value(e, i, to,
                    (struct asm_mem){.base = (uint8_t)u, .index = (uint8_t)address});
    s.address = (uint8_t)address;
    s.dst = (uint8_t)to;
    s.resume = e->o.at;
    emit_cold(e, &s);
}

void emit_store(struct emit *e, uint32_t at)
{
    const struct ir_insn *i = &e->g->insn[at];
    unsigned bits = i->access.bytes * 8u;
    struct cold s = {.kind = COLD_SLOW, .at = at, .value = H_NONE, .dst = H_NONE};
    enum host_reg address, u, v = H_NONE;
    struct asm_mem m;
    int32_t imm;

    if (i->access.space == IR_DIRECT) {
        emit_direct_store(e, at);
        return;
    }
    if (!is_plain(i)) {
        e->error = -ENOTSUP;
        return;
    }
    address = emit_address(e, i);
    if (!emit_imm32(e, i->arg[2], bits, &imm)) {
        v = emit_use(e, i->arg[2]);
    } else {
        s.constant = (uint64_t)(int64_t)imm;
    }
    u = emit_temp(e);
    s.from =
        emit_look_up(e, address, u,
                     &(struct look_up){.span = i->access.bytes,
                                       .align = i->access.aligned ? i->access.bytes : 1,
                                       .tag = e->env->tlb_write});
    s.site = emit_site_at(e, at);
    m = (struct asm_mem){.base = (uint8_t)u, .index = (uint8_t)address};
    if (v == H_NONE) {
        asm_store_imm(&e->o, bits, m, imm);
    } else {
        asm_store(&e->o, bits, m, v);
    }
    s.address = (uint8_t)address;
    s.value = (uint8_t)v;
    s.resume = e->o.at;
    if (i->access.order == IR_SEQUENTIAL) { /* the host orders the others by itself */
        asm_mfence(&e->o);
    }
    emit_cold(e, &s);
}
