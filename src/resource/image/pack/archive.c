/* archive.c - import a tar with whole images inside: OCI or docker.
 *
 * One pass: each file becomes a blob (so its name is checked by its content),
 * small files at the top that tell what is what are kept in memory.  Links
 * between files of the archive, as docker writes them, are followed once. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/image/pack/extract.h"
#include "resource/image/pack/pack_private.h"
#include "resource/image/pack/tar_read.h"

struct archive_in {
    const struct pack *p;
    struct source *source;
    json_t *files;            /* owned; path to digest */
    json_t *links;            /* owned; path to path */
    json_t *index, *manifest; /* owned; of index.json and manifest.json */
};

static int next_piece(void *arg, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    return source_next(((struct archive_in *)arg)->source, ret, ret_len, e);
}

static int take_json(struct tar_read *t, const char *path, json_t **ret, struct err *e)
{
    SCOPED(str_fini) struct str text = {0};
    const uint8_t *bytes;
    size_t len = 1;
    int r = 0;

    while (r == 0 && len > 0) {
        r = tar_read_data(t, &bytes, &len, e);
        if (r == 0 && text.len + len > STORE_JSON_BYTES_MAX) {
            r = err_set(e, -EFBIG, "'%s' is too large", path);
        }
        if (r == 0 && len > 0) {
            str_add_bytes(&text, bytes, len);
        }
    }
    if (r == 0 && str_failed(&text)) {
        r = err_set(e, -ENOMEM, "out of memory");
    }
    json_decref(*ret);
    *ret = NULL;
    return r < 0 ? r : json_parse(str_text(&text), text.len, path, ret, e);
}

static int take_blob(struct archive_in *a, struct tar_read *t, const char *path,
                     struct err *e)
{
    char digest[IMAGE_DIGEST_BYTES];
    struct pack_blob *b = NULL;
    const uint8_t *bytes;
    size_t len = 1;
    int r = pack_blob_begin(a->p->store, NULL, &b, e);

    if (r < 0) {
        return r;
    }
    while (r == 0 && len > 0) {
        r = tar_read_data(t, &bytes, &len, e);
        r = r < 0 || len == 0 ? r : pack_blob_write(b, bytes, len, e);
    }
    if (r < 0) {
        pack_blob_abort(b, false);
        return r;
    }
    r = pack_blob_commit(b, digest, NULL, e);
    pack_tell(a->p, "import", path, 0, 0);
    if (r == 0 && json_object_set_new(a->files, path, json_string(digest)) < 0) {
        r = err_set(e, -EINVAL, "the name '%.200s' is not UTF-8", path);
    }
    return r;
}

/* The target of a symbolic link counts from the folder of the link. */
static int take_link(struct archive_in *a, const struct tar_entry *x, const char *path,
                     struct err *e)
{
    char joined[2 * 4096], target[4096];
    const char *slash = strrchr(path, '/');
    const char *link = x->link;
    int up = slash != NULL ? (int)(slash - path) : 0;

    if (x->type == 'h') {
        up = 0;
    }
    while (x->type == 'l' && str_starts(link, "../")) {
        while (up > 0 && path[--up] != '/') {
        }
        link += 3;
    }
    if (str_print(joined, sizeof joined, "%.*s/%s", up, path, link) < 0 ||
        extract_clean_path(joined, target) < 0) {
        return err_set(e, -EINVAL, "the link '%.200s' leads out of the archive", path);
    }
    return json_object_set_new(a->links, path, json_string(target)) < 0
               ? err_set(e, -EINVAL, "the name '%.200s' is not UTF-8", path)
               : 0;
}

/* Old docker archives carry these beside each layer; nobody needs them. */
static bool is_idle(const char *path)
{
    return strcmp(path, "oci-layout") == 0 || strcmp(path, "repositories") == 0 ||
           str_ends(path, "/VERSION") || str_ends(path, "/json");
}

static int take_entry(struct archive_in *a, struct tar_read *t, const struct tar_entry *x,
                      struct err *e)
{
    char path[4096];

    if (extract_clean_path(x->path, path) < 0) {
        return err_set(e, -EINVAL, "entry '%.200s' leads out of the archive", x->path);
    }
    if (x->type == 'h' || x->type == 'l') {
        return take_link(a, x, path, e);
    }
    if (x->type != '-' || is_idle(path)) {
        return 0;
    }
    if (x->segments != NULL) {
        return err_set(e, -EOPNOTSUPP, "entry '%.200s' is sparse", x->path);
    }
    if (strcmp(path, "index.json") == 0) {
        return take_json(t, path, &a->index, e);
    }
    if (strcmp(path, "manifest.json") == 0) {
        return take_json(t, path, &a->manifest, e);
    }
    return take_blob(a, t, path, e);
}

static int take_all(struct archive_in *a, struct err *e)
{
    struct tar_read *t = NULL;
    struct tar_entry x;
    uint64_t n = 0;
    int r = tar_read_create(next_piece, a, &t, e);

    while (r == 0 && (r = tar_read_next(t, &x, e)) > 0) {
        r = ++n > pack_max_entries(a->p) ? err_set(e, -EFBIG, "it has too many entries")
                                         : take_entry(a, t, &x, e);
    }
    tar_read_destroy(t);
    return r;
}

static int fetch(void *arg, const char *digest, struct err *e)
{
    struct archive_in *a = arg;

    return pack_blob_has(a->p->store, digest, NULL)
               ? 0
               : err_set(e, -ENOENT, "blob %.80s is missing", digest);
}

/* ---- docker ---- */

static int find_file(struct archive_in *a, const char *name, struct image_desc *ret,
                     struct err *e)
{
    const char *digest = NULL, *to;
    char path[4096];

    *ret = (struct image_desc){0};
    if (name != NULL && extract_clean_path(name, path) == 0) {
        to = json_string_value(json_object_get(a->links, path));
        digest = json_string_value(json_object_get(a->files, to != NULL ? to : path));
    }
    if (digest == NULL || !pack_blob_has(a->p->store, digest, &ret->size)) {
        return err_set(e, -ENOENT, "file '%.200s' is missing",
                       name != NULL ? name : "(no name)");
    }
    (void)str_print(ret->digest, sizeof ret->digest, "%s", digest);
    return 0;
}

static int set_layer_type(struct archive_in *a, struct image_desc *d, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    uint8_t head[4] = {0};
    const char *type = PACK_TYPE_LAYER;
    int r = pack_blob_open(a->p->store, d->digest, &fd, NULL, e);

    if (r < 0) {
        return r;
    }
    if (read(fd, head, sizeof head) == sizeof head) {
        if (head[0] == 0x1f && head[1] == 0x8b) {
            type = PACK_TYPE_LAYER_GZ;
        } else if (memcmp(head, "\x28\xb5\x2f\xfd", 4) == 0) {
            type = PACK_TYPE_LAYER_ZST;
        }
    }
    return str_print(d->media_type, sizeof d->media_type, "%s", type);
}

/* The configuration stays byte for byte: its digest is the image's id. */
static int put_docker(struct archive_in *a, const json_t *x, struct image_desc *ret,
                      struct err *e)
{
    const json_t *list = json_object_get(x, "Layers");
    size_t n = json_array_size(list);
    SCOPED(scope_free) struct image_layer *layers = fault_calloc(n + 1, sizeof *layers);
    struct image_desc config;
    struct image img;
    int r = layers == NULL ? err_set(e, -ENOMEM, "out of memory")
                           : find_file(a, json_string_value(json_object_get(x, "Config")),
                                       &config, e);

    for (size_t i = 0; i < n && r == 0; i++) {
        struct image_desc *d = &layers[i].blob;

        r = find_file(a, json_string_value(json_array_get(list, i)), d, e);
        r = r < 0 ? r : set_layer_type(a, d, e);
    }
    if (r < 0) {
        return r;
    }
    (void)str_print(config.media_type, sizeof config.media_type, "%s", PACK_TYPE_CONFIG);
    r = pack_put_manifest(a->p->store, &config, layers, n, ret, e);
    r = r < 0 ? r : store_load_image(a->p->store, ret, &img, e);
    if (r == 0) {
        image_fini(&img);
    }
    return r;
}

static int name_docker(struct archive_in *a, const struct image_desc *desc,
                       const json_t *tags, const char *name, struct strv *ret_names,
                       struct err *e)
{
    size_t n = name != NULL ? 1 : json_array_size(tags);

    if (n == 0) {
        return err_set(e, -EINVAL, "the image in it has no name: one must be given");
    }
    for (size_t i = 0; i < n; i++) {
        const char *as = name != NULL ? name : json_string_value(json_array_get(tags, i));
        char full[IMAGE_NAME_BYTES];
        struct image_ref ref;
        int r = as == NULL ? err_set(e, -EINVAL, "'RepoTags' holds more than texts")
                           : image_ref_parse(as, &ref, e);

        r = r < 0 ? r : image_tag_desc(a->p->store, desc, as, e);
        if (r < 0) {
            return r;
        }
        (void)image_ref_name(&ref, full);
        strv_add(ret_names, full);
    }
    return 0;
}

static int import_docker(struct archive_in *a, const char *name, struct strv *ret_names,
                         struct err *e)
{
    size_t n = json_array_size(a->manifest);

    if (n == 0 || (n > 1 && name != NULL)) {
        return err_set(e, -EINVAL, "there are %zu images in it, not one", n);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(a->manifest, i);
        struct image_desc desc;
        int r = put_docker(a, x, &desc, e);

        r = r < 0 ? r
                  : name_docker(a, &desc, json_object_get(x, "RepoTags"), name, ret_names,
                                e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* The layout when the archive is both, unless told otherwise. */
static int import_what_is_there(struct archive_in *a, const struct pack_import *o,
                                struct strv *ret_names, struct err *e)
{
    bool layout = a->index != NULL && o->form != PACK_FORM_DOCKER;

    if (o->form == PACK_FORM_OCI && !layout) {
        return err_set(e, -EINVAL, "it is no OCI layout: it has no 'index.json'");
    }
    if (o->form == PACK_FORM_DOCKER && a->manifest == NULL) {
        return err_set(e, -EINVAL,
                       "it is no archive of 'docker save': it has no "
                       "'manifest.json'");
    }
    return layout ? pack_import_index(a->p, a->index, o->name,
                                      &(struct pack_from){fetch, a}, ret_names, e)
                  : import_docker(a, o->name, ret_names, e);
}

int pack_import_archive(const struct pack *p, int fd, const struct pack_import *o,
                        struct strv *ret_names, struct err *e)
{
    struct archive_in a = {.p = p, .files = json_object(), .links = json_object()};
    struct source_limits limits = pack_limits(p);
    int r = a.files == NULL || a.links == NULL ? err_set(e, -ENOMEM, "out of memory")
                                               : source_open(fd, &limits, &a.source, e);

    r = r < 0 ? r : take_all(&a, e);
    r = r < 0 ? r : import_what_is_there(&a, o, ret_names, e);
    source_close(a.source);
    json_decref(a.files);
    json_decref(a.links);
    json_decref(a.index);
    json_decref(a.manifest);
    return r;
}
