/* decode.c - from bytes to one instruction.
 *
 * The way of the bytes: legacy prefixes and REX, or VEX; the opcode's head
 * (tables.h); the modrm byte; now all facts are known and the row is found; then
 * memory operand and immediates, as the row's shape asks.  Bytes are read in
 * their order, so that a shorter buffer ends inside the instruction, or does not
 * matter.  They are copied once, with zeros behind: what decoding then consumes
 * beyond `have` tells that more is needed, and another processor that rewrites the
 * code meanwhile cannot show it two values of one byte.
 *
 * Choices where processors differ: as Intel's do.
 *   - 66 before near branches in 64-bit mode is ignored (AMD: 16-bit offset).
 *   - Of F2 and F3 the last counts; both before 66.
 *   - ES, CS, SS, DS overrides in 64-bit mode are ignored whole: an FS or GS
 *     before them stays.
 *   - VEX.vvvv's top bit is ignored outside 64-bit mode where it names a register.
 *
 * Intel SDM, volume 2A, chapter 2 and volume 2D, appendix A. */
#include <string.h>

#include "contract/cpu_x86.h"
#include "virt/isa/x86/tables.h"

#define PADDED_BYTES 32 /* 14 prefixes, opcode 3, modrm 2, displacement 4, immediate 8 */

enum prefix_kind {
    NO_PREFIX,
    SEGMENT_LEGACY, /* ignored in 64-bit mode */
    SEGMENT,
    OPERAND,
    ADDRESS,
    LOCK,
    REPEAT,
    REX, /* 64-bit mode only */
};

/* clang-format off */
static const uint8_t prefix_kinds[256] = {
    [0x26] = SEGMENT_LEGACY, [0x2e] = SEGMENT_LEGACY, [0x36] = SEGMENT_LEGACY,
    [0x3e] = SEGMENT_LEGACY, [0x64] = SEGMENT, [0x65] = SEGMENT, [0x66] = OPERAND,
    [0x67] = ADDRESS, [0xf0] = LOCK, [0xf2] = REPEAT, [0xf3] = REPEAT,
    [0x40 ... 0x4f] = REX,
};

/* clang-format on */

/* An instruction on its way. */
struct decoding {
    const uint8_t *bytes;
    unsigned at;
    uint32_t facts; /* tables.h */
    uint8_t segment;
    uint8_t rex; /* REX.W R X B in bits 3..0, of VEX too */
    uint8_t modrm;
    uint8_t map;
    bool has_rex;
    bool operand;
    bool address;
    bool lock;
    uint8_t repeat;
    bool vex;
    bool is_wrong;   /* VEX that may not stand there */
    bool has_no_map; /* VEX of a map that does not exist */
    uint8_t vvvv;
};

static uint64_t read_bytes(struct decoding *d, unsigned n)
{
    uint64_t v = 0;

    memcpy(&v, d->bytes + d->at, n); /* little endian, as every host of ours */
    d->at += n;
    return v;
}

static uint8_t segment_of(uint8_t prefix)
{
    return prefix >= 0x64 ? (uint8_t)(X86_FS + prefix - 0x64) : (prefix >> 3) & 3;
}

/* Returns false after too many bytes; leaves `at` on the opcode. */
static bool read_prefixes(struct decoding *d, bool in64)
{
    for (; d->at < X86_INSN_BYTES_MAX; d->at++) {
        uint8_t c = d->bytes[d->at];
        uint8_t kind = prefix_kinds[c];

        if (kind == NO_PREFIX) {
            return true;
        }
        if (kind == REX) {
            if (!in64) {
                return true;
            }
            d->has_rex = true;
            d->rex = c & 15;
            continue;
        }
        d->has_rex = false; /* only directly before the opcode */
        d->rex = 0;
        if (kind == SEGMENT || (kind == SEGMENT_LEGACY && !in64)) {
            d->segment = segment_of(c);
        } else if (kind == OPERAND) {
            d->operand = true;
        } else if (kind == ADDRESS) {
            d->address = true;
        } else if (kind == LOCK) {
            d->lock = true;
        } else if (kind == REPEAT) {
            d->repeat = c;
        }
    }
    return false;
}

/* C4 and C5 stand before VEX, but outside 64-bit mode with a modrm byte that names
 * memory they are LES and LDS. */
static void read_vex(struct decoding *d)
{
    bool three = d->bytes[d->at] == 0xc4;
    uint8_t first = d->bytes[d->at + 1];
    uint8_t last = three ? d->bytes[d->at + 2] : first;
    uint8_t map = three ? first & 31 : 1;

    d->at += three ? 3 : 2;
    d->vex = true;
    d->vvvv = (uint8_t)~last >> 3 & 15;
    d->has_no_map = map < 1 || map > 3;
    d->is_wrong = d->has_rex || d->operand || d->repeat != 0 || d->lock;
    d->rex = three ? (uint8_t)~first >> 5 & 7 : (uint8_t)~first >> 5 & 4;
    d->facts |= (uint32_t)(last & 3) | (uint32_t)(last >> 2 & 1) << X86_FACT_LONG;
    if (three && last & 0x80) {
        d->rex |= 8;
        d->facts |= 1u << X86_FACT_WIDE;
    }
    d->map = (uint8_t)(X86_MAP_VEX + (d->has_no_map ? 1 : map));
}

static uint8_t read_opcode(struct decoding *d)
{
    uint8_t c = d->bytes[d->at++];

    if (c != 0x0f || d->vex) {
        return c;
    }
    c = d->bytes[d->at++];
    d->map = 1;
    if (c == 0x38 || c == 0x3a) {
        d->map = c == 0x38 ? 2 : 3;
        c = d->bytes[d->at++];
    }
    return c;
}

/* Operand and address size by mode and prefixes, and the prefix that counts. */
static void note_sizes(struct decoding *d, enum x86_code_mode mode, struct x86_insn *i)
{
    unsigned operand = (mode == X86_CODE16) == d->operand ? X86_32 : X86_16;
    unsigned address = mode == X86_CODE16   ? X86_16 + (unsigned)d->address
                       : mode == X86_CODE32 ? X86_32 - (unsigned)d->address
                                            : X86_64 - (unsigned)d->address;

    if (!d->vex) {
        d->facts |= d->repeat == 0xf2 ? 3 : d->repeat == 0xf3 ? 2 : (uint32_t)d->operand;
        d->facts |= (uint32_t)(d->rex >> 3) << X86_FACT_WIDE;
    }
    if (d->rex & 8) {
        operand = X86_64;
    }
    d->facts |= operand << X86_FACT_OPERAND | address << X86_FACT_ADDRESS |
                (uint32_t)(mode == X86_CODE64) << X86_FACT_MODE64;
    i->address = (uint8_t)address;
}

static uint16_t find_row(struct decoding *d, uint8_t opcode)
{
    const struct x86_head *head = &x86_heads[(unsigned)d->map * 256 + opcode];
    const struct x86_case *c;

    if (head->flags & X86_HEAD_MODRM) {
        uint8_t modrm = d->bytes[d->at++];

        d->modrm = modrm;
        d->facts |= (uint32_t)(modrm >= 0xc0) << X86_FACT_MOD3 |
                    (uint32_t)(modrm >> 3 & 7) << X86_FACT_REG |
                    (uint32_t)(modrm & 7) << X86_FACT_RM;
        if (head->flags & X86_HEAD_SPLIT) {
            head = &x86_heads[head->first + (modrm >> 3 & 7)];
        }
    } else {
        d->facts |= (uint32_t)(d->rex & 1) << X86_FACT_MOD3;
    }
    c = &x86_cases[head->first];
    for (unsigned n = head->count; n > 0; n--, c++) {
        if (((d->facts ^ c->value) & c->mask) == 0) {
            return c->row;
        }
    }
    return X86_INVALID;
}

/* modrm of 16-bit addresses; SDM volume 2A, table 2-1. */
static void read_memory16(struct decoding *d, struct x86_insn *i)
{
    static const uint8_t bases[8] = {X86_RBX, X86_RBX, X86_RBP, X86_RBP,
                                     X86_RSI, X86_RDI, X86_RBP, X86_RBX};
    static const uint8_t indexes[8] = {X86_RSI,  X86_RDI,  X86_RSI,  X86_RDI,
                                       X86_ZERO, X86_ZERO, X86_ZERO, X86_ZERO};
    uint8_t mod = d->modrm >> 6;
    uint8_t rm = d->modrm & 7;

    i->base = bases[rm];
    i->index = indexes[rm];
    if (mod == 0 && rm == 6) {
        i->base = X86_ZERO;
        mod = 2;
    }
    if (mod == 1) {
        i->disp = (int8_t)d->bytes[d->at++];
    } else if (mod == 2) {
        i->disp = (int16_t)read_bytes(d, 2);
    }
    i->segment = i->base == X86_RBP ? X86_SS : X86_DS;
}

/* Tables 2-2 and 2-3, and 2.2.1.6 for RIP. */
static void read_memory32(struct decoding *d, struct x86_insn *i, bool is_vector_index)
{
    uint8_t mod = d->modrm >> 6;
    uint8_t base = d->modrm & 7;

    i->index = X86_ZERO;
    if (base == 4) {
        uint8_t sib = d->bytes[d->at++];
        uint8_t index = (uint8_t)((sib >> 3 & 7) | (d->rex & 2) << 2);

        i->scale = sib >> 6;
        base = sib & 7;
        if (is_vector_index) {
            i->imm8 = index;
        } else if (index != 4) {
            i->index = index;
        }
        i->base = (uint8_t)(base | (d->rex & 1) << 3);
        if (base == 5 && mod == 0) {
            i->base = X86_ZERO;
            mod = 2;
        }
    } else if (base == 5 && mod == 0) {
        i->base = d->facts & 1u << X86_FACT_MODE64 ? X86_RIP : X86_ZERO;
        mod = 2;
    } else {
        i->base = (uint8_t)(base | (d->rex & 1) << 3);
    }
    if (mod == 1) {
        i->disp = (int8_t)d->bytes[d->at++];
    } else if (mod == 2) {
        i->disp = (int32_t)read_bytes(d, 4);
    }
    i->segment = i->base == X86_RSP || i->base == X86_RBP ? X86_SS : X86_DS;
}

static void read_memory(struct decoding *d, struct x86_insn *i, bool is_vector_index)
{
    if (i->address == X86_16) {
        read_memory16(d, i);
    } else {
        read_memory32(d, i, is_vector_index);
    }
}

static void read_modrm(struct decoding *d, struct x86_insn *i, const struct x86_shape *s)
{
    i->reg = (uint8_t)((d->modrm >> 3 & 7) | (d->rex & 4) << 1);
    i->rm = (uint8_t)((d->modrm & 7) | (d->rex & 1) << 3);
    if (s->flags & X86_SHAPE_REG8) {
        i->reg &= 7;
    }
    if (s->flags & X86_SHAPE_RM8) {
        i->rm &= 7;
    }
    if (d->modrm >= 0xc0 || s->flags & X86_SHAPE_CONTROL) {
        return;
    }
    i->is_memory = true;
    read_memory(d, i, s->flags & X86_SHAPE_VSIB);
}

static uint64_t read_far(struct decoding *d, uint8_t size)
{
    uint64_t offset = read_bytes(d, size == X86_16 ? 2 : 4);

    return offset | read_bytes(d, 2) << 32;
}

static uint64_t read_immediate(struct decoding *d, const struct x86_insn *i, uint8_t kind)
{
    switch ((enum x86_immediate)kind) {
    case X86_IMM_NONE:
        return 0;
    case X86_IMM_U8:
        return d->bytes[d->at++];
    case X86_IMM_S8:
        return (uint64_t)(int8_t)d->bytes[d->at++];
    case X86_IMM_U16:
        return read_bytes(d, 2);
    case X86_IMM_U32:
        return read_bytes(d, 4);
    case X86_IMM_Z:
        return i->size == X86_16 ? (uint64_t)(int16_t)read_bytes(d, 2)
                                 : (uint64_t)(int32_t)read_bytes(d, 4);
    case X86_IMM_V:
        return read_bytes(d, 1u << i->size);
    case X86_IMM_FAR:
        return read_far(d, i->size);
    case X86_IMM_MOFFS:
        return read_bytes(d, 1u << i->address);
    case X86_IMM_IS4:
        return d->bytes[d->at++] >> 4 & (d->facts & 1u << X86_FACT_MODE64 ? 15 : 7);
    }
    return 0;
}

/* CR0, 2, 3, 4, 8 and DR0 to DR7 (CR4.DE is the executor's). */
static bool is_control_register(uint8_t n, const struct x86_shape *s)
{
    return s->flags & X86_SHAPE_DEBUG ? n < 8 : 0x11d >> n & 1;
}

/* What a row forbids beside its pattern. */
static bool is_forbidden(const struct decoding *d, const struct x86_insn *i,
                         const struct x86_shape *s)
{
    if (d->lock && (!(s->flags & X86_SHAPE_LOCK) || !i->is_memory)) {
        return true;
    }
    if (d->vex && !(s->flags & X86_SHAPE_VVVV) && d->vvvv != 0) {
        return true;
    }
    if (s->flags & X86_SHAPE_SEGMENT && i->reg > X86_GS) {
        return true;
    }
    if (s->flags & X86_SHAPE_CONTROL && !is_control_register(i->reg, s)) {
        return true;
    }
    return s->flags & X86_SHAPE_VSIB && (i->address == X86_16 || (d->modrm & 7) != 4);
}

static void fill(struct decoding *d, struct x86_insn *i, uint8_t opcode)
{
    const struct x86_shape *s = &x86_shapes[i->row];
    const struct x86_head *head = &x86_heads[(unsigned)d->map * 256 + opcode];

    i->size = x86_sizes[s->rule][d->facts >> X86_FACT_WIDE & 31];
    i->prefix = s->prefix;
    i->has_rex = d->has_rex;
    i->lock = d->lock;
    i->vex = d->vex;
    i->repeat = s->flags & X86_SHAPE_PREFIX ? 0 : d->repeat;
    i->segment = X86_DS;
    i->vvvv = d->facts & 1u << X86_FACT_MODE64 ? d->vvvv : d->vvvv & 7;
    if (head->flags & X86_HEAD_MODRM) {
        read_modrm(d, i, s);
    } else if (s->flags & X86_SHAPE_PLUS_R) {
        i->reg = (uint8_t)((opcode & 7) | (d->rex & 1) << 3);
        i->rm = i->reg;
    }
    if (d->segment != X86_NO_SEGMENT) {
        i->segment = d->segment;
    }
    i->imm = read_immediate(d, i, s->immediate);
    if (s->immediate == X86_IMM_IS4) {
        i->imm8 = (uint8_t)i->imm;
    } else if (s->immediate2 != X86_IMM_NONE) {
        i->imm8 = (uint8_t)read_immediate(d, i, s->immediate2);
    }
    if (i->base == X86_RIP) {
        i->disp += d->at;
    }
    if (is_forbidden(d, i, s)) {
        i->row = X86_INVALID;
    }
}

/* A row of this opcode, to tell the immediates of others; NULL: none. */
static const struct x86_shape *any_shape(const struct x86_head *head)
{
    if (head->flags & X86_HEAD_SPLIT) {
        head = &x86_heads[head->first];
        while (head->count == 0) {
            head++;
        }
    }
    return head->flags & X86_HEAD_KNOWN ? &x86_shapes[x86_cases[head->first].row] : NULL;
}

/* Of opcodes without rows: whether a modrm byte follows, and a byte behind it.  All of
 * 0F 38 to 0F 3F are escapes to maps of their own; 3A, 3B, 3E and 3F have the byte. */
static bool has_unknown_modrm(struct decoding *d, uint8_t opcode, bool *ret_byte)
{
    *ret_byte = d->map == 3 || d->map == X86_MAP_VEX + 3 || d->has_no_map;
    if (d->map == 1 && (opcode & 0xf8) == 0x38) {
        d->at++;
        *ret_byte = opcode == 0x3b || opcode >= 0x3e;
        return true;
    }
    return d->map > 1 ||
           (d->map == 1 && ((opcode & 0xfc) == 0x78 || (opcode & 0xfe) == 0xa6));
}

/* Processors find the end of what they do not know before they refuse it: over 15
 * bytes is #GP, a page that is not there #PF.  The end is what they were seen to take
 * for it: operand and immediates of other rows with that opcode. */
static void skip_undefined(struct decoding *d, const struct x86_insn *i, uint8_t opcode)
{
    const struct x86_head *head = &x86_heads[(unsigned)d->map * 256 + opcode];
    const struct x86_shape *s = d->has_no_map ? NULL : any_shape(head);
    struct x86_insn unused = *i;
    bool has_byte = false;
    bool has_modrm;

    if (s == NULL && d->vex && !d->has_no_map) { /* as without VEX */
        head = &x86_heads[(unsigned)(d->map - X86_MAP_VEX) * 256 + opcode];
        s = any_shape(head);
        if (s != NULL && head->flags & X86_HEAD_MODRM) {
            d->modrm = d->bytes[d->at++];
        }
    }
    has_modrm = s != NULL && head->flags & X86_HEAD_MODRM;
    if (s == NULL && has_unknown_modrm(d, opcode, &has_byte)) {
        d->modrm = d->bytes[d->at++];
        has_modrm = true;
    }
    if (has_modrm && d->modrm < 0xc0) {
        read_memory(d, &unused, false);
    }
    d->at += has_byte;
    if (s != NULL) {
        unused.size = x86_sizes[s->rule][d->facts >> X86_FACT_WIDE & 31];
        (void)read_immediate(d, &unused, s->immediate);
        (void)read_immediate(d, &unused, s->immediate2);
    }
}

/* At least PADDED_BYTES may be read. */
static bool decode_padded(struct decoding *d, enum x86_code_mode mode, struct x86_insn *i)
{
    bool in64 = mode == X86_CODE64;
    uint8_t c;

    memset(i, 0, sizeof *i); /* padding too: equal instructions are equal bytes */
    i->mode = (uint8_t)mode;
    i->base = X86_ZERO;
    i->index = X86_ZERO;
    if (!read_prefixes(d, in64)) {
        d->at++;
        return false;
    }
    c = d->bytes[d->at];
    if ((c == 0xc4 || c == 0xc5) && (in64 || d->bytes[d->at + 1] >= 0xc0)) {
        read_vex(d);
    }
    c = read_opcode(d);
    note_sizes(d, mode, i);
    i->row = d->has_no_map ? X86_INVALID : find_row(d, c);
    if (i->row != X86_INVALID) {
        fill(d, i, c);
    } else {
        skip_undefined(d, i, c);
    }
    if (d->is_wrong) {
        i->row = X86_INVALID;
    }
    return d->at <= X86_INSN_BYTES_MAX;
}

enum x86_decode_result x86_decode(const uint8_t *bytes, unsigned have,
                                  enum x86_code_mode mode, struct x86_insn *ret_insn)
{
    uint8_t padded[PADDED_BYTES] = {0};
    struct decoding d = {.bytes = padded, .segment = X86_NO_SEGMENT};
    bool fits;

    if (have >= X86_INSN_BYTES_MAX) {
        memcpy(padded, bytes, X86_INSN_BYTES_MAX);
    } else {
        memcpy(padded, bytes, have);
    }
    __asm__ volatile("" : : "r"(padded) : "memory"); /* not read a second time */
    fits = decode_padded(&d, mode, ret_insn);
    ret_insn->length = (uint8_t)(fits ? d.at : X86_INSN_BYTES_MAX);
    if (d.at > have && have < X86_INSN_BYTES_MAX) {
        return X86_NEED_MORE;
    }
    return fits ? X86_DECODED : X86_TOO_LONG;
}
