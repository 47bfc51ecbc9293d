/* x87.c - x87 instructions, which the host executes itself.
 *
 * While generated code runs, the host's x87 unit holds the guest's x87 and MMX state
 * (emit/fpu.c lends it), with all exceptions masked; so an instruction is written again
 * as it is, but for its memory operand.  The address of the last one (FIP) is a global,
 * whose sets sink.  FOP and FDP change with unmasked exceptions only. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "virt/isa/x86/lift/private.h"

/* What stores or loads whole states, and what ends an unmasked state. */
static const char *const by_routine[] = {"fldenv", "fnstenv", "frstor", "fnsave",
                                         "fninit"};
/* These are not "the last instruction" of the environment. */
static const char *const control[] = {"fldcw", "fnstcw", "fnstsw",  "fnclex",
                                      "fneni", "fndisi", "fnsetpm", "fwait"};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static bool is_among(const char *const *words, size_t n, const char *word)
{
    while (n > 0 && strcmp(words[n - 1], word) != 0) {
        n--;
    }
    return n > 0;
}

/* "Mf64": bytes of the memory operand; 0: of another kind. */
static uint8_t bytes_of(const char *operand)
{
    static const struct {
        const char *text;
        uint8_t bytes;
    } kinds[] = {{"Mf32", 4}, {"Mf64", 8}, {"Mf80", 10}, {"Mi16", 2},
                 {"Mi32", 4}, {"Mi64", 8}, {"Mbcd", 10}, {"Mw", 2}};

    unsigned n;

    for (n = 0; n < COUNT(kinds); n++) {
        if (strcmp(operand, kinds[n].text) == 0) {
            return kinds[n].bytes;
        }
    }
    return 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* FCMOVcc: the condition; -1: another instruction. */
static int condition_of(const char *mnemonic)
{
    static const struct {
        const char *text;
        enum ir_cond cond;
    } kinds[] = {
        {"b", IR_COND_C}, {"e", IR_COND_Z}, {"be", IR_COND_BE}, {"u", IR_COND_P}};

    bool is_not;
    unsigned n;

    if (!begins(mnemonic, "fcmov")) {
        return -1;
    }
    is_not = mnemonic[5] == 'n';
    for (n = 0; n < COUNT(kinds); n++) {
        if (strcmp(mnemonic + 5 + is_not, kinds[n].text) == 0) {
            return (int)kinds[n].cond ^ is_not;
        }
    }
    return -1;
}

/* "D8 /0:m", "D8 /0:r" or "DE D9" */
static bool parse_encoding(struct x87_row *x, const char *text)
{
    char *rest;
    unsigned long opcode = strtoul(text, &rest, 16), modrm;

    if (opcode < 0xd8 || opcode > 0xdf || rest[0] != ' ') {
        return false;
    }
    x->opcode = (uint8_t)opcode;
    if (rest[1] == '/') {
        x->reg = (uint8_t)(rest[2] - '0');
        x->is_memory = rest[3] == ':' && rest[4] == 'm';
        x->has_rm = !x->is_memory;
        return true;
    }
    modrm = strtoul(rest, &rest, 16);
    x->reg = modrm >> 3 & 7;
    x->rm = modrm & 7;
    return modrm >= 0xc0 && *rest == 0;
}

bool lift_x87_row(struct x87_row *x, const struct x86_row_info *info)
{
    const char *name = info->mnemonic;

    memset(x, 0, sizeof *x);
    x->marks = !is_among(control, COUNT(control), name);
    x->is_wait = strcmp(name, "fwait") == 0;
    if (x->is_wait) {
        return true;
    }
    if (is_among(by_routine, COUNT(by_routine), name) ||
        !parse_encoding(x, info->encoding)) {
        return false;
    }
    x->cond = (int8_t)condition_of(name);
    x->bytes = x->is_memory ? bytes_of(info->operands) : 0;
    x->writes = begins(name, "fst") || begins(name, "fist") || begins(name, "fbst") ||
                begins(name, "fnst");
    x->gives_flags = begins(info->flags, "W:");
    x->fpu = strcmp(name, "fldcw") == 0          ? IR_FPU_CONTROL
             : strcmp(info->operands, "AX") == 0 ? IR_FPU_STATUS
             : x->cond >= 0                      ? IR_FPU_MOVE_IF
                                                 : IR_FPU_USED;
    return !x->is_memory || x->bytes != 0;
}

static void fill_native(const struct work *w, const struct x87_row *x,
                        struct ir_native *n)
{
    const struct x86_insn *i = w->i;

    *n = (struct ir_native){.fpu = x->fpu,
                            .opcode = x->opcode,
                            .reg = x->reg,
                            .rm = x->has_rm ? i->rm & 7 : x->rm,
                            .gives_flags = x->gives_flags && !w->in->flags_dead,
                            .rm_is_memory = x->is_memory,
                            .writes_memory = x->writes,
                            .bytes = x->bytes,
                            .routine = (uintptr_t)i};
}

static void take_result(struct work *w, const struct ir_native *n, ir_value v)
{
    if (n->fpu == IR_FPU_STATUS) {
        lift_set_register(w, X86_RAX, X86_16, v);
    } else if (n->gives_flags) {
        ir_set(w->g, LIFT_FLAGS,
               ir_add(w->g, &(struct ir_insn){.op = IR_FLAGS,
                                              .type = IR_FLAGS_TYPE,
                                              .aux = IR_FLAGS_BITS,
                                              .imm = 8,
                                              .arg = {v}}));
    }
}

static struct ir_insn operands(struct work *w, struct ir_native *n)
{
    const struct x87_row *x = &w->row->x87;
    struct ir_insn i = {0};

    if (n->fpu == IR_FPU_CONTROL) {
        i = lift_address(w);
        i.op = IR_LOAD;
        i.type = IR_I16;
        i.access.bytes = 2;
        i.map = lift_map(w);
        i = (struct ir_insn){.arg = {[2] = ir_add(w->g, &i)}};
        n->rm_is_memory = false;
    } else if (x->is_memory) {
        i = lift_address(w);
        n->disp = (int64_t)i.imm;
    } else if (n->fpu == IR_FPU_MOVE_IF) {
        i.arg[2] = lift_cond(w, (enum ir_cond)x->cond);
    }
    return i;
}

bool lift_x87(struct work *w)
{
    const struct x87_row *x = &w->row->x87;
    struct ir_native *n = w->in->native;
    struct ir_insn i;
    ir_value r;

    if (n == NULL || !w->in->fpu) {
        return false;
    }
    if (x->is_wait) { /* nothing can wait */
        return true;
    }
    fill_native(w, x, n);
    i = operands(w, n);
    i.op = IR_NATIVE;
    i.imm = (uint64_t)(uintptr_t)n;
    i.type = n->fpu == IR_FPU_STATUS ? IR_I16 : n->gives_flags ? IR_I64 : IR_VOID;
    i.map = lift_map(w);
    r = ir_add(w->g, &i);
    take_result(w, n, r);
    if (x->marks) {
        ir_set(w->g, LIFT_X87_IP, ir_const(w->g, IR_I64, w->in->pc));
    }
    return true;
}
