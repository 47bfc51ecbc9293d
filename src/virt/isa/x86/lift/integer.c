/* integer.c - moves, arithmetic, shifts and conditions.
 *
 * Order within an instruction: addresses and loads, the store, then registers and
 * flags; so a fault finds nothing changed.  The load of a read-modify-write faults as
 * the store would (`for_write`). */
#include "virt/isa/x86/lift/private.h"

static const enum ir_op alu_ops[] = {IR_ADD, IR_OR, 0, 0, IR_AND, IR_SUB, IR_XOR, IR_SUB};

enum alu {
    ADD = LIFT_ADD,
    OR = LIFT_OR,
    ADC,
    SBB,
    AND = LIFT_AND,
    SUB = LIFT_SUB,
    XOR = LIFT_XOR,
    CMP
};

static bool lift_alu(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a, b, v;

    if (w->i->lock) {
        return lift_locked_alu(w, op);
    }
    a = op == CMP ? lift_read(w, 0) : lift_read_for_write(w, 0);
    b = lift_read(w, 1);
    if (op == CMP) {
        lift_flags(w, IR_FLAGS_SUB, s, a, b);
        return true;
    }
    v = ir_2(w->g, alu_ops[op], a, b);
    lift_write(w, 0, v);
    if (op == ADD || op == SUB) {
        lift_flags(w, op == ADD ? IR_FLAGS_ADD_R : IR_FLAGS_SUB_R, s, v, b);
    } else {
        lift_flags(w, IR_FLAGS_LOGIC, s, v, 0);
    }
    return true;
}

static bool lift_with_carry(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    enum ir_op ir = op == ADC ? IR_ADD : IR_SUB;
    ir_value a, b, c, v;

    if (w->i->lock) {
        return false;
    }
    a = lift_read_for_write(w, 0);
    b = lift_read(w, 1);
    c = ir_1(w->g, IR_ZEXT, IR_I8, lift_cond(w, IR_COND_C)); /* a value: flags keep it */
    v = ir_2(w->g, ir, ir_2(w->g, ir, a, b), lift_extend(w, c, X86_8, s, false));
    lift_write(w, 0, v);
    lift_flags_3(w, op == ADC ? IR_FLAGS_ADC : IR_FLAGS_SBB, s, a, b, c);
    return true;
}

static bool lift_test(struct work *w, unsigned detail)
{
    ir_value v = ir_2(w->g, IR_AND, lift_read(w, 0), lift_read(w, 1));

    (void)detail;
    lift_flags(w, IR_FLAGS_LOGIC, lift_size(w, 0), v, 0);
    return true;
}

static bool lift_step(struct work *w, unsigned down)
{
    enum x86_size s = lift_size(w, 0);
    ir_value v, before;

    if (w->i->lock) {
        return lift_locked_step(w, down != 0);
    }
    v = ir_2(w->g, down ? IR_SUB : IR_ADD, lift_read_for_write(w, 0),
             lift_const(w, s, 1));
    before = ir_get(w->g, LIFT_FLAGS);
    lift_write(w, 0, v);
    lift_flags(w, down ? IR_FLAGS_DEC_R : IR_FLAGS_INC_R, s, v, before);
    return true;
}

static bool lift_not(struct work *w, unsigned detail)
{
    (void)detail;
    if (w->i->lock) {
        return lift_locked_not(w);
    }
    lift_write(w, 0, ir_1(w->g, IR_NOT, IR_VOID, lift_read_for_write(w, 0)));
    return true;
}

static bool lift_neg(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a;

    (void)detail;
    if (w->i->lock) {
        return false;
    }
    a = lift_read_for_write(w, 0);
    lift_write(w, 0, ir_1(w->g, IR_NEG, IR_VOID, a));
    lift_flags(w, IR_FLAGS_SUB, s, lift_const(w, s, 0), a);
    return true;
}

static bool lift_mov(struct work *w, unsigned detail)
{
    (void)detail;
    lift_write(w, 0, lift_read(w, 1));
    return true;
}

static bool lift_widen(struct work *w, unsigned sign)
{
    enum x86_size to = lift_size(w, 0);

    if (lift_size(w, 1) > to) {
        return false; /* MOVSXD to 16 bits reads no more than those */
    }
    lift_write(w, 0, lift_read_wide(w, 1, to, sign != 0));
    return true;
}

static bool lift_lea(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0) == X86_32 ? X86_32 : X86_64;
    struct ir_insn a;
    ir_value v;

    (void)detail;
    if (w->i->segment == X86_FS || w->i->segment == X86_GS) {
        return false; /* LEA ignores the segment; so rare that the routine may do it */
    }
    a = lift_address(w);
    v = lift_extend(w, a.arg[0], X86_64, s, false);
    if (a.arg[1] != 0) {
        v = ir_2(w->g, IR_ADD, v,
                 ir_2(w->g, IR_SHL, lift_extend(w, a.arg[1], X86_64, s, false),
                      lift_const(w, s, a.access.scale)));
    }
    v = ir_2(w->g, IR_ADD, v, lift_const(w, s, a.imm));
    if (a.access.wrap32 && s == X86_64) {
        v = ir_1(w->g, IR_ZEXT, IR_I64, ir_1(w->g, IR_TRUNC, IR_I32, v));
    }
    lift_write(w, 0, lift_extend(w, v, s, lift_size(w, 0), false));
    return true;
}

static bool lift_setcc(struct work *w, unsigned cond)
{
    lift_write(w, 0, ir_1(w->g, IR_ZEXT, IR_I8, lift_cond(w, cond)));
    return true;
}

static bool lift_cmov(struct work *w, unsigned cond)
{
    ir_value yes = lift_read(w, 1), no = lift_read(w, 0);

    lift_write(w, 0,
               ir_3(w->g, IR_SELECT, lift_type(lift_size(w, 0)),
                    (ir_value[3]){lift_cond(w, cond), yes, no}));
    return true;
}

/* cbw, cwde, cdqe: rax from its lower half */
static bool lift_sign_rax(struct work *w, unsigned to)
{
    lift_set_register(
        w, X86_RAX, to,
        lift_extend(w, lift_register(w, X86_RAX, to - 1), to - 1, to, true));
    return true;
}

/* cwd, cdq, cqo: rdx gets rax's sign */
static bool lift_sign_rdx(struct work *w, unsigned s)
{
    lift_set_register(w, X86_RDX, s,
                      ir_2(w->g, IR_SAR, lift_register(w, X86_RAX, s),
                           lift_const(w, s, (8u << s) - 1)));
    return true;
}

static bool lift_bswap(struct work *w, unsigned detail)
{
    (void)detail;
    if (lift_size(w, 0) < X86_32) {
        return false;
    }
    lift_write(w, 0, ir_1(w->g, IR_BSWAP, IR_VOID, lift_read(w, 0)));
    return true;
}

static bool lift_movbe(struct work *w, unsigned detail)
{
    (void)detail;
    lift_write(w, 0, ir_1(w->g, IR_BSWAP, IR_VOID, lift_read(w, 1)));
    return true;
}

static bool lift_nop(struct work *w, unsigned detail)
{
    (void)w;
    (void)detail;
    return true;
}

const struct lift_name lift_integer_names[] = {
    {"add", lift_alu, ADD},
    {"or", lift_alu, OR},
    {"and", lift_alu, AND},
    {"sub", lift_alu, SUB},
    {"xor", lift_alu, XOR},
    {"cmp", lift_alu, CMP},
    {"adc", lift_with_carry, ADC},
    {"sbb", lift_with_carry, SBB},
    {"test", lift_test, 0},
    {"inc", lift_step, 0},
    {"dec", lift_step, 1},
    {"not", lift_not, 0},
    {"neg", lift_neg, 0},
    {"mov", lift_mov, 0},
    {"movzx", lift_widen, 0},
    {"movsx", lift_widen, 1},
    {"movsxd", lift_widen, 1},
    {"lea", lift_lea, 0},
    {"seto", lift_setcc, IR_COND_O},
    {"setno", lift_setcc, IR_COND_NO},
    {"setb", lift_setcc, IR_COND_C},
    {"setae", lift_setcc, IR_COND_NC},
    {"sete", lift_setcc, IR_COND_Z},
    {"setne", lift_setcc, IR_COND_NZ},
    {"setbe", lift_setcc, IR_COND_BE},
    {"seta", lift_setcc, IR_COND_A},
    {"sets", lift_setcc, IR_COND_S},
    {"setns", lift_setcc, IR_COND_NS},
    {"setp", lift_setcc, IR_COND_P},
    {"setnp", lift_setcc, IR_COND_NP},
    {"setl", lift_setcc, IR_COND_L},
    {"setge", lift_setcc, IR_COND_GE},
    {"setle", lift_setcc, IR_COND_LE},
    {"setg", lift_setcc, IR_COND_G},
    {"cmovo", lift_cmov, IR_COND_O},
    {"cmovno", lift_cmov, IR_COND_NO},
    {"cmovb", lift_cmov, IR_COND_C},
    {"cmovae", lift_cmov, IR_COND_NC},
    {"cmove", lift_cmov, IR_COND_Z},
    {"cmovne", lift_cmov, IR_COND_NZ},
    {"cmovbe", lift_cmov, IR_COND_BE},
    {"cmova", lift_cmov, IR_COND_A},
    {"cmovs", lift_cmov, IR_COND_S},
    {"cmovns", lift_cmov, IR_COND_NS},
    {"cmovp", lift_cmov, IR_COND_P},
    {"cmovnp", lift_cmov, IR_COND_NP},
    {"cmovl", lift_cmov, IR_COND_L},
    {"cmovge", lift_cmov, IR_COND_GE},
    {"cmovle", lift_cmov, IR_COND_LE},
    {"cmovg", lift_cmov, IR_COND_G},
    {"cbw", lift_sign_rax, X86_16},
    {"cwde", lift_sign_rax, X86_32},
    {"cdqe", lift_sign_rax, X86_64},
    {"cwd", lift_sign_rdx, X86_16},
    {"cdq", lift_sign_rdx, X86_32},
    {"cqo", lift_sign_rdx, X86_64},
    {"bswap", lift_bswap, 0},
    {"movbe", lift_movbe, 0},
    {"movnti", lift_mov, 0},
    {"nop", lift_nop, 0},
    {"endbr64", lift_nop, 0},
    {"prefetchnta", lift_nop, 0},
    {"prefetcht0", lift_nop, 0},
    {"prefetcht1", lift_nop, 0},
    {"prefetcht2", lift_nop, 0},
    {NULL, NULL, 0},
};
