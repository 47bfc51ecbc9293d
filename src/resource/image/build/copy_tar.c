/* copy_tar.c - ADD unpacks a local archive; its entries go into the layer with
 * the destination in front.  Paths that lead upward are refused. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/copy.h"

#define READ_BYTES  (256u << 10)
#define BYTES_MAX   (64ull << 30)
#define ENTRIES_MAX 2000000

static void scope_archive(struct archive **a)
{
    (void)archive_read_free(*a);
}

/* "./a//b/" below `base`; -EINVAL for "..". */
static int clean(const char *base, const char *path, char out[PATH_MAX])
{
    char part[NAME_MAX + 1];
    int r = str_print(out, PATH_MAX, "%s", base);

    while (r == 0 && *path != '\0') {
        size_t n = strcspn(path, "/");
        size_t len = strlen(out);

        if (n > NAME_MAX || (n == 2 && strncmp(path, "..", 2) == 0)) {
            return n > NAME_MAX ? -ENAMETOOLONG : -EINVAL;
        }
        memcpy(part, path, n);
        part[n] = '\0';
        if (n > 0 && strcmp(part, ".") != 0) {
            r = str_print(out + len, PATH_MAX - len, "%s%s", len > 0 ? "/" : "", part);
        }
        path += path[n] == '/' ? n + 1 : n;
    }
    return r;
}

static char type_of(struct archive_entry *x)
{
    if (archive_entry_hardlink(x) != NULL) {
        return 'h';
    }
    switch (archive_entry_filetype(x)) {
    case AE_IFREG:
        return '-';
    case AE_IFDIR:
        return 'd';
    case AE_IFLNK:
        return 'l';
    case AE_IFIFO:
        return 'p';
    default:
        return '\0';
    }
}

/* A file without a name for what is too large for memory. */
static int open_spool(void)
{
    int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    return fd < 0 ? memfd_create("entry", MFD_CLOEXEC) : fd;
}

/* The file's bytes into a file without a name; a descriptor, or -errno. */
static int spool(struct archive *a, uint64_t *ret_size, struct err *e)
{
    SCOPED(scope_free) char *buf = malloc(READ_BYTES);
    SCOPED(scope_close) int fd = open_spool();
    uint64_t size = 0;
    ssize_t n;

    if (buf == NULL || fd < 0) {
        return err_set(e, fd < 0 ? fd : -ENOMEM, "cannot hold a file of the archive");
    }
    while ((n = archive_read_data(a, buf, READ_BYTES)) > 0) {
        int r = size > BYTES_MAX ? -EFBIG : file_write_all(fd, buf, (size_t)n);

        if (r < 0) {
            return err_sys(e, r, "cannot hold a file of the archive");
        }
        size += (uint64_t)n;
    }
    if (n < 0) {
        return err_set(e, -EBADMSG, "the archive is damaged: %s",
                       archive_error_string(a));
    }
    *ret_size = size;
    return scope_take_fd(&fd);
}

static int put_entry(struct copy *c, struct archive *a, struct archive_entry *in,
                     const char *base, struct err *e)
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *name = archive_entry_pathname(in);
    SCOPED(scope_close) int fd = -1;
    struct pack_entry x = {.path = path,
                           .type = type_of(in),
                           .mode = archive_entry_perm(in),
                           .uid = (uint32_t)archive_entry_uid(in),
                           .gid = (uint32_t)archive_entry_gid(in),
                           .mtime = archive_entry_mtime(in),
                           .fd = -1};
    int r = name == NULL ? -EINVAL : clean(base, name, path);

    if (r < 0 || x.type == '\0') {
        return err_set(e, -EINVAL, "the archive's entry '%.100s' cannot be unpacked: %s",
                       name != NULL ? name : "?",
                       r < 0 ? "its name leads elsewhere" : "it is a device or socket");
    }
    if (x.type == 'd') {
        struct stat st = {.st_mode = S_IFDIR | x.mode,
                          .st_uid = x.uid,
                          .st_gid = x.gid,
                          .st_mtime = x.mtime};

        return copy_put_dir(c, path, &st, e);
    }
    r = copy_put_parents(c, path, e);
    if (r == 0 && x.type == 'h') {
        r = clean(base, archive_entry_hardlink(in), target);
        x.link = target;
    } else if (x.type == 'l') {
        x.link = archive_entry_symlink(in);
    } else if (r == 0 && x.type == '-') {
        fd = spool(a, &x.size, e);
        x.fd = fd;
        r = fd < 0 ? fd : 0;
    }
    return r < 0 ? err_set(e, r, "the archive's entry '%.100s' cannot be unpacked", name)
                 : copy_put(c, &x, e);
}

int copy_put_tar(struct copy *c, int fd, const char *path, struct err *e)
{
    SCOPED(scope_archive) struct archive *a = archive_read_new();
    struct archive_entry *in;
    int r;

    if (a == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    (void)archive_read_support_filter_all(a);
    (void)archive_read_support_format_tar(a);
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        archive_read_open_fd(a, fd, READ_BYTES) != ARCHIVE_OK ||
        archive_read_next_header(a, &in) != ARCHIVE_OK) {
        return 0; /* any other file */
    }
    for (unsigned n = 0; n < ENTRIES_MAX; n++) {
        r = put_entry(c, a, in, path, e);
        if (r < 0) {
            return r;
        }
        r = archive_read_next_header(a, &in);
        if (r == ARCHIVE_EOF) {
            return 1;
        }
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
            return err_set(e, -EBADMSG, "the archive is damaged: %s",
                           archive_error_string(a));
        }
    }
    return err_set(e, -EFBIG, "the archive has too many entries");
}
