/* load.c - a manifest and its configuration become a `struct image`. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "resource/image/store.h"

#define LAYERS_MAX 500 /* overlayfs takes that many lower directories */

const char *store_host_arch(void)
{
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
    return "riscv64";
#else
    return "unknown";
#endif
}

int store_choose_platform(const json_t *index, struct image_desc *ret, struct err *e)
{
    const json_t *list = json_object_get(index, "manifests"), *x;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, x)
    {
        const json_t *p = json_object_get(x, "platform");
        const char *arch = json_string_value(json_object_get(p, "architecture"));
        const char *os = json_string_value(json_object_get(p, "os"));

        if (p == NULL || (arch != NULL && strcmp(arch, store_host_arch()) == 0 &&
                          (os == NULL || strcmp(os, "linux") == 0))) {
            return store_parse_desc(x, "manifests", ret, e);
        }
    }
    return err_set(e, -ENOENT, "the image has no variant for linux/%s",
                   store_host_arch());
}

static int add_strings(const json_t *config, const char *key, struct strv *ret,
                       struct err *e)
{
    json_t *list = NULL, *x;
    size_t i;
    int r = json_opt_array(config, "config", key, &list, e);

    json_array_foreach(list, i, x)
    {
        if (!json_is_string(x)) {
            return err_set(e, -EINVAL, "'config.%s' holds more than texts", key);
        }
        strv_add(ret, json_string_value(x));
    }
    return r;
}

static int add_keys(const json_t *config, const char *key, struct strv *ret,
                    struct err *e)
{
    json_t *set = NULL, *x;
    const char *word;
    int r = json_opt_object(config, "config", key, &set, e);

    json_object_foreach(set, word, x)
    {
        strv_add(ret, word);
    }
    return r;
}

static int load_settings(struct image *img, struct err *e)
{
    json_t *c = NULL, *labels = NULL, *health = NULL;
    int r = json_opt_object(img->config, "", "config", &c, e);

    if (r < 0 || c == NULL) {
        return r;
    }
    r = json_opt_str(c, "config", "User", &img->user, e);
    r = r < 0 ? r : json_opt_str(c, "config", "WorkingDir", &img->workdir, e);
    r = r < 0 ? r : json_opt_str(c, "config", "StopSignal", &img->stop_signal, e);
    r = r < 0 ? r : json_opt_object(c, "config", "Labels", &labels, e);
    r = r < 0 ? r : json_opt_object(c, "config", "Healthcheck", &health, e);
    r = r < 0 ? r : add_strings(c, "Env", &img->env, e);
    r = r < 0 ? r : add_strings(c, "Entrypoint", &img->entrypoint, e);
    r = r < 0 ? r : add_strings(c, "Cmd", &img->cmd, e);
    r = r < 0 ? r : add_keys(c, "ExposedPorts", &img->exposed, e);
    r = r < 0 ? r : add_keys(c, "Volumes", &img->volumes, e);
    img->labels = labels;
    img->healthcheck = health;
    if (r == 0 && (strv_failed(&img->env) || strv_failed(&img->entrypoint) ||
                   strv_failed(&img->cmd) || strv_failed(&img->exposed) ||
                   strv_failed(&img->volumes))) {
        r = err_set(e, -ENOMEM, "out of memory");
    }
    return r;
}

void image_layer_chain(struct image_layer *l, const struct image_layer *below)
{
    char text[2 * IMAGE_DIGEST_BYTES];
    uint8_t sum[SHA256_BYTES];

    if (below == NULL) {
        memcpy(l->chain, l->diff_id, sizeof l->chain);
        return;
    }
    (void)str_print(text, sizeof text, "%s %s", below->chain, l->diff_id);
    sha256_sum(text, strlen(text), sum);
    memcpy(l->chain, "sha256:", 7);
    sha256_hex(sum, l->chain + 7);
}

static int load_layers(const json_t *manifest, struct image *img, struct err *e)
{
    const json_t *ids =
        json_object_get(json_object_get(img->config, "rootfs"), "diff_ids");
    json_t *list = NULL;
    int r = json_opt_array(manifest, "", "layers", &list, e);
    size_t n = json_array_size(list);

    if (r < 0) {
        return r;
    }
    if (n != json_array_size(ids) || n > LAYERS_MAX) {
        return err_set(e, -EINVAL, "the manifest has %zu layers, the configuration %zu",
                       n, json_array_size(ids));
    }
    img->layers = fault_calloc(n > 0 ? n : 1, sizeof img->layers[0]);
    if (img->layers == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        struct image_layer *l = &img->layers[i];
        const char *id = json_string_value(json_array_get(ids, i));

        r = store_parse_desc(json_array_get(list, i), "layers", &l->blob, e);
        if (r < 0) {
            return r;
        }
        if (id == NULL || !store_is_digest(id)) {
            return err_set(e, -EINVAL, "'rootfs.diff_ids[%zu]' is not a digest", i);
        }
        (void)str_print(l->diff_id, sizeof l->diff_id, "%s", id);
        image_layer_chain(l, i > 0 ? l - 1 : NULL);
        img->blob_bytes += l->blob.size;
    }
    img->n_layers = n;
    return 0;
}

/* Read the manifest; an index is followed once. */
static int read_manifest(struct image_store *s, struct image_desc *d, json_t **ret,
                         struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    const char *type = "";
    int r = store_read_json(s, d->digest, &j, e);

    if (r == 0 && json_is_array(json_object_get(j, "manifests"))) {
        SCOPED(scope_json) json_t *index = j;

        j = NULL;
        r = store_choose_platform(index, d, e);
        r = r < 0 ? r : store_read_json(s, d->digest, &j, e);
    }
    r = r < 0 ? r : json_opt_str(j, "", "mediaType", &type, e);
    if (r == 0 && d->media_type[0] == '\0') {
        (void)str_print(d->media_type, sizeof d->media_type, "%s", type);
    }
    if (r == 0) {
        *ret = json_incref(j);
    }
    return r;
}

int store_load_image(struct image_store *s, const struct image_desc *desc,
                     struct image *ret, struct err *e)
{
    SCOPED(scope_json) json_t *manifest = NULL;
    struct image img = {.manifest = *desc,
                        .created = "",
                        .os = "linux",
                        .arch = "",
                        .user = "",
                        .workdir = "",
                        .stop_signal = ""};
    int r = read_manifest(s, &img.manifest, &manifest, e);

    r = r < 0 ? r
              : store_parse_desc(json_object_get(manifest, "config"), "config",
                                 &img.config_blob, e);
    r = r < 0 ? r : store_read_json(s, img.config_blob.digest, &img.config, e);
    r = r < 0 ? r : json_opt_str(img.config, "", "created", &img.created, e);
    r = r < 0 ? r : json_opt_str(img.config, "", "os", &img.os, e);
    r = r < 0 ? r : json_opt_str(img.config, "", "architecture", &img.arch, e);
    r = r < 0 ? r : load_layers(manifest, &img, e);
    r = r < 0 ? r : load_settings(&img, e);
    if (r < 0) {
        image_fini(&img);
        return err_wrap(e, "cannot read image %s", desc->digest);
    }
    *ret = img;
    return 0;
}

void image_fini(struct image *img)
{
    if (img == NULL) {
        return;
    }
    json_decref(img->config);
    strv_fini(&img->env);
    strv_fini(&img->entrypoint);
    strv_fini(&img->cmd);
    strv_fini(&img->exposed);
    strv_fini(&img->volumes);
    free(img->layers);
    *img = (struct image){0};
}
