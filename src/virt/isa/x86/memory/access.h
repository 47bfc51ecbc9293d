/* access.h - the inline halves of memory.h: an access that hits the soft TLB.
 *
 * `read_base`/`write_base` fold the segment in: a segment that needs a look has a
 * base that no tag matches.  So has an address that is not canonical, and an access
 * that needs alignment checks finds the table of the processor empty.
 *
 * One host access of the guest's size is what makes a guest's load or store
 * indivisible; `volatile` keeps the compiler from splitting or repeating it. */
#ifndef VIRT_ISA_X86_MEMORY_ACCESS_H
#define VIRT_ISA_X86_MEMORY_ACCESS_H

#include <string.h>

#include "virt/isa/x86/memory/tlb.h"

typedef uint16_t x86_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t x86_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t x86_u64 __attribute__((aligned(1), may_alias));
typedef uint8_t x86_u8;

uint64_t x86_load_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                       unsigned bytes);
void x86_store_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes,
                    uint64_t v);
void x86_load_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset, void *buf,
                         unsigned bytes);
void x86_store_bytes_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                          const void *buf, unsigned bytes);
void *x86_rmw_begin_slow(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                         unsigned bytes, bool locked);
void x86_rmw_end_slow(struct x86_cpu *c);

/* The host address of a readable [offset, offset+bytes); NULL: look closer. */
static inline uint8_t *x86_hit_read(const struct x86_cpu *c, enum x86_seg s,
                                    uint64_t offset, unsigned bytes)
{
    uint64_t linear = offset + c->read_base[s];
    const struct x86_tlb_entry *t = &c->tlb->entry[x86_tlb_index(linear)];

    return __builtin_expect(t->read == ((linear + bytes - 1) & ~X86_PAGE_MASK), 1)
               ? (uint8_t *)(uintptr_t)(linear + t->addend)
               : NULL;
}

static inline uint8_t *x86_hit_write(const struct x86_cpu *c, enum x86_seg s,
                                     uint64_t offset, unsigned bytes)
{
    uint64_t linear = offset + c->write_base[s];
    const struct x86_tlb_entry *t = &c->tlb->entry[x86_tlb_index(linear)];

    return __builtin_expect(t->write == ((linear + bytes - 1) & ~X86_PAGE_MASK), 1)
               ? (uint8_t *)(uintptr_t)(linear + t->addend)
               : NULL;
}

#define X86_LOAD_STORE(bits)                                                             \
    static inline uint##bits##_t x86_load##bits(struct x86_cpu *c, enum x86_seg s,       \
                                                uint64_t offset)                         \
    {                                                                                    \
        const uint8_t *at = x86_hit_read(c, s, offset, (bits) / 8);                      \
                                                                                         \
        return at != NULL ? *(const volatile x86_u##bits *)at                            \
                          : (uint##bits##_t)x86_load_slow(c, s, offset, (bits) / 8);     \
    }                                                                                    \
    static inline void x86_store##bits(struct x86_cpu *c, enum x86_seg s,                \
                                       uint64_t offset, uint##bits##_t v)                \
    {                                                                                    \
        uint8_t *at = x86_hit_write(c, s, offset, (bits) / 8);                           \
                                                                                         \
        if (at != NULL) {                                                                \
            *(volatile x86_u##bits *)at = v;                                             \
        } else {                                                                         \
            x86_store_slow(c, s, offset, (bits) / 8, v);                                 \
        }                                                                                \
    }

X86_LOAD_STORE(8)
X86_LOAD_STORE(16)
X86_LOAD_STORE(32)
X86_LOAD_STORE(64)
#undef X86_LOAD_STORE

static inline void x86_load_bytes(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                  void *buf, unsigned bytes)
{
    const uint8_t *at = x86_hit_read(c, s, offset, bytes);

    if (at != NULL) {
        memcpy(buf, at, bytes);
    } else {
        x86_load_bytes_slow(c, s, offset, buf, bytes);
    }
}

static inline void x86_store_bytes(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                   const void *buf, unsigned bytes)
{
    uint8_t *at = x86_hit_write(c, s, offset, bytes);

    if (at != NULL) {
        memcpy(at, buf, bytes);
    } else {
        x86_store_bytes_slow(c, s, offset, buf, bytes);
    }
}

/* Vectors: 16 and 32 bytes as one constant-size copy each. */
static inline void x86_load_vector(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                   void *buf, bool is_256)
{
    if (is_256) {
        x86_load_bytes(c, s, offset, buf, 32);
    } else {
        x86_load_bytes(c, s, offset, buf, 16);
    }
}

static inline void x86_store_vector(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                    const void *buf, bool is_256)
{
    if (is_256) {
        x86_store_bytes(c, s, offset, buf, 32);
    } else {
        x86_store_bytes(c, s, offset, buf, 16);
    }
}

static inline void *x86_rmw_begin(struct x86_cpu *c, enum x86_seg s, uint64_t offset,
                                  unsigned bytes, bool locked)
{
    uint8_t *at = x86_hit_write(c, s, offset, bytes);

    return at != NULL ? at : x86_rmw_begin_slow(c, s, offset, bytes, locked);
}

static inline void x86_rmw_end(struct x86_cpu *c)
{
    if (__builtin_expect(c->rmw.pending, 0)) {
        x86_rmw_end_slow(c);
    }
}

#endif
