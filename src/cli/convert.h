/* convert.h - one word becomes one value of a row's type. */
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include "base/str.h"
#include "wire/wire.h"

struct err;

/* Check `text` against the type of `item` and store it at `to`, a member of that
 * type (for lists: a `const char *`).  Texts are borrowed, or kept in `made`.  An
 * ENV word that copies a variable which is not set stores NULL. */
int convert_word(const struct wire_item *item, const char *text, void *to,
                 struct strv *made, struct err *e);

/* "TERM", "SIGTERM", "15", "RTMIN+1"; 0 when there is no such signal. */
int convert_signal(const char *text);

#endif
