/* word.c - valid names, the nearest known word, random identifiers. */
#include "base/word.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#define NEAREST_MAX_BYTES 48

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool word_is_name(const char *text)
{
    size_t n = strlen(text);

    if (n == 0 || n >= WORD_NAME_BYTES || !is_alnum(text[0])) {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        if (!is_alnum(text[i]) && strchr("_.-", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Levenshtein distance; both words shorter than NEAREST_MAX_BYTES. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_MAX_BYTES];
    size_t m = strlen(b);

    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < m; j++) {
            size_t best = diagonal + (a[i] != b[j] ? 1 : 0);

            diagonal = row[j + 1];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j + 1] + 1 < best ? row[j + 1] + 1 : best;
            row[j + 1] = best;
        }
    }
    return row[m];
}

const char *word_nearest(const char *text, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t len = strlen(text);
    size_t limit = len <= 3 ? 1 : len <= 7 ? 2 : 3;

    if (len >= NEAREST_MAX_BYTES) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        size_t d;

        if (words[i] == NULL || strlen(words[i]) >= NEAREST_MAX_BYTES) {
            continue;
        }
        d = distance(text, words[i]);
        if (d <= limit) {
            best = words[i];
            limit = d == 0 ? 0 : d - 1;
        }
    }
    return best;
}

int word_random_id(char *out, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t raw[64];

    if (digits > sizeof raw) {
        return -EINVAL;
    }
    if (getrandom(raw, digits, 0) != (ssize_t)digits) {
        return -EIO;
    }
    for (size_t i = 0; i < digits; i++) {
        out[i] = hex[raw[i] & 15];
    }
    out[digits] = '\0';
    return 0;
}
