/* store.c - the store's directories, its locks and index.json. */
#include "resource/image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "host/file.h"

#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define NAME_KEY    "org.opencontainers.image.ref.name"

static int open_dir(int dir, const char *path)
{
    int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int make_dirs(const struct image_store *s, struct err *e)
{
    static const char *const dirs[] = {"images/blobs/sha256", "images/partial", "layers"};

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        SCOPED(scope_free) char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s", s->state, dirs[i]) < 0) {
            path = NULL;
            return err_set(e, -ENOMEM, "cannot open the image store: out of memory");
        }
        r = file_make_dirs(path, 0700);
        if (r < 0) {
            return err_sys(e, r, "cannot make '%s'", path);
        }
    }
    return 0;
}

static int open_dirs(struct image_store *s)
{
    SCOPED(scope_close) int state = open_dir(AT_FDCWD, s->state);

    if (state < 0) {
        return state;
    }
    s->images = open_dir(state, "images");
    s->layers = open_dir(state, "layers");
    s->blobs = open_dir(state, "images/blobs/sha256");
    if (s->images < 0 || s->layers < 0 || s->blobs < 0) {
        int r = s->images < 0 ? s->images : s->layers < 0 ? s->layers : s->blobs;

        scope_close(&s->images);
        scope_close(&s->layers);
        scope_close(&s->blobs);
        s->images = s->layers = s->blobs = -1;
        return r;
    }
    return 0;
}

int image_store_open(const char *state, struct image_store **ret, struct err *e)
{
    struct image_store *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        return err_set(e, -ENOMEM, "cannot open the image store: out of memory");
    }
    s->images = s->blobs = s->layers = s->busy = -1;
    s->state = fault_strdup(state);
    r = s->state == NULL ? -ENOMEM : open_dirs(s);
    if (r == -ENOENT) {
        r = make_dirs(s, e);
        r = r < 0 ? r : open_dirs(s);
    }
    if (r < 0) {
        image_store_close(s);
        return err_sys(e, r, "cannot open the image store in '%s'", state);
    }
    *ret = s;
    return 0;
}

void image_store_close(struct image_store *s)
{
    if (s == NULL) {
        return;
    }
    scope_close(&s->images);
    scope_close(&s->blobs);
    scope_close(&s->layers);
    scope_close(&s->busy);
    free(s->state);
    free(s);
}

static int lock(int dir, const char *name, int how)
{
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (fd < 0) {
        return -errno;
    }
    do {
        r = flock(fd, how);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    return fd;
}

int store_busy_begin(struct image_store *s, struct err *e)
{
    if (s->busy_n == 0) {
        int fd = lock(s->images, "busy.lock", LOCK_SH);

        if (fd < 0) {
            return err_sys(e, fd, "cannot lock the image store in '%s'", s->state);
        }
        s->busy = fd;
    }
    s->busy_n++;
    return 0;
}

void store_busy_end(struct image_store *s)
{
    if (s->busy_n > 0 && --s->busy_n == 0) {
        scope_close(&s->busy);
        s->busy = -1;
    }
}

int image_hold(struct image_store *s, struct err *e)
{
    return store_busy_begin(s, e);
}

void image_release(struct image_store *s)
{
    store_busy_end(s);
}

int image_lock_alone(struct image_store *s, struct err *e)
{
    int fd = lock(s->images, "busy.lock", LOCK_EX | LOCK_NB);

    if (fd == -EWOULDBLOCK) {
        return err_set(e, -EBUSY,
                       "the image store in '%s' is in use: another command adds an image",
                       s->state);
    }
    return fd < 0 ? err_sys(e, fd, "cannot lock the image store in '%s'", s->state) : fd;
}

int store_read_index(struct image_store *s, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *j = NULL;
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(s->images, "index.json", STORE_JSON_BYTES_MAX, &text, &len);

    if (r == -ENOENT) {
        j = json_pack("{s:i,s:[]}", "schemaVersion", 2, "manifests");
        r = j == NULL ? -ENOMEM : 0;
    } else if (r == 0) {
        r = json_parse(text, len, "images/index.json", &j, e);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read the index of the image store in '%s'",
                       s->state);
    }
    if (!json_is_array(json_object_get(j, "manifests"))) {
        return err_set(e, -EINVAL, "the index of the image store in '%s' is damaged",
                       s->state);
    }
    *ret = json_incref(j);
    return 0;
}

static int write_index(struct image_store *s, const json_t *index, struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(index, JSON_COMPACT);
    int r = text == NULL ? -ENOMEM : fault_step("image.index.write");

    if (r == 0 && faccessat(s->images, "oci-layout", F_OK, 0) < 0) {
        r = file_replace(s->images, "oci-layout", LAYOUT_TEXT, strlen(LAYOUT_TEXT), 0644,
                         true);
    }
    if (r == 0) {
        r = file_replace(s->images, "index.json", text, strlen(text), 0644, true);
    }
    return r < 0 ? err_sys(e, r, "cannot write the index of the image store in '%s'",
                           s->state)
                 : 0;
}

int store_edit_index(struct image_store *s, store_edit_fn *fn, void *arg, struct err *e)
{
    SCOPED(scope_json) json_t *index = NULL;
    SCOPED(scope_close) int fd = lock(s->images, "index.lock", LOCK_EX);
    int r;

    if (fd < 0) {
        return err_sys(e, fd, "cannot lock the index of the image store in '%s'",
                       s->state);
    }
    r = store_read_index(s, &index, e);
    if (r < 0) {
        return r;
    }
    r = fn(arg, json_object_get(index, "manifests"), e);
    return r <= 0 ? r : write_index(s, index, e);
}

const char *store_entry_name(const json_t *entry)
{
    return json_string_value(
        json_object_get(json_object_get(entry, "annotations"), NAME_KEY));
}

int store_parse_desc(const json_t *j, const char *where, struct image_desc *ret,
                     struct err *e)
{
    const char *digest = NULL, *type = "";
    struct image_desc d = {0};
    int r;

    if (!json_is_object(j)) {
        return err_set(e, -EINVAL, "'%s' is not a descriptor", where);
    }
    r = json_want_str(j, where, "digest", &digest, e);
    r = r < 0 ? r : json_opt_str(j, where, "mediaType", &type, e);
    r = r < 0 ? r : json_opt_u64(j, where, "size", &d.size, e);
    if (r < 0) {
        return r;
    }
    if (!store_is_digest(digest)) {
        return err_set(e, -EINVAL, "'%s.digest' is not a SHA-256 digest", where);
    }
    if (str_print(d.media_type, sizeof d.media_type, "%s", type) < 0) {
        return err_set(e, -EINVAL, "'%s.mediaType' is too long", where);
    }
    (void)str_print(d.digest, sizeof d.digest, "%s", digest);
    *ret = d;
    return 0;
}

int store_read_json(struct image_store *s, const char *digest, json_t **ret,
                    struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    size_t len = 0;
    int r;

    if (!store_is_digest(digest)) {
        return err_set(e, -EINVAL, "'%.80s' is not a digest", digest);
    }
    r = file_read(s->blobs, digest + 7, STORE_JSON_BYTES_MAX, &text, &len);
    if (r == -ENOENT) {
        return err_set(e, r, "blob %s is not in the store", digest);
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read blob %s", digest);
    }
    sha256_sum(text, len, sum);
    sha256_hex(sum, hex);
    if (strcmp(hex, digest + 7) != 0) {
        return err_set(e, -EBADMSG, "blob %s is damaged: its digest is sha256:%s", digest,
                       hex);
    }
    return json_parse(text, len, digest, ret, e);
}

void store_boot_id(char out[STORE_BOOT_BYTES])
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;

    out[0] = '\0';
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &len) == 0) {
        (void)str_print(out, STORE_BOOT_BYTES, "%.*s", (int)strcspn(text, "\n"), text);
    }
}

int store_layer_ready(struct image_store *s, const char *hex, char boot[STORE_BOOT_BYTES])
{
    char path[IMAGE_DIGEST_BYTES + 8], made[STORE_BOOT_BYTES];
    ssize_t n;

    (void)str_print(path, sizeof path, "%s/fs", hex);
    if (faccessat(s->layers, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        return 0;
    }
    (void)str_print(path, sizeof path, "%s/boot", hex);
    n = readlinkat(s->layers, path, made, sizeof made - 1);
    if (n < 0) {
        return 1;
    }
    made[n] = '\0';
    if (boot[0] == '\0') {
        store_boot_id(boot);
    }
    return strcmp(made, boot) == 0 ? 1 : -ESTALE;
}
