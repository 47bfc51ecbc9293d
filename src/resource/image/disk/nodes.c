/* nodes.c - a tree read once, breadth first; names of one file share a number. */
#include "resource/image/disk/nodes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"

#define NODES_MOST 2000000u

static int add_name(void *arg, const char *name)
{
    strv_add(arg, name);
    return strv_failed(arg) ? -ENOMEM : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add(struct nodes *l, struct tree *t, const char *path, size_t parent)
{
    struct node *x;
    const char *slash = strrchr(path, '/');
    int r;

    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 1024 : 2 * l->cap;
        struct node *more =
            cap > NODES_MOST ? NULL : fault_realloc(l->all, cap * sizeof *more);

        if (more == NULL) {
            return -ENOMEM;
        }
        l->all = more;
        l->cap = cap;
    }
    x = &l->all[l->n];
    *x = (struct node){.path = fault_strdup(path), .parent = parent, .links = 1};
    if (x->path == NULL) {
        return -ENOMEM;
    }
    l->n++;
    x->name = x->path + (slash != NULL ? slash + 1 - path : 0);
    r = tree_stat(t, path, &x->st);
    x->inode = parent == l->n - 1 ? NODES_ROOT : ++l->inodes;
    l->bytes += r == 0 && S_ISREG(x->st.mode) ? x->st.size : 0;
    return r;
}

static int add_children(struct nodes *l, struct tree *t, size_t at)
{
    SCOPED(strv_fini) struct strv names = {0};
    int r = tree_list(t, l->all[at].path, add_name, &names);

    if (r == 0 && names.n > 1) {
        qsort(names.items, names.n, sizeof names.items[0], compare_names);
    }
    l->all[at].first = l->n;
    for (size_t i = 0; r == 0 && i < names.n; i++) {
        SCOPED(str_fini) struct str path = {0};

        if (at == 0 && strcmp(names.items[i], "lost+found") == 0) {
            continue; /* it gets one of its own */
        }
        str_addf(&path, "%s%s%s", l->all[at].path, at == 0 ? "" : "/", names.items[i]);
        r = str_failed(&path) ? -ENOMEM : add(l, t, path.data, at);
    }
    l->all[at].n = l->n - l->all[at].first;
    return r;
}

static int compare_ids(const void *a, const void *b)
{
    const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

    return x->st.id != y->st.id ? (x->st.id < y->st.id ? -1 : 1) : (x < y ? -1 : 1);
}

/* Names of one file, which follow each other once sorted. */
static int join_links(struct nodes *l)
{
    SCOPED(scope_free) struct node **many = fault_calloc(l->n, sizeof *many);
    struct node *first = NULL;
    size_t n = 0;

    if (many == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->all[i].st.links > 1 && !S_ISDIR(l->all[i].st.mode)) {
            many[n++] = &l->all[i];
        }
    }
    qsort(many, n, sizeof *many, compare_ids);
    for (size_t i = 0; i < n; i++) {
        if (first != NULL && first->st.id == many[i]->st.id) {
            many[i]->inode = first->inode;
            many[i]->again = true;
            first->links++;
        } else {
            first = many[i];
        }
    }
    return 0;
}

/* "." and the name in the parent, and ".." of each directory inside. */
static void count_dirs(struct nodes *l)
{
    l->all[0].links = 3; /* lost+found */
    for (size_t i = 0; i < l->n; i++) {
        struct node *x = &l->all[i];

        if (S_ISDIR(x->st.mode) && i > 0) {
            x->links += 1;
            l->all[x->parent].links += 1;
        }
    }
}

int nodes_read(struct tree *t, struct nodes *ret, struct err *e)
{
    struct nodes l = {.inodes = NODES_FOUND};
    const char *path = "";
    int r = add(&l, t, path, 0);

    for (size_t i = 0; r == 0 && i < l.n; i++) {
        r = S_ISDIR(l.all[i].st.mode) ? add_children(&l, t, i) : 0;
        path = l.all[i].path;
    }
    r = r == 0 ? join_links(&l) : r;
    if (r < 0) {
        r = err_sys(e, r, "cannot read the tree at '%.200s'", path);
        nodes_fini(&l);
        return r;
    }
    count_dirs(&l);
    *ret = l;
    return 0;
}

void nodes_fini(struct nodes *n)
{
    for (size_t i = 0; i < n->n; i++) {
        free(n->all[i].path);
    }
    free(n->all);
    *n = (struct nodes){0};
}
