/* parse.h - words of a command line become a struct of arguments. */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include <stddef.h>

#include "base/str.h"
#include "wire/wire.h"

struct parse {
    enum wire_op_id op;        /* WIRE_OP_COUNT: none was named */
    const char *noun;          /* "image" when only that was named; else NULL */
    struct part_global global; /* texts are borrowed from the words */
    void *args;                /* owned; the struct of `op` */
    struct strv made;          /* owned texts that `args` points to */
};

/* Read `argv[1..argc)`.  -EINVAL with a text for a person, or -ENOMEM; then too
 * `ret` holds what was understood, for `parse_fini`.  With --help or --version
 * nothing is required. */
int parse_words(int argc, char **argv, struct parse *ret, struct err *e);
void parse_fini(struct parse *p);

/* The operation of this name ("image build"), or WIRE_OP_COUNT. */
enum wire_op_id parse_find_op(const char *first, const char *second);

/* Whether some operation's name begins with this word and a space. */
bool parse_is_noun(const char *word);

/* "did you mean ...": add the nearest command to `hint`. */
void parse_hint_command(const char *first, const char *second, struct str *hint);

#endif
