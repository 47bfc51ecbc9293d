/* port.c - IN, OUT, INS, OUTS: who may, and the exit that answers.
 * SDM volume 1, chapter 19 (I/O permission bit map 19.5.2); volume 2. */
#include "virt/isa/x86/system/debug.h"
#include "virt/isa/x86/system/routine.h"

#define MAP_POINTER 102u /* of the TSS */

static bool is_allowed(struct x86_cpu *c, uint16_t port, unsigned bytes)
{
    const struct x86_segment *tr = &c->r.seg[X86_TR];
    unsigned at;
    unsigned bits;

    if ((tr->attr & (X86_ATTR_NULL | 8)) != 8 || tr->limit < MAP_POINTER + 1) {
        return false;
    }
    at = (unsigned)x86_system_load(c, tr->base + MAP_POINTER, 2) + port / 8u;
    /* Two bytes are read always: a map ends with a byte of ones. */
    if (at + 1 > tr->limit) {
        return false;
    }
    bits = (unsigned)x86_system_load(c, tr->base + at, 2) >> (port & 7);
    return (bits & ((1u << bytes) - 1)) == 0;
}

void x86_port_check(struct x86_cpu *c, uint16_t port, unsigned bytes)
{
    unsigned iopl = (unsigned)(c->r.rflags & X86_IOPL) >> 12;

    if (!c->protected_mode || (!c->v86 && c->r.cpl <= iopl)) {
        return;
    }
    if (!is_allowed(c, port, bytes)) {
        x86_raise_error(c, X86_GP, 0);
    }
}

uint64_t x86_port_in(struct x86_cpu *c, uint16_t port, unsigned bytes)
{
    struct cpu_exit x = {.kind = CPU_EXIT_IN,
                         .address = port,
                         .bytes = (uint8_t)bytes,
                         .value = UINT64_MAX};

    x86_note_port(c, port, bytes);
    x86_exit(c, &x);
    return x.value & (bytes == 8 ? UINT64_MAX : (1ull << bytes * 8) - 1);
}

void x86_port_out(struct x86_cpu *c, uint16_t port, unsigned bytes, uint64_t value)
{
    struct cpu_exit x = {.kind = CPU_EXIT_OUT, .address = port, .bytes = (uint8_t)bytes};

    x.value = value & ((1ull << bytes * 8) - 1);
    x86_note_port(c, port, bytes);
    x86_exit(c, &x);
}

/* 1, 2 or 4: no port has 8. */
static unsigned bytes_of(const struct x86_insn *i)
{
    return i->size == X86_8 ? 1 : i->size == X86_16 ? 2 : 4;
}

static void in(struct x86_cpu *c, const struct x86_insn *i, uint16_t port)
{
    unsigned bytes = bytes_of(i);
    uint64_t v;

    x86_port_check(c, port, bytes);
    v = x86_port_in(c, port, bytes);
    if (bytes == 4) {
        c->r.gpr[X86_RAX] = v;
    } else {
        uint64_t mask = bytes == 1 ? 0xff : 0xffff;

        c->r.gpr[X86_RAX] = (c->r.gpr[X86_RAX] & ~mask) | v;
    }
}

static void in_i(struct x86_cpu *c, const struct x86_insn *i)
{
    in(c, i, (uint8_t)i->imm);
}

static void in_d(struct x86_cpu *c, const struct x86_insn *i)
{
    in(c, i, (uint16_t)c->r.gpr[X86_RDX]);
}

static void out(struct x86_cpu *c, const struct x86_insn *i, uint16_t port)
{
    x86_port_check(c, port, bytes_of(i));
    x86_port_out(c, port, bytes_of(i), c->r.gpr[X86_RAX]);
}

static void out_i(struct x86_cpu *c, const struct x86_insn *i)
{
    out(c, i, (uint8_t)i->imm);
}

static void out_d(struct x86_cpu *c, const struct x86_insn *i)
{
    out(c, i, (uint16_t)c->r.gpr[X86_RDX]);
}

static uint64_t address_mask(const struct x86_insn *i)
{
    return i->address == X86_64   ? UINT64_MAX
           : i->address == X86_32 ? 0xffffffffu
                                  : 0xffffu;
}

static void put_address_reg(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                            uint64_t v)
{
    uint64_t mask = address_mask(i);

    if (i->address == X86_16) {
        c->r.gpr[n] = (c->r.gpr[n] & ~mask) | (v & mask);
    } else {
        c->r.gpr[n] = v & mask;
    }
}

static void advance(struct x86_cpu *c, const struct x86_insn *i, unsigned n)
{
    uint64_t step = bytes_of(i);

    if ((c->r.rflags & X86_DF_BIT) != 0) {
        step = -step;
    }
    put_address_reg(c, i, n, c->r.gpr[n] + step);
}

/* One element; the store is known to succeed before the port is read. */
static void ins_one(struct x86_cpu *c, const struct x86_insn *i)
{
    uint16_t port = (uint16_t)c->r.gpr[X86_RDX];
    uint64_t at = c->r.gpr[X86_RDI] & address_mask(i);
    unsigned bytes = bytes_of(i);
    void *to;
    uint64_t v;

    x86_port_check(c, port, bytes);
    to = x86_rmw_begin(c, X86_ES, at, bytes, false);
    v = x86_port_in(c, port, bytes);
    memcpy(to, &v, bytes);
    x86_rmw_end(c);
    advance(c, i, X86_RDI);
}

static void outs_one(struct x86_cpu *c, const struct x86_insn *i)
{
    uint16_t port = (uint16_t)c->r.gpr[X86_RDX];
    uint64_t at = c->r.gpr[X86_RSI] & address_mask(i);
    unsigned bytes = bytes_of(i);
    uint64_t v = 0;

    x86_port_check(c, port, bytes);
    x86_load_bytes(c, (enum x86_seg)i->segment, at, &v, bytes);
    x86_port_out(c, port, bytes, v);
    advance(c, i, X86_RSI);
}

/* Repeat: one element each time the loop comes by, so that interrupts and stops come
 * between elements. */
static void repeat(struct x86_cpu *c, const struct x86_insn *i, x86_routine *one)
{
    uint64_t count = c->r.gpr[X86_RCX] & address_mask(i);

    if (i->repeat == 0) {
        one(c, i);
        return;
    }
    x86_port_check(c, (uint16_t)c->r.gpr[X86_RDX], bytes_of(i)); /* also for none */
    if (count == 0) {
        return;
    }
    one(c, i);
    put_address_reg(c, i, X86_RCX, count - 1);
    if (count != 1) {
        c->next_rip = c->r.gpr[X86_RIP];
    }
}

static void ins(struct x86_cpu *c, const struct x86_insn *i)
{
    repeat(c, i, ins_one);
}

static void outs(struct x86_cpu *c, const struct x86_insn *i)
{
    repeat(c, i, outs_one);
}

X86_SYSTEM_REG(in_i)
X86_SYSTEM_REG(in_d)
X86_SYSTEM_REG(out_i)
X86_SYSTEM_REG(out_d)
X86_SYSTEM_REG(ins)
X86_SYSTEM_REG(outs)
