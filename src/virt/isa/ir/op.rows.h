/* op.rows.h - the operations of the IR, one row each; undefines IR_OP at the end.
 *
 *   IR_OP(id, "name", arguments, result, traits, "meaning")
 *
 * arguments  one letter each: i any integer type, all alike;  b I1;  l I64;  f F32 or F64;
 *            v V128 or V256;  F FLAGS;  * anything;  . none.  Width and kind follow from
 *            the arguments' types, and where those do not say it, from `type` or `aux`.
 * result     the same letters;  = the arguments' type;  t the insn's own `type`;  . none
 * traits     PURE: no effect, same arguments give the same value;  MAY_FAULT: has a state
 *            map;  EFFECT: stays, and stays in order;  END: ends a block.
 *
 * A name says the exact semantics.  Integers wrap.  Shift counts are taken modulo the
 * width.  Floating-point operations that end in _x86, _arm, _riscv, _wasm differ in what
 * they give for NaN and for values out of range, and in nothing else; they round to
 * nearest unless the name says otherwise, and raise the host's sticky flags. */
// clang-format off
IR_OP(NOP,       "nop",        "...", '.', 0,         "nothing")
IR_OP(CONST,     "const",      "...", 't', PURE,      "`imm`")
IR_OP(PARAM,     "param",      "...", 't', PURE,      "argument `imm` of its block")
IR_OP(GET,       "get",        "...", 't', 0,         "the global numbered `imm`")
IR_OP(SET,       "set",        "*..", '.', EFFECT,    "the global numbered `imm` becomes the argument")

IR_OP(ADD,       "add",        "ii.", '=', PURE,      "a + b")
IR_OP(SUB,       "sub",        "ii.", '=', PURE,      "a - b")
IR_OP(MUL,       "mul",        "ii.", '=', PURE,      "the low half of a * b")
IR_OP(MULH_U,    "mulh_u",     "ii.", '=', PURE,      "the high half of a * b, unsigned")
IR_OP(MULH_S,    "mulh_s",     "ii.", '=', PURE,      "the high half of a * b, signed")
IR_OP(AND,       "and",        "ii.", '=', PURE,      "a & b")
IR_OP(OR,        "or",         "ii.", '=', PURE,      "a | b")
IR_OP(XOR,       "xor",        "ii.", '=', PURE,      "a ^ b")
IR_OP(ANDN,      "andn",       "ii.", '=', PURE,      "~a & b")
IR_OP(NOT,       "not",        "i..", '=', PURE,      "~a")
IR_OP(NEG,       "neg",        "i..", '=', PURE,      "-a")
IR_OP(SHL,       "shl",        "ii.", '=', PURE,      "a << b")
IR_OP(SHR,       "shr",        "ii.", '=', PURE,      "a >> b, zeros come in")
IR_OP(SAR,       "sar",        "ii.", '=', PURE,      "a >> b, the sign comes in")
IR_OP(ROTL,      "rotl",       "ii.", '=', PURE,      "a rotated left by b")
IR_OP(ROTR,      "rotr",       "ii.", '=', PURE,      "a rotated right by b")
IR_OP(SHLD,      "shld",       "iii", '=', PURE,      "high half of (a:b) << c")
IR_OP(SHRD,      "shrd",       "iii", '=', PURE,      "low half of (b:a) >> c")
IR_OP(CLZ,       "clz",        "i..", '=', PURE,      "leading zeros; the width for 0")
IR_OP(CTZ,       "ctz",        "i..", '=', PURE,      "trailing zeros; the width for 0")
IR_OP(POPCNT,    "popcnt",     "i..", '=', PURE,      "set bits")
IR_OP(BSWAP,     "bswap",      "i..", '=', PURE,      "bytes reversed")
IR_OP(BITREV,    "bitrev",     "i..", '=', PURE,      "bits reversed")
IR_OP(PDEP,      "pdep",       "ii.", '=', PURE,      "bits of a to the places set in b")
IR_OP(PEXT,      "pext",       "ii.", '=', PURE,      "bits of a from the places set in b")
IR_OP(DIV_U,     "div_u",      "ii.", '=', PURE,      "a / b unsigned; all ones for b == 0")
IR_OP(REM_U,     "rem_u",      "ii.", '=', PURE,      "a % b unsigned; a for b == 0")
IR_OP(DIV_S,     "div_s",      "ii.", '=', PURE,      "a / b to zero; -1 for b == 0, a for least / -1")
IR_OP(REM_S,     "rem_s",      "ii.", '=', PURE,      "a % b; a for b == 0, 0 for least % -1")
IR_OP(ZEXT,      "zext",       "i..", 't', PURE,      "widened with zeros; also from I1")
IR_OP(SEXT,      "sext",       "i..", 't', PURE,      "widened with the sign")
IR_OP(TRUNC,     "trunc",      "i..", 't', PURE,      "the low bits")
IR_OP(EXTRACT,   "extract",    "i..", 't', PURE,      "bits from `imm` on, as many as `type` has")
IR_OP(DEPOSIT,   "deposit",    "ii.", 't', PURE,      "a with b's bits (of b's type) from bit `imm` on")
IR_OP(SELECT,    "select",     "b**", 't', PURE,      "a ? b : c")
IR_OP(EQ,        "eq",         "ii.", 'b', PURE,      "a == b")
IR_OP(NE,        "ne",         "ii.", 'b', PURE,      "a != b")
IR_OP(ULT,       "ult",        "ii.", 'b', PURE,      "a < b unsigned")
IR_OP(ULE,       "ule",        "ii.", 'b', PURE,      "a <= b unsigned")
IR_OP(SLT,       "slt",        "ii.", 'b', PURE,      "a < b signed")
IR_OP(SLE,       "sle",        "ii.", 'b', PURE,      "a <= b signed")

IR_OP(FLAGS,     "flags",      "***", 'F', PURE,      "flags of kind `aux` (ir_flags_kind) of width `imm` bytes")
IR_OP(COND,      "cond",       "F..", 'b', PURE,      "condition `aux` (ir_cond) of a flags value")
IR_OP(FLAGS_PACK,   "flags_pack",   "F..", 'l', PURE, "O S Z A P C at their RFLAGS places, rest 0")
IR_OP(FLAGS_UNPACK, "flags_unpack", "l..", 'F', PURE, "the opposite")

IR_OP(LOAD,      "load",       "ll.", 't', MAY_FAULT, "from a + (b << scale) + imm; see ir_access")
IR_OP(STORE,     "store",      "ll*", '.', MAY_FAULT, "c there")
IR_OP(PROBE,     "probe",      "ll.", '.', MAY_FAULT, "faults as a store there would; no effect else")
IR_OP(WINDOW,    "window",    "ll.", 'l', MAY_FAULT, "a name for the memory around it (`imm`: struct ir_window) by which direct accesses go; faults as the first of them")
IR_OP(ATOMIC,    "atomic",     "ll*", 't', MAY_FAULT, "read-modify-write of kind `aux` (ir_atomic); gives the old value")
IR_OP(CAS,       "cas",        "l**", 't', MAY_FAULT, "at a: if it is b, becomes c; gives the old value")
IR_OP(FENCE,     "fence",      "...", '.', EFFECT,    "order `aux` (ir_order)")

IR_OP(FADD,      "fadd_x86",   "ff.", '=', PURE,      "NaN: the first operand that is one, quieted; else the default, negative")
IR_OP(FSUB,      "fsub_x86",   "ff.", '=', PURE,      "a - b, the same rule")
IR_OP(FMUL,      "fmul_x86",   "ff.", '=', PURE,      "a * b, the same rule")
IR_OP(FDIV,      "fdiv_x86",   "ff.", '=', PURE,      "a / b, the same rule")
IR_OP(FSQRT,     "fsqrt_x86",  "f..", '=', PURE,      "square root, the same rule")
IR_OP(FMIN,      "fmin_x86",   "ff.", '=', PURE,      "a < b ? a : b, as MINSD")
IR_OP(FMAX,      "fmax_x86",   "ff.", '=', PURE,      "a > b ? a : b, as MAXSD")
IR_OP(FCANON,    "fcanon",     "f..", '=', PURE,      "a; the positive default NaN if it is any NaN (RISC-V, WebAssembly)")
IR_OP(FPICK_ARM, "fpick_arm",  "fff", '=', PURE,      "c; if NaN: the signalling one of a and b first, else the first NaN, quieted")
IR_OP(FCMP,      "fcmp",       "ff.", 'F', PURE,      "flags as UCOMISD sets them")
IR_OP(FTOI_X86,  "ftoi_x86",   "f..", 't', PURE,      "to zero; the least integer when out of range or NaN")
IR_OP(FTOI_SAT,  "ftoi_sat",   "f..", 't', PURE,      "to zero, signed; saturates; 0 for NaN (AArch64, WebAssembly _sat)")
IR_OP(FTOU_SAT,  "ftou_sat",   "f..", 't', PURE,      "the same, unsigned")
IR_OP(ITOF,      "itof",       "i..", 't', PURE,      "from a signed integer")
IR_OP(FCVT,      "fcvt_x86",   "f..", 't', PURE,      "between F32 and F64; NaN quieted, payload kept")
IR_OP(BITS,      "bits",       "*..", 't', PURE,      "the same bits as another type of that width")

IR_OP(NATIVE,    "native",     "ll*", 't', MAY_FAULT, "the host's own instruction `imm` (struct ir_native): memory at a + (b << scale), c its integer operand")
IR_OP(CALL,      "call",       "***", 't', MAY_FAULT, "helper `imm` of the front end")
IR_OP(ROUTINE,   "routine",    "...", '.', MAY_FAULT, "the row's own routine, on the decoded instruction `imm`")
IR_OP(TRAP_IF,   "trap_if",    "b..", '.', MAY_FAULT, "leaves with trap `imm` if a")
IR_OP(EXIT_IF,   "exit_if",    "b..", '.', MAY_FAULT, "leaves to guest address `imm` if a; aux: ir_exit; a side exit of a trace")
IR_OP(BUDGET,    "budget",     "...", '.', MAY_FAULT, "`imm` instructions are about to run (aux: they are counted); leaves when somebody waits")

IR_OP(JUMP,      "jump",       "...", '.', END,       "to edge 0")
IR_OP(BRANCH,    "branch",     "b..", '.', END,       "to edge 0 if a, else to edge 1")
IR_OP(EXIT,      "exit",       ".l.", '.', END,       "go on at guest address `imm`; aux: ir_exit")
IR_OP(EXIT_TO,   "exit_to",    "ll.", '.', END,       "go on at guest address a; aux: ir_exit")
IR_OP(LEAVE,     "leave",      "...", '.', END,       "to the engine, for reason `aux`; globals are whole.  IR_LEAVE_BEHIND: behind a routine, where that said")
// clang-format on
#undef IR_OP
