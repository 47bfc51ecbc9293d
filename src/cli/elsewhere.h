/* cli/elsewhere.h - options that people know from other tools. */
#ifndef CLI_ELSEWHERE_H
#define CLI_ELSEWHERE_H

#include <stddef.h>

#include "wire/wire.h"

/* What to do here instead of the option `word` (with its dashes, `len` bytes) of an
 * operation; NULL when nothing is known. */
const char *elsewhere_option(enum wire_op_id op, const char *word, size_t len);

#endif
