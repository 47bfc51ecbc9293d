#include "tests/virt/isa/x86/vector/input.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "contract/cpu_x86.h"

static uint64_t seed = 1;

void input_seed(unsigned row, const char *text)
{
    seed = 0x9e3779b97f4a7c15u * (row + 1) + (text != NULL ? strtoull(text, NULL, 0) : 0);
}

uint64_t input_random(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15u; /* splitmix64, S. Vigna 2015 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool one_in(unsigned n)
{
    return input_random() % n == 0;
}

static uint32_t single(void)
{
    static const uint32_t pool[] = {
        0x00000000, 0x00000001, 0x00400000, 0x007fffff, 0x00800000, 0x00800001,
        0x3f800000, 0x3f800001, 0x3f000000, 0x3effffff, 0x40000000, 0x40490fdb,
        0x4b000000, 0x4b7fffff, 0x4f000000, 0x4effffff, 0x5f000000, 0x7f7fffff,
        0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc12345, 0x33800000,
        0x38800000, 0x387fc000, 0x477fe000, 0x477ff000, 0x1f000000, 0x5f800000,
        0x01000000, 0x3fc00000};
    uint32_t v = one_in(3) ? (uint32_t)input_random()
                           : pool[input_random() % (sizeof pool / sizeof pool[0])];

    if (one_in(6)) {
        v += (uint32_t)(input_random() % 3) - 1;
    }
    return v ^ (uint32_t)(input_random() & 0x80000000);
}

static uint64_t wide(void)
{
    static const uint64_t pool[] = {
        0x0000000000000000, 0x0000000000000001, 0x0008000000000000, 0x000fffffffffffff,
        0x0010000000000000, 0x0010000000000001, 0x3ff0000000000000, 0x3ff0000000000001,
        0x3fe0000000000000, 0x3fdfffffffffffff, 0x4000000000000000, 0x400921fb54442d18,
        0x41dfffffffc00000, 0x41e0000000000000, 0x43e0000000000000, 0x43dfffffffffffff,
        0x4330000000000000, 0x7fefffffffffffff, 0x7ff0000000000000, 0x7ff0000000000001,
        0x7ff7ffffffffffff, 0x7ff8000000000000, 0x7ff8000012345678, 0x3810000000000000,
        0x380fffffffffffff, 0x36a0000000000000, 0x47efffffe0000000, 0x47efffffffffffff,
        0x1ff0000000000000, 0x5ff0000000000000, 0x0020000000000000, 0x3ff8000000000000};
    uint64_t v = one_in(3) ? input_random() : pool[input_random() % (sizeof pool / 8)];

    if (one_in(6)) {
        v += input_random() % 3 - 1;
    }
    return v ^ (input_random() & UINT64_C(1) << 63);
}

/* Ten bytes: every class of number, pseudo and unsupported ones too (SDM volume 1, 8.2.2). */
static void extended(uint8_t to[10])
{
    static const uint16_t exponents[] = {0,      1,      2,      0x3fff, 0x3ffe, 0x3ffd,
                                         0x4000, 0x4001, 0x400e, 0x401e, 0x403d, 0x403e,
                                         0x403f, 0x4040, 0x7ffe, 0x7fff, 0x3c01, 0x3f81,
                                         0x407e, 0x43fe, 0x3f6a, 0x3bcd, 0x3fbf, 0x4044};
    static const uint64_t mantissas[] = {
        0x8000000000000000, 0x8000000000000001, 0xffffffffffffffff, 0xc000000000000000,
        0xc90fdaa22168c235, 0x0000000000000000, 0x0000000000000001, 0x4000000000000000,
        0x7fffffffffffffff, 0xffffff8000000000, 0xfffffffffffff800, 0x8000008000000000,
        0x8000000000000400, 0xa000000000000000, 0xfffe000000000000};
    uint16_t exponent = one_in(3) ? (uint16_t)input_random()
                                  : exponents[input_random() % (sizeof exponents / 2)];
    uint64_t mantissa =
        one_in(3) ? input_random() : mantissas[input_random() % (sizeof mantissas / 8)];

    if (!one_in(8) && (exponent & 0x7fff) != 0) {
        mantissa |= UINT64_C(1) << 63;
    }
    if (one_in(3)) {
        exponent = (uint16_t)(0x3fff + (int)(input_random() % 9) - 4);
    }
    exponent ^= (uint16_t)(input_random() & 0x8000);
    memcpy(to, &mantissa, 8);
    memcpy(to + 8, &exponent, 2);
}

/* `bytes` of one kind of number. */
static void fill(uint8_t *to, unsigned bytes)
{
    unsigned kind = (unsigned)(input_random() % 6);

    for (unsigned n = 0; n + 8 <= bytes; n += 8) {
        uint64_t v = input_random();

        if (kind <= 1) {
            v = single() | (uint64_t)single() << 32;
        } else if (kind <= 3) {
            v = wide();
        } else if (kind == 4) {
            v &= 0x00ff00ff0f0f0f0f;
        }
        memcpy(to + n, &v, 8);
    }
}

static void fill_x87(struct native_state *s)
{
    s->fcw = 0x0040 | (uint16_t)(input_random() & 0x0f00);
    s->fcw |= one_in(3) ? (uint16_t)(input_random() & 0x3f) : 0x3f;
    s->fsw = (uint16_t)(input_random() & 0x7f00);
    if (one_in(4)) {
        s->fsw |= (uint16_t)(input_random() & s->fcw & 0x3f);
    }
    if (one_in(32)) {
        s->fsw |= (uint16_t)(input_random() & 0x3f);
    }
    if ((s->fsw & ~s->fcw & 0x3f) != 0) {
        s->fsw |= 0x8080;
    }
    s->ftw = one_in(3) ? (uint8_t)input_random() : 0xff;
    if (one_in(2)) { /* room to push */
        s->ftw &= (uint8_t) ~(1u << (((s->fsw >> 11) - 1) & 7));
    }
    s->fop = (uint16_t)(input_random() & 0x7ff);
    s->fip = input_random() >> 17;
    s->fdp = input_random() >> 17;
    for (unsigned n = 0; n < 8; n++) {
        memset(s->st[n], 0, 16);
        if (one_in(8)) {
            fill(s->st[n], 8);
            memset(s->st[n] + 8, 0xff, 2);
        } else {
            extended(s->st[n]);
        }
    }
}

static uint32_t mxcsr(void)
{
    uint32_t v = (uint32_t)input_random() & 0x603f; /* rounding and flags */

    v |= one_in(2) ? 0x1f80 : (uint32_t)input_random() & 0x1f80;
    v |= one_in(4) ? 0x8000 : 0;
    v |= one_in(4) ? 0x0040 : 0;
    return v;
}

static void fill_state(struct native_state *s)
{
    memset(s, 0, sizeof *s);
    fill_x87(s);
    s->mxcsr = mxcsr();
    for (unsigned n = 0; n < 16; n++) {
        fill(s->xmm[n], 16);
        fill(s->high[n], 16);
        if (one_in(8)) { /* the same or close to it: comparisons, cancellation */
            memcpy(s->xmm[n], s->xmm[input_random() % 16], 16);
        }
    }
    s->present = 7;
}

/* Bytes for memory operands: numbers at every alignment. */
static void fill_memory(uint8_t *to)
{
    for (unsigned n = 0; n < NATIVE_ARENA_BYTES; n += 32) {
        if (one_in(4)) {
            extended(to + n);
            extended(to + n + 16);
        } else {
            fill(to + n, 32);
        }
    }
}

void input_make(struct native_case *x)
{
    memset(x, 0, offsetof(struct native_case, memory_in));
    fill_state(&x->in);
    for (unsigned n = 0; n < 16; n++) {
        x->gpr_in[n] = one_in(2) ? input_random() : input_random() % 41 - 20;
        if (one_in(6)) {
            x->gpr_in[n] = wide();
        }
    }
    x->flags_in = 0x202 | (input_random() & 0x8d5);
    fill_memory(x->memory_in);
}

/* An image as XSAVE or FXSAVE would leave it, sometimes spoilt. */
static void make_image(struct native_case *x, unsigned at)
{
    struct native_state s;

    fill_state(&s);
    s.present = input_random() & 7;
    if (one_in(2)) {
        s.layout = UINT64_C(1) << 63 | (s.present | (input_random() & 7));
    }
    if (one_in(12)) {
        s.mxcsr |= 0x10000u << (input_random() % 16);
    }
    if (one_in(12)) {
        s.present |= 8;
    }
    if (one_in(12)) {
        s.layout |= 16;
    }
    if (one_in(12)) {
        s.zeros[input_random() % 6] = 1;
    }
    if (one_in(3)) { /* words that no processor would save */
        s.fcw = (uint16_t)input_random();
        s.fsw = (uint16_t)input_random();
        s.fop = (uint16_t)input_random();
    }
    if (at + sizeof s <= NATIVE_ARENA_BYTES) {
        memcpy(x->memory_in + at, &s, sizeof s);
    }
}

/* Where the memory operand stands: aligned as its size asks, or not, or at the end. */
static unsigned place(bool is_state)
{
    unsigned at = 1024 + 64 * (unsigned)(input_random() % 24);

    if (is_state) {
        return one_in(16)   ? at + 1 + (unsigned)(input_random() % 63)
               : one_in(16) ? NATIVE_ARENA_BYTES - 64 * (unsigned)(input_random() % 10)
                            : at;
    }
    if (one_in(3)) {
        at += 16 * (unsigned)(input_random() % 4);
    }
    if (one_in(5)) {
        at += (unsigned)(input_random() % 32);
    }
    if (one_in(24)) {
        at = NATIVE_ARENA_BYTES - (unsigned)(input_random() % 40);
    }
    return at;
}

static uint8_t vector_or_gpr(const char *operands)
{
    uint8_t n = (uint8_t)(input_random() % 16);

    /* RSP holds the stack of the template; RSI and RDI hold the operand's address. */
    if (strpbrk(operands, "GER") != NULL && (n == 4 || n == 6 || n == 7)) {
        n = 3;
    }
    return n;
}

static void make_gather(struct native_case *x, const char *id, struct x86_form *f)
{
    bool quads = strstr(id, "GATHERQ") != NULL;

    f->index = f->imm8 = (uint8_t)(input_random() % 16);
    f->scale = (uint8_t)(input_random() % 4);
    for (unsigned n = 0; n < 32; n += quads ? 8 : 4) {
        int64_t index = (int64_t)(input_random() % 129) - 64;
        uint8_t *at = (n < 16 ? x->in.xmm[f->imm8] : x->in.high[f->imm8]) + n % 16;

        if (one_in(40)) {
            index = (int64_t)(2048 + input_random() % 1024) >> f->scale;
        }
        memcpy(at, &index, quads ? 8 : 4);
    }
}

void input_form(struct native_case *x, uint64_t arena, const char *id,
                const char *operands, struct x86_form *f)
{
    bool is_state = strstr(operands, "Mstate") != NULL;
    unsigned at = place(is_state);

    f->reg = vector_or_gpr(operands);
    f->rm = vector_or_gpr(operands);
    f->vvvv = vector_or_gpr("");
    f->imm = input_random() & 0xff;
    f->imm8 = (uint8_t)(input_random() % 16);
    f->base = X86_RSI;
    f->index = X86_ZERO;
    f->disp = one_in(3) ? (int64_t)(input_random() % 257) - 128 : 0;
    if (strstr(id, "GATHER") != NULL) {
        make_gather(x, id, f);
        f->disp = 0;
        at = 2048;
    }
    if (is_state) {
        make_image(x, at);
        x->gpr_in[X86_RAX] = input_random() & 7;
        x->gpr_in[X86_RDX] = 0;
    }
    x->gpr_in[X86_RSI] = arena + at - (uint64_t)f->disp;
    x->gpr_in[X86_RDI] = arena + at;
}
