/* encode.h - from a row and its operands to bytes; what forms a row has.
 *
 * For tests and for whoever makes code of rows: the decoder's inverse.  `x86_decode`
 * of what `x86_encode` made gives the row and the operands asked for. */
#ifndef VIRT_ISA_X86_ENCODE_H
#define VIRT_ISA_X86_ENCODE_H

#include "virt/isa/x86/x86.h"

/* The operands of an instruction; fields that its row does not use are ignored.
 * `x86_form_init` leaves registers 0 and no memory. */
struct x86_form {
    uint8_t mode;    /* `enum x86_code_mode` */
    uint8_t size;    /* X86_16, X86_32, X86_64 where the row leaves it open */
    uint8_t address; /* X86_16, X86_32, X86_64; X86_8: the mode's own */
    uint8_t segment; /* byte of an override prefix; 0: none */
    uint8_t repeat;  /* 0, 0xf2, 0xf3 */
    bool lock;
    bool has_rex; /* a REX prefix also where no bit of it is needed */
    bool is_memory;
    uint8_t reg; /* modrm.reg, or the register of `+r` */
    uint8_t rm;
    uint8_t vvvv;
    uint8_t base; /* as in `struct x86_insn`, RIP and `disp` too */
    uint8_t index;
    uint8_t scale;
    uint8_t imm8; /* second immediate; register of is4; vector index */
    int64_t disp;
    uint64_t imm;
};

void x86_form_init(struct x86_form *f, enum x86_code_mode mode);

/* The instruction's bytes; returns their number, 0: the row has no such form. */
int x86_encode(enum x86_row row, const struct x86_form *form,
               uint8_t bytes[X86_INSN_BYTES_MAX]);

/* One kind of use of a row. */
struct x86_cell {
    uint16_t row;
    uint8_t mode;    /* `enum x86_code_mode` */
    uint8_t operand; /* what to put into `x86_form.size` */
    uint8_t size;    /* what `x86_insn.size` then is */
    bool is_memory;
};

#define X86_CELLS_MAX 18 /* three modes, three sizes, register or memory */

/* Every legal combination of mode, operand size and register or memory of a row;
 * returns how many.  Rows without such a choice have one cell for each mode. */
unsigned x86_cells(enum x86_row row, struct x86_cell ret_cells[X86_CELLS_MAX]);

/* A form of that cell to begin with: memory is [rax], [eax] or [bx+si]. */
void x86_form_of_cell(struct x86_form *ret_form, const struct x86_cell *cell);

#endif
