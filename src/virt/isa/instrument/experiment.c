/* experiment.c - one instruction on a processor of ours, and what it did.
 *
 * The processor is the interpreter, with tables of its own in 2 MiB of memory.  An
 * exception has no gate: it ends in a triple fault, which says that the instruction
 * trapped.  Vectors of software interrupts (1, 3, 4, 0x80) have gates to level 0.
 *
 * A preset is what a program can arrange: what stands in registers, behind addresses
 * and on the stack.  Some have selectors there, some flags, numbers of control
 * registers or model-specific ones. */
#include "virt/isa/instrument/experiment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define MEMORY_BYTES (2u << 20)
#define GDT          0x2000u
#define GDT_OTHER    0x3000u /* the same segments, but for limits, levels and types */
#define IDT          0x4000u
#define TSS          0x5000u
#define CODE         0x8000u
#define CODE_OTHER   0x8800u /* where far transfers go */
#define DATA         0x9000u
#define STACK        0xa800u
#define TABLES       0x10000u

/* Selectors; of level 3 with 3 in their low bits. */
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_DATA   0x1b
#define USER_CODE   0x23
#define TASK        0x28
#define LDT         0x38
#define TASK_OTHER  0x48
#define CONFORMING  0x5b
#define DATA_OTHER  0x63
#define GDT_ENTRIES 13

#define MSR_TSC_AUX 0xc0000103u
#define FLAGS_VISIBLE                                                                    \
    (X86_ARITHMETIC | X86_DF_BIT | X86_TF | X86_AC_BIT | X86_ID | X86_RF)

const char *const experiment_parts[PART_COUNT] = {
    "level", "GDT",      "IDT",   "LDT", "task register", "CR0",   "control registers",
    "flags", "segments", "debug", "MSR", "XCR0",          "model", "outside"};

struct machine {
    struct mem *mem;
    struct cpu *cpu;
};

struct experiment {
    struct cpu_env env;
    struct machine machine[2]; /* of two models */
    bool trapped;
    bool left;
};

static int on_exit_of_guest(void *who, struct cpu *c, struct cpu_exit *e)
{
    struct experiment *x = who;

    (void)c;
    switch (e->kind) {
    case CPU_EXIT_READ:
    case CPU_EXIT_WRITE: /* an address behind the memory */
        return 0;
    case CPU_EXIT_MSR_READ:
    case CPU_EXIT_MSR_WRITE:
        e->refused = true;
        return 0;
    case CPU_EXIT_SHUTDOWN:
        x->trapped = true;
        return 1;
    default:
        x->left |= e->kind != CPU_EXIT_BUDGET;
        return 1;
    }
}

static uint64_t stopped_clock(void *who)
{
    (void)who;
    return UINT64_C(0x123456789a);
}

static int create_machine(struct experiment *x, struct machine *m, const char *model,
                          struct err *e)
{
    const uint64_t entry[] = {(TABLES + 0x1000) | 7, (TABLES + 0x2000) | 7, 0x87};
    int r = ram_create(RAM_PRIVATE, &m->mem, e);
    unsigned i;

    r = r < 0 ? r : mem_add_ram(m->mem, 0, MEMORY_BYTES, false, e);
    for (i = 0; i < 3 && r == 0; i++) {
        r = mem_write(m->mem, TABLES + i * 0x1000, &entry[i], 8);
    }
    return r < 0
               ? r
               : interpret_create(m->mem, x86_model_find(model), &x->env, 0, &m->cpu, e);
}

int experiment_create(struct experiment **ret, struct err *e)
{
    struct experiment *x = fault_calloc(1, sizeof *x);
    int r;

    if (x == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    x->env = (struct cpu_env){.exit = on_exit_of_guest, .clock = stopped_clock, .who = x};
    r = create_machine(x, &x->machine[0], "host-like", e);
    r = r < 0 ? r : create_machine(x, &x->machine[1], "v3", e);
    if (r < 0) {
        experiment_destroy(x);
        return r;
    }
    *ret = x;
    return 0;
}

void experiment_destroy(struct experiment *x)
{
    unsigned i;

    if (x == NULL) {
        return;
    }
    for (i = 0; i < 2; i++) {
        cpu_destroy(x->machine[i].cpu);
        mem_destroy(x->machine[i].mem);
    }
    free(x);
}

static bool is_varied(const struct experiment_place *p, enum experiment_part part)
{
    return (p->varied >> part & 1) != 0;
}

/* Descriptor (SDM volume 3A, 3.4.5): limit in pages of 4 KiB. */
static uint64_t segment(unsigned access, unsigned mode, uint64_t pages)
{
    uint64_t kind = mode == X86_CODE64 && (access & 8) != 0 ? 0xa
                    : mode != X86_CODE16                    ? 0xc
                                                            : 8;

    return (pages & 0xffff) | (uint64_t)access << 40 | (pages >> 16 & 15) << 48 |
           kind << 52;
}

static void fill_gdt(unsigned mode, bool other, uint64_t gdt[GDT_ENTRIES])
{
    uint64_t pages = other ? 0x7ffff : 0xfffff;

    memset(gdt, 0, GDT_ENTRIES * sizeof *gdt);
    gdt[KERNEL_CODE / 8] = segment(0x9b, mode, pages);
    gdt[KERNEL_DATA / 8] = segment(0x93, mode, pages);
    gdt[USER_DATA / 8] = segment(0xf3, mode, pages);
    gdt[USER_CODE / 8] = segment(0xfb, mode, pages);
    gdt[TASK / 8] = 0x67 | (uint64_t)TSS << 16 | UINT64_C(0x8b) << 40;
    gdt[LDT / 8] = 0xff | (uint64_t)TSS << 16 | UINT64_C(0x82) << 40;
    gdt[TASK_OTHER / 8] = 0x67 | (uint64_t)(TSS + 0x100) << 16 | UINT64_C(0x89) << 40;
    gdt[CONFORMING / 8] = segment(0xff, mode, pages);
    gdt[DATA_OTHER / 8] = segment(other ? 0xf1 : 0xf3, mode, 0xeffff);
}

/* The gate of a software interrupt, to level 0. */
static void put_gate(unsigned mode, unsigned vector, uint8_t idt[0x81 * 16])
{
    uint64_t gate = (CODE_OTHER & 0xffff) | (uint64_t)KERNEL_CODE << 16 |
                    (uint64_t)(mode == X86_CODE16 ? 0xe6 : 0xee) << 40;

    memcpy(idt + vector * (mode == X86_CODE64 ? 16 : 8), &gate, 8);
}

static void write_tables(struct machine *m, unsigned mode)
{
    uint8_t idt[0x81 * 16] = {0};
    uint8_t tss[0x68] = {0};
    uint32_t stack32[2] = {STACK, KERNEL_DATA};
    uint64_t stack64 = STACK;
    uint16_t no_map = sizeof tss; /* of ports */
    uint64_t gdt[GDT_ENTRIES];

    fill_gdt(mode, false, gdt);
    (void)mem_write(m->mem, GDT, gdt, sizeof gdt);
    fill_gdt(mode, true, gdt);
    (void)mem_write(m->mem, GDT_OTHER, gdt, sizeof gdt);
    put_gate(mode, 1, idt);
    put_gate(mode, 3, idt);
    put_gate(mode, 4, idt);
    put_gate(mode, 0x80, idt);
    (void)mem_write(m->mem, IDT, idt, sizeof idt);
    if (mode == X86_CODE64) {
        memcpy(tss + 4, &stack64, 8);
    } else {
        memcpy(tss + 4, stack32, 8);
    }
    memcpy(tss + 0x66, &no_map, 2);
    (void)mem_write(m->mem, TSS, tss, sizeof tss);
}

static const struct {
    uint64_t operand;  /* also behind addresses, if not `zeros` */
    uint64_t frame[5]; /* on the stack, in units of the instruction's operand size */
    uint64_t counter, low, flags;
    bool zeros;
} presets[EXPERIMENT_PRESETS] = {
    {DATA_OTHER, {DATA_OTHER, DATA_OTHER, DATA_OTHER, DATA_OTHER, DATA_OTHER}, 1, 0, 0},
    {CONFORMING, {CODE_OTHER, CONFORMING, 0x3202, STACK, USER_DATA}, MSR_TSC_AUX, 3, 0},
    {LDT, {0x4202, 0x4202, 0x4202, 0x4202, 0x4202}, 0, 3, 0},
    {TASK_OTHER, {KERNEL_DATA, KERNEL_CODE, 2, STACK, KERNEL_DATA}, 2, 1, X86_OF_BIT},
    {0x80050031, {0}, MSR_TSC_AUX, 7, 0, true}, /* for CR0: some bits more */
    {KERNEL_DATA, {CODE_OTHER, KERNEL_CODE, 2, STACK, KERNEL_DATA}, 1, 7, 0},
};

static void write_memory(struct machine *m, const struct experiment_place *p,
                         const uint8_t *bytes, unsigned count, unsigned unit)
{
    uint8_t data[EXPERIMENT_DATA] = {0}, stack[128] = {0};
    unsigned i;

    for (i = 0; i < EXPERIMENT_DATA / 2 && !presets[p->preset].zeros; i += 2) {
        memcpy(data + i, &presets[p->preset].operand, 2);
    }
    for (i = 0; i < 5; i++) {
        memcpy(stack + 64 + i * unit, &presets[p->preset].frame[i], unit);
    }
    (void)mem_write(m->mem, DATA, data, sizeof data);
    (void)mem_write(m->mem, STACK - 64, stack, sizeof stack);
    (void)mem_write(m->mem, CODE, bytes, count);
}

/* Data segments but SS are the same at all levels: any level may load them. */
static struct x86_segment flat(const struct experiment_place *p, enum x86_seg s)
{
    bool is_code = s == X86_CS, user = p->level == 3 || (!is_code && s != X86_SS);
    unsigned access = (is_code ? 0x9b : 0x93) | (user ? 0x60 : 0);
    unsigned kind = p->mode == X86_CODE64 && is_code ? 0xa000
                    : p->mode != X86_CODE16          ? 0xc000
                                                     : 0x8000;

    if (p->v86) {
        return (struct x86_segment){.limit = 0xffff, .attr = 0xf3};
    }
    return (struct x86_segment){.selector = user      ? is_code ? USER_CODE : USER_DATA
                                            : is_code ? KERNEL_CODE
                                                      : KERNEL_DATA,
                                .limit = 0xffffffff,
                                .attr = (uint16_t)(access | kind)};
}

/* The parts that a program at level 3 has no say in. */
static void set_privileged(const struct experiment_place *p, struct x86_regs *r)
{
    r->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
    r->cr4 =
        X86_CR4_OSFXSR | X86_CR4_OSXSAVE | X86_CR4_FSGSBASE | X86_CR4_OSXMMEXCPT | p->cr4;
    r->msr.efer = X86_EFER_SCE;
    if (p->mode == X86_CODE64) {
        r->cr0 |= X86_CR0_PG;
        r->cr4 |= X86_CR4_PAE;
        r->cr3 = TABLES;
        r->msr.efer |= X86_EFER_LME | X86_EFER_LMA;
    }
    r->cr0 |= is_varied(p, PART_CR0) ? X86_CR0_WP | X86_CR0_AM | X86_CR0_MP : 0;
    r->cr0 |= is_varied(p, PART_CR0) && p->level == 0 ? X86_CR0_TS : 0;
    r->cr2 = is_varied(p, PART_CONTROL) ? 0x1000 : 0;
    r->cr8 = is_varied(p, PART_CONTROL) ? 5 : 0;
    r->cr4 |= is_varied(p, PART_CONTROL) ? X86_CR4_PGE | X86_CR4_DE : 0;
    r->cr4 &= is_varied(p, PART_MODEL) ? ~(uint64_t)X86_CR4_FSGSBASE : ~UINT64_C(0);
    r->xcr0 = is_varied(p, PART_XCR0) ? 3 : 7;
    r->gdtr =
        (struct x86_table){is_varied(p, PART_GDT) ? GDT_OTHER : GDT, GDT_ENTRIES * 8 - 1};
    r->idtr = (struct x86_table){IDT, is_varied(p, PART_IDT) ? 0xfff : 0x81 * 16 - 1};
    r->seg[X86_LDTR] = (struct x86_segment){
        .selector = is_varied(p, PART_LDT) ? LDT : 0, .limit = 0xff, .attr = 0x82};
    r->seg[X86_TR] =
        (struct x86_segment){.selector = is_varied(p, PART_TASK) ? TASK_OTHER : TASK,
                             .base = TSS,
                             .limit = 0x67,
                             .attr = 0x8b};
    r->msr.tsc_offset = is_varied(p, PART_MSR) ? 77 : 0;
    r->msr.tsc_aux = is_varied(p, PART_MSR) ? 9 : 4;
    r->msr.star = UINT64_C(0x0013000800000000);
    r->msr.lstar = r->msr.sysenter_eip = CODE_OTHER;
    r->msr.sysenter_esp = STACK;
    r->msr.sysenter_cs = KERNEL_CODE;
    r->msr.kernel_gs_base = 0x1234;
    r->dr[0] = is_varied(p, PART_DEBUG) ? 0x777 : 0;
    r->rflags = 2 | presets[p->preset].flags | (uint64_t)p->iopl << 12 |
                (p->v86 ? X86_VM : 0) | (is_varied(p, PART_FLAGS) ? X86_IF : 0);
}

static void set_registers(struct machine *m, const struct experiment_place *p,
                          struct x86_regs *r)
{
    unsigned i;

    cpu_get(m->cpu, r);
    for (i = 0; i < X86_GPR_COUNT; i++) {
        r->gpr[i] = DATA + 0x100;
    }
    r->gpr[X86_RSP] = STACK;
    r->gpr[X86_RCX] = presets[p->preset].counter;
    r->gpr[X86_RAX] = presets[p->preset].low;
    r->gpr[X86_RDX] = 0;
    r->gpr[EXPERIMENT_OPERAND] = presets[p->preset].operand;
    r->gpr[X86_RIP] = CODE;
    for (i = X86_ES; i <= X86_GS; i++) {
        r->seg[i] = flat(p, (enum x86_seg)i);
    }
    r->cpl = p->level;
    r->fpu = (struct x86_fpu){.fcw = 0x37f, .mxcsr = 0x1f80};
    r->fpu.ymm[0].byte[1] = r->fpu.ymm[0].byte[20] = 1; /* not its initial state */
    r->halted = r->irq_shadow = r->debug_shadow = r->nmi_masked = false;
    r->a20_mask = ~UINT64_C(0);
    memset(r->dr, 0, sizeof r->dr);
    r->dr[6] = 0xffff0ff0;
    r->dr[7] = 0x400;
    set_privileged(p, r);
}

static bool same_segment(const struct x86_segment *a, const struct x86_segment *b,
                         bool based)
{
    return a->attr == b->attr && a->limit == b->limit && (!based || a->base == b->base);
}

static bool same_segments(const struct x86_regs *a, const struct x86_regs *b)
{
    unsigned s;

    for (s = X86_ES; s <= X86_GS; s++) {
        if (!same_segment(&a->seg[s], &b->seg[s], s < X86_FS)) {
            return false;
        }
    }
    return true;
}

static bool same_table(const struct x86_table *a, const struct x86_table *b)
{
    return a->base == b->base && a->limit == b->limit;
}

static bool same_selector(const struct x86_regs *a, const struct x86_regs *b,
                          enum x86_seg s)
{
    return a->seg[s].selector == b->seg[s].selector &&
           same_segment(&a->seg[s], &b->seg[s], true);
}

static uint32_t changes(const struct experiment *x, const struct x86_regs *a,
                        const struct x86_regs *b)
{
    const uint64_t hidden = ~(uint64_t)FLAGS_VISIBLE;

    return (uint32_t)(a->cpl != b->cpl) << PART_LEVEL |
           (uint32_t)!same_table(&a->gdtr, &b->gdtr) << PART_GDT |
           (uint32_t)!same_table(&a->idtr, &b->idtr) << PART_IDT |
           (uint32_t)!same_selector(a, b, X86_LDTR) << PART_LDT |
           (uint32_t)!same_selector(a, b, X86_TR) << PART_TASK |
           (uint32_t)(a->cr0 != b->cr0) << PART_CR0 |
           (uint32_t)(a->cr2 != b->cr2 || a->cr3 != b->cr3 || a->cr4 != b->cr4 ||
                      a->cr8 != b->cr8)
               << PART_CONTROL |
           (uint32_t)((a->rflags & hidden) != (b->rflags & hidden)) << PART_FLAGS |
           (uint32_t)!same_segments(a, b) << PART_SEGMENTS |
           (uint32_t)(memcmp(a->dr, b->dr, sizeof a->dr) != 0) << PART_DEBUG |
           (uint32_t)(memcmp(&a->msr, &b->msr, sizeof a->msr) != 0) << PART_MSR |
           (uint32_t)(a->xcr0 != b->xcr0) << PART_XCR0 |
           (uint32_t)(x->left || b->halted) << PART_OUTSIDE;
}

int experiment_run(struct experiment *x, const struct experiment_place *place,
                   const uint8_t *bytes, unsigned count,
                   struct experiment_outcome *ret_outcome)
{
    struct machine *m = &x->machine[is_varied(place, PART_MODEL)];
    struct x86_insn insn = {.size = X86_32};
    struct x86_regs before;
    int r;

    (void)x86_decode(bytes, count, (enum x86_code_mode)place->mode, &insn);
    set_registers(m, place, &before);
    write_tables(m, place->mode);
    write_memory(m, place, bytes, count,
                 insn.size == X86_16   ? 2
                 : insn.size == X86_64 ? 8
                                       : 4);
    r = cpu_set(m->cpu, &before, NULL);
    if (r < 0) {
        return r;
    }
    x->trapped = x->left = false;
    r = cpu_run(m->cpu, 1);
    cpu_get(m->cpu, &ret_outcome->regs);
    ret_outcome->trapped = x->trapped;
    ret_outcome->changed = x->trapped ? 0 : changes(x, &before, &ret_outcome->regs);
    (void)mem_read(m->mem, DATA, ret_outcome->data, sizeof ret_outcome->data);
    (void)mem_read(m->mem, STACK - 32, ret_outcome->stack, sizeof ret_outcome->stack);
    return r;
}
