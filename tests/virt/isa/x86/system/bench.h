/* bench.h - a processor with tables built by hand, to call the steps of the system
 * part one by one: which vector and error code, in which order, and what changed. */
#ifndef TESTS_VIRT_ISA_X86_SYSTEM_BENCH_H
#define TESTS_VIRT_ISA_X86_SYSTEM_BENCH_H

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
#include "virt/isa/x86/system/system.h"

#define NO_FAULT 0xffu

struct bench {
    struct x86_cpu c;
    struct cpu_env env;
    struct cpu_exit last;
    unsigned exits;
    uint64_t answer; /* to IN and RDMSR */
    bool refuse;
};

static int bench_exit(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct bench *b = who;

    (void)c;
    if (x->kind == CPU_EXIT_IN || x->kind == CPU_EXIT_MSR_READ) {
        x->value = b->answer;
    }
    x->refused = b->refuse;
    b->last = *x;
    b->exits++;
    return 0;
}

static inline struct bench *bench_make(const char *model)
{
    struct bench *b = aligned_alloc(64, (sizeof *b + 63) & ~(size_t)63);

    assert_non_null(b);
    memset(b, 0, sizeof *b);
    b->env = (struct cpu_env){.exit = bench_exit, .who = b};
    b->c.base.env = &b->env;
    b->c.model = x86_model_find(model);
    assert_non_null(b->c.model);
    assert_int_equal(ram_create(RAM_PRIVATE, &b->c.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b->c.mem, 0, 16u << 20, false, NULL), 0);
    assert_int_equal(x86_tlb_init(&b->c), 0);
    x86_reset(&b->c, false);
    return b;
}

static inline void bench_free(struct bench *b)
{
    x86_tlb_fini(&b->c);
    mem_destroy(b->c.mem);
    free(b);
}

static inline void poke(struct bench *b, gpa at, unsigned bytes, uint64_t v)
{
    assert_int_equal(mem_write(b->c.mem, at, &v, bytes), 0);
}

static inline uint64_t peek(struct bench *b, gpa at, unsigned bytes)
{
    uint64_t v = 0;

    assert_int_equal(mem_read(b->c.mem, at, &v, bytes), 0);
    return v;
}

/* One step: the vector it raised, or NO_FAULT. */
enum step {
    LOAD,     /* a: segment register, b: selector */
    JMP,      /* a: selector, b: offset */
    CALL,     /* likewise */
    RETF,     /* a: bytes to drop */
    IRET,     /* 32 bits */
    IRET16,   /* 16 bits */
    IRET64,   /* 64 bits */
    WRITE_CR, /* a: number, b: value */
    PORT,     /* a: port, b: bytes */
    INSN,     /* a: `struct x86_family`, b: `struct x86_insn` */
};

static inline void bench_do(struct x86_cpu *c, enum step step, uint64_t a, uint64_t v)
{
    const struct x86_insn *i;
    const struct x86_family *f;

    switch (step) {
    case LOAD:
        x86_load_segment(c, (enum x86_seg)a, (uint16_t)v);
        break;
    case JMP:
    case CALL:
        x86_far_transfer(c, step == JMP ? X86_FAR_JMP : X86_FAR_CALL, (uint16_t)a, v,
                         X86_32);
        break;
    case RETF:
        x86_far_return(c, X86_32, (uint16_t)a);
        break;
    case IRET:
        x86_interrupt_return(c, X86_32);
        break;
    case IRET16:
        x86_interrupt_return(c, X86_16);
        break;
    case IRET64:
        x86_interrupt_return(c, X86_64);
        break;
    case WRITE_CR:
        x86_write_cr(c, (unsigned)a, v);
        break;
    case PORT:
        x86_port_check(c, (uint16_t)a, (unsigned)v);
        break;
    case INSN:
        f = (const void *)(uintptr_t)a;
        i = (const void *)(uintptr_t)v;
        (i->is_memory ? f->mem : f->reg)[i->size](c, i);
        break;
    }
}

static inline unsigned try_step(struct bench *b, enum step step, uint64_t a, uint64_t v)
{
    if (setjmp(b->c.unwind) != 0) {
        return b->c.fault.vector;
    }
    bench_do(&b->c, step, a, v);
    return NO_FAULT;
}

static inline unsigned try_insn(struct bench *b, const struct x86_family *f,
                                const struct x86_insn *i)
{
    return try_step(b, INSN, (uintptr_t)f, (uintptr_t)i);
}

/* The step raises this vector with this error code. */
#define assert_fault(b, vector_, error_, step, a, v)                                     \
    (assert_int_equal(try_step(b, step, a, v), vector_),                                 \
     assert_int_equal((b)->c.fault.error, error_))

#define assert_fine(b, step, a, v) assert_int_equal(try_step(b, step, a, v), NO_FAULT)

/* Top of the stack, n-th value of `bytes`. */
static inline uint64_t top(struct bench *b, unsigned bytes, unsigned n)
{
    return peek(b, b->c.r.seg[X86_SS].base + b->c.r.gpr[X86_RSP] + n * bytes, bytes);
}

static inline void push32(struct bench *b, uint32_t v)
{
    b->c.r.gpr[X86_RSP] -= 4;
    poke(b, b->c.r.gpr[X86_RSP], 4, v);
}

static inline void push64(struct bench *b, uint64_t v)
{
    b->c.r.gpr[X86_RSP] -= 8;
    poke(b, b->c.r.gpr[X86_RSP], 8, v);
}

#endif
