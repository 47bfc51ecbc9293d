/* choose.c - from an image to what a machine boots: whose kernel, and which first program.
 *
 * The kernel is the one that was named, else the image's own, else that of this host: a
 * guest without a kernel of its own runs as well under the host's, whose modules lie beside
 * it.  An image with a system of its own - systemd, or an init and no command - is started
 * by that when no command was ordered. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/str.h"
#include "contract/tree.h"
#include "node/boot/private.h"
#include "resource/image/image.h"

int guest_boot_tree(struct node *n, const struct guest *g, struct tree **ret,
                    struct err *e)
{
    struct image_store *store;
    struct image img = {0};
    int r = node_images(n, &store, e);

    r = r < 0 ? r : image_find(store, guest_text(g, "image_digest"), &img, e);
    r = r < 0 ? r : image_tree_open(store, &img, ret, e);
    image_fini(&img);
    return r;
}

static int is_kernel(void *arg, const char *name)
{
    (void)arg;
    return str_starts(name, "vmlinuz-") ? 1 : 0;
}

const char *guest_boot_host_kernel(char out[PATH_MAX])
{
    struct utsname u;

    if (uname(&u) < 0) {
        return NULL;
    }
    (void)str_print(out, PATH_MAX, "/boot/vmlinuz-%s", u.release);
    return access(out, R_OK) == 0 ? out : NULL;
}

static int choose_kernel(struct guest *g, struct tree *tree, struct err *e)
{
    char path[PATH_MAX];

    if (json_object_get(guest_config(g), "kernel") != NULL ||
        tree_list(tree, "boot", is_kernel, NULL) == 1) {
        return 0;
    }
    if (guest_boot_host_kernel(path) != NULL) {
        (void)json_object_set_new(guest_config(g), "kernel", json_string(path));
        return 0;
    }
    return err_set(
        e, -ENOENT,
        "cannot make a machine of image '%s': it has no kernel, and this host "
        "has none in /boot that can be read; name one (--kernel FILE), or take "
        "an image with one (strata image build debian)",
        guest_text(g, "image"));
}

static bool has(struct tree *tree, const char *path)
{
    struct tree_stat st;

    return tree_stat(tree, path, &st) == 0;
}

/* Commands that are a system's first process and nothing else. */
static const char *const inits[] = {"/sbin/init", "/lib/systemd/systemd",
                                    "/usr/lib/systemd/systemd"};

static const char *choose_init(const struct guest *g, struct tree *tree)
{
    const json_t *command = json_object_get(guest_config(g), "command");
    const json_t *image = json_object_get(g->record, "image_config");
    const char *first = json_string_value(json_array_get(command, 0));
    bool names_one = json_array_size(json_object_get(image, "cmd")) +
                         json_array_size(json_object_get(image, "entrypoint")) !=
                     0;

    for (size_t i = 0; first != NULL && i < sizeof inits / sizeof inits[0]; i++) {
        if (strcmp(first, inits[i]) == 0 && json_array_size(command) == 1) {
            return inits[i];
        }
    }
    if (first != NULL || json_object_get(guest_config(g), "entrypoint") != NULL) {
        return NULL;
    }
    return has(tree, "usr/lib/systemd/systemd") || has(tree, "lib/systemd/systemd") ||
                   (!names_one && has(tree, "sbin/init"))
               ? inits[0]
               : NULL;
}

int guest_boot_choose(struct node *n, struct guest *g, struct err *e)
{
    struct tree *tree = NULL;
    char base[PATH_MAX];
    const char *init;
    int r = guest_boot_tree(n, g, &tree, e);

    r = r < 0 ? r : choose_kernel(g, tree, e);
    init = r == 0 ? choose_init(g, tree) : NULL;
    if (init != NULL) {
        (void)json_object_set_new(g->record, "init", json_string(init));
    }
    tree_close(tree);
    r = r < 0 ? r : guest_boot_base(n, g, base, e);
    if (r == 0) {
        (void)json_object_set_new(g->record, "root", json_string(base));
    }
    return r;
}
