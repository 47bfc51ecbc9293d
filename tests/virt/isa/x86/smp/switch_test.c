/* switch_test.c - more processors than the host gives: five on one of its processors, and every
 * register of each - general, flags, x87, vector - is after a switch what it was before.
 *
 *   switch_test [SWITCHES]
 *
 * Each processor fills its registers with patterns of its own and leaves the guest again and
 * again, where its thread yields to the others; behind each it compares what it holds with what
 * it held at first, which the host compares with the patterns.  The host counts the switches.
 * rows: HYP-20 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define CPUS      5
#define RAM_BYTES (2u << 20)
#define TABLES    0x1000u
#define CODE      0x10000u
#define PATTERNS  0x20000u  /* 0x1000 for each processor */
#define AREAS     0x100000u /* 0x10000 for each: at first, now (0x1000), wrong (0x2000) */

/* rbx: patterns, rbp: area, r8: rounds.
 *
 *   patterns  0 ymm0..15, 300 doubles for the x87 stack, 340 r9..r15, rdx, rax, rsi, rdi, rcx,
 *             3a0 flags, 3a8 MXCSR
 *   area      0 as FXSAVE stores it, 200 ymm0..15, 400 flags and the registers as above */
#define EACH_VECTOR(what)                                                                \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9)      \
        what(10) what(11) what(12) what(13) what(14) what(15)
#define LOAD(n)  "vmovdqu 32*" #n "(%rbx), %ymm" #n "\n"
#define STORE(n) "vmovdqu %ymm" #n ", 0x200+32*" #n "(%rbp)\n"

__asm__(
    ".pushsection .rodata\n"
    "holder: fninit\n ldmxcsr 0x3a8(%rbx)\n"
    "fldl 0x300(%rbx)\n fldl 0x308(%rbx)\n fldl 0x310(%rbx)\n fldl 0x318(%rbx)\n"
    "fldl 0x320(%rbx)\n fldl 0x328(%rbx)\n fldl 0x330(%rbx)\n fldl 0x338(%rbx)\n" EACH_VECTOR(
        LOAD) "mov 0x340(%rbx), %r9\n mov 0x348(%rbx), %r10\n mov 0x350(%rbx), %r11\n"
              "mov 0x358(%rbx), %r12\n mov 0x360(%rbx), %r13\n mov 0x368(%rbx), %r14\n"
              "mov 0x370(%rbx), %r15\n mov 0x378(%rbx), %rdx\n mov 0x380(%rbx), %rax\n"
              "call 5f\n call 4f\n"
              "1: out %al, $0x80\n"
              "lea 0x1000(%rbp), %rbp\n call 4f\n lea -0x1000(%rbp), %rbp\n"
              "cld\n mov %rbp, %rsi\n lea 0x1000(%rbp), %rdi\n mov $0x468 / 8, %ecx\n"
              "repe cmpsq\n je 2f\n incq 0x2000(%rbp)\n"
              "2: dec %r8\n jz 3f\n call 5f\n jmp 1b\n"
              "3: hlt\n"
              /* What it holds. */
              "4: pushfq\n popq 0x400(%rbp)\n"
              "mov %r9, 0x408(%rbp)\n mov %r10, 0x410(%rbp)\n mov %r11, 0x418(%rbp)\n"
              "mov %r12, 0x420(%rbp)\n mov %r13, 0x428(%rbp)\n mov %r14, 0x430(%rbp)\n"
              "mov %r15, 0x438(%rbp)\n mov %rdx, 0x440(%rbp)\n mov %rax, 0x448(%rbp)\n"
              "mov %rsi, 0x450(%rbp)\n mov %rdi, 0x458(%rbp)\n mov %rcx, 0x460(%rbp)\n"
              "fxsave64 (%rbp)\n" EACH_VECTOR(
                  STORE) "pushq 0x400(%rbp)\n popfq\n ret\n"
                         /* What the comparison takes. */
                         "5: mov 0x388(%rbx), %rsi\n mov 0x390(%rbx), %rdi\n mov 0x398(%rbx), %rcx\n"
                         "pushq 0x3a0(%rbx)\n popfq\n ret\n"
                         "holder_end:\n.popsection\n");
extern const uint8_t holder[], holder_end[];

struct pattern {
    uint8_t ymm[16][32];
    uint8_t none[0x100];
    double st[8];
    uint64_t gpr[12]; /* as they lie in the area */
    uint64_t flags;
    uint32_t mxcsr;
};

_Static_assert(offsetof(struct pattern, mxcsr) == 0x3a8, "as the guest has it");

struct area {
    uint16_t fcw, fsw;
    uint8_t more[20];
    uint32_t mxcsr, mask;
    uint8_t st[8][16], xmm[16][16], rest[96];
    uint8_t ymm[16][32];
    uint64_t flags, gpr[12];
};

_Static_assert(sizeof(struct area) == 0x468, "as the guest has it");

struct bench {
    struct mem *mem;
    uint8_t *ram;
    struct cpu_env env;
    struct cpu *cpu[CPUS];
    uint64_t switches[CPUS];
    uint64_t random;
};

static uint64_t switches_least = 20000; /* argv */

static int on_exit_of_cpu(void *who, struct cpu *c, struct cpu_exit *x)
{
    (void)who;
    (void)c;
    if (x->kind == CPU_EXIT_OUT) {
        (void)sched_yield();
        return 0;
    }
    return 1; /* HLT */
}

static uint64_t next(struct bench *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

static void fill(struct bench *b, struct pattern *p)
{
    static const uint64_t flags[] = {0x2, 0x3, 0x46, 0x8d7, 0x893};

    for (unsigned n = 0; n < 16; n++) {
        for (unsigned i = 0; i < 32; i++) {
            p->ymm[n][i] = (uint8_t)next(b);
        }
    }
    for (unsigned n = 0; n < 8; n++) {
        p->st[n] = (double)(int64_t)next(b) / 3.0;
    }
    for (unsigned n = 0; n < 12; n++) {
        p->gpr[n] = next(b);
    }
    p->flags = flags[next(b) % 5];
    p->mxcsr = 0x1f80 | (uint32_t)(next(b) & 3) << 13; /* another rounding */
}

static void set_registers(struct bench *b, unsigned n, uint64_t rounds)
{
    struct x86_regs r;
    struct err e = {0};

    cpu_get(b->cpu[n], &r);
    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        r.seg[s] =
            (struct x86_segment){.selector = 0x10, .attr = 0xc093, .limit = 0xffffffff};
    }
    r.seg[X86_CS] =
        (struct x86_segment){.selector = 8, .attr = 0xa09b, .limit = 0xffffffff};
    r.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
    r.cr3 = TABLES;
    r.cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXSAVE;
    r.xcr0 = 7;
    r.msr.efer = X86_EFER_LME | X86_EFER_LMA;
    r.seg[X86_TR].attr = 0x8b;
    r.rflags = 2;
    r.gpr[X86_RIP] = CODE;
    r.gpr[X86_RSP] = 0x8000 + n * 0x1000;
    r.gpr[X86_RBX] = PATTERNS + n * 0x1000;
    r.gpr[X86_RBP] = AREAS + n * 0x10000;
    r.gpr[X86_R8] = rounds;
    if (cpu_set(b->cpu[n], &r, &e) != 0) {
        fail_msg("%s", e.text);
    }
}

/* False: this host lets nobody make code. */
static bool set_up(struct bench *b, const char *engine, uint64_t rounds)
{
    const uint64_t tables[3] = {(TABLES + 0x1000) | 7, (TABLES + 0x2000) | 7, 0x87};
    const struct x86_model *model = x86_model_find("host-like");

    *b = (struct bench){.random = 0x9e3779b97f4a7c15};
    b->env = (struct cpu_env){.exit = on_exit_of_cpu, .who = b};
    assert_int_equal(ram_create(RAM_PRIVATE, &b->mem, NULL), 0);
    assert_int_equal(mem_add_ram(b->mem, 0, RAM_BYTES, false, NULL), 0);
    b->ram = mem_find(b->mem, 0)->host;
    for (unsigned n = 0; n < 3; n++) {
        memcpy(b->ram + TABLES + n * 0x1000, &tables[n], sizeof tables[n]);
    }
    memcpy(b->ram + CODE, holder, (size_t)(holder_end - holder));
    for (unsigned n = 0; n < CPUS; n++) {
        const struct translate_options o = {.index = n, .code_bytes = 1 << 20};
        int r = strcmp(engine, "translate") == 0
                    ? translate_create(b->mem, model, &b->env, &o, &b->cpu[n], NULL)
                    : interpret_create(b->mem, model, &b->env, n, &b->cpu[n], NULL);

        if (r == -ENOTSUP) {
            return false;
        }
        assert_int_equal(r, 0);
        fill(b, (struct pattern *)(void *)(b->ram + PATTERNS + n * 0x1000));
        set_registers(b, n, rounds);
    }
    return true;
}

static void tear_down(struct bench *b)
{
    for (unsigned n = 0; n < CPUS; n++) {
        if (b->cpu[n] != NULL) {
            cpu_destroy(b->cpu[n]);
        }
    }
    mem_destroy(b->mem);
}

struct runner {
    struct bench *bench;
    unsigned index;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct runner *r = arg;
    struct rusage u;

    (void)cpu_run(r->bench->cpu[r->index], UINT64_MAX);
    (void)getrusage(RUSAGE_THREAD, &u);
    r->bench->switches[r->index] = (uint64_t)(u.ru_nvcsw + u.ru_nivcsw);
    return NULL;
}

static void run_all(struct bench *b)
{
    struct runner r[CPUS];

    for (unsigned n = 0; n < CPUS; n++) {
        r[n] = (struct runner){.bench = b, .index = n};
        assert_int_equal(pthread_create(&r[n].thread, NULL, run, &r[n]), 0);
    }
    for (unsigned n = 0; n < CPUS; n++) {
        assert_int_equal(pthread_join(r[n].thread, NULL), 0);
    }
}

static void assert_held(const struct bench *b, unsigned n)
{
    const struct pattern *p = (const void *)(b->ram + PATTERNS + n * 0x1000);
    const struct area *a = (const void *)(b->ram + AREAS + n * 0x10000);
    uint64_t wrong;

    memcpy(&wrong, b->ram + AREAS + n * 0x10000 + 0x2000, sizeof wrong);
    assert_int_equal(wrong, 0);
    assert_memory_equal(a->ymm, p->ymm, sizeof a->ymm);
    for (unsigned i = 0; i < 8; i++) {
        long double held = 0;

        memcpy(&held, a->st[i], 10);
        assert_true(held == (long double)p->st[7 - i]); /* the last is on top */
    }
    assert_memory_equal(a->gpr, p->gpr, sizeof a->gpr);
    assert_int_equal(a->flags, p->flags);
    assert_int_equal(a->mxcsr, p->mxcsr);
    assert_memory_equal(b->ram + AREAS + n * 0x10000,
                        b->ram + AREAS + n * 0x10000 + 0x1000, sizeof *a);
}

static void pin(void)
{
    cpu_set_t may, one;
    int n = 0;

    assert_int_equal(sched_getaffinity(0, sizeof may, &may), 0);
    while (!CPU_ISSET(n, &may)) {
        n++;
    }
    CPU_ZERO(&one);
    CPU_SET(n, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
}

static double processor_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void all_hold_theirs(const char *engine)
{
    uint64_t switches = 0;
    struct bench b;
    double took;

    if (!set_up(&b, engine, switches_least / CPUS * 2)) {
        tear_down(&b);
        print_message("this host lets nobody make code\n");
        return;
    }
    took = processor_us();
    run_all(&b);
    took = processor_us() - took;
    for (unsigned n = 0; n < CPUS; n++) {
        assert_held(&b, n);
        switches += b.switches[n];
    }
    print_message("%s: %llu switches, %.2f us of processor time each with the guest's "
                  "comparison\n",
                  engine, (unsigned long long)switches, took / (double)switches);
    assert_true(switches >= switches_least);
    tear_down(&b);
}

static void interpreted_processors_hold_their_registers(void **state)
{
    (void)state;
    all_hold_theirs("interpret");
}

static void translated_processors_hold_their_registers(void **state)
{
    (void)state;
    all_hold_theirs("translate");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpreted_processors_hold_their_registers),
        cmocka_unit_test(translated_processors_hold_their_registers),
    };

    switches_least = argc > 1 ? strtoull(argv[1], NULL, 10) : switches_least;
    if (!__builtin_cpu_supports("avx")) {
        return 77;
    }
    pin();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
