/* help.h - what --help prints, from the rows; no line is wider than HELP_COLUMNS. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "wire/wire.h"

#define HELP_COLUMNS 79

void help_program(FILE *out);

/* The commands of a noun ("image"). */
void help_noun(FILE *out, const char *noun);
void help_op(FILE *out, enum wire_op_id op);

#endif
