#include "tests/virt/isa/x86/vector/model.h"

#include <stdlib.h>
#include <string.h>

#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

#define X86_ROW(id, mn, enc, ops, mode, feature, privilege, sense, flags, attr, routine) \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows/avx.rows.h"
#include "virt/isa/x86/rows/mmx_sse.rows.h"
#include "virt/isa/x86/rows/x87.rows.h"
#undef X86_ROW

const struct x86_family *model_family(enum x86_row row)
{
    switch ((int)row) {
#define X86_ROW(id, mn, enc, ops, mode, feature, privilege, sense, flags, attr, routine) \
    case X86_R_##id:                                                                     \
        return &x86_do_##routine;
#include "virt/isa/x86/rows/avx.rows.h"
#include "virt/isa/x86/rows/mmx_sse.rows.h"
#include "virt/isa/x86/rows/x87.rows.h"
#undef X86_ROW
    default:
        return NULL;
    }
}

/* Bytes of the arena, or a page fault. */
static uint8_t *arena(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes)
{
    struct model *m = (struct model *)c;
    uint64_t at = c->r.seg[s].base + offset - m->arena;

    if (at >= NATIVE_ARENA_BYTES || at + bytes > NATIVE_ARENA_BYTES) {
        x86_raise_page(c, offset, 0);
    }
    return m->memory + at;
}

uint64_t x86_load_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes)
{
    uint64_t v = 0;

    memcpy(&v, arena(c, s, offset, bytes), bytes);
    return v;
}

void x86_store_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes,
                    uint64_t v)
{
    memcpy(arena(c, s, offset, bytes), &v, bytes);
}

void x86_load_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, void *buf,
                         unsigned bytes)
{
    memcpy(buf, arena(c, s, offset, bytes), bytes);
}

void x86_store_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                          const void *buf, unsigned bytes)
{
    memcpy(arena(c, s, offset, bytes), buf, bytes);
}

void *x86_rmw_begin_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                         unsigned bytes, bool locked)
{
    (void)locked;
    return arena(c, s, offset, bytes);
}

void x86_rmw_end_slow(struct x86_cpu *c)
{
    (void)c;
}

uint8_t x86_fetch8(struct x86_cpu *c, uint64_t rip)
{
    struct model *m = (struct model *)c;

    return m->code[rip - c->r.gpr[X86_RIP]];
}

static void not_available(struct x86_cpu *c)
{
    if ((c->r.cr0 & X86_CR0_TS) != 0) {
        x86_raise(c, X86_NM);
    }
}

void x86_need_fpu(struct x86_cpu *c, bool is_wait)
{
    (void)is_wait;
    not_available(c);
}

void x86_need_mmx(struct x86_cpu *c)
{
    if ((c->r.cr0 & X86_CR0_EM) != 0) {
        x86_raise(c, X86_UD);
    }
    not_available(c);
    if ((c->r.fpu.fsw & 0x80) != 0) {
        x86_raise(c, X86_MF);
    }
}

void x86_need_sse(struct x86_cpu *c)
{
    if ((c->r.cr0 & X86_CR0_EM) != 0 || (c->r.cr4 & X86_CR4_OSFXSR) == 0) {
        x86_raise(c, X86_UD);
    }
    not_available(c);
}

void x86_need_avx(struct x86_cpu *c)
{
    if ((c->r.cr4 & X86_CR4_OSXSAVE) == 0 || (c->r.xcr0 & 6) != 6) {
        x86_raise(c, X86_UD);
    }
    not_available(c);
}

void model_init(struct model *m, uint64_t at)
{
    struct x86_cpu *c = &m->cpu;

    memset(m, 0, sizeof *m);
    m->arena = at;
    c->tlb = calloc(1, sizeof *c->tlb);
    for (unsigned n = 0; n < X86_TLB_ENTRIES; n++) {
        c->tlb->entry[n] =
            (struct x86_tlb_entry){X86_TLB_NOTHING, X86_TLB_NOTHING, X86_TLB_NOTHING, 0};
    }
    c->r.cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG;
    c->r.cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    c->r.xcr0 = 7;
    c->r.cpl = 3;
    c->code_mode = X86_CODE64;
    c->long_mode = true;
    c->protected_mode = true;
    c->flat = true;
}

void model_fini(struct model *m)
{
    free(m->cpu.tlb);
}

void model_load(struct model *m, const struct native_case *x)
{
    struct x86_cpu *c = &m->cpu;
    struct x86_fpu *f = &c->r.fpu;

    f->fcw = x->in.fcw;
    f->fsw = x->in.fsw;
    f->ftw = x->in.ftw;
    f->fop = x->in.fop;
    f->fip = x->in.fip;
    f->fdp = x->in.fdp;
    f->mxcsr = x->in.mxcsr;
    for (unsigned n = 0; n < 8; n++) {
        memcpy(f->st[((f->fsw >> 11) + n) & 7], x->in.st[n], 10);
    }
    for (unsigned n = 0; n < 16; n++) {
        memcpy(f->ymm[n].byte, x->in.xmm[n], 16);
        memcpy(f->ymm[n].byte + 16, x->in.high[n], 16);
    }
    memcpy(c->r.gpr, x->gpr_in, sizeof x->gpr_in);
    c->r.gpr[X86_RIP] = x->at;
    c->r.gpr[X86_ZERO] = 0;
    c->r.rflags = x->flags_in;
    c->flags_lazy = false;
    memcpy(m->memory, x->memory_in, sizeof m->memory);
    memcpy(m->code, x->code + 1, 15);
}

unsigned model_run(struct model *m, const struct x86_insn *i)
{
    const struct x86_family *f = model_family((enum x86_row)i->row);
    x86_routine *volatile run = i->is_memory ? f->mem[i->size] : f->reg[i->size];
    struct x86_cpu *volatile c = &m->cpu;

    if (run == NULL) {
        return UINT32_MAX;
    }
    c->next_rip = c->r.gpr[X86_RIP] + i->length;
    if (setjmp(c->unwind) != 0) {
        x86_settle(c);
        return c->fault.vector + 1u;
    }
    run(c, i);
    x86_settle(c);
    return 0;
}

void model_save(const struct model *m, struct native_state *s)
{
    const struct x86_fpu *f = &m->cpu.r.fpu;

    memset(s, 0, sizeof *s);
    s->fcw = f->fcw;
    s->fsw = f->fsw;
    s->ftw = f->ftw;
    s->fop = f->fop;
    s->fip = f->fip;
    s->fdp = f->fdp;
    s->mxcsr = f->mxcsr;
    for (unsigned n = 0; n < 8; n++) {
        memcpy(s->st[n], f->st[((f->fsw >> 11) + n) & 7], 10);
    }
    for (unsigned n = 0; n < 16; n++) {
        memcpy(s->xmm[n], f->ymm[n].byte, 16);
        memcpy(s->high[n], f->ymm[n].byte + 16, 16);
    }
}
