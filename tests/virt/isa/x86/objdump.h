/* objdump.h - another disassembler to compare with. */
#ifndef TESTS_VIRT_ISA_X86_OBJDUMP_H
#define TESTS_VIRT_ISA_X86_OBJDUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "virt/isa/x86/insn.h"

#define OBJDUMP_TEXT_BYTES 200

/* One instruction as objdump sees it. */
struct objdump_line {
    uint64_t at;
    uint8_t bytes[X86_INSN_BYTES_MAX + 1];
    unsigned length;
    bool is_bad;
    char text[OBJDUMP_TEXT_BYTES];
};

/* Whether there is one on this host. */
bool objdump_is_there(void);

/* Open the listing of an ELF file's code, or of raw bytes in one mode; NULL: no. */
FILE *objdump_file(const char *path);
FILE *objdump_bytes(const uint8_t *bytes, size_t n, enum x86_code_mode mode);
void objdump_close(FILE *f);

/* The next instruction; false at the end. */
bool objdump_next(FILE *f, struct objdump_line *ret_line);

/* Bring a line to one form: single blanks, no symbols and comments, no prefixes that
 * change nothing (`rex.X`, `cs`, `data16`, `bnd`), no displacement or index of none. */
void objdump_normalise(char *text);

#endif
