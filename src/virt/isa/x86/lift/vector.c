/* vector.c - MMX, SSE and AVX instructions, which the host executes itself.
 *
 * The guest's vector registers are the host's, by number; so an instruction is written
 * again with its own opcode, and only its memory operand and integer registers are ours.
 * What a row needs for that is read from its encoding and operands once. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "virt/isa/x86/lift/private.h"

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    const char *at = words;

    while ((at = strstr(at, word)) != NULL) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0)) {
            return true;
        }
        at += n;
    }
    return false;
}

/* Done by their routines: implied integer operands, several accesses, no memory operand
 * where one would be expected, or state of the processor. */
static const char by_routine[] =
    "pcmpestri pcmpestrm pcmpistri pcmpistrm vpcmpestri vpcmpestrm vpcmpistri vpcmpistrm "
    "maskmovdqu vmaskmovdqu maskmovq vmaskmovps vmaskmovpd vpmaskmovd vpmaskmovq fxsave "
    "fxrstor fxsave64 fxrstor64 vgatherdps vgatherdpd "
    "vgatherqps vgatherqpd vpgatherdd vpgatherdq vpgatherqd vpgatherqq clflush clflushopt";
static const char fences[] = "lfence mfence sfence";
/* Legacy instructions that take any address; VEX ones that do not. */
static const char unaligned[] = "movups movupd movdqu lddqu";
static const char aligned_vex[] =
    "vmovaps vmovapd vmovdqa vmovntps vmovntpd vmovntdq vmovntdqa";

/* "66 0F 38 00 /r ib": prefix, map, opcode, digit. */
static bool parse_legacy(struct vector_row *v, const char *text)
{
    unsigned long bytes[4];
    unsigned n = 0;
    char *end;

    for (;;) {
        if (strncmp(text, "W0 ", 3) == 0 || strncmp(text, "W1 ", 3) == 0) {
            text += 3;
        }
        if (!isxdigit(text[0]) || !isxdigit(text[1]) || n == 4) {
            break;
        }
        bytes[n++] = strtoul(text, &end, 16);
        text = end + (*end == ' ' ? 1 : 0);
        text += strncmp(text, "W0 ", 3) == 0 || strncmp(text, "W1 ", 3) == 0 ? 3 : 0;
    }
    if (n > 0 && (bytes[0] == 0x66 || bytes[0] == 0xf2 || bytes[0] == 0xf3)) {
        v->prefix = (uint8_t)bytes[0];
        memmove(bytes, bytes + 1, sizeof bytes - sizeof bytes[0]);
        n--;
    }
    if (n < 2 || n > 3 || bytes[0] != 0x0f) {
        return false;
    }
    v->map = n == 2 ? 1 : bytes[1] == 0x38 ? 2 : bytes[1] == 0x3a ? 3 : 0;
    v->opcode = (uint8_t)bytes[n - 1];
    return v->map != 0;
}

/* "VEX.256.66.0F38.W0 2F /r" */
static bool parse_vex(struct vector_row *v, const char *text)
{
    static const char *const prefixes[] = {".NP.", ".66.", ".F3.", ".F2."};
    const char *at = strchr(text, ' ');
    unsigned n;

    for (n = 0; n < 4; n++) {
        v->prefix = strstr(text, prefixes[n]) != NULL ? (uint8_t)n : v->prefix;
    }
    v->vex = true;
    v->map = strstr(text, ".0F38") != NULL ? 2 : strstr(text, ".0F3A") != NULL ? 3 : 1;
    v->wide = strstr(text, ".W1") != NULL;
    if (at == NULL || !isxdigit(at[1])) {
        return false;
    }
    v->opcode = (uint8_t)strtoul(at, NULL, 16);
    return true;
}

static bool parse_encoding(struct vector_row *v, const char *text)
{
    const char *digit;

    if (strncmp(text, "NP ", 3) == 0) {
        text += 3;
    }
    if (strncmp(text, "VEX.", 4) == 0 ? !parse_vex(v, text) : !parse_legacy(v, text)) {
        return false;
    }
    v->wide |= strstr(text, " W1 ") != NULL || strncmp(text, "W1 ", 3) == 0;
    digit = strchr(text, '/');
    v->digit = digit != NULL && isdigit(digit[1]) ? (uint8_t)(digit[1] - '0') : 0xff;
    v->has_imm8 = strstr(text, " ib") != NULL || strstr(text, "is4") != NULL;
    v->is4 = strstr(text, "is4") != NULL;
    return strstr(text, "vsib") == NULL;
}

static uint8_t bytes_of(const char *size, bool is_256)
{
    static const struct {
        const char *size;
        uint8_t bytes;
    } sizes[] = {{"dq", 16}, {"qq", 32}, {"ss", 4}, {"sd", 8},
                 {"d", 4},   {"q", 8},   {"w", 2},  {"b", 1}};

    unsigned n;

    for (n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
        if (strcmp(size, sizes[n].size) == 0) {
            return sizes[n].bytes;
        }
    }
    return is_256 ? 32 : 16;
}

/* One operand; false: of a kind that is not for here. */
static bool parse_operand(struct vector_row *v, const char *text, unsigned n, bool is_256)
{
    switch (text[0]) {
    case 'P':
        v->reg_is_mmx = true;
        v->has_mmx = true;
        return true;
    case 'Q':
    case 'N':
        v->rm_is_mmx = true;
        v->has_mmx = true;
        v->memory_bytes = bytes_of(text + 1, is_256);
        v->memory_is_first = n == 0;
        return true;
    case 'V':
    case 'L':
    case 'I':
    case 'H':
        return true;
    case 'X': /* XMM0, implied */
        return strcmp(text, "XMM0") == 0;
    case 'U':
    case 'W':
    case 'M':
        v->memory_bytes = bytes_of(text + 1, is_256);
        v->memory_is_first = n == 0;
        return true;
    case 'G':
        v->reg_is_integer = true;
        v->result = n == 0;
        return true;
    case 'E':
        v->rm_is_integer = true;
        v->memory_bytes = bytes_of(text + 1, is_256);
        v->memory_is_first = n == 0;
        v->result = n == 0;
        return true;
    default:
        return false;
    }
}

static bool parse_operands(struct vector_row *v, const char *text, bool is_256)
{
    unsigned n = 0;

    while (*text != 0 && strcmp(text, "-") != 0) {
        char one[8] = {0};
        size_t bytes = strcspn(text, ",");

        if (bytes >= sizeof one) {
            return false;
        }
        memcpy(one, text, bytes);
        v->has_xmm |= one[0] == 'V' || one[0] == 'U' || one[0] == 'W';
        if (!parse_operand(v, one, n++, is_256)) {
            return false;
        }
        text += bytes + (text[bytes] == ',' ? 1 : 0);
    }
    return v->has_xmm || v->has_mmx || v->is_fence;
}

bool lift_vector_row(struct vector_row *v, const struct x86_row_info *info)
{
    bool is_256 = strstr(info->encoding, "VEX.256") != NULL;

    memset(v, 0, sizeof *v);
    v->is_emms = strcmp(info->mnemonic, "emms") == 0;
    v->has_mmx = v->is_emms;
    if (v->is_emms) {
        return true;
    }
    v->is_fence = has_word(fences, info->mnemonic);
    v->is_zero = strncmp(info->mnemonic, "vzero", 5) == 0;
    v->loads_mxcsr = strstr(info->mnemonic, "ldmxcsr") != NULL;
    v->has_xmm = v->is_zero || strstr(info->mnemonic, "mxcsr") != NULL;
    if (has_word(by_routine, info->mnemonic) || !parse_encoding(v, info->encoding) ||
        !parse_operands(v, info->operands, is_256)) {
        return false;
    }
    v->l256 = is_256;
    v->gives_flags = info->flags[0] != 0;
    v->marks_first = strcmp(info->mnemonic, "vcvtps2ph") == 0;
    v->aligned = v->vex ? has_word(aligned_vex, info->mnemonic)
                        : v->memory_bytes == 16 && !has_word(unaligned, info->mnemonic);
    return true;
}

static void fill_native(const struct work *w, const struct vector_row *v,
                        struct ir_native *n)
{
    const struct x86_insn *i = w->i;

    *n = (struct ir_native){
        .fpu = v->is_emms   ? IR_FPU_EMPTY
               : v->has_mmx ? IR_FPU_USED
                            : IR_FPU_NONE,
        .prefix = v->prefix,
        .map = v->map,
        .opcode = v->opcode,
        .vex = v->vex,
        .wide = v->wide ||
                ((v->rm_is_integer || v->reg_is_integer) && i->size == X86_64 && !v->vex),
        .l256 = v->l256,
        .no_modrm = v->is_zero,
        .no_vectors = v->is_fence,
        .check = v->loads_mxcsr ? IR_NATIVE_MXCSR : IR_NATIVE_ALWAYS,
        .vvvv = i->vvvv,
        .reg = v->digit != 0xff ? v->digit
               : v->reg_is_mmx  ? i->reg & 7
                                : i->reg,
        .rm = v->rm_is_mmx ? i->rm & 7 : i->rm,
        .reg_is_result = v->reg_is_integer && v->result,
        .reg_is_operand = v->reg_is_integer && !v->result,
        .rm_is_result = v->rm_is_integer && v->result && !i->is_memory,
        .rm_is_operand = v->rm_is_integer && !v->result && !i->is_memory,
        .rm_is_memory = i->is_memory,
        .gives_flags = v->gives_flags,
        .result_global = i->reg,
        .has_imm8 = v->has_imm8,
        .imm8 = v->is4 ? (uint8_t)(i->imm8 << 4) : (uint8_t)i->imm,
        .writes_memory = i->is_memory && v->memory_is_first,
        .bytes = v->memory_bytes,
        .aligned = v->aligned,
        .routine = (uintptr_t)i};
}

/* Integer results are 32 bits, or 64 with W. */
static void take_result(struct work *w, const struct ir_native *n, ir_value v)
{
    if (n->gives_flags) {
        ir_set(w->g, LIFT_FLAGS,
               ir_add(w->g, &(struct ir_insn){.op = IR_FLAGS,
                                              .type = IR_FLAGS_TYPE,
                                              .aux = IR_FLAGS_BITS,
                                              .imm = 8,
                                              .arg = {v}}));
    } else {
        lift_set_register(w, n->reg_is_result ? w->i->reg : w->i->rm,
                          n->wide ? X86_64 : X86_32, v);
    }
}

/* What its memory operand holds goes to MXCSR. */
static bool load_mxcsr(struct work *w, struct ir_native *n)
{
    n->rm_is_memory = false;
    n->writes_memory = false;
    ir_add(w->g, &(struct ir_insn){.op = IR_NATIVE,
                                   .arg = {0, 0, lift_read(w, 0)},
                                   .imm = (uint64_t)(uintptr_t)n,
                                   .map = lift_map(w)});
    return true;
}

bool lift_vector(struct work *w)
{
    const struct vector_row *v = &w->row->vector;
    struct ir_native *n = w->in->native;
    struct ir_insn i = {.op = IR_NATIVE};
    bool gives;

    if (v->is_zero && w->i->mode != X86_CODE64) {
        return false; /* half as many registers */
    }
    if (n == NULL || (v->vex && !w->in->avx) || (v->has_xmm && !v->vex && !w->in->sse) ||
        (v->has_mmx && !w->in->fpu)) {
        return false;
    }
    fill_native(w, v, n);
    if (v->loads_mxcsr) {
        return load_mxcsr(w, n);
    }
    gives = n->gives_flags || n->reg_is_result || n->rm_is_result;
    if (w->i->is_memory) {
        if ((v->reg_is_integer && !v->result) || v->marks_first) {
            return false;
        }
        i = lift_address(w);
        i.op = IR_NATIVE;
        n->disp = (int64_t)i.imm;
    }
    i.imm = (uint64_t)(uintptr_t)n;
    i.type = gives ? (n->wide || n->gives_flags ? IR_I64 : IR_I32) : IR_VOID;
    if (n->reg_is_operand || n->rm_is_operand) {
        i.arg[2] = lift_register(w, n->reg_is_operand ? w->i->reg : w->i->rm,
                                 n->wide ? X86_64 : X86_32);
    }
    i.map = lift_map(w);
    {
        ir_value r = ir_add(w->g, &i);

        if (gives) {
            take_result(w, n, r);
        }
    }
    return true;
}
