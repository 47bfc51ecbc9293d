/* words.c - words of an instruction: cut, substituted, unquoted.
 *
 * The rules are those of the shell's words, cut down: no globs, no commands, and
 * of the parameter forms only -, + and ? with and without colon. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/build/containerfile.h"

#define DEPTH_MAX 16 /* ${a:-${b:-...}} */
#define BYTES_MAX (4u << 20)

int words_split(const char *text, char escape, struct strv *ret, struct err *e)
{
    const char *p = text;

    for (;;) {
        const char *from;
        char quote = '\0';

        p += strspn(p, " \t\r\v\f");
        if (*p == '\0') {
            break;
        }
        for (from = p; *p != '\0' && (quote != '\0' || strchr(" \t\r\v\f", *p) == NULL);
             p++) {
            if (*p == escape && quote != '\'' && p[1] != '\0') {
                p++;
            } else if (quote != '\0') {
                quote = *p == quote ? '\0' : quote;
            } else if (*p == '"' || *p == '\'') {
                quote = *p;
            }
        }
        if (quote != '\0') {
            return err_set(e, -EINVAL, "a quote %c is not closed", quote);
        }
        strv_addf(ret, "%.*s", (int)(p - from), from);
    }
    return strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

struct expand {
    const char *p; /* what comes next */
    char escape;
    bool keep_quotes;
    words_lookup_fn *fn;
    void *arg;
    unsigned depth;
    struct err *e;
};

static int expand_until(struct expand *x, char end, struct str *ret);

static bool is_name_char(char c, bool first)
{
    return c == '_' || isalpha((unsigned char)c) || (!first && isdigit((unsigned char)c));
}

static int take_name(struct expand *x, char *out, size_t size)
{
    size_t n = 0;

    while (is_name_char(x->p[n], n == 0)) {
        n++;
    }
    if (n == 0 || n >= size) {
        return err_set(x->e, -EINVAL, "'$' is not followed by a name");
    }
    memcpy(out, x->p, n);
    out[n] = '\0';
    x->p += n;
    return 0;
}

/* "${NAME", its operator and word, up to "}". */
static int expand_braces(struct expand *x, struct str *ret)
{
    char name[256], op;
    struct str word = {0};
    const char *value;
    bool colon, set;
    int r = take_name(x, name, sizeof name);

    if (r < 0) {
        return r;
    }
    value = x->fn(x->arg, name);
    if (*x->p == '}') {
        x->p++;
        str_add(ret, value != NULL ? value : "");
        return 0;
    }
    colon = *x->p == ':';
    x->p += colon ? 1 : 0;
    op = *x->p;
    if (op == '\0' || strchr("-+?", op) == NULL || x->depth >= DEPTH_MAX) {
        return err_set(x->e, -EINVAL,
                       "'${%.40s' goes on with what is not supported (only -, + and ?)",
                       name);
    }
    x->p++;
    x->depth++;
    r = expand_until(x, '}', &word);
    x->depth--;
    set = value != NULL && (!colon || value[0] != '\0');
    if (r == 0 && op == '?' && !set) {
        r = err_set(x->e, -EINVAL, "'%.40s' has no value: %.80s", name,
                    word.len > 0 ? word.data : "it is needed");
    } else if (r == 0 && op != '+') {
        str_add(ret, set ? value : str_text(&word));
    } else if (r == 0 && set) {
        str_add(ret, str_text(&word));
    }
    str_fini(&word);
    return r;
}

static int expand_dollar(struct expand *x, struct str *ret)
{
    char name[256];
    const char *value;
    int r;

    if (*x->p == '{') {
        x->p++;
        return expand_braces(x, ret);
    }
    if (!is_name_char(*x->p, true)) {
        str_add(ret, "$"); /* a dollar by itself */
        return 0;
    }
    r = take_name(x, name, sizeof name);
    if (r < 0) {
        return r;
    }
    value = x->fn(x->arg, name);
    str_add(ret, value != NULL ? value : "");
    return 0;
}

/* An escape character: what stands behind it is plain.  Within double quotes it
 * is one only before what means something there. */
static void take_escape(struct expand *x, bool quoted, struct str *ret)
{
    char c = *x->p;
    bool always = c == '$' || c == x->escape;
    bool special = x->keep_quotes ? always : !quoted || always || c == '"';

    if (c == '\0' || !special) {
        str_add_bytes(ret, &x->escape, 1);
        return;
    }
    str_add_bytes(ret, &c, 1);
    x->p++;
}

static int expand_until(struct expand *x, char end, struct str *ret)
{
    char quote = '\0';
    int r = 0;

    while (r == 0 && *x->p != '\0' && (quote != '\0' || *x->p != end)) {
        char c = *x->p++;

        if (ret->len > BYTES_MAX) {
            return err_set(x->e, -EFBIG, "the text grows beyond 4 MiB");
        }
        if (quote == '\'') {
            if (c == '\'') {
                quote = '\0';
            } else {
                str_add_bytes(ret, &c, 1);
            }
        } else if (c == x->escape) {
            take_escape(x, quote == '"', ret);
        } else if (c == '$') {
            r = expand_dollar(x, ret);
        } else if (!x->keep_quotes && quote == '\0' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (!x->keep_quotes && quote == '"' && c == '"') {
            quote = '\0';
        } else {
            str_add_bytes(ret, &c, 1);
        }
    }
    if (r < 0) {
        return r;
    }
    if (quote != '\0' || *x->p != end) {
        return err_set(x->e, -EINVAL, "%s is not closed",
                       quote != '\0' ? "a quote" : "a brace of '${'");
    }
    x->p += end != '\0' ? 1 : 0;
    return str_failed(ret) ? err_set(x->e, -ENOMEM, "out of memory") : 0;
}

int words_expand(const char *word, char escape, words_lookup_fn *fn, void *arg,
                 struct str *ret, struct err *e)
{
    struct expand x = {.p = word, .escape = escape, .fn = fn, .arg = arg, .e = e};

    return expand_until(&x, '\0', ret);
}

int words_substitute(const char *text, char escape, words_lookup_fn *fn, void *arg,
                     struct str *ret, struct err *e)
{
    struct expand x = {
        .p = text, .escape = escape, .keep_quotes = true, .fn = fn, .arg = arg, .e = e};

    return expand_until(&x, '\0', ret);
}

static int add_pair(const char *word, char escape, words_lookup_fn *fn, void *arg,
                    struct strv *ret, struct err *e)
{
    struct str text = {0};
    int r = words_expand(word, escape, fn, arg, &text, e);
    char *eq;

    if (r == 0) {
        eq = strchr(str_text(&text), '=');
        if (eq == NULL || eq == text.data) {
            r = err_set(e, -EINVAL, "'%.60s' is not NAME=VALUE", word);
        } else {
            strv_addf(ret, "%.*s", (int)(eq - text.data), text.data);
            strv_add(ret, eq + 1);
        }
    }
    str_fini(&text);
    return r;
}

int words_pairs(const char *text, char escape, words_lookup_fn *fn, void *arg,
                struct strv *ret, struct err *e)
{
    struct strv words = {0};
    int r = words_split(text, escape, &words, e);

    if (r == 0 && words.n > 0 && strchr(words.items[0], '=') == NULL) {
        const char *rest = text + strcspn(text, " \t");
        struct str value = {0};

        rest += strspn(rest, " \t");
        if (*rest == '\0') {
            r = err_set(e, -EINVAL, "'%.60s' has no value", words.items[0]);
        } else {
            r = words_expand(rest, escape, fn, arg, &value, e);
            strv_add(ret, words.items[0]);
            strv_add(ret, str_text(&value));
        }
        str_fini(&value);
    } else {
        for (size_t i = 0; i < words.n && r == 0; i++) {
            r = add_pair(words.items[i], escape, fn, arg, ret, e);
        }
    }
    strv_fini(&words);
    return r < 0 ? r : strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : 0;
}
