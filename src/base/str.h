/* str.h - a growing string and a growing list of strings.
 *
 * Both start zeroed (`struct str s = {0};`).  A failed allocation is
 * remembered: later additions do nothing, and `str_failed` or `strv_failed`
 * tells once at the end.  Not shared between threads. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

struct str {
    char *data; /* owned; NUL-terminated once anything was added; NULL before */
    size_t len; /* bytes without the NUL */
    size_t cap;
    bool failed;
};

void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t len);
void str_addf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool str_failed(const struct str *s);

/* The text so far; "" when nothing was added.  Borrowed until the next change. */
const char *str_text(const struct str *s);

/* Give the text away: the caller frees it, `s` is empty again.  NULL if an
 * allocation failed before. */
char *str_take(struct str *s);
void str_fini(struct str *s);

struct strv {
    char **items; /* owned, and each item; items[n] == NULL once anything was added */
    size_t n;
    size_t cap;
    bool failed;
};

void strv_add(struct strv *v, const char *text);
void strv_addf(struct strv *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Take ownership of `text`, also when it fails. */
void strv_take(struct strv *v, char *text);
bool strv_failed(const struct strv *v);
bool strv_has(const struct strv *v, const char *text);
void strv_fini(struct strv *v);

/* snprintf into a fixed buffer; 0, or -ENAMETOOLONG when it does not fit. */
int str_print(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether `text` begins with / ends with the other. */
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);

#endif
