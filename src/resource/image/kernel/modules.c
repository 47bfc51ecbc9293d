/* modules.c - lists of modules, and the order in which some are loaded.
 *
 * A kernel's package brings modules.order and modules.builtin; depmod(8) adds modules.dep,
 * which also names what came from elsewhere.  Both begin each line with a path, and no
 * more than that is taken from them. */
#include "resource/image/kernel/modules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "host/file.h"
#include "resource/image/kernel/unpack.h"

#define NAME_BYTES        128
#define LIST_BYTES_MOST   (8u << 20)
#define MODULE_BYTES_MOST (64u << 20)
#define DEPTH_MOST        32

struct module {
    char *name; /* owned */
    char *path; /* owned; below `dir`; NULL: built in */
};

struct modules {
    struct tree *tree;  /* borrowed */
    char *dir;          /* owned */
    struct module *all; /* owned; sorted by name */
    size_t n, cap;
};

/* "a/b-c.ko.xz" is the module "b_c"; -EINVAL: no module. */
static int name_of(const char *path, char ret[NAME_BYTES])
{
    const char *base = strrchr(path, '/');
    const char *end;
    size_t n;

    base = base != NULL ? base + 1 : path;
    end = strstr(base, ".ko");
    n = end != NULL ? (size_t)(end - base) : 0;
    if (n == 0 || n >= NAME_BYTES) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        ret[i] = base[i] == '-' ? '_' : base[i];
    }
    ret[n] = '\0';
    return 0;
}

static int add(struct modules *m, const char *path, bool builtin)
{
    struct module x = {0};
    char name[NAME_BYTES];

    if (name_of(path, name) < 0) {
        return 0;
    }
    if (m->n == m->cap) {
        size_t cap = m->cap == 0 ? 256 : 2 * m->cap;
        struct module *more = fault_realloc(m->all, cap * sizeof *more);

        if (more == NULL) {
            return -ENOMEM;
        }
        m->all = more;
        m->cap = cap;
    }
    x.name = fault_strdup(name);
    x.path = builtin ? NULL : fault_strdup(path);
    m->all[m->n++] = x;
    return x.name == NULL || (!builtin && x.path == NULL) ? -ENOMEM : 0;
}

static int read_file(const struct modules *m, const char *path, size_t most, char **ret,
                     size_t *ret_len)
{
    SCOPED(str_fini) struct str whole = {0};
    SCOPED(scope_close) int fd = -1;
    SCOPED(scope_free) char *text = NULL;
    struct tree_stat st;
    ssize_t n;
    int r;

    str_addf(&whole, "%s%s%s", m->dir, m->dir[0] != '\0' ? "/" : "", path);
    if (str_failed(&whole)) {
        return -ENOMEM;
    }
    r = tree_stat(m->tree, whole.data, &st);
    if (r == 0 && st.size > most) {
        return -EFBIG;
    }
    fd = r < 0 ? r : tree_open(m->tree, whole.data);
    if (fd < 0) {
        return fd;
    }
    text = fault_malloc(st.size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    n = file_read_all(fd, text, st.size);
    if (n < 0) {
        return (int)n;
    }
    text[n] = '\0';
    *ret = text;
    text = NULL;
    *ret_len = (size_t)n;
    return 0;
}

/* The path at the beginning of each line. */
static int read_list(struct modules *m, const char *file, bool builtin)
{
    SCOPED(scope_free) char *text = NULL;
    char *rest, *line;
    size_t len = 0;
    int r = read_file(m, file, LIST_BYTES_MOST, &text, &len);

    rest = text;
    while (r == 0 && (line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, ": \t")] = '\0';
        r = add(m, line, builtin);
    }
    return r;
}

static int compare(const void *a, const void *b)
{
    const struct module *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    return r != 0 ? r : (y->path != NULL) - (x->path != NULL); /* files first */
}

int modules_open(struct tree *tree, const char *dir, struct modules **ret, struct err *e)
{
    struct modules *m = fault_calloc(1, sizeof *m);
    int r = m == NULL ? -ENOMEM : 0;

    if (r == 0) {
        m->tree = tree;
        m->dir = fault_strdup(dir);
        r = m->dir == NULL ? -ENOMEM : read_list(m, "modules.dep", false);
    }
    if (r == -ENOENT) {
        r = read_list(m, "modules.order", false);
    }
    if (r == 0) {
        r = read_list(m, "modules.builtin", true);
        r = r == -ENOENT ? 0 : r;
    }
    if (r < 0) {
        modules_close(m);
        return err_sys(e, r, "cannot read the list of modules in '%s'", dir);
    }
    qsort(m->all, m->n, sizeof *m->all, compare);
    *ret = m;
    return 0;
}

void modules_close(struct modules *m)
{
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        free(m->all[i].name);
        free(m->all[i].path);
    }
    free(m->all);
    free(m->dir);
    free(m);
}

static const struct module *find(const struct modules *m, const char *word)
{
    char name[NAME_BYTES];
    size_t low = 0, high = m->n;
    size_t n = strlen(word);

    if (n >= sizeof name) {
        return NULL;
    }
    for (size_t i = 0; i <= n; i++) {
        name[i] = word[i] == '-' ? '_' : word[i];
    }
    while (low < high) { /* the first that is not less */
        size_t mid = low + (high - low) / 2;

        if (strcmp(m->all[mid].name, name) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < m->n && strcmp(m->all[low].name, name) == 0 ? &m->all[low] : NULL;
}

bool modules_is_builtin(const struct modules *m, const char *name)
{
    const struct module *x = find(m, name);

    return x != NULL && x->path == NULL;
}

bool modules_has(const struct modules *m, const char *name)
{
    const struct module *x = find(m, name);

    return x != NULL && x->path != NULL;
}

/* Into a buffer of its own, which is as long as it must be. */
static int unpack_module(const uint8_t *packed, size_t bytes, uint8_t **ret,
                         size_t *ret_bytes, struct err *e)
{
    uint8_t *plain = NULL;
    int r = unpack_confined(packed, bytes, MODULE_BYTES_MOST, &plain, ret_bytes, e);

    if (r < 0) {
        return r;
    }
    *ret = fault_malloc(*ret_bytes + 1);
    if (*ret != NULL) {
        memcpy(*ret, plain, *ret_bytes);
    }
    unpack_unmap(plain, MODULE_BYTES_MOST);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

int modules_read(const struct modules *m, const char *name, uint8_t **ret,
                 size_t *ret_bytes, struct err *e)
{
    const struct module *x = find(m, name);
    SCOPED(scope_free) char *file = NULL;
    size_t len = 0;
    int r = x == NULL || x->path == NULL
                ? -ENOENT
                : read_file(m, x->path, MODULE_BYTES_MOST, &file, &len);

    if (r < 0) {
        return err_sys(e, r, "cannot read the module '%s'", name);
    }
    if (unpack_recognize((const uint8_t *)file, len) == NULL) {
        *ret = (uint8_t *)file;
        *ret_bytes = len;
        file = NULL;
        return 0;
    }
    r = unpack_module((const uint8_t *)file, len, ret, ret_bytes, e);
    return r < 0 ? err_wrap(e, "cannot unpack the module '%s'", name) : 0;
}

static int visit(const struct modules *m, const char *name, struct strv *order,
                 unsigned depth, struct err *e);

/* "pre: a b post: c": a and b if `early`, else c.  Who is not there is not needed. */
static int visit_soft(const struct modules *m, const struct strv *words, bool early,
                      struct strv *order, unsigned depth)
{
    bool now = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < words->n; i++) {
        const char *word = words->items[i];

        if (str_ends(word, ":")) {
            now = (strcmp(word, "pre:") == 0) == early;
        } else if (now && modules_has(m, word)) {
            r = visit(m, word, order, depth, NULL);
        }
    }
    return r;
}

static int visit_needs(const struct modules *m, const struct module *x,
                       struct strv *order, unsigned depth, struct err *e)
{
    SCOPED(strv_fini) struct strv needs = {0};
    SCOPED(strv_fini) struct strv soft = {0};
    SCOPED(scope_free) uint8_t *file = NULL;
    size_t bytes = 0;
    int r = modules_read(m, x->name, &file, &bytes, e);

    if (r < 0) {
        return r;
    }
    r = modinfo_words(file, bytes, "depends", &needs);
    r = r < 0 ? r : modinfo_words(file, bytes, "softdep", &soft);
    if (r < 0) {
        return err_set(e, r, "the module '%s' is damaged", x->name);
    }
    r = visit_soft(m, &soft, true, order, depth);
    for (size_t i = 0; r == 0 && i < needs.n; i++) {
        r = visit(m, needs.items[i], order, depth, e);
    }
    if (r == 0 && !strv_has(order, x->name)) {
        strv_add(order, x->name);
        r = strv_failed(order) ? err_set(e, -ENOMEM, "out of memory") : 0;
    }
    return r < 0 ? r : visit_soft(m, &soft, false, order, depth);
}

static int visit(const struct modules *m, const char *name, struct strv *order,
                 unsigned depth, struct err *e)
{
    const struct module *x = find(m, name);

    if (x == NULL) {
        return err_set(e, -ENOENT, "there is no module '%s'", name);
    }
    if (x->path == NULL || strv_has(order, x->name)) {
        return 0;
    }
    if (depth == DEPTH_MOST) {
        return err_set(e, -ELOOP, "the module '%s' needs itself", name);
    }
    return visit_needs(m, x, order, depth + 1, e);
}

int modules_close_over(const struct modules *m, const char *name, struct strv *order,
                       struct err *e)
{
    return visit(m, name, order, 0, e);
}
