/* probe.c - does /dev/kvm run an operating system here?
 *
 * Guests of a few instructions, each with its registers set for the mode that it is about,
 * in 4 MiB of memory: page tables that map it to itself, and once more into the upper half;
 * descriptor tables; handlers that stop.  First speed, as a loop in each mode; then what
 * a kernel lives by: faults, system calls, interrupts, ports, memory outside RAM, changes
 * of a translation.  A guest that does not stop is stopped. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/x86/system/system.h"
#include "virt/monitor/kvm/private.h"

#define RAM_BYTES  (UINT64_C(4) << 20)
#define CODE       0x1000u
#define USER_CODE  0x3000u
#define STOPS      0x2000u /* one HLT for each vector */
#define GDT        0x4000u
#define IDT        0x5000u
#define TSS        0x6000u
#define STACK      0x7ff0u
#define PML4       0x8000u
#define PDPT       0x9000u
#define PD         0xa000u
#define UPPER      UINT64_C(0xffffffff80000000)
#define OTHER_PAGE 0x200000u /* the second large page */
#define OUTSIDE    UINT64_C(0xd0000000)
#define VECTOR     0x40
#define NOWHERE    UINT64_C(0x4000fff8) /* unmapped; its low word is no selector either */

/* A host that does the loop in a millisecond is good; where one that is good is so busy
 * that it takes eight, the translator is no worse. */
#define LOOPS       2000000u
#define PATIENCE_NS 8000000
#define SLOWER_MOST 5
#define SLACK_NS    3000000u

#define SELECT_CODE 0x08
#define SELECT_DATA 0x10
#define SELECT_USER 0x20 /* data; code follows, as SYSRET wants it */
#define SELECT_TSS  0x30

struct probe {
    const struct kvm_test *test;
    struct mem *mem;
    struct cpu_env env;
    struct cpu *cpu;
    struct kvm_report *report;
    bool is_late; /* it did not stop by itself */
    bool has_halted;
    bool has_shut_down;
    int vector; /* to be injected; -1: none */
    unsigned outs, stores;
    uint64_t seen; /* what was written outside */
    int idle_turns;
};

/* ---- the guest's surroundings ---- */

static int on_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct probe *p = who;

    (void)c;
    switch (x->kind) {
    case CPU_EXIT_IN:
    case CPU_EXIT_READ:
        x->value = 0x5a;
        return 0;
    case CPU_EXIT_OUT:
        p->outs++;
        p->seen = x->value;
        return 0;
    case CPU_EXIT_WRITE:
        p->stores++;
        p->seen = x->value;
        return 0;
    case CPU_EXIT_HALT:
        if (p->vector >= 0 && p->idle_turns++ == 0) {
            cpu_kick(c, CPU_KICK_INTERRUPT);
            return 0;
        }
        p->has_halted = true;
        return 1;
    case CPU_EXIT_KICKED:
        p->is_late = true;
        return 1;
    case CPU_EXIT_SHUTDOWN:
        p->has_shut_down = true;
        return 1;
    default:
        return 1;
    }
}

static int on_take(void *who, struct cpu *c)
{
    struct probe *p = who;
    int vector = p->vector;

    (void)c;
    p->vector = -1;
    return vector;
}

static void on_alarm(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    cpu_kick(info->si_value.sival_ptr, CPU_KICK_STOP);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* How long it ran; 0 it could not. */
static uint64_t run(struct probe *p, const struct x86_regs *regs)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID,
                          .sigev_signo = kvm_signal() + 1,
                          .sigev_value.sival_ptr = p->cpu};
    struct itimerspec in = {
        .it_value = {.tv_sec = p->test->patience_s, .tv_nsec = p->test->patience_ns}};
    struct sigaction a = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    timer_t timer;
    uint64_t since;
    int r;

    p->is_late = p->has_halted = p->has_shut_down = false;
    p->outs = p->stores = 0;
    p->seen = 0;
    p->idle_turns = 0;
    ev._sigev_un._tid = (int)syscall(SYS_gettid);
    if (cpu_set(p->cpu, regs, NULL) != 0 || sigaction(ev.sigev_signo, &a, &before) != 0) {
        return 0;
    }
    if (timer_create(CLOCK_MONOTONIC, &ev, &timer) != 0) {
        (void)sigaction(ev.sigev_signo, &before, NULL);
        return 0;
    }
    (void)timer_settime(timer, 0, &in, NULL);
    since = now_ns();
    r = cpu_run(p->cpu, UINT64_MAX);
    since = now_ns() - since;
    (void)timer_delete(timer);
    (void)sigaction(ev.sigev_signo, &before, NULL);
    return r != 0 ? 0 : since == 0 ? 1 : since;
}

static void put(struct probe *p, uint64_t at, const void *bytes, size_t n)
{
    (void)mem_write(p->mem, at, bytes, n);
}

static uint64_t peek(struct probe *p, uint64_t at)
{
    uint64_t v = 0;

    (void)mem_read(p->mem, at, &v, sizeof v);
    return v;
}

/* SDM (September 2023) volume 3A, 3.4.5, 4.5, 6.14.1, 7.7. */
static void lay_tables(struct probe *p)
{
    const uint64_t gdt[8] = {0,
                             UINT64_C(0x00af9b000000ffff),
                             UINT64_C(0x00cf93000000ffff),
                             0,
                             UINT64_C(0x00cff3000000ffff),
                             UINT64_C(0x00affb000000ffff),
                             UINT64_C(0x00008b0000000067) | (uint64_t)TSS << 16,
                             0};
    uint64_t entry = PDPT | 7;
    uint64_t stack = STACK;

    put(p, GDT, gdt, sizeof gdt);
    put(p, PML4, &entry, 8);
    put(p, PML4 + 511 * 8, &entry, 8);
    entry = PD | 7;
    put(p, PDPT, &entry, 8);
    put(p, PDPT + 510 * 8, &entry, 8);
    entry = 0x87;
    put(p, PD, &entry, 8);
    entry = OTHER_PAGE | 0x87;
    put(p, PD + 8, &entry, 8);
    entry = OUTSIDE | 0x87;
    put(p, PD + 16, &entry, 8); /* at 4 MiB */
    put(p, TSS + 4, &stack, 8);
    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = UPPER + STOPS + v;
        uint64_t gate[2] = {(at & 0xffff) | (uint64_t)SELECT_CODE << 16 |
                                UINT64_C(0x8e00) << 32 | (at >> 16 & 0xffff) << 48,
                            at >> 32};
        uint8_t hlt = 0xf4;

        put(p, IDT + v * 16, gate, sizeof gate);
        put(p, STOPS + v, &hlt, 1);
    }
}

static void flat(struct x86_segment *s, uint16_t selector, uint16_t attr)
{
    *s = (struct x86_segment){.selector = selector, .attr = attr, .limit = 0xffffffff};
}

static struct x86_regs protected_regs(const struct x86_regs *reset)
{
    struct x86_regs r = *reset;

    r.cr0 = 0x11; /* ET, PE */
    flat(&r.seg[X86_CS], SELECT_CODE, 0xc09b);
    for (unsigned s = 0; s < X86_LDTR; s++) {
        if (s != X86_CS) {
            flat(&r.seg[s], SELECT_DATA, 0xc093);
        }
    }
    r.seg[X86_TR] = (struct x86_segment){
        .selector = SELECT_TSS, .attr = 0x8b, .limit = 0x67, .base = TSS};
    r.gdtr = (struct x86_table){.base = GDT, .limit = 63};
    r.idtr = (struct x86_table){.base = IDT, .limit = 0xfff};
    r.gpr[X86_RIP] = CODE;
    r.gpr[X86_RSP] = STACK;
    return r;
}

static struct x86_regs long_regs(const struct x86_regs *reset)
{
    struct x86_regs r = protected_regs(reset);

    r.cr0 = 0x80010011; /* PG, WP */
    r.cr4 = 0x20;       /* PAE */
    r.msr.efer = 0xd01; /* NXE, LMA, LME, SCE */
    r.cr3 = PML4;
    flat(&r.seg[X86_CS], SELECT_CODE, 0xa09b);
    r.gdtr.base += UPPER;
    r.idtr.base += UPPER;
    r.seg[X86_TR].base += UPPER;
    r.gpr[X86_RIP] += UPPER;
    r.gpr[X86_RSP] += UPPER;
    return r;
}

/* ---- the questions ---- */

static bool fail(struct probe *p, const char *what)
{
    (void)snprintf(p->report->why, sizeof p->report->why, "/dev/kvm: %s", what);
    return false;
}

static uint64_t native_loop_ns(uint32_t rounds)
{
    uint64_t since = now_ns();
    uint64_t n = rounds;

    __asm__ volatile("1: dec %0; jnz 1b" : "+r"(n));
    return now_ns() - since;
}

static bool ask_speed(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t in_16[] = {0x66, 0x49, 0x75, 0xfc, 0xf4}; /* dec ecx; jnz; hlt */
    static const uint8_t in_32[] = {0x49, 0x75, 0xfd, 0xf4};
    static const uint8_t in_64[] = {0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4};
    struct x86_regs r = long_regs(reset);
    uint64_t most = SLOWER_MOST * native_loop_ns(p->test->loops) + SLACK_NS;
    uint64_t ns;

    put(p, CODE, in_64, sizeof in_64);
    r.gpr[X86_RCX] = 1000;
    if (run(p, &r) == 0 || !p->has_halted) {
        return fail(p, "a loop of a thousand turns did not end");
    }
    p->report->is_there = true;
    r.gpr[X86_RCX] = p->test->loops;
    ns = run(p, &r);
    if (!p->has_halted || ns > most) {
        return fail(
            p, "it emulates code of ring 0 (a loop is not done at the host's speed)");
    }
    put(p, CODE, in_32, sizeof in_32);
    r = protected_regs(reset);
    r.gpr[X86_RCX] = p->test->loops;
    ns = run(p, &r);
    if (!p->has_halted || ns > most) {
        return fail(p, "it emulates 32-bit code of ring 0");
    }
    put(p, CODE, in_16, sizeof in_16);
    r = *reset;
    r.seg[X86_CS].selector = 0;
    r.seg[X86_CS].base = 0;
    r.gpr[X86_RIP] = CODE;
    r.gpr[X86_RCX] = p->test->loops / 20;
    (void)run(p, &r);
    return p->has_halted || fail(p, "it emulates real mode, slowly");
}

/* Code that faults stops in its handler, with the fault's frame on the stack. */
static bool faults(struct probe *p, const struct x86_regs *reset, const uint8_t *code,
                   size_t bytes, unsigned vector, uint64_t error)
{
    struct x86_regs r = long_regs(reset);
    struct x86_regs after;
    unsigned words = error == UINT64_MAX ? 5 : 6;
    uint64_t frame = STACK - words * 8;

    r.gpr[X86_RAX] = NOWHERE;
    put(p, CODE, code, bytes);
    if (run(p, &r) == 0 || !p->has_halted) {
        return false;
    }
    cpu_get(p->cpu, &after);
    return after.gpr[X86_RIP] == UPPER + STOPS + vector + 1 &&
           after.gpr[X86_RSP] == UPPER + frame &&
           (words == 5 || peek(p, frame) == error) &&
           peek(p, frame + (words - 5) * 8) == UPPER + CODE &&
           (vector != 14 || after.cr2 == r.gpr[X86_RAX]);
}

static bool ask_faults(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t store[] = {0x48, 0x89, 0x00, 0xf4};      /* mov %rax,(%rax) */
    static const uint8_t undefined[] = {0x0f, 0x0b, 0xf4};        /* ud2 */
    static const uint8_t no_segment[] = {0x48, 0x8e, 0xd8, 0xf4}; /* mov %eax,%ds */

    if (!faults(p, reset, store, sizeof store, 14, 2)) {
        return fail(p, "a page fault does not reach its handler as it should");
    }
    if (!faults(p, reset, undefined, sizeof undefined, 6, UINT64_MAX)) {
        return fail(p, "an invalid instruction does not reach its handler");
    }
    if (!faults(p, reset, no_segment, sizeof no_segment, 13, 0xfff8)) {
        return fail(p, "a protection fault does not reach its handler");
    }
    return true;
}

static bool ask_user(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t kernel[] = {0x48, 0xcf};           /* iretq */
    static const uint8_t user[] = {0x90, 0x0f, 0x05, 0xf4}; /* nop; syscall */
    const uint64_t frame[5] = {USER_CODE, SELECT_USER + 8 + 3, 2, 0x3ff0,
                               SELECT_USER + 3};
    struct x86_regs r = long_regs(reset);
    struct x86_regs after;

    put(p, CODE, kernel, sizeof kernel);
    put(p, USER_CODE, user, sizeof user);
    put(p, STACK - sizeof frame, frame, sizeof frame);
    r.gpr[X86_RSP] -= sizeof frame;
    r.msr.star = (uint64_t)(SELECT_USER - 8) << 48 | (uint64_t)SELECT_CODE << 32;
    r.msr.lstar = UPPER + STOPS;
    if (run(p, &r) == 0 || !p->has_halted) {
        return fail(p, "a process of ring 3 makes no system call");
    }
    cpu_get(p->cpu, &after);
    return (after.gpr[X86_RIP] == UPPER + STOPS + 1 && after.cpl == 0 &&
            after.gpr[X86_RCX] == USER_CODE + 3) ||
           fail(p, "a system call arrives at the wrong place");
}

static bool ask_interrupt(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t code[] = {0xfb, 0xf4, 0xf4}; /* sti; hlt */
    struct x86_regs r = long_regs(reset);
    struct x86_regs after;

    put(p, CODE, code, sizeof code);
    p->vector = VECTOR;
    if (run(p, &r) == 0 || !p->has_halted) {
        p->vector = -1;
        return fail(p, "an interrupt does not wake a processor that halted");
    }
    cpu_get(p->cpu, &after);
    return after.gpr[X86_RIP] == UPPER + STOPS + VECTOR + 1 ||
           fail(p, "an interrupt arrives at the wrong place");
}

static bool ask_outside(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t code[] = {
        0xe4, 0x10,                      /* in $0x10,%al */
        0xe6, 0x11,                      /* out %al,$0x11 */
        0x8b, 0x1c, 0x25, 0, 0, 0x40, 0, /* mov 0x400000,%ebx */
        0x89, 0x1c, 0x25, 4, 0, 0x40, 0, /* mov %ebx,0x400004 */
        0xf4,
    };
    struct x86_regs r = long_regs(reset);

    put(p, CODE, code, sizeof code);
    r.gpr[X86_RAX] = 0;
    return (run(p, &r) != 0 && p->has_halted && p->outs == 1 && p->stores == 1 &&
            p->seen == 0x5a) ||
           fail(p, "ports or memory outside RAM are not passed on");
}

/* A translation changes: mov to CR3, then INVLPG. */
static bool ask_translation(struct probe *p, const struct x86_regs *reset)
{
    static const uint8_t code[] = {
        0x8a, 0x1c, 0x25, 0,    0,    0x20, 0,                      /* mov 0x200000,%bl */
        0x48, 0xc7, 0x04, 0x25, 0x08, 0xa0, 0,    0, 0x87, 0, 0, 0, /* movq $0x87,PD+8 */
        0x0f, 0x01, 0x3c, 0x25, 0,    0,    0x20, 0,                /* invlpg 0x200000 */
        0x8a, 0x3c, 0x25, 0,    0x10, 0x20, 0,                      /* mov 0x201000,%bh */
        0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9, /* mov %cr3,%rcx; mov %rcx,%cr3 */
        0xf4,
    };
    struct x86_regs r = long_regs(reset);
    struct x86_regs after;
    uint8_t mark = 0x77;
    uint64_t entry = OTHER_PAGE | 0x87;

    put(p, CODE, code, sizeof code);
    put(p, OTHER_PAGE, &mark, 1);
    put(p, PD + 8, &entry, 8);
    (void)run(p, &r);
    cpu_get(p->cpu, &after);
    return (p->has_halted && (after.gpr[X86_RBX] & 0xff) == mark &&
            (after.gpr[X86_RBX] >> 8 & 0xff) == code[0]) ||
           fail(p, "a changed translation is not seen");
}

static void ask_all(struct probe *p)
{
    struct x86_regs reset;

    cpu_get(p->cpu, &reset);
    lay_tables(p);
    if (ask_speed(p, &reset) && ask_faults(p, &reset) && ask_user(p, &reset) &&
        ask_interrupt(p, &reset) && ask_outside(p, &reset) &&
        ask_translation(p, &reset)) {
        p->report->is_good = true;
        (void)snprintf(p->report->why, sizeof p->report->why,
                       "this host has hardware virtualization, and it works");
    }
}

void kvm_probe_by(const struct kvm_test *t, struct kvm_report *ret)
{
    struct err e = {0};
    struct probe p = {.test = t, .report = ret, .vector = -1};
    int r;

    p.env = (struct cpu_env){.exit = on_exit, .take_interrupt = on_take, .who = &p};
    *ret = (struct kvm_report){0};
    r = ram_create(RAM_PRIVATE, &p.mem, &e);
    r = r == 0 ? mem_add_ram(p.mem, 0, RAM_BYTES, false, &e) : r;
    r = r == 0 ? t->make(t->who, p.mem, &p.env, &p.cpu, &e) : r;
    if (r == 0) {
        ask_all(&p);
    } else {
        (void)snprintf(ret->why, sizeof ret->why, "%.150s", e.text);
    }
    cpu_destroy(p.cpu);
    if (t->unmake != NULL) {
        t->unmake(t->who);
    }
    mem_destroy(p.mem);
}

struct made {
    struct kvm_vm *vm;
    int device;
};

static int make(void *who, struct mem *m, const struct cpu_env *env, struct cpu **ret,
                struct err *e)
{
    struct made *made = who;
    int r = kvm_vm_create(m, made->device, &made->vm, e);

    return r == 0 ? kvm_cpu_create(made->vm, x86_model_find("host-like"), env, 0, ret, e)
                  : r;
}

static void unmake(void *who)
{
    kvm_vm_destroy(((struct made *)who)->vm);
}

void kvm_probe(int device, struct kvm_report *ret)
{
    struct made made = {.device = device};
    const struct kvm_test test = {.make = make,
                                  .unmake = unmake,
                                  .who = &made,
                                  .loops = LOOPS,
                                  .patience_ns = PATIENCE_NS};

    kvm_probe_by(&test, ret);
}
