/* challenge.c - WWW-Authenticate: schemes with parameters, all parted by commas.
 *
 * A comma may part parameters of one scheme or two schemes: a word followed by
 * "=" is a parameter, any other word begins the next scheme. */
#include "resource/image/registry/challenge.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool is_token(char c)
{
    return isalnum((unsigned char)c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~/", c) != NULL);
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

static const char *token_end(const char *p)
{
    while (is_token(*p)) {
        p++;
    }
    return p;
}

/* The value at *p, quoted or not, into `out`; *p moves behind it. */
static int take_value(const char **p, char *out, size_t size)
{
    const char *s = *p;
    bool quoted = *s == '"';
    size_t n = 0;

    for (s += quoted ? 1 : 0; quoted ? *s != '"' : is_token(*s); s++) {
        if (quoted && *s == '\\') {
            s++;
        }
        if (*s == '\0' || (unsigned char)*s < ' ' || n + 1 >= size) {
            return -EINVAL;
        }
        out[n++] = *s;
    }
    out[n] = '\0';
    *p = s + (quoted ? 1 : 0);
    return 0;
}

static int take_param(const char **p, struct challenge *c)
{
    char other[1024];
    const char *name = *p;
    const char *end = token_end(name);
    size_t len = (size_t)(end - name);

    *p = skip_blanks(skip_blanks(end) + 1);
    if (len == 5 && strncasecmp(name, "realm", 5) == 0) {
        return take_value(p, c->realm, sizeof c->realm);
    }
    if (len == 7 && strncasecmp(name, "service", 7) == 0) {
        return take_value(p, c->service, sizeof c->service);
    }
    if (len == 5 && strncasecmp(name, "scope", 5) == 0) {
        return take_value(p, c->scope, sizeof c->scope);
    }
    return take_value(p, other, sizeof other);
}

static enum challenge_kind kind_of(const char *name, size_t len)
{
    if (len == 6 && strncasecmp(name, "bearer", 6) == 0) {
        return CHALLENGE_BEARER;
    }
    return len == 5 && strncasecmp(name, "basic", 5) == 0 ? CHALLENGE_BASIC
                                                          : CHALLENGE_NONE;
}

/* "name", blanks, "=", but not the "==" that ends a bare token. */
static bool is_param(const char *p)
{
    const char *end = skip_blanks(token_end(p));

    return token_end(p) > p && *end == '=' && end[1] != '=';
}

/* One scheme and its parameters. */
static int take_scheme(const char **p, struct challenge *c)
{
    const char *end = token_end(*p);
    int r = 0;

    if (end == *p) {
        return -EINVAL;
    }
    *c = (struct challenge){.kind = kind_of(*p, (size_t)(end - *p))};
    *p = skip_blanks(end);
    while (r == 0 && is_param(*p)) {
        r = take_param(p, c);
        *p = skip_blanks(*p);
        if (r == 0 && **p == ',') {
            *p += strspn(*p, ", \t");
        } else if (r == 0 && **p != '\0') {
            r = -EINVAL;
        }
    }
    return r;
}

int challenge_parse(const char *text, struct challenge *ret)
{
    struct challenge best = {0}, c;
    const char *p = text + strspn(text, ", \t");

    while (*p != '\0') {
        int r = take_scheme(&p, &c);

        if (r < 0) {
            return r;
        }
        if (c.kind > best.kind) {
            best = c;
        }
        if (c.kind == CHALLENGE_NONE && *p != '\0' && !is_token(*p)) {
            p += strcspn(p, ","); /* the bare token of a scheme that is not known */
        }
        p += strspn(p, ", \t");
    }
    if (best.kind == CHALLENGE_BEARER && best.realm[0] == '\0') {
        return -EINVAL;
    }
    *ret = best;
    return 0;
}
