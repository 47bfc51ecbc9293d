/* copy.c - COPY and ADD.
 *
 * Nothing is written into a file system: the files become entries of a layer,
 * with the places that symbolic links of the image lead to worked out before
 * ("COPY x /lib/" where /lib is a link to usr/lib).  So no race and no trick of a
 * hostile image reaches outside.  A first pass sums up the content, which is the
 * key of the cache; a second one writes the layer. */
#include "resource/image/build/copy.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/build/made.h"
#include "resource/image/store.h"

#define DEPTH_MAX 200

static int put_tree(struct copy *c, const struct view_entry *x, const char *to,
                    unsigned depth, struct err *e);

/* Whether the context's rules leave this one out. */
static bool is_ignored(const struct copy *c, const char *path)
{
    return c->ignore != NULL && path[0] != '\0' && ignore_has(c->ignore, path);
}

static int put_children(struct copy *c, const struct view_entry *dir, const char *to,
                        unsigned depth, struct err *e)
{
    SCOPED(strv_fini) struct strv names = {0};
    int r = view_list(c->from, dir, &names);

    if (r < 0) {
        return err_sys(e, r, "cannot list '%s'", dir->path);
    }
    for (size_t i = 0; i < names.n && r == 0; i++) {
        SCOPED(scope_free) struct view_entry *x = malloc(sizeof *x);
        char path[PATH_MAX], target[PATH_MAX];

        if (x == NULL ||
            str_print(path, sizeof path, "%s%s%s", dir->path,
                      dir->path[0] != '\0' ? "/" : "", names.items[i]) < 0 ||
            str_print(target, sizeof target, "%s%s%s", to, to[0] != '\0' ? "/" : "",
                      names.items[i]) < 0) {
            return err_set(e, -ENAMETOOLONG, "a path below '%s' is too long", dir->path);
        }
        r = view_find(c->from, path, false, x);
        if (r < 0) {
            return err_sys(e, r, "cannot look at '%s'", path);
        }
        r = x->exists ? put_tree(c, x, target, depth + 1, e) : 0;
    }
    return r;
}

static int put_file(struct copy *c, const struct view_entry *x, const char *to,
                    struct err *e)
{
    char link[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    struct pack_entry entry = {.path = to,
                               .type = '-',
                               .mode = x->st.st_mode & 07777,
                               .uid = x->st.st_uid,
                               .gid = x->st.st_gid,
                               .mtime = x->st.st_mtime,
                               .fd = -1,
                               .size = (uint64_t)x->st.st_size};
    int r = copy_put_parents(c, to, e);

    if (r < 0) {
        return r;
    }
    if (S_ISLNK(x->st.st_mode)) {
        entry.type = 'l';
        entry.link = link;
        entry.size = 0;
        r = view_read_link(c->from, x, link);
    } else if (S_ISREG(x->st.st_mode)) {
        fd = view_open_file(c->from, x);
        entry.fd = fd;
        r = fd < 0 ? fd : 0;
    } else if (S_ISFIFO(x->st.st_mode)) {
        entry.type = 'p';
        entry.size = 0;
    } else {
        return err_set(e, -EINVAL, "'%s' is a device or a socket", x->path);
    }
    return r < 0 ? err_sys(e, r, "cannot read '%s'", x->path) : copy_put(c, &entry, e);
}

static int put_tree(struct copy *c, const struct view_entry *x, const char *to,
                    unsigned depth, struct err *e)
{
    bool ignored = is_ignored(c, x->path);
    int r = 0;

    if (depth > DEPTH_MAX) {
        return err_set(e, -ELOOP, "'%s' is too deep", x->path);
    }
    if (!S_ISDIR(x->st.st_mode)) {
        return ignored ? 0 : put_file(c, x, to, e);
    }
    if (ignored && !c->ignore->has_exceptions) {
        return 0;
    }
    if (!ignored) {
        r = copy_put_dir(c, to, &x->st, e);
    }
    return r < 0 ? r : put_children(c, x, to, depth, e);
}

/* ---- sources ---- */

/* Paths in the view that the pattern means, sorted. */
static int match_in(const struct copy *c, const char *dir, const char *pattern,
                    struct strv *ret, struct err *e)
{
    SCOPED(strv_fini) struct strv names = {0};
    SCOPED(scope_free) struct view_entry *x = malloc(sizeof *x);
    size_t n = strcspn(pattern, "/");
    const char *rest = pattern[n] == '/' ? pattern + n + 1 : pattern + n;
    char part[NAME_MAX + 1], path[PATH_MAX];
    int r = x == NULL || n > NAME_MAX ? -ENAMETOOLONG : view_find(c->from, dir, true, x);

    if (r < 0 || !x->exists || !S_ISDIR(x->st.st_mode)) {
        return r == -ENOTDIR || r == 0 ? 0 : err_sys(e, r, "cannot look at '%s'", dir);
    }
    memcpy(part, pattern, n);
    part[n] = '\0';
    if (strpbrk(part, "*?[\\") == NULL) {
        strv_add(&names, part);
    } else if (view_list(c->from, x, &names) < 0) {
        return err_set(e, -EIO, "cannot list '%s'", dir);
    }
    for (size_t i = 0; i < names.n && r == 0; i++) {
        if (strcmp(part, names.items[i]) != 0 && fnmatch(part, names.items[i], 0) != 0) {
            continue;
        }
        r = str_print(path, sizeof path, "%s%s%s", x->path, x->path[0] ? "/" : "",
                      names.items[i]);
        if (r == 0 && *rest != '\0') {
            r = match_in(c, path, rest, ret, e);
        } else if (r == 0) {
            strv_add(ret, path);
        }
    }
    return strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : r;
}

/* "/a/../b" becomes "b": a source never leaves its root. */
static void clean(const char *path, struct str *ret)
{
    SCOPED(scope_free) char *copy = strdup(path);
    char *rest = copy, *part;

    while ((part = strsep(&rest, "/")) != NULL) {
        if (strcmp(part, "..") == 0) {
            char *slash = ret->len > 0 ? strrchr(ret->data, '/') : NULL;

            ret->len = slash != NULL ? (size_t)(slash - ret->data) : 0;
            if (ret->data != NULL) {
                ret->data[ret->len] = '\0';
            }
        } else if (part[0] != '\0' && strcmp(part, ".") != 0) {
            str_addf(ret, "%s%s", ret->len > 0 ? "/" : "", part);
        }
    }
}

static int find_sources(const struct copy *c, const char *word, struct strv *ret,
                        struct err *e)
{
    struct str path = {0};
    struct strv found = {0};
    size_t had = ret->n;
    int r = 0;

    clean(word, &path);
    if (path.len == 0) {
        strv_add(ret, "");
    } else {
        r = match_in(c, "", path.data, &found, e);
    }
    for (size_t i = 0; i < found.n && r == 0; i++) {
        struct view_entry x;

        r = view_find(c->from, found.items[i], false, &x);
        if (r == 0 && x.exists &&
            (!is_ignored(c, x.path) ||
             (S_ISDIR(x.st.st_mode) && c->ignore->has_exceptions))) {
            strv_add(ret, found.items[i]);
        }
    }
    if (r == 0 && ret->n == had) {
        r = err_set(e, -ENOENT, "'%.200s' is not in the context%s", word,
                    found.n > 0 ? " (an ignore file leaves it out)" : "");
    }
    strv_fini(&found);
    str_fini(&path);
    return r;
}

/* ---- destinations ---- */

struct target {
    char path[PATH_MAX]; /* relative to the root, without symbolic links */
    bool is_dir;         /* names are kept below it */
};

static int find_target(const struct copy *c, const struct stage *s, const char *word,
                       bool several, struct target *ret, struct err *e)
{
    SCOPED(scope_free) struct view_entry *x = malloc(sizeof *x);
    char path[PATH_MAX];
    int r = x == NULL ? -ENOMEM
                      : str_print(path, sizeof path, "%s/%s",
                                  word[0] == '/' ? "" : stage_workdir(s), word);

    r = r < 0 ? r : view_find(c->to, path, true, x);
    if (r < 0) {
        return err_sys(e, r, "cannot copy to '%.200s'", word);
    }
    ret->is_dir = (x->exists && S_ISDIR(x->st.st_mode)) || str_ends(word, "/") ||
                  strcmp(word, ".") == 0 || x->path[0] == '\0';
    if (several && !ret->is_dir) {
        return err_set(
            e, -EINVAL,
            "several files need a directory to go to: '%.200s' must end with /", word);
    }
    memcpy(ret->path, x->path, sizeof ret->path);
    return 0;
}

/* Where a file of the name `from` goes. */
static int file_target(const struct copy *c, const struct target *t, const char *from,
                       char out[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(from, '/');
    SCOPED(scope_free) struct view_entry *x = malloc(sizeof *x);
    int r = x == NULL   ? -ENOMEM
            : t->is_dir ? str_print(out, PATH_MAX, "%s%s%s", t->path,
                                    t->path[0] != '\0' ? "/" : "",
                                    slash != NULL ? slash + 1 : from)
                        : str_print(out, PATH_MAX, "%s", t->path);

    r = r < 0 ? r : view_find(c->to, out, false, x);
    if (r < 0) {
        return err_sys(e, r, "cannot copy '%.200s'", from);
    }
    return x->exists && S_ISDIR(x->st.st_mode)
               ? err_set(e, -EISDIR, "'/%s' is a directory in the image", out)
               : 0;
}

static int put_source(struct copy *c, const char *from, const struct target *t,
                      struct err *e)
{
    SCOPED(scope_free) struct view_entry *x = malloc(sizeof *x);
    char to[PATH_MAX];
    int r = x == NULL ? -ENOMEM : view_find(c->from, from, true, x);

    if (r < 0 || !x->exists) {
        return err_sys(e, r < 0 ? r : -ENOENT, "cannot read '%.200s'", from);
    }
    if (S_ISDIR(x->st.st_mode)) {
        return put_tree(c, x, t->path, 0, e);
    }
    if (c->tar && S_ISREG(x->st.st_mode)) {
        SCOPED(scope_close) int fd = view_open_file(c->from, x);

        r = fd < 0 ? err_sys(e, fd, "cannot read '%.200s'", from)
                   : copy_put_tar(c, fd, t->path, e);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
    }
    r = file_target(c, t, from, to, e);
    return r < 0 ? r : put_file(c, x, to, e);
}

/* ---- the instruction ---- */

/* What COPY was told, with variables replaced. */
struct order {
    struct strv sources; /* paths in the view; here-documents are apart */
    struct strv words;   /* as written; the last is the destination */
    struct strv texts;   /* of here-documents: name, text, name, text ... */
    struct target target;
};

static void order_fini(struct order *o)
{
    strv_fini(&o->sources);
    strv_fini(&o->words);
    strv_fini(&o->texts);
}

static int read_words(const struct builder *b, struct stage *s,
                      const struct containerfile_item *x, struct order *o, struct err *e)
{
    SCOPED(strv_fini) struct strv raw = {0};
    const struct strv *list = x->json ? &x->list : &raw;
    int r = x->json ? 0 : words_split(x->rest, b->f.escape, &raw, e);

    for (size_t i = 0; i < list->n && r == 0; i++) {
        struct str word = {0};

        if (strncmp(list->items[i], "<<", 2) != 0) {
            r = settings_expand(b, s, list->items[i], &word, e);
            strv_add(&o->words, str_text(&word));
        }
        str_fini(&word);
    }
    for (size_t i = 0; i < x->n_docs && r == 0; i++) {
        struct str text = {0};

        if (x->docs[i].plain) {
            str_add(&text, x->docs[i].text);
        } else {
            r = words_substitute(x->docs[i].text, b->f.escape, stage_lookup, s, &text, e);
        }
        strv_add(&o->texts, x->docs[i].name);
        strv_add(&o->texts, str_text(&text));
        str_fini(&text);
    }
    if (r == 0 && o->words.n + x->n_docs < 2) {
        r = err_set(e, -EINVAL, "it needs a source and a destination");
    }
    return r < 0 ? r
           : strv_failed(&o->words) || strv_failed(&o->texts)
               ? err_set(e, -ENOMEM, "out of memory")
               : 0;
}

static bool is_url(const char *word)
{
    return str_starts(word, "http://") || str_starts(word, "https://") ||
           str_starts(word, "git@") || str_starts(word, "git://") ||
           str_starts(word, "ftp://");
}

static int read_order(const struct copy *c, struct stage *s,
                      const struct containerfile_item *x, struct order *o, struct err *e)
{
    int r = read_words(c->b, s, x, o, e);

    for (size_t i = 0; r == 0 && i + 1 < o->words.n; i++) {
        r = is_url(o->words.items[i])
                ? err_set(
                      e, -EINVAL,
                      "'%.100s' is an address: fetch it before the build, or in a RUN",
                      o->words.items[i])
                : find_sources(c, o->words.items[i], &o->sources, e);
    }
    return r < 0 ? r
                 : find_target(c, s, o->words.items[o->words.n - 1],
                               o->sources.n + o->texts.n / 2 > 1, &o->target, e);
}

static int put_text(struct copy *c, const char *name, const char *text,
                    const struct target *t, struct err *e)
{
    char to[PATH_MAX];
    struct pack_entry x = {.path = to,
                           .type = '-',
                           .mode = 0644,
                           .mtime = time(NULL),
                           .fd = -1,
                           .bytes = text,
                           .size = strlen(text)};
    int r = file_target(c, t, name, to, e);

    r = r < 0 ? r : copy_put_parents(c, to, e);
    return r < 0 ? r : copy_put(c, &x, e);
}

/* All of the order, into the sum or the layer. */
static int put_all(struct copy *c, const struct order *o, struct err *e)
{
    int r = 0;

    json_decref(c->made);
    c->made = json_object();
    for (size_t i = 0; i < o->sources.n && r == 0; i++) {
        r = put_source(c, o->sources.items[i], &o->target, e);
    }
    for (size_t i = 0; i + 1 < o->texts.n && r == 0; i += 2) {
        r = put_text(c, o->texts.items[i], o->texts.items[i + 1], &o->target, e);
    }
    return r;
}

static int make_layer(struct copy *c, const struct order *o, struct image_layer *ret,
                      struct err *e)
{
    int r = pack_layer_begin(c->b->b->pack, PACK_GZIP, &c->layer, e);

    if (r < 0) {
        return r;
    }
    r = put_all(c, o, e);
    if (r < 0) {
        pack_layer_abort(c->layer);
        return r;
    }
    return pack_layer_commit(c->layer, ret, e);
}

static int copy_order(struct copy *c, struct stage *s, const struct containerfile_item *x,
                      bool *ret_cached, struct err *e)
{
    SCOPED(order_fini) struct order o = {0};
    uint8_t sum[SHA256_BYTES];
    struct image_layer layer;
    int r = read_order(c, s, x, &o, e);

    sha256_init(&c->sum);
    r = r < 0 ? r : put_all(c, &o, e);
    if (r < 0) {
        return r;
    }
    sha256_end(&c->sum, sum);
    cache_fold(s, "copy", sum, sizeof sum);
    *ret_cached = cache_get(c->b, s, &layer) == 1;
    if (!*ret_cached) {
        r = make_layer(c, &o, &layer, e);
        r = r < 0 ? r : cache_put(c->b, s, &layer, e);
    }
    return r < 0 ? r : stage_add_layer(s, &layer, e);
}

static int read_options(struct copy *c, const struct stage *s,
                        const struct containerfile_item *x, struct err *e)
{
    const char *owner = stage_flag(x, "chown"), *mode = stage_flag(x, "chmod");
    struct str text = {0};
    char *end;
    int r = 0;

    if (owner != NULL) {
        r = settings_expand(c->b, s, owner, &text, e);
        r = r < 0 ? r : copy_parse_owner(c->to, str_text(&text), &c->uid, &c->gid, e);
        c->own = true;
        str_fini(&text);
    }
    if (r == 0 && mode != NULL) {
        c->mode = (mode_t)strtoul(mode, &end, 8);
        c->set_mode = true;
        r = mode[0] == '\0' || *end != '\0' || c->mode > 07777
                ? err_set(e, -EINVAL, "'%.40s' is no mode in octal digits", mode)
                : 0;
    }
    return r;
}

/* The view that --from means: a stage, or an image. */
static int open_from(struct builder *b, struct stage *s, const char *name,
                     struct view *ret, struct err *e)
{
    SCOPED(strv_fini) struct strv dirs = {0};
    int r = from_list_dirs(b, s, name, &dirs, e);

    return r < 0 ? r : view_open(ret, &dirs, true, e);
}

int copy_apply(struct builder *b, struct stage *s, const struct containerfile_item *x,
               bool *ret_cached, struct err *e)
{
    static const char *const known[] = {"from", "chown", "chmod", "link", NULL};
    const char *from = stage_flag(x, "from");
    struct view own = {0}, to = {0};
    struct copy c = {.b = b,
                     .from = from != NULL ? &own : &b->context,
                     .ignore = from != NULL ? NULL : &b->ignore,
                     .to = &to,
                     .own = from == NULL,
                     .epoch = made_epoch(),
                     .tar = x->verb == CONTAINERFILE_ADD};
    int r = stage_check_flags(x, known, e);

    r = r == 0 && from != NULL ? open_from(b, s, from, &own, e) : r;
    r = r < 0 ? r : stage_open_view(b, s, &to, e);
    r = r < 0 ? r : read_options(&c, s, x, e);
    r = r < 0 ? r : copy_order(&c, s, x, ret_cached, e);
    json_decref(c.made);
    view_close(&own);
    view_close(&to);
    return r;
}

int copy_make_workdir(struct builder *b, struct stage *s, struct err *e)
{
    struct stat st = {.st_mode = S_IFDIR | 0755, .st_mtime = time(NULL)};
    struct view to = {0};
    struct copy c = {.b = b, .to = &to, .epoch = made_epoch(), .made = json_object()};
    SCOPED(scope_free) struct view_entry *at = malloc(sizeof *at);
    struct image_layer layer;
    int r = at == NULL ? -ENOMEM : stage_open_view(b, s, &to, e);

    r = r < 0 ? r : view_find(&to, stage_workdir(s), true, at);
    if (r == 0 && at->exists) {
        r = S_ISDIR(at->st.st_mode)
                ? 0
                : err_set(e, -ENOTDIR, "'%s' is not a directory", stage_workdir(s));
    } else if (r == 0 && cache_get(b, s, &layer) == 1) {
        r = stage_add_layer(s, &layer, e);
        r = r < 0 ? r : 1;
    } else if (r == 0) {
        r = pack_layer_begin(b->b->pack, PACK_GZIP, &c.layer, e);
        if (r == 0 && (r = copy_put_dir(&c, at->path, &st, e)) < 0) {
            pack_layer_abort(c.layer);
        } else if (r == 0) {
            r = pack_layer_commit(c.layer, &layer, e);
        }
        r = r < 0 ? r : cache_put(b, s, &layer, e);
        r = r < 0 ? r : stage_add_layer(s, &layer, e);
        r = r < 0 ? r : 1;
    }
    json_decref(c.made);
    view_close(&to);
    return r < 0 ? err_set(e, r, "cannot make the directory '%s'", stage_workdir(s)) : r;
}
