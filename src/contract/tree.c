/* contract/tree.c - the guard: paths are checked once for all trees. */
#include "contract/tree.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Parts that are neither empty nor "." nor "..", parted by one slash each. */
static bool is_path(const char *path)
{
    if (*path == '\0') {
        return true;
    }
    for (;;) {
        size_t n = strcspn(path, "/");

        if (n == 0 || (n == 1 && path[0] == '.') ||
            (n == 2 && memcmp(path, "..", 2) == 0)) {
            return false;
        }
        if (path[n] == '\0') {
            return true;
        }
        path += n + 1;
    }
}

static int check(const char *path)
{
    if (strnlen(path, TREE_PATH_MAX + 1) > TREE_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    return is_path(path) ? 0 : -EINVAL;
}

int tree_stat(struct tree *t, const char *path, struct tree_stat *ret)
{
    int r = check(path);

    return r < 0 ? r : t->ops->stat(t, path, ret);
}

int tree_open(struct tree *t, const char *path)
{
    int r = check(path);

    return r < 0 ? r : t->ops->open(t, path);
}

long tree_read_link(struct tree *t, const char *path, char *buf, size_t size)
{
    int r = check(path);

    return r < 0 ? r : t->ops->read_link(t, path, buf, size);
}

int tree_list(struct tree *t, const char *path, tree_name_fn *fn, void *arg)
{
    int r = check(path);

    return r < 0 ? r : t->ops->list(t, path, fn, arg);
}

void tree_close(struct tree *t)
{
    if (t != NULL) {
        t->ops->close(t);
    }
}
