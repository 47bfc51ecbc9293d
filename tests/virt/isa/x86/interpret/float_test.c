/* float_test.c - a run of floating-point instructions under the guest's control words:
 * they are the guest's alone, and its flags are right wherever somebody looks.
 * rows: ISA-02 CON-09 */
#include <string.h>
#include <xmmintrin.h>

#include "machine.h"
#include "tests/base/check.h"
#include "virt/isa/x86/cpu.h"

#define PAGE_DEVICE  0x300000u /* of the address space; no RAM behind it */
#define PAGE_MISSING 0x301000u
#define DEVICE       0xfee00000u
#define MXCSR_UP     0x5f80u
#define CW_DOWN      0x077fu
#define FLAG_PE      0x20u

/* What the code's operands are, from MACHINE_DATA on. */
struct operands {
    uint32_t mxcsr;
    uint16_t cw, unused;
    double one, three;
};

struct watch {
    struct machine m;
    unsigned looks;
    uint32_t host_csr;
    uint16_t host_cw;
};

static void look_at_host(struct watch *w)
{
    uint16_t cw;

    __asm__ volatile("fnstcw %0" : "=m"(cw));
    w->host_csr |= (_mm_getcsr() & ~0x3fu) ^ 0x1f80u;
    w->host_cw |= cw ^ 0x037f;
    w->looks++;
}

/* Of each exit: what the host computes with, and what the guest's state says. */
static int see_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct watch *w = who;
    struct x86_regs r;

    look_at_host(w);
    if (x->kind == CPU_EXIT_HALT) {
        return 1;
    }
    cpu_get(c, &r);
    assert_int_equal(r.fpu.mxcsr, MXCSR_UP | FLAG_PE);
    assert_int_equal(r.fpu.fsw & 0x3f, FLAG_PE);
    x->value = 0;
    return 0;
}

static uint64_t clock_of(void *who)
{
    look_at_host(who);
    return 7;
}

static void device_read(void *who, uint64_t offset, unsigned bytes, uint64_t *ret)
{
    (void)offset;
    (void)bytes;
    look_at_host(who);
    *ret = 0;
}

static void start(struct watch *w, struct x86_regs *r)
{
    static const struct operands o = {MXCSR_UP, CW_DOWN, 0, 1.0, 3.0};

    memset(w, 0, sizeof *w);
    machine_init(&w->m, MACHINE_LONG, "v3");
    w->m.env.exit = see_exit;
    w->m.env.clock = clock_of;
    w->m.env.who = w;
    machine_poke(&w->m, machine_entry(PAGE_DEVICE), DEVICE + 3, 8);
    machine_poke(&w->m, machine_entry(PAGE_MISSING), 0, 8);
    machine_put(&w->m, MACHINE_DATA, &o, sizeof o);
    machine_regs(&w->m, r);
    r->cr0 |= X86_CR0_NE | X86_CR0_MP;
    r->cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
    r->fpu.fcw = 0x37f;
    r->fpu.ftw = 0;
    r->fpu.mxcsr = 0x1f80;
    r->gpr[X86_RDI] = MACHINE_DATA;
}

#define THIRD(xmm)                                                                       \
    "movsd 8(%rdi), %" xmm "\ndivsd 16(%rdi), %" xmm "\nfld1\nfdivl 16(%rdi)\n"

CODE(leaves, ".code64",
     "ldmxcsr (%rdi)\nfldcw 4(%rdi)\n" THIRD("xmm0") "mov (%rsi), %eax\n" THIRD(
         "xmm1") "out %al, $0x80\n" THIRD("xmm2") "rdtsc\n" THIRD("xmm3") "hlt\n")

static void check_leaves(struct watch *w, unsigned looks)
{
    struct x86_regs r;

    start(w, &r);
    r.gpr[X86_RSI] = PAGE_DEVICE;
    machine_run(&w->m, leaves, leaves_end, &r, &r);
    look_at_host(w);
    assert_int_equal(w->looks, looks);
    assert_int_equal(w->host_csr, 0);
    assert_int_equal(w->host_cw, 0);
    for (unsigned n = 0; n < 4; n++) {
        uint64_t v;

        memcpy(&v, r.fpu.ymm[n].byte, 8);
        assert_int_equal(v, 0x3fd5555555555556); /* up; to nearest ...55 */
        memcpy(&v, r.fpu.st[7 - n], 8);
        assert_int_equal(v, 0xaaaaaaaaaaaaaaaa); /* down; to nearest ...ab */
    }
    machine_fini(&w->m);
}

/* By exits for memory without a device, ports, the clock, and the end of the run. */
static void others_compute_under_their_own_rounding(void **state)
{
    struct watch w;

    (void)state;
    check_leaves(&w, 5);
}

CODE(through_device, ".code64",
     "ldmxcsr (%rdi)\nfldcw 4(%rdi)\n" THIRD("xmm0") "movups (%rsi), %xmm4\nhlt\n")

static void devices_compute_under_their_own_rounding(void **state)
{
    static const struct mem_io ops = {.read = device_read};
    struct watch w;
    struct x86_regs r;

    (void)state;
    start(&w, &r);
    assert_int_equal(mem_add_io(w.m.mem, DEVICE, 4096, &ops, &w, NULL), 0);
    r.gpr[X86_RSI] = PAGE_DEVICE;
    machine_run(&w.m, through_device, through_device_end, &r, &r);
    assert_int_equal(w.looks, 3);
    assert_int_equal(w.host_csr, 0);
    assert_int_equal(w.host_cw, 0);
    machine_fini(&w.m);
}

CODE(task_switched, ".code64",
     "ldmxcsr (%rdi)\nfldcw 4(%rdi)\n" THIRD("xmm0") "mov %cr0, %rax\nor $8, %rax\n"
                                                     "mov %rax, %cr0\n"
                                                     "divsd 16(%rdi), %xmm0\nhlt\n")
CODE(task_switched_x87, ".code64",
     "ldmxcsr (%rdi)\nfldcw 4(%rdi)\n" THIRD("xmm0") "mov %cr0, %rax\nor $8, %rax\n"
                                                     "mov %rax, %cr0\nfld1\nhlt\n")
CODE(no_sse, ".code64",
     "ldmxcsr (%rdi)\nfldcw 4(%rdi)\n" THIRD("xmm0") "mov %cr4, %rax\nand $~0x200, %rax\n"
                                                     "mov %rax, %cr4\n"
                                                     "divsd 16(%rdi), %xmm0\nhlt\n")

static void control_registers_are_looked_at_again(void **state)
{
    static const struct {
        const uint8_t *from, *to;
        int vector;
    } cases[] = {{task_switched, task_switched_end, X86_NM},
                 {task_switched_x87, task_switched_x87_end, X86_NM},
                 {no_sse, no_sse_end, X86_UD}};

    (void)state;
    for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct watch w;
        struct x86_regs r;

        start(&w, &r);
        machine_run(&w.m, cases[n].from, cases[n].to, &r, &r);
        assert_int_equal(machine_vector(&w.m, &r), cases[n].vector);
        assert_int_equal(r.fpu.mxcsr, MXCSR_UP | FLAG_PE);
        machine_fini(&w.m);
    }
}

/* The inexact store faults, and left no flag; what was completed before it did. */
CODE(store_faults, ".code64", "fldpi\nfchs\nfstpl (%rsi)\nhlt\n")
CODE(flags_seen, ".code64",
     "movsd 8(%rdi), %xmm0\ndivsd 16(%rdi), %xmm0\nstmxcsr 32(%rdi)\n"
     "fldl 8(%rdi)\nfdivl 16(%rdi)\nfnstsw 36(%rdi)\nfnclex\n"
     "fld1\nfld1\nfaddp\nfnstsw 38(%rdi)\nhlt\n")

static void flags_are_of_what_was_completed(void **state)
{
    struct watch w;
    struct x86_regs r;

    (void)state;
    start(&w, &r);
    r.gpr[X86_RSI] = PAGE_MISSING;
    machine_run(&w.m, store_faults, store_faults_end, &r, &r);
    assert_int_equal(machine_vector(&w.m, &r), X86_PF);
    assert_int_equal(r.fpu.fsw & 0x3f, 0);
    assert_int_equal(r.fpu.ftw, 0x80);
    machine_fini(&w.m);

    start(&w, &r);
    machine_run(&w.m, flags_seen, flags_seen_end, &r, &r);
    assert_int_equal(machine_peek(&w.m, MACHINE_DATA + 32, 4), 0x1f80 | FLAG_PE);
    assert_int_equal(machine_peek(&w.m, MACHINE_DATA + 36, 2) & 0x3f, FLAG_PE);
    assert_int_equal(machine_peek(&w.m, MACHINE_DATA + 38, 2) & 0x3f, 0);
    machine_fini(&w.m);
}

CODE(multiply, ".code64", "mulsd %xmm1, %xmm0\nhlt\n")
CODE(multiply_two, ".code64", "mulpd %xmm1, %xmm0\nhlt\n")

/* An unmasked overflow or underflow: PE is of the result with an exponent of any size. */
static void what_is_kept_back_is_inexact_or_not(void **state)
{
    static const struct {
        const uint8_t *from, *to;
        uint64_t a[2], b[2];
        uint32_t flags;
    } cases[] = {
        {multiply, multiply_end, {0x7fefffffffffffff}, {0x4000000000000000}, 0x08},
        {multiply, multiply_end, {0x7fefffffffffffff}, {0x4008000000000000}, 0x28},
        {multiply, multiply_end, {0x0010000000000001}, {0x3fe0000000000000}, 0x10},
        {multiply, multiply_end, {0x0010000000000001}, {0x3fd5555555555555}, 0x30},
        {multiply_two,
         multiply_two_end,
         {0x7fefffffffffffff, 0x3fd5555555555555},
         {0x4000000000000000, 0x3fd5555555555555},
         0x28},
        {multiply_two,
         multiply_two_end,
         {0x7fefffffffffffff, 0x0010000000000001},
         {0x4000000000000000, 0x3fe0000000000000},
         0x18},
    };

    (void)state;
    for (unsigned n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct watch w;
        struct x86_regs r;

        start(&w, &r);
        r.fpu.mxcsr = 0x1380; /* overflow and underflow are not masked */
        memcpy(r.fpu.ymm[0].byte, cases[n].a, 16);
        memcpy(r.fpu.ymm[1].byte, cases[n].b, 16);
        machine_run(&w.m, cases[n].from, cases[n].to, &r, &r);
        assert_int_equal(machine_vector(&w.m, &r), X86_XM);
        assert_int_equal(r.fpu.mxcsr, 0x1380 | cases[n].flags);
        machine_fini(&w.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_compute_under_their_own_rounding),
        cmocka_unit_test(devices_compute_under_their_own_rounding),
        cmocka_unit_test(control_registers_are_looked_at_again),
        cmocka_unit_test(flags_are_of_what_was_completed),
        cmocka_unit_test(what_is_kept_back_is_inexact_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
