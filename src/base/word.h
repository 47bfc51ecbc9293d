/* word.h - names that people type: valid ones, and the nearest known one. */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include <stdbool.h>
#include <stddef.h>

#define WORD_NAME_BYTES                                                                  \
    64 /* with the NUL: 63 characters, as a DNS label (RFC 1035, 2.3.4) */

/* A name of a guest, network, volume ...: 1 to 63 of a-z A-Z 0-9 _ . -, the
 * first a letter or digit. */
bool word_is_name(const char *text);

/* The entry of `words` (n of them, NULLs skipped) nearest to `text` by edits,
 * or NULL when none is near enough to be a slip of the hand. */
const char *word_nearest(const char *text, const char *const *words, size_t n);

/* A new random identifier: `digits` lower-case hex digits and a NUL.  From
 * getrandom(2); 0 or -errno. */
int word_random_id(char *out, size_t digits);

#endif
