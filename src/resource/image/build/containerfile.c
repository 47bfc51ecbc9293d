/* containerfile.c - lines become instructions. */
#include "resource/image/build/containerfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/word.h"

#define ITEMS_MAX 10000
#define DOCS_MAX  32
#define BLANKS    " \t\r\v\f"

static const char *const names[CONTAINERFILE_VERB_COUNT] = {
    [CONTAINERFILE_ADD] = "ADD",
    [CONTAINERFILE_ARG] = "ARG",
    [CONTAINERFILE_CMD] = "CMD",
    [CONTAINERFILE_COPY] = "COPY",
    [CONTAINERFILE_ENTRYPOINT] = "ENTRYPOINT",
    [CONTAINERFILE_ENV] = "ENV",
    [CONTAINERFILE_EXPOSE] = "EXPOSE",
    [CONTAINERFILE_FROM] = "FROM",
    [CONTAINERFILE_HEALTHCHECK] = "HEALTHCHECK",
    [CONTAINERFILE_LABEL] = "LABEL",
    [CONTAINERFILE_MAINTAINER] = "MAINTAINER",
    [CONTAINERFILE_ONBUILD] = "ONBUILD",
    [CONTAINERFILE_RUN] = "RUN",
    [CONTAINERFILE_SHELL] = "SHELL",
    [CONTAINERFILE_STOPSIGNAL] = "STOPSIGNAL",
    [CONTAINERFILE_USER] = "USER",
    [CONTAINERFILE_VOLUME] = "VOLUME",
    [CONTAINERFILE_WORKDIR] = "WORKDIR",
};

const char *containerfile_verb_name(enum containerfile_verb verb)
{
    return names[verb];
}

/* The text and how far it was read. */
struct reader {
    struct containerfile *f;
    const char *p, *end;
    unsigned line;   /* of `p`, from 1 */
    bool directives; /* only comments so far: "# escape=" counts */
    struct err *e;
};

static int refuse(const struct reader *t, unsigned line, const char *what,
                  const char *more)
{
    return err_set(t->e, -EINVAL, "%s:%u: %s%s", t->f->name, line, what, more);
}

/* The next physical line without its end; false at the end of the text. */
static bool next_line(struct reader *t, const char **ret, size_t *ret_len)
{
    const char *end;

    if (t->p >= t->end) {
        return false;
    }
    end = memchr(t->p, '\n', (size_t)(t->end - t->p));
    *ret = t->p;
    *ret_len = (size_t)((end != NULL ? end : t->end) - t->p);
    t->p = end != NULL ? end + 1 : t->end;
    t->line++;
    if (*ret_len > 0 && (*ret)[*ret_len - 1] == '\r') {
        (*ret_len)--;
    }
    return true;
}

static size_t blanks(const char *p, size_t len)
{
    size_t n = 0;

    while (n < len && strchr(BLANKS, p[n]) != NULL && p[n] != '\0') {
        n++;
    }
    return n;
}

/* "# escape=`" before everything else. */
static int take_directive(struct reader *t, const char *p, size_t len)
{
    size_t n = 1 + blanks(p + 1, len - 1);
    const char *eq = memchr(p, '=', len);
    const char *value;

    if (eq == NULL || len - n < 6 || strncasecmp(p + n, "escape", 6) != 0 ||
        n + 6 + blanks(p + n + 6, len - n - 6) != (size_t)(eq - p)) {
        t->directives = eq != NULL; /* "# syntax=" and others do not end them */
        return 0;
    }
    value = eq + 1 + blanks(eq + 1, len - (size_t)(eq + 1 - p));
    if (value >= p + len || (*value != '\\' && *value != '`')) {
        return refuse(t, t->line - 1, "the escape character is \\ or `", "");
    }
    t->f->escape = *value;
    return 0;
}

/* Whether the line goes on: ends with the escape character and blanks.  *len
 * becomes what stands before. */
static bool continues(const struct reader *t, const char *p, size_t *len)
{
    size_t n = *len;

    while (n > 0 && strchr(BLANKS, p[n - 1]) != NULL) {
        n--;
    }
    if (n == 0 || p[n - 1] != t->f->escape) {
        return false;
    }
    *len = n - 1;
    return true;
}

/* A whole logical line into `ret`; *ret_line is where it begins.  0: nothing more. */
static int next_logical(struct reader *t, struct str *ret, unsigned *ret_line)
{
    const char *p;
    size_t len;
    bool more = false;

    while (next_line(t, &p, &len)) {
        size_t n = blanks(p, len);

        if (memchr(p, '\0', len) != NULL) {
            return refuse(t, t->line - 1, "a NUL byte", "");
        }
        if (n == len || p[n] == '#') {
            int r =
                n < len && t->directives && !more ? take_directive(t, p + n, len - n) : 0;

            t->directives &= n < len;
            if (r < 0) {
                return r;
            }
            continue; /* also between joined lines */
        }
        t->directives = false;
        if (!more) {
            *ret_line = t->line - 1;
            p += n;
            len -= n;
        }
        more = continues(t, p, &len);
        str_add_bytes(ret, p, len);
        if (!more) {
            return 1;
        }
    }
    return ret->len > 0 ? 1 : 0;
}

/* ---- here-documents ---- */

static int add_doc(struct reader *t, struct containerfile_item *x, const char *name,
                   size_t len, bool plain)
{
    struct containerfile_heredoc *d;

    if (x->n_docs == DOCS_MAX) {
        return refuse(t, x->line, "too many here-documents", "");
    }
    if (x->docs == NULL) {
        x->docs = fault_calloc(DOCS_MAX, sizeof *x->docs);
    }
    if (x->docs == NULL) {
        return err_set(t->e, -ENOMEM, "out of memory");
    }
    d = &x->docs[x->n_docs];
    d->plain = plain;
    d->name = strndup(name, len);
    if (d->name == NULL) {
        return err_set(t->e, -ENOMEM, "out of memory");
    }
    x->n_docs++;
    return 0;
}

/* The lines up to the one that is the name; with `strip`, tabs in front go. */
static int read_doc(struct reader *t, struct containerfile_item *x, bool strip)
{
    struct containerfile_heredoc *d = &x->docs[x->n_docs - 1];
    size_t want = strlen(d->name), len;
    struct str text = {0};
    const char *p;

    while (next_line(t, &p, &len)) {
        while (strip && len > 0 && *p == '\t') {
            p++;
            len--;
        }
        if (len == want && memcmp(p, d->name, want) == 0) {
            str_add(&text, "");
            d->text = text.len > 0 ? str_take(&text) : strdup("");
            str_fini(&text);
            return d->text != NULL ? 0 : err_set(t->e, -ENOMEM, "out of memory");
        }
        str_add_bytes(&text, p, len);
        str_add(&text, "\n");
    }
    str_fini(&text);
    return refuse(t, x->line, "a here-document does not end: no line is ", d->name);
}

/* "<<NAME", "<<-NAME", "<<'NAME'" at `p`; its length, or 0. */
static size_t match_doc(const char *p, const char **name, size_t *len, bool *plain,
                        bool *strip)
{
    const char *s = p + 2;
    char quote;

    *strip = *s == '-';
    s += *strip ? 1 : 0;
    quote = *s == '"' || *s == '\'' ? *s : '\0';
    *plain = quote != '\0';
    s += *plain ? 1 : 0;
    *name = s;
    while (isalnum((unsigned char)*s) || *s == '_' || *s == '.' || *s == '-') {
        s++;
    }
    *len = (size_t)(s - *name);
    if (*len == 0 || isdigit((unsigned char)**name) || (*plain && *s != quote)) {
        return 0;
    }
    return (size_t)(s - p) + (*plain ? 1 : 0);
}

static int take_docs(struct reader *t, struct containerfile_item *x)
{
    char quote = '\0';

    for (const char *p = x->rest; *p != '\0'; p++) {
        const char *name;
        size_t len, n;
        bool plain, strip;
        int r;

        if (quote != '\0' || *p == '"' || *p == '\'') {
            quote = quote == '\0' ? *p : *p == quote ? '\0' : quote;
            continue;
        }
        if (p[0] != '<' || p[1] != '<' || (p > x->rest && p[-1] == '<') || p[2] == '<') {
            continue;
        }
        n = match_doc(p, &name, &len, &plain, &strip);
        if (n == 0) {
            continue;
        }
        r = add_doc(t, x, name, len, plain);
        r = r < 0 ? r : read_doc(t, x, strip);
        if (r < 0) {
            return r;
        }
        p += n - 1;
    }
    return 0;
}

/* ---- instructions ---- */

static int find_verb(struct reader *t, const char *word, size_t len, unsigned line,
                     enum containerfile_verb *ret)
{
    const char *near;
    char text[32];

    for (size_t i = 0; i < CONTAINERFILE_VERB_COUNT; i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], word, len) == 0) {
            *ret = (enum containerfile_verb)i;
            return 0;
        }
    }
    (void)str_print(text, sizeof text, "%.*s", (int)(len < 24 ? len : 24), word);
    for (char *p = text; *p != '\0'; p++) {
        *p = (char)toupper((unsigned char)*p);
    }
    near = word_nearest(text, names, CONTAINERFILE_VERB_COUNT);
    return err_set(t->e, -EINVAL, "%s:%u: '%s' is no instruction%s%s%s", t->f->name, line,
                   text, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'?" : "");
}

/* "--name=value" words in front; *p moves behind them. */
static void take_flags(struct containerfile_item *x, const char **p)
{
    while (strncmp(*p, "--", 2) == 0 && isalpha((unsigned char)(*p)[2])) {
        size_t n = strcspn(*p, BLANKS);

        strv_addf(&x->flags, "%.*s", (int)(n - 2), *p + 2);
        *p += n;
        *p += strspn(*p, BLANKS);
    }
}

static bool takes_flags(enum containerfile_verb v)
{
    return v == CONTAINERFILE_ADD || v == CONTAINERFILE_COPY || v == CONTAINERFILE_FROM ||
           v == CONTAINERFILE_RUN || v == CONTAINERFILE_HEALTHCHECK;
}

static bool takes_json(enum containerfile_verb v)
{
    return v == CONTAINERFILE_ADD || v == CONTAINERFILE_COPY || v == CONTAINERFILE_RUN ||
           v == CONTAINERFILE_CMD || v == CONTAINERFILE_ENTRYPOINT ||
           v == CONTAINERFILE_SHELL || v == CONTAINERFILE_VOLUME;
}

/* An array of strings is the exec form; anything else is text for a shell. */
static void try_json(struct containerfile_item *x)
{
    SCOPED(scope_json) json_t *j = NULL;

    if (x->rest[0] != '[' || json_parse(x->rest, strlen(x->rest), "", &j, NULL) < 0 ||
        !json_is_array(j)) {
        return;
    }
    for (size_t i = 0; i < json_array_size(j); i++) {
        if (!json_is_string(json_array_get(j, i))) {
            return;
        }
    }
    for (size_t i = 0; i < json_array_size(j); i++) {
        strv_add(&x->list, json_string_value(json_array_get(j, i)));
    }
    x->json = true;
}

static struct containerfile_item *new_item(struct containerfile *f)
{
    if (f->n == f->cap) {
        size_t cap = f->cap > 0 ? f->cap * 2 : 16;
        void *more = fault_realloc(f->items, cap * sizeof *f->items);

        if (more == NULL) {
            return NULL;
        }
        f->items = more;
        f->cap = cap;
    }
    f->items[f->n] = (struct containerfile_item){0};
    return &f->items[f->n++];
}

static int take_item(struct reader *t, const char *text, unsigned line)
{
    size_t n = strcspn(text, BLANKS);
    const char *p = text + n + strspn(text + n, BLANKS);
    struct containerfile_item *x;
    enum containerfile_verb verb = 0;
    size_t len;
    int r = find_verb(t, text, n, line, &verb);

    if (r < 0) {
        return r;
    }
    x = t->f->n < ITEMS_MAX ? new_item(t->f) : NULL;
    if (x == NULL) {
        return t->f->n < ITEMS_MAX ? err_set(t->e, -ENOMEM, "out of memory")
                                   : refuse(t, line, "too many instructions", "");
    }
    x->verb = verb;
    x->line = line;
    if (takes_flags(verb)) {
        take_flags(x, &p);
    }
    x->text = strdup(text);
    x->rest = strdup(p);
    if (x->text == NULL || x->rest == NULL || strv_failed(&x->flags)) {
        return err_set(t->e, -ENOMEM, "out of memory");
    }
    for (len = strlen(x->rest); len > 0 && strchr(BLANKS, x->rest[len - 1]) != NULL;) {
        x->rest[--len] = '\0';
    }
    if (len == 0) {
        return refuse(t, line, names[verb], " needs something behind it");
    }
    if (takes_json(verb)) {
        try_json(x);
    }
    if (verb == CONTAINERFILE_RUN || verb == CONTAINERFILE_COPY ||
        verb == CONTAINERFILE_ADD) {
        r = x->json ? 0 : take_docs(t, x);
    }
    return r < 0                   ? r
           : strv_failed(&x->list) ? err_set(t->e, -ENOMEM, "out of memory")
                                   : 0;
}

static int take_all(struct reader *t)
{
    for (;;) {
        struct str text = {0};
        unsigned line = 0;
        int r = next_logical(t, &text, &line);

        if (r == 1 && str_failed(&text)) {
            r = err_set(t->e, -ENOMEM, "out of memory");
        }
        if (r == 1) {
            r = take_item(t, str_text(&text), line);
            r = r < 0 ? r : 1;
        }
        str_fini(&text);
        if (r <= 0) {
            return r;
        }
    }
}

int containerfile_parse(const char *name, const char *text, size_t len,
                        struct containerfile *ret, struct err *e)
{
    struct containerfile f = {.name = fault_strdup(name), .escape = '\\'};
    struct reader t = {
        .f = &f, .p = text, .end = text + len, .line = 1, .directives = true, .e = e};
    int r;

    if (f.name == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        t.p += 3; /* a byte order mark */
    }
    r = take_all(&t);
    if (r == 0 && f.n == 0) {
        r = err_set(e, -EINVAL, "%s: it has no instruction", name);
    }
    if (r < 0) {
        containerfile_fini(&f);
        return r;
    }
    *ret = f;
    return 0;
}

void containerfile_fini(struct containerfile *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct containerfile_item *x = &f->items[i];

        for (size_t k = 0; k < x->n_docs; k++) {
            free(x->docs[k].name);
            free(x->docs[k].text);
        }
        free(x->docs);
        free(x->text);
        free(x->rest);
        strv_fini(&x->flags);
        strv_fini(&x->list);
    }
    free(f->items);
    free(f->name);
    *f = (struct containerfile){0};
}
