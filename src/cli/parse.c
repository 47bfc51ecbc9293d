/* parse.c - words of a command line become a struct of arguments.
 *
 * Global options may stand anywhere before the guest's own command.  The name of
 * the operation is the first word, or the first two ("image build").  Then options
 * and arguments may be mixed.  "--" ends the options.  An argument marked
 * WIRE_REST (COMMAND of `run` and `exec`) begins at the first word that is no
 * option after the arguments before it, and takes all that follows untouched; so
 * both `run IMAGE --name web -- sh -c x` and `run IMAGE sh -c x` mean what people
 * of either habit expect. */
#include "cli/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/word.h"
#include "cli/convert.h"
#include "cli/elsewhere.h"

#define MAX_NAMES 128 /* options of one operation, or commands, offered as nearest */

/* The words still to be read. */
struct words {
    int n;
    char **at;
    int most_items; /* room of each list: no list is longer than the line */
};

/* Items of the operation, or the global ones. */
struct scope {
    const struct wire_item *items;
    unsigned n;
    char *args;
};

static struct scope scope_of_op(struct parse *p)
{
    const struct wire_op *op = &wire_op_table[p->op];
    return (struct scope){wire_items + op->first_item, op->n_items, p->args};
}

static struct scope scope_global(struct parse *p)
{
    return (struct scope){wire_items, wire_n_globals, (char *)&p->global};
}

static const struct wire_item *find_long(const struct scope *s, const char *name,
                                         size_t len)
{
    for (unsigned i = 0; i < s->n; i++) {
        const char *known = wire_text(s->items[i].name);
        if (strncmp(known, name, len) == 0 && known[len] == 0 && len > 0) {
            return &s->items[i];
        }
    }
    return NULL;
}

static const struct wire_item *find_letter(const struct scope *s, char letter)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->items[i].letter == letter) {
            return &s->items[i];
        }
    }
    return NULL;
}

/* Append to the list of `item`; the first time its array is made. */
static int add_to_list(struct parse *p, const struct scope *s,
                       const struct wire_item *item, const char *text,
                       const struct words *w, struct err *e)
{
    size_t n;
    const char **list;
    const char *value = NULL;
    memcpy(&n, s->args + item->count_at, sizeof n);
    memcpy(&list, s->args + item->at, sizeof list);
    if (list == NULL) {
        list = fault_calloc((size_t)w->most_items + 1, sizeof *list);
        if (list == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
        memcpy(s->args + item->at, &list, sizeof list);
    }
    int r = convert_word(item, text, &value, &p->made, e);
    if (r == 0 && value != NULL) {
        list[n++] = value;
        memcpy(s->args + item->count_at, &n, sizeof n);
    }
    return r;
}

static int store(struct parse *p, const struct scope *s, const struct wire_item *item,
                 const char *text, const struct words *w, struct err *e)
{
    if ((item->flags & WIRE_MANY) != 0) {
        return add_to_list(p, s, item, text, w, e);
    }
    return convert_word(item, text, s->args + item->at, &p->made, e);
}

static const char *op_name(const struct parse *p)
{
    return p->op < WIRE_OP_COUNT ? wire_text(wire_op_table[p->op].name) : "";
}

/* "cannot find option '--memry' of 'strata run': did you mean '--memory'?" */
static int unknown_option(struct parse *p, const char *word, size_t len, struct err *e)
{
    struct scope scopes[] = {scope_global(p), {0}};
    const char *names[MAX_NAMES];
    char name[WIRE_MEMBER_BYTES];
    size_t n = 0;
    if (p->op < WIRE_OP_COUNT) {
        scopes[1] = scope_of_op(p);
    }
    for (size_t k = 0; k < 2; k++) {
        for (unsigned i = 0; i < scopes[k].n && n < MAX_NAMES; i++) {
            const char *known = wire_text(scopes[k].items[i].name);
            names[n++] = *known != 0 ? known : NULL;
        }
    }
    const char *hint = elsewhere_option(p->op, word, len);
    if (hint != NULL) {
        return err_set(e, -EINVAL, "cannot find option '%.*s': %s", (int)len, word, hint);
    }
    const char *near = NULL;
    if (len > 2 && str_print(name, sizeof name, "%.*s", (int)len - 2, word + 2) == 0) {
        near = word_nearest(name, names, n);
    }
    if (near != NULL) {
        return err_set(e, -EINVAL, "cannot find option '%.*s': did you mean '--%s'?",
                       (int)len, word, near);
    }
    return err_set(e, -EINVAL, "cannot find option '%.*s' (see 'strata %s%s--help')",
                   (int)len, word, op_name(p), *op_name(p) != 0 ? " " : "");
}

/* The item and its scope; NULL when there is none. */
static const struct wire_item *find_item(struct parse *p, const char *name, size_t len,
                                         char letter, struct scope *ret_scope)
{
    const struct wire_item *item = NULL;
    if (p->op < WIRE_OP_COUNT) {
        *ret_scope = scope_of_op(p);
        item = letter != 0 ? find_letter(ret_scope, letter)
                           : find_long(ret_scope, name, len);
    }
    if (item == NULL) {
        *ret_scope = scope_global(p);
        item = letter != 0 ? find_letter(ret_scope, letter)
                           : find_long(ret_scope, name, len);
    }
    return item;
}

static int take_value(struct words *w, const char *word, const char **ret_text,
                      const struct wire_item *item, struct err *e)
{
    if (w->n == 0) {
        return err_set(e, -EINVAL, "cannot use '%s': its %s is missing", word,
                       wire_text(item->value));
    }
    *ret_text = *w->at++;
    w->n--;
    return 0;
}

static int read_long(struct parse *p, struct words *w, const char *word, struct err *e)
{
    struct scope s;
    const char *equals = strchr(word, '=');
    size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct wire_item *item = find_item(p, word + 2, len - 2, 0, &s);
    const char *text = equals != NULL ? equals + 1 : "true";
    if (item == NULL) {
        return unknown_option(p, word, len, e);
    }
    if (equals == NULL && item->type != WIRE_BOOL) {
        int r = take_value(w, word, &text, item, e);
        if (r < 0) {
            return r;
        }
    }
    return store(p, &s, item, text, w, e);
}

/* "-it", "-m512M", "-m 512M", "-m=512M". */
static int read_short(struct parse *p, struct words *w, const char *word, struct err *e)
{
    for (const char *c = word + 1; *c != 0; c++) {
        struct scope s;
        char shown[] = {'-', *c, 0};
        const struct wire_item *item = find_item(p, NULL, 0, *c, &s);
        const char *text = "true";
        int r = 0;
        if (item == NULL) {
            return unknown_option(p, shown, 2, e);
        }
        if (item->type != WIRE_BOOL) {
            text = c[1] == '=' ? c + 2 : c + 1;
            if (c[1] == 0) {
                r = take_value(w, shown, &text, item, e);
            }
            return r < 0 ? r : store(p, &s, item, text, w, e);
        }
        r = store(p, &s, item, text, w, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* The n-th argument of the operation that is no option. */
static const struct wire_item *positional(const struct scope *s, unsigned n)
{
    for (unsigned i = 0; i < s->n; i++) {
        if ((s->items[i].flags & WIRE_POSITIONAL) != 0 && n-- == 0) {
            return &s->items[i];
        }
    }
    return NULL;
}

static int read_positional(struct parse *p, struct words *w, const char *word,
                           unsigned *at, struct err *e)
{
    struct scope s = scope_of_op(p);
    const struct wire_item *item = positional(&s, *at);
    if (item == NULL) {
        return err_set(e, -EINVAL,
                       "cannot use '%s': too many arguments (see 'strata %s --help')",
                       word, op_name(p));
    }
    int r = store(p, &s, item, word, w, e);
    if ((item->flags & WIRE_MANY) == 0) {
        (*at)++;
    }
    while (r == 0 && (item->flags & WIRE_REST) != 0 && w->n > 0) {
        r = store(p, &s, item, *w->at++, w, e);
        w->n--;
    }
    return r;
}

/* `given` arguments were finished; a list counts once it holds something. */
static int check_required(struct parse *p, unsigned given, struct err *e)
{
    struct scope s = scope_of_op(p);
    const struct wire_item *item = positional(&s, given);
    size_t n = 0;
    if (item == NULL || (item->flags & WIRE_REQUIRED) == 0) {
        return 0;
    }
    if ((item->flags & WIRE_MANY) != 0) {
        memcpy(&n, s.args + item->count_at, sizeof n);
    }
    if (n > 0) {
        return 0;
    }
    char action[WIRE_ACTION_BYTES];
    wire_action(p->op, action);
    return err_set(e, -EINVAL, "cannot %s: %s is missing (see 'strata %s --help')",
                   action, wire_text(item->value), op_name(p));
}

static int apply_defaults(struct parse *p, const struct scope *s, struct err *e)
{
    for (unsigned i = 0; i < s->n; i++) {
        const char *text = wire_text(s->items[i].fallback);
        if (*text != 0) {
            int r =
                convert_word(&s->items[i], text, s->args + s->items[i].at, &p->made, e);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

static int read_op_words(struct parse *p, struct words *w, struct err *e)
{
    unsigned at = 0;
    bool options = !wire_op_table[p->op].raw;
    while (w->n > 0) {
        const char *word = *w->at++;
        int r;
        w->n--;
        if (options && strcmp(word, "--") == 0) {
            options = false;
            continue;
        }
        if (options && strncmp(word, "--", 2) == 0) {
            r = read_long(p, w, word, e);
        } else if (options && word[0] == '-' && word[1] != 0) {
            r = read_short(p, w, word, e);
        } else {
            r = read_positional(p, w, word, &at, e);
        }
        if (r < 0) {
            return r;
        }
    }
    if (p->global.help || p->global.version) {
        return 0;
    }
    return check_required(p, at, e);
}

enum wire_op_id parse_find_op(const char *first, const char *second)
{
    size_t len = strlen(first);
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        const char *name = wire_text(wire_op_table[i].name);
        if (strncmp(name, first, len) != 0) {
            continue;
        }
        if (name[len] == 0 ||
            (name[len] == ' ' && second != NULL && strcmp(name + len + 1, second) == 0)) {
            return (enum wire_op_id)i;
        }
    }
    return WIRE_OP_COUNT;
}

bool parse_is_noun(const char *word)
{
    size_t len = strlen(word);
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        const char *name = wire_text(wire_op_table[i].name);
        if (strncmp(name, word, len) == 0 && name[len] == ' ') {
            return true;
        }
    }
    return false;
}

/* The operation that other tools call so, or NULL. */
static const char *known_elsewhere(const char *first, const char *second)
{
    for (unsigned i = 0; i < WIRE_OP_COUNT; i++) {
        const struct wire_op *op = &wire_op_table[i];
        const char *name = wire_text(op->name);
        const char *space = strchr(name, ' ');
        const char *word = second != NULL ? second : first;
        size_t len = space != NULL ? (size_t)(space - name) : 0;
        if (second != NULL && (strncmp(name, first, len) != 0 || first[len] != 0)) {
            continue;
        }
        for (unsigned k = 0; k < op->n_also; k++) {
            if (strcmp(wire_word(op->also, k), word) == 0) {
                return name;
            }
        }
    }
    return NULL;
}

void parse_hint_command(const char *first, const char *second, struct str *hint)
{
    const char *known = known_elsewhere(first, second);
    char words[WIRE_OP_COUNT][WORD_NAME_BYTES];
    const char *list[WIRE_OP_COUNT];
    size_t n = 0;
    size_t len = strlen(first);
    for (unsigned i = 0; i < WIRE_OP_COUNT && known == NULL; i++) {
        const char *name = wire_text(wire_op_table[i].name);
        bool fits =
            second != NULL ? strncmp(name, first, len) == 0 && name[len] == ' ' : true;
        const char *word = second != NULL && fits ? name + len + 1 : name;
        if (fits && str_print(words[n], sizeof words[n], "%.*s", (int)strcspn(word, " "),
                              word) == 0) {
            list[n] = words[n];
            n++;
        }
    }
    const char *near =
        known != NULL ? known : word_nearest(second != NULL ? second : first, list, n);
    if (near != NULL) {
        str_addf(hint, "did you mean 'strata %s%s%s'?",
                 second != NULL && known == NULL ? first : "",
                 second != NULL && known == NULL ? " " : "", near);
    }
}

static int unknown_command(const char *first, const char *second, struct err *e)
{
    struct str hint = {0};
    parse_hint_command(first, second, &hint);
    int r = err_set(e, -EINVAL, "cannot find command '%s%s%s'%s%s", first,
                    second != NULL ? " " : "", second != NULL ? second : "",
                    hint.len > 0 ? ": " : " (see 'strata help')", str_text(&hint));
    str_fini(&hint);
    return r;
}

/* Find the operation from the words; global options may stand between. */
static int read_name(struct parse *p, struct words *w, struct err *e)
{
    while (w->n > 0 && p->op == WIRE_OP_COUNT) {
        const char *word = *w->at++;
        int r = 0;
        w->n--;
        if (strncmp(word, "--", 2) == 0) {
            r = read_long(p, w, word, e);
        } else if (word[0] == '-' && word[1] != 0) {
            r = read_short(p, w, word, e);
        } else if (p->noun != NULL || !parse_is_noun(word)) {
            p->op = parse_find_op(p->noun != NULL ? p->noun : word,
                                  p->noun != NULL ? word : NULL);
            if (p->op == WIRE_OP_COUNT) {
                return p->noun != NULL ? unknown_command(p->noun, word, e)
                                       : unknown_command(word, NULL, e);
            }
        } else {
            p->noun = word;
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

int parse_words(int argc, char **argv, struct parse *ret, struct err *e)
{
    struct words w = {argc - 1, argv + 1, argc};
    memset(ret, 0, sizeof *ret);
    ret->op = WIRE_OP_COUNT;
    int r = argc > 0 ? read_name(ret, &w, e) : 0;
    if (r < 0 || ret->op == WIRE_OP_COUNT) {
        return r;
    }
    ret->noun = NULL;
    ret->args = fault_calloc(1, wire_op_table[ret->op].args_bytes);
    if (ret->args == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    struct scope s = scope_of_op(ret);
    r = apply_defaults(ret, &s, e);
    return r < 0 ? r : read_op_words(ret, &w, e);
}

void parse_fini(struct parse *p)
{
    if (p->args != NULL) {
        struct scope s = scope_of_op(p);
        for (unsigned i = 0; i < s.n; i++) {
            const char **list;
            if ((s.items[i].flags & WIRE_MANY) != 0) {
                memcpy(&list, s.args + s.items[i].at, sizeof list);
                free(list);
            }
        }
    }
    free(p->args);
    strv_fini(&p->made);
    memset(p, 0, sizeof *p);
}
