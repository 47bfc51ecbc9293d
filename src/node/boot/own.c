/* own.c - the newest kernel on a machine's own disk: `--boot disk`.
 *
 * The disk is mounted in no tree (node/volume/use/root.c), and the program `image` takes kernel and
 * modules from there, by a path that follows no link.  Nobody else has the disk: the guest's lock is the
 * caller's.
 *
 * It is looked at anew at each start; what was made of the same files is found again. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/sha256.h"
#include "base/str.h"
#include "contract/tree.h"
#include "node/boot/private.h"
#include "resource/image/image.h"
#include "resource/image/kernel/kernel.h"

/* Its file system; the root of it. */
static int mount_own(struct node *n, const struct guest *g, int *ret_root, struct err *e)
{
    char own[PATH_MAX];
    char directory[PATH_MAX];
    const struct disk_layers d = {guest_text(g, "root"), own, directory};

    (void)guest_state_path(n, g->id, "disk/" BOOT_ROOT, own);
    (void)guest_state_path(n, g->id, "disk", directory);
    return n->rootless ? err_set(e, -EPERM, "only root of the host mounts disks")
                       : disk_mount_layers(n, &d, ret_root, e);
}

/* ---- which kernel ---- */

static void add_stat(struct str *text, struct tree *t, const char *path)
{
    struct tree_stat st;

    if (tree_stat(t, path, &st) == 0) {
        str_addf(text, "%s %o %llu %llu %lld\n", path, st.mode,
                 (unsigned long long)st.size, (unsigned long long)st.id,
                 (long long)st.mtime);
    }
}

/* What is made of these files can be used as long as this stays as it is. */
static int identify(const struct guest *g, struct tree *t, const char *kernel,
                    char ret_id[SHA256_HEX_BYTES + 8], struct err *e)
{
    static const char *const tops[] = {"usr/lib", "lib"};
    static const char *const lists[] = {"", "/modules.dep", "/modules.order"};
    SCOPED(str_fini) struct str text = {0};
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    char path[PATH_MAX];

    str_addf(&text, "guest %s\n", g->id);
    (void)str_print(path, sizeof path, "boot/%s", kernel);
    add_stat(&text, t, path);
    for (size_t i = 0; i < 2 * sizeof lists / sizeof lists[0]; i++) {
        (void)str_print(path, sizeof path, "%s/modules/%s%s", tops[i % 2],
                        kernel + strlen("vmlinuz-"), lists[i / 2]);
        add_stat(&text, t, path);
    }
    if (str_failed(&text)) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    sha256_sum(text.data, text.len, digest);
    sha256_hex(digest, hex);
    (void)str_print(ret_id, SHA256_HEX_BYTES + 8, "sha256:%s", hex);
    return 0;
}

static int find_kernel(struct tree *t, char name[NAME_MAX + 1], struct err *e)
{
    char path[PATH_MAX];
    struct tree_stat st;
    int r = kernel_newest(t, name);

    if (r == -ENOENT) {
        return err_set(e, r, "there is no kernel (boot/vmlinuz-*)");
    }
    (void)str_print(path, sizeof path, "boot/%s", name);
    r = r == 0 ? tree_stat(t, path, &st) : r;
    if (r == 0 && !S_ISREG(st.mode)) {
        return err_set(e, -EINVAL, "'%s' is no file%s", path,
                       S_ISLNK(st.mode) ? ": links are not followed" : "");
    }
    return r < 0 ? err_sys(e, r, "cannot look for its kernel") : 0;
}

/* `root`: an open directory, which the program finds among our descriptors. */
static int make(struct node *n, int root, const struct kernel_order *o, struct err *e)
{
    SCOPED(scope_json) json_t *result = NULL;
    SCOPED(scope_json)
    json_t *request = json_pack("{s:o, s:s, s:s*}", "root",
                                json_sprintf("/proc/%d/fd/%d", (int)getpid(), root),
                                "tree", o->tree_id, "agent", o->agent);

    return node_image(n, "kernel", request, &result, e);
}

static int find_or_make(struct node *n, const struct guest *g, int root,
                        const struct kernel_order *order, struct kernel_ready *ret,
                        struct err *e)
{
    struct kernel_order o = *order;
    char id[SHA256_HEX_BYTES + 8];
    char name[NAME_MAX + 1];
    struct tree *tree = NULL;
    char path[40];
    int r;

    (void)str_print(path, sizeof path, "/proc/self/fd/%d", root);
    r = image_tree_dir(path, &tree, e);
    r = r == 0 ? find_kernel(tree, name, e) : r;
    r = r == 0 ? identify(g, tree, name, id, e) : r;
    tree_close(tree);
    if (r < 0) {
        return r;
    }
    o.tree_id = id;
    r = kernel_find(n->state, &o, ret);
    if (r == -ENOENT) {
        r = make(n, root, &o, e);
        r = r == 0 ? kernel_find(n->state, &o, ret) : r;
    }
    return r < 0 ? err_sys(e, r, "cannot find what was made of it") : 0;
}

int guest_boot_own(struct node *n, const struct guest *g, const struct kernel_order *o,
                   struct kernel_ready *ret, struct err *e)
{
    SCOPED(scope_close) int root = -1;
    int r = mount_own(n, g, &root, e);

    r = r == 0 ? find_or_make(n, g, root, o, ret, e) : r;
    return r < 0 ? err_wrap(e, "cannot boot guest '%s' from its disk",
                            guest_text(g, "name"))
                 : 0;
}
