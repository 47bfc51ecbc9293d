/* smp_test.c - several processors on threads: the memory order of x86 (TSO), atomic
 * operations, code that another processor rewrites.
 *
 *   smp_test [-e interpret|translate] [-n ROUNDS]
 *
 * A litmus test is one small program for each processor: it waits until all have come
 * to the round, loads and stores a few words, writes down what it saw, and does the
 * next round.  What the order forbids must never be seen (SDM volume 3A, 8.2.3; the
 * names are those of the literature).  Whether what it allows is seen is printed: on
 * one core, or when rounds do not overlap, it may not be.
 *
 * rows: ISA-05 CON-09 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define CPUS_MOST   4
#define RAM_BYTES   (8u << 20)
#define TABLES      0x1000u
#define CODE        0x10000u /* 0x1000 for each processor */
#define SHARED      0x20000u /* words on lines of their own, 64 bytes apart */
#define ARRIVED     0x21000u
#define RESULTS     0x100000u /* 0x100000 for each processor: two words a round */
#define ROUNDS_MOST 100000u
#define ROUND_BYTES 8u

struct litmus {
    const char *name;
    unsigned cpus;
    const uint8_t *from[CPUS_MOST], *to[CPUS_MOST];
    unsigned words; /* shared words that begin a round as 0 */

    /* What the processors saw in a round: forbidden, or the one that is only allowed. */
    bool (*forbidden)(const uint32_t seen[CPUS_MOST][2]);
    bool (*relaxed)(const uint32_t seen[CPUS_MOST][2]);
};

struct machine {
    const struct litmus *l;
    struct mem *mem;
    struct cpu *cpu[CPUS_MOST];
    struct cpu_env env;
    uint8_t *ram;
    uint64_t rounds;
};

/* The frame of every program.  rbx: the words of the round, which are new ones each
 * time; rdi: where to write what was seen; r8: rounds; rbp: processors times the number
 * of the round. */
#define PROGRAM(name, text)                                                              \
    __asm__(".pushsection .rodata\n" #name ":\n"                                         \
            "mov $0x21000, %r9d\n"                                                       \
            "1: add %r10, %rbp\n"                                                        \
            "lock incq (%r9)\n"                                                          \
            "xor %ecx, %ecx\n"                                                           \
            "2: cmp %rbp, (%r9)\n jae 3f\n"                                              \
            "inc %cl\n jnz 2b\n out %al, $0x80\n jmp 2b\n3: "                            \
            "xor %eax, %eax\n xor %edx, %edx\n" text "\n"                                \
            "mov %eax, (%rdi)\n mov %edx, 4(%rdi)\n"                                     \
            "add $8, %rdi\n"                                                             \
            "add $256, %rbx\n"                                                           \
            "dec %r8\n jnz 1b\n hlt\n" #name "_end:\n.popsection\n");                    \
    extern const uint8_t name[];                                                         \
    extern const uint8_t name##_end[];

#define X "(%rbx)"
#define Y "64(%rbx)"

PROGRAM(store_x_load_y, "movl $1, " X "\n mov " Y ", %eax")
PROGRAM(store_y_load_x, "movl $1, " Y "\n mov " X ", %eax")
PROGRAM(fenced_x_y, "movl $1, " X "\n mfence\n mov " Y ", %eax")
PROGRAM(fenced_y_x, "movl $1, " Y "\n mfence\n mov " X ", %eax")
PROGRAM(locked_x_y, "mov $1, %ecx\n xchg %ecx, " X "\n mov " Y ", %eax")
PROGRAM(locked_y_x, "mov $1, %ecx\n xchg %ecx, " Y "\n mov " X ", %eax")
PROGRAM(store_x_y, "movl $1, " X "\n movl $1, " Y)
PROGRAM(load_y_x, "mov " Y ", %eax\n mov " X ", %edx")
PROGRAM(load_x_y, "mov " X ", %eax\n mov " Y ", %edx")
PROGRAM(load_x_store_y, "mov " X ", %eax\n movl $1, " Y)
PROGRAM(load_y_store_x, "mov " Y ", %eax\n movl $1, " X)
PROGRAM(store_x, "movl $1, " X)
PROGRAM(store_y, "movl $1, " Y)
PROGRAM(two_x_one_y, "movl $2, " X "\n movl $1, " Y)
PROGRAM(two_y_one_x, "movl $2, " Y "\n movl $1, " X)
PROGRAM(load_x_x, "mov " X ", %eax\n mov " X ", %edx")
PROGRAM(add_atomic,
        "lock addl $1, 0x22000\n lock xaddl %eax, 0x22000\n lock incq 0x2203f")

static bool both_zero(const uint32_t s[CPUS_MOST][2])
{
    return s[0][0] == 0 && s[1][0] == 0;
}

static bool both_one(const uint32_t s[CPUS_MOST][2])
{
    return s[0][0] == 1 && s[1][0] == 1;
}

static bool flag_without_data(const uint32_t s[CPUS_MOST][2])
{
    return s[1][0] == 1 && s[1][1] == 0;
}

/* Two readers that see two stores in different orders. */
static bool two_orders(const uint32_t s[CPUS_MOST][2])
{
    return s[2][0] == 1 && s[2][1] == 0 && s[3][0] == 1 && s[3][1] == 0;
}

static bool backwards(const uint32_t s[CPUS_MOST][2])
{
    return s[1][0] == 1 && s[1][1] == 0;
}

static bool never(const uint32_t s[CPUS_MOST][2])
{
    (void)s;
    return false;
}

static const struct litmus tests[] = {
    {"SB",
     2,
     {store_x_load_y, store_y_load_x},
     {store_x_load_y_end, store_y_load_x_end},
     2,
     never,
     both_zero},
    {"SB+mfence",
     2,
     {fenced_x_y, fenced_y_x},
     {fenced_x_y_end, fenced_y_x_end},
     2,
     both_zero,
     never},
    {"SB+xchg",
     2,
     {locked_x_y, locked_y_x},
     {locked_x_y_end, locked_y_x_end},
     2,
     both_zero,
     never},
    {"MP",
     2,
     {store_x_y, load_y_x},
     {store_x_y_end, load_y_x_end},
     2,
     flag_without_data,
     never},
    {"LB",
     2,
     {load_x_store_y, load_y_store_x},
     {load_x_store_y_end, load_y_store_x_end},
     2,
     both_one,
     never},
    {"CoRR", 2, {store_x, load_x_x}, {store_x_end, load_x_x_end}, 1, backwards, never},
    {"IRIW",
     4,
     {store_x, store_y, load_x_y, load_y_x},
     {store_x_end, store_y_end, load_x_y_end, load_y_x_end},
     2,
     two_orders,
     never},
    {"2+2W",
     2,
     {two_x_one_y, two_y_one_x},
     {two_x_one_y_end, two_y_one_x_end},
     2,
     never,
     never},
    {"atomic",
     4,
     {add_atomic, add_atomic, add_atomic, add_atomic},
     {add_atomic_end, add_atomic_end, add_atomic_end, add_atomic_end},
     0,
     never,
     never},
};

static int on_exit_of_cpu(void *who, struct cpu *c, struct cpu_exit *x)
{
    (void)who;
    (void)c;
    if (x->kind == CPU_EXIT_OUT) { /* it has waited for a while */
        (void)sched_yield();
    }
    return x->kind == CPU_EXIT_HALT || x->kind == CPU_EXIT_SHUTDOWN ||
           x->kind == CPU_EXIT_KICKED;
}

static void check(int r, const struct err *e)
{
    if (r != 0) {
        fprintf(stderr, "%s\n", e->text);
        exit(1);
    }
}

static void make_cpu(struct machine *m, unsigned n, const char *executor)
{
    const struct x86_model *model = x86_model_find("v3");
    const struct translate_options o = {
        .index = n, .warm = 1, .tiers = TRANSLATE_OPTIMISES};
    struct err e = {0};

    if (strcmp(executor, "translate") == 0) {
        check(translate_create(m->mem, model, &m->env, &o, &m->cpu[n], &e), &e);
    } else {
        check(interpret_create(m->mem, model, &m->env, n, &m->cpu[n], &e), &e);
    }
}

/* 64-bit code, at level 0, linear addresses physical. */
static void set_registers(struct machine *m, unsigned n)
{
    struct err e = {0};
    struct x86_regs r;

    cpu_get(m->cpu[n], &r);
    memset(r.gpr, 0, sizeof r.gpr);
    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        r.seg[s] =
            (struct x86_segment){.selector = 0x10, .attr = 0xc093, .limit = 0xffffffff};
    }
    r.seg[X86_CS] =
        (struct x86_segment){.selector = 8, .attr = 0xa09b, .limit = 0xffffffff};
    r.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
    r.cr3 = TABLES;
    r.cr4 = X86_CR4_PAE;
    r.msr.efer = X86_EFER_LME | X86_EFER_LMA;
    r.seg[X86_TR].attr = 0x8b;
    r.rflags = 2;
    r.halted = false;
    r.gpr[X86_RIP] = CODE + n * 0x1000;
    r.gpr[X86_RSP] = 0x8000 + n * 0x1000;
    r.gpr[X86_RBX] = RESULTS + CPUS_MOST * 0x100000;
    r.gpr[X86_RDI] = RESULTS + n * 0x100000;
    r.gpr[X86_R8] = m->rounds;
    r.gpr[X86_R10] = m->l != NULL ? m->l->cpus : 0;
    check(cpu_set(m->cpu[n], &r, &e), &e);
}

static void create(struct machine *m, const struct litmus *l, unsigned cpus,
                   const char *executor, uint64_t rounds)
{
    uint64_t tables[3] = {(TABLES + 0x1000) | 7, (TABLES + 0x2000) | 7, 0};
    uint64_t bytes = RESULTS + CPUS_MOST * 0x100000 + (uint64_t)rounds * 256 + 0x200000;
    struct err e = {0};

    *m = (struct machine){.l = l, .rounds = rounds};
    m->env = (struct cpu_env){.exit = on_exit_of_cpu, .who = m};
    check(ram_create(RAM_PRIVATE, &m->mem, &e), &e);
    check(mem_add_ram(m->mem, 0, bytes & ~UINT64_C(0xfff), false, &e), &e);
    m->ram = mem_find(m->mem, 0)->host;
    memcpy(m->ram + TABLES, &tables[0], 8);
    memcpy(m->ram + TABLES + 0x1000, &tables[1], 8);
    for (uint64_t n = 0; n < 512; n++) {
        uint64_t page = n << 21 | 0x87;

        memcpy(m->ram + TABLES + 0x2000 + n * 8, &page, 8);
    }
    for (unsigned n = 0; n < cpus; n++) {
        make_cpu(m, n, executor);
    }
}

static void destroy(struct machine *m)
{
    for (unsigned n = 0; n < CPUS_MOST; n++) {
        if (m->cpu[n] != NULL) {
            cpu_destroy(m->cpu[n]);
        }
    }
    mem_destroy(m->mem);
}

static void *run_cpu(void *cpu)
{
    (void)cpu_run(cpu, UINT64_MAX);
    return NULL;
}

static void run_all(struct machine *m, unsigned cpus)
{
    pthread_t thread[CPUS_MOST];

    for (unsigned n = 0; n < cpus; n++) {
        if (pthread_create(&thread[n], NULL, run_cpu, m->cpu[n]) != 0) {
            abort();
        }
    }
    for (unsigned n = 0; n < cpus; n++) {
        (void)pthread_join(thread[n], NULL);
    }
}

static uint64_t word_at(const struct machine *m, uint64_t at, unsigned bytes)
{
    uint64_t v = 0;

    memcpy(&v, m->ram + at, bytes);
    return v;
}

/* 2+2W is seen in memory: both words keep the first store of the other. */
static bool is_2_2w_wrong(const struct machine *m, uint64_t round)
{
    uint64_t at = RESULTS + CPUS_MOST * 0x100000 + round * 256;

    return strcmp(m->l->name, "2+2W") == 0 && word_at(m, at, 4) == 2 &&
           word_at(m, at + 64, 4) == 2;
}

static bool is_count_wrong(const struct machine *m)
{
    uint64_t all = m->rounds * m->l->cpus;

    return strcmp(m->l->name, "atomic") == 0 &&
           (word_at(m, 0x22000, 4) != all || word_at(m, 0x2203f, 8) != all);
}

static unsigned run_litmus(const struct litmus *l, const char *executor, uint64_t rounds)
{
    uint64_t forbidden = 0, relaxed = 0;
    struct machine m;

    create(&m, l, l->cpus, executor, rounds);
    for (unsigned n = 0; n < l->cpus; n++) {
        memcpy(m.ram + CODE + n * 0x1000, l->from[n], (size_t)(l->to[n] - l->from[n]));
        set_registers(&m, n);
    }
    run_all(&m, l->cpus);
    for (uint64_t r = 0; r < rounds; r++) {
        uint32_t seen[CPUS_MOST][2] = {{0}};

        for (unsigned n = 0; n < l->cpus; n++) {
            memcpy(seen[n], m.ram + RESULTS + n * 0x100000 + r * ROUND_BYTES, 8);
        }
        forbidden += l->forbidden((const uint32_t(*)[2])seen) || is_2_2w_wrong(&m, r);
        relaxed += l->relaxed((const uint32_t(*)[2])seen);
    }
    forbidden += word_at(&m, ARRIVED, 8) != rounds * l->cpus || is_count_wrong(&m);
    printf("%-10s %u processors, %lu rounds: %lu forbidden, %lu relaxed\n", l->name,
           l->cpus, (unsigned long)rounds, (unsigned long)forbidden,
           (unsigned long)relaxed);
    destroy(&m);
    return forbidden > 0;
}

/* Processor 0 rewrites `mov $n, %eax; ret` that processor 1 calls: it stores n into the
 * immediate, raises the flag, and waits for the answer.  Processor 1 serialises with
 * CPUID after it has seen the flag (SDM volume 3A, 8.1.3) and must run the new bytes. */
__asm__(".pushsection .rodata\n"
        "writer: mov $1, %ecx\n"
        "1: mov %ecx, 0x12001\n"
        "mov %ecx, 0x20000\n"
        "2: out %al, $0x80\n cmp %ecx, 0x20040\n jne 2b\n"
        "mov 0x20080, %edx\n cmp %ecx, %edx\n je 3f\n incl 0x200c0\n"
        "3: inc %ecx\n cmp %r8d, %ecx\n jbe 1b\n hlt\n"
        "writer_end:\n"
        "reader: mov $1, %esi\n"
        "1: out %al, $0x80\n cmp %esi, 0x20000\n jne 1b\n"
        "xor %eax, %eax\n cpuid\n"
        "mov $0x12000, %eax\n call *%rax\n"
        "mov %eax, 0x20080\n mov %esi, 0x20040\n"
        "inc %esi\n cmp %r8d, %esi\n jbe 1b\n hlt\n"
        "reader_end:\n"
        "callee: mov $0, %eax\n ret\n"
        "callee_end:\n.popsection\n");
extern const uint8_t writer[], writer_end[], reader[], reader_end[], callee[],
    callee_end[];

static unsigned run_rewriting(const char *executor, uint64_t rounds)
{
    uint64_t wrong;
    struct machine m;

    create(&m, NULL, 2, executor, rounds);
    memcpy(m.ram + CODE, writer, (size_t)(writer_end - writer));
    memcpy(m.ram + CODE + 0x1000, reader, (size_t)(reader_end - reader));
    memcpy(m.ram + CODE + 0x2000, callee, (size_t)(callee_end - callee));
    set_registers(&m, 0);
    set_registers(&m, 1);
    run_all(&m, 2);
    wrong = word_at(&m, 0x200c0, 4) + (word_at(&m, 0x20080, 4) != rounds);
    printf("rewriting  2 processors, %lu rounds: %lu wrong\n", (unsigned long)rounds,
           (unsigned long)wrong);
    destroy(&m);
    return wrong > 0;
}

int main(int argc, char **argv)
{
    const char *executor = "interpret";
    uint64_t rounds = 500;
    unsigned wrong = 0;
    int c;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((c = getopt(argc, argv, "e:n:")) != -1) {
        if (c == 'e') {
            executor = optarg;
        } else if (c == 'n') {
            rounds = strtoull(optarg, NULL, 0);
        } else {
            return 2;
        }
    }
    if (rounds == 0 || rounds > ROUNDS_MOST) {
        return 2;
    }
    for (unsigned n = 0; n < sizeof tests / sizeof tests[0]; n++) {
        uint64_t share = tests[n].cpus > 2 ? rounds / 8 + 1 : rounds;

        wrong += run_litmus(&tests[n], executor, share);
    }
    wrong += run_rewriting(executor, rounds);
    return wrong > 0;
}
