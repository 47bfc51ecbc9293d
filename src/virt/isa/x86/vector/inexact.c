/* inexact.c - PE of an SSE or AVX instruction that an unmasked overflow or underflow ends.
 *
 * The processor then says whether the result it keeps back would be inexact if the
 * exponent had no bounds (SDM volume 1, 4.9.1.4 to 4.9.1.6); what the operation leaves
 * with these exceptions masked is another question: a masked overflow always is inexact.
 *
 * The host's x87 unit answers: its exponent has 15 bits, which hold every sum, product and
 * quotient of singles and doubles, and its precision control rounds to 24 or 53 bits.
 * The instruction is asked lane by lane: the one lane's operands stand in all.
 *
 * Limits: of the sums within a register (HADD, ADDSUB, DPPS), of FMA and of conversions to
 * half precision the masked answer is given.  Tests compare this with the host. */
#include "virt/isa/x86/vector/number.h"

#define PE 0x20u

struct number {
    uint8_t b[8];
};

enum op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_NARROW, /* double to single */
    OP_OTHER
};

struct kind {
    enum op op;
    unsigned width; /* of an operand, in bytes */
    bool packed;
};

/* By the mnemonic: "addps", "vdivsd" and so on. */
static struct kind kind_of(const struct x86_insn *i)
{
    static const char *const names[] = {"add", "sub", "mul", "div"};
    const char *name = x86_rows[i->row].mnemonic;
    struct kind k = {.op = OP_OTHER};

    name += *name == 'v' ? 1 : 0;
    if (strcmp(name, "cvtsd2ss") == 0 || strcmp(name, "cvtpd2ps") == 0) {
        return (struct kind){OP_NARROW, 8, name[3] == 'p'};
    }
    for (unsigned n = 0; strlen(name) == 5 && n < OP_NARROW; n++) {
        if (memcmp(name, names[n], 3) == 0) {
            k = (struct kind){(enum op)n, name[4] == 'd' ? 8 : 4, name[3] == 'p'};
        }
    }
    return k;
}

#define COMPUTE(load, op)                                                                \
    __asm__ volatile(                                                                    \
        "fnclex\n\t" load " %[b]\n\t" load " %[a]\n\tfldcw %[cw]\n\t" op                 \
        "\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[host]\n\tfstp %%st(0)\n\t"                \
        "fstp %%st(0)"                                                                   \
        : [sw] "=a"(sw)                                                                  \
        : [a] "m"(*(const struct number *)a), [b] "m"(*(const struct number *)b),        \
          [cw] "m"(cw), [host] "m"(host))
#define COMPUTE_OF(op)                                                                   \
    if (k.width == 4) {                                                                  \
        COMPUTE("flds", op);                                                             \
    } else {                                                                             \
        COMPUTE("fldl", op);                                                             \
    }

/* PE of one lane, or 0; `a` and `b` have 8 bytes at least. */
static uint32_t unbounded(struct kind k, const uint8_t *a, const uint8_t *b, uint32_t csr)
{
    static const uint16_t host = 0x037f;
    static const struct number one = {{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}};
    uint16_t cw = (uint16_t)(0x007f | (csr >> 13 & 3) << 10), sw = 0;

    cw |= k.width == 8 && k.op != OP_NARROW ? 0x0200 : 0;
    switch (k.op) {
    case OP_ADD:
        COMPUTE_OF("fadd %%st(1), %%st")
        break;
    case OP_SUB:
        COMPUTE_OF("fsub %%st(1), %%st")
        break;
    case OP_MUL:
        COMPUTE_OF("fmul %%st(1), %%st")
        break;
    case OP_DIV:
        COMPUTE_OF("fdiv %%st(1), %%st")
        break;
    default:
        a = b;
        b = one.b;
        COMPUTE("fldl", "fmul %%st(1), %%st");
        break;
    }
    return sw & PE;
}

/* The flags of lane `n`; `unmasked` are over- and underflow, as far as they are. */
static uint32_t lane_flags(struct kind k, const struct float_job *j, unsigned n,
                           uint32_t unmasked)
{
    union lane a, b, t;
    uint32_t flags;

    for (unsigned at = 0; at < 32; at += k.width) {
        memcpy(a.b + at, j->a->b + n * k.width, k.width);
        memcpy(b.b + at, (const uint8_t *)j->b + n * k.width, k.width);
    }
    flags = x86_float_under(j->k, &t, &a, &b, j->csr);
    if ((unmasked & FLOAT_UE) != 0) {
        flags |= x86_float_under(j->k, &t, &a, &b, j->csr | FLOAT_FTZ) & FLOAT_UE;
    }
    if ((flags & unmasked) != 0) {
        flags = (flags & ~PE) | unbounded(k, a.b, b.b, j->csr);
    }
    return flags;
}

uint32_t x86_float_kept_back(const struct x86_insn *i, const struct float_job *j,
                             uint32_t flags)
{
    uint32_t unmasked = ~(j->csr >> 7) & (FLOAT_OE | FLOAT_UE), all = 0;
    struct kind k = {.op = OP_OTHER};
    unsigned lanes;

    if ((flags & unmasked) != 0 && i != NULL) {
        k = kind_of(i);
    }
    if (k.op == OP_OTHER) {
        return flags;
    }
    lanes = !k.packed ? 1 : (i->vex && i->size == 1 ? 32 : 16) / k.width;
    for (unsigned n = 0; n < lanes; n++) {
        all |= lane_flags(k, j, n, unmasked);
    }
    return all;
}
