/* guest.c - jobs on an executor of ours, under the smallest kernel there can be.
 *
 * Long mode with paging.  The upper half holds the kernel: tables, a stack, and for
 * each vector one HLT, so that every exception ends in CPU_EXIT_HALT with its frame
 * on the stack.  The selectors are those that Linux gives its programs.  Jobs run at
 * CPL 3.
 *
 *   physical    linear                what
 *   0x000000    KERNEL + 0            GDT, LDT, IDT, TSS, handlers, stack (supervisor)
 *   0x100000    JOB_CODE, ...         the pages of the job (user)
 *   0x200000    -                     page tables, as they are needed */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "host/ram.h"
#include "job.h"
#include "virt/isa/x86/cpu.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/translate.h"

#define KERNEL           UINT64_C(0xffffffff80000000)
#define GDT              0x0000u
#define LDT              0x0800u
#define IDT              0x1000u
#define TSS              0x2000u
#define HANDLERS         0x3000u
#define HANDLER_BYTES    16u
#define KERNEL_STACK_TOP 0x6000u
#define KERNEL_BYTES     0x6000u
#define USER_PAGES       0x100000u
#define TABLES           0x200000u
#define RAM_BYTES        0x400000u
#define BUDGET           100000
#define PAGES            6u /* of a job */

#define KERNEL_CS    0x10
#define USER_CS32    0x23
#define USER_DS      0x2b
#define USER_CS64    0x33
#define TSS_SELECTOR 0x40
#define LDT_SELECTOR 0x50

#define PTE_P  1u
#define PTE_W  2u
#define PTE_U  4u
#define PTE_NX (UINT64_C(1) << 63)

struct guest {
    struct mem *mem;
    struct cpu *cpu;
    struct cpu_env env;
    uint8_t *ram;
    uint64_t next_table;
    struct x86_regs clean; /* CPL 3, long mode, everything set up */
    bool ended;
    unsigned runs;  /* every second one without a budget, which is other code */
    unsigned times; /* that each job is done */
};

static void put(struct guest *g, uint64_t physical, const void *from, unsigned bytes)
{
    if (mem_write(g->mem, physical, from, bytes) != 0) {
        abort();
    }
}

static void put64(struct guest *g, uint64_t physical, uint64_t v)
{
    put(g, physical, &v, sizeof v);
}

static uint64_t get64(const struct guest *g, uint64_t physical)
{
    uint64_t v;

    memcpy(&v, g->ram + physical, sizeof v);
    return v;
}

static void map_page(struct guest *g, uint64_t linear, uint64_t physical, uint64_t bits)
{
    uint64_t table = TABLES;
    unsigned level;

    for (level = 3; level > 0; level--) {
        uint64_t slot = table + ((linear >> (12 + 9 * level)) & 511) * 8;

        if ((get64(g, slot) & PTE_P) == 0) {
            g->next_table += JOB_PAGE;
            put64(g, slot, g->next_table | PTE_P | PTE_W | PTE_U);
        }
        table = get64(g, slot) & ~UINT64_C(0xfff);
    }
    put64(g, table + ((linear >> 12) & 511) * 8, physical | bits);
}

static uint64_t physical_of(uint64_t linear)
{
    switch (linear & 0xf0000000u) {
    case JOB_CODE:
        return USER_PAGES + (linear - JOB_CODE);
    case JOB_DATA:
        return USER_PAGES + JOB_PAGE + (linear - JOB_DATA);
    default:
        return USER_PAGES + 5 * JOB_PAGE + (linear - JOB_STACK);
    }
}

static void map_all(struct guest *g)
{
    uint64_t rw = PTE_P | PTE_W | PTE_U;
    unsigned at;

    g->next_table = TABLES;
    for (at = 0; at < KERNEL_BYTES; at += JOB_PAGE) {
        map_page(g, KERNEL + at, at, PTE_P | PTE_W);
    }
    map_page(g, JOB_CODE, physical_of(JOB_CODE), rw);
    map_page(g, JOB_DATA, physical_of(JOB_DATA), rw | PTE_NX);
    map_page(g, JOB_DATA + JOB_PAGE, physical_of(JOB_DATA + JOB_PAGE), rw | PTE_NX);
    map_page(g, JOB_DATA_READ_ONLY, physical_of(JOB_DATA_READ_ONLY),
             PTE_P | PTE_U | PTE_NX);
    map_page(g, JOB_STACK, physical_of(JOB_STACK), rw | PTE_NX);
}

/* Of a job that pops a selector, on purpose or because it jumped into its own bytes. */
static void write_local(struct guest *g, enum job_entry entry, uint64_t access,
                        uint64_t base, uint64_t limit)
{
    put64(g, LDT + entry * 8u,
          (limit & 0xffff) | (base & 0xffffff) << 16 | (access & 0xf0ff) << 40 |
              (base >> 24 & 0xff) << 56);
}

/* Gates of vectors 3 and 4 are open to programs, as Linux has them. */
static void write_tables(struct guest *g)
{
    static const uint64_t gdt[] = {0,
                                   0,
                                   0x00af9b000000ffff,
                                   0x00cf93000000ffff,
                                   0x00cffb000000ffff,
                                   0x00cff3000000ffff,
                                   0x00affb000000ffff,
                                   0};
    uint64_t tss = KERNEL + TSS;
    unsigned v;

    put(g, GDT, gdt, sizeof gdt);
    put64(g, GDT + TSS_SELECTOR,
          0x67 | (tss & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
              ((tss >> 24) & 0xff) << 56);
    put64(g, GDT + TSS_SELECTOR + 8, tss >> 32);
    write_local(g, JOB_LDT_CODE16, 0x00fb, JOB_CODE, 0xffff);
    write_local(g, JOB_LDT_DATA16, 0x00f3, JOB_DATA, 0xffff);
    write_local(g, JOB_LDT_STACK16, 0x00f3, JOB_STACK, 0xffff);
    write_local(g, JOB_LDT_FS, 0x40f3, JOB_DATA, JOB_FS_LIMIT);
    write_local(g, JOB_LDT_GS, 0x40f7, JOB_DATA, JOB_GS_LIMIT);
    put64(g, TSS + 4, KERNEL + KERNEL_STACK_TOP);
    put(g, TSS + 0x66, "\xff\xff", 2); /* no I/O bitmap */
    for (v = 0; v < 256; v++) {
        uint64_t handler = KERNEL + HANDLERS + v * HANDLER_BYTES;
        uint64_t dpl = v == 3 || v == 4 ? 3 : 0;

        put64(g, IDT + v * 16,
              (handler & 0xffff) | KERNEL_CS << 16 | (UINT64_C(0x8e) | dpl << 5) << 40 |
                  ((handler >> 16) & 0xffff) << 48);
        put64(g, IDT + v * 16 + 8, handler >> 32);
        put(g, HANDLERS + v * HANDLER_BYTES, "\xf4", 1);
    }
}

static struct x86_segment segment(uint16_t selector, uint16_t attr)
{
    return (struct x86_segment){
        .selector = selector, .attr = attr, .limit = 0xffffffff, .base = 0};
}

static void set_clean(struct guest *g)
{
    struct x86_regs *r = &g->clean;

    cpu_get(g->cpu, r);
    r->seg[X86_CS] = segment(USER_CS64, 0xa0fb);
    r->seg[X86_SS] = segment(USER_DS, 0xc0f3);
    r->seg[X86_DS] = segment(USER_DS, 0xc0f3);
    r->seg[X86_ES] = segment(USER_DS, 0xc0f3);
    r->seg[X86_FS] = (struct x86_segment){.attr = X86_ATTR_NULL};
    r->seg[X86_GS] = (struct x86_segment){.attr = X86_ATTR_NULL};
    r->seg[X86_LDTR] = (struct x86_segment){.selector = LDT_SELECTOR,
                                            .attr = 0x82,
                                            .limit = JOB_LDT_COUNT * 8 - 1,
                                            .base = KERNEL + LDT};
    r->seg[X86_TR] = (struct x86_segment){
        .selector = TSS_SELECTOR, .attr = 0x8b, .limit = 0x67, .base = KERNEL + TSS};
    r->gdtr = (struct x86_table){.base = KERNEL + GDT, .limit = TSS_SELECTOR + 15};
    r->idtr = (struct x86_table){.base = KERNEL + IDT, .limit = 256 * 16 - 1};
    r->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |
             X86_CR0_PG;
    r->cr3 = TABLES;
    r->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
             X86_CR4_OSXSAVE | X86_CR4_FSGSBASE | X86_CR4_UMIP;
    r->msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    r->xcr0 = 7;
    r->cpl = 3;
    r->a20_mask = ~UINT64_C(0);
    r->rflags = 0x202;
    r->halted = false;
}

static int on_exit_of_cpu(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct guest *g = who;

    (void)c;
    g->ended = x->kind == CPU_EXIT_HALT;
    return 1;
}

static int create_cpu(const char *executor, struct guest *g, struct err *e)
{
    bool is_quick = strcmp(executor, "quick") == 0;
    const struct translate_options eager = {
        .warm = 1, .tiers = is_quick ? TRANSLATE_QUICK : TRANSLATE_OPTIMISES};
    const struct x86_model *model = x86_model_find("host-like");

    g->times = 1;
    if (is_quick || strcmp(executor, "translate") == 0) {
        g->times = 2;
        return translate_create(g->mem, model, &g->env, &eager, &g->cpu, e);
    }
    return interpret_create(g->mem, model, &g->env, 0, &g->cpu, e);
}

int guest_create(const char *executor, struct guest **ret_guest)
{
    struct guest *g = calloc(1, sizeof *g);
    struct err e = {0};
    int r;

    if (g == NULL) {
        return -ENOMEM;
    }
    g->env = (struct cpu_env){.exit = on_exit_of_cpu, .who = g};
    r = ram_create(RAM_PRIVATE, &g->mem, &e);
    r = r == 0 ? mem_add_ram(g->mem, 0, RAM_BYTES, false, &e) : r;
    r = r == 0 ? create_cpu(executor, g, &e) : r;
    if (r != 0) {
        guest_destroy(g);
        return r;
    }
    g->ram = mem_find(g->mem, 0)->host;
    map_all(g);
    write_tables(g);
    set_clean(g);
    *ret_guest = g;
    return 0;
}

void guest_destroy(struct guest *g)
{
    if (g != NULL) {
        cpu_destroy(g->cpu);
        mem_destroy(g->mem);
        free(g);
    }
}

static struct x86_segment local(enum job_entry entry, uint16_t attr, uint64_t base,
                                uint32_t limit)
{
    return (struct x86_segment){.selector = (uint16_t)JOB_SELECTOR(entry),
                                .attr = attr,
                                .limit = limit,
                                .base = base};
}

static void load_segments(struct x86_regs *r, enum x86_code_mode mode)
{
    r->seg[X86_FS].base = JOB_DATA;
    r->seg[X86_GS].base = JOB_DATA;
    if (mode == X86_CODE64) {
        return;
    }
    r->seg[X86_FS] = local(JOB_LDT_FS, 0x40f3, JOB_DATA, JOB_FS_LIMIT);
    r->seg[X86_GS] = local(JOB_LDT_GS, 0x40f7, JOB_DATA, JOB_GS_LIMIT);
    if (mode == X86_CODE32) {
        r->seg[X86_CS] = segment(USER_CS32, 0xc0fb);
        return;
    }
    r->seg[X86_CS] = local(JOB_LDT_CODE16, 0x00fb, JOB_CODE, 0xffff);
    r->seg[X86_SS] = local(JOB_LDT_STACK16, 0x00f3, JOB_STACK, 0xffff);
    r->seg[X86_DS] = local(JOB_LDT_DATA16, 0x00f3, JOB_DATA, 0xffff);
    r->seg[X86_ES] = r->seg[X86_DS];
}

static uint8_t *place_of(uint8_t *pages, uint64_t linear)
{
    return pages + (physical_of(linear) - USER_PAGES);
}

/* Only pages that are not so already: translated code of the others stays. */
static void load_pages(struct guest *g, const struct job *j)
{
    static uint8_t pages[PAGES * JOB_PAGE];
    unsigned n;

    memset(pages, 0, sizeof pages);
    memcpy(place_of(pages, JOB_CODE), j->code, JOB_CODE_BYTES);
    memcpy(place_of(pages, JOB_DATA_BORDER) - JOB_WINDOW, j->start.data, 2 * JOB_WINDOW);
    memcpy(place_of(pages, JOB_DATA + JOB_PAGE) + JOB_PAGE - JOB_WINDOW,
           j->start.data + 2 * JOB_WINDOW, JOB_WINDOW);
    memcpy(place_of(pages, JOB_STACK_TOP) - JOB_WINDOW, j->start.stack, 2 * JOB_WINDOW);
    for (n = 0; n < PAGES * JOB_PAGE; n += JOB_PAGE) {
        if (memcmp(g->ram + USER_PAGES + n, pages + n, JOB_PAGE) != 0) {
            put(g, USER_PAGES + n, pages + n, JOB_PAGE);
        }
    }
}

static void load_start(struct guest *g, const struct job *j)
{
    struct x86_regs r = g->clean;
    const uint8_t *x = j->start.fpu.legacy;
    struct err e = {0};
    unsigned top, i;

    memcpy(r.gpr, j->start.gpr, sizeof j->start.gpr);
    r.gpr[X86_RIP] = j->start.rip;
    r.rflags = j->start.rflags;
    load_segments(&r, (enum x86_code_mode)j->mode);
    memcpy(&r.fpu.fcw, x, 2);
    memcpy(&r.fpu.fsw, x + 2, 2);
    r.fpu.ftw = x[4];
    memcpy(&r.fpu.fop, x + 6, 2);
    memcpy(&r.fpu.fip, x + 8, 8);
    memcpy(&r.fpu.fdp, x + 16, 8);
    memcpy(&r.fpu.mxcsr, x + 24, 4);
    top = (r.fpu.fsw >> 11) & 7;
    for (i = 0; i < 8; i++) {
        memcpy(r.fpu.st[(top + i) & 7], x + 32 + 16 * i, 10);
    }
    for (i = 0; i < 16; i++) {
        memcpy(r.fpu.ymm[i].byte, x + 160 + 16 * i, 16);
        memcpy(r.fpu.ymm[i].byte + 16, j->start.fpu.ymm_high[i], 16);
    }
    if (cpu_set(g->cpu, &r, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
    load_pages(g, j);
}

static void save_fpu(const struct x86_fpu *f, struct job_fpu *to)
{
    unsigned top = (f->fsw >> 11) & 7;
    unsigned i;

    memset(to, 0, sizeof *to);
    memcpy(to->legacy, &f->fcw, 2);
    memcpy(to->legacy + 2, &f->fsw, 2);
    to->legacy[4] = f->ftw;
    memcpy(to->legacy + 6, &f->fop, 2);
    memcpy(to->legacy + 8, &f->fip, 8);
    memcpy(to->legacy + 16, &f->fdp, 8);
    memcpy(to->legacy + 24, &f->mxcsr, 4);
    for (i = 0; i < 8; i++) {
        memcpy(to->legacy + 32 + 16 * i, f->st[(top + i) & 7], 10);
    }
    for (i = 0; i < 16; i++) {
        memcpy(to->legacy + 160 + 16 * i, f->ymm[i].byte, 16);
        memcpy(to->ymm_high[i], f->ymm[i].byte + 16, 16);
    }
}

static bool has_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void save_end(struct guest *g, struct job *j)
{
    struct x86_regs r;
    uint64_t frame;

    cpu_get(g->cpu, &r);
    j->vector = (int)((r.gpr[X86_RIP] - 1 - KERNEL - HANDLERS) / HANDLER_BYTES);
    frame = r.gpr[X86_RSP] - KERNEL;
    j->error = 0;
    if (has_error_code(j->vector)) {
        j->error = get64(g, frame);
        frame += 8;
    }
    memcpy(j->end.gpr, r.gpr, sizeof j->end.gpr);
    j->end.rip = get64(g, frame);
    j->end.rflags = get64(g, frame + 16);
    j->end.gpr[X86_RSP] = get64(g, frame + 24);
    j->address = r.cr2;
    save_fpu(&r.fpu, &j->end.fpu);
    memcpy(j->end.data, g->ram + physical_of(JOB_DATA_BORDER) - JOB_WINDOW,
           2 * JOB_WINDOW);
    memcpy(j->end.data + 2 * JOB_WINDOW,
           g->ram + physical_of(JOB_DATA + JOB_PAGE) + JOB_PAGE - JOB_WINDOW, JOB_WINDOW);
    memcpy(j->end.stack, g->ram + physical_of(JOB_STACK_TOP) - JOB_WINDOW,
           2 * JOB_WINDOW);
}

/* Executed once, code is known, and translated when it comes again. */
void guest_run(struct guest *g, struct job *j)
{
    uint64_t budget = g->runs++ % 2 == 0 ? BUDGET : UINT64_MAX;
    unsigned n;

    for (n = 0; n < g->times; n++) {
        load_start(g, j);
        g->ended = false;
        if (cpu_run(g->cpu, budget) != 0 || !g->ended) {
            j->vector = -1;
            return;
        }
    }
    save_end(g, j);
}
