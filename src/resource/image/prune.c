/* prune.c - remove what no image and no guest needs.
 *
 * The store is locked for oneself meanwhile, so no command can rely on a blob
 * that goes.  What is needed is collected first; an image that cannot be read
 * stops everything, because its layers would be unknown.  An unpacked layer is
 * renamed before it is removed: a killed prune leaves a temporary, never half a
 * layer under its name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/store.h"

static int need_image(struct image_store *s, const struct image_desc *desc, json_t *blobs,
                      json_t *layers, struct err *e)
{
    struct image img;
    int r = store_load_image(s, desc, &img, e);
    int bad = 0;

    if (r < 0) {
        return r;
    }
    /* An index that names the manifest stays, too. */
    bad |= json_object_set_new(blobs, desc->digest + 7, json_true());
    bad |= json_object_set_new(blobs, img.manifest.digest + 7, json_true());
    bad |= json_object_set_new(blobs, img.config_blob.digest + 7, json_true());
    for (size_t i = 0; i < img.n_layers; i++) {
        bad |= json_object_set_new(blobs, img.layers[i].blob.digest + 7, json_true());
        bad |= json_object_set_new(layers, img.layers[i].chain + 7, json_true());
    }
    image_fini(&img);
    return bad != 0 ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int need_all(struct image_store *s, const struct strv *keep, json_t *blobs,
                    json_t *layers, struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    const json_t *list;
    int r = store_read_index(s, &index, e);

    list = json_object_get(index, "manifests");
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        struct image_desc desc;

        r = store_parse_desc(json_array_get(list, i), "manifests", &desc, e);
        r = r < 0 ? r : need_image(s, &desc, blobs, layers, e);
    }
    for (size_t i = 0; r == 0 && keep != NULL && i < keep->n; i++) {
        struct image_desc desc = {0};

        if (!store_is_digest(keep->items[i])) {
            return err_set(e, -EINVAL, "'%.80s' is not a digest", keep->items[i]);
        }
        (void)str_print(desc.digest, sizeof desc.digest, "%s", keep->items[i]);
        r = need_image(s, &desc, blobs, layers, e);
    }
    return r;
}

/* The names in a directory, without "." and "..". */
static int list_names(int dir, const char *path, struct strv *ret)
{
    int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    SCOPED(scope_dir) DIR *d = NULL;
    const struct dirent *x;

    if (fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    d = fdopendir(fd);
    if (d == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    while ((x = readdir(d)) != NULL) {
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0) {
            strv_add(ret, x->d_name);
        }
    }
    return strv_failed(ret) ? -ENOMEM : 0;
}

static int prune_blobs(struct image_store *s, const json_t *need, struct image_pruned *n)
{
    SCOPED(strv_fini) struct strv names = {0};
    int r = list_names(s->blobs, ".", &names);

    for (size_t i = 0; r == 0 && i < names.n; i++) {
        struct stat st;

        if (json_object_get(need, names.items[i]) != NULL ||
            fstatat(s->blobs, names.items[i], &st, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        r = fault_step("image.prune.blob");
        if (r == 0 && unlinkat(s->blobs, names.items[i], 0) < 0) {
            r = -errno;
        }
        if (r == 0) {
            n->blobs++;
            n->blob_bytes += (uint64_t)st.st_size;
        }
    }
    return r;
}

static int drop_layer(struct image_store *s, const char *name)
{
    char trash[NAME_MAX + 8];
    int r = str_print(trash, sizeof trash, ".old-%s", name);

    if (r == 0 && renameat(s->layers, name, s->layers, trash) < 0) {
        r = -errno;
    }
    r = r < 0 ? r : fault_step("image.prune.layer");
    return r < 0 ? r : file_remove_tree(s->layers, trash);
}

static int prune_layers(struct image_store *s, const json_t *need, struct image_pruned *n)
{
    SCOPED(strv_fini) struct strv names = {0};
    int r = list_names(s->layers, ".", &names);

    for (size_t i = 0; r == 0 && i < names.n; i++) {
        const char *name = names.items[i];

        if (name[0] == '.') {
            r = file_remove_tree(s->layers, name);
            n->temporaries++;
        } else if (json_object_get(need, name) == NULL) {
            r = drop_layer(s, name);
            n->layers++;
        }
    }
    return r;
}

static int prune_partial(struct image_store *s, struct image_pruned *n)
{
    SCOPED(strv_fini) struct strv names = {0};
    int r = list_names(s->images, "partial", &names);

    for (size_t i = 0; r == 0 && i < names.n; i++) {
        char path[NAME_MAX + 16];

        r = str_print(path, sizeof path, "partial/%s", names.items[i]);
        if (r == 0 && unlinkat(s->images, path, 0) < 0 && errno != ENOENT) {
            r = -errno;
        }
        n->temporaries++;
    }
    return r;
}

void store_forget_blobs(struct image_store *s, const struct strv *digests)
{
    SCOPED(scope_json) json_t *blobs = json_object();
    SCOPED(scope_json) json_t *layers = json_object();
    SCOPED(scope_close) int alone = image_lock_alone(s, NULL);

    if (alone < 0 || blobs == NULL || layers == NULL ||
        need_all(s, NULL, blobs, layers, NULL) < 0) {
        return; /* `image_prune` will */
    }
    for (size_t i = 0; i < digests->n; i++) {
        if (json_object_get(blobs, digests->items[i] + 7) == NULL) {
            (void)unlinkat(s->blobs, digests->items[i] + 7, 0);
        }
    }
}

static int prune_alone(struct image_store *s, image_keep_fn *keep, void *arg,
                       struct image_pruned *n, struct err *e)
{
    SCOPED(scope_json) json_t *blobs = json_object();
    SCOPED(scope_json) json_t *layers = json_object();
    SCOPED(strv_fini) struct strv guests = {0};
    int r = keep != NULL ? keep(arg, &guests, e) : 0;

    if (r == 0 && (blobs == NULL || layers == NULL || strv_failed(&guests))) {
        r = err_set(e, -ENOMEM, "out of memory");
    }
    r = r < 0 ? r : need_all(s, &guests, blobs, layers, e);
    if (r < 0) {
        return err_wrap(e, "cannot prune images, nothing was removed");
    }
    r = prune_blobs(s, blobs, n);
    r = r < 0 ? r : prune_layers(s, layers, n);
    r = r < 0 ? r : prune_partial(s, n);
    return r < 0 ? err_sys(e, r, "cannot prune the image store in '%s'", s->state) : 0;
}

int image_prune(struct image_store *s, image_keep_fn *keep, void *arg,
                struct image_pruned *ret, struct err *e)
{
    SCOPED(scope_close) int alone = image_lock_alone(s, e);
    struct image_pruned n = {0};
    int r = alone < 0 ? alone : prune_alone(s, keep, arg, &n, e);

    if (r == 0) {
        *ret = n;
    }
    return r;
}
