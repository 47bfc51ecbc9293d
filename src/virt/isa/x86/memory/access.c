/* access.c - the accesses that the inline path did not do: misses, page crossings,
 * devices, flagged and watched pages. */
#include "virt/isa/x86/memory/access.h"

#include "virt/isa/x86/memory/memory.h"

/* One access: one part, or two when it crosses a page.  Both are translated before
 * a byte moves. */
struct span {
    struct x86_part part[2];
    unsigned count;
};

static void translate(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                      enum x86_access access, enum x86_rights as, struct span *s)
{
    unsigned room = MEM_PAGE_BYTES - (unsigned)(linear & X86_PAGE_MASK);

    s->count = bytes > room ? 2 : 1;
    s->part[0].bytes = bytes > room ? room : bytes;
    x86_translate(c, linear, access, as, &s->part[0]);
    if (s->count == 2) {
        s->part[1].bytes = bytes - room;
        x86_translate(c, x86_wrap(c, linear + room), access, as, &s->part[1]);
    }
}

static void read_span(struct x86_cpu *c, const struct span *s, void *buf)
{
    x86_part_read(c, &s->part[0], buf);
    if (s->count == 2) {
        x86_part_read(c, &s->part[1], (uint8_t *)buf + s->part[0].bytes);
    }
}

static void write_span(struct x86_cpu *c, const struct span *s, const void *buf)
{
    x86_part_write(c, &s->part[0], buf);
    if (s->count == 2) {
        x86_part_write(c, &s->part[1], (const uint8_t *)buf + s->part[0].bytes);
    }
}

/* Ten bytes go as eight and two: where the two may not be, the page of the eight faults
 * first (as processors do; Intel SDM vol. 3A 6.9 leaves the order to them). */
static uint64_t linear_of(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                          unsigned bytes, enum x86_access access)
{
    struct span span;

    if (bytes == 10) {
        translate(c, x86_linear(c, s, offset, 8, access), 8, access, x86_rights_now(c),
                  &span);
    }
    return x86_linear(c, s, offset, bytes, access);
}

void x86_load_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, void *buf,
                         unsigned bytes)
{
    uint64_t linear = linear_of(c, s, offset, bytes, X86_READ);
    struct span span;

    translate(c, linear, bytes, X86_READ, x86_rights_now(c), &span);
    x86_note_watched(c, linear, bytes, X86_READ);
    read_span(c, &span, buf);
}

void x86_store_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                          const void *buf, unsigned bytes)
{
    uint64_t linear = linear_of(c, s, offset, bytes, X86_WRITE);
    struct span span;

    translate(c, linear, bytes, X86_WRITE, x86_rights_now(c), &span);
    x86_note_watched(c, linear, bytes, X86_WRITE);
    write_span(c, &span, buf);
}

uint64_t x86_load_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes)
{
    uint64_t v = 0;

    x86_load_bytes_slow(c, s, offset, &v, bytes);
    return v;
}

void x86_store_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes,
                    uint64_t v)
{
    x86_store_bytes_slow(c, s, offset, &v, bytes);
}

/* Implicit accesses wrap as linear addresses do; in long mode one that is not
 * canonical is #GP. */
static uint64_t system_linear(struct x86_cpu *c, uint64_t linear)
{
    linear = x86_wrap(c, linear);
    if (c->long_mode && !x86_is_canonical(linear)) {
        x86_raise_error(c, X86_GP, 0);
    }
    return linear;
}

uint64_t x86_linear_load(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                         unsigned bytes)
{
    struct span span;
    uint64_t v = 0;
    const uint8_t *host;

    linear = system_linear(c, linear);
    host = x86_tlb_hit(c, linear, bytes, X86_READ, as);
    if (host != NULL && bytes == 8) {
        return *(const volatile x86_u64 *)host;
    }
    translate(c, linear, bytes, X86_READ, as, &span);
    x86_note_watched(c, linear, bytes, X86_READ);
    read_span(c, &span, &v);
    return v;
}

void x86_linear_store(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                      unsigned bytes, uint64_t v)
{
    struct span span;
    uint8_t *host;

    linear = system_linear(c, linear);
    host = x86_tlb_hit(c, linear, bytes, X86_WRITE, as);
    if (host != NULL && bytes == 8) {
        *(volatile x86_u64 *)host = v;
        return;
    }
    translate(c, linear, bytes, X86_WRITE, as, &span);
    x86_note_watched(c, linear, bytes, X86_WRITE);
    write_span(c, &span, &v);
}

void x86_linear_probe(struct x86_cpu *c, enum x86_rights as, uint64_t linear,
                      unsigned bytes, enum x86_access access)
{
    struct span span;

    linear = system_linear(c, linear);
    if (access == X86_EXECUTE || x86_tlb_hit(c, linear, bytes, access, as) == NULL) {
        translate(c, linear, bytes, access, as, &span);
    }
}

/* Do the bytes of both parts follow each other in RAM? */
static bool is_one_piece(const struct span *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->part[i].host == NULL || s->part[i].region->read_only) {
            return false;
        }
    }
    return s->count == 1 || s->part[1].host == s->part[0].host + s->part[0].bytes;
}

static void touch(struct x86_cpu *c, unsigned i)
{
    const struct mem_region *r = c->rmw.region[i];
    uint8_t flags = r == NULL ? 0 : mem_flags(r, c->rmw.at[i]);

    if (flags != 0) {
        x86_settle(c);
        mem_touched(c->mem, r, c->rmw.at[i], c->rmw.bytes[i]);
    }
}

void *x86_rmw_begin_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                         unsigned bytes, bool locked)
{
    uint64_t linear = x86_linear(c, s, offset, bytes, X86_WRITE);
    struct span span;

    translate(c, linear, bytes, X86_WRITE, x86_rights_now(c), &span);
    x86_note_watched(c, linear, bytes, X86_WRITE);
    c->rmw.bytes[1] = 0;
    for (unsigned i = 0; i < span.count; i++) {
        c->rmw.region[i] = span.part[i].region;
        c->rmw.at[i] = span.part[i].at;
        c->rmw.bytes[i] = (uint8_t)span.part[i].bytes;
    }
    c->rmw.pending = true;
    c->rmw.direct = is_one_piece(&span);
    c->rmw.locked = locked && !c->rmw.direct;
    if (c->rmw.direct) {
        for (unsigned i = 0; i < span.count; i++) {
            touch(c, i);
        }
        return span.part[0].host;
    }
    if (locked) {
        mem_lock(c->mem);
    }
    read_span(c, &span, c->rmw.bounce);
    return c->rmw.bounce;
}

void x86_rmw_end_slow(struct x86_cpu *c)
{
    unsigned done = 0;

    c->rmw.pending = false;
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < 2 && (i == 0 || c->rmw.bytes[1] != 0); i++) {
        struct x86_part p = {
            .region = c->rmw.region[i], .at = c->rmw.at[i], .bytes = c->rmw.bytes[i]};

        if (c->rmw.direct) {
            touch(c, i);
            continue;
        }
        if (p.region != NULL && p.region->host != NULL) {
            p.host = p.region->host + (p.at - p.region->base);
        }
        x86_part_write(c, &p, c->rmw.bounce + done);
        done += p.bytes;
    }
    if (c->rmw.locked) {
        mem_unlock(c->mem);
    }
}
