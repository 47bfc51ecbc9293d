/* trap_test.c - trap and emulate: every privileged and every I/O row, in each 32- and
 * 64-bit form, in a guest whose kernel was put out of ring 0.  It traps to the monitor
 * with its own address, nothing of the machine has changed, and when the monitor has
 * stepped over it the next instruction follows.  At level 0 what concerns the outside
 * leaves the processor, with what the monitor needs to know, and goes on behind it.  The
 * host's own state is the same before and after.  On both engines.
 * rows: FV-04 FV-05 HYP-21 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engines.h"
#include "virt/isa/x86/encode.h"

#define GDT    0x1000u
#define TSS    0x3000u
#define TASK   0x60u
#define CODE_0 0x20u /* code of ring r at CODE_0 + 16 r, data 8 behind it */
#define STACK0 0x70000u
#define SEEN   0x5au /* what the instruction behind it writes to BL */

/* What a guest could spoil of its host.  GS is what generated code uses. */
struct host {
    uint64_t flags, fs_base;
    uint32_t mxcsr;
    uint16_t control, selector[6];
    sigset_t blocked;
};

static void look_at_host(struct host *ret)
{
    struct host h;

    memset(&h, 0, sizeof h);
    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(h.flags));
    h.flags &= ~(uint64_t)X86_ARITHMETIC;
    __asm__ volatile("mov %%fs:0, %0" : "=r"(h.fs_base));
    __asm__ volatile("stmxcsr %0" : "=m"(h.mxcsr));
    h.mxcsr &= 0xffc0; /* flags of what was computed are nobody's */
    __asm__ volatile("fnstcw %0" : "=m"(h.control));
    __asm__ volatile("mov %%cs, %0" : "=r"(h.selector[0]));
    __asm__ volatile("mov %%ss, %0" : "=r"(h.selector[1]));
    __asm__ volatile("mov %%ds, %0" : "=r"(h.selector[2]));
    __asm__ volatile("mov %%es, %0" : "=r"(h.selector[3]));
    __asm__ volatile("mov %%fs, %0" : "=r"(h.selector[4]));
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &h.blocked), 0);
    *ret = h;
}

/* Segments of all rings; all pages for all. */
static void make_guest(struct machine *m)
{
    bool is_long = m->mode == MACHINE_LONG;
    gpa page;
    unsigned n;

    for (n = 0; n < 4; n++) {
        machine_poke(
            m, GDT + CODE_0 + 16 * n,
            (is_long ? 0x00af9b000000ffff : 0x00cf9b000000ffff) | (uint64_t)n << 45, 8);
        machine_poke(m, GDT + CODE_0 + 8 + 16 * n, 0x00cf93000000ffff | (uint64_t)n << 45,
                     8);
    }
    machine_poke(m, TSS + 4, STACK0, 8);
    if (!is_long) {
        machine_poke(m, TSS + 8, CODE_0 + 8, 4);
    }
    machine_poke(m, TSS + 0x66, 0x68, 2); /* no map of ports */
    for (page = 0; is_long && page < MACHINE_RAM_BYTES; page += 4096) {
        machine_poke(m, machine_entry(page), page + 7, 8);
    }
    for (n = 0; is_long && n < MACHINE_RAM_BYTES >> 21; n++) {
        machine_poke(m, MACHINE_TABLES + 0x2000 + n * 8,
                     MACHINE_TABLES + 0x4000 + n * 0x1000 + 7, 8);
    }
    for (n = 0; is_long && n < 2; n++) {
        machine_poke(m, MACHINE_TABLES + n * 0x1000,
                     MACHINE_TABLES + (n + 1) * 0x1000 + 7, 8);
    }
}

static void registers(const struct machine *m, unsigned ring, struct x86_regs *ret)
{
    struct x86_regs r;
    unsigned n;

    machine_regs(m, &r);
    for (n = 0; n < X86_GPR_COUNT; n++) {
        r.gpr[n] = MACHINE_DATA + 0x100;
    }
    for (n = X86_ES; n <= X86_GS; n++) {
        r.seg[n].selector = (uint16_t)(CODE_0 + 16 * ring + ring + (n == X86_CS ? 0 : 8));
        r.seg[n].attr = (uint16_t)(r.seg[n].attr | ring << X86_ATTR_DPL_SHIFT);
    }
    r.seg[X86_TR] =
        (struct x86_segment){.selector = TASK, .attr = 0x8b, .base = TSS, .limit = 0x67};
    r.gdtr.limit = TASK + 15;
    r.cpl = (uint8_t)ring;
    r.cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXSAVE | X86_CR4_FSGSBASE;
    r.xcr0 = 7;
    *ret = r;
}

static void assert_machine_unchanged(const struct x86_regs *a, const struct x86_regs *b)
{
    assert_int_equal(a->cr0, b->cr0);
    assert_int_equal(a->cr2, b->cr2);
    assert_int_equal(a->cr3, b->cr3);
    assert_int_equal(a->cr4, b->cr4);
    assert_int_equal(a->cr8, b->cr8);
    assert_int_equal(a->xcr0, b->xcr0);
    assert_memory_equal(a->dr, b->dr, sizeof a->dr);
    assert_memory_equal(&a->msr, &b->msr, sizeof a->msr);
    assert_int_equal(a->gdtr.base, b->gdtr.base);
    assert_int_equal(a->gdtr.limit, b->gdtr.limit);
    assert_int_equal(a->idtr.base, b->idtr.base);
    assert_int_equal(a->idtr.limit, b->idtr.limit);
    assert_memory_equal(&a->seg[X86_LDTR], &b->seg[X86_LDTR], 2 * sizeof a->seg[0]);
    assert_memory_equal(&a->fpu, &b->fpu, sizeof a->fpu);
}

static void assert_data_unchanged(struct machine *m)
{
    static const uint8_t zeros[4096];
    uint8_t now[4096];

    assert_int_equal(mem_read(m->mem, MACHINE_DATA, now, sizeof now), 0);
    assert_memory_equal(now, zeros, sizeof now);
}

/* The frame on the monitor's stack (SDM volume 3A, 6.12.1 and 6.14.2). */
static void assert_frame(struct machine *m, const struct x86_regs *before)
{
    unsigned word = m->mode == MACHINE_LONG ? 8 : 4;

    assert_int_equal(machine_peek(m, STACK0 - 5 * word, word), MACHINE_CODE);
    assert_int_equal(machine_peek(m, STACK0 - 4 * word, word) & 0xffff,
                     before->seg[X86_CS].selector);
    assert_int_equal(machine_peek(m, STACK0 - 3 * word, word) & ~(uint64_t)X86_RF,
                     before->rflags);
    assert_int_equal(machine_peek(m, STACK0 - 2 * word, word), before->gpr[X86_RSP]);
    assert_int_equal(machine_peek(m, STACK0 - word, word) & 0xffff,
                     before->seg[X86_SS].selector);
}

static void trap_one(struct machine *m, const uint8_t *bytes, int count, unsigned ring,
                     const char *what)
{
    static const uint8_t behind[] = {0xb3, SEEN, 0xf4}; /* mov bl, SEEN; hlt */
    struct host host_before, host_after;
    struct x86_regs before, after;
    int vector;

    machine_put(m, MACHINE_CODE, bytes, (uint64_t)count);
    machine_put(m, MACHINE_CODE + (gpa)count, behind, sizeof behind);
    registers(m, ring, &before);
    machine_set(m, &before);
    m->exit_count = 0;
    look_at_host(&host_before);
    assert_int_equal(cpu_run(m->cpu[0], 20), 0);
    look_at_host(&host_after);
    machine_get(m, &after);
    vector = machine_vector(m, &after);
    if ((vector != X86_GP && vector != X86_UD) || m->exit_count != 1) {
        fail_msg("%s at ring %u: vector %d, %u exits", what, ring, vector, m->exit_count);
    }
    assert_int_equal(after.cpl, 0);
    assert_frame(m, &before);
    assert_machine_unchanged(&before, &after);
    assert_data_unchanged(m);
    assert_memory_equal(&host_before, &host_after, sizeof host_before);
    /* The monitor has done what the guest asked for, and lets it go on. */
    before.gpr[X86_RIP] += (uint64_t)count;
    machine_set(m, &before);
    assert_int_equal(cpu_run(m->cpu[0], 1), 0);
    machine_get(m, &after);
    assert_int_equal(after.gpr[X86_RBX] & 0xff, SEEN);
    assert_int_equal(after.cpl, ring);
}

static unsigned trap_all(struct machine *m, unsigned mode, unsigned ring)
{
    unsigned row, k, seen = 0;

    for (row = X86_INVALID + 1; row < X86_ROW_COUNT; row++) {
        struct x86_cell cells[X86_CELLS_MAX];
        unsigned n = x86_cells((enum x86_row)row, cells);

        for (k = 0; k < n && x86_rows[row].privilege != X86_USER; k++) {
            uint8_t bytes[X86_INSN_BYTES_MAX];
            struct x86_form form;
            int count;

            x86_form_of_cell(&form, &cells[k]);
            count = x86_encode((enum x86_row)row, &form, bytes);
            if (cells[k].mode == mode && count > 0) {
                trap_one(m, bytes, count, ring, x86_rows[row].id);
                seen++;
            }
        }
    }
    return seen;
}

static void what_is_privileged_traps_and_the_guest_goes_on(void **state)
{
    static const struct {
        enum machine_mode mode;
        unsigned code, ring;
    } places[] = {{MACHINE_LONG, X86_CODE64, 3},
                  {MACHINE_FLAT32, X86_CODE32, 1},
                  {MACHINE_FLAT32, X86_CODE32, 3}};
    struct machine m;
    unsigned engine, n;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        for (n = 0; n < sizeof places / sizeof *places; n++) {
            unsigned forms;

            if (!engines_init(&m, places[n].mode, (enum engine)engine)) {
                return;
            }
            make_guest(&m);
            forms = trap_all(&m, places[n].code, places[n].ring);
            print_message("%s, ring %u, %u bits: %u forms\n", m.cpu[0]->ops->name,
                          places[n].ring, 16u << places[n].code, forms);
            assert_true(forms > 50);
            machine_fini(&m);
        }
    }
}

struct leaver {
    const char *text; /* of the instruction */
    uint8_t bytes[4], count;
    enum cpu_exit_kind kind;
    uint64_t address;
    uint64_t value; /* of what goes out */
    uint8_t width;
    bool stops; /* ends `cpu_run`, in the machine of these tests */
};

#define A ((MACHINE_DATA + 0x100u) & 0xff)

static const struct leaver leavers[] = {
    {"in al, 16", {0xe4, 0x10}, 2, CPU_EXIT_IN, 0x10, 0, 1, false},
    {"in ax, dx", {0x66, 0xed}, 2, CPU_EXIT_IN, 0x100, 0, 2, false},
    {"in eax, dx", {0xed}, 1, CPU_EXIT_IN, 0x100, 0, 4, false},
    {"insb", {0x6c}, 1, CPU_EXIT_IN, 0x100, 0, 1, false},
    {"out 16, al", {0xe6, 0x10}, 2, CPU_EXIT_OUT, 0x10, A, 1, true},
    {"out dx, ax", {0x66, 0xef}, 2, CPU_EXIT_OUT, 0x100, 0x100, 2, true},
    {"out dx, eax", {0xef}, 1, CPU_EXIT_OUT, 0x100, MACHINE_DATA + 0x100, 4, true},
    {"outsb", {0x6e}, 1, CPU_EXIT_OUT, 0x100, 0x5a, 1, true}, /* what INSB stored */
    {"hlt", {0xf4}, 1, CPU_EXIT_HALT, 0, 0, 0, true},
    {"rdmsr", {0x0f, 0x32}, 2, CPU_EXIT_MSR_READ, MACHINE_DATA + 0x100, 0, 8, true},
    {"wrmsr",
     {0x0f, 0x30},
     2,
     CPU_EXIT_MSR_WRITE,
     MACHINE_DATA + 0x100,
     (uint64_t)(MACHINE_DATA + 0x100) << 32 | (MACHINE_DATA + 0x100),
     8,
     true},
    {"vmcall", {0x0f, 0x01, 0xc1}, 3, CPU_EXIT_HYPERCALL, 0, 0, 0, true},
};

/* At level 0, warm or not: the exit, then the instruction behind it. */
static void leave_one(struct machine *m, const struct leaver *l)
{
    static const uint8_t behind[] = {0xb3, SEEN, 0xf4};
    struct host host_before, host_after;
    struct x86_regs before, after;
    const struct cpu_exit *x;

    machine_put(m, MACHINE_CODE, l->bytes, l->count);
    machine_put(m, MACHINE_CODE + l->count, behind, sizeof behind);
    registers(m, 0, &before);
    before.gpr[X86_RDX] = l->kind == CPU_EXIT_MSR_WRITE ? MACHINE_DATA + 0x100 : 0x100;
    machine_set(m, &before);
    m->exit_count = 0;
    look_at_host(&host_before);
    assert_int_equal(cpu_run(m->cpu[0], l->stops ? 20 : 1), 0);
    look_at_host(&host_after);
    machine_get(m, &after);
    x = &m->exits[0];
    if (m->exit_count < 1 || x->kind != l->kind ||
        after.gpr[X86_RIP] != MACHINE_CODE + l->count) {
        fail_msg("%s: %u exits, kind %d, rip %llx", l->text, m->exit_count, x->kind,
                 (unsigned long long)after.gpr[X86_RIP]);
    }
    if (l->width != 0) {
        assert_int_equal(x->address, l->address);
        assert_int_equal(x->bytes, l->width);
    }
    if (l->kind == CPU_EXIT_OUT || l->kind == CPU_EXIT_MSR_WRITE) {
        assert_int_equal(x->value, l->value);
    }
    assert_machine_unchanged(&before, &after);
    assert_memory_equal(&host_before, &host_after, sizeof host_before);
    after.halted = false;
    machine_set(m, &after);
    assert_int_equal(cpu_run(m->cpu[0], 1), 0);
    machine_get(m, &after);
    assert_int_equal(after.gpr[X86_RBX] & 0xff, SEEN);
}

static void what_concerns_the_outside_leaves_and_goes_on_behind_it(void **state)
{
    struct machine m;
    unsigned engine, n;

    (void)state;
    for (engine = 0; engine < ENGINES; engine++) {
        if (!engines_init(&m, MACHINE_LONG, (enum engine)engine)) {
            return;
        }
        make_guest(&m);
        for (n = 0; n < sizeof leavers / sizeof *leavers; n++) {
            leave_one(&m, &leavers[n]);
        }
        machine_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_privileged_traps_and_the_guest_goes_on),
        cmocka_unit_test(what_concerns_the_outside_leaves_and_goes_on_behind_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
