/* part.c - the bytes behind one physical page of an access: RAM, ROM, a device, or
 * nothing there. */
#include "virt/isa/x86/memory/memory.h"

void x86_exit(struct x86_cpu *c, struct cpu_exit *x)
{
    const struct cpu_env *env = c->base.env;
    int (*ask)(void *who, struct cpu *c, struct cpu_exit *x) = env->exit;
    int r;

    x86_settle(c);
    c->count.exits[x->kind]++;
    c->pauses = 0;
    r = ask(env->who, &c->base, x);
    if (r != 0 && (c->wants & X86_WANT_LEAVE) == 0) {
        c->wants |= X86_WANT_LEAVE;
        c->leave_code = r > 0 ? 0 : r;
    }
}

/* The largest of 1, 2, 4, 8 that fits and is aligned at `at`. */
static unsigned io_bytes(gpa at, unsigned left)
{
    unsigned n = 8;

    while (n > left || (at & (n - 1)) != 0) {
        n /= 2;
    }
    return n;
}

static uint64_t io_read(struct x86_cpu *c, const struct x86_part *p, gpa at, unsigned n)
{
    uint64_t value = UINT64_MAX;

    if (p->region != NULL && p->region->io != NULL && p->region->io->read != NULL) {
        x86_settle(c);
        p->region->io->read(p->region->who, at - p->region->base, n, &value);
    } else {
        struct cpu_exit x = {.kind = CPU_EXIT_READ,
                             .address = at,
                             .bytes = (uint8_t)n,
                             .value = UINT64_MAX};

        x86_exit(c, &x);
        value = x.value;
    }
    return value;
}

static void io_write(struct x86_cpu *c, const struct x86_part *p, gpa at, unsigned n,
                     uint64_t value)
{
    if (p->region != NULL && p->region->io != NULL && p->region->io->write != NULL) {
        x86_settle(c);
        p->region->io->write(p->region->who, at - p->region->base, n, value);
    } else {
        struct cpu_exit x = {
            .kind = CPU_EXIT_WRITE, .address = at, .bytes = (uint8_t)n, .value = value};

        x86_exit(c, &x);
    }
}

/* Whole operands of 2, 4, 8 bytes move at once, the rest byte by byte. */
static void copy_in(void *buf, const uint8_t *host, unsigned bytes)
{
    uint64_t v;

    switch (bytes) {
    case 2:
        v = *(const volatile x86_u16 *)host;
        break;
    case 4:
        v = *(const volatile x86_u32 *)host;
        break;
    case 8:
        v = *(const volatile x86_u64 *)host;
        break;
    default:
        memcpy(buf, host, bytes);
        return;
    }
    memcpy(buf, &v, bytes);
}

static void copy_out(uint8_t *host, const void *buf, unsigned bytes)
{
    uint64_t v = 0;

    if (bytes != 2 && bytes != 4 && bytes != 8) {
        memcpy(host, buf, bytes);
        return;
    }
    memcpy(&v, buf, bytes);
    if (bytes == 2) {
        *(volatile x86_u16 *)host = (uint16_t)v;
    } else if (bytes == 4) {
        *(volatile x86_u32 *)host = (uint32_t)v;
    } else {
        *(volatile x86_u64 *)host = v;
    }
}

void x86_part_read(struct x86_cpu *c, const struct x86_part *p, void *buf)
{
    uint8_t *to = buf;

    if (p->host != NULL) {
        copy_in(buf, p->host, p->bytes);
        return;
    }
    for (unsigned done = 0; done < p->bytes;) {
        unsigned n = io_bytes(p->at + done, p->bytes - done);
        uint64_t value = io_read(c, p, p->at + done, n);

        memcpy(to + done, &value, n);
        done += n;
    }
}

static void touch(struct x86_cpu *c, const struct x86_part *p)
{
    uint8_t flags = mem_flags(p->region, p->at);

    if (flags != 0) {
        x86_settle(c);
        mem_touched(c->mem, p->region, p->at, p->bytes);
    }
}

void x86_part_write(struct x86_cpu *c, const struct x86_part *p, const void *buf)
{
    const uint8_t *from = buf;

    if (p->host != NULL) {
        if (!p->region->read_only) {
            touch(c, p);
            copy_out(p->host, buf, p->bytes);
            atomic_thread_fence(memory_order_seq_cst);
            touch(c, p);
        }
        return;
    }
    for (unsigned done = 0; done < p->bytes;) {
        unsigned n = io_bytes(p->at + done, p->bytes - done);
        uint64_t value = 0;

        memcpy(&value, from + done, n);
        io_write(c, p, p->at + done, n, value);
        done += n;
    }
}
