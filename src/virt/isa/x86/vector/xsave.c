/* xsave.c - FXSAVE, XSAVE and their kin (SDM volume 1, 10.5 and chapter 13).
 *
 * The image: 512 bytes of x87 and SSE state, a header of 64, then the upper halves of
 * the YMM registers at 576, in the standard form and, as they are the only extended
 * component, in the compacted one too.
 *
 *   0 FCW  2 FSW  4 FTW  6 FOP  8 FIP  16 FDP  24 MXCSR  28 MXCSR_MASK  32 ST  160 XMM
 *   512 XSTATE_BV  520 XCOMP_BV  528 zeros
 *
 * Saves check both ends of the area for writing before they write a byte; restores
 * load everything before they change a register. */
#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/vector/vector.h"
#include "virt/isa/x86/vector/x87.h"

#define HEADER   512
#define YMM_AT   576
#define X87_PART 1u
#define SSE_PART 2u
#define AVX_PART 4u
#define COMPACT  (UINT64_C(1) << 63)

struct image {
    union lane part[26]; /* 832 bytes */
};

static uint8_t *bytes_of(struct image *m, unsigned at)
{
    return (uint8_t *)m + at;
}

static uint64_t get64(struct image *m, unsigned at)
{
    uint64_t v;

    memcpy(&v, bytes_of(m, at), 8);
    return v;
}

static unsigned registers(const struct x86_insn *i)
{
    return i->mode == X86_CODE64 ? 16 : 8;
}

/* The components that are not in their initial state (13.6). */
static uint64_t in_use(const struct x86_cpu *c)
{
    static const uint8_t zeros[16];
    const struct x86_fpu *f = &c->r.fpu;
    uint64_t used = 0;

    if (f->fcw != X87_HOST_CW || f->fsw != 0 || f->ftw != 0 || f->fop != 0 ||
        f->fip != 0 || f->fdp != 0 || f->fcs != 0 || f->fds != 0) {
        used |= X87_PART;
    }
    for (unsigned n = 0; n < 8; n++) {
        used |= memcmp(f->st[n], zeros, 10) != 0 ? X87_PART : 0;
    }
    for (unsigned n = 0; n < 16; n++) {
        used |= memcmp(f->ymm[n].byte, zeros, 16) != 0 ? SSE_PART : 0;
        used |= memcmp(f->ymm[n].byte + 16, zeros, 16) != 0 ? AVX_PART : 0;
    }
    return used;
}

/* `wide`: pointers of 64 bits in place of selector and 32-bit offset. */
static void make_x87(struct x86_cpu *c, struct image *m, bool wide)
{
    const struct x86_fpu *f = &c->r.fpu;

    memcpy(bytes_of(m, 0), &f->fcw, 2);
    memcpy(bytes_of(m, 2), &f->fsw, 2);
    bytes_of(m, 4)[0] = f->ftw;
    memcpy(bytes_of(m, 6), &f->fop, 2);
    memcpy(bytes_of(m, 8), &f->fip, 8);
    memcpy(bytes_of(m, 16), &f->fdp, 8);
    if (!wide) {
        memset(bytes_of(m, 12), 0, 4);
        memset(bytes_of(m, 20), 0, 4);
        memcpy(bytes_of(m, 12), &f->fcs, 2);
        memcpy(bytes_of(m, 20), &f->fds, 2);
    }
    for (unsigned n = 0; n < 8; n++) {
        memcpy(bytes_of(m, 32 + 16 * n), x87_st(c, n), 10);
    }
}

static void take_x87(struct x86_cpu *c, struct image *m, bool wide)
{
    struct x86_fpu *f = &c->r.fpu;

    memcpy(&f->fcw, bytes_of(m, 0), 2);
    f->fcw = (uint16_t)((f->fcw & 0x1f3fu) | 0x40);
    memcpy(&f->fsw, bytes_of(m, 2), 2);
    f->ftw = bytes_of(m, 4)[0];
    memcpy(&f->fop, bytes_of(m, 6), 2);
    f->fop &= 0x7ff;
    memcpy(&f->fip, bytes_of(m, 8), 8);
    memcpy(&f->fdp, bytes_of(m, 16), 8);
    f->fcs = 0;
    f->fds = 0;
    if (!wide) {
        f->fip = (uint32_t)f->fip;
        f->fdp = (uint32_t)f->fdp;
    }
    x86_x87_summarise(c);
    for (unsigned n = 0; n < 8; n++) {
        memcpy(x87_st(c, n), bytes_of(m, 32 + 16 * n), 10);
    }
}

static void make_mxcsr(const struct x86_cpu *c, struct image *m)
{
    static const uint32_t mask = X86_MXCSR_MASK;

    memcpy(bytes_of(m, 24), &c->r.fpu.mxcsr, 4);
    memcpy(bytes_of(m, 28), &mask, 4);
}

static uint32_t image_mxcsr(struct image *m)
{
    uint32_t v;

    memcpy(&v, bytes_of(m, 24), 4);
    return v;
}

static void make_xmm(const struct x86_cpu *c, struct image *m, unsigned n, unsigned upper)
{
    for (unsigned k = 0; k < n; k++) {
        memcpy(bytes_of(m, (upper != 0 ? YMM_AT : 160) + 16 * k),
               c->r.fpu.ymm[k].byte + upper, 16);
    }
}

/* `m` NULL: the initial state, zeros. */
static void take_xmm(struct x86_cpu *c, struct image *m, unsigned n, unsigned upper)
{
    for (unsigned k = 0; k < n; k++) {
        if (m == NULL) {
            memset(c->r.fpu.ymm[k].byte + upper, 0, 16);
        } else {
            memcpy(c->r.fpu.ymm[k].byte + upper,
                   bytes_of(m, (upper != 0 ? YMM_AT : 160) + 16 * k), 16);
        }
    }
}

/* The address, aligned or #GP(0). */
static uint64_t area(struct x86_cpu *c, const struct x86_insn *i, unsigned align)
{
    uint64_t at = x86_ea(c, i);

    if (!lane_aligned(c, i, at, align)) {
        x86_raise_error(c, X86_GP, 0);
    }
    return at;
}

static void put(struct x86_cpu *c, const struct x86_insn *i, uint64_t at, struct image *m,
                unsigned from, unsigned bytes)
{
    x86_store_bytes(c, (enum x86_seg)i->segment, at + from, bytes_of(m, from), bytes);
}

static void get(struct x86_cpu *c, const struct x86_insn *i, uint64_t at, struct image *m,
                unsigned from, unsigned bytes)
{
    x86_load_bytes(c, (enum x86_seg)i->segment, at + from, bytes_of(m, from), bytes);
}

static void check_writable(struct x86_cpu *c, const struct x86_insn *i, uint64_t at,
                           unsigned bytes)
{
    x86_rmw_begin(c, (enum x86_seg)i->segment, at, 1, false);
    x86_rmw_end(c);
    x86_rmw_begin(c, (enum x86_seg)i->segment, at + bytes - 1, 1, false);
    x86_rmw_end(c);
}

static inline void fxsave(struct x86_cpu *c, const struct x86_insn *i, bool wide)
{
    struct image m = {0};
    uint64_t at;

    x86_x87_begin_control(c);
    x86_settle(c);
    at = area(c, i, 16);
    check_writable(c, i, at, 512);
    make_x87(c, &m, wide);
    make_mxcsr(c, &m);
    make_xmm(c, &m, registers(i), 0);
    put(c, i, at, &m, 0, 160 + 16 * registers(i));
}

static inline void fxrstor(struct x86_cpu *c, const struct x86_insn *i, bool wide)
{
    struct image m = {0};
    uint64_t at;

    x86_x87_begin_control(c);
    x86_settle(c);
    at = area(c, i, 16);
    get(c, i, at, &m, 0, 512);
    if ((image_mxcsr(&m) & ~X86_MXCSR_MASK) != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    take_x87(c, &m, wide);
    c->r.fpu.mxcsr = image_mxcsr(&m);
    take_xmm(c, &m, registers(i), 0);
}

/* #UD and #NM of the XSAVE family, then the area. */
static uint64_t begin(struct x86_cpu *c, const struct x86_insn *i)
{
    if ((c->r.cr4 & X86_CR4_OSXSAVE) == 0) {
        x86_raise(c, X86_UD);
    }
    if ((c->r.cr0 & X86_CR0_TS) != 0) {
        x86_raise(c, X86_NM);
    }
    x86_settle(c);
    return area(c, i, 64);
}

static uint64_t requested(const struct x86_cpu *c)
{
    uint64_t mask = (uint32_t)c->r.gpr[X86_RAX] | c->r.gpr[X86_RDX] << 32;

    return mask & c->r.xcr0 & X86_XCR0_KNOWN;
}

/* Write the components `parts`; MXCSR goes with what the caller says. */
static void put_parts(struct x86_cpu *c, const struct x86_insn *i, uint64_t at,
                      uint64_t parts, bool mxcsr, bool wide)
{
    struct image m = {0};

    make_x87(c, &m, wide);
    make_mxcsr(c, &m);
    make_xmm(c, &m, registers(i), 0);
    make_xmm(c, &m, registers(i), 16);
    if ((parts & X87_PART) != 0) {
        put(c, i, at, &m, 0, 24);
        put(c, i, at, &m, 32, 128);
    }
    if (mxcsr) {
        put(c, i, at, &m, 24, 8);
    }
    if ((parts & SSE_PART) != 0) {
        put(c, i, at, &m, 160, 16 * registers(i));
    }
    if ((parts & AVX_PART) != 0) {
        put(c, i, at, &m, YMM_AT, 16 * registers(i));
    }
}

/* XSAVE, XSAVEOPT: the standard form; `optimise` leaves initial components out. */
static inline void xsave(struct x86_cpu *c, const struct x86_insn *i, bool wide,
                         bool optimise)
{
    uint64_t at = begin(c, i), mask = requested(c), used = in_use(c) & mask, header;

    check_writable(c, i, at, x86_xsave_bytes(mask));
    header = x86_load64(c, (enum x86_seg)i->segment, at + HEADER);
    put_parts(c, i, at, optimise ? used : mask, (mask & (SSE_PART | AVX_PART)) != 0,
              wide);
    x86_store64(c, (enum x86_seg)i->segment, at + HEADER, (header & ~mask) | used);
}

/* XSAVEC, XSAVES: the compacted form; MXCSR counts as a part of the SSE state. */
static inline void xsave_compact(struct x86_cpu *c, const struct x86_insn *i, bool wide)
{
    uint64_t at = begin(c, i), mask = requested(c), used = in_use(c);

    if (c->r.fpu.mxcsr != 0x1f80) {
        used |= SSE_PART;
    }
    used &= mask;
    check_writable(c, i, at, x86_xsave_bytes(mask));
    put_parts(c, i, at, used, (used & SSE_PART) != 0, wide);
    x86_store64(c, (enum x86_seg)i->segment, at + HEADER, used);
    x86_store64(c, (enum x86_seg)i->segment, at + HEADER + 8, mask | COMPACT);
}

/* The header's rules (13.8.1, 13.8.2); returns XSTATE_BV. */
static uint64_t check_header(struct x86_cpu *c, struct image *m, bool only_compact)
{
    uint64_t present = get64(m, HEADER), layout = get64(m, HEADER + 8);
    uint64_t allowed = c->r.xcr0 & X86_XCR0_KNOWN;
    bool bad;

    if ((layout & COMPACT) == 0) {
        bad = only_compact || layout != 0 || get64(m, HEADER + 16) != 0 ||
              (present & ~allowed) != 0;
    } else {
        bad = (layout & ~(allowed | COMPACT)) != 0 || (present & ~layout) != 0;
        for (unsigned n = 16; n < 64; n += 8) {
            bad = bad || get64(m, HEADER + n) != 0;
        }
    }
    if (bad) {
        x86_raise_error(c, X86_GP, 0);
    }
    return present;
}

/* XRSTOR, XRSTORS: components that the image lacks become initial. */
static inline void xrstor(struct x86_cpu *c, const struct x86_insn *i, bool wide,
                          bool only_compact)
{
    uint64_t at = begin(c, i), mask = requested(c), present;
    struct image m = {0};
    bool compact;
    uint32_t mxcsr = c->r.fpu.mxcsr; /* settled by `begin` */

    get(c, i, at, &m, HEADER, 64);
    present = check_header(c, &m, only_compact);
    compact = (get64(&m, HEADER + 8) & COMPACT) != 0;
    if ((mask & (compact ? present & (X87_PART | SSE_PART) : 7)) != 0) {
        get(c, i, at, &m, 0, 512);
    }
    if ((mask & present & AVX_PART) != 0) {
        get(c, i, at, &m, YMM_AT, 16 * registers(i));
    }
    if (compact ? (mask & SSE_PART) != 0 : (mask & (SSE_PART | AVX_PART)) != 0) {
        mxcsr = compact && (present & SSE_PART) == 0 ? 0x1f80 : image_mxcsr(&m);
    }
    if ((mxcsr & ~X86_MXCSR_MASK) != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    c->r.fpu.mxcsr = mxcsr;
    if ((mask & present & X87_PART) != 0) {
        take_x87(c, &m, wide);
    } else if ((mask & X87_PART) != 0) {
        x86_fpu_init(&c->r.fpu);
        memset(c->r.fpu.st, 0, sizeof c->r.fpu.st);
    }
    if ((mask & SSE_PART) != 0) {
        take_xmm(c, (present & SSE_PART) != 0 ? &m : NULL, registers(i), 0);
    }
    if ((mask & AVX_PART) != 0) {
        take_xmm(c, (present & AVX_PART) != 0 ? &m : NULL, registers(i), 16);
    }
}

/* XSAVES, XRSTORS: level 0 only, after #UD and #NM (the address is checked later). */
static inline void privileged(struct x86_cpu *c)
{
    if (c->r.cpl != 0 && (c->r.cr4 & X86_CR4_OSXSAVE) != 0 &&
        (c->r.cr0 & X86_CR0_TS) == 0) {
        x86_raise_error(c, X86_GP, 0);
    }
}

/* Each with operands of 32 bits, and with REX.W. */
#define SAVE(routine, call)                                                              \
    static void routine##_f(struct x86_cpu *c, const struct x86_insn *i)                 \
    {                                                                                    \
        call;                                                                            \
    }                                                                                    \
    FAMILY_ONE(routine, NULL, routine##_f);

SAVE(fxsave, fxsave(c, i, false))
SAVE(fxsave64, fxsave(c, i, true))
SAVE(fxrstor, fxrstor(c, i, false))
SAVE(fxrstor64, fxrstor(c, i, true))
SAVE(xsave, xsave(c, i, false, false))
SAVE(xsave64, xsave(c, i, true, false))
SAVE(xsaveopt, xsave(c, i, false, true))
SAVE(xsaveopt64, xsave(c, i, true, true))
SAVE(xsavec, xsave_compact(c, i, false))
SAVE(xsavec64, xsave_compact(c, i, true))
SAVE(xsaves, privileged(c); xsave_compact(c, i, false))
SAVE(xsaves64, privileged(c); xsave_compact(c, i, true))
SAVE(xrstor, xrstor(c, i, false, false))
SAVE(xrstor64, xrstor(c, i, true, false))
SAVE(xrstors, privileged(c); xrstor(c, i, false, true))
SAVE(xrstors64, privileged(c); xrstor(c, i, true, true))
