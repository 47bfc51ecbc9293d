/* import.c - images come in: OCI layouts, archives, root file systems. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/pack/pack_private.h"

#define COPY_BYTES (256u << 10)

/* Bytes of `fd` into the blob `want` (NULL: any). */
static int copy_blob(const struct pack *p, int fd, const char *want,
                     char ret_digest[IMAGE_DIGEST_BYTES], uint64_t *ret_size,
                     struct err *e)
{
    SCOPED(scope_free) uint8_t *buf = fault_malloc(COPY_BYTES);
    struct pack_blob *b = NULL;
    ssize_t n = 1;
    int r = buf == NULL ? err_set(e, -ENOMEM, "out of memory")
                        : pack_blob_begin(p->store, want, &b, e);

    /* A part that another command left is as good as what follows. */
    if (r == 0 && lseek(fd, (off_t)pack_blob_size(b), SEEK_SET) < 0) {
        r = err_sys(e, -errno, "cannot read");
    }
    while (r == 0 && n > 0) {
        n = file_read_all(fd, buf, COPY_BYTES);
        r = n < 0 ? err_sys(e, (int)n, "cannot read")
                  : pack_blob_write(b, buf, (size_t)n, e);
    }
    if (r < 0) {
        pack_blob_abort(b, false);
        return r;
    }
    return pack_blob_commit(b, ret_digest, ret_size, e);
}

/* ---- names ---- */

/* What the index calls the image; a bare tag is no name. */
static const char *annotated_name(const json_t *entry)
{
    const json_t *a = json_object_get(entry, "annotations");
    const char *full = json_string_value(json_object_get(a, "io.containerd.image.name"));
    const char *ref = store_entry_name(entry);

    if (full != NULL) {
        return full;
    }
    return ref != NULL && strpbrk(ref, ":/") != NULL ? ref : NULL;
}

static int name_image(const struct pack *p, const struct image_desc *desc,
                      const char *name, struct strv *ret_names, struct err *e)
{
    struct image_ref ref;
    char full[IMAGE_NAME_BYTES];
    int r = image_ref_parse(name, &ref, e);

    r = r < 0 ? r : image_tag_desc(p->store, desc, name, e);
    if (r == 0) {
        (void)image_ref_name(&ref, full);
        strv_add(ret_names, full);
    }
    return r;
}

/* ---- whole images ---- */

static int fetch_layers(struct image_store *s, const struct image_desc *desc,
                        const struct pack_from *from, struct err *e)
{
    struct image img;
    int r = store_load_image(s, desc, &img, e);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < img.n_layers && r == 0; i++) {
        r = from->fetch(from->arg, img.layers[i].blob.digest, e);
    }
    image_fini(&img);
    return r;
}

/* The manifest, what it names, and for an index the variant for this host. */
static int fetch_image(struct image_store *s, struct image_desc *desc,
                       const struct pack_from *from, struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    struct image_desc config;
    int r = from->fetch(from->arg, desc->digest, e);

    r = r < 0 ? r : store_read_json(s, desc->digest, &j, e);
    if (r == 0 && json_is_array(json_object_get(j, "manifests"))) {
        SCOPED(scope_json) json_t *index = j;

        j = NULL;
        r = store_choose_platform(index, desc, e);
        r = r < 0 ? r : from->fetch(from->arg, desc->digest, e);
        r = r < 0 ? r : store_read_json(s, desc->digest, &j, e);
    }
    r = r < 0 ? r : store_parse_desc(json_object_get(j, "config"), "config", &config, e);
    r = r < 0 ? r : from->fetch(from->arg, config.digest, e);
    return r < 0 ? r : fetch_layers(s, desc, from, e);
}

int pack_import_index(const struct pack *p, const json_t *index, const char *name,
                      const struct pack_from *from, struct strv *ret_names, struct err *e)
{
    const json_t *list = json_object_get(index, "manifests");
    size_t n = json_array_size(list);

    if (n == 0) {
        return err_set(e, -ENOENT, "there is no image in it");
    }
    if (n > 1 && name != NULL) {
        return err_set(e, -EINVAL, "there are %zu images in it, not one to name '%s'", n,
                       name);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        const char *as = name != NULL ? name : annotated_name(x);
        struct image_desc desc;
        int r = store_parse_desc(x, "manifests", &desc, e);

        if (r == 0 && as == NULL) {
            r = err_set(e, -EINVAL, "the image in it has no name: one must be given");
        }
        r = r < 0 ? r : fetch_image(p->store, &desc, from, e);
        r = r < 0 ? r : name_image(p, &desc, as, ret_names, e);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

struct layout {
    const struct pack *p;
    int dir; /* of the foreign layout */
};

static int fetch_from_dir(void *arg, const char *digest, struct err *e)
{
    const struct layout *l = arg;
    SCOPED(scope_close) int fd = -1;
    char path[IMAGE_DIGEST_BYTES + 16];

    if (!store_is_digest(digest)) {
        return err_set(e, -EINVAL, "'%.80s' is not a SHA-256 digest", digest);
    }
    if (pack_blob_has(l->p->store, digest, NULL)) {
        return 0;
    }
    (void)str_print(path, sizeof path, "blobs/sha256/%s", digest + 7);
    fd = openat(l->dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot open blob %s", digest);
    }
    pack_tell(l->p, "import", digest, 0, 0);
    return copy_blob(l->p, fd, digest, NULL, NULL, e);
}

static int import_layout(const struct pack *p, int dir, const char *name,
                         struct strv *ret_names, struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    SCOPED(scope_free) char *text = NULL;
    struct layout l = {p, dir};
    struct pack_from from = {fetch_from_dir, &l};
    size_t len = 0;
    int r = file_read(dir, "index.json", STORE_JSON_BYTES_MAX, &text, &len);

    if (r < 0) {
        return err_sys(e, r, "cannot read 'index.json'");
    }
    r = json_parse(text, len, "index.json", &index, e);
    return r < 0 ? r : pack_import_index(p, index, name, &from, ret_names, e);
}

/* ---- root file systems ---- */

static int put_rootfs(const struct pack *p, const struct image_layer *layer,
                      const struct pack_import *o, struct strv *ret_names, struct err *e)
{
    SCOPED(scope_json) json_t *config = pack_new_config();
    struct image_desc desc;
    int r;

    if (config == NULL ||
        pack_add_history(config, "import", NULL, o->comment, false) < 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = pack_change(p, config, o->changes, e);
    r = r < 0 ? r : pack_put_image(p->store, config, layer, 1, &desc, e);
    return r < 0 ? r : name_image(p, &desc, o->name, ret_names, e);
}

/* Whole images have a configuration, and a name, of their own. */
static int check_whole(const struct pack_import *o, struct err *e)
{
    return json_array_size(o->changes) == 0 && o->comment == NULL
               ? 0
               : err_set(e, -EINVAL,
                         "only a root file system can be changed on its way in (import "
                         "it, then build FROM it)");
}

static int need_name(const struct pack_import *o, struct err *e)
{
    return o->name != NULL ? 0
                           : err_set(e, -EINVAL,
                                     "a root file system has no name: one must be "
                                     "given");
}

static int import_tree(const struct pack *p, int dir, const struct pack_import *o,
                       struct strv *ret_names, struct err *e)
{
    struct image_layer layer;
    int r = need_name(o, e);

    r = r < 0 ? r : pack_layer_from_dir(p, dir, NULL, PACK_GZIP, &layer, e);
    return r < 0 ? r : put_rootfs(p, &layer, o, ret_names, e);
}

static int import_dir(const struct pack *p, int dir, const struct pack_import *o,
                      struct strv *ret_names, struct err *e)
{
    bool layout = faccessat(dir, "oci-layout", F_OK, 0) == 0;
    int r;

    if (o->form == PACK_FORM_TAR || o->form == PACK_FORM_DOCKER) {
        return err_set(e, -EISDIR, "it is a directory, not a tar file");
    }
    if (o->form == PACK_FORM_OCI && !layout) {
        return err_set(e, -EINVAL, "it is no OCI layout: it has no 'oci-layout'");
    }
    if (o->form == PACK_FORM_DIR || !layout) {
        return import_tree(p, dir, o, ret_names, e);
    }
    r = check_whole(o, e);
    return r < 0 ? r : import_layout(p, dir, o->name, ret_names, e);
}

struct seen {
    bool entry;   /* of a tar file at all */
    bool archive; /* of an image */
};

static void see_name(void *arg, const char *path)
{
    struct seen *seen = arg;

    seen->entry = true;
    path += str_starts(path, "./") ? 2 : 0;
    if (strcmp(path, "manifest.json") == 0 || strcmp(path, "oci-layout") == 0) {
        seen->archive = true;
    }
}

static int coding_of(const struct pack *p, int fd, enum pack_coding *ret, bool *keep,
                     struct err *e)
{
    struct source_limits limits = pack_limits(p);
    struct source *s = NULL;
    int r = source_open(fd, &limits, &s, e);

    if (r < 0) {
        return r;
    }
    *keep =
        strcmp(source_coding(s), "gzip") == 0 || strcmp(source_coding(s), "zstd") == 0;
    *ret = strcmp(source_coding(s), "zstd") == 0 ? PACK_ZSTD : PACK_GZIP;
    source_close(s);
    return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(e, -errno, "cannot read") : 0;
}

/* A layer as it is when its compression is one of the specification's. */
static int import_tar(const struct pack *p, int fd, const char *diff_id,
                      const struct pack_import *o, struct strv *ret_names, struct err *e)
{
    struct image_layer layer = {0};
    enum pack_coding coding;
    bool keep;
    int r = need_name(o, e);

    r = r < 0 ? r : coding_of(p, fd, &coding, &keep, e);
    if (r == 0 && keep) {
        r = copy_blob(p, fd, NULL, layer.blob.digest, &layer.blob.size, e);
        (void)str_print(layer.diff_id, sizeof layer.diff_id, "%s", diff_id);
        (void)str_print(layer.blob.media_type, sizeof layer.blob.media_type, "%s",
                        coding == PACK_ZSTD ? PACK_TYPE_LAYER_ZST : PACK_TYPE_LAYER_GZ);
    } else if (r == 0) {
        r = pack_layer_from_fd(p, fd, coding, &layer, e);
    }
    return r < 0 ? r : put_rootfs(p, &layer, o, ret_names, e);
}

static int import_file(const struct pack *p, int fd, const struct pack_import *o,
                       struct strv *ret_names, struct err *e)
{
    char diff_id[IMAGE_DIGEST_BYTES];
    struct err why = {0};
    struct seen seen = {0};
    int r = pack_scan_tar(p, fd, see_name, &seen, diff_id, &why);

    if ((r == -EINVAL || r == -EBADMSG) && !seen.entry) {
        return err_set(e, r, "it is no archive, layout or directory: %s", why.text);
    }
    if (r < 0) {
        return err_set(e, r, "%s", why.text);
    }
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0) {
        r = err_sys(e, -errno, "cannot read");
    }
    if (r < 0) {
        return r;
    }
    if (o->form == PACK_FORM_TAR || (o->form == PACK_FORM_AUTO && !seen.archive)) {
        return import_tar(p, fd, diff_id, o, ret_names, e);
    }
    if (!seen.archive) {
        return err_set(e, -EINVAL, "it is a tar file with no image in it");
    }
    r = check_whole(o, e);
    return r < 0 ? r : pack_import_archive(p, fd, o, ret_names, e);
}

/* What comes through a pipe is needed twice: gather it in an unnamed file. */
static int gather(const struct pack *p, int from, struct err *e)
{
    SCOPED(scope_free) uint8_t *buf = fault_malloc(COPY_BYTES);
    SCOPED(scope_close)
    int fd = openat(p->store->images, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -errno : 1;
    int r = buf == NULL ? -ENOMEM : 0;

    while (r == 0 && n > 0) {
        n = file_read_all(from, buf, COPY_BYTES);
        r = n > 0 ? file_write_all(fd, buf, (size_t)n) : (int)n;
    }
    if (r < 0 || n < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        return err_sys(e, r < 0 ? r : n < 0 ? (int)n : -errno, "cannot gather it");
    }
    return scope_take_fd(&fd);
}

static int import_fd(const struct pack *p, int fd, const struct pack_import *o,
                     struct strv *ret_names, struct err *e)
{
    SCOPED(scope_close) int copy = -1;
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return err_sys(e, -errno, "cannot read it");
    }
    if (S_ISDIR(st.st_mode)) {
        return import_dir(p, fd, o, ret_names, e);
    }
    if (o->form == PACK_FORM_DIR) {
        return err_set(e, -ENOTDIR, "it is no directory");
    }
    if (!S_ISREG(st.st_mode)) {
        copy = gather(p, fd, e);
        return copy < 0 ? copy : import_file(p, copy, o, ret_names, e);
    }
    return import_file(p, fd, o, ret_names, e);
}

int pack_import(const struct pack *p, const struct pack_import *o, struct strv *ret_names,
                struct err *e)
{
    SCOPED(scope_close) int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    struct image_ref ref;
    int r;

    if (fd < 0) {
        return err_sys(e, -errno, "cannot open '%s'", o->path);
    }
    r = o->name != NULL ? image_ref_parse(o->name, &ref, e) : 0;
    r = r < 0 ? r : store_busy_begin(p->store, e);
    if (r < 0) {
        return r;
    }
    r = import_fd(p, fd, o, ret_names, e);
    store_busy_end(p->store);
    return r < 0 ? err_wrap(e, "cannot import '%s'", o->path) : 0;
}
