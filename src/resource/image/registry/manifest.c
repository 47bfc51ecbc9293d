/* manifest.c - manifests and indexes of OCI and of Docker's schema 2.
 *
 * The two families have the same members; only the media types differ.
 * Source: OCI image specification 1.1, manifest.md and image-index.md. */
#include "resource/image/registry/manifest.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/image/store.h"

#define BLOB_BYTES_MAX   (1ull << 40)
#define CONFIG_BYTES_MAX (4u << 20)

static const char *const index_types[] = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
};
static const char *const image_types[] = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
};
static const char *const config_types[] = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
};

static bool is_one(const char *type, const char *const two[2])
{
    return strcmp(type, two[0]) == 0 || strcmp(type, two[1]) == 0;
}

const char *manifest_host_platform(void)
{
#if defined(__x86_64__)
    return "linux/amd64";
#elif defined(__aarch64__)
    return "linux/arm64";
#elif defined(__riscv)
    return "linux/riscv64";
#else
    return "linux/unknown";
#endif
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *t = json_string_value(json_object_get(j, key));

    return t != NULL ? t : "";
}

/* Its own word first, then the server's, then what its members look like. */
static int find_type(const json_t *j, const char *content_type, struct manifest *m,
                     struct err *e)
{
    const char *type = text_of(j, "mediaType");

    if (type[0] == '\0' && content_type != NULL &&
        (is_one(content_type, index_types) || is_one(content_type, image_types))) {
        type = content_type;
    }
    if (type[0] == '\0') {
        type = json_is_array(json_object_get(j, "manifests")) ? index_types[0]
                                                              : image_types[0];
    }
    m->is_index = is_one(type, index_types);
    if (json_integer_value(json_object_get(j, "schemaVersion")) == 1) {
        return err_set(e, -EPROTONOSUPPORT,
                       "its manifest has the old schema 1, which is not supported");
    }
    if (!m->is_index && !is_one(type, image_types)) {
        return err_set(e, -EPROTONOSUPPORT, "its manifest is of an unknown type '%.90s'",
                       type);
    }
    return str_print(m->media_type, sizeof m->media_type, "%s", type);
}

/* 2: as wished, 1: usable, 0: not. */
static int rate(const json_t *x, const char *platform)
{
    const json_t *p = json_object_get(x, "platform");
    const char *variant = text_of(p, "variant");
    char base[96], full[160];

    if (str_print(base, sizeof base, "%s/%s", text_of(p, "os"),
                  text_of(p, "architecture")) < 0 ||
        str_print(full, sizeof full, "%s/%s", base, variant) < 0) {
        return 0;
    }
    if (strcmp(full, platform) == 0 ||
        (strcmp(base, platform) == 0 && variant[0] == '\0')) {
        return 2;
    }
    return strcmp(base, platform) == 0 ? 1 : 0;
}

static int choose(const json_t *j, const char *platform, struct manifest *m,
                  struct err *e)
{
    const json_t *list = json_object_get(j, "manifests");
    const json_t *best = NULL;
    struct str have = {0};
    int best_rate = 0, r;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        const json_t *p = json_object_get(x, "platform");
        int n = rate(x, platform);

        if (n > best_rate) {
            best_rate = n;
            best = x;
        }
        if (have.len < 200 && text_of(p, "os")[0] != '\0' &&
            strcmp(text_of(p, "os"), "unknown") != 0) {
            str_addf(&have, "%s%.20s/%.20s", have.len > 0 ? ", " : "", text_of(p, "os"),
                     text_of(p, "architecture"));
        }
    }
    r = best != NULL ? store_parse_desc(best, "manifests", &m->chosen, e)
                     : err_set(e, -ENOENT, "it is not there for '%s', only for: %s",
                               platform, str_text(&have));
    str_fini(&have);
    return r;
}

static bool has(const struct manifest *m, const char *digest)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->blobs[i].digest, digest) == 0) {
            return true;
        }
    }
    return false;
}

static int add_blob(struct manifest *m, const json_t *j, const char *where, struct err *e)
{
    struct image_desc d;
    int r = store_parse_desc(j, where, &d, e);

    if (r < 0) {
        return r;
    }
    if (!json_is_integer(json_object_get(j, "size")) || d.size > BLOB_BYTES_MAX) {
        return err_set(e, -EINVAL, "'%s.size' is no usable size", where);
    }
    if (!has(m, d.digest)) {
        m->blobs[m->n++] = d;
    }
    return 0;
}

static int take_blobs(const json_t *j, struct manifest *m, struct err *e)
{
    const json_t *config = json_object_get(j, "config");
    const json_t *layers = json_object_get(j, "layers");
    size_t n = json_array_size(layers);
    int r;

    if (!json_is_object(config) || !json_is_array(layers) || n > MANIFEST_LAYERS_MAX) {
        return err_set(e, -EINVAL,
                       "its manifest has no configuration, no layers or more than %d",
                       MANIFEST_LAYERS_MAX);
    }
    if (!is_one(text_of(config, "mediaType"), config_types)) {
        return err_set(e, -EPROTONOSUPPORT,
                       "it is not an image: its configuration is of the type '%.90s'",
                       text_of(config, "mediaType"));
    }
    m->blobs = fault_calloc(n + 1, sizeof *m->blobs);
    if (m->blobs == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = add_blob(m, config, "config", e);
    if (r == 0 && m->blobs[0].size > CONFIG_BYTES_MAX) {
        r = err_set(e, -EFBIG, "its configuration is larger than 4 MiB");
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        char where[32];

        (void)str_print(where, sizeof where, "layers[%zu]", i);
        r = add_blob(m, json_array_get(layers, i), where, e);
    }
    return r;
}

int manifest_parse(const char *text, size_t len, const char *content_type,
                   const char *platform, struct manifest *ret, struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    struct manifest m = {0};
    int r = json_parse(text, len, "its manifest", &j, e);

    if (r < 0) {
        return r;
    }
    if (!json_is_object(j)) {
        return err_set(e, -EINVAL, "its manifest is not an object");
    }
    r = find_type(j, content_type, &m, e);
    if (r == 0) {
        r = m.is_index ? choose(j, platform, &m, e) : take_blobs(j, &m, e);
    }
    if (r < 0) {
        manifest_fini(&m);
        return r;
    }
    *ret = m;
    return 0;
}

void manifest_fini(struct manifest *m)
{
    free(m->blobs);
    *m = (struct manifest){0};
}
