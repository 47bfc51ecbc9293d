/* fpu_test.c - x87 and MMX state is where who looks for it expects it, whatever comes
 * between: the translator beside the interpreter, on the same code.
 * rows: ISA-02 ISA-03 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "tests/base/check.h"
#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define UNMAPPED 0x7ff000u
#define DATA(n)  (MACHINE_DATA + (n))
#define SLICE    20001

struct pair {
    struct machine m[2]; /* interpreter, translator */
};

static void begin(struct pair *p, enum machine_mode mode)
{
    const struct translate_options eager = {.warm = 1, .tiers = TRANSLATE_OPTIMISES};

    for (unsigned n = 0; n < 2; n++) {
        machine_init(&p->m[n], mode, "host-like");
        if (mode == MACHINE_LONG) {
            machine_poke(&p->m[n], machine_entry(UNMAPPED), 0, 8);
        }
    }
    for (unsigned n = 0; n < MACHINE_CPUS; n++) {
        struct translate_options o = eager;

        o.index = n;
        cpu_destroy(p->m[1].cpu[n]);
        assert_int_equal(translate_create(p->m[1].mem, x86_model_find("host-like"),
                                          &p->m[1].env, &o, &p->m[1].cpu[n], NULL),
                         0);
    }
}

static void end(struct pair *p)
{
    machine_fini(&p->m[0]);
    machine_fini(&p->m[1]);
}

static void start_regs(struct machine *m, struct x86_regs *ret_regs)
{
    machine_regs(m, ret_regs);
    ret_regs->cr4 |= X86_CR4_OSFXSR;
    ret_regs->cr0 =
        (ret_regs->cr0 & ~(uint64_t)(X86_CR0_EM | X86_CR0_TS)) | X86_CR0_NE | X86_CR0_MP;
}

static void load(struct machine *m, const uint8_t *from, const uint8_t *to)
{
    struct x86_regs r;

    machine_put(m, MACHINE_CODE, from, (uint64_t)(to - from));
    start_regs(m, &r);
    machine_set(m, &r);
}

/* The host's x87 unit is as C code expects it: empty, with the ABI's control word. */
static void check_host(void)
{
    uint8_t image[28];
    uint16_t cw, tags;

    __asm__ volatile("fnstenv %0\n\tfldenv %0" : "+m"(image) : : "memory");
    memcpy(&cw, image, 2);
    memcpy(&tags, image + 8, 2);
    assert_int_equal(cw, 0x37f);
    assert_int_equal(tags, 0xffff);
}

static void check_same(struct pair *p)
{
    struct x86_regs a, b;
    uint8_t x[4096], y[4096];

    machine_get(&p->m[0], &a);
    machine_get(&p->m[1], &b);
    assert_memory_equal(a.gpr, b.gpr, sizeof a.gpr);
    assert_int_equal(a.rflags, b.rflags);
    assert_int_equal(a.fpu.fcw, b.fpu.fcw);
    assert_int_equal(a.fpu.fsw, b.fpu.fsw);
    assert_int_equal(a.fpu.ftw, b.fpu.ftw);
    assert_int_equal(a.fpu.fop, b.fpu.fop);
    assert_int_equal(a.fpu.fip, b.fpu.fip);
    assert_int_equal(a.fpu.fdp, b.fpu.fdp);
    for (unsigned n = 0; n < 8; n++) {
        assert_memory_equal(a.fpu.st[n], b.fpu.st[n], 10);
    }
    assert_int_equal(mem_read(p->m[0].mem, DATA(0), x, sizeof x), 0);
    assert_int_equal(mem_read(p->m[1].mem, DATA(0), y, sizeof y), 0);
    assert_memory_equal(x, y, sizeof x);
    check_host();
}

/* The same code to its end on both; the vector that ended it, or -1. */
static int run_both(struct pair *p, const uint8_t *from, const uint8_t *to)
{
    struct x86_regs r;

    for (unsigned n = 0; n < 2; n++) {
        load(&p->m[n], from, to);
        assert_int_equal(cpu_run(p->m[n].cpu[0], UINT64_MAX), 0);
    }
    check_same(p);
    machine_get(&p->m[1], &r);
    assert_true(r.halted);
    return machine_vector(&p->m[1], &r);
}

/* x87, MMX, whole images, x87 again; 40 times. */
CODE(interplay, ".code64",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "mov $40, %ecx\n"
     "1: fldpi\n"
     "fld1\n"
     "fadd %st, %st(1)\n"
     "fxsave 512(%rdi)\n"
     "fstpl 8(%rdi)\n"
     "fcomip %st(0), %st\n"
     "jp 2f\n"
     "fldl2e\n"
     "fnstenv 1536(%rdi)\n"
     "fldcw 1536(%rdi)\n"
     "2: movq 8(%rdi), %mm3\n"
     "paddd %mm3, %mm4\n"
     "movq %mm4, 16(%rdi)\n"
     "fxsave 1024(%rdi)\n"
     "emms\n"
     "fildl 16(%rdi)\n"
     "fistpll 24(%rdi)\n"
     "fxrstor 1024(%rdi)\n"
     "movd %mm4, %eax\n"
     "emms\n"
     "fnsave 2048(%rdi)\n"
     "fldz\n"
     "fnstsw %ax\n"
     "fcmovb %st(1), %st\n"
     "frstor 2048(%rdi)\n"
     "dec %ecx\n"
     "jne 1b\n"
     "fld1\n"
     "hlt\n")

static void x87_and_mmx_and_images_share_one_state(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    assert_int_equal(run_both(&p, interplay, interplay_end), -1);
    end(&p);
}

/* Faults at the third instruction of the last round, in the middle of x87 code. */
CODE(faulting, ".code64",
     "fninit\n"
     "mov $0x7ff000 - 8 * 20, %edi\n"
     "1: fld1\n"
     "fldpi\n"
     "fmull (%rdi)\n"
     "faddp\n"
     "ffree %st(3)\n"
     "add $8, %rdi\n"
     "jmp 1b\n")
CODE(storing, ".code64",
     "fninit\n"
     "mov $0x7ff000 - 10 * 20, %edi\n"
     "1: fldpi\n"
     "fld %st(0)\n"
     "fstpt (%rdi)\n"
     "add $10, %rdi\n"
     "jmp 1b\n")

CODE(loading, ".code64",
     "fninit\n"
     "mov $0x7ff000 - 8 * 20, %edi\n"
     "1: fld1\n"
     "movd %edi, %mm6\n"
     "mov (%rdi), %rax\n"
     "emms\n"
     "add $8, %rdi\n"
     "jmp 1b\n")

static void a_fault_finds_the_state_in_front_of_it(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    assert_int_equal(run_both(&p, faulting, faulting_end), X86_PF);
    assert_int_equal(run_both(&p, storing, storing_end), X86_PF);
    assert_int_equal(run_both(&p, loading, loading_end), X86_PF);
    end(&p);
}

/* Each round changes the loop's own page, and reads and writes a port. */
CODE(rewriting, ".code64",
     "fninit\n"
     "mov $30, %ecx\n"
     "1: fld1\n"
     "fldpi\n"
     "incb 2f+1(%rip)\n"
     "2: mov $0, %al\n"
     "fmulp\n"
     "in $0x70, %al\n"
     "movd %ecx, %mm5\n"
     "cpuid\n"
     "mov 2b+1(%rip), %cl\n"
     "neg %cl\n"
     "and $31, %ecx\n"
     "emms\n"
     "fld1\n"
     "fincstp\n"
     "test %ecx, %ecx\n"
     "jne 1b\n"
     "hlt\n")

static void the_interpreter_takes_over_in_the_middle(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    assert_int_equal(run_both(&p, rewriting, rewriting_end), -1);
    end(&p);
}

/* Every end of a run shows the same, and what was set in between counts. */
static void every_run_ends_with_the_state_in_the_struct(void **state)
{
    struct pair p;
    struct x86_regs r;

    (void)state;
    begin(&p, MACHINE_LONG);
    load(&p.m[0], interplay, interplay_end);
    load(&p.m[1], interplay, interplay_end);
    for (unsigned i = 0;; i++) {
        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(cpu_run(p.m[n].cpu[0], 1 + i % 37), 0);
            machine_get(&p.m[n], &r);
            if (!r.halted) {
                r.fpu.fcw ^= 0x0c00; /* rounding */
                machine_set(&p.m[n], &r);
            }
        }
        check_same(&p);
        if (r.halted) {
            break;
        }
    }
    end(&p);
}

/* With an exception unmasked, and one that waits. */
CODE(unmasked, ".code64",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "movl $0x37f, (%rdi)\n"
     "movl $0x37b, 4(%rdi)\n"
     "mov $20, %ecx\n"
     "1: fldcw (%rdi)\n"
     "fld1\n"
     "fldz\n"
     "fdivrp\n"
     "fstps 8(%rdi)\n"
     "fnclex\n"
     "fldpi\n"
     "fldcw 4(%rdi)\n"
     "fadd %st, %st\n"
     "fstpl 16(%rdi)\n"
     "dec %ecx\n"
     "jne 1b\n"
     "fld1\n"
     "fldz\n"
     "fdivrp\n"
     "fnstsw %ax\n"
     "paddd %mm0, %mm0\n"
     "hlt\n")
/* FLDCW unmasks in the last round of a loop that has run with all masked. */
CODE(unmasked_late, ".code64",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "mov $20, %ecx\n"
     "mov $0x37f, %eax\n"
     "mov $0x37b, %edx\n"
     "1: cmp $1, %ecx\n"
     "cmove %edx, %eax\n"
     "mov %eax, (%rdi)\n"
     "fldpi\n"
     "fldcw (%rdi)\n"
     "fadd %st, %st\n"
     "fstpl 16(%rdi)\n"
     "dec %ecx\n"
     "jne 1b\n"
     "fld1\n"
     "fldz\n"
     "fdivrp\n"
     "fwait\n"
     "hlt\n")
/* FLDCW unmasks what has happened: the next one that waits faults. */
CODE(unmasking, ".code64",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "movl $0x37b, 4(%rdi)\n"
     "fld1\n"
     "fldz\n"
     "fdivrp\n"
     "fldcw 4(%rdi)\n"
     "fnstsw %ax\n"
     "fwait\n"
     "hlt\n")

static void unmasked_exceptions_fault_where_they_should(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(run_both(&p, unmasked, unmasked_end), X86_MF);
        assert_int_equal(run_both(&p, unmasked_late, unmasked_late_end), X86_MF);
        assert_int_equal(run_both(&p, unmasking, unmasking_end), X86_MF);
    }
    end(&p);
}

/* CR0 changes between x87 instructions of one loop: bits to set are in the data. */
CODE(switching, ".code64",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "mov $20, %ecx\n"
     "1: fld1\n"
     "fchs\n"
     "mov %cr0, %rax\n"
     "cmp $1, %ecx\n"
     "jne 2f\n"
     "or (%rdi), %rax\n"
     "2: mov %rax, %cr0\n"
     "fwait\n"
     "testb $1, 8(%rdi)\n"
     "jz 3f\n"
     "movd %ecx, %mm1\n"
     "3: fabs\n"
     "dec %ecx\n"
     "jne 1b\n"
     "hlt\n")

static void cr0_counts_from_the_next_instruction_on(void **state)
{
    static const struct {
        uint32_t bits;
        uint8_t mmx;
        int vector;
    } cases[] = {{0, 0, -1},
                 {X86_CR0_TS, 0, X86_NM},
                 {X86_CR0_EM, 0, X86_NM},
                 {X86_CR0_EM, 1, X86_UD},
                 {X86_CR0_TS, 1, X86_NM}};
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (unsigned n = 0; n < 2; n++) {
            machine_poke(&p.m[n], DATA(0), cases[i].bits, 4);
            machine_poke(&p.m[n], DATA(8), cases[i].mmx, 1);
        }
        assert_int_equal(run_both(&p, switching, switching_end), cases[i].vector);
    }
    end(&p);
}

CODE(legacy, ".code32",
     "fninit\n"
     "mov $0x100000, %edi\n"
     "mov $50, %ecx\n"
     "1: fildl 4(%edi)\n"
     "fldln2\n"
     "faddp\n"
     "fistl 4(%edi)\n"
     "fucomi %st(0), %st\n"
     "fcmovnu %st(1), %st\n"
     "fnstenv 64(%edi)\n"
     "fldcw 64(%edi)\n"
     "pinsrw $1, 4(%edi), %mm2\n"
     "pmovmskb %mm2, %eax\n"
     "emms\n"
     "incl 4(%edi)\n"
     "loop 1b\n"
     "hlt\n")

static void code_of_32_bits_has_the_same(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, MACHINE_FLAT32);
    assert_int_equal(run_both(&p, legacy, legacy_end), -1);
    end(&p);
}

/* Counts in RAX and in ST0, for ever. */
CODE(counting, ".code64",
     "fninit\n"
     "fldz\n"
     "sti\n"
     "1: inc %rax\n"
     "fld1\n"
     "faddp\n"
     "jmp 1b\n")

static double top_of(const struct x86_regs *r)
{
    long double v = 0;

    memcpy(&v, r->fpu.st[r->fpu.fsw >> 11 & 7], 10);
    return (double)v;
}

static void *interrupt(void *of)
{
    struct timespec pause = {.tv_nsec = 2000000};
    struct machine *m = of;

    nanosleep(&pause, NULL);
    m->pending = 33;
    cpu_kick(m->cpu[0], CPU_KICK_INTERRUPT);
    return NULL;
}

static void interrupts_find_the_state(void **state)
{
    unsigned translated = 0;
    struct pair p;

    (void)state;
    begin(&p, MACHINE_LONG);
    for (unsigned i = 0; i < 20; i++) {
        struct x86_regs r;
        pthread_t thread;
        uint64_t rip;
        double behind;

        load(&p.m[1], counting, counting_end);
        assert_int_equal(pthread_create(&thread, NULL, interrupt, &p.m[1]), 0);
        assert_int_equal(cpu_run(p.m[1].cpu[0], UINT64_MAX), 0);
        pthread_join(thread, NULL);
        machine_get(&p.m[1], &r);
        assert_int_equal(machine_vector(&p.m[1], &r), 33);
        rip = machine_peek(&p.m[1], r.gpr[X86_RSP], 8);
        behind = (double)r.gpr[X86_RAX] - top_of(&r);
        translated += r.gpr[X86_RAX] > 1000;
        assert_true(rip == MACHINE_CODE + 5 ? behind == 0 : behind >= 0 && behind <= 1);
        check_host();
    }
    assert_true(translated > 0);
    end(&p);
}

struct worker {
    struct machine *m;
    unsigned cpu;
    uint64_t start; /* of RAX and ST0's difference */
};

static void *slice(void *of)
{
    struct worker *w = of;

    assert_int_equal(cpu_run(w->m->cpu[w->cpu], SLICE), 0);
    check_host();
    return NULL;
}

/* Two processors, each slice on a new thread, both at the same time. */
static void threads_may_take_turns(void **state)
{
    struct pair p;
    struct worker w[2];
    struct x86_regs r;

    (void)state;
    begin(&p, MACHINE_LONG);
    load(&p.m[1], counting, counting_end);
    for (unsigned n = 0; n < 2; n++) {
        struct err e = {0};

        w[n] = (struct worker){.m = &p.m[1], .cpu = n, .start = 1000 * n};
        start_regs(&p.m[1], &r);
        r.gpr[X86_RAX] = w[n].start;
        r.gpr[X86_RSP] -= 4096 * n;
        assert_int_equal(cpu_set(p.m[1].cpu[n], &r, &e), 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        pthread_t thread[2];

        for (unsigned n = 0; n < 2; n++) {
            assert_int_equal(pthread_create(&thread[n], NULL, slice, &w[n]), 0);
        }
        for (unsigned n = 0; n < 2; n++) {
            pthread_join(thread[n], NULL);
            cpu_get(p.m[1].cpu[n], &r);
            assert_int_equal(r.fpu.fcw, 0x37f);
        }
    }
    for (unsigned n = 0; n < 2; n++) { /* inc, fld1, faddp, jmp */
        uint64_t done = 20 * SLICE - 3;

        cpu_get(p.m[1].cpu[n], &r);
        assert_int_equal(done % 4, 1);
        assert_int_equal(r.gpr[X86_RAX], w[n].start + done / 4 + 1);
        assert_true(top_of(&r) == (double)(done / 4));
    }
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x87_and_mmx_and_images_share_one_state),
        cmocka_unit_test(a_fault_finds_the_state_in_front_of_it),
        cmocka_unit_test(the_interpreter_takes_over_in_the_middle),
        cmocka_unit_test(every_run_ends_with_the_state_in_the_struct),
        cmocka_unit_test(unmasked_exceptions_fault_where_they_should),
        cmocka_unit_test(cr0_counts_from_the_next_instruction_on),
        cmocka_unit_test(code_of_32_bits_has_the_same),
        cmocka_unit_test(interrupts_find_the_state),
        cmocka_unit_test(threads_may_take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
