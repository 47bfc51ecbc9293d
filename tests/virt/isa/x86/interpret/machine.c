/* machine.c - see machine.h. */
#include "machine.h"

#include <string.h>

#include "base/err.h"
#include "host/ram.h"
#include "tests/base/check.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define GDT      0x1000u
#define HANDLERS 0x4000u /* 16 bytes a vector; real mode: the same */
#define VECTORS  64u
#define CODE64   0x08u
#define DATA     0x10u
#define CODE32   0x18u

static int on_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct machine *m = who;

    (void)c; /* processors on threads come here, too */
    m->exits[__atomic_fetch_add(&m->exit_count, 1, __ATOMIC_RELAXED) % 64] = *x;
    __atomic_fetch_add(&m->seen[x->kind], 1, __ATOMIC_RELAXED);
    if (x->kind == CPU_EXIT_IN || x->kind == CPU_EXIT_READ) {
        x->value = 0x5a5a5a5a5a5a5a5au;
        return 0;
    }
    return 1;
}

static int take_interrupt(void *who, struct cpu *c)
{
    struct machine *m = who;
    int vector = m->pending;

    (void)c;
    m->pending = -1;
    return vector;
}

void machine_put(struct machine *m, gpa at, const void *bytes, uint64_t count)
{
    assert_int_equal(mem_write(m->mem, at, bytes, count), 0);
}

void machine_poke(struct machine *m, gpa at, uint64_t v, unsigned bytes)
{
    machine_put(m, at, &v, bytes);
}

uint64_t machine_peek(struct machine *m, gpa at, unsigned bytes)
{
    uint64_t v = 0;

    assert_int_equal(mem_read(m->mem, at, &v, bytes), 0);
    return v;
}

/* Interrupt gates to HANDLERS, each a HLT. */
static void make_vectors(struct machine *m)
{
    for (unsigned n = 0; n < VECTORS; n++) {
        uint64_t to = HANDLERS + n * 16;

        machine_poke(m, to, 0xf4, 1);
        if (m->mode == MACHINE_REAL) {
            machine_poke(m, n * 4, to, 4);
        } else if (m->mode == MACHINE_FLAT32) {
            machine_poke(m, MACHINE_IDT + n * 8,
                         (to & 0xffff) | CODE32 << 16 | UINT64_C(0x8e) << 40 |
                             (to >> 16) << 48,
                         8);
        } else {
            machine_poke(m, MACHINE_IDT + n * 16,
                         (to & 0xffff) | CODE64 << 16 | UINT64_C(0x8e) << 40 |
                             (to >> 16 & 0xffff) << 48,
                         8);
            machine_poke(m, MACHINE_IDT + n * 16 + 8, to >> 32, 8);
        }
    }
}

gpa machine_entry(gpa page)
{
    return MACHINE_TABLES + 0x4000 + (page >> 12) * 8;
}

/* One table each of levels 4 and 3, one directory, and a table for each 2 MiB. */
static void make_tables(struct machine *m)
{
    machine_poke(m, MACHINE_TABLES, MACHINE_TABLES + 0x1000 + 3, 8);
    machine_poke(m, MACHINE_TABLES + 0x1000, MACHINE_TABLES + 0x2000 + 3, 8);
    for (unsigned n = 0; n < MACHINE_RAM_BYTES >> 21; n++) {
        machine_poke(m, MACHINE_TABLES + 0x2000 + n * 8,
                     MACHINE_TABLES + 0x4000 + n * 0x1000 + 3, 8);
    }
    for (gpa page = 0; page < MACHINE_RAM_BYTES; page += 4096) {
        machine_poke(m, machine_entry(page), page + 3, 8);
    }
}

void machine_init(struct machine *m, enum machine_mode mode, const char *model)
{
    *m = (struct machine){.mode = mode, .pending = -1};
    m->env =
        (struct cpu_env){.exit = on_exit, .take_interrupt = take_interrupt, .who = m};
    assert_int_equal(ram_create(RAM_PRIVATE, &m->mem, NULL), 0);
    assert_int_equal(mem_add_ram(m->mem, 0, MACHINE_RAM_BYTES, false, NULL), 0);
    for (unsigned n = 0; n < MACHINE_CPUS; n++) {
        assert_int_equal(
            interpret_create(m->mem, x86_model_find(model), &m->env, n, &m->cpu[n], NULL),
            0);
    }
    machine_poke(m, GDT + CODE64, 0x00af9b000000ffff, 8);
    machine_poke(m, GDT + DATA, 0x00cf93000000ffff, 8);
    machine_poke(m, GDT + CODE32, 0x00cf9b000000ffff, 8);
    make_vectors(m);
    if (mode == MACHINE_LONG) {
        make_tables(m);
    }
}

void machine_fini(struct machine *m)
{
    for (unsigned n = 0; n < MACHINE_CPUS; n++) {
        cpu_destroy(m->cpu[n]);
    }
    mem_destroy(m->mem);
}

static void set_segments(const struct machine *m, struct x86_regs *r)
{
    bool is_long = m->mode == MACHINE_LONG;

    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        r->seg[s] =
            (struct x86_segment){.selector = DATA, .attr = 0xc093, .limit = 0xffffffff};
    }
    r->seg[X86_CS] = (struct x86_segment){.selector = is_long ? CODE64 : CODE32,
                                          .attr = is_long ? 0xa09b : 0xc09b,
                                          .limit = 0xffffffff};
    r->gdtr = (struct x86_table){.base = GDT, .limit = 0x1f};
    r->idtr = (struct x86_table){.base = MACHINE_IDT, .limit = VECTORS * 16 - 1};
    r->cr0 |= X86_CR0_PE | X86_CR0_WP;
}

void machine_regs(const struct machine *m, struct x86_regs *ret_regs)
{
    struct x86_regs *r = ret_regs;

    cpu_get(m->cpu[0], r);
    memset(r->gpr, 0, sizeof r->gpr);
    r->rflags = 2;
    r->halted = false;
    r->gpr[X86_RIP] = MACHINE_CODE;
    r->gpr[X86_RSP] = MACHINE_STACK;
    if (m->mode == MACHINE_REAL) {
        for (unsigned s = X86_ES; s <= X86_GS; s++) {
            r->seg[s] = (struct x86_segment){.attr = 0x93, .limit = 0xffff};
        }
        r->seg[X86_CS] = (struct x86_segment){.selector = MACHINE_CODE >> 4,
                                              .attr = 0x9b,
                                              .limit = 0xffff,
                                              .base = MACHINE_CODE};
        r->gpr[X86_RIP] = 0;
        r->gpr[X86_RSP] = 0x8000;
        r->idtr = (struct x86_table){.base = 0, .limit = 0x3ff};
        return;
    }
    set_segments(m, r);
    if (m->mode == MACHINE_LONG) {
        r->cr3 = MACHINE_TABLES;
        r->cr4 |= X86_CR4_PAE;
        r->cr0 |= X86_CR0_PG;
        r->msr.efer |= X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
        r->seg[X86_TR].attr = 0x8b;
    }
}

void machine_set(struct machine *m, const struct x86_regs *r)
{
    struct err e = {0};

    if (cpu_set(m->cpu[0], r, &e) != 0) {
        fail_msg("%s", e.text);
    }
}

void machine_get(struct machine *m, struct x86_regs *ret_regs)
{
    cpu_get(m->cpu[0], ret_regs);
}

void machine_run(struct machine *m, const void *from, const void *to,
                 const struct x86_regs *before, struct x86_regs *ret_after)
{
    struct x86_regs r;

    if (before == NULL) {
        machine_regs(m, &r);
        before = &r;
    }
    machine_put(m, MACHINE_CODE, from, (uint64_t)((const char *)to - (const char *)from));
    machine_set(m, before);
    assert_int_equal(cpu_run(m->cpu[0], 10000000), 0);
    machine_get(m, ret_after);
}

int machine_vector(const struct machine *m, const struct x86_regs *after)
{
    uint64_t at =
        after->gpr[X86_RIP] + (m->mode == MACHINE_REAL ? after->seg[X86_CS].base : 0);

    if (at <= HANDLERS || at > HANDLERS + VECTORS * 16) {
        return -1;
    }
    return (int)((at - 1 - HANDLERS) / 16);
}
