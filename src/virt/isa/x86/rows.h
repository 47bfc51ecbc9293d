/* rows.h - every x86 instruction, one row each.
 *
 * Included with X86_ROW defined, as often as something is to be made of the rows;
 * undefines it at the end.  `tools/isagen.py` reads the same files and makes the
 * decoder's tables.
 *
 *   X86_ROW(id, "mnemonic", "encoding", "operands", MODE, FEATURE, PRIVILEGE,
 *           SENSITIVITY, "flags", "attributes", routine)
 *
 * id         unique; `X86_R_<id>` is the row's number.
 * encoding   as the Intel SDM (volume 2, 3.1.1) writes it:
 *              [NP|NFx|66|F2|F3] [W0|W1] bytes in hex, with
 *              NP      only without 66, F2 and F3;   66, F2, F3: only with it
 *              NFx     only without F2 and F3; 66 is the operand size
 *              none    any prefix: 66 is the operand size, F2/F3 are ignored
 *              W0 W1   only with REX.W (VEX.W) clear, set
 *              O16 O32 O64   only with that operand size (cbw, cwde, cdqe ...)
 *              A16 A32 A64   only with that address size (jcxz, jecxz ...)
 *              +r      the low three bits of the last byte are a register
 *              /r /0../7     a modrm byte; followed by :m or :r, only memory, register
 *              further bytes after `0F 01`, `D9` ...: the modrm byte itself
 *              ib iw id iz iv iq   immediates (z: 16 or 32; v: 16, 32 or 64)
 *              cb cz   branch displacements;  ap: far pointer;  ov: moffs;  is4
 *              VEX.{128|256|LIG|LZ}.{NP|66|F2|F3}.{0F|0F38|0F3A}.{W0|W1|WIG} byte ...
 *            `/vsib` stands for a memory operand with a vector index (AVX2 gathers).
 * operands   destination first, in the letters of the SDM's opcode map (volume 2D,
 *            A.2): E G B M R I J O X Y S C D A Z(+r)  P Q N V W U H L
 *            with sizes b w d q v y z s(sign-extended byte) p(far) ss sd ps pd x dq qq,
 *            f32 f64 f80 i16 i32 i64 bcd env state for x87 memory, or fixed: AL CL DX
 *            rAX 1 ST0 STi XMM0 ES CS SS DS FS GS.  E.g. "Eb,Gb", "Vx,Hx,Wx,Ib".
 *            "-" for none; implied operands in brackets, "Ev,[rAX]", are not printed.
 * MODE       ANY; LEGACY: not in 64-bit mode; LONG: only there; PROTECTED: neither in
 *            real nor in virtual-8086 mode (#UD).
 * FEATURE    `X86_F_<FEATURE>` (features.rows.h): without it in the CPUID model, #UD.
 * PRIVILEGE  USER; SYSTEM: CPL 0 (real mode has it), else #GP; IO: by IOPL and bitmap.
 * SENSITIVITY  INNOCUOUS; CONTROL: changes the machine's configuration or privilege;
 *            BEHAVIOUR: its result depends on them (Popek and Goldberg 1974).
 * flags      "W:OSZAPC" written as the manual defines; "U:..." left undefined; "R:..."
 *            read; "M:..." written or kept, as a count decides.  "" for none.
 * "attributes"  "" or words of: LOCK (may be locked when the destination is memory), ENDS (ends a
 *            block: the next instruction may be elsewhere, or the mode may change),
 *            D64 (operand size 64 by default in 64-bit mode, 66 gives 16), F64 (always
 *            64 there), REP (repeats), NOSIDE (touches nothing: nop, prefetch), B8 (byte
 *            operands: `size` is X86_8).
 * routine    `x86_do_<routine>` is its `struct x86_family`; rows may share one. */
#include "virt/isa/x86/rows/avx.rows.h"
#include "virt/isa/x86/rows/integer.rows.h"
#include "virt/isa/x86/rows/mmx_sse.rows.h"
#include "virt/isa/x86/rows/system.rows.h"
#include "virt/isa/x86/rows/x87.rows.h"
#undef X86_ROW
