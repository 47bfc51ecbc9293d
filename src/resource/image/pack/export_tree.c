/* export_tree.c - write each file of a tree as a tar entry, sorted by name. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "resource/image/pack/export.h"
#include "resource/image/pack/scan.h"

#define CAPS_BYTES_MAX 64 /* security.capability: 20 or 24 */

struct walk {
    struct tar_write *tar;
    struct tree *tree;
    json_t *seen; /* owned; id to the first path, of files with many names */
    struct str path;
};

static int add_name(void *arg, const char *name)
{
    strv_add(arg, name);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *find_twin(struct walk *w, const struct tree_stat *st)
{
    char key[24];
    const char *twin;

    if (st->links < 2 || !S_ISREG(st->mode)) {
        return NULL;
    }
    (void)str_print(key, sizeof key, "%llx", (unsigned long long)st->id);
    twin = json_string_value(json_object_get(w->seen, key));
    if (twin == NULL) {
        (void)json_object_set_new(w->seen, key, json_string_nocheck(str_text(&w->path)));
    }
    return twin;
}

static int put_file(struct walk *w, struct tar_entry *x, struct err *e)
{
    SCOPED(scope_close) int fd = tree_open(w->tree, x->path);
    char caps[CAPS_BYTES_MAX];
    struct tar_xattr attr = {"security.capability", caps, 0};
    ssize_t n;
    int r;

    if (fd < 0) {
        return err_sys(e, fd, "cannot open '%s'", x->path);
    }
    n = fgetxattr(fd, attr.name, caps, sizeof caps);
    if (n > 0) {
        attr.len = (size_t)n;
        x->xattrs = &attr;
        x->n_xattrs = 1;
    }
    r = tar_write_entry(w->tar, x, 0, 0, e);
    return r < 0 ? r : tar_write_fd(w->tar, fd, x->size, e);
}

static int put_dir(struct walk *w, struct err *e);

static int put_one(struct walk *w, struct err *e)
{
    char link[TREE_PATH_MAX + 1] = "";
    struct tree_stat st;
    struct tar_entry x = {.path = str_text(&w->path), .link = link};
    const char *twin;
    int r = tree_stat(w->tree, x.path, &st);
    long n = 0;

    if (r < 0) {
        return err_sys(e, r, "cannot read '%s'", x.path);
    }
    x.type = scan_entry_type(st.mode);
    x.mode = st.mode & 07777;
    x.uid = st.uid;
    x.gid = st.gid;
    x.mtime = st.mtime;
    x.size = S_ISREG(st.mode) ? st.size : 0;
    twin = find_twin(w, &st);
    if (twin != NULL) {
        x.type = 'h';
        x.link = twin;
    }
    switch (x.type) {
    case '\0':
        return 0;
    case '-':
        return put_file(w, &x, e);
    case 'l':
        n = tree_read_link(w->tree, x.path, link, sizeof link);
        break;
    default:
        break;
    }
    if (n < 0) {
        return err_sys(e, (int)n, "cannot read '%s'", x.path);
    }
    r = tar_write_entry(w->tar, &x, st.dev_major, st.dev_minor, e);
    return r < 0 || x.type != 'd' ? r : put_dir(w, e);
}

static int put_dir(struct walk *w, struct err *e)
{
    SCOPED(strv_fini) struct strv names = {0};
    size_t len = w->path.len;
    int r = tree_list(w->tree, str_text(&w->path), add_name, &names);

    if (r < 0 || strv_failed(&names)) {
        return err_sys(e, r < 0 ? r : -ENOMEM, "cannot list '%s'", str_text(&w->path));
    }
    if (names.n > 1) {
        qsort(names.items, names.n, sizeof names.items[0], by_name);
    }
    for (size_t i = 0; i < names.n && r == 0; i++) {
        str_addf(&w->path, "%s%s", len > 0 ? "/" : "", names.items[i]);
        r = str_failed(&w->path) ? err_set(e, -ENOMEM, "out of memory") : put_one(w, e);
        if (w->path.data != NULL) {
            w->path.data[len] = '\0';
            w->path.len = len;
        }
    }
    return r;
}

int export_tree(struct tar_write *tar, struct tree *t, struct err *e)
{
    struct walk w = {.tar = tar, .tree = t, .seen = json_object()};
    int r = w.seen == NULL ? err_set(e, -ENOMEM, "out of memory") : put_dir(&w, e);

    json_decref(w.seen);
    str_fini(&w.path);
    return r;
}
