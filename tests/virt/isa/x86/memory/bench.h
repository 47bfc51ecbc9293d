/* bench.h - a processor without its system part: registers set by hand, RAM, and a
 * way to see what an access raises. */
#ifndef TESTS_VIRT_ISA_X86_MEMORY_BENCH_H
#define TESTS_VIRT_ISA_X86_MEMORY_BENCH_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/ram.h"
#include "virt/isa/x86/memory/memory.h"

#define RAM_BYTES (16u << 20)

struct bench {
    struct x86_cpu c;
    struct cpu_env env;
    struct cpu_exit last;
    unsigned exits;
};

static int bench_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct bench *b = who;

    (void)c;
    if (x->kind == CPU_EXIT_READ) {
        x->value = 0x1122334455667788ull;
    }
    b->last = *x;
    b->exits++;
    return 0;
}

static inline struct bench *bench_make(void)
{
    struct bench *b = aligned_alloc(64, (sizeof *b + 63) & ~(size_t)63);

    assert_non_null(b);
    memset(b, 0, sizeof *b);
    b->env = (struct cpu_env){.exit = bench_exit, .who = b};
    b->c.base.env = &b->env;
    assert_int_equal(ram_create(RAM_PRIVATE, &b->c.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b->c.mem, 0, RAM_BYTES, false, NULL), 0);
    assert_int_equal(x86_tlb_init(&b->c), 0);
    b->c.physical_mask = 0x000000fffffff000ull;
    b->c.has_1g_pages = true;
    b->c.r.a20_mask = UINT64_MAX;
    return b;
}

static inline void bench_free(struct bench *b)
{
    x86_tlb_fini(&b->c);
    mem_destroy(b->c.mem);
    free(b);
}

static inline void bench_poke(struct bench *b, gpa at, unsigned bytes, uint64_t v)
{
    assert_int_equal(mem_write(b->c.mem, at, &v, bytes), 0);
}

static inline uint64_t bench_peek(struct bench *b, gpa at, unsigned bytes)
{
    uint64_t v = 0;

    assert_int_equal(mem_read(b->c.mem, at, &v, bytes), 0);
    return v;
}

/* 64-bit mode at `cpl` with 4-level tables at `cr3`. */
static inline void bench_long(struct bench *b, uint64_t cr3, uint8_t cpl)
{
    struct x86_cpu *c = &b->c;

    c->r.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP;
    c->r.cr4 = X86_CR4_PAE;
    c->r.cr3 = cr3;
    c->r.msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    c->r.cpl = cpl;
    c->long_mode = c->protected_mode = true;
    c->code_mode = X86_CODE64;
    x86_memory_refresh(c);
}

/* 32-bit protected mode with flat segments, without paging. */
static inline void bench_flat32(struct bench *b, uint8_t cpl)
{
    struct x86_cpu *c = &b->c;

    c->r.cr0 = X86_CR0_PE;
    c->r.cpl = cpl;
    c->protected_mode = true;
    c->code_mode = X86_CODE32;
    for (unsigned s = 0; s < X86_SEG_COUNT; s++) {
        c->r.seg[s] = (struct x86_segment){.attr = 0xc093, .limit = 0xffffffff};
    }
    c->r.seg[X86_CS].attr = 0xc09b;
    x86_memory_refresh(c);
}

enum bench_kind {
    LOAD,
    STORE,
    FETCH
};

#define NO_FAULT 0xff

/* Do one access of 4 bytes; the vector it raised, or NO_FAULT. */
static inline unsigned bench_try(struct bench *b, enum bench_kind kind, enum x86_seg s,
                                 uint64_t offset)
{
    unsigned bytes;
    gpa at;

    if (setjmp(b->c.unwind) != 0) {
        return b->c.fault.vector;
    }
    if (kind == LOAD) {
        (void)x86_load32(&b->c, s, offset);
    } else if (kind == STORE) {
        x86_store32(&b->c, s, offset, 0xfeedf00d);
    } else {
        (void)x86_fetch_page(&b->c, offset, &bytes, &at);
    }
    return NO_FAULT;
}

#endif
