/* world.c - see world.h. */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define GUARD_BYTES   (16u << 20)
#define HANDLER_BYTES 32u
#define BUDGET_MOST   600u

uint64_t draw_word(struct draw *d)
{
    uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);

    if (d->left >= 2) {
        z += (uint64_t)(d->bytes[0] | d->bytes[1] << 8) * UINT64_C(0x2545f4914f6cdd1d);
        d->state = z;
        d->bytes += 2;
        d->left -= 2;
    }
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

unsigned draw_below(struct draw *d, unsigned n)
{
    return (unsigned)((draw_word(d) >> 32) * n >> 32);
}

bool draw_one_in(struct draw *d, unsigned n)
{
    return draw_below(d, n) == 0;
}

/* RAM with nothing around it: an address that went astray faults in the host. */
static int add_guarded(struct mem *m, gpa base, uint64_t bytes, bool read_only,
                       struct err *e)
{
    struct mem_region region = {.base = base, .bytes = bytes, .read_only = read_only};
    uint8_t *all = mmap(NULL, bytes + 2 * GUARD_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)e;
    region.flags = calloc(bytes >> MEM_PAGE_SHIFT, 1);
    if (all == MAP_FAILED || region.flags == NULL ||
        mprotect(all + GUARD_BYTES, bytes, PROT_READ | PROT_WRITE) != 0) {
        abort();
    }
    region.host = all + GUARD_BYTES;
    mem_insert(m, &region);
    return 0;
}

static void destroy_guarded(struct mem *m)
{
    for (unsigned n = 0; n < m->region_count; n++) {
        (void)munmap(m->region[n].host - GUARD_BYTES,
                     m->region[n].bytes + 2 * GUARD_BYTES);
        free(m->region[n].flags);
    }
    free(m);
}

static const struct mem_ops guarded_ops = {
    .name = "guarded", .add_ram = add_guarded, .destroy = destroy_guarded};

/* What devices do: now and then a store of theirs to the code; or an interrupt, which is
 * seen behind the block that executes, so that it has a place only where that ends. */
static void surprise(struct side *s, struct cpu *c, const struct cpu_exit *x)
{
    uint32_t to = WORLD_CODE + (uint32_t)(s->exits >> 32) % (WORLD_CODE_BYTES - 4);
    bool is_port = x->kind == CPU_EXIT_OUT || x->kind == CPU_EXIT_IN;

    if (is_port && (s->exits >> 10 & 3) == 0) {
        s->vector = 32 + (int)(s->exits >> 24 & 0xff) % 224;
        cpu_kick(c, CPU_KICK_INTERRUPT);
    }
    if (is_port && (s->exits >> 12 & 15) == 0) {
        cpu_kick(c, (s->exits >> 16 & 1) != 0 ? CPU_KICK_NMI : CPU_KICK_FLUSH);
    }
    if ((s->exits >> 17 & 7) == 0 && mem_write(s->mem, to, "\x90\x90\x90", 3) != 0) {
        abort();
    }
}

static int on_exit_of_side(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct side *s = who;

    if (x->kind == CPU_EXIT_BUDGET || x->kind == CPU_EXIT_KICKED) {
        return 1;
    }
    s->exits =
        (s->exits ^ (unsigned)x->kind ^ x->address << 8 ^
         (x->kind == CPU_EXIT_OUT || x->kind == CPU_EXIT_WRITE ? x->value << 20 : 0) ^
         cpu_left(c) << 40) *
        UINT64_C(0x9e3779b97f4a7c15);
    surprise(s, c, x);
    x->value = s->exits >> 7;
    x->refused = (s->exits & 4) != 0;
    s->is_stuck |= x->kind == CPU_EXIT_HALT || x->kind == CPU_EXIT_SHUTDOWN;
    return s->is_stuck || (s->stops && x->kind == CPU_EXIT_OUT);
}

static int take_interrupt(void *who, struct cpu *c)
{
    struct side *s = who;
    int v = s->vector;

    (void)c;
    s->vector = -1;
    return v;
}

static uint64_t tick(void *who)
{
    struct side *s = who;

    return (s->clock += 100) + (cpu_left(s->cpu) << 32); /* the guest sees it */
}

void world_put(struct world *w, gpa at, const void *from, unsigned bytes)
{
    for (unsigned n = 0; n < 2; n++) {
        if (mem_write(w->side[n].mem, at, from, bytes) != 0) {
            abort();
        }
    }
}

static void put64(struct world *w, gpa at, uint64_t v)
{
    world_put(w, at, &v, 8);
}

static void make_side(struct world *w, unsigned n, const char *model)
{
    static const char *const names[] = {"interpreter", "translator"};
    struct side *s = &w->side[n];
    struct translate_options o = {.warm = 1 + draw_below(&w->draw, 3),
                                  .code_bytes = (256u << 10) << draw_below(&w->draw, 4),
                                  .tiers = (enum translate_tiers)draw_below(&w->draw, 3),
                                  .hot = 1 + draw_below(&w->draw, 8)};
    struct err e = {0};
    int r;

    *s = (struct side){.name = names[n], .vector = -1};
    s->env = (struct cpu_env){.exit = on_exit_of_side,
                              .take_interrupt = take_interrupt,
                              .clock = tick,
                              .who = s};
    s->mem = calloc(1, sizeof *s->mem);
    if (s->mem == NULL) {
        abort();
    }
    s->mem->ops = &guarded_ops;
    r = mem_add_ram(s->mem, 0, WORLD_RAM, false, &e);
    s->ram = mem_find(s->mem, 0)->host;
    if (r == 0 && n == 0) {
        r = interpret_create(s->mem, x86_model_find(model), &s->env, 0, &s->cpu, &e);
    } else if (r == 0) {
        r = translate_create(s->mem, x86_model_find(model), &s->env, &o, &s->cpu, &e);
    }
    if (r != 0) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
}

/* Descriptors: those that the handlers need, and random ones. */
static void put_descriptors(struct world *w)
{
    static const uint64_t gdt[] = {
        0,
        0x00af9b000000ffff, /* 08 code 64 */
        0x00cf93000000ffff, /* 10 data */
        0x00cf9b000000ffff, /* 18 code 32 */
        0x00cffb000000ffff, /* 20 code 32, level 3 */
        0x00cff3000000ffff, /* 28 data, level 3 */
        0x00affb000000ffff, /* 30 code 64, level 3 */
        0x00009b020000ffff, /* 38 code 16 */
        0x000093030000ffff, /* 40 data 16 */
        0x0000fb020000ffff, /* 48 code 16, level 3 */
        0x0000f3030000ffff, /* 50 data 16, level 3 */
        0x0000890030000300, /* 58 TSS */
        0,
    };

    world_put(w, WORLD_GDT, gdt, sizeof gdt);
    for (unsigned n = sizeof gdt / 8; n < 32; n++) {
        uint64_t d = draw_word(&w->draw) & 0x00cf00000000ffff;

        d |= (uint64_t)(0x80 | draw_below(&w->draw, 128)) << 40 |
             (uint64_t)draw_below(&w->draw, 4) << 32;
        d = draw_one_in(&w->draw, 4) /* a gate into the code */
                ? (WORLD_HANDLERS & 0xffff) | 0x180000 | UINT64_C(0xec) << 40 |
                      UINT64_C(1) << 48
                : d;
        put64(w, WORLD_GDT + n * 8, d);
    }
    put64(w, WORLD_TSS + 4,
          WORLD_STACK | (w->mode < WORLD_COMPATIBILITY ? 0x1000000000 : 0));
    put64(w, WORLD_TSS + 0x24, WORLD_STACK + 0x4000);
    put64(w, WORLD_TSS + 0x66, 0x68);
    for (unsigned n = 0; n < 64; n++) {
        put64(w, WORLD_TSS + 0x68 + n * 8,
              draw_one_in(&w->draw, 2) ? 0 : draw_word(&w->draw));
    }
}

static bool has_error_code(unsigned v)
{
    return v == 8 || (v >= 10 && v <= 14) || v == 17;
}

/* Step over a byte - not behind an interrupt from outside - and come back to the code. */
static unsigned make_handler(const struct world *w, unsigned v, uint8_t to[HANDLER_BYTES])
{
    static const uint8_t real[] = {0x55, 0x89, 0xe5, 0xff, 0x46, 0x02, 0x81,
                                   0x66, 0x02, 0xff, 0x7f, 0x5d, 0xcf};
    static const uint8_t back32[] = {0x81, 0x24, 0x24, 0xff, 0x7f, 0x02, 0,
                                     0x81, 0x0c, 0x24, 0,    0,    0x02, 0};
    static const uint8_t back16[] = {0x81, 0x24, 0x24, 0xff, 0x7f, 0, 0};
    bool is_long = w->mode >= WORLD_COMPATIBILITY;
    unsigned n = 0;

    if (w->mode == WORLD_REAL) {
        memcpy(to, real, sizeof real);
        return sizeof real;
    }
    if (has_error_code(v)) {
        memcpy(to, is_long ? "\x48\x83\xc4\x08" : "\x83\xc4\x04", is_long ? 4 : 3);
        n += is_long ? 4 : 3;
    }
    if (v < 32) {
        memcpy(to + n, "\xff\x04\x24", 3);
        n += 3;
    }
    if (w->mode <= WORLD_PROTECTED16) {
        memcpy(to + n, back16, sizeof back16);
        n += sizeof back16;
    } else {
        memcpy(to + n, back32, sizeof back32);
        n += sizeof back32;
    }
    memcpy(to + n, is_long ? "\x48\xcf" : "\xcf", is_long ? 2 : 1);
    return n + (is_long ? 2 : 1);
}

static void put_handlers(struct world *w)
{
    bool is_long = w->mode >= WORLD_COMPATIBILITY;
    uint64_t ist = draw_one_in(&w->draw, 3) ? 0 : 1;

    for (unsigned v = 0; v < 256; v++) {
        uint8_t code[HANDLER_BYTES] = {0};
        uint32_t at = WORLD_HANDLERS + v * HANDLER_BYTES;
        uint64_t low = (at & 0xffff) | (uint64_t)(at >> 16) << 48;
        uint64_t attr = UINT64_C(0x8e00) | (v % 3 == 0 ? 0x6000 : 0);

        world_put(w, at, code, make_handler(w, v, code));
        if (w->mode == WORLD_REAL) {
            uint32_t vector = (at & 0xffff) | (WORLD_HANDLERS >> 4) << 16;

            world_put(w, v * 4, &vector, 4);
        }
        put64(w, WORLD_IDT + v * 8, low | 0x180000 | attr << 32);
        if (is_long) {
            put64(w, WORLD_IDT64 + v * 16, low | 0x80000 | attr << 32 | ist << 32);
            put64(w, WORLD_IDT64 + v * 16 + 8, 0);
        }
    }
    world_put(w, WORLD_SYSCALL, "\x48\x0f\x07", 3); /* sysretq */
}

/* Where a page lies, and with what rights. */
static uint64_t entry_of(struct world *w, unsigned page)
{
    unsigned to = page >= 0x60 && page < 0x78 ? page - 0x40 : page;
    uint64_t bits = 7;

    if (page >= 0x20 && page != 0x47 && page != 0x4b && draw_one_in(&w->draw, 24)) {
        bits = draw_below(&w->draw, 128);
        to = draw_one_in(&w->draw, 2) ? to : 0x20 + draw_below(&w->draw, 0x18);
    }
    return (uint64_t)to << 12 | bits;
}

static void put_pages(struct world *w)
{
    put64(w, WORLD_PML4, (WORLD_PML4 + 0x1000) | 7);
    put64(w, WORLD_PML4 + 0x1000, (WORLD_PML4 + 0x2000) | 7);
    put64(w, WORLD_PML4 + 0x2000, WORLD_PT64 | 7);
    put64(w, WORLD_PD32, WORLD_PT32 | 7);
    put64(w, WORLD_PDPT, (WORLD_PDPT + 0x1000) | 1);
    put64(w, WORLD_PDPT + 0x1000, WORLD_PTPAE | 7);
    for (unsigned page = 0; page < 0x100; page++) {
        uint64_t e = entry_of(w, page);
        uint32_t e32 = (uint32_t)e;

        world_put(w, WORLD_PT32 + page * 4, &e32, 4);
        e |= page > 0x30 && draw_one_in(&w->draw, 24) ? UINT64_C(1) << 63 : 0;
        put64(w, WORLD_PT64 + page * 8, e);
        put64(w, WORLD_PTPAE + page * 8, e);
    }
}

static struct x86_segment segment(uint16_t selector, uint16_t attr, uint32_t limit,
                                  uint64_t base)
{
    return (struct x86_segment){
        .selector = selector, .attr = attr, .limit = limit, .base = base};
}

static void choose_segments(struct world *w, struct x86_regs *r)
{
    uint16_t level = (uint16_t)(r->cpl << 5);
    bool is_16 = w->mode <= WORLD_PROTECTED16;
    uint16_t cs = r->cpl == 0 ? 0x18 : 0x23, ds = r->cpl == 0 ? 0x10 : 0x2b;

    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        r->seg[s] = segment(ds, 0xc093 | level, 0xffffffff, 0);
        if (is_16) {
            r->seg[s] = segment(0x3000, 0x93 | level, 0xffff, WORLD_DATA);
        }
    }
    r->seg[X86_CS] = segment(cs, 0xc09b | level, 0xffffffff, 0);
    if (is_16) {
        uint64_t stack = WORLD_STACK & ~0xffffu;

        r->seg[X86_CS] = segment(0x2000, 0x9b | level, 0xffff, WORLD_CODE);
        r->seg[X86_SS] = segment((uint16_t)(stack >> 4), 0x93 | level, 0xffff, stack);
    }
    if (w->mode == WORLD_V86) {
        r->seg[X86_CS].attr = 0xf3;
    }
    if (w->mode == WORLD_LONG) {
        r->seg[X86_CS].attr = (uint16_t)(0xa09b | level);
        r->seg[X86_CS].selector = r->cpl == 0 ? 0x08 : 0x33;
        r->seg[X86_FS].base = WORLD_DATA;
        r->seg[X86_GS].base = WORLD_DATA + 0x800;
    } else if (!is_16 && draw_one_in(&w->draw, 3)) {
        r->seg[X86_FS] = segment(ds, 0x4093 | level, 0x37fff, 0);
        r->seg[X86_GS] = segment(ds, 0xc093 | level, 0xffffffff, WORLD_DATA);
    }
    r->seg[X86_TR] = segment(0x58, 0x8b, 0x300, WORLD_TSS);
    r->seg[X86_LDTR] = (struct x86_segment){.attr = X86_ATTR_NULL};
}

static void choose_control(struct world *w, struct x86_regs *r)
{
    uint64_t cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_PGE |
                   (w->has_xsave ? X86_CR4_OSXSAVE : 0);

    r->cr0 = X86_CR0_ET | X86_CR0_NE | (w->mode > WORLD_REAL ? X86_CR0_PE : 0) |
             (draw_word(&w->draw) & (X86_CR0_WP | X86_CR0_AM | X86_CR0_MP));
    r->cr4 = draw_one_in(&w->draw, 4) ? draw_word(&w->draw) & 0x00210f9f : cr4;
    r->msr.efer = 0;
    if (w->mode >= WORLD_PAGED32) {
        r->cr0 |= X86_CR0_PG;
        r->cr3 = w->mode == WORLD_PAGED32 ? WORLD_PD32
                 : w->mode == WORLD_PAE   ? WORLD_PDPT
                                          : WORLD_PML4;
        r->cr4 |= w->mode >= WORLD_PAE ? X86_CR4_PAE : 0;
    }
    if (w->mode >= WORLD_COMPATIBILITY) {
        r->msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
        r->msr.star = UINT64_C(0x0020000800000000);
        r->msr.lstar = WORLD_SYSCALL;
        r->msr.cstar = WORLD_SYSCALL;
        r->msr.sfmask =
            draw_one_in(&w->draw, 2) ? (draw_word(&w->draw) & 0x47fd5) | X86_AC_BIT : 0;
    }
    r->xcr0 = w->has_xsave ? 7 : 1;
    r->gdtr = (struct x86_table){.base = WORLD_GDT, .limit = 0xff};
    r->idtr = (struct x86_table){.base = w->mode == WORLD_REAL           ? 0
                                         : w->mode < WORLD_COMPATIBILITY ? WORLD_IDT
                                                                         : WORLD_IDT64,
                                 .limit = w->mode == WORLD_REAL           ? 0x3ff
                                          : w->mode < WORLD_COMPATIBILITY ? 0x7ff
                                                                          : 0xfff};
    r->dr[7] = 0x400 | (draw_one_in(&w->draw, 16) ? draw_word(&w->draw) & 0xffff00ff : 0);
    r->dr[0] = WORLD_CODE + draw_below(&w->draw, 4096);
    r->dr[1] = WORLD_DATA + draw_below(&w->draw, 4096);
}

static void choose_registers(struct world *w, struct x86_regs *r)
{
    bool is_16 = w->mode <= WORLD_PROTECTED16;

    for (unsigned n = 0; n < X86_GPR_COUNT; n++) {
        r->gpr[n] = draw_one_in(&w->draw, 2) ? draw_word(&w->draw)
                                             : WORLD_DATA + draw_below(&w->draw, 0x7000);
        r->gpr[n] = w->mode < WORLD_LONG ? (uint32_t)r->gpr[n] : r->gpr[n];
        r->gpr[n] = is_16 ? r->gpr[n] & 0xffff : r->gpr[n];
    }
    r->gpr[X86_RCX] = draw_below(&w->draw, 40);
    r->gpr[X86_RSP] = is_16 ? WORLD_STACK & 0xffff : WORLD_STACK3 - 0x4000;
    r->gpr[X86_RIP] = is_16 ? 0 : WORLD_CODE;
    r->cpl = w->mode == WORLD_V86                                ? 3
             : w->mode == WORLD_REAL || draw_one_in(&w->draw, 2) ? 0
                                                                 : 3;
    r->rflags = 2 | (draw_word(&w->draw) & (X86_ARITHMETIC | X86_IF | X86_DF_BIT));
    r->rflags |=
        draw_one_in(&w->draw, 3) ? draw_word(&w->draw) & (X86_IOPL | X86_AC_BIT) : 0;
    r->rflags |= draw_one_in(&w->draw, 16) ? X86_TF : 0;
    r->rflags |= w->mode == WORLD_V86 ? X86_VM : 0;
    r->halted = false;
    r->nmi_masked = false;
    for (unsigned n = 0; n < 16; n++) {
        for (unsigned k = 0; k < 32; k += 8) {
            uint64_t v =
                draw_one_in(&w->draw, 2) ? draw_word(&w->draw) : 0x3ff0000000000000;

            memcpy(r->fpu.ymm[n].byte + k, &v, 8);
        }
    }
    r->fpu.fcw = 0x37f;
    r->fpu.mxcsr =
        draw_one_in(&w->draw, 8) ? 0x1f80 & (uint32_t)draw_word(&w->draw) : 0x1f80;
}

static void set_both(struct world *w)
{
    struct x86_regs r;
    struct err e = {0};
    unsigned tries = 0;

    do {
        if (tries++ > 1000) {
            fprintf(stderr, "mode %d: %s\n", w->mode, e.text);
            abort();
        }
        e = (struct err){0};
        cpu_get(w->side[0].cpu, &r);
        choose_registers(w, &r);
        choose_control(w, &r);
        choose_segments(w, &r);
    } while (cpu_set(w->side[0].cpu, &r, &e) != 0);
    if (cpu_set(w->side[1].cpu, &r, &e) != 0) {
        abort();
    }
}

void world_begin(struct world *w)
{
    uint8_t code[WORLD_CODE_BYTES];

    program_make(w, code);
    world_put(w, WORLD_CODE, code, sizeof code);
    put_descriptors(w);
    put_handlers(w);
    put_pages(w);
    for (unsigned n = 0; n < 2; n++) {
        struct side *s = &w->side[n];

        s->is_stuck = false;
        s->vector = -1;
    }
    set_both(w);
}

void world_create(struct world *w, const struct draw *from, enum world_mode mode)
{
    static const char *const models[] = {"v3", "v3", "base", "i686"};
    const char *model;

    memset(w, 0, sizeof *w);
    w->draw = *from;
    w->mode =
        mode != WORLD_MODES ? mode : (enum world_mode)draw_below(&w->draw, WORLD_MODES);
    model = models[draw_below(&w->draw, w->mode >= WORLD_COMPATIBILITY ? 3 : 4)];
    w->is_raw = draw_one_in(&w->draw, 3);
    w->has_xsave = strcmp(model, "v3") == 0;
    make_side(w, 0, model);
    make_side(w, 1, model);
    world_begin(w);
}

void world_destroy(struct world *w)
{
    for (unsigned n = 0; n < 2; n++) {
        cpu_destroy(w->side[n].cpu);
        mem_destroy(w->side[n].mem);
    }
}

struct field {
    const char *name;
    size_t offset, bytes;
};

#define FIELD(what)                                                                      \
    {                                                                                    \
#        what, offsetof(struct x86_regs, what), sizeof(((struct x86_regs *)0)->what)     \
    }

static const struct field fields[] = {
    FIELD(gpr[X86_RIP]), FIELD(cpl),        FIELD(halted),     FIELD(seg[X86_CS]),
    FIELD(gpr[0]),       FIELD(gpr[1]),     FIELD(gpr[2]),     FIELD(gpr[3]),
    FIELD(gpr[4]),       FIELD(gpr[5]),     FIELD(gpr[6]),     FIELD(gpr[7]),
    FIELD(gpr[8]),       FIELD(gpr[9]),     FIELD(gpr[10]),    FIELD(gpr[11]),
    FIELD(gpr[12]),      FIELD(gpr[13]),    FIELD(gpr[14]),    FIELD(gpr[15]),
    FIELD(rflags),       FIELD(seg[0]),     FIELD(seg[2]),     FIELD(seg[3]),
    FIELD(seg[4]),       FIELD(seg[5]),     FIELD(seg[6]),     FIELD(seg[7]),
    FIELD(gdtr.base),    FIELD(gdtr.limit), FIELD(idtr.base),  FIELD(idtr.limit),
    FIELD(cr0),          FIELD(cr2),        FIELD(cr3),        FIELD(cr4),
    FIELD(cr8),          FIELD(xcr0),       FIELD(dr),         FIELD(fpu.fcw),
    FIELD(fpu.fsw),      FIELD(fpu.ftw),    FIELD(fpu.mxcsr),  FIELD(fpu.fop),
    FIELD(fpu.fip),      FIELD(fpu.fdp),    FIELD(fpu.fcs),    FIELD(fpu.fds),
    FIELD(fpu.ymm),      FIELD(msr),        FIELD(nmi_masked), FIELD(irq_shadow),
    FIELD(debug_shadow), FIELD(a20_mask)};

static bool registers_differ(struct world *w, char *text, unsigned bytes)
{
    struct x86_regs a, b;

    cpu_get(w->side[0].cpu, &a);
    cpu_get(w->side[1].cpu, &b);
    for (unsigned n = 0; n < 8; n++) { /* only ten bytes of each count */
        if (memcmp(a.fpu.st[n], b.fpu.st[n], 10) != 0) {
            snprintf(text, bytes, "x87 register %u", n);
            return true;
        }
    }
    for (unsigned n = 0; n < sizeof fields / sizeof fields[0]; n++) {
        const uint8_t *x = (const uint8_t *)&a + fields[n].offset;
        const uint8_t *y = (const uint8_t *)&b + fields[n].offset;
        uint64_t v = 0, u = 0;

        if (memcmp(x, y, fields[n].bytes) != 0) {
            memcpy(&v, x, fields[n].bytes < 8 ? fields[n].bytes : 8);
            memcpy(&u, y, fields[n].bytes < 8 ? fields[n].bytes : 8);
            snprintf(text, bytes, "%s: interpreter %" PRIx64 ", translator %" PRIx64,
                     fields[n].name, v, u);
            return true;
        }
    }
    return false;
}

static bool memory_differs(const struct world *w, char *text, unsigned bytes)
{
    const uint8_t *a = w->side[0].ram, *b = w->side[1].ram;
    unsigned at = 0;

    if (memcmp(a, b, WORLD_RAM) == 0) {
        return false;
    }
    while (a[at] == b[at]) {
        at++;
    }
    snprintf(text, bytes, "memory %x: interpreter %02x, translator %02x", at, a[at],
             b[at]);
    return true;
}

void world_draw(struct world *w)
{
    w->budget = 1 + draw_below(&w->draw, draw_one_in(&w->draw, 3) ? 50 : BUDGET_MOST);
    w->kicks = draw_one_in(&w->draw, 4) ? CPU_KICK_INTERRUPT : 0;
    w->kicks |= draw_one_in(&w->draw, 12) ? CPU_KICK_NMI : 0;
    w->kicks |= draw_one_in(&w->draw, 12) ? CPU_KICK_FLUSH : 0;
    w->vector = 32 + (int)draw_below(&w->draw, 224);
    w->trims = draw_one_in(&w->draw, 8) ? draw_below(&w->draw, 4) : 0;
    w->rest = draw_one_in(&w->draw, 2) ? CPU_REST_LONG : CPU_REST_SHORT;
    w->steps++;
}

int world_run(struct world *w, struct side *s, uint64_t budget)
{
    s->is_stuck = false;
    s->vector = (w->kicks & CPU_KICK_INTERRUPT) != 0 ? w->vector : s->vector;
    cpu_kick(s->cpu, w->kicks);
    if ((w->trims >> (s - w->side) & 1) != 0) {
        cpu_trim(s->cpu, w->rest);
    }
    return cpu_run(s->cpu, budget);
}

bool world_run_both(struct world *w, char *text, unsigned bytes)
{
    for (unsigned n = 0; n < 2; n++) {
        if (world_run(w, &w->side[n], w->budget) != 0) {
            snprintf(text, bytes, "%s: run fails", w->side[n].name);
            return false;
        }
    }
    if (w->side[0].exits != w->side[1].exits) {
        snprintf(text, bytes, "what went out of the processor");
        return false;
    }
    return !registers_differ(w, text, bytes) && !memory_differs(w, text, bytes);
}

bool world_step(struct world *w, char *text, unsigned bytes)
{
    world_draw(w);
    return world_run_both(w, text, bytes);
}
