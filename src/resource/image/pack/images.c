/* images.c - manifests and configurations are written; commit; verify. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "base/units.h"
#include "host/file.h"
#include "resource/image/pack/pack_private.h"

void pack_now(char out[UNITS_TEXT_BYTES])
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    units_print_time((int64_t)t.tv_sec * 1000000000, out);
}

json_t *pack_new_config(void)
{
    char now[UNITS_TEXT_BYTES];

    pack_now(now);
    return json_pack("{s:s,s:s,s:s,s:{}}", "created", now, "architecture",
                     store_host_arch(), "os", "linux", "config");
}

int pack_add_history(json_t *config, const char *created_by, const char *author,
                     const char *comment, bool empty_layer)
{
    char now[UNITS_TEXT_BYTES];
    json_t *list = json_object_get(config, "history");
    json_t *entry;
    int bad = 0;

    pack_now(now);
    entry = json_pack("{s:s,s:s*,s:s*,s:s*}", "created", now, "created_by", created_by,
                      "author", author, "comment", comment);
    if (entry != NULL && empty_layer) {
        bad |= json_object_set_new(entry, "empty_layer", json_true());
    }
    if (!json_is_array(list)) {
        list = json_array();
        bad |= json_object_set_new(config, "history", list);
    }
    bad |= json_array_append_new(list, entry);
    return bad != 0 ? -ENOMEM : 0;
}

static json_t *desc_json(const struct image_desc *d)
{
    return json_pack("{s:s,s:s,s:I}", "mediaType", d->media_type, "digest", d->digest,
                     "size", (json_int_t)d->size);
}

int pack_put_manifest(struct image_store *s, const struct image_desc *config,
                      const struct image_layer *layers, size_t n, struct image_desc *ret,
                      struct err *e)
{
    SCOPED(scope_json)
    json_t *j = json_pack("{s:i,s:s,s:o,s:[]}", "schemaVersion", 2, "mediaType",
                          PACK_TYPE_MANIFEST, "config", desc_json(config), "layers");
    int bad = j == NULL;

    for (size_t i = 0; i < n && !bad; i++) {
        bad |= json_array_append_new(json_object_get(j, "layers"),
                                     desc_json(&layers[i].blob));
    }
    if (bad) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    return pack_put_json(s, PACK_TYPE_MANIFEST, j, ret, e);
}

int pack_put_image(struct image_store *s, json_t *config,
                   const struct image_layer *layers, size_t n,
                   struct image_desc *ret_manifest, struct err *e)
{
    json_t *ids = json_array();
    json_t *rootfs = json_pack("{s:s,s:o}", "type", "layers", "diff_ids", ids);
    struct image_desc desc;
    int bad = rootfs == NULL;
    int r;

    for (size_t i = 0; i < n && !bad; i++) {
        bad |= json_array_append_new(ids, json_string(layers[i].diff_id));
    }
    if (bad || json_object_set_new(config, "rootfs", rootfs) < 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = pack_put_json(s, PACK_TYPE_CONFIG, config, &desc, e);
    return r < 0 ? r : pack_put_manifest(s, &desc, layers, n, ret_manifest, e);
}

/* ---- commit ---- */

int pack_change(const struct pack *p, json_t *config, const json_t *instructions,
                struct err *e)
{
    if (json_array_size(instructions) == 0) {
        return 0;
    }
    return p->change != NULL
               ? p->change(config, instructions, e)
               : err_set(e, -ENOTSUP, "there is nobody here to apply instructions");
}

static int commit_config(const struct pack_commit *c, json_t **ret)
{
    json_t *config =
        c->base != NULL ? json_deep_copy(c->base->config) : pack_new_config();
    char now[UNITS_TEXT_BYTES];
    json_t *settings;
    int bad = 0;

    if (config == NULL) {
        return -ENOMEM;
    }
    pack_now(now);
    bad |= json_object_set_new(config, "created", json_string(now));
    settings = json_object_get(config, "config");
    if (!json_is_object(settings)) {
        settings = json_object();
        bad |= json_object_set_new(config, "config", settings);
    }
    if (c->config != NULL) {
        bad |= json_object_update(settings, (json_t *)(uintptr_t)c->config);
    }
    if (c->author != NULL) {
        bad |= json_object_set_new(config, "author", json_string(c->author));
    }
    bad |= pack_add_history(config, c->created_by, c->author, c->comment, false);
    if (bad != 0) {
        json_decref(config);
        return -ENOMEM;
    }
    *ret = config;
    return 0;
}

int pack_commit(const struct pack *p, const struct pack_commit *c,
                struct image_desc *ret_manifest, struct err *e)
{
    size_t n = c->base != NULL ? c->base->n_layers : 0;
    SCOPED(scope_free) struct image_layer *layers = fault_calloc(n + 1, sizeof *layers);
    SCOPED(scope_json) json_t *config = NULL;
    struct image_desc desc;
    int r = layers == NULL ? -ENOMEM : commit_config(c, &config);

    if (r < 0) {
        return err_set(e, r, "out of memory");
    }
    r = pack_change(p, config, c->changes, e);
    if (r < 0) {
        return err_wrap(e, "cannot commit");
    }
    if (n > 0) {
        memcpy(layers, c->base->layers, n * sizeof *layers);
    }
    r = store_busy_begin(p->store, e);
    if (r < 0) {
        return r;
    }
    r = pack_layer_from_dir(p, c->upper, &c->scan, PACK_GZIP, &layers[n], e);
    r = r < 0 ? r : pack_put_image(p->store, config, layers, n + 1, &desc, e);
    if (r == 0 && c->name != NULL) {
        r = image_tag_desc(p->store, &desc, c->name, e);
    }
    store_busy_end(p->store);
    if (r < 0) {
        return err_wrap(e, "cannot commit");
    }
    *ret_manifest = desc;
    return 0;
}

/* ---- verify ---- */

static int hash_file(int dir, const char *name, uint8_t sum[SHA256_BYTES])
{
    SCOPED(scope_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    SCOPED(scope_free) uint8_t *buf = fault_malloc(1u << 20);
    struct sha256 s;
    ssize_t n;

    if (fd < 0 || buf == NULL) {
        return fd < 0 ? -errno : -ENOMEM;
    }
    sha256_init(&s);
    while ((n = file_read_all(fd, buf, 1u << 20)) > 0) {
        sha256_add(&s, buf, (size_t)n);
    }
    sha256_end(&s, sum);
    return n < 0 ? (int)n : 0;
}

static void verify_blob(const struct pack *p, const char *name, struct strv *faults)
{
    char digest[IMAGE_DIGEST_BYTES];
    uint8_t sum[SHA256_BYTES];
    int r = hash_file(p->store->blobs, name, sum);

    if (r < 0) {
        strv_addf(faults, "blob sha256:%.64s cannot be read: %s", name, strerror(-r));
        return;
    }
    pack_print_digest(sum, digest);
    if (strcmp(digest + 7, name) != 0) {
        strv_addf(faults, "blob sha256:%.64s is damaged: its digest is %s", name, digest);
    }
}

static void verify_desc(const struct pack *p, const char *image, const char *what,
                        const struct image_desc *d, struct strv *faults)
{
    uint64_t size = 0;

    if (!pack_blob_has(p->store, d->digest, &size)) {
        strv_addf(faults, "image '%s': %s %s is missing", image, what, d->digest);
    } else if (d->size != 0 && d->size != size) {
        strv_addf(faults, "image '%s': %s %s has %llu bytes instead of %llu", image, what,
                  d->digest, (unsigned long long)size, (unsigned long long)d->size);
    }
}

static void verify_entry(const struct pack *p, const json_t *entry, struct strv *faults)
{
    const char *name = store_entry_name(entry);
    struct err e = {0};
    struct image_desc d;
    struct image img;
    int r = store_parse_desc(entry, "manifests", &d, &e);

    r = r < 0 ? r : store_load_image(p->store, &d, &img, &e);
    name = name != NULL ? name : "(no name)";
    if (r < 0) {
        strv_addf(faults, "image '%s': %s", name, e.text);
        return;
    }
    verify_desc(p, name, "manifest", &img.manifest, faults);
    verify_desc(p, name, "configuration", &img.config_blob, faults);
    for (size_t i = 0; i < img.n_layers; i++) {
        verify_desc(p, name, "layer", &img.layers[i].blob, faults);
    }
    image_fini(&img);
}

static int verify_blobs(const struct pack *p, struct strv *faults, uint64_t *ret_blobs,
                        struct err *e)
{
    int fd = openat(p->store->blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *x;

    if (d == NULL) {
        return err_sys(e, -errno, "cannot list the blobs in '%s'", p->store->state);
    }
    while ((x = readdir(d)) != NULL) {
        if (x->d_name[0] != '.') {
            verify_blob(p, x->d_name, faults);
            pack_tell(p, "verify", x->d_name, ++*ret_blobs, 0);
        }
    }
    return 0;
}

int pack_verify(const struct pack *p, struct strv *ret_faults, uint64_t *ret_blobs,
                struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    int r = store_busy_begin(p->store, e);

    if (r < 0) {
        return r;
    }
    *ret_blobs = 0;
    r = verify_blobs(p, ret_faults, ret_blobs, e);
    r = r < 0 ? r : store_read_index(p->store, &index, e);
    for (size_t i = 0; r == 0; i++) {
        const json_t *x = json_array_get(json_object_get(index, "manifests"), i);

        if (x == NULL) {
            break;
        }
        verify_entry(p, x, ret_faults);
    }
    store_busy_end(p->store);
    return r == 0 && strv_failed(ret_faults) ? err_set(e, -ENOMEM, "out of memory") : r;
}
