/* kernel.c - what a machine boots from, made at the first start and found later. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/tree.h"
#include "node/boot/private.h"
#include "resource/image/image.h"
#include "resource/image/kernel/kernel.h"

#define BZIMAGE_MAGIC_AT 0x202 /* Linux Documentation/x86/boot.rst, "header" */

static bool is_bzimage(const char *path)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char magic[4];

    return fd >= 0 && pread(fd, magic, sizeof magic, BZIMAGE_MAGIC_AT) == sizeof magic &&
           memcmp(magic, "HdrS", sizeof magic) == 0;
}

static int make(struct node *n, const char *image, const struct kernel_order *o,
                struct err *e)
{
    SCOPED(scope_json) json_t *result = NULL;
    SCOPED(scope_json)
    json_t *request = json_pack("{s:s*, s:s*}", "file", o->file, "agent", o->agent);

    if (o->file == NULL) {
        (void)json_object_set_new(request, "image", json_string(image));
    }
    return node_image(n, "kernel", request, &result, e);
}

static int find_or_make(struct node *n, const char *image, const struct kernel_order *o,
                        struct kernel_ready *ret, struct err *e)
{
    int r = kernel_find(n->state, o, ret);

    if (r == -ENOENT) {
        r = make(n, image, o, e);
        r = r == 0 ? kernel_find(n->state, o, ret) : r;
    }
    return r;
}

/* A kernel alone: one that is no bzImage is booted as it is. */
static int prepare_file(struct node *n, json_t *boot, struct err *e)
{
    const char *path = json_string_value(json_object_get(boot, "kernel"));
    const struct kernel_order order = {.file = path};
    struct kernel_ready ready = {0};
    int r;

    if (path == NULL || !is_bzimage(path)) {
        return 0;
    }
    r = find_or_make(n, NULL, &order, &ready, e);
    if (r == 0) {
        (void)json_object_set_new(boot, "unpacked", json_string(ready.kernel));
    }
    kernel_ready_fini(&ready);
    return r < 0 && r != -ENOENT ? err_sys(e, r, "cannot unpack kernel '%s'", path) : 0;
}

static int find_of_image(struct node *n, const struct guest *g, struct kernel_order *o,
                         struct kernel_ready *ret, struct err *e)
{
    struct tree *tree = NULL;
    int r = 0;

    if (o->file == NULL) {
        r = guest_boot_tree(n, g, &tree, e);
        o->tree_id = r == 0 ? tree->digest : NULL;
    }
    r = r == 0 ? find_or_make(n, guest_text(g, "image_digest"), o, ret, e) : r;
    tree_close(tree);
    o->tree_id = NULL;
    return r;
}

/* With a first file system of that kernel's modules and the agent. */
static int prepare_image(struct node *n, const struct guest *g, json_t *boot,
                         struct err *e)
{
    const char *from = json_string_value(json_object_get(guest_config(g), "boot"));
    bool is_own = from != NULL && strcmp(from, "disk") == 0;
    char agent[PATH_MAX];
    struct kernel_order order = {
        .file = is_own ? NULL : json_string_value(json_object_get(boot, "kernel")),
        .agent = agent};
    struct kernel_ready ready = {0};
    int r;

    (void)str_print(agent, sizeof agent, "%s/agent", n->libexec);
    r = is_own ? guest_boot_own(n, g, &order, &ready, e)
               : find_of_image(n, g, &order, &ready, e);
    if (r < 0) {
        return e != NULL && e->code != 0
                   ? r
                   : err_sys(e, r, "cannot find the kernel of image '%s'",
                             guest_text(g, "image"));
    }
    if (order.file == NULL) {
        (void)json_object_set_new(boot, "kernel", json_string(ready.kernel));
    }
    (void)json_object_set_new(boot, "unpacked", json_string(ready.kernel));
    (void)json_object_set_new(boot, "initrd", json_string(ready.initrd));
    kernel_ready_fini(&ready);
    return 0;
}

/* Made again where somebody removed it: the same image gives the same bytes. */
static int prepare_base(struct node *n, const struct guest *g, json_t *root,
                        struct err *e)
{
    char path[PATH_MAX];
    int r;

    if (access(guest_text(g, "root"), F_OK) == 0) {
        return 0;
    }
    r = guest_boot_base(n, g, path, e);
    if (r == 0) {
        (void)json_object_set_new(root, "base", json_string(path));
    }
    return r;
}

int guest_boot_prepare(struct node *n, const struct guest *g, json_t *spec, struct err *e)
{
    json_t *machine = json_object_get(spec, "machine");
    json_t *boot = json_object_get(machine, "boot");
    json_t *root = json_object_get(machine, "root");
    int r;

    if (root == NULL) {
        return prepare_file(n, boot, e);
    }
    r = prepare_base(n, g, root, e);
    return r < 0 ? r : prepare_image(n, g, boot, e);
}

static int image_kernel(struct node *n, const char *name, char ret[PATH_MAX],
                        struct err *e)
{
    struct kernel_order order = {0};
    struct kernel_ready ready = {0};
    struct image_store *store;
    struct image img = {0};
    struct tree *tree = NULL;
    int r = node_images(n, &store, e);

    r = r < 0 ? r : image_find(store, name, &img, e);
    if (r == 0) {
        r = image_tree_open(store, &img, &tree, NULL);
        if (r < 0) { /* nothing was made from it yet: this unpacks it, too */
            r = make(n, img.manifest.digest, &order, e);
            r = r < 0 ? r : image_tree_open(store, &img, &tree, e);
        }
    }
    order.tree_id = r == 0 ? tree->digest : NULL;
    r = r == 0 ? find_or_make(n, img.manifest.digest, &order, &ready, e) : r;
    tree_close(tree);
    if (r == 0) {
        (void)str_print(ret, PATH_MAX, "%s", ready.kernel);
    }
    kernel_ready_fini(&ready);
    image_fini(&img);
    return r;
}

int guest_boot_kernel(struct node *n, const char *name, char ret[PATH_MAX], struct err *e)
{
    struct err why = {0};
    int r = image_kernel(n, name, ret, &why);

    if (r == 0 || guest_boot_host_kernel(ret) != NULL) {
        return 0;
    }
    return err_set(
        e, r,
        "no kernel: %s; /boot of this host has none that can be read; name one "
        "(--kernel FILE), or take Debian's (strata image build debian)",
        why.text);
}
