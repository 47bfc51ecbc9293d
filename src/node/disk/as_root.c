/* as_root.c - copying and removing guests' files, for root and for an ordinary user.
 *
 * Below a guest's disk lie files of all the ids that the guest has.  Root may touch
 * them; an ordinary user may where his user namespace maps those ids, so there the
 * work is done by a child that is root of one. */
#include <errno.h>
#include <fcntl.h>

#include "base/scope.h"
#include "host/file.h"
#include "node/id/subid.h"
#include "node/private.h"
#include "virt/container/container.h"

struct job {
    int dir, to_dir;
    const char *name, *to_name;
    const struct copy_how *how;
};

static int remove_job(void *arg, struct err *e)
{
    const struct job *j = arg;
    int r = file_remove_tree(j->dir, j->name);

    return r < 0 ? err_sys(e, r, "cannot remove '%s'", j->name) : 0;
}

static int copy_job(void *arg, struct err *e)
{
    const struct job *j = arg;

    return copy_tree(j->dir, j->name, j->to_dir, j->to_name, j->how, e);
}

int node_as_root(struct node *n, int (*fn)(void *arg, struct err *e), void *arg,
                 struct err *e)
{
    SCOPED(scope_json) json_t *maps = NULL;

    if (!n->rootless) {
        return fn(arg, e);
    }
    maps = json_pack("{s:{s:o, s:o}}", "linux", "uidMappings", subid_map(false),
                     "gidMappings", subid_map(true));
    return maps == NULL ? err_set(e, -ENOMEM, "no memory")
                        : container_as_root(maps, fn, arg, e);
}

int disk_remove_tree(struct node *n, int dir, const char *path)
{
    struct job j = {.dir = dir, .name = path};
    int r = file_remove_tree(dir, path);

    return r < 0 && n->rootless ? node_as_root(n, remove_job, &j, NULL) : r;
}

int disk_copy_tree(struct node *n, const struct disk_ends *ends,
                   const struct copy_how *how, struct err *e)
{
    struct job j = {.dir = ends->from,
                    .name = ends->from_name,
                    .to_dir = ends->to,
                    .to_name = ends->to_name,
                    .how = how};

    return node_as_root(n, copy_job, &j, e);
}
