/* string.c - runs of string elements, and the bytes of code. */
#include "virt/isa/x86/memory/memory.h"

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many elements may follow before an address of 16 or 32 bits would wrap, or the
 * segment ends. */
static uint64_t room_in_segment(const struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                unsigned bytes, bool downwards)
{
    const struct x86_segment *seg = &c->r.seg[s];
    uint64_t end = offset <= 0xffff ? 0x10000 : offset <= 0xffffffff ? 1ull << 32 : 0;

    if (c->read_base[s] == X86_BASE_SLOW || c->write_base[s] == X86_BASE_SLOW) {
        if (seg->limit < offset || (seg->attr & 0xc) == 0x4) {
            return 1; /* expand-down */
        }
        end = lesser(end, (uint64_t)seg->limit + 1);
    }
    return downwards ? offset / bytes + 1 : (end - offset) / bytes;
}

uint64_t x86_elements_at(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                         struct x86_elements e, uint8_t **ret_host)
{
    enum x86_access access = e.write ? X86_WRITE : X86_READ;
    uint64_t linear = x86_linear(c, s, offset, e.bytes, access);
    uint64_t inside = linear & X86_PAGE_MASK;
    struct x86_part part = {.bytes = e.bytes};
    uint64_t n;

    if (inside + e.bytes > MEM_PAGE_BYTES) {
        return 0;
    }
    part.host = x86_tlb_hit(c, linear, e.bytes, access, x86_rights_now(c));
    if (part.host != NULL) { /* nothing to look at */
        n = e.downwards ? inside / e.bytes + 1 : (MEM_PAGE_BYTES - inside) / e.bytes;
        *ret_host = part.host;
        return lesser(n, room_in_segment(c, s, offset, e.bytes, e.downwards));
    }
    x86_translate(c, linear, access, x86_rights_now(c), &part);
    if (part.host == NULL || x86_is_watched(c, linear & ~X86_PAGE_MASK, access)) {
        return 0;
    }
    if (e.write && (part.region->read_only || mem_flags(part.region, part.at) != 0)) {
        return 0;
    }
    n = e.downwards ? inside / e.bytes + 1 : (MEM_PAGE_BYTES - inside) / e.bytes;
    n = lesser(n, room_in_segment(c, s, offset, e.bytes, e.downwards));
    /* Alignment checks: the elements after an aligned one are aligned, too. */
    *ret_host = part.host;
    return n;
}

/* The linear address of code; #GP for limits and canonical form. */
static uint64_t code_linear(struct x86_cpu *c, uint64_t rip, unsigned *ret_room)
{
    uint64_t linear;

    *ret_room = MEM_PAGE_BYTES;
    if (c->code_mode == X86_CODE64) {
        linear = rip;
        if (!x86_is_canonical(linear)) {
            x86_raise_error(c, X86_GP, 0);
        }
    } else {
        const struct x86_segment *cs = &c->r.seg[X86_CS];

        if (rip > cs->limit) {
            x86_raise_error(c, X86_GP, 0);
        }
        *ret_room = (unsigned)lesser(*ret_room, (uint64_t)cs->limit + 1 - rip);
        linear = (uint32_t)(cs->base + rip);
    }
    *ret_room = (unsigned)lesser(*ret_room, MEM_PAGE_BYTES - (linear & X86_PAGE_MASK));
    return linear;
}

const uint8_t *x86_fetch_page(struct x86_cpu *c, uint64_t rip, unsigned *ret_bytes,
                              gpa *ret_at)
{
    unsigned room;
    uint64_t linear = code_linear(c, rip, &room);
    unsigned index = x86_tlb_index(linear);
    const struct x86_tlb *t = x86_tlb_real(c);
    struct x86_part part = {.bytes = 1};

    *ret_bytes = room;
    if (t->entry[index].execute == (linear & ~X86_PAGE_MASK)) {
        x86_note_fetched(c, &t->page[index]);
        *ret_at = t->page[index].at | (linear & X86_PAGE_MASK);
        return (const uint8_t *)(uintptr_t)(linear + t->entry[index].addend);
    }
    x86_translate(c, linear, X86_EXECUTE, x86_rights_now(c), &part);
    x86_note_fetched(c, &t->page[index]);
    *ret_at = part.at;
    return part.host;
}

uint8_t x86_fetch8(struct x86_cpu *c, uint64_t rip)
{
    unsigned room;
    uint64_t linear = code_linear(c, rip, &room);
    struct x86_part part = {.bytes = 1};
    uint8_t byte = 0;

    x86_translate(c, linear, X86_EXECUTE, x86_rights_now(c), &part);
    x86_part_read(c, &part, &byte);
    return byte;
}
