/* export.c - images go out: OCI layout, OCI archive, docker archive, rootfs tar. */
#include "resource/image/pack/export.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/pack/pack_private.h"
#include "resource/image/pack/tar_write.h"

#define PART_SUFFIX ".strata-part" /* of a directory that is not whole yet */
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"

/* Where a layout's files go: below a directory or into a tar. */
struct out {
    const struct pack *p;
    const struct image *img;
    int dir; /* -1: `tar` */
    struct tar_write tar;
};

static int put_to_fd(void *arg, const void *bytes, size_t len, struct err *e)
{
    int r = file_write_all(*(const int *)arg, bytes, len);

    return r < 0 ? err_sys(e, r, "cannot write") : 0;
}

static int out_bytes(struct out *o, const char *path, const char *text, struct err *e)
{
    int r;

    if (o->dir < 0) {
        return tar_write_file(&o->tar, path, text, strlen(text), e);
    }
    r = file_replace(o->dir, path, text, strlen(text), 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int out_json(struct out *o, const char *path, const json_t *j, struct err *e)
{
    SCOPED(scope_free) char *text = j == NULL ? NULL : json_dumps(j, JSON_COMPACT);

    return text == NULL ? err_set(e, -ENOMEM, "out of memory")
                        : out_bytes(o, path, text, e);
}

static int copy_file(int from, int to, uint64_t size)
{
    while (size > 0) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, size, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        size -= (uint64_t)n;
    }
    return 0;
}

static int out_fd(struct out *o, const char *path, int fd, uint64_t size, struct err *e)
{
    struct tar_entry x = {
        .path = path, .link = "", .type = '-', .mode = 0644, .size = size};
    SCOPED(scope_close) int to = -1;
    int r;

    if (o->dir < 0) {
        r = tar_write_entry(&o->tar, &x, 0, 0, e);
        return r < 0 ? r : tar_write_fd(&o->tar, fd, size, e);
    }
    to = openat(o->dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (to < 0) {
        /* The same layer twice in one image is one blob. */
        return errno == EEXIST ? 0 : err_sys(e, -errno, "cannot make '%s'", path);
    }
    r = copy_file(fd, to, size);
    if (r == -EXDEV || r == -EINVAL || r == -EOPNOTSUPP) {
        struct tar_write plain = {put_to_fd, &to};

        r = ftruncate(to, 0) < 0 || lseek(to, 0, SEEK_SET) < 0 ? -errno : 0;
        r = r < 0 ? r : tar_write_fd(&plain, fd, size, e);
        r = r < 0 || ftruncate(to, (off_t)size) == 0 ? r : -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static int out_blob(struct out *o, const struct image_desc *d, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    char path[IMAGE_DIGEST_BYTES + 16];
    uint64_t size;
    int r = pack_blob_open(o->p->store, d->digest, &fd, &size, e);

    (void)str_print(path, sizeof path, "blobs/sha256/%s", d->digest + 7);
    pack_tell(o->p, "export", d->digest, 0, 0);
    r = r < 0 ? r : out_fd(o, path, fd, size, e);
    if (r < 0) {
        return r;
    }
    r = fault_step("image.export.blob");
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

static json_t *layout_index(const struct image *img)
{
    const char *colon = strrchr(img->name, ':');
    json_t *names = img->name[0] == '\0'
                        ? json_object()
                        : json_pack("{s:s,s:s}", "org.opencontainers.image.ref.name",
                                    colon != NULL ? colon + 1 : img->name,
                                    "io.containerd.image.name", img->name);

    return json_pack("{s:i,s:s,s:[{s:s,s:s,s:I,s:o}]}", "schemaVersion", 2, "mediaType",
                     PACK_TYPE_INDEX, "manifests", "mediaType",
                     img->manifest.media_type[0] != '\0' ? img->manifest.media_type
                                                         : PACK_TYPE_MANIFEST,
                     "digest", img->manifest.digest, "size",
                     (json_int_t)img->manifest.size, "annotations", names);
}

static int out_layout(struct out *o, struct err *e)
{
    SCOPED(scope_json) json_t *index = layout_index(o->img);
    int r = out_bytes(o, "oci-layout", LAYOUT_TEXT, e);

    r = r < 0 ? r : out_json(o, "index.json", index, e);
    r = r < 0 ? r : out_blob(o, &o->img->manifest, e);
    r = r < 0 ? r : out_blob(o, &o->img->config_blob, e);
    for (size_t i = 0; i < o->img->n_layers && r == 0; i++) {
        bool again = false;

        for (size_t k = 0; k < i; k++) {
            again = again || strcmp(o->img->layers[k].blob.digest,
                                    o->img->layers[i].blob.digest) == 0;
        }
        r = again ? 0 : out_blob(o, &o->img->layers[i].blob, e);
    }
    return r;
}

/* ---- docker archive ---- */

/* Plain bytes of a layer, checked; `put` NULL only counts them. */
static int read_layer(struct out *o, const struct image_layer *l, bool write,
                      uint64_t *ret_bytes, struct err *e)
{
    SCOPED(scope_close) int fd = -1;
    struct source_limits limits = pack_limits(o->p);
    struct source *s = NULL;
    char digest[IMAGE_DIGEST_BYTES];
    const uint8_t *bytes;
    size_t len = 1;
    int r = pack_blob_open(o->p->store, l->blob.digest, &fd, NULL, e);

    r = r < 0 ? r : source_open(fd, &limits, &s, e);
    while (r == 0 && len > 0) {
        r = source_next(s, &bytes, &len, e);
        if (r == 0 && len > 0 && write) {
            r = tar_write_data(&o->tar, bytes, len, e);
        }
    }
    r = r < 0 ? r : source_finish(s, digest, ret_bytes, e);
    source_close(s);
    if (r == 0 && strcmp(digest, l->diff_id) != 0) {
        r = err_set(e, -EBADMSG, "layer %s has the wrong content", l->blob.digest);
    }
    return r;
}

static int out_docker_layer(struct out *o, const struct image_layer *l, const char *path,
                            struct err *e)
{
    struct tar_entry x = {.path = path, .link = "", .type = '-', .mode = 0644};
    uint64_t bytes = 0;
    int r = read_layer(o, l, false, &x.size, e);

    r = r < 0 ? r : tar_write_entry(&o->tar, &x, 0, 0, e);
    r = r < 0 ? r : read_layer(o, l, true, &bytes, e);
    return r < 0 ? r : tar_write_pad(&o->tar, x.size, e);
}

static int out_docker(struct out *o, struct err *e)
{
    const struct image *img = o->img;
    json_t *layers = json_array();
    SCOPED(scope_close) int fd = -1;
    char path[IMAGE_DIGEST_BYTES + 8];
    SCOPED(scope_json) json_t *j = NULL;
    uint64_t size;
    int r = 0;

    for (size_t i = 0; i < img->n_layers && r == 0; i++) {
        bool again = false;

        (void)str_print(path, sizeof path, "%s.tar", img->layers[i].diff_id + 7);
        for (size_t k = 0; k < i; k++) {
            again = again || strcmp(img->layers[k].diff_id, img->layers[i].diff_id) == 0;
        }
        r = again ? 0 : out_docker_layer(o, &img->layers[i], path, e);
        (void)json_array_append_new(layers, json_string(path));
    }
    r = r < 0 ? r : pack_blob_open(o->p->store, img->config_blob.digest, &fd, &size, e);
    (void)str_print(path, sizeof path, "%s.json", img->config_blob.digest + 7);
    r = r < 0 ? r : out_fd(o, path, fd, size, e);
    j = json_pack("[{s:s,s:o,s:o}]", "Config", path, "RepoTags",
                  img->name[0] != '\0' ? json_pack("[s]", img->name) : json_array(),
                  "Layers", layers);
    return r < 0 ? r : out_json(o, "manifest.json", j, e);
}

/* ---- where to ---- */

/* Under another name until it is whole; an export that died there left that one. */
static int export_dir(struct out *o, const char *path, struct err *e)
{
    SCOPED(scope_close) int dir = -1;
    char part[PATH_MAX];
    int r = str_print(part, sizeof part, "%s" PART_SUFFIX, path);

    if (r == 0 && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        r = -EEXIST;
    }
    r = r < 0 ? r : file_remove_tree(AT_FDCWD, part);
    if (r < 0 || mkdir(part, 0755) < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot make '%s'", path);
    }
    dir = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    o->dir = dir;
    if (dir < 0 || mkdirat(dir, "blobs", 0755) < 0 ||
        mkdirat(dir, "blobs/sha256", 0755) < 0) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    } else {
        r = out_layout(o, e);
    }
    if (r == 0 && renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
        r = err_sys(e, -errno, "cannot make '%s'", path);
    }
    if (r < 0) {
        (void)file_remove_tree(AT_FDCWD, part);
    }
    return r;
}

typedef int out_fn(struct out *o, struct err *e);

static int out_rootfs(struct out *o, struct err *e)
{
    struct tree *t = NULL;
    int r = pack_unpack(o->p, o->img, e);

    r = r < 0 ? r : image_tree_open(o->p->store, o->img, &t, e);
    r = r < 0 ? r : export_tree(&o->tar, t, e);
    tree_close(t);
    return r;
}

/* A file without a name, in the folder of `path`; -errno where that is not to be had. */
static int open_nameless(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    int len = slash == NULL ? 0 : (int)(slash - path) + 1;
    int r = str_print(folder, sizeof folder, "%.*s.", len, path);

    if (r == 0 && faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        return -EEXIST;
    }
    r = r < 0 ? r : open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0644);
    return r == -1 ? -errno : r;
}

static int give_name(int fd, const char *path, struct err *e)
{
    char link[32];

    (void)str_print(link, sizeof link, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0
               ? err_sys(e, -errno, "cannot make '%s'", path)
               : 0;
}

/* The file has its name when it is whole, so that a death on the way leaves none. */
static int export_tar(struct out *o, out_fn *fn, const char *path, struct err *e)
{
    bool to_pipe = strncmp(path, "/proc/self/fd/", 14) == 0;
    SCOPED(scope_close) int fd = to_pipe ? -1 : open_nameless(path);
    bool nameless = fd >= 0;
    int r;

    if (to_pipe) {
        fd = open(path, O_WRONLY | O_CLOEXEC);
    } else if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL) {
        fd = open(path, O_WRONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0644);
    } else if (fd < 0) {
        errno = -fd;
    }
    if (fd < 0) {
        return err_sys(e, -errno, "cannot make '%s'", path);
    }
    o->dir = -1;
    o->tar = (struct tar_write){put_to_fd, &fd};
    r = fn(o, e);
    r = r < 0 ? r : tar_write_end(&o->tar, e);
    (void)fault_step("image.export.whole");
    r = r < 0 || !nameless ? r : give_name(fd, path, e);
    if (r < 0 && !to_pipe && !nameless) {
        (void)unlink(path);
    }
    return r;
}

int pack_export(const struct pack *p, const struct image *img, const char *format,
                const char *path, struct err *e)
{
    static const struct {
        const char *name;
        out_fn *fn;
    } formats[] = {{"oci-archive", out_layout},
                   {"docker-archive", out_docker},
                   {"rootfs", out_rootfs}};
    struct out o = {.p = p, .img = img, .dir = -1};
    int r = -EINVAL;

    if (strcmp(format, "oci") == 0) {
        r = export_dir(&o, path, e);
        return r < 0 ? err_wrap(e, "cannot export to '%s'", path) : 0;
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(format, formats[i].name) == 0) {
            r = export_tar(&o, formats[i].fn, path, e);
            return r < 0 ? err_wrap(e, "cannot export to '%s'", path) : 0;
        }
    }
    return err_set(e, r,
                   "'%s' is no format of an export: oci, oci-archive, "
                   "docker-archive, rootfs",
                   format);
}
