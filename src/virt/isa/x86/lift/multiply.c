/* multiply.c - products and quotients.
 *
 * A product into rdx:rax, and a division, are the host's own instruction on the same two
 * registers (`struct ir_native`); a division that would fault or needs a closer look is
 * done by its routine. */
#include "virt/isa/x86/lift/private.h"

static bool lift_imul(struct work *w)
{
    enum x86_size s = lift_size(w, 0), in = s < X86_32 ? X86_32 : s;
    bool three = w->row->operand[2].place != AT_NONE;
    ir_value a = lift_read(w, three ? 1 : 0), b = lift_read(w, three ? 2 : 1), v;

    v = ir_2(w->g, IR_MUL, lift_extend(w, a, s, in, true),
             lift_extend(w, b, s, in, true));
    lift_write(w, 0, lift_extend(w, v, in, s, false));
    lift_flags(w, IR_FLAGS_MUL_S, s, a, b);
    return true;
}

/* The host's instruction F6 or F7 /digit on `v`. */
static bool on_rax(struct work *w, unsigned digit, enum ir_native_check check)
{
    enum x86_size s = lift_size(w, 0);
    struct ir_native *n = w->in->native;
    bool gives_flags = check == IR_NATIVE_ALWAYS && !w->in->flags_dead;
    struct ir_insn i = {.op = IR_NATIVE, .type = IR_VOID};

    if (n == NULL) {
        return false;
    }
    *n = (struct ir_native){.is_integer = true,
                            .opcode = s == X86_8 ? 0xf6 : 0xf7,
                            .reg = (uint8_t)digit,
                            .bits = (uint8_t)(8u << s),
                            .check = (uint8_t)check,
                            .stores_flags = gives_flags,
                            .changes = 1u << X86_RAX | (s != X86_8 ? 1u << X86_RDX : 0) |
                                       (gives_flags ? 1u << LIFT_FLAGS : 0),
                            .routine = (uintptr_t)w->i};
    i.arg[2] = lift_read(w, 0);
    i.imm = (uint64_t)(uintptr_t)n;
    i.map = lift_map(w);
    ir_add(w->g, &i);
    return true;
}

static bool lift_mul(struct work *w, unsigned is_signed)
{
    if (w->row->operand[1].place != AT_NONE) {
        return lift_imul(w);
    }
    return on_rax(w, is_signed ? 5 : 4, IR_NATIVE_ALWAYS);
}

/* The low half first: where both go to one register it is the high one that stays. */
static bool lift_mulx(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_register(w, X86_RDX, s), b = lift_read(w, 2);
    ir_value low = ir_2(w->g, IR_MUL, a, b), high = ir_2(w->g, IR_MULH_U, a, b);

    (void)detail;
    lift_write(w, 1, low);
    lift_write(w, 0, high);
    return true;
}

static bool lift_div(struct work *w, unsigned is_signed)
{
    if (lift_size(w, 0) == X86_8) {
        return false;
    }
    return on_rax(w, is_signed ? 7 : 6,
                  is_signed ? IR_NATIVE_DIVIDES_S : IR_NATIVE_DIVIDES_U);
}

const struct lift_name lift_multiply_names[] = {
    {"imul", lift_mul, 1}, {"mul", lift_mul, 0},   {"div", lift_div, 0},
    {"idiv", lift_div, 1}, {"mulx", lift_mulx, 0}, {NULL, NULL, 0},
};
