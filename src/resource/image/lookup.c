/* lookup.c - find images by name or digest, list them, name and forget them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/word.h"
#include "resource/image/store.h"

#define NAME_KEY         "org.opencontainers.image.ref.name"
#define SHORT_DIGEST_MIN 6
#define HINT_NAMES_MAX   256

static const char *entry_digest(const json_t *entry)
{
    const char *d = json_string_value(json_object_get(entry, "digest"));

    return d != NULL ? d : "";
}

static const json_t *find_named(const json_t *list, const char *name)
{
    size_t n = json_array_size(list);

    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        const char *has = store_entry_name(x);

        if (has != NULL && strcmp(has, name) == 0) {
            return x;
        }
    }
    return NULL;
}

/* The one manifest whose digest begins so; -ENOENT, or -ENOTUNIQ. */
static int find_short(const json_t *list, const char *hex, const json_t **ret)
{
    size_t n = json_array_size(list);
    const json_t *found = NULL;

    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);

        if (!str_starts(entry_digest(x), "sha256:") ||
            !str_starts(entry_digest(x) + 7, hex)) {
            continue;
        }
        if (found != NULL && strcmp(entry_digest(found), entry_digest(x)) != 0) {
            return -ENOTUNIQ;
        }
        found = x;
    }
    if (found == NULL) {
        return -ENOENT;
    }
    *ret = found;
    return 0;
}

static int unknown(const json_t *list, const char *ref, const char *name, struct err *e)
{
    const char *names[HINT_NAMES_MAX];
    const char *near;
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(list) && n < HINT_NAMES_MAX; i++) {
        names[n++] = store_entry_name(json_array_get(list, i));
    }
    near = word_nearest(name, names, n);
    if (near != NULL) {
        return err_set(e, -ENOENT, "image '%s' is not in the store; did you mean '%s'?",
                       ref, near);
    }
    return err_set(e, -ENOENT, "image '%s' is not in the store", ref);
}

/* A manifest without a name: guests keep theirs alive by digest. */
static int find_blob(struct image_store *s, const char *digest, struct image_desc *ret)
{
    struct stat st;

    if (fstatat(s->blobs, digest + 7, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    *ret = (struct image_desc){.size = (uint64_t)st.st_size};
    (void)str_print(ret->digest, sizeof ret->digest, "%s", digest);
    return 0;
}

static int find_by_digest(struct image_store *s, const json_t *list, const char *digest,
                          struct image_desc *ret, struct err *e)
{
    const json_t *x = NULL;

    if (find_short(list, digest + 7, &x) == 0) {
        return store_parse_desc(x, "manifests", ret, e);
    }
    if (find_blob(s, digest, ret) < 0) {
        return unknown(list, digest, digest, e);
    }
    return 0;
}

static bool looks_short(const char *ref)
{
    size_t n = strlen(ref);

    return n >= SHORT_DIGEST_MIN && n <= 64 && strspn(ref, "0123456789abcdef") == n;
}

/* The descriptor that `ref` means; `name` gets its name, "" for a digest. */
static int resolve(struct image_store *s, const json_t *list, const char *ref,
                   char name[IMAGE_NAME_BYTES], struct image_desc *ret, struct err *e)
{
    const char *hex = str_starts(ref, "sha256:") ? ref + 7 : ref;
    struct image_ref parts;
    const json_t *x;
    int r;

    name[0] = '\0';
    if (store_is_digest(ref)) {
        return find_by_digest(s, list, ref, ret, e);
    }
    if (hex == ref) {
        r = image_ref_parse(ref, &parts, e);
        if (r < 0) {
            return r;
        }
        if (parts.digest[0] != '\0') {
            return find_by_digest(s, list, parts.digest, ret, e);
        }
        (void)image_ref_name(&parts, name);
        x = find_named(list, name);
        if (x != NULL) {
            return store_parse_desc(x, "manifests", ret, e);
        }
    }
    r = looks_short(hex) ? find_short(list, hex, &x) : -ENOENT;
    if (r == -ENOTUNIQ) {
        return err_set(e, r, "'%s' begins the digests of several images", ref);
    }
    if (r < 0) {
        return unknown(list, ref, name, e);
    }
    name[0] = '\0';
    return store_parse_desc(x, "manifests", ret, e);
}

int image_find(struct image_store *s, const char *ref, struct image *ret, struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    char name[IMAGE_NAME_BYTES];
    struct image_desc desc;
    int r = store_read_index(s, &index, e);

    r = r < 0 ? r : resolve(s, json_object_get(index, "manifests"), ref, name, &desc, e);
    r = r < 0 ? r : store_load_image(s, &desc, ret, e);
    if (r == 0) {
        memcpy(ret->name, name, sizeof name);
    }
    return r;
}

int image_layer_dirs(struct image_store *s, const struct image *img, struct strv *ret,
                     struct err *e)
{
    char boot[STORE_BOOT_BYTES] = "";
    int missing = 0;

    for (size_t i = img->n_layers; i-- > 0;) {
        const char *hex = img->layers[i].chain + 7;

        if (store_layer_ready(s, hex, boot) > 0) {
            strv_addf(ret, "%s/layers/%s/fs", s->state, hex);
        } else {
            missing++;
        }
    }
    return strv_failed(ret) ? err_set(e, -ENOMEM, "out of memory") : missing;
}

int image_list(struct image_store *s, image_list_fn *fn, void *arg, size_t *ret_broken,
               struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    const json_t *list;
    size_t broken = 0;
    int r = store_read_index(s, &index, e);

    if (r < 0) {
        return r;
    }
    list = json_object_get(index, "manifests");
    for (size_t i = 0; i < json_array_size(list) && r == 0; i++) {
        const json_t *x = json_array_get(list, i);
        const char *name = store_entry_name(x);
        struct image_desc desc;
        struct image img;

        if (store_parse_desc(x, "manifests", &desc, NULL) < 0 ||
            store_load_image(s, &desc, &img, NULL) < 0) {
            broken++;
            continue;
        }
        (void)str_print(img.name, sizeof img.name, "%s", name != NULL ? name : "");
        r = fn(arg, &img);
        image_fini(&img);
    }
    if (ret_broken != NULL) {
        *ret_broken = broken;
    }
    return r;
}

struct edit {
    struct image_store *s;
    const char *ref;               /* what to name or forget */
    char name[IMAGE_NAME_BYTES];   /* the new name */
    const struct image_desc *desc; /* NULL: `ref` is looked up */
};

static int drop_name(json_t *list, const char *name)
{
    int n = 0;

    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *has = store_entry_name(json_array_get(list, i));

        if (has != NULL && strcmp(has, name) == 0) {
            (void)json_array_remove(list, i);
            n++;
        }
    }
    return n;
}

static int edit_tag(void *arg, json_t *list, struct err *e)
{
    struct edit *x = arg;
    char name[IMAGE_NAME_BYTES];
    struct image_desc desc;
    json_t *entry;
    int r = 0;

    if (x->desc != NULL) {
        desc = *x->desc;
    } else {
        r = resolve(x->s, list, x->ref, name, &desc, e);
    }
    if (r < 0) {
        return r;
    }
    (void)drop_name(list, x->name);
    entry = json_pack("{s:s,s:s,s:I,s:{s:s}}", "mediaType",
                      desc.media_type[0] != '\0'
                          ? desc.media_type
                          : "application/vnd.oci.image.manifest.v1+json",
                      "digest", desc.digest, "size", (json_int_t)desc.size, "annotations",
                      NAME_KEY, x->name);
    if (entry == NULL || json_array_append_new(list, entry) < 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    return 1;
}

static int tag(struct image_store *s, const char *ref, const struct image_desc *desc,
               const char *name, struct err *e)
{
    struct edit x = {.s = s, .ref = ref, .desc = desc};
    struct image_ref parts;
    int r = image_ref_parse(name, &parts, e);

    if (r < 0) {
        return r;
    }
    if (parts.digest[0] != '\0') {
        return err_set(e, -EINVAL, "'%s' is no name to give: it holds a digest", name);
    }
    (void)image_ref_name(&parts, x.name);
    r = store_edit_index(s, edit_tag, &x, e);
    return r < 0 ? err_wrap(e, "cannot name an image '%s'", name) : 0;
}

int image_tag(struct image_store *s, const char *ref, const char *name, struct err *e)
{
    return tag(s, ref, NULL, name, e);
}

int image_tag_desc(struct image_store *s, const struct image_desc *desc, const char *name,
                   struct err *e)
{
    return tag(s, NULL, desc, name, e);
}

static int edit_delete(void *arg, json_t *list, struct err *e)
{
    struct edit *x = arg;
    struct image_desc desc;
    int r = resolve(x->s, list, x->ref, x->name, &desc, e);
    int n = 0;

    if (r < 0) {
        return r;
    }
    if (x->name[0] != '\0') {
        return drop_name(list, x->name) > 0 ? 1 : 0;
    }
    for (size_t i = json_array_size(list); i-- > 0;) {
        if (strcmp(entry_digest(json_array_get(list, i)), desc.digest) == 0) {
            (void)json_array_remove(list, i);
            n++;
        }
    }
    return n > 0 ? 1 : err_set(e, -ENOENT, "image '%s' has no name", x->ref);
}

int image_delete(struct image_store *s, const char *ref, struct err *e)
{
    struct edit x = {.s = s, .ref = ref};
    int r = store_edit_index(s, edit_delete, &x, e);

    return r < 0 ? err_wrap(e, "cannot delete image '%s'", ref) : 0;
}
