/* Hostile guests: random code, mostly system instructions, over random tables in all
 * modes.  Nothing may crash the host process, hang it, or leave a state that a real
 * processor could not hold.
 *
 * ISA_HOSTILE=N in the environment: N guests instead of the few of a quick run.
 * rows: ISA-02 FV-04 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "host/ram.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define RAM_BYTES    0x40000u
#define GUESTS       400
#define INSTRUCTIONS 400

struct guest {
    struct mem *mem;
    struct cpu *cpu;
    uint64_t random;
};

static uint64_t next(struct guest *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

static unsigned below(struct guest *g, unsigned n)
{
    return (unsigned)(next(g) >> 33) % n;
}

static int on_guest_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct guest *g = who;

    (void)c;
    x->value = next(g);
    x->refused = below(g, 2) != 0;
    return x->kind == CPU_EXIT_SHUTDOWN || x->kind == CPU_EXIT_BUDGET ||
           x->kind == CPU_EXIT_HALT;
}

static int on_interrupt(void *who, struct cpu *c)
{
    (void)c;
    return (int)below(who, 512) - 256; /* none, half of the time */
}

static void put(struct guest *g, gpa at, const void *bytes, unsigned count)
{
    assert_int_equal(mem_write(g->mem, at, bytes, count), 0);
}

/* Opcodes of the system part, whose operand bytes are random. */
static const char *const opcodes[] = {
    "\x0f\x00", "\x0f\x01",     "\x0f\x02",
    "\x0f\x03", "\x0f\x05",     "\x0f\x06",
    "\x0f\x07", "\x0f\x09",     "\x0f\x20",
    "\x0f\x21", "\x0f\x22",     "\x0f\x23",
    "\x0f\x30", "\x0f\x31",     "\x0f\x32",
    "\x0f\x34", "\x0f\x35",     "\x0f\xa2",
    "\x63",     "\x0f\x38\x82", "\x66\x0f\x38\x82",
    "\x0f\xae", "\xf3\x0f",     "\x8e",
    "\xcf",     "\x48\xcf",     "\xcb",
    "\xca",     "\xea",         "\x9a",
    "\xff",     "\xcd",         "\xcc",
    "\xce",     "\xf1",         "\x9d",
    "\x9c",     "\xfa",         "\xfb",
    "\xe4",     "\xe6",         "\xec",
    "\x6c",     "\xf3\x6d",     "\xf3\x6e",
    "\x07",     "\x17",         "\x1f",
    "\x0f\xa1", "\x0f\xb2",     "\xc4",
    "\xc5",     "\x50",         "\x58",
    "\x89",     "\x8b",         "\x87",
    "\xf0\x87", "\xb8",         "\x66\xcf",
};

static void put_code(struct guest *g)
{
    uint8_t code[0x1000];
    unsigned at = 0;

    while (at < sizeof code - 16) {
        const char *o = opcodes[below(g, sizeof opcodes / sizeof opcodes[0])];
        size_t n = strlen(o) == 0 ? 2 : strlen(o);

        memcpy(code + at, o, n);
        at += (unsigned)n;
        for (unsigned more = below(g, 6); more > 0; more--) {
            code[at++] = (uint8_t)next(g);
        }
    }
    memset(code + at, 0x90, sizeof code - at);
    for (gpa page = 0x8000; page < 0x10000; page += 0x1000) {
        put(g, page, code, sizeof code);
    }
}

/* Descriptors of every kind, most of them usable. */
static void put_tables(struct guest *g)
{
    for (unsigned i = 0; i < 512; i++) {
        uint64_t d = next(g);

        d &= 0x00ff00000000ffffull | (uint64_t)below(g, 2) << 56;
        d |= 0x0000800000000000ull | (next(g) & 0x0000ff0000000000ull);
        d |= (uint64_t)below(g, 16) * 0x1000 << 16;
        put(g, 0x1000 + i * 8, &d, 8); /* GDT 1000, IDT 1800 */
    }
    for (unsigned i = 0; i < 256; i++) {
        uint64_t gate = 0x8000 | (uint64_t)(below(g, 64) * 8) << 16 |
                        (0x8000ull | (next(g) & 0x6700) | 0x600) << 32;

        if (below(g, 4) != 0) {
            put(g, 0x1800 + i * 8, &gate, 8);
        }
    }
}

static void put_pages(struct guest *g)
{
    for (unsigned i = 0; i < 1024; i++) {
        uint64_t entry = (uint64_t)below(g, 64) * 0x1000 | below(g, 256) | 3;

        if (below(g, 32) == 0) {
            entry |= next(g) & 0xfff0000000000000ull;
        }
        put(g, 0x4000 + i * 8, &entry, 8);
    }
}

static void choose_segments(struct guest *g, struct x86_regs *r)
{
    static const uint16_t attr[] = {0xc093, 0x0093, 0xc0f3, 0x4093, 0x4097, 0x0091};

    for (unsigned s = 0; s < 6; s++) {
        r->seg[s].attr = attr[below(g, 6)];
        r->seg[s].limit = below(g, 2) ? 0xffffffff : 0xffff;
        r->seg[s].base = below(g, 3) ? 0 : below(g, 0x1000);
        r->seg[s].selector = (uint16_t)(below(g, 64) * 8 + r->cpl);
    }
    r->seg[X86_CS].attr = (uint16_t)(0x9b | r->cpl << 5 | (next(g) & 0x4000));
    r->seg[X86_TR] = (struct x86_segment){
        .selector = 0x28, .base = 0x3000, .limit = 0x100, .attr = 0x8b};
    r->seg[X86_LDTR] = (struct x86_segment){
        .selector = 0x30, .base = 0x1400, .limit = 0xff, .attr = 0x82};
}

/* A state of one of the modes; some are refused, and another one is tried. */
static void choose(struct guest *g, struct x86_regs *r)
{
    unsigned mode = below(g, 6);

    for (unsigned n = 0; n < 16; n++) {
        r->gpr[n] = below(g, 2) ? below(g, 0x10000) : next(g);
    }
    r->gpr[X86_RSP] = 0x20000 + below(g, 0x1000);
    r->gpr[X86_RIP] = 0x8000 + below(g, 0x800);
    r->cpl = mode == 0 ? 0 : below(g, 2) ? 0 : 3;
    r->rflags =
        (next(g) & (X86_ARITHMETIC | X86_IF | X86_IOPL | X86_NT | X86_AC_BIT)) | 2;
    r->rflags |= below(g, 16) == 0 ? X86_TF : 0;
    choose_segments(g, r);
    r->cr0 = X86_CR0_ET | (mode > 0 ? X86_CR0_PE : 0);
    r->cr3 = 0x4000;
    r->cr4 = next(g) & 0x00370f3full & ~(uint64_t)(X86_CR4_PAE | X86_CR4_PCIDE);
    r->msr.efer = 0;
    r->gdtr = (struct x86_table){.base = 0x1000, .limit = 0x7ff};
    r->idtr = (struct x86_table){.base = mode == 0 ? 0 : 0x1800, .limit = 0x7ff};
    if (mode == 2) {
        r->rflags |= X86_VM;
        r->cpl = 3;
    } else if (mode >= 3) {
        r->cr0 |= X86_CR0_PG | (next(g) & X86_CR0_WP);
        r->cr4 |= mode >= 4 ? X86_CR4_PAE : 0;
        r->msr.efer = mode == 5 ? X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE : 0;
    }
    if (mode == 5) {
        r->seg[X86_CS].attr = (uint16_t)(0xa09b | r->cpl << 5);
        r->cr4 |= below(g, 2) ? X86_CR4_PCIDE : 0;
        r->msr.efer |= X86_EFER_SCE;
    }
    r->dr[7] = 0x400 | (below(g, 8) == 0 ? next(g) & 0xffff00ff : 0);
}

static void run_one(uint64_t seed)
{
    struct guest g = {.random = seed * 0x9e3779b97f4a7c15ull + 1};
    struct cpu_env env = {
        .exit = on_guest_exit, .take_interrupt = on_interrupt, .who = &g};
    struct x86_regs r;
    struct err e = {0};

    assert_int_equal(ram_create(RAM_PRIVATE, &g.mem, NULL), 0);
    assert_int_equal(mem_add_ram(g.mem, 0, RAM_BYTES, false, NULL), 0);
    assert_int_equal(
        interpret_create(g.mem, x86_model_find("host-like"), &env, 0, &g.cpu, NULL), 0);
    put_tables(&g);
    put_pages(&g);
    put_code(&g);
    cpu_get(g.cpu, &r);
    do {
        choose(&g, &r);
    } while (cpu_set(g.cpu, &r, NULL) != 0);
    for (unsigned burst = 0; burst < 4; burst++) {
        cpu_kick(g.cpu, below(&g, 2) ? CPU_KICK_INTERRUPT : CPU_KICK_NMI);
        assert_int_equal(cpu_run(g.cpu, INSTRUCTIONS / 4), 0);
        cpu_get(g.cpu, &r);
        if (cpu_set(g.cpu, &r, &e) != 0) {
            fail_msg("guest %lu: %s", (unsigned long)seed, e.text);
        }
    }
    cpu_destroy(g.cpu);
    mem_destroy(g.mem);
}

static void no_guest_harms_its_host(void **state)
{
    const char *wish = getenv("ISA_HOSTILE");
    unsigned long guests = wish == NULL ? GUESTS : strtoul(wish, NULL, 10);

    (void)state;
    for (unsigned long seed = 1; seed <= guests; seed++) {
        run_one(seed);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_guest_harms_its_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
