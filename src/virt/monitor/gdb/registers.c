/* registers.c - a processor's registers under the names and numbers that gdb knows.
 *
 * One table, in the order of gdb's own features (GDB manual, G.5.22, "i386 Features"), makes
 * the description that a client reads, and says where each register is.  Control registers
 * are a feature of ours: gdb shows them by name, in the group "system".
 *
 * Always as a 64-bit processor has them, whatever mode it is in. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "virt/monitor/gdb/private.h"

enum where {
    AT_PLAIN, /* `offset` in struct x86_regs, little-endian, that many bytes */
    AT_STACK, /* x87 register `offset`, from the top of the stack */
    AT_TAGS,  /* x87 tags, two bits each */
    AT_HIGH,  /* upper half of YMM register `offset` */
    AT_LIMIT, /* 16 bits there, as 32 */
};

struct reg {
    const char *name;
    const char *type; /* NULL: an integer */
    const char *group;
    uint16_t bits;
    uint8_t where; /* `enum where` */
    uint8_t held;  /* bytes of it in struct x86_regs */
    size_t offset;
};

#define OF(field) offsetof(struct x86_regs, field)
#define GPR(n, slot)                                                                     \
    {                                                                                    \
        n, "int64", NULL, 64, AT_PLAIN, 8, OF(gpr[slot])                                 \
    }
#define SEG(n, s)                                                                        \
    {                                                                                    \
        n, "int32", NULL, 32, AT_PLAIN, 2, OF(seg[s].selector)                           \
    }
#define ST(n)                                                                            \
    {                                                                                    \
        "st" #n, "i387_ext", NULL, 80, AT_STACK, 10, n                                   \
    }
#define FLOAT(n, held, f)                                                                \
    {                                                                                    \
        n, "int", "float", 32, AT_PLAIN, held, OF(fpu.f)                                 \
    }
#define XMM(n)                                                                           \
    {                                                                                    \
        "xmm" #n, "vec128", NULL, 128, AT_PLAIN, 16, OF(fpu.ymm[n])                      \
    }
#define YMM(n)                                                                           \
    {                                                                                    \
        "ymm" #n "h", "uint128", NULL, 128, AT_HIGH, 16, n                               \
    }
#define SYSTEM(n, f)                                                                     \
    {                                                                                    \
        n, "int64", "system", 64, AT_PLAIN, 8, OF(f)                                     \
    }
#define FEATURE(n)                                                                       \
    {                                                                                    \
        n, NULL, NULL, 0, 0, 0, 0                                                        \
    }

/* clang-format off */
static const struct reg table[] = {
    FEATURE("org.gnu.gdb.i386.core"),
    GPR("rax", X86_RAX), GPR("rbx", X86_RBX), GPR("rcx", X86_RCX), GPR("rdx", X86_RDX),
    GPR("rsi", X86_RSI), GPR("rdi", X86_RDI),
    {"rbp", "data_ptr", NULL, 64, AT_PLAIN, 8, OF(gpr[X86_RBP])},
    {"rsp", "data_ptr", NULL, 64, AT_PLAIN, 8, OF(gpr[X86_RSP])},
    GPR("r8", X86_R8), GPR("r9", X86_R9), GPR("r10", X86_R10), GPR("r11", X86_R11),
    GPR("r12", X86_R12), GPR("r13", X86_R13), GPR("r14", X86_R14), GPR("r15", X86_R15),
    {"rip", "code_ptr", NULL, 64, AT_PLAIN, 8, OF(gpr[X86_RIP])},
    {"eflags", "int32", NULL, 32, AT_PLAIN, 4, OF(rflags)},
    SEG("cs", X86_CS), SEG("ss", X86_SS), SEG("ds", X86_DS), SEG("es", X86_ES),
    SEG("fs", X86_FS), SEG("gs", X86_GS),
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
    FLOAT("fctrl", 2, fcw), FLOAT("fstat", 2, fsw),
    {"ftag", "int", "float", 32, AT_TAGS, 0, 0},
    FLOAT("fiseg", 2, fcs), FLOAT("fioff", 4, fip),
    FLOAT("foseg", 2, fds), FLOAT("fooff", 4, fdp), FLOAT("fop", 2, fop),
    FEATURE("org.gnu.gdb.i386.sse"),
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
    XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
    {"mxcsr", "int32", "vector", 32, AT_PLAIN, 4, OF(fpu.mxcsr)},
    FEATURE("org.gnu.gdb.i386.avx"),
    YMM(0), YMM(1), YMM(2), YMM(3), YMM(4), YMM(5), YMM(6), YMM(7),
    YMM(8), YMM(9), YMM(10), YMM(11), YMM(12), YMM(13), YMM(14), YMM(15),
    FEATURE("org.gnu.gdb.i386.segments"),
    {"fs_base", "int64", NULL, 64, AT_PLAIN, 8, OF(seg[X86_FS].base)},
    {"gs_base", "int64", NULL, 64, AT_PLAIN, 8, OF(seg[X86_GS].base)},
    FEATURE("org.strata.x86.system"),
    SYSTEM("k_gs_base", msr.kernel_gs_base), SYSTEM("cr0", cr0), SYSTEM("cr2", cr2),
    SYSTEM("cr3", cr3), SYSTEM("cr4", cr4), SYSTEM("cr8", cr8), SYSTEM("efer", msr.efer),
    SYSTEM("gdt_base", gdtr.base), {"gdt_limit", "int32", "system", 32, AT_LIMIT, 2, OF(gdtr.limit)},
    SYSTEM("idt_base", idtr.base), {"idt_limit", "int32", "system", 32, AT_LIMIT, 2, OF(idtr.limit)},
    {"ldtr", "int32", "system", 32, AT_LIMIT, 2, OF(seg[X86_LDTR].selector)},
    {"tr", "int32", "system", 32, AT_LIMIT, 2, OF(seg[X86_TR].selector)},
    SYSTEM("dr6", dr[6]), SYSTEM("dr7", dr[7]),
};

static const char vectors[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\">"
    "<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/></union>";
/* clang-format on */

#define REG_COUNT (sizeof table / sizeof table[0])

/* ---- their description ---- */

static void describe_all(struct str *s)
{
    bool is_inside = false;

    str_addf(s, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                "<target version=\"1.0\"><architecture>i386:x86-64</architecture>");
    for (size_t i = 0; i < REG_COUNT; i++) {
        const struct reg *r = &table[i];

        if (r->bits == 0) {
            str_addf(s, "%s<feature name=\"%s\">", is_inside ? "</feature>" : "",
                     r->name);
            str_addf(s, "%s", strstr(r->name, "sse") != NULL ? vectors : "");
            is_inside = true;
        } else {
            str_addf(s, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", r->name, r->bits,
                     r->type);
            if (r->group != NULL) {
                str_addf(s, " group=\"%s\"", r->group);
            }
            str_addf(s, "/>");
        }
    }
    str_addf(s, "</feature></target>");
}

void registers_describe(struct gdb *g, uint64_t offset, uint64_t bytes)
{
    struct str s = {0};
    size_t length;
    uint64_t n;

    describe_all(&s);
    length = strlen(str_text(&s));
    if (offset > length) {
        answer_add(g, "E01");
    } else {
        n = length - offset < bytes ? length - offset : bytes;
        n = n < GDB_PACKET_MOST - 1 ? n : GDB_PACKET_MOST - 1;
        answer_addf(g, "%c%.*s", offset + n < length ? 'm' : 'l', (int)n,
                    str_text(&s) + offset);
    }
    str_fini(&s);
}

/* ---- their bytes ---- */

static const struct reg *reg_of(uint64_t number)
{
    for (size_t i = 0; i < REG_COUNT; i++) {
        if (table[i].bits != 0 && number-- == 0) {
            return &table[i];
        }
    }
    return NULL;
}

/* Register 0 is the one at the top of the stack (SDM volume 1, 8.1.2). */
static unsigned physical_of(const struct x86_regs *r, size_t n)
{
    return ((r->fpu.fsw >> 11 & 7) + (unsigned)n) & 7;
}

/* Bytes of it in `r`; NULL: it is made of others. */
static uint8_t *place(const struct reg *g, struct x86_regs *r)
{
    switch (g->where) {
    case AT_STACK:
        return r->fpu.st[physical_of(r, g->offset)];
    case AT_HIGH:
        return r->fpu.ymm[g->offset].byte + 16;
    case AT_TAGS:
        return NULL;
    default:
        return (uint8_t *)r + g->offset;
    }
}

/* The tag word, of the abridged one: 0 valid, 3 empty. */
static uint32_t tags_of(const struct x86_regs *r)
{
    uint32_t tags = 0;

    for (unsigned n = 0; n < 8; n++) {
        tags |= (r->fpu.ftw >> n & 1) != 0 ? 0 : 3u << 2 * n;
    }
    return tags;
}

static void show(struct gdb *gdb, const struct reg *g, const struct x86_regs *r)
{
    struct x86_regs copy = *r;
    uint8_t bytes[16] = {0};
    const uint8_t *from = place(g, &copy);
    uint32_t tags = tags_of(r);

    memcpy(bytes, from != NULL ? from : (const uint8_t *)&tags,
           from != NULL ? g->held : sizeof tags);
    answer_hex(gdb, bytes, g->bits / 8u);
}

static bool change(const struct reg *g, struct x86_regs *r, const char **text)
{
    uint8_t bytes[16];
    uint8_t *to = place(g, r);

    if (!text_bytes(text, bytes, g->bits / 8u)) {
        return false;
    }
    if (to != NULL) {
        memcpy(to, bytes, g->held);
        return true;
    }
    r->fpu.ftw = 0;
    for (unsigned n = 0; n < 8; n++) {
        unsigned tag = (unsigned)(bytes[n / 4] >> 2 * (n % 4)) & 3;

        r->fpu.ftw |= (uint8_t)((tag != 3) << n);
    }
    return true;
}

void registers_all(struct gdb *g, const struct x86_regs *r)
{
    for (size_t i = 0; i < REG_COUNT; i++) {
        if (table[i].bits != 0) {
            show(g, &table[i], r);
        }
    }
}

bool registers_set_all(struct x86_regs *r, const char *text)
{
    for (size_t i = 0; i < REG_COUNT; i++) {
        if (table[i].bits != 0 && !change(&table[i], r, &text)) {
            return false;
        }
    }
    return *text == '\0';
}

bool registers_one(struct gdb *g, const struct x86_regs *r, uint64_t number)
{
    const struct reg *one = reg_of(number);

    if (one != NULL) {
        show(g, one, r);
    }
    return one != NULL;
}

bool registers_set_one(struct x86_regs *r, uint64_t number, const char *text)
{
    const struct reg *one = reg_of(number);

    return one != NULL && change(one, r, &text) && *text == '\0';
}
