/* unpack.c - files out of a backup.
 *
 * The list is read twice before a byte of it is believed: its sum has to be the one that was
 * noted.  Each file has a sum, too, and a name only below the directory that it is put in: no
 * link on the way is followed.  Times of directories are set last, once all is in them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/file.h"
#include "node/volume/archive/private.h"

#define BUFFER   (256u << 10)
#define NS_PER_S 1000000000LL

struct unpacking {
    const struct archive_unpack *u;
    char *buffer;   /* owned */
    char name[8];   /* of the backup whose data is open */
    int data;       /* owned; -1 */
    uint64_t files; /* that were found */
    struct err *e;
};

static int damaged(struct unpacking *k, const char *path, const char *why)
{
    return err_set(k->e, -EUCLEAN, "backup '%s' is damaged: '%s' %s",
                   archive_text(k->u->backup, "name"), path, why);
}

/* ---- which entries, and what they are called ---- */

/* What an entry is to be called below the top; false: it is not wanted. */
static bool wanted(const struct archive_unpack *u, const char *path,
                   char out[ARCHIVE_PATH_MOST])
{
    size_t n = u->path != NULL ? strlen(u->path) : 0;

    if (u->path == NULL) {
        return str_print(out, ARCHIVE_PATH_MOST, "%s", path) == 0;
    }
    if (strcmp(u->path, ".") == 0) {
        return str_print(out, ARCHIVE_PATH_MOST, "%s%s%s", u->as,
                         strcmp(path, ".") == 0 ? "" : "/",
                         strcmp(path, ".") == 0 ? "" : path) == 0;
    }
    return strncmp(path, u->path, n) == 0 && (path[n] == '\0' || path[n] == '/') &&
           str_print(out, ARCHIVE_PATH_MOST, "%s%s", u->as, path + n) == 0;
}

static int open_list(const struct unpacking *k, struct archive_reader *r)
{
    int fd = archive_open(k->u->dir, archive_text(k->u->backup, "name"), "list", O_RDONLY,
                          k->e);

    return fd < 0 ? fd : archive_reader_open(r, fd, k->e);
}

/* ---- bytes ---- */

static int need_data(struct unpacking *k, const json_t *data)
{
    const char *name = archive_text(data, "backup");

    if (k->data >= 0 && strcmp(k->name, name) == 0) {
        return 0;
    }
    scope_close(&k->data);
    k->data = archive_open(k->u->dir, name, "data", O_RDONLY, k->e);
    (void)str_print(k->name, sizeof k->name, "%.4s", name);
    return k->data < 0 ? k->data : 0;
}

static int copy_part(struct unpacking *k, int out, off_t from, off_t at, uint64_t bytes,
                     struct sha256 *sum)
{
    while (bytes > 0) {
        size_t want = bytes < BUFFER ? (size_t)bytes : BUFFER;
        ssize_t n = pread(k->data, k->buffer, want, from);
        ssize_t put = n > 0 ? pwrite(out, k->buffer, (size_t)n, at) : 0;

        if (n <= 0 || put != n) {
            return n == 0 ? -ENODATA : errno != 0 ? -errno : -EIO;
        }
        sha256_add(sum, k->buffer, (size_t)n);
        from += n;
        at += n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

/* The parts of a file, in order and inside of it; -EUCLEAN. */
static int copy_parts(struct unpacking *k, const json_t *entry, int out,
                      struct sha256 *sum)
{
    const json_t *data = json_object_get(entry, "data");
    const json_t *parts = json_object_get(data, "parts");
    json_int_t size = archive_number(entry, "size");
    json_int_t left = archive_number(data, "bytes");
    json_int_t from = archive_number(data, "at");
    json_int_t end = 0;
    size_t i;
    json_t *one;

    if (size < 0 || left < 0 || left > size || from < 0) {
        return -EUCLEAN;
    }
    if (parts == NULL) {
        return left == size ? copy_part(k, out, from, 0, (uint64_t)size, sum) : -EUCLEAN;
    }
    json_array_foreach(parts, i, one)
    {
        json_int_t at = json_integer_value(json_array_get(one, 0));
        json_int_t bytes = json_integer_value(json_array_get(one, 1));
        int r;

        if (at < end || bytes < 0 || bytes > left || at > size || bytes > size - at) {
            return -EUCLEAN;
        }
        r = copy_part(k, out, from, at, (uint64_t)bytes, sum);
        if (r < 0) {
            return r;
        }
        from += bytes;
        left -= bytes;
        end = at + bytes;
    }
    return left == 0 ? 0 : -EUCLEAN;
}

static int put_bytes(struct unpacking *k, const json_t *entry, const char *path, int out)
{
    const json_t *data = json_object_get(entry, "data");
    uint8_t bytes[SHA256_BYTES];
    char digits[SHA256_HEX_BYTES];
    struct sha256 sum;
    int r = data == NULL ? -EUCLEAN : need_data(k, data);

    sha256_init(&sum);
    r = r == 0 ? copy_parts(k, entry, out, &sum) : r;
    sha256_end(&sum, bytes);
    sha256_hex(bytes, digits);
    if (r == -EUCLEAN) {
        return damaged(k, path, "makes no sense");
    }
    if (r == -ENODATA) {
        return damaged(k, path, "is cut off");
    }
    if (r == 0 && strcmp(digits, archive_text(data, "sha256")) != 0) {
        return damaged(k, path, "has other bytes");
    }
    return r == 0 && ftruncate(out, (off_t)archive_number(entry, "size")) < 0 ? -errno
                                                                              : r;
}

/* ---- one entry of each type ---- */

static mode_t mode_of(const struct unpacking *k, const json_t *entry)
{
    return (mode_t)archive_number(entry, "mode") & (k->u->owners ? 07777 : 01777);
}

static int set_times(int dir, const char *name, const json_t *entry)
{
    json_int_t ns = archive_number(entry, "mtime_ns");
    json_int_t rest = ns % NS_PER_S;
    struct timespec t = {.tv_sec = ns / NS_PER_S - (rest < 0),
                         .tv_nsec = rest < 0 ? rest + NS_PER_S : rest};
    const struct timespec both[2] = {{.tv_nsec = UTIME_OMIT}, t};

    return utimensat(dir, name, both, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* Owner first: that takes set-id bits and capabilities away. */
static int set_rest(const struct unpacking *k, const json_t *entry, int dir,
                    const char *name)
{
    SCOPED(scope_close) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool is_link = strcmp(archive_text(entry, "type"), "link") == 0;
    char path[64];
    int r = fd < 0 ? -errno : 0;

    (void)str_print(path, sizeof path, "/proc/self/fd/%d", fd);
    if (r == 0 && k->u->owners &&
        fchownat(fd, "", (uid_t)archive_number(entry, "uid"),
                 (gid_t)archive_number(entry, "gid"), AT_EMPTY_PATH) < 0) {
        r = -errno;
    }
    if (r == 0 && k->u->owners) {
        r = archive_set_attributes(fd, json_object_get(entry, "xattrs"));
    }
    if (r == 0 && !is_link && chmod(path, mode_of(k, entry)) < 0) {
        r = -errno;
    }
    return r == 0 ? set_times(dir, name, entry) : r;
}

static int make_file(struct unpacking *k, const json_t *entry, const char *path, int dir,
                     const char *name)
{
    SCOPED(scope_close)
    int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    return fd < 0 ? -errno : put_bytes(k, entry, path, fd);
}

/* Of a file whose first name is not among those that are wanted: its bytes are. */
static int find_first(struct unpacking *k, const char *path, json_t **ret)
{
    struct archive_reader list = {.file = NULL};
    int r = open_list(k, &list);

    *ret = NULL;
    while (r == 0) {
        r = archive_read(&list, ret, k->e);
        if (r < 0 || *ret == NULL || strcmp(archive_text(*ret, "path"), path) == 0) {
            break;
        }
        json_decref(*ret);
        *ret = NULL;
    }
    archive_reader_fini(&list);
    return r < 0          ? r
           : *ret == NULL ? damaged(k, path, "has another name, and is missing")
                          : 0;
}

static int make_entry(struct unpacking *k, const json_t *entry, const char *path, int dir,
                      const char *name);

static int make_same(struct unpacking *k, const json_t *entry, const char *path, int dir,
                     const char *name)
{
    SCOPED(scope_json) json_t *other = NULL;
    SCOPED(scope_close) int first_dir = -1;
    char first[ARCHIVE_PATH_MOST];
    char own[ARCHIVE_PATH_MOST];
    char last[NAME_MAX + 1];
    int r = archive_unquote(archive_text(entry, "of"), first, sizeof first);

    if (r < 0) {
        return damaged(k, path, "makes no sense");
    }
    if (wanted(k->u, first, own)) {
        first_dir = archive_parent(k->u->top, own, last);
        if (first_dir >= 0 && linkat(first_dir, last, dir, name, 0) == 0) {
            return 1; /* with all that the first one has */
        }
        return first_dir < 0 || errno == ENOENT || errno == EPERM
                   ? damaged(k, path, "has no such other name")
                   : -errno;
    }
    r = find_first(k, archive_text(entry, "of"), &other);
    if (r == 0 && strcmp(archive_text(other, "type"), "same") == 0) {
        r = damaged(k, path, "makes no sense");
    }
    r = r == 0 ? make_entry(k, other, path, dir, name) : r;
    r = r == 0 ? set_rest(k, other, dir, name) : r;
    return r == 0 ? 1 : r;
}

static int make_link(struct unpacking *k, const json_t *entry, const char *path, int dir,
                     const char *name)
{
    char target[PATH_MAX];

    if (archive_unquote(archive_text(entry, "target"), target, sizeof target) < 0) {
        return damaged(k, path, "makes no sense");
    }
    return symlinkat(target, dir, name) < 0 ? -errno : 0;
}

static int make_device(const struct unpacking *k, const json_t *entry, int dir,
                       const char *name)
{
    const char *type = archive_text(entry, "type");
    mode_t mode = strcmp(type, "fifo") == 0   ? S_IFIFO
                  : strcmp(type, "char") == 0 ? S_IFCHR
                                              : S_IFBLK;

    if (mode != S_IFIFO && !k->u->owners) {
        return 1; /* stays behind */
    }
    return mknodat(dir, name, mode | 0600, (dev_t)archive_number(entry, "device")) < 0
               ? -errno
               : 0;
}

/* 1: nothing more is to be done. */
static int make_entry(struct unpacking *k, const json_t *entry, const char *path, int dir,
                      const char *name)
{
    const char *type = archive_text(entry, "type");

    if (strcmp(type, "directory") == 0) {
        return strcmp(name, ".") == 0 || mkdirat(dir, name, 0700) == 0 ? 0 : -errno;
    }
    if (strcmp(type, "file") == 0) {
        return make_file(k, entry, path, dir, name);
    }
    if (strcmp(type, "same") == 0) {
        return make_same(k, entry, path, dir, name);
    }
    if (strcmp(type, "link") == 0) {
        return make_link(k, entry, path, dir, name);
    }
    if (strcmp(type, "fifo") == 0 || strcmp(type, "char") == 0 ||
        strcmp(type, "block") == 0) {
        return make_device(k, entry, dir, name);
    }
    return damaged(k, path, "is of no known type");
}

/* ---- all of them ---- */

static int unpack_entry(struct unpacking *k, const json_t *entry, bool times)
{
    const char *quoted = archive_text(entry, "path");
    bool is_dir = strcmp(archive_text(entry, "type"), "directory") == 0;
    SCOPED(scope_close) int dir = -1;
    char path[ARCHIVE_PATH_MOST];
    char own[ARCHIVE_PATH_MOST];
    char name[NAME_MAX + 1];
    int r = archive_unquote(quoted, path, sizeof path);

    if (r < 0) {
        return damaged(k, quoted, "makes no sense");
    }
    if (!wanted(k->u, path, own) || (times && !is_dir)) {
        return 0;
    }
    k->files += !times;
    dir = archive_parent(k->u->top, own, name);
    if (dir == -EINVAL || dir == -ELOOP || dir == -EXDEV || dir == -ENOENT) {
        return damaged(k, quoted, "has no place");
    }
    r = dir < 0 ? dir
        : times ? set_times(dir, name, entry)
                : make_entry(k, entry, quoted, dir, name);
    r = r == 0 && !times ? set_rest(k, entry, dir, name) : r;
    return r < 0 ? err_sys(k->e, r, "cannot write '%s'", quoted) : 0;
}

static int unpack_list(struct unpacking *k, bool times)
{
    struct archive_reader list = {.file = NULL};
    int r = open_list(k, &list);

    for (bool more = true; r == 0 && more;) {
        SCOPED(scope_json) json_t *entry = NULL;

        r = archive_read(&list, &entry, k->e);
        more = entry != NULL;
        r = r == 0 && more ? unpack_entry(k, entry, times) : r;
    }
    archive_reader_fini(&list);
    return r;
}

static int check_list(struct unpacking *k)
{
    struct archive_reader list = {.file = NULL};
    int r = open_list(k, &list);

    r = r == 0 ? archive_check(&list, archive_text(k->u->backup, "sha256"), k->e) : r;
    archive_reader_fini(&list);
    return r < 0 ? err_wrap(k->e, "backup '%s'", archive_text(k->u->backup, "name")) : 0;
}

int archive_unpack(const struct archive_unpack *u, struct err *e)
{
    struct unpacking k = {.u = u, .data = -1, .e = e, .buffer = fault_malloc(BUFFER)};
    int r = k.buffer == NULL ? err_set(e, -ENOMEM, "no memory") : check_list(&k);

    r = r == 0 ? unpack_list(&k, false) : r;
    if (r == 0 && k.files == 0) {
        r = err_set(e, -ENOENT, "backup '%s' has no '%s'",
                    archive_text(u->backup, "name"), u->path != NULL ? u->path : ".");
    }
    r = r == 0 ? unpack_list(&k, true) : r;
    scope_close(&k.data);
    free(k.buffer);
    return r;
}
