/* The promises of contract/cpu.h, the same for every engine: what a guest does to its
 * surroundings is told by all in the same words, what is set comes back, kicks arrive.
 * Truth for the registers' meaning is the guests' code, which computes with them.
 * rows: HAV-01, HAV-07, HAV-08 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"
#include "virt/monitor/kvm/kvm.h"
#include "virt/monitor/kvm/private.h"

#define CODE      0x1000u
#define STACK     0x4000u
#define RAM_BYTES (UINT64_C(1) << 20)
#define LOG_BYTES 4096

struct bench {
    const char *engine;
    struct mem *mem;
    struct kvm_vm *vm;
    struct cpu_env env;
    struct cpu *cpu;
    char log[LOG_BYTES];
    size_t logged;
    int vectors[8];
    unsigned next_vector;
    unsigned halts_most; /* the next one ends the run */
    enum cpu_exit_kind stop_at;
};

static void note(struct bench *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    b->logged +=
        (size_t)vsnprintf(b->log + b->logged, sizeof b->log - b->logged, format, args);
    va_end(args);
    assert_true(b->logged < sizeof b->log);
}

static int on_exit_of(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct bench *b = who;

    (void)c;
    switch (x->kind) {
    case CPU_EXIT_IN:
        x->value = 0xa5b6c7d8u + x->address;
        note(b, "in %u %#llx;", x->bytes, (unsigned long long)x->address);
        break;
    case CPU_EXIT_OUT:
        note(b, "out %u %#llx %#llx;", x->bytes, (unsigned long long)x->address,
             (unsigned long long)x->value);
        break;
    case CPU_EXIT_READ:
        x->value = UINT64_C(0x1122334455667788) + x->address;
        note(b, "read %u %#llx;", x->bytes, (unsigned long long)x->address);
        break;
    case CPU_EXIT_WRITE:
        note(b, "write %u %#llx %#llx;", x->bytes, (unsigned long long)x->address,
             (unsigned long long)x->value);
        break;
    case CPU_EXIT_MSR_READ:
        note(b, "rdmsr %#llx;", (unsigned long long)x->address);
        x->refused = x->address != 0x6e0;
        x->value = UINT64_C(0x1234567890);
        break;
    case CPU_EXIT_MSR_WRITE:
        note(b, "wrmsr %#llx %#llx;", (unsigned long long)x->address,
             (unsigned long long)x->value);
        x->refused = x->address != 0x6e0;
        break;
    case CPU_EXIT_HALT:
        note(b, "halt;");
        if (b->halts_most == 0) {
            return 1;
        }
        b->halts_most--;
        return 0;
    case CPU_EXIT_SHUTDOWN:
        note(b, "shutdown;");
        return 1;
    case CPU_EXIT_KICKED:
        note(b, "kicked;");
        return 1;
    default:
        break;
    }
    return x->kind == b->stop_at;
}

static int on_take(void *who, struct cpu *c)
{
    struct bench *b = who;

    (void)c;
    return b->next_vector < 8 && b->vectors[b->next_vector] != 0
               ? b->vectors[b->next_vector++]
               : -1;
}

static void make_cpu(struct bench *b)
{
    const struct x86_model *model = x86_model_find("base");
    struct err e = {0};
    int r;

    if (strcmp(b->engine, "interpret") == 0) {
        r = interpret_create(b->mem, model, &b->env, 0, &b->cpu, &e);
    } else if (strcmp(b->engine, "translate") == 0) {
        const struct translate_options o = {.warm = 1, .code_bytes = 1 << 20};

        r = translate_create(b->mem, model, &b->env, &o, &b->cpu, &e);
    } else {
        r = kvm_vm_create(b->mem, 0, &b->vm, &e);
        assert_int_equal(r, 0);
        r = kvm_cpu_create(b->vm, model, &b->env, 0, &b->cpu, &e);
    }
    if (r != 0) {
        fail_msg("%s: %s", b->engine, e.text);
    }
}

static void bench_init(struct bench *b, const char *engine)
{
    *b = (struct bench){.engine = engine, .stop_at = CPU_EXIT_COUNT};
    b->env = (struct cpu_env){.exit = on_exit_of, .take_interrupt = on_take, .who = b};
    assert_int_equal(ram_create(RAM_PRIVATE, &b->mem, NULL), 0);
    assert_int_equal(mem_add_ram(b->mem, 0, RAM_BYTES, false, NULL), 0);
    make_cpu(b);
}

static void bench_fini(struct bench *b)
{
    cpu_destroy(b->cpu);
    kvm_vm_destroy(b->vm);
    mem_destroy(b->mem);
}

/* Real mode, all segments at 0. */
static struct x86_regs real_regs(const struct bench *b)
{
    struct x86_regs r;

    cpu_get(b->cpu, &r);
    r.seg[X86_CS].selector = 0;
    r.seg[X86_CS].base = 0;
    r.gpr[X86_RIP] = CODE;
    r.gpr[X86_RSP] = STACK;
    return r;
}

/* 32-bit protected mode, flat, without paging. */
static struct x86_regs flat_regs(const struct bench *b)
{
    struct x86_regs r = real_regs(b);

    r.cr0 = 0x11;
    for (unsigned s = 0; s < X86_LDTR; s++) {
        r.seg[s] = (struct x86_segment){
            .selector = 0x10, .attr = s == X86_CS ? 0xc09b : 0xc093, .limit = 0xffffffff};
    }
    r.seg[X86_CS].selector = 8;
    return r;
}

static void run(struct bench *b, const struct x86_regs *r, const void *code, size_t bytes)
{
    assert_int_equal(mem_write(b->mem, CODE, code, bytes), 0);
    assert_int_equal(cpu_set(b->cpu, r, NULL), 0);
    assert_int_equal(cpu_run(b->cpu, UINT64_MAX), 0);
}

static void accesses_outside_are_told(const char *engine)
{
    static const uint8_t code[] = {
        0xe4, 0x20,                         /* in $0x20,%al */
        0x66, 0xba, 0xf8, 0x03,             /* mov $0x3f8,%dx */
        0xee, 0x66, 0xef, 0xef,             /* out %al, %ax, %eax */
        0xa1, 0x00, 0x00, 0xc0, 0xfe,       /* mov 0xfec00000,%eax */
        0xa2, 0x05, 0x00, 0xc0, 0xfe,       /* mov %al,0xfec00005 */
        0x66, 0xa3, 0x06, 0x00, 0xc0, 0xfe, /* mov %ax,0xfec00006 */
        0xa3, 0x08, 0x00, 0xc0, 0xfe,       /* mov %eax,0xfec00008 */
        0xb9, 0xe0, 0x06, 0x00, 0x00,       /* mov $0x6e0,%ecx */
        0x0f, 0x32, 0x0f, 0x30,             /* rdmsr; wrmsr */
        0xf4,
    };
    struct bench b;
    struct x86_regs r;

    bench_init(&b, engine);
    r = flat_regs(&b);
    r.gpr[X86_RAX] = 0x99887766;
    run(&b, &r, code, sizeof code);
    assert_string_equal(b.log, "in 1 0x20;out 1 0x3f8 0xf8;out 2 0x3f8 0x77f8;"
                               "out 4 0x3f8 0x998877f8;read 4 0xfec00000;"
                               "write 1 0xfec00005 0x88;write 2 0xfec00006 0x7788;"
                               "write 4 0xfec00008 0x54267788;rdmsr 0x6e0;"
                               "wrmsr 0x6e0 0x1234567890;halt;");
    bench_fini(&b);
}

static void repeated_ports_come_one_by_one(const char *engine)
{
    static const uint8_t code[] = {0xf3, 0x6c, 0xf4}; /* rep insb; hlt */
    struct bench b;
    struct x86_regs r;
    uint8_t got[4] = {0};

    bench_init(&b, engine);
    r = flat_regs(&b);
    r.gpr[X86_RCX] = 3;
    r.gpr[X86_RDX] = 0x60;
    r.gpr[X86_RDI] = 0x8000;
    run(&b, &r, code, sizeof code);
    assert_string_equal(b.log, "in 1 0x60;in 1 0x60;in 1 0x60;halt;");
    assert_int_equal(mem_read(b.mem, 0x8000, got, 4), 0);
    assert_memory_equal(got, "\x38\x38\x38\0", 4);
    bench_fini(&b);
}

/* A run that is left in the middle of an access goes on behind it. */
static void what_was_left_goes_on_behind(const char *engine)
{
    static const uint8_t code[] = {0xe4, 0x20, 0x88, 0xc3, 0xf4}; /* in; mov %al,%bl */
    struct bench b;
    struct x86_regs r;

    bench_init(&b, engine);
    r = flat_regs(&b);
    b.stop_at = CPU_EXIT_IN;
    run(&b, &r, code, sizeof code);
    cpu_get(b.cpu, &r);
    assert_int_equal(r.gpr[X86_RIP], CODE + 2);
    assert_int_equal(r.gpr[X86_RAX] & 0xff, 0xf8);
    b.stop_at = CPU_EXIT_COUNT;
    assert_int_equal(cpu_run(b.cpu, UINT64_MAX), 0);
    cpu_get(b.cpu, &r);
    assert_int_equal(r.gpr[X86_RBX] & 0xff, 0xf8);
    assert_string_equal(b.log, "in 1 0x20;halt;");
    bench_fini(&b);
}

static void interrupts_wake_and_are_taken_in_order(const char *engine)
{
    /* sti; hlt; jmp back.  Handlers: out of their vector, iret. */
    static const uint8_t code[] = {0xfb, 0xf4, 0xeb, 0xfd};
    static const uint8_t handler[] = {0xb0, 0x00, 0xe6, 0x80, 0xcf};
    struct bench b;
    struct x86_regs r;

    bench_init(&b, engine);
    for (unsigned v = 0x20; v < 0x24; v++) {
        uint16_t entry[2] = {(uint16_t)(0x2000 + v * 16), 0};
        uint8_t copy[sizeof handler];

        memcpy(copy, handler, sizeof copy);
        copy[1] = (uint8_t)v;
        assert_int_equal(mem_write(b.mem, 0x2000 + v * 16, copy, sizeof copy), 0);
        assert_int_equal(mem_write(b.mem, v * 4, entry, sizeof entry), 0);
    }
    r = real_regs(&b);
    b.vectors[0] = 0x21;
    b.vectors[1] = 0x23;
    b.vectors[2] = 0x22;
    b.halts_most = 1;
    cpu_kick(b.cpu, CPU_KICK_INTERRUPT);
    run(&b, &r, code, sizeof code);
    /* All three before the first halt or behind it: the order is what counts. */
    assert_non_null(strstr(b.log, "0x21;out 1 0x80 0x23;out 1 0x80 0x22;halt;"));
    bench_fini(&b);
}

static void an_nmi_wakes_in_spite_of_if(const char *engine)
{
    static const uint8_t code[] = {0xfa, 0xf4, 0xf4};             /* cli; hlt; hlt */
    static const uint8_t handler[] = {0xb0, 2, 0xe6, 0x80, 0xcf}; /* out; iret */
    static const uint16_t entry[2] = {0x2000, 0};
    struct bench b;
    struct x86_regs r;

    bench_init(&b, engine);
    assert_int_equal(mem_write(b.mem, 0x2000, handler, sizeof handler), 0);
    assert_int_equal(mem_write(b.mem, 8, entry, sizeof entry), 0);
    r = real_regs(&b);
    run(&b, &r, code, sizeof code);
    cpu_kick(b.cpu, CPU_KICK_INTERRUPT | CPU_KICK_NMI);
    assert_int_equal(cpu_run(b.cpu, UINT64_MAX), 0);
    assert_string_equal(b.log, "halt;out 1 0x80 0x2;halt;");
    bench_fini(&b);
}

static void a_third_fault_shuts_down(const char *engine)
{
    static const uint8_t code[] = {0x0f, 0x0b}; /* ud2, and no table */
    struct bench b;
    struct x86_regs r;

    bench_init(&b, engine);
    r = flat_regs(&b);
    r.idtr = (struct x86_table){0};
    run(&b, &r, code, sizeof code);
    assert_string_equal(b.log, "shutdown;");
    bench_fini(&b);
}

static void *kick_soon(void *who)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    cpu_kick(who, CPU_KICK_STOP);
    return NULL;
}

static void an_endless_loop_is_stopped(const char *engine)
{
    static const uint8_t code[] = {0xeb, 0xfe};
    struct bench b;
    struct x86_regs r;
    pthread_t thread;

    bench_init(&b, engine);
    r = flat_regs(&b);
    cpu_kick(b.cpu, CPU_KICK_STOP); /* one before it runs counts, too */
    run(&b, &r, code, sizeof code);
    assert_int_equal(pthread_create(&thread, NULL, kick_soon, b.cpu), 0);
    assert_int_equal(cpu_run(b.cpu, UINT64_MAX), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(b.log, "kicked;kicked;");
    cpu_get(b.cpu, &r);
    assert_int_equal(r.gpr[X86_RIP], CODE);
    bench_fini(&b);
}

static void fill(void *to, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)to)[i] = (uint8_t)(*seed >> 56);
    }
}

/* A state of 64-bit code that any processor accepts, otherwise random. */
static struct x86_regs random_regs(struct bench *b, uint64_t *seed)
{
    struct x86_regs r;

    cpu_get(b->cpu, &r);
    fill(r.gpr, X86_RIP * sizeof r.gpr[0], seed);
    r.gpr[X86_RIP] = CODE;
    r.rflags = 2 | (*seed & 0xcd5);
    r.cr0 = 0x80000033;
    r.cr4 = 0x6a0 & ~UINT64_C(0x80);
    r.cr3 = 0x8000;
    r.cr2 = *seed;
    r.cr8 = *seed >> 60;
    r.msr.efer = 0x501;
    for (unsigned s = 0; s < X86_LDTR; s++) {
        r.seg[s] = (struct x86_segment){
            .selector = 0x10, .attr = s == X86_CS ? 0xa09b : 0xc093, .limit = 0xffffffff};
    }
    r.seg[X86_FS].base = *seed >> 20;
    r.seg[X86_GS].base = UINT64_C(0xffff800000000000) | *seed >> 24;
    r.seg[X86_TR] = (struct x86_segment){
        .selector = 0x30, .attr = 0x8b, .limit = 0x67, .base = 0x6000};
    r.seg[X86_LDTR] = (struct x86_segment){.attr = 0x182};
    r.gdtr = (struct x86_table){.base = UINT64_C(0xffff800000001000), .limit = 0x7f};
    r.idtr = (struct x86_table){.base = 0x5000, .limit = 0xfff};
    fill(r.fpu.ymm, sizeof r.fpu.ymm, seed);
    for (unsigned i = 0; i < 16; i++) { /* the model has no upper halves */
        memset(r.fpu.ymm[i].byte + 16, 0, 16);
    }
    for (unsigned i = 0; i < 8; i++) {
        fill(r.fpu.st[i], 10, seed);
    }
    r.fpu.fsw = (uint16_t)(*seed >> 30 & 0x3800);
    r.fpu.fcw = 0x27f;
    r.fpu.ftw = (uint8_t)(*seed >> 17);
    r.fpu.mxcsr = 0x1f80 | (*seed >> 40 & 0x3f);
    r.msr.star = *seed;
    r.msr.lstar = *seed >> 18;
    r.msr.sfmask = *seed & 0xffff;
    r.msr.kernel_gs_base = *seed >> 19;
    r.msr.sysenter_cs = 0x10;
    r.msr.sysenter_esp = *seed >> 21;
    r.dr[0] = *seed >> 22;
    r.dr[7] = 0x400;
    return r;
}

static void what_is_set_comes_back(const char *engine)
{
    struct bench b;
    uint64_t seed = 7;

    bench_init(&b, engine);
    for (unsigned i = 0; i < 200; i++) {
        struct x86_regs r = random_regs(&b, &seed);
        struct x86_regs back;

        assert_int_equal(cpu_set(b.cpu, &r, NULL), 0);
        cpu_get(b.cpu, &back);
        assert_memory_equal(back.gpr, r.gpr, (X86_RIP + 1) * sizeof r.gpr[0]);
        assert_int_equal(back.rflags, r.rflags);
        assert_memory_equal(&back.fpu, &r.fpu, sizeof r.fpu);
        assert_memory_equal(back.seg, r.seg, sizeof r.seg);
        assert_memory_equal(&back.gdtr, &r.gdtr, sizeof r.gdtr);
        assert_memory_equal(&back.idtr, &r.idtr, sizeof r.idtr);
        assert_int_equal(back.cr0, r.cr0);
        assert_int_equal(back.cr2, r.cr2);
        assert_int_equal(back.cr3, r.cr3);
        assert_int_equal(back.cr4, r.cr4);
        assert_int_equal(back.cr8, r.cr8);
        assert_int_equal(back.cpl, 0);
        assert_int_equal(back.msr.star, r.msr.star);
        assert_int_equal(back.msr.lstar, r.msr.lstar);
        assert_int_equal(back.msr.sfmask, r.msr.sfmask);
        assert_int_equal(back.msr.kernel_gs_base, r.msr.kernel_gs_base);
        assert_int_equal(back.msr.sysenter_esp, r.msr.sysenter_esp);
        assert_int_equal(back.msr.efer, r.msr.efer);
        assert_int_equal(back.dr[0], r.dr[0]);
    }
    bench_fini(&b);
}

/* One engine begins a computation, another ends it. */
static void a_guest_goes_on_under_another(const char *engine)
{
    /* mov $1000,%ecx; 1: add %ecx,%eax; rol $3,%eax; cmp $500,%ecx; jne 2f; out;
     * 2: loop 1b; hlt */
    static const uint8_t code[] = {0xb9, 0xe8, 0x03, 0,    0,    0x01, 0xc8, 0xc1,
                                   0xc0, 0x03, 0x81, 0xf9, 0xf4, 0x01, 0,    0,
                                   0x75, 0x02, 0xe6, 0x80, 0xe2, 0xef, 0xf4};
    uint32_t want = 0;
    struct bench from, to;
    struct x86_regs r;

    for (uint32_t n = 1000; n > 0; n--) {
        want += n;
        want = want << 3 | want >> 29;
    }
    bench_init(&from, engine);
    bench_init(&to, "interpret");
    r = flat_regs(&from);
    r.gpr[X86_RAX] = 0;
    from.stop_at = CPU_EXIT_OUT;
    run(&from, &r, code, sizeof code);
    cpu_get(from.cpu, &r);
    assert_int_equal(r.gpr[X86_RCX], 500);
    run(&to, &r, code, sizeof code);
    cpu_get(to.cpu, &r);
    assert_int_equal(r.gpr[X86_RAX], want);
    bench_fini(&from);
    bench_fini(&to);
}

static void (*const promises[])(const char *engine) = {
    accesses_outside_are_told,    repeated_ports_come_one_by_one,
    what_was_left_goes_on_behind, interrupts_wake_and_are_taken_in_order,
    an_nmi_wakes_in_spite_of_if,  a_third_fault_shuts_down,
    an_endless_loop_is_stopped,   what_is_set_comes_back,
    a_guest_goes_on_under_another};

static void keep_all(const char *engine)
{
    for (size_t i = 0; i < sizeof promises / sizeof promises[0]; i++) {
        promises[i](engine);
    }
}

static void test_interpreter(void **state)
{
    (void)state;
    keep_all("interpret");
}

static void test_translator(void **state)
{
    (void)state;
    keep_all("translate");
}

static void test_kvm(void **state)
{
    struct mem *m;
    struct kvm_vm *vm;
    struct err e = {0};
    int r;

    (void)state;
    assert_int_equal(ram_create(RAM_PRIVATE, &m, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0, RAM_BYTES, false, NULL), 0);
    r = kvm_vm_create(m, 0, &vm, &e);
    mem_destroy(m);
    if (r != 0) {
        print_message("%s\n", e.text);
        skip();
    }
    kvm_vm_destroy(vm);
    keep_all("kvm");
}

/* Whatever it finds: it ends soon, says why, and does not call good what is not there. */
static void test_probe(void **state)
{
    struct kvm_report report;

    (void)state;
    kvm_probe(0, &report);
    print_message("%s\n", report.why);
    assert_true(report.why[0] != '\0');
    assert_true(report.is_there || !report.is_good);
}

static int make_interpreter(void *who, struct mem *m, const struct cpu_env *env,
                            struct cpu **ret, struct err *e)
{
    (void)who;
    return interpret_create(m, x86_model_find("base"), env, 0, ret, e);
}

static int make_nothing(void *who, struct mem *m, const struct cpu_env *env,
                        struct cpu **ret, struct err *e)
{
    (void)who;
    (void)m;
    (void)env;
    (void)ret;
    return err_set(e, -ENODEV, "there is none");
}

/* The questions are fair: a processor that is right, and quick enough, passes. */
static void test_questions(void **state)
{
    const struct kvm_test fair = {
        .make = make_interpreter, .loops = 2000, .patience_s = 60};
    const struct kvm_test hasty = {
        .make = make_interpreter, .loops = 2000000000, .patience_ns = 1000000};
    const struct kvm_test none = {.make = make_nothing, .loops = 1, .patience_s = 1};
    struct kvm_report report = {0};

    (void)state;
    /* A host that is busy just then makes anything slow. */
    for (unsigned i = 0; i < 20 && !report.is_good; i++) {
        kvm_probe_by(&fair, &report);
    }
    assert_string_equal(report.why,
                        "this host has hardware virtualization, and it works");
    assert_true(report.is_good);
    kvm_probe_by(&hasty, &report);
    assert_false(report.is_good);
    assert_non_null(strstr(report.why, "ring 0"));
    kvm_probe_by(&none, &report);
    assert_false(report.is_there || report.is_good);
    assert_string_equal(report.why, "there is none");
}

/* Processors that err in one thing each; what the probe says of them. */
struct liar {
    enum cpu_exit_kind lost; /* exits of this kind are never told */
    int vector_off;          /* interrupts arrive so far away */
    const struct cpu_env *env;
    struct cpu_env own;
};

static int lie_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct liar *l = who;

    return x->kind == l->lost ? 0 : l->env->exit(l->env->who, c, x);
}

static int lie_take(void *who, struct cpu *c)
{
    struct liar *l = who;
    int vector = l->env->take_interrupt(l->env->who, c);

    return vector < 0 ? vector : vector + l->vector_off;
}

static int make_liar(void *who, struct mem *m, const struct cpu_env *env,
                     struct cpu **ret, struct err *e)
{
    struct liar *l = who;

    l->env = env;
    l->own = (struct cpu_env){.exit = lie_exit, .take_interrupt = lie_take, .who = l};
    return interpret_create(m, x86_model_find("base"), &l->own, 0, ret, e);
}

static void test_liars(void **state)
{
    struct liar l = {.lost = CPU_EXIT_WRITE};
    const struct kvm_test t = {
        .make = make_liar, .who = &l, .loops = 2000, .patience_s = 60};
    struct kvm_report report;

    (void)state;
    kvm_probe_by(&t, &report);
    assert_false(report.is_good);
    assert_non_null(strstr(report.why, "outside RAM"));
    l = (struct liar){.lost = CPU_EXIT_COUNT, .vector_off = 1};
    kvm_probe_by(&t, &report);
    assert_false(report.is_good);
    assert_non_null(strstr(report.why, "wrong place"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interpreter), cmocka_unit_test(test_translator),
        cmocka_unit_test(test_kvm),         cmocka_unit_test(test_probe),
        cmocka_unit_test(test_questions),   cmocka_unit_test(test_liars),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
