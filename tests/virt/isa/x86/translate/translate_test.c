/* translate_test.c - control flow of the translator: calls and returns that do and do
 * not pair, branches to nowhere, address spaces, privilege, code that is written to, a
 * full code memory, budgets of every size.  The truth is the interpreter's.
 * rows: ISA-03 ISA-05 ISA-06 ISA-08 HYP-21 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tests/base/check.h"
#include "tests/base/vendor.h"
#include "tests/virt/isa/x86/interpret/machine.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define MODEL "host-like"
#define GDT   0x1000u /* of machine.c */
#define TSS   0x3000u
#define PAGES MACHINE_TABLES
#define FN    0x40000u /* a page of a function */
#define LIMIT 50000000u

struct job {
    const uint8_t *from, *to;
    void (*prepare)(struct machine *m, struct x86_regs *r); /* NULL: nothing */
    size_t code_bytes;
    uint64_t budget;   /* of one run; 0: no end */
    unsigned warm;     /* 0: 1 */
    unsigned hot;      /* rounds until quick code is made better; 0: all is, at once */
    bool is_quick;     /* none ever is */
    const char *model; /* NULL: MODEL */
    bool is_32;        /* protected mode, not long mode */
};

static const char *model_of(const struct job *j)
{
    return j->model != NULL ? j->model : MODEL;
}

/* The processors become translators, which find all code warm at once. */
static bool use_translator(struct machine *m, const struct job *j)
{
    unsigned n;

    for (n = 0; n < MACHINE_CPUS; n++) {
        const struct translate_options o = {.index = n,
                                            .warm = j->warm != 0 ? j->warm : 1,
                                            .code_bytes = j->code_bytes,
                                            .tiers = j->is_quick  ? TRANSLATE_QUICK
                                                     : j->hot > 0 ? TRANSLATE_ADAPTS
                                                                  : TRANSLATE_OPTIMISES,
                                            .hot = j->hot};
        struct cpu *c = NULL;
        int r =
            translate_create(m->mem, x86_model_find(model_of(j)), &m->env, &o, &c, NULL);

        if (r == -ENOTSUP) {
            return false;
        }
        assert_int_equal(r, 0);
        cpu_destroy(m->cpu[n]);
        m->cpu[n] = c;
    }
    return true;
}

struct outcome {
    struct x86_regs r;
    struct cpu_counters c;
    uint64_t runs;
    uint64_t done; /* instructions, by the interpreter's count */
};

static void run(struct machine *m, const struct job *j, struct outcome *ret)
{
    struct x86_regs r;
    struct outcome o = {.runs = 0};

    machine_put(m, MACHINE_CODE, j->from, (uint64_t)(j->to - j->from));
    machine_regs(m, &r);
    if (j->prepare != NULL) {
        j->prepare(m, &r);
    }
    machine_set(m, &r);
    do {
        assert_int_equal(cpu_run(m->cpu[0], j->budget != 0 ? j->budget : UINT64_MAX), 0);
        machine_get(m, &o.r);
        assert_true(++o.runs < LIMIT);
    } while (!o.r.halted && m->seen[CPU_EXIT_SHUTDOWN] == 0);
    cpu_count(m->cpu[0], &o.c);
    *ret = o;
}

/* On both engines; they must agree.  Returns false where there is no translator. */
static bool run_both(const struct job *j, struct outcome *ret)
{
    struct outcome o[2];
    struct machine m;
    unsigned engine;

    for (engine = 0; engine < 2; engine++) {
        machine_init(&m, j->is_32 ? MACHINE_FLAT32 : MACHINE_LONG, model_of(j));
        if (engine == 1 && !use_translator(&m, j)) {
            machine_fini(&m);
            return false;
        }
        run(&m, j, &o[engine]);
        machine_fini(&m);
    }
    assert_memory_equal(o[0].r.gpr, o[1].r.gpr, sizeof o[0].r.gpr);
    assert_int_equal(o[0].r.rflags, o[1].r.rflags);
    assert_int_equal(o[0].r.cr2, o[1].r.cr2);
    assert_int_equal(o[0].runs, o[1].runs);
    *ret = o[1];
    ret->done = o[0].c.interpreted;
    return true;
}

#define RUN(j, o)                                                                        \
    if (!run_both(j, o)) {                                                               \
        skip(); /* this host lets nobody make code, or lacks AVX2 */                     \
    }

/* The last of 30 stores to its own bytes and to what follows. */
CODE(own_repeat, ".code64",
     "mov $30, %edx\n mov $0x90, %al\n lea 2f(%rip), %rsi\n"
     "1: mov $0x60000, %edi\n mov $11, %ecx\n cmp $1, %edx\n cmove %rsi, %rdi\n"
     "2: rep stosb\n inc %rbx\n inc %rbx\n inc %rbx\n dec %edx\n jnz 1b\n hlt")

static void a_repetition_that_rewrites_itself_ends_first(void **state)
{
    static const uint64_t budgets[] = {0, 1, 5, 17};
    struct job j = {.from = own_repeat, .to = own_repeat_end};
    struct outcome o;
    unsigned n;

    (void)state;
    for (n = 0; n < 4; n++) {
        j.budget = budgets[n];
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RCX], 0);
        assert_int_equal(o.r.gpr[X86_RBX], 3 * 29);
    }
}

/* The last of 50 calls goes to where no address can be, read from the place that its
 * own return address goes to. */
CODE(call_nowhere, ".code64",
     "mov $50, %ecx\n lea 9f(%rip), %rbx\n mov $0x1234567812345678, %rdx\n"
     "1: mov %rbx, %rax\n cmp $1, %ecx\n cmove %rdx, %rax\n mov %rax, -8(%rsp)\n"
     "call *-8(%rsp)\n dec %ecx\n jnz 1b\n hlt\n 9: inc %rsi\n ret")
CODE(return_nowhere, ".code64",
     "mov $50, %ecx\n lea 9f(%rip), %rbx\n mov $0x1234567812345678, %rdx\n"
     "1: mov %rbx, %rax\n cmp $1, %ecx\n cmove %rdx, %rax\n push %rax\n"
     "ret $16\n 9: sub $16, %rsp\n dec %ecx\n jnz 1b\n hlt")

static void a_branch_to_nowhere_faults_at_itself_and_once(void **state)
{
    static const struct job jobs[2] = {{call_nowhere, call_nowhere_end},
                                       {return_nowhere, return_nowhere_end}};
    struct outcome o;
    unsigned n;

    (void)state;
    for (n = 0; n < 2; n++) {
        RUN(&jobs[n], &o);
        assert_int_equal(o.r.gpr[X86_RCX], 1);
        assert_int_equal(o.r.gpr[X86_RSI], n == 0 ? 49 : 0);
        assert_int_equal(o.r.gpr[X86_RIP], 0x4000 + X86_GP * 16 + 1);
    }
}

/* Recursion of 3000, deeper than what is remembered of calls; then returns to where no
 * call is, calls that never return, and a return address that the callee changes. */
CODE(returns, ".code64",
     "mov $3000, %edi\n call 2f\n"
     "mov $300, %ecx\n 1: lea 3f(%rip), %rax\n push %rax\n ret\n hlt\n"
     "3: call 4f\n hlt\n 4: pop %rdx\n add %edx, %ebx\n"
     "lea 5f(%rip), %rdx\n call 6f\n hlt\n 5: call 7f\n dec %ecx\n jnz 1b\n hlt\n"
     "6: mov %rdx, (%rsp)\n ret\n"
     "7: call *8f(%rip)\n ret\n .balign 8\n 8: .quad 0x10000 + 9f - returns\n"
     "9: inc %rbp\n ret $0\n"
     "2: add $1, %rsi\n dec %edi\n jz 21f\n call 2b\n add $2, %rsi\n 21: ret")

static void returns_go_where_the_stack_says(void **state)
{
    static const struct job j = {returns, returns_end};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RSI], 3000 + 2999 * 2);
    assert_int_equal(o.r.gpr[X86_RBP], 300);
    assert_int_equal(o.r.gpr[X86_RSP], MACHINE_STACK);
}

static void every_budget_gives_the_same_end(void **state)
{
    static const uint64_t budgets[] = {1, 2, 3, 7, 48, 100, 1000};
    struct job j = {returns, returns_end};
    struct outcome o;
    unsigned n;

    (void)state;
    for (n = 0; n < sizeof budgets / sizeof *budgets; n++) {
        j.budget = budgets[n];
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RSI], 3000 + 2999 * 2);
        assert_int_equal(o.c.interpreted + o.c.translated, o.done);
        assert_true(n == 0 || o.c.translated > o.c.interpreted);
    }
}

/* Fills and copies that a routine does in several runs, in the middle of a loop. */
CODE(long_strings, ".code64",
     "mov $40, %edx\n 1: mov $0x100000, %edi\n mov $200001, %ecx\n mov %edx, %eax\n"
     "rep stosb\n mov %rdi, %rbx\n mov $0x100000, %esi\n mov $0x180000, %edi\n"
     "mov $200000, %ecx\n rep movsb\n add %rdi, %rbp\n add %rsi, %rbp\n"
     "movzbl -1(%rdi), %eax\n cmp %edx, %eax\n jne 2f\n dec %edx\n jnz 1b\n 2: hlt")

static void a_repeated_instruction_is_done_whole(void **state)
{
    static const struct job j = {long_strings, long_strings_end};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RDX], 0);
    assert_int_equal(o.r.gpr[X86_RBX], 0x100000 + 200001);
    assert_int_equal(o.r.gpr[X86_RDI], 0x180000 + 200000);
    assert_int_equal(o.r.gpr[X86_RBP], 40u * (0x280000 + 2 * 200000));
}

/* Loops in a loop: one of three rounds by a constant, one of rsi rounds, a branch that is
 * always taken, one that is taken once, and accesses that fault in the last round. */
CODE(nested, ".code64",
     "mov $2000, %ecx\n mov $4, %esi\n mov $0x60000, %ebp\n"
     "1: xor %eax, %eax\n 2: inc %rbx\n mov %rbx, (%rbp,%rax)\n add $8, %rax\n"
     "cmp $24, %rax\n jne 2b\n xor %edx, %edx\n"
     "3: add (%rbp), %rdi\n inc %edx\n cmp %esi, %edx\n jne 3b\n"
     "test %ecx, %ecx\n jnz 4f\n hlt\n 4: cmp $1000, %ecx\n jne 5f\n mov $7, %esi\n"
     "5: cmp $3, %ecx\n jne 6f\n mov $0x7fffff0000000000, %rbp\n"
     "6: dec %ecx\n jnz 1b\n hlt")

static void a_short_loop_is_part_of_the_trace_around_it(void **state)
{
    struct job j = {nested, nested_end};
    struct outcome at_once, followed, some;

    (void)state;
    RUN(&j, &at_once);
    j.warm = 4;
    RUN(&j, &followed);
    assert_int_equal(followed.r.gpr[X86_RBX], 1998 * 3 + 1);
    assert_int_equal(followed.r.gpr[X86_RSI], 7);
    assert_true(followed.c.lifted / followed.c.blocks > 20); /* of 9 and 8, and more */
    for (j.budget = 1; j.budget < 300; j.budget = j.budget * 3 + 1) {
        RUN(&j, &some);
        assert_int_equal(some.r.gpr[X86_RBX], followed.r.gpr[X86_RBX]);
        assert_int_equal(some.c.interpreted + some.c.translated, some.done);
    }
}

/* Loops that only go back to their beginning, of odd numbers of rounds, over memory at all
 * distances from the ends of pages; the last one faults under way. */
CODE(rounds, ".code64",
     "mov $333, %edx\n 1: mov $0x60001, %edi\n mov %edx, %ecx\n"
     "2: mov %rdi, (%rdi)\n add -5(%rdi), %rbx\n add $13, %rdi\n dec %ecx\n jnz 2b\n"
     "mov $0x60010, %esi\n lea 1(%rdx), %ecx\n"
     "3: movaps (%rsi), %xmm0\n paddd %xmm0, %xmm1\n movups %xmm1, -7(%rsi)\n"
     "add $16, %rsi\n dec %ecx\n jnz 3b\n movq %xmm1, %rbp\n add %rbp, %rbx\n"
     "dec %edx\n jnz 1b\n"
     "mov $0x7fffffffff80, %rdi\n 4: inc %rdx\n add (%rsi), %rbx\n add $3, %rsi\n"
     "lea (%rdi,%rdx), %rax\n add %rax, (%rsi)\n cmp $77, %rdx\n cmove %rdi, %rsi\n"
     "jmp 5f\n hlt\n 5: cmp $0, %rdx\n jne 4b\n hlt")

static void allow_vectors(struct machine *m, struct x86_regs *r)
{
    (void)m;
    r->cr4 |= X86_CR4_OSFXSR;
}

static void a_loop_that_is_written_down_twice_ends_where_it_ends(void **state)
{
    struct job j = {rounds, rounds_end, allow_vectors};
    struct outcome o, some;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RDX], 78);
    assert_true(o.c.lifted > 120); /* 80 if each is written down once */
    for (j.warm = 0; j.warm < 12; j.warm += 5) {
        j.budget = 100 + j.warm;
        RUN(&j, &some);
        assert_int_equal(some.r.gpr[X86_RBX], o.r.gpr[X86_RBX]);
        assert_int_equal(some.c.interpreted + some.c.translated, some.done);
    }
}

/* Vector registers, upper halves and the rounding to -infinity are the guest's across all
 * that C does in between: pages that are not known yet, instructions by routines, and ways
 * out that use no vectors themselves. */
CODE(lent, ".code64",
     "mov $100, %edx\n movl $0x3f80, 0x60000\n ldmxcsr 0x60000\n mov $7, %eax\n"
     "1: movq %rdx, %xmm0\n cvtsi2sd %edx, %xmm1\n movq %rdx, %xmm2\n"
     "vinsertf128 $1, %xmm2, %ymm0, %ymm15\n vpaddq %ymm15, %ymm14, %ymm14\n"
     "mov $0x100000, %esi\n mov $20, %ecx\n 2: add (%rsi), %rbx\n add $0x1010, %rsi\n"
     "dec %ecx\n jnz 2b\n lea 3f(%rip), %rdi\n jmp *%rdi\n hlt\n"
     "3: mov %cr0, %rbp\n push %rdx\n cpuid\n pop %rdx\n mov $7, %eax\n"
     "cvtsi2sd %eax, %xmm3\n divsd %xmm3, %xmm1\n movq %xmm1, %rdi\n add %rdi, %rbx\n"
     "vextractf128 $1, %ymm14, %xmm4\n movq %xmm4, %rdi\n add %rdi, %rbx\n"
     "vzeroupper\n vextractf128 $1, %ymm15, %xmm5\n movq %xmm5, %rdi\n add %rdi, %rbx\n"
     "movq %xmm15, %rdi\n add %rdi, %rbx\n stmxcsr 0x60004\n add 0x60004, %ebx\n"
     "test $15, %edx\n jnz 4f\n vzeroall\n 4: dec %edx\n jnz 1b\n"
     "movq %xmm14, %rsi\n vmovups %ymm14, 0x60020\n mov 0x60030, %rdi\n hlt")

static void allow_wide_vectors(struct machine *m, struct x86_regs *r)
{
    allow_vectors(m, r);
    r->cr4 |= X86_CR4_OSXSAVE;
    r->xcr0 = 7;
}

static void vectors_are_the_guests_across_what_c_does(void **state)
{
    struct job j = {lent, lent_end, allow_wide_vectors};
    struct outcome o, some;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RDX], 0);
    assert_int_equal(o.r.gpr[X86_RSI], 15 * 16 / 2);
    for (j.warm = 2; j.warm < 6; j.warm++) {
        RUN(&j, &some);
        assert_int_equal(some.r.gpr[X86_RBX], o.r.gpr[X86_RBX]);
    }
}

/* All four roundings by turns, and now and then one with an exception unmasked. */
CODE(roundings, ".code64",
     "mov $400, %edx\n 1: mov %edx, %ecx\n and $3, %ecx\n shl $13, %ecx\n"
     "or $0x1f80, %ecx\n mov %ecx, 0x60000\n ldmxcsr 0x60000\n cvtsi2sd %edx, %xmm0\n"
     "mulsd 2f(%rip), %xmm0\n cvtsd2si %xmm0, %eax\n lea (%rbx,%rbx,2), %rbx\n"
     "add %rax, %rbx\n test $31, %edx\n jnz 3f\n movl $0x3f00, 0x60000\n"
     "vldmxcsr 0x60000\n nop\n 3: vstmxcsr 0x60008\n add 0x60008, %esi\n dec %edx\n"
     "jnz 1b\n hlt\n .balign 8\n 2: .double 0.37")

static void roundings_are_the_guests_at_once(void **state)
{
    struct job j = {roundings, roundings_end, allow_wide_vectors};
    struct outcome o;

    (void)state;
    for (j.warm = 1; j.warm < 4; j.warm++) {
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RDX], 0);
        /* Inexact each time; every 32nd with rounding down and the invalid unmasked. */
        assert_int_equal((uint32_t)o.r.gpr[X86_RSI],
                         400 * (0x1f80 + 0x20) + 100 * (0x2000 + 0x4000 + 0x6000) +
                             12 * (0x2000 - 0x80 - 0x20));
        j.is_quick = j.warm == 1;
    }
}

/* Address n of the function page, in a window of other addresses that mean the same. */
#define ALIAS 0x700000u

CODE(aliases, ".code64",
     "mov $100, %ecx\n 1: mov $0x40000, %eax\n call *%rax\n add %rax, %rbx\n"
     "mov $0x700000, %eax\n call *%rax\n add %rax, %rsi\n dec %ecx\n jnz 1b\n hlt")

static void make_alias(struct machine *m, struct x86_regs *r)
{
    static const uint8_t fn[] = {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3}; /* lea rax, [rip] */

    (void)r;
    machine_put(m, FN, fn, sizeof fn);
    machine_poke(m, machine_entry(ALIAS), FN + 3, 8);
}

static void a_page_at_two_addresses_has_code_for_each(void **state)
{
    static const struct job j = {aliases, aliases_end, make_alias};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RBX], 100 * (FN + 7));
    assert_int_equal(o.r.gpr[X86_RSI], 100 * (ALIAS + 7));
}

/* The system calls a function until it is warm, then a user calls its own as often, and
 * the system's in the end. */
CODE(privilege, ".code64",
     "mov $0x40000, %ebx\n mov $50, %ecx\n 1: call *%rbx\n dec %ecx\n jnz 1b\n"
     "push $0x23\n push $0x60000\n push $2\n push $0x2b\n"
     "lea 2f(%rip), %rax\n push %rax\n iretq\n"
     "2: mov $50, %ecx\n lea 3f(%rip), %rdx\n"
     "1: mov %rdx, %rax\n cmp $1, %ecx\n cmove %rbx, %rax\n call *%rax\n"
     "dec %ecx\n jnz 1b\n ud2\n 3: inc %rdi\n ret")

static void make_user(struct machine *m, struct x86_regs *r)
{
    gpa page;

    machine_put(m, FN, "\x48\xff\xc6\xc3", 4); /* inc rsi; ret */
    machine_poke(m, GDT + 0x20, 0x00cff3000000ffff, 8);
    machine_poke(m, GDT + 0x28, 0x00affb000000ffff, 8);
    machine_poke(m, TSS + 4, 0x70000, 8);
    r->gdtr.limit = 0x2f;
    r->seg[X86_TR] =
        (struct x86_segment){.selector = 0x30, .attr = 0x8b, .base = TSS, .limit = 0x67};
    machine_poke(m, PAGES, PAGES + 0x1000 + 7, 8);
    machine_poke(m, PAGES + 0x1000, PAGES + 0x2000 + 7, 8);
    machine_poke(m, PAGES + 0x2000, PAGES + 0x4000 + 7, 8);
    for (page = 0x5f000; page <= 0x60000; page += 0x1000) {
        machine_poke(m, machine_entry(page), page + 7, 8);
    }
    machine_poke(m, machine_entry(MACHINE_CODE), MACHINE_CODE + 7, 8);
}

static void a_user_does_not_reach_code_of_the_system(void **state)
{
    static const struct job j = {privilege, privilege_end, make_user};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RIP], 0x4000 + X86_PF * 16 + 1);
    assert_int_equal(o.r.cr2, FN);
    assert_int_equal(o.r.gpr[X86_RSI], 50);
    assert_int_equal(o.r.gpr[X86_RDI], 49);
}

/* Two spaces in which FN is another page; r8 and r9 are their CR3, with what does not
 * flush when there are PCIDs.  In the end FN is mapped anew in place. */
#define OTHER 0x300000u /* tables of the second space: levels 4, 3, 2 and one of pages */

CODE(spaces, ".code64",
     "mov $200, %ecx\n mov $0x40000, %ebx\n"
     "1: mov %r8, %cr3\n call *%rbx\n call spaces + 0x20000\n"
     "mov %r9, %cr3\n call *%rbx\n call spaces + 0x20000\n"
     "dec %ecx\n jnz 1b\n"
     "mov $100, %ecx\n 1: mov $0x42003, %eax\n test $1, %cl\n jz 2f\n"
     "mov $0x41003, %eax\n 2: mov %eax, (%r10)\n invlpg (%rbx)\n call *%rbx\n"
     "call spaces + 0x20000\n dec %ecx\n jnz 1b\n hlt")

static void put_function(struct machine *m, gpa at, uint8_t adds)
{
    const uint8_t fn[] = {0x48, 0x83, 0xc6, adds, 0xc3}; /* add rsi, adds; ret */

    machine_put(m, at, fn, sizeof fn);
}

static void make_spaces(struct machine *m, struct x86_regs *r)
{
    unsigned n;

    /* at 0x30000: jmp to FN, so that a direct jump leads to another page */
    machine_put(m, 0x30000, "\xe9\xfb\xff\x00\x00", 5);
    put_function(m, FN, 1);
    put_function(m, FN + 0x1000, 3);
    put_function(m, FN + 0x2000, 5);
    machine_poke(m, OTHER, OTHER + 0x1003, 8);
    machine_poke(m, OTHER + 0x1000, OTHER + 0x2003, 8);
    machine_poke(m, OTHER + 0x2000, OTHER + 0x3003, 8);
    for (n = 1; n < 4; n++) {
        machine_poke(m, OTHER + 0x2000 + n * 8, PAGES + 0x4003 + n * 0x1000, 8);
    }
    for (n = 0; n < 512; n++) {
        machine_poke(m, OTHER + 0x3000 + n * 8, (uint64_t)n * 4096 + 3, 8);
    }
    machine_poke(m, OTHER + 0x3000 + (FN >> 12) * 8, FN + 0x1003, 8);
    r->gpr[X86_R8] = PAGES;
    r->gpr[X86_R9] = OTHER;
    r->gpr[X86_R10] = OTHER + 0x3000 + (FN >> 12) * 8;
}

static void make_spaces_with_pcid(struct machine *m, struct x86_regs *r)
{
    make_spaces(m, r);
    r->cr4 |= X86_CR4_PCIDE;
    r->gpr[X86_R8] |= UINT64_C(1) << 63 | 1;
    r->gpr[X86_R9] |= UINT64_C(1) << 63 | 2;
}

static void a_space_runs_its_own_code(void **state)
{
    static const struct job jobs[2] = {{spaces, spaces_end, make_spaces},
                                       {spaces, spaces_end, make_spaces_with_pcid}};
    struct outcome o;
    unsigned n;

    (void)state;
    for (n = 0; n < 2; n++) {
        RUN(&jobs[n], &o);
        assert_int_equal(o.r.gpr[X86_RSI], 200 * 2 * (1 + 3) + 50 * 2 * (3 + 5));
        if (n == 1) { /* switches keep what is linked */
            assert_true(o.c.blocks < 64);
        }
    }
}

/* Stores to an immediate of the block that stores, and to one of another; and many
 * beside code, on its page. */
CODE(rewrites, ".code64",
     "mov $200, %ecx\n 1: mov %ecx, 2f+1(%rip)\n 2: mov $0, %eax\n add %rax, %rsi\n"
     "mov %ecx, 3f+1(%rip)\n call 3f\n add %rax, %rdi\n dec %ecx\n jnz 1b\n"
     "mov $20000, %ecx\n 1: mov %ecx, 8f(%rip)\n add %ecx, %ebx\n addl $1, 8f(%rip)\n"
     "add 8f(%rip), %edx\n dec %ecx\n jnz 1b\n hlt\n"
     ".balign 64\n 3: mov $0, %eax\n ret\n .balign 64\n 8: .quad 0")

static void rewritten_code_is_what_was_written(void **state)
{
    struct job j = {rewrites, rewrites_end};
    struct outcome o;

    (void)state;
    for (j.budget = 0; j.budget < 4; j.budget += 3) {
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RSI], 200 * 201 / 2);
        assert_int_equal(o.r.gpr[X86_RDI], 200 * 201 / 2);
        assert_true(o.c.code_writes < 2000); /* nothing went by stores beside code */
    }
}

/* Immediates and targets that change in each round, right before they count: whole ones,
 * parts of them, one together with the opcode behind it (which stays what it is). */
CODE(soft, ".code64",
     "mov $3000, %ecx\n"
     "1: mov %ecx, 2f+3(%rip)\n mov %rcx, 3f+2(%rip)\n mov %cl, 4f+3(%rip)\n"
     "mov %cx, 5f+4(%rip)\n mov %ecx, 15f+1(%rip)\n"
     "mov $(9f - 8f - 5), %eax\n mov $(11f - 12f - 5), %ebp\n test $1, %cl\n jz 6f\n"
     "mov $(10f - 8f - 5), %eax\n mov $(13f - 12f - 5), %ebp\n"
     "6: mov %eax, 8f+1(%rip)\n mov %ebp, 12f+1(%rip)\n"
     "test $127, %cl\n jnz 2f\n movw $0x4800, 2f+6(%rip)\n"   /* and 3's first byte */
     "2: .byte 0x48, 0x81, 0xc3\n .long 1\n"                  /* add rbx, imm32 */
     "3: .byte 0x48, 0xba\n .quad 1\n add %rdx, %rbx\n"       /* mov rdx, imm64 */
     "4: .byte 0x48, 0x69, 0xf6\n .long 0x10001\n inc %rsi\n" /* imul rsi, imm32 */
     "5: .byte 0x81, 0xfb\n .long 0x7000\n adc $0, %r8\n"     /* cmp ebx, imm32 */
     "15: .byte 0x3d\n .long 0\n setz %al\n movzx %al, %eax\n add %rax, %r11\n"
     "8: .byte 0xe9\n .long 0\n"
     "9: inc %r9\n 10: add $3, %r9\n"
     "12: .byte 0xe8\n .long 0\n"
     "dec %ecx\n jnz 1b\n hlt\n"
     "11: add $5, %rdi\n ret\n 13: add $7, %rdi\n ret")

static void an_immediate_that_is_rewritten_counts_at_once(void **state)
{
    struct job j = {soft, soft_end};
    struct outcome o;

    (void)state;
    for (j.budget = 0; j.budget < 12; j.budget += 11) {
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RDI], 1500 * (5 + 7));
        assert_int_equal(o.r.gpr[X86_R9], 1500 * (4 + 3));
    }
}

static void an_immediate_that_is_rewritten_needs_no_translation(void **state)
{
    static const struct job j = {soft, soft_end};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    /* But for the 24 stores to an opcode, and until it is known. */
    assert_true(o.c.blocks < 400);
    assert_true(o.c.code_writes < 600); /* of 24,000 stores */
    assert_true(o.c.interpreted < o.done / 10);
}

/* Rounds of 1000 additions, each ended by an exit. */
CODE(counted, ".code64",
     "1: mov $1000, %ecx\n lea 2f(%rip), %rax\n"
     "2: inc %rbx\n dec %ecx\n jz 3f\n jmp *%rax\n 3: out %al, $0x80\n jmp 1b")

static void a_budget_holds_in_code_that_ran_without(void **state)
{
    struct machine m;
    struct x86_regs r;
    unsigned n;

    (void)state;
    machine_init(&m, MACHINE_LONG, MODEL);
    if (!use_translator(&m, &(struct job){.from = NULL})) {
        machine_fini(&m);
        skip();
    }
    machine_put(&m, MACHINE_CODE, counted, (uint64_t)(counted_end - counted));
    machine_regs(&m, &r);
    machine_set(&m, &r);
    for (n = 1; n < 5; n++) {
        assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
        machine_get(&m, &r);
        assert_int_equal(r.gpr[X86_RBX], 1000 * n);
        assert_int_equal(cpu_run(m.cpu[0], 403), 0); /* jmp, mov, lea, 100 rounds */
        machine_get(&m, &r);
        assert_int_equal(r.gpr[X86_RBX], 1000 * n + 100);
    }
    machine_fini(&m);
}

/* From wherever one begins, the way meets something that the engine has to look at. */
CODE(looks, ".code64",
     "mov $3000, %ecx\n mov %cr3, %rdx\n"
     "1: inc %rbx\n test $1, %cl\n jz 2f\n inc %rsi\n 2: mov %rdx, %cr3\n"
     "add %rbx, %rdi\n mov %rdx, %cr3\n inc %rbp\n dec %ecx\n jnz 1b\n hlt")

static void a_way_that_does_not_come_to_its_end_is_not_followed_again(void **state)
{
    static const struct job j = {looks, looks_end, .warm = 4};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RBP], 3000);
    assert_true(o.c.interpreted < o.done / 20);
}

/* Functions on hundreds of pages, again and again: more than the code memory has room
 * for.  Each does a good many additions, then jumps to the next. */
#define FILL      0x400000u
#define FILL_FNS  1200u
#define FILL_STEP 1024u

CODE(fill, ".code64",
     "mov $3, %ecx\n 1: mov $2, %ebp\n 2: mov $0x400000, %eax\n call *%rax\n"
     "dec %ebp\n jnz 2b\n dec %ecx\n jnz 1b\n hlt")

static void make_fill(struct machine *m, struct x86_regs *r)
{
    static uint8_t fn[FILL_STEP];
    unsigned n, i;

    (void)r;
    for (n = 0; n < FILL_FNS; n++) {
        for (i = 0; i < 120; i++) {
            memcpy(fn + i * 4, "\x48\x83\xc6\x01", 4); /* add rsi, 1 */
            if (i % 8 == 7) {
                memcpy(fn + i * 4, "\x48\x03\x3e\x90", 4); /* add rdi, [rsi]; nop */
            }
        }
        memcpy(fn + 480, n + 1 == FILL_FNS ? "\xc3\x90\x90\x90\x90" : "\xe9\x1b\x02\0\0",
               5);
        machine_put(m, FILL + (gpa)n * FILL_STEP, fn, sizeof fn);
    }
}

static void a_full_code_memory_loses_nothing(void **state)
{
    static const struct job j = {fill, fill_end, make_fill, .code_bytes = 1u << 20};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RSI], 6u * FILL_FNS * 105);
    assert_true(o.c.blocks > 2 * FILL_FNS); /* so some were made again */
}

/* F3 before BSF and BSR means nothing where the model has no TZCNT and LZCNT. */
CODE(scans, ".code64",
     "mov $50, %ecx\n mov $0x4040, %edi\n 1: lzcnt %rdi, %rax\n add %rax, %rbx\n"
     "tzcnt %edi, %eax\n add %rax, %rsi\n dec %ecx\n jnz 1b\n hlt")

static void counts_are_scans_where_the_model_says_so(void **state)
{
    struct job j = {scans, scans_end};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RBX], 50 * 49);
    assert_int_equal(o.r.gpr[X86_RSI], 50 * 6);
    j.model = "base";
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RBX], 50 * 14);
    assert_int_equal(o.r.gpr[X86_RSI], 50 * 6);
}

/* Through CS, outside 64-bit mode: what reads goes, what writes faults. */
CODE(code_reads, ".code32",
     "mov $0x100000, %ebx\n movl $3, (%ebx)\n mov $50, %ecx\n"
     "1: add %cs:(%ebx), %eax\n push %cs:(%ebx)\n pop %edx\n add %edx, %edi\n"
     "mov %cs:0x100000, %edx\n add %edx, %esi\n dec %ecx\n jnz 1b\n hlt")
#define GO_ROUND                                                                         \
    "mov $5, %ecx\n 1: dec %ecx\n jnz 1b\n" /* so that what follows is translated */

CODE(code_store, ".code32", "mov %eax, %cs:0x100000\n hlt")
CODE(code_store_imm, ".code32", GO_ROUND "movb $1, %cs:(%edx)\n hlt")
CODE(code_add, ".code32", GO_ROUND "add %eax, %cs:(%edx)\n hlt")
CODE(code_pop, ".code32", GO_ROUND "pop %cs:(%edx)\n hlt")
CODE(code_locked, ".code32", GO_ROUND "lock xadd %eax, %cs:(%edx)\n hlt")
CODE(code_exchange, ".code32", GO_ROUND "cmpxchg %ecx, %cs:(%edx)\n hlt")
CODE(code_bit, ".code32", GO_ROUND "bts %eax, %cs:(%edx)\n hlt")
CODE(code_vector, ".code32", GO_ROUND "movups %xmm0, %cs:(%edx)\n hlt")
CODE(code_x87, ".code32", GO_ROUND "fld1\n fstpl %cs:(%edx)\n hlt")

static void put_data(struct machine *m, struct x86_regs *r)
{
    machine_poke(m, MACHINE_DATA, 0, 8);
    r->gpr[X86_RDX] = MACHINE_DATA;
    r->cr4 |= X86_CR4_OSFXSR;
}

static void code_segments_are_read_only(void **state)
{
    static const uint8_t *const stores[][2] = {
        {code_store, code_store_end},   {code_store_imm, code_store_imm_end},
        {code_add, code_add_end},       {code_pop, code_pop_end},
        {code_locked, code_locked_end}, {code_exchange, code_exchange_end},
        {code_bit, code_bit_end},       {code_vector, code_vector_end},
        {code_x87, code_x87_end}};
    struct job j = {code_reads, code_reads_end, put_data, .is_32 = true};
    struct outcome o;
    unsigned n;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RAX], 50 * 3);
    assert_int_equal(o.r.gpr[X86_RDI], 50 * 3);
    assert_int_equal(o.r.gpr[X86_RSI], 50 * 3);
    for (n = 0; n < sizeof stores / sizeof stores[0]; n++) {
        j.from = stores[n][0];
        j.to = stores[n][1];
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RIP], 0x4000 + X86_GP * 16 + 1);
    }
}

/* Flags that the manual leaves open, by every count; each goes into a sum. */
#define SUM        "pushf\n pop %rdx\n imul $5, %rbx\n add %rdx, %rbx\n"
#define TURN(text) text " %cl, %rax\n" SUM text " $5, %rax\n" SUM text " $1, %eax\n" SUM
#define TURN_NARROW(text)                                                                \
    text " %cl, %al\n" SUM text " $3, %ah\n" SUM text " $11, %al\n" SUM text             \
         " %cl, (%r9)\n" SUM text " $7, 4(%r9)\n" SUM
#define PAIR(text)                                                                       \
    text " $13, %rax, %rsi\n" SUM text " $1, %eax, %edi\n" SUM text                      \
         " %cl, %eax, 8(%r9)\n" SUM text " $9, %eax, 16(%r9)\n" SUM

CODE(turns_of_bits, ".code64",
     "mov $0x100000, %r9d\n mov $0x123456789abcdef1, %rax\n mov $300, %r8d\n"
     "1: mov %r8d, %ecx\n" TURN("rol") TURN("ror") TURN("shl") TURN("rcl") TURN("rcr")
         TURN_NARROW("rolb") TURN_NARROW("rorb") PAIR("shld")
             PAIR("shrd") "imul $13, %rax\n inc %rax\n dec %r8d\n jnz 1b\n hlt")

/* Each of 0, of 1, of a low bit and of the highest. */
#define BITS_OF(text) text " %rdi, %rax\n" SUM text " %edi, %eax\n" SUM
CODE(
    scans_and_masks, ".code64",
    "mov $260, %r8d\n 1: mov %r8d, %ecx\n mov $0x8000000000000005, %rdi\n"
    "ror %cl, %rdi\n test $3, %cl\n jnz 2f\n shr %cl, %edi\n xor %esi, %esi\n 2:\n" BITS_OF(
        "bsf") BITS_OF("bsr") BITS_OF("tzcnt") BITS_OF("lzcnt") BITS_OF("blsr")
        BITS_OF("blsi")
            BITS_OF("blsmsk") "andn %rdi, %rsi, %rax\n" SUM "andn %edi, %ecx, %eax\n" SUM
                              "bzhi %rcx, %rdi, %rax\n" SUM "bzhi %ecx, %edi, %eax\n" SUM
                              "dec %r8d\n jnz 1b\n hlt")

/* O of a rotation stays behind a BT, and behind a shift by 0. */
CODE(kept_o, ".code64",
     "mov $50, %r8d\n mov $0xe0, %r9d\n xor %ecx, %ecx\n 1: mov %r9d, %eax\n"
     "add $0x7fffffff, %eax\n mov %r9d, %eax\n rol $1, %al\n btc $1, %si\n" SUM
     "ror $1, %al\n shl %cl, %edi\n stc\n" SUM
     "add $0x7fffffff, %eax\n ror $1, %al\n rol $3, %si\n" SUM
     "lea 0x17(%r9), %r9\n dec %r8d\n jnz 1b\n hlt")

static void flags_left_open_are_the_same(void **state)
{
    struct job jobs[] = {{turns_of_bits, turns_of_bits_end, put_data},
                         {scans_and_masks, scans_and_masks_end},
                         {kept_o, kept_o_end}};
    struct outcome o;
    unsigned n;

    (void)state;
    if (!vendor_is_intel()) { /* translated code leaves the host's */
        print_message(VENDOR_REASON);
        skip();
    }
    for (n = 0; n < 2 * sizeof jobs / sizeof jobs[0]; n++) {
        jobs[n / 2].budget = n % 2 * 29;
        RUN(&jobs[n / 2], &o);
    }
}

/* The last byte below 4 GiB is a device's, and reads as POP EDX; behind it comes 0. */
CODE(wraps, ".code32", "mov $0xffffffff, %eax\n push $7\n jmp *%eax")

static void put_halt(struct machine *m, struct x86_regs *r)
{
    (void)r;
    machine_poke(m, 0, 0xf4, 1);
}

static void code_goes_on_at_zero_behind_4_gib(void **state)
{
    static const struct job j = {wraps, wraps_end, put_halt, .is_32 = true};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RIP], 1);
    assert_int_equal(o.r.gpr[X86_RDX], 7);
}

/* A port that asks for an interrupt, which is not open, with each byte. */
CODE(port_string, ".code64",
     "mov $5, %ebx\n 1: mov $0x100000, %edi\n mov $60, %ecx\n mov $0x10, %edx\n"
     "rep insb\n dec %ebx\n jnz 1b\n hlt")

static int kick_on_input(void *who, struct cpu *c, struct cpu_exit *x)
{
    (void)who;
    if (x->kind == CPU_EXIT_IN) {
        cpu_kick(c, CPU_KICK_INTERRUPT);
        x->value = 0x11;
    }
    return x->kind != CPU_EXIT_IN;
}

static void ask_often(struct machine *m, struct x86_regs *r)
{
    (void)r;
    m->env.exit = kick_on_input;
}

static void each_element_of_a_port_string_counts(void **state)
{
    static const struct job j = {port_string, port_string_end, ask_often, .budget = 20};
    struct outcome o;

    (void)state;
    RUN(&j, &o);
    assert_int_equal(o.r.gpr[X86_RDI], 0x100000 + 60);
    assert_int_equal(o.runs, (1 + 5 * (3 + 60 + 2) + 1 + 19) / 20);
}

/* Two processors: each writes the immediate of the other's function, says so, and waits
 * until the other has called it.  rdi own function, r8 the other's; r9 own round word,
 * r10 the other's; r12 sum of what the own function gave. */
#define TURNS 200u

CODE(turns, ".code64",
     "mov $1, %ebp\n"
     "1: mov %ebp, 1(%r8)\n mov %ebp, (%r10)\n" /* the other's code, then its word */
     "2: cmp %ebp, (%r9)\n je 3f\n pause\n jmp 2b\n"
     "3: xor %eax, %eax\n xor %ecx, %ecx\n cpuid\n call *%rdi\n add %rax, %r12\n"
     "cmp %ebp, %eax\n je 4f\n inc %r13\n 4: lock incl (%r11)\n"
     "5: mov (%r11), %eax\n mov %ebp, %ecx\n add %ecx, %ecx\n cmp %ecx, %eax\n jae 6f\n"
     "pause\n jmp 5b\n 6: inc %ebp\n cmp $200, %ebp\n jbe 1b\n hlt")

static void *run_second(void *arg)
{
    struct machine *m = arg;

    return (void *)(intptr_t)cpu_run(m->cpu[1], UINT64_MAX);
}

static void prepare_turns(struct machine *m, unsigned n)
{
    const gpa fn[2] = {FN, FN + 0x1000}, word[2] = {0x50000, 0x50040};
    struct x86_regs r;

    machine_put(m, fn[n], "\xb8\0\0\0\0\xc3", 6); /* mov eax, imm; ret */
    machine_regs(m, &r);
    r.gpr[X86_RSP] -= n * 0x1000;
    r.gpr[X86_RDI] = fn[n];
    r.gpr[X86_R8] = fn[!n];
    r.gpr[X86_R9] = word[n];
    r.gpr[X86_R10] = word[!n];
    r.gpr[X86_R11] = 0x50080;
    assert_int_equal(cpu_set(m->cpu[n], &r, NULL), 0);
}

static void processors_rewrite_each_others_code(void **state)
{
    struct machine m;
    pthread_t second;
    struct x86_regs r;
    void *result;
    unsigned n;

    (void)state;
    machine_init(&m, MACHINE_LONG, MODEL);
    if (!use_translator(&m, &(struct job){.from = NULL})) {
        machine_fini(&m);
        skip();
    }
    machine_put(&m, MACHINE_CODE, turns, (uint64_t)(turns_end - turns));
    prepare_turns(&m, 0);
    prepare_turns(&m, 1);
    assert_int_equal(pthread_create(&second, NULL, run_second, &m), 0);
    assert_int_equal(cpu_run(m.cpu[0], UINT64_MAX), 0);
    assert_int_equal(pthread_join(second, &result), 0);
    for (n = 0; n < 2; n++) {
        cpu_get(m.cpu[n], &r);
        assert_int_equal(r.gpr[X86_R13], 0);
        assert_int_equal(r.gpr[X86_R12], (uint64_t)TURNS * (TURNS + 1) / 2);
    }
    machine_fini(&m);
}

/* Two loops in one, of which the inner one's branch goes both ways. */
CODE(warmer, ".code64",
     "mov $3000, %ecx\n 1: mov $20, %edx\n 2: test $3, %dl\n jz 3f\n add %rdx, %rbx\n"
     "3: add %rcx, %rsi\n mov %rsi, 0x60000(,%rdx,8)\n dec %edx\n jnz 2b\n"
     "dec %ecx\n jnz 1b\n hlt")

/* Hot code is made again once, warm code never; both give the same. */
static void hot_code_is_made_again_and_better(void **state)
{
    static const uint64_t budgets[] = {0, 1000};
    struct job j = {.from = warmer, .to = warmer_end, .warm = 3, .hot = 30};
    struct outcome o;
    unsigned n;

    (void)state;
    for (n = 0; n < 2; n++) {
        j.budget = budgets[n];
        j.is_quick = false;
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RBX],
                         3000 * (20 * 21 / 2 - 4 * (1 + 2 + 3 + 4 + 5)));
        assert_int_equal(o.r.gpr[X86_RSI], 20ull * 3000 * 3001 / 2);
        assert_in_range(o.c.optimised, 1, o.c.blocks);
        assert_in_range(o.c.blocks, 2, 60);
        j.is_quick = true;
        RUN(&j, &o);
        assert_int_equal(o.r.gpr[X86_RSI], 20ull * 3000 * 3001 / 2);
        assert_int_equal(o.c.optimised, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hot_code_is_made_again_and_better),
        cmocka_unit_test(a_repetition_that_rewrites_itself_ends_first),
        cmocka_unit_test(a_branch_to_nowhere_faults_at_itself_and_once),
        cmocka_unit_test(returns_go_where_the_stack_says),
        cmocka_unit_test(a_repeated_instruction_is_done_whole),
        cmocka_unit_test(every_budget_gives_the_same_end),
        cmocka_unit_test(a_short_loop_is_part_of_the_trace_around_it),
        cmocka_unit_test(a_loop_that_is_written_down_twice_ends_where_it_ends),
        cmocka_unit_test(vectors_are_the_guests_across_what_c_does),
        cmocka_unit_test(roundings_are_the_guests_at_once),
        cmocka_unit_test(a_page_at_two_addresses_has_code_for_each),
        cmocka_unit_test(a_user_does_not_reach_code_of_the_system),
        cmocka_unit_test(a_space_runs_its_own_code),
        cmocka_unit_test(rewritten_code_is_what_was_written),
        cmocka_unit_test(an_immediate_that_is_rewritten_counts_at_once),
        cmocka_unit_test(an_immediate_that_is_rewritten_needs_no_translation),
        cmocka_unit_test(a_budget_holds_in_code_that_ran_without),
        cmocka_unit_test(a_way_that_does_not_come_to_its_end_is_not_followed_again),
        cmocka_unit_test(a_full_code_memory_loses_nothing),
        cmocka_unit_test(counts_are_scans_where_the_model_says_so),
        cmocka_unit_test(code_segments_are_read_only),
        cmocka_unit_test(flags_left_open_are_the_same),
        cmocka_unit_test(code_goes_on_at_zero_behind_4_gib),
        cmocka_unit_test(each_element_of_a_port_string_counts),
        cmocka_unit_test(processors_rewrite_each_others_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
