/* ops.c - the operation `kernel` of the program `image`.
 *
 * {"file": PATH or "image": NAME or "root": DIR and "tree": ID, "modules": DIR, "agent": PATH}
 *  -> {"kernel": PATH, "initrd": PATH or absent}
 * With an image, a file is what is booted in the place of the image's own kernel. */
#include "resource/image/kernel/ops.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "contract/tree.h"
#include "resource/image/kernel/kernel.h"

static int open_image(struct pack *p, const char *name, struct tree **ret, struct err *e)
{
    struct image img = {0};
    int r = image_find(p->store, name, &img, e);

    r = r < 0 ? r : pack_unpack(p, &img, e);
    r = r < 0 ? r : image_tree_open(p->store, &img, ret, e);
    image_fini(&img);
    return r;
}

static int answer(const struct kernel_ready *k, json_t **ret, struct err *e)
{
    *ret = json_pack("{s:s,s:s*}", "kernel", k->kernel, "initrd", k->initrd);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int run_kernel(struct pack *p, const json_t *j, json_t **ret, struct err *e)
{
    struct kernel_order o = {0};
    struct kernel_ready ready = {0};
    struct tree *tree = NULL;
    const char *state = NULL, *image = NULL, *root = NULL;
    int r = json_want_str(j, "", "state", &state, e);

    r = r < 0 ? r : json_opt_str(j, "", "image", &image, e);
    r = r < 0 ? r : json_opt_str(j, "", "root", &root, e);
    r = r < 0 ? r : json_opt_str(j, "", "tree", &o.tree_id, e);
    r = r < 0 ? r : json_opt_str(j, "", "file", &o.file, e);
    r = r < 0 ? r : json_opt_str(j, "", "modules", &o.modules, e);
    r = r < 0 ? r : json_opt_str(j, "", "agent", &o.agent, e);
    if (r == 0 && image == NULL && o.file == NULL &&
        (root == NULL || o.tree_id == NULL)) {
        r = err_set(e, -EINVAL, "neither a kernel nor an image was named");
    }
    if (r == 0 && root != NULL) {
        o.is_fleeting = true;
        r = image_tree_dir(root, &tree, e);
    } else if (r == 0 && o.file == NULL) {
        r = open_image(p, image, &tree, e);
        o.tree_id = tree != NULL ? tree->digest : NULL;
    }
    r = r < 0 ? r : kernel_make(state, &o, tree, &ready, e);
    r = r < 0 ? r : answer(&ready, ret, e);
    kernel_ready_fini(&ready);
    tree_close(tree);
    return r;
}

const struct pack_op kernel_ops[] = {
    {"kernel", run_kernel},
    {NULL, NULL},
};
