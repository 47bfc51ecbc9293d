/* str.c - a growing string and a growing list of strings. */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define STR_FIRST_BYTES  64
#define STRV_FIRST_ITEMS 8

static bool grow(struct str *s, size_t more)
{
    size_t want = s->len + more + 1;
    size_t cap = s->cap != 0 ? s->cap : STR_FIRST_BYTES;
    char *data;

    if (s->failed || want < s->len) {
        s->failed = true;
        return false;
    }
    if (want <= s->cap) {
        return true;
    }
    while (cap < want) {
        cap *= 2;
    }
    data = fault_realloc(s->data, cap);
    if (data == NULL) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->cap = cap;
    return true;
}

void str_add_bytes(struct str *s, const void *bytes, size_t len)
{
    if (grow(s, len)) {
        if (len != 0) {
            memcpy(s->data + s->len, bytes, len);
        }
        s->len += len;
        s->data[s->len] = '\0';
    }
}

void str_add(struct str *s, const char *text)
{
    str_add_bytes(s, text, strlen(text));
}

__attribute__((format(printf, 2, 0))) static void add_va(struct str *s, const char *fmt,
                                                         va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) {
        s->failed = true;
    } else if (grow(s, (size_t)n)) {
        (void)vsnprintf(s->data + s->len, (size_t)n + 1, fmt, ap);
        s->len += (size_t)n;
    }
}

void str_addf(struct str *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_va(s, fmt, ap);
    va_end(ap);
}

bool str_failed(const struct str *s)
{
    return s->failed;
}

const char *str_text(const struct str *s)
{
    return s->data != NULL ? s->data : "";
}

char *str_take(struct str *s)
{
    char *out = NULL;

    if (!s->failed && s->data == NULL) {
        str_add(s, "");
    }
    if (!s->failed) {
        out = s->data;
        s->data = NULL;
    }
    str_fini(s);
    return out;
}

void str_fini(struct str *s)
{
    free(s->data);
    memset(s, 0, sizeof *s);
}

void strv_take(struct strv *v, char *text)
{
    if (text == NULL) {
        v->failed = true;
    }
    if (!v->failed && v->n + 2 > v->cap) {
        size_t cap = v->cap != 0 ? v->cap * 2 : STRV_FIRST_ITEMS;
        char **items = fault_realloc(v->items, cap * sizeof *items);

        if (items == NULL) {
            v->failed = true;
        } else {
            v->items = items;
            v->cap = cap;
        }
    }
    if (v->failed) {
        free(text);
        return;
    }
    v->items[v->n] = text;
    v->n += 1;
    v->items[v->n] = NULL;
}

void strv_add(struct strv *v, const char *text)
{
    strv_take(v, fault_strdup(text));
}

void strv_addf(struct strv *v, const char *fmt, ...)
{
    struct str s = {0};
    va_list ap;

    va_start(ap, fmt);
    add_va(&s, fmt, ap);
    va_end(ap);
    strv_take(v, str_take(&s));
}

bool strv_failed(const struct strv *v)
{
    return v->failed;
}

bool strv_has(const struct strv *v, const char *text)
{
    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

void strv_fini(struct strv *v)
{
    for (size_t i = 0; i < v->n; i++) {
        free(v->items[i]);
    }
    free(v->items);
    memset(v, 0, sizeof *v);
}

int str_print(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t m = strlen(suffix);

    return n >= m && strcmp(text + n - m, suffix) == 0;
}
