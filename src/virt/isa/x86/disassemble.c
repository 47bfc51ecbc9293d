/* disassemble.c - one instruction as text, from its row's operands.
 *
 * Intel syntax in the manner of GNU objdump (-M intel): lower case, sizes of memory
 * operands by name, hexadecimal numbers, segments where they are not the default or
 * nothing else stands in the brackets.  The operands' letters decide; only
 * comparisons with a predicate, carry-less products and gathers are cases of their
 * own.  What decoding folds away (a displacement of 0, ignored prefixes) is not
 * printed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "contract/cpu_x86.h"
#include "virt/isa/x86/tables.h"

/* The line as it grows; `length` goes on counting when `room` is full. */
struct line {
    char *text;
    size_t room;
    int length;
};

__attribute__((format(printf, 2, 3))) static void say(struct line *l, const char *fmt,
                                                      ...)
{
    size_t used = (size_t)l->length < l->room ? (size_t)l->length : l->room;
    va_list args;

    va_start(args, fmt);
    l->length += vsnprintf(l->text + used, l->room - used, fmt, args);
    va_end(args);
}

static const char *const segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs", "?", "?"};

/* Registers of 8, 16, 32 and 64 bits without REX. */
static const char *const old_names[4][8] = {
    {"al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"},
    {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"},
    {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"},
    {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"},
};

static void say_general(struct line *l, unsigned n, unsigned size, bool has_rex)
{
    static const char *const new_suffix[4] = {"b", "w", "d", ""};

    if (n >= 8) {
        say(l, "r%u%s", n, new_suffix[size]);
    } else if (size == X86_8 && has_rex && n >= 4) {
        say(l, "%sl", old_names[1][n]);
    } else {
        say(l, "%s", old_names[size][n]);
    }
}

/* The size of a general operand: `enum x86_size`. */
static unsigned general_size(const struct x86_insn *i, uint8_t size)
{
    switch (size) {
    case X86_S_B:
        return X86_8;
    case X86_S_W:
        return X86_16;
    case X86_S_D:
        return X86_32;
    case X86_S_Q:
        return X86_64;
    case X86_S_Y:
        return i->size == X86_64 ? X86_64 : X86_32;
    case X86_S_Z:
        return i->size == X86_16 ? X86_16 : X86_32;
    default:
        return i->size;
    }
}

static bool is_wide_vector(const struct x86_insn *i, uint8_t size)
{
    bool by_length = x86_shapes[i->row].rule == X86_RULE_VECTOR && i->size == 1;

    return size == X86_S_QQ ||
           (by_length && (size == X86_S_X || size == X86_S_PS || size == X86_S_PD));
}

static const char *general_pointer(unsigned size)
{
    static const char *const names[4] = {"BYTE PTR ", "WORD PTR ", "DWORD PTR ",
                                         "QWORD PTR "};

    return names[size];
}

/* Far pointers and what BOUND reads: two numbers. */
static const char *pair_pointer(const struct x86_insn *i, uint8_t size)
{
    if (size == X86_S_A) {
        return i->size == X86_16 ? "DWORD PTR " : "QWORD PTR ";
    }
    return i->size == X86_16   ? "DWORD PTR "
           : i->size == X86_32 ? "FWORD PTR "
                               : "TBYTE PTR ";
}

/* What stands before the brackets. */
static const char *pointer_name(const struct x86_insn *i, uint8_t size)
{
    switch ((enum x86_operand_size)size) {
    case X86_S_NONE:
    case X86_S_ENV:
    case X86_S_STATE:
    case X86_S_S:
        return "";
    case X86_S_A:
    case X86_S_P:
        return pair_pointer(i, size);
    case X86_S_SS:
    case X86_S_F32:
    case X86_S_I32:
    case X86_S_SI:
        return "DWORD PTR ";
    case X86_S_SD:
    case X86_S_F64:
    case X86_S_I64:
    case X86_S_PI:
        return "QWORD PTR ";
    case X86_S_I16:
        return "WORD PTR ";
    case X86_S_F80:
    case X86_S_BCD:
        return "TBYTE PTR ";
    case X86_S_X:
    case X86_S_PS:
    case X86_S_PD:
    case X86_S_DQ:
    case X86_S_QQ:
        return is_wide_vector(i, size) ? "YMMWORD PTR " : "XMMWORD PTR ";
    default:
        return general_pointer(general_size(i, size));
    }
}

/* Gathers: the element and the index vector have sizes of their own, both in the
 * name: gather, index (d q), element (d q ps pd). */
struct gather {
    bool is_quad_index;
    bool is_quad_element;
};

static struct gather gather_of(const struct x86_insn *i)
{
    const char *name = strstr(x86_rows[i->row].mnemonic, "gather");
    struct gather g = {0};

    if (name != NULL) {
        name += strlen("gather");
        g.is_quad_index = name[0] == 'q';
        g.is_quad_element = strcmp(name + 1, "q") == 0 || strcmp(name + 1, "pd") == 0;
    }
    return g;
}

static void say_index(struct line *l, const struct x86_insn *i, const char *plus)
{
    if (x86_shapes[i->row].flags & X86_SHAPE_VSIB) {
        struct gather g = gather_of(i);
        bool is_wide = i->size == 1 && g.is_quad_index >= g.is_quad_element;

        say(l, "%s%cmm%u*%u", plus, is_wide ? 'y' : 'x', i->imm8, 1u << i->scale);
    } else if (i->index != X86_ZERO) {
        say(l, "%s", plus);
        say_general(l, i->index, i->address, true);
        if (i->address != X86_16) {
            say(l, "*%u", 1u << i->scale);
        }
    } else if (i->scale != 0) {
        say(l, "%s%ciz*%u", plus, i->address == X86_64 ? 'r' : 'e', 1u << i->scale);
    }
}

static uint64_t address_mask(const struct x86_insn *i)
{
    return i->address == X86_64   ? ~0ull
           : i->address == X86_32 ? 0xffffffffull
                                  : 0xffffull;
}

static void say_displacement(struct line *l, int64_t disp)
{
    if (disp < 0) {
        say(l, "-0x%" PRIx64, -(uint64_t)disp);
    } else if (disp > 0) {
        say(l, "+0x%" PRIx64, (uint64_t)disp);
    }
}

static void say_memory(struct line *l, const struct x86_insn *i)
{
    bool has_index = i->index != X86_ZERO || i->scale != 0 ||
                     x86_shapes[i->row].flags & X86_SHAPE_VSIB;
    bool in_stack = i->base == X86_RSP || i->base == X86_RBP;

    if (i->base == X86_ZERO && !has_index) {
        say(l, "%s:0x%" PRIx64, segment_names[i->segment & 7],
            (uint64_t)i->disp & address_mask(i));
        return;
    }
    if (i->segment != (in_stack ? X86_SS : X86_DS)) {
        say(l, "%s:", segment_names[i->segment & 7]);
    }
    say(l, "[");
    if (i->base == X86_RIP) {
        say(l, i->address == X86_64 ? "rip" : "eip");
    } else if (i->base != X86_ZERO) {
        say_general(l, i->base, i->address, true);
    }
    say_index(l, i, i->base == X86_ZERO ? "" : "+");
    if (i->base == X86_RIP) {
        say(l, "+0x%" PRIx64, (uint64_t)(i->disp - i->length));
    } else {
        say_displacement(l, i->disp);
    }
    say(l, "]");
}

static void say_memory_operand(struct line *l, const struct x86_insn *i,
                               const struct x86_operand *o)
{
    if (x86_shapes[i->row].flags & X86_SHAPE_VSIB) {
        say(l, "%s", general_pointer(gather_of(i).is_quad_element ? X86_64 : X86_32));
    } else {
        say(l, "%s", pointer_name(i, o->memory_size));
    }
    say_memory(l, i);
}

static void say_vector(struct line *l, const struct x86_insn *i, unsigned n, uint8_t size)
{
    bool is_wide = is_wide_vector(i, size);

    if (x86_shapes[i->row].flags & X86_SHAPE_VSIB) {
        struct gather g = gather_of(i);

        is_wide = i->size == 1 && g.is_quad_element >= g.is_quad_index;
    }
    say(l, "%cmm%u", is_wide ? 'y' : 'x', n);
}

/* An immediate as wide as what it is combined with. */
static void say_immediate(struct line *l, const struct x86_insn *i, uint8_t size)
{
    uint64_t v = i->imm;

    if (size == X86_S_S || size == X86_S_Z || size == X86_S_V) {
        v &= i->size == X86_64   ? ~0ull
             : i->size == X86_32 ? 0xffffffffull
             : i->size == X86_16 ? 0xffffull
                                 : 0xffull;
    }
    say(l, "0x%" PRIx64, v);
}

static void say_target(struct line *l, const struct x86_insn *i, uint64_t at)
{
    uint64_t to = at + i->length + i->imm;

    say(l, "0x%" PRIx64,
        i->size == X86_64   ? to
        : i->size == X86_32 ? (uint32_t)to
                            : (uint16_t)to);
}

static void say_string(struct line *l, const struct x86_insn *i,
                       const struct x86_operand *o)
{
    bool is_source = o->place == X86_P_X;

    say(l, "%s%s:[", general_pointer(general_size(i, o->size)),
        is_source ? segment_names[i->segment & 7] : "es");
    say_general(l, is_source ? X86_RSI : X86_RDI, i->address, true);
    say(l, "]");
}

/* Operands that the row names outright. */
static void say_fixed(struct line *l, const struct x86_insn *i, uint8_t place)
{
    static const char *const names[] = {
        [X86_P_AL] = "al", [X86_P_CL] = "cl", [X86_P_DX] = "dx",  [X86_P_AX] = "ax",
        [X86_P_AH] = "ah", [X86_P_ONE] = "1", [X86_P_ST0] = "st", [X86_P_XMM0] = "xmm0",
        [X86_P_ES] = "es", [X86_P_CS] = "cs", [X86_P_SS] = "ss",  [X86_P_DS] = "ds",
        [X86_P_FS] = "fs", [X86_P_GS] = "gs",
    };

    if (place == X86_P_EAX) {
        say_general(l, X86_RAX, i->size == X86_16 ? X86_16 : X86_32, false);
    } else if (place >= X86_P_RAX && place <= X86_P_RDI) {
        say_general(l, place - X86_P_RAX, i->size, false);
    } else {
        say(l, "%s", names[place]);
    }
}

static void say_register(struct line *l, const struct x86_insn *i,
                         const struct x86_operand *o)
{
    unsigned size = general_size(i, o->size);

    switch ((enum x86_place)o->place) {
    case X86_P_E:
    case X86_P_R:
    case X86_P_M:
        say_general(l, i->rm, size, i->has_rex);
        return;
    case X86_P_G:
    case X86_P_Z:
        say_general(l, i->reg, size, i->has_rex);
        return;
    case X86_P_B:
        say_general(l, i->vvvv, size, true);
        return;
    case X86_P_P:
        say(l, "mm%u", i->reg);
        return;
    case X86_P_Q:
    case X86_P_N:
        say(l, "mm%u", i->rm);
        return;
    case X86_P_V:
        say_vector(l, i, i->reg, o->size);
        return;
    case X86_P_W:
    case X86_P_U:
        say_vector(l, i, i->rm, o->size);
        return;
    case X86_P_H:
        say_vector(l, i, i->vvvv, o->size);
        return;
    case X86_P_L:
        say_vector(l, i, i->imm8, o->size);
        return;
    case X86_P_S:
        say(l, "%s", segment_names[i->reg & 7]);
        return;
    case X86_P_C:
        say(l, "cr%u", i->reg);
        return;
    case X86_P_D:
        say(l, "dr%u", i->reg);
        return;
    case X86_P_STI:
        say(l, "st(%u)", i->rm);
        return;
    default:
        say_fixed(l, i, o->place);
        return;
    }
}

static bool is_in_modrm_rm(uint8_t place)
{
    return place == X86_P_E || place == X86_P_M || place == X86_P_W || place == X86_P_Q;
}

/* `n`: which immediate it is, if one. */
static void say_operand(struct line *l, const struct x86_insn *i,
                        const struct x86_operand *o, uint64_t at, bool is_second)
{
    if (is_in_modrm_rm(o->place) && i->is_memory) {
        say_memory_operand(l, i, o);
    } else if (o->place == X86_P_I && is_second) {
        say(l, "0x%x", i->imm8);
    } else if (o->place == X86_P_I) {
        say_immediate(l, i, o->size);
    } else if (o->place == X86_P_J) {
        say_target(l, i, at);
    } else if (o->place == X86_P_A) {
        say(l, "0x%" PRIx64 ":0x%" PRIx64, i->imm >> 32, i->imm & 0xffffffff);
    } else if (o->place == X86_P_O) {
        say(l, "%s:0x%" PRIx64, segment_names[i->segment & 7], i->imm);
    } else if (o->place == X86_P_X || o->place == X86_P_Y) {
        say_string(l, i, o);
    } else {
        say_register(l, i, o);
    }
}

/* Comparisons with a predicate in their name: SDM, CMPPD and VCMPPD. */
static const char *const predicates[32] = {
    "eq",    "lt",     "le",     "unord",    "neq",    "nlt",    "nle",    "ord",
    "eq_uq", "nge",    "ngt",    "false",    "neq_oq", "ge",     "gt",     "true",
    "eq_os", "lt_oq",  "le_oq",  "unord_s",  "neq_us", "nlt_uq", "nle_uq", "ord_s",
    "eq_us", "nge_uq", "ngt_uq", "false_os", "neq_os", "ge_oq",  "gt_oq",  "true_us",
};

/* Names that swallow the immediate; returns whether this is one. */
static bool say_predicate_name(struct line *l, const struct x86_insn *i, const char *name)
{
    const char *cmp = strncmp(name, "cmp", 3) == 0    ? name + 3
                      : strncmp(name, "vcmp", 4) == 0 ? name + 4
                                                      : NULL;
    static const char *const halves[4] = {"lqlq", "hqlq", "lqhq", "hqhq"};

    if (cmp != NULL && x86_shapes[i->row].immediate == X86_IMM_U8 &&
        (cmp[0] == 'p' || cmp[0] == 's') && strlen(cmp) == 2 &&
        i->imm < (i->vex ? 32 : 8)) {
        say(l, "%.*s%s%s", (int)(cmp - name), name, predicates[i->imm], cmp);
        return true;
    }
    if (strstr(name, "pclmulqdq") != NULL && (i->imm & ~0x11ull) == 0) {
        say(l, "%.*s%sdq", (int)(strlen(name) - 3), name,
            halves[(i->imm & 1) | i->imm >> 3]);
        return true;
    }
    return false;
}

/* Whether no operand tells the size: of branches those to a place in the code. */
static bool hides_size(const struct x86_insn *i, const char *name)
{
    static const char *const names[] = {"pusha", "popa",  "pushf", "popf", "iret",
                                        "retf",  "enter", "leave", "ret"};
    uint8_t place = x86_spots[i->row].operand[0].place;

    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        if (strcmp(name, names[n]) == 0) {
            return true;
        }
    }
    return (strcmp(name, "push") == 0 && place == X86_P_I) ||
           ((strcmp(name, "call") == 0 || strcmp(name, "jmp") == 0) &&
            (place == X86_P_J || place == X86_P_A) &&
            x86_shapes[i->row].immediate != X86_IMM_S8);
}

/* The letter of a size that is not the mode's own. */
static const char *size_suffix(const struct x86_insn *i, const char *name)
{
    static const char *const letters[] = {"", "w", "d", "q"};
    bool is_far = strcmp(name, "iret") == 0 || strcmp(name, "retf") == 0;
    unsigned own = i->mode == X86_CODE16              ? X86_16
                   : i->mode == X86_CODE64 && !is_far ? X86_64
                                                      : X86_32;

    return i->size != own && hides_size(i, name) ? letters[i->size] : "";
}

static const char *repeat_name(const struct x86_insn *i, const char *name)
{
    bool compares = strncmp(name, "cmps", 4) == 0 || strncmp(name, "scas", 4) == 0;

    if (i->repeat == 0 || !(x86_rows[i->row].attributes & X86_A_REP)) {
        return "";
    }
    return i->repeat == 0xf2 ? "repnz " : compares ? "repz " : "rep ";
}

static void say_operands(struct line *l, const struct x86_insn *i, uint64_t at,
                         bool is_immediate_said)
{
    const struct x86_spot *s = &x86_spots[i->row];
    unsigned count = s->operand_count - (unsigned)is_immediate_said;
    unsigned immediates = 0;

    if (i->row == X86_R_XLAT) {
        say(l, " BYTE PTR %s:[", segment_names[i->segment & 7]);
        say_general(l, X86_RBX, i->address, false);
        say(l, "]");
    }
    for (unsigned n = 0; n < count; n++) {
        say(l, n == 0 ? " " : ",");
        say_operand(l, i, &s->operand[n], at, immediates > 0);
        immediates += s->operand[n].place == X86_P_I;
    }
}

int x86_disassemble(const struct x86_insn *i, uint64_t at, char *text, size_t bytes)
{
    const char *name = x86_rows[i->row].mnemonic;
    uint8_t immediate = x86_shapes[i->row].immediate;
    struct line l = {.text = text, .room = bytes};
    bool has_said;

    if (bytes > 0) {
        text[0] = '\0';
    }
    if (i->row == X86_INVALID) {
        say(&l, "(bad)");
        return l.length;
    }
    say(&l, "%s%s", i->lock ? "lock " : "", repeat_name(i, name));
    if (i->row == X86_R_NOP && (i->size == X86_16) != (i->mode == X86_CODE16) &&
        i->size != X86_64) {
        say(&l, i->size == X86_16 ? "xchg ax,ax" : "xchg eax,eax");
        return l.length;
    }
    if ((immediate == X86_IMM_V && i->size == X86_64) ||
        (immediate == X86_IMM_MOFFS && i->address == X86_64)) {
        name = "movabs";
    }
    has_said = say_predicate_name(&l, i, name);
    if (!has_said) {
        say(&l, "%s%s", name, size_suffix(i, name));
    }
    say_operands(&l, i, at, has_said);
    return l.length;
}
