/* host/cgroup_file.c - the control files of one directory. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/cgroup_private.h"
#include "host/file.h"

#define LINE_BYTES 4096

int cgroup_read(const struct cgroup_dir *d, const char *file, char *out, size_t size)
{
    SCOPED(scope_close) int fd = -1;
    ssize_t n;

    if (d->fd < 0) {
        return -ENOENT;
    }
    fd = openat(d->fd, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    n = file_read_all(fd, out, size - 1);
    if (n < 0) {
        return (int)n;
    }
    while (n > 0 && out[n - 1] == '\n') {
        n--;
    }
    out[n] = '\0';
    return 0;
}

int cgroup_read_u64(const struct cgroup_dir *d, const char *file, uint64_t *ret)
{
    char text[64];
    int r = cgroup_read(d, file, text, sizeof text);

    if (r < 0) {
        return r;
    }
    if (strcmp(text, "max") == 0) {
        *ret = UINT64_MAX;
        return 0;
    }
    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    *ret = strtoull(text, NULL, 10);
    return 0;
}

int cgroup_write(const struct cgroup_dir *d, const char *file, const char *text)
{
    return d->fd < 0 ? -ENOENT : file_write_existing(d->fd, file, text);
}

bool cgroup_find_u64(const char *text, const char *key, uint64_t *ret)
{
    size_t len = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ' ') {
            *ret = strtoull(line + len + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

static int add_pid(pid_t pid, pid_t **ret, size_t *n, size_t *cap)
{
    if (*n == *cap) {
        size_t more = *cap == 0 ? 32 : *cap * 2;
        pid_t *grown = fault_realloc(*ret, more * sizeof **ret);

        if (grown == NULL) {
            return -ENOMEM;
        }
        *ret = grown;
        *cap = more;
    }
    (*ret)[(*n)++] = pid;
    return 0;
}

static bool is_below(const struct dirent *entry)
{
    return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
           strcmp(entry->d_name, "..") != 0;
}

static int list_here(int dir, const char *name, pid_t **ret, size_t *n, size_t *cap)
{
    SCOPED(scope_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    SCOPED(scope_file) FILE *f = fd >= 0 ? fdopen(fd, "re") : NULL;
    char line[64];
    int r = 0;

    if (f == NULL) {
        return -errno;
    }
    fd = -1;
    while (r == 0 && fgets(line, sizeof line, f) != NULL) {
        pid_t pid = (pid_t)strtol(line, NULL, 10);

        r = pid > 0 ? add_pid(pid, ret, n, cap) : 0; /* 0: of another namespace */
    }
    return r;
}

int cgroup_list_pids(int fd, const char *file, pid_t **ret, size_t *n, size_t *cap)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;
    int r;

    if (d == NULL) {
        return -errno;
    }
    r = list_here(fd, file, ret, n, cap);
    if (r == -EOPNOTSUPP || r == -ENODEV) {
        r = 0; /* a threaded directory; one that goes away */
    }
    while (r == 0 && (entry = readdir(d)) != NULL) {
        SCOPED(scope_close) int sub = -1;

        if (!is_below(entry)) {
            continue;
        }
        sub = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = sub >= 0 ? cgroup_list_pids(sub, file, ret, n, cap) : 0;
    }
    return r;
}

static void remove_below(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        SCOPED(scope_close) int sub = -1;

        if (!is_below(entry) || unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0) {
            continue;
        }
        sub = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sub >= 0) {
            remove_below(sub);
            (void)unlinkat(fd, entry->d_name, AT_REMOVEDIR);
        }
    }
}

/* By descriptors: a guest can nest deeper than the longest path. */
int cgroup_remove_dirs(const char *path)
{
    SCOPED(scope_close) int fd = -1;

    if (rmdir(path) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EBUSY && errno != ENOTEMPTY) {
        return -errno;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        remove_below(fd);
    }
    return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}
