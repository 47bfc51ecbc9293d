/* copyup.c - the content of a directory, copied into a fresh tmpfs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "virt/container/tree/mounts.h"

#define COPY_CHUNK_BYTES (1u << 20)
#define DEPTH_MOST       64

static int copy_directory(int from, int to, int depth);

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
    SCOPED(scope_close)
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    SCOPED(scope_close)
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n;

    if (in < 0 || out < 0) {
        return -errno;
    }
    do {
        n = sendfile(out, in, NULL, COPY_CHUNK_BYTES);
    } while (n > 0);
    if (n < 0 || fchown(out, st->st_uid, st->st_gid) < 0 ||
        fchmod(out, st->st_mode & 07777) < 0) {
        return -errno;
    }
    return 0;
}

static int copy_link(int from, int to, const char *name, const struct stat *st)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(from, name, text, sizeof text - 1);

    if (n < 0) {
        return -errno;
    }
    text[n] = '\0';
    if (symlinkat(text, to, name) < 0 ||
        fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return 0;
}

static int copy_below(int from, int to, const char *name, const struct stat *st,
                      int depth)
{
    SCOPED(scope_close) int in = -1;
    SCOPED(scope_close) int out = -1;
    int r;

    if (depth == 0) {
        return -ELOOP;
    }
    if (mkdirat(to, name, 0700) < 0) {
        return -errno;
    }
    in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || out < 0) {
        return -errno;
    }
    r = copy_directory(in, out, depth - 1);
    if (r == 0 && (fchown(out, st->st_uid, st->st_gid) < 0 ||
                   fchmod(out, st->st_mode & 07777) < 0)) {
        r = -errno;
    }
    return r;
}

static int copy_entry(int from, int to, const char *name, int depth)
{
    struct stat st;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        return copy_file(from, to, name, &st);
    case S_IFLNK:
        return copy_link(from, to, name, &st);
    case S_IFDIR:
        return copy_below(from, to, name, &st, depth);
    default: /* devices, pipes and sockets do not move into a tmpfs */
        return 0;
    }
}

static int copy_directory(int from, int to, int depth)
{
    int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = again >= 0 ? fdopendir(again) : NULL;
    const struct dirent *entry;
    int r = d == NULL ? -errno : 0;

    while (r == 0 && (entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            r = copy_entry(from, to, entry->d_name, depth);
        }
    }
    return r;
}

int mounts_copy_up(int from, int to, struct err *e)
{
    struct stat st;
    int r = copy_directory(from, to, DEPTH_MOST);

    if (r == 0 && fstat(from, &st) == 0 &&
        fchownat(to, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0) {
        r = -errno;
    }
    return r < 0 ? err_sys(e, r, "cannot copy the directory's content into the tmpfs")
                 : 0;
}
