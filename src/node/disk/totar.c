/* totar.c - write a tree as a tar stream: ustar, with pax headers where that is too small.
 *
 * As in copy.c every name is one component below the directory at hand and no link is
 * followed; a file that changes its size meanwhile is cut or filled with zeros. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/disk/private.h"
#include "node/disk/tar.h"

#define DEPTH_MOST  512
#define OCTAL_7     2097151ULL    /* the largest in 7 octal digits */
#define OCTAL_11    8589934591ULL /* and in 11 */
#define NAME_BYTES  100
#define CHECK_AT    148
#define BLANK_COUNT 2 /* blocks at the end */

struct out {
    int fd;
    const struct copy_how *how;
};

static void octal(unsigned char *at, size_t digits, uint64_t v)
{
    for (size_t i = digits; i-- > 0; v >>= 3) {
        at[i] = (unsigned char)('0' + (v & 7));
    }
}

static int write_header(int fd, unsigned char *b)
{
    unsigned sum = 0;

    memcpy(b + 257, "ustar\00000", 8);
    memset(b + CHECK_AT, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        sum += b[i];
    }
    octal(b + CHECK_AT, 6, sum);
    b[CHECK_AT + 6] = '\0';
    return file_write_all(fd, b, TAR_BLOCK_BYTES);
}

static int pad(int fd, uint64_t size)
{
    static const char zeros[TAR_BLOCK_BYTES];
    size_t n = (size_t)((TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES);

    return file_write_all(fd, zeros, n);
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits. */
static void add_pax(struct str *s, const char *key, const char *value)
{
    size_t bare = strlen(key) + strlen(value) + 3;
    size_t len = bare + 1;
    char digits[24];

    for (;;) {
        size_t n = bare + (size_t)snprintf(digits, sizeof digits, "%zu", len);

        if (n == len) {
            break;
        }
        len = n;
    }
    str_addf(s, "%zu %s=%s\n", len, key, value);
}

static void add_pax_number(struct str *s, const char *key, uint64_t v, uint64_t most)
{
    char text[24];

    if (v > most) {
        (void)snprintf(text, sizeof text, "%" PRIu64, v);
        add_pax(s, key, text);
    }
}

static int write_pax(const struct out *o, const struct untar_entry *t)
{
    unsigned char b[TAR_BLOCK_BYTES] = "pax";
    struct str s = {0};
    int r = 0;

    if (strlen(t->name) > NAME_BYTES) {
        add_pax(&s, "path", t->name);
    }
    if (strlen(t->link) > NAME_BYTES) {
        add_pax(&s, "linkpath", t->link);
    }
    add_pax_number(&s, "size", t->size, OCTAL_11);
    add_pax_number(&s, "uid", t->uid, OCTAL_7);
    add_pax_number(&s, "gid", t->gid, OCTAL_7);
    if (str_failed(&s)) {
        r = -ENOMEM;
    } else if (s.len != 0) {
        octal(b + 100, 7, 0644);
        octal(b + 108, 7, 0);
        octal(b + 116, 7, 0);
        octal(b + 124, 11, s.len);
        octal(b + 136, 11, 0);
        b[156] = 'x';
        r = write_header(o->fd, b);
        if (r == 0) {
            r = file_write_all(o->fd, s.data, s.len);
        }
        if (r == 0) {
            r = pad(o->fd, s.len);
        }
    }
    str_fini(&s);
    return r;
}

static int write_entry(const struct out *o, const struct untar_entry *t)
{
    unsigned char b[TAR_BLOCK_BYTES] = {0};
    int r = write_pax(o, t);

    memcpy(b, t->name, strnlen(t->name, NAME_BYTES));
    octal(b + 100, 7, t->mode);
    octal(b + 108, 7, t->uid > OCTAL_7 ? 0 : t->uid);
    octal(b + 116, 7, t->gid > OCTAL_7 ? 0 : t->gid);
    octal(b + 124, 11, t->size > OCTAL_11 ? 0 : t->size);
    octal(b + 136, 11, t->mtime < 0 ? 0 : (uint64_t)t->mtime);
    b[156] = (unsigned char)t->type;
    memcpy(b + 157, t->link, strnlen(t->link, NAME_BYTES));
    return r < 0 ? r : write_header(o->fd, b);
}

static int write_content(const struct out *o, int in, uint64_t size)
{
    uint64_t left = size;
    char buf[65536];

    while (left > 0) {
        size_t want = left < sizeof buf ? (size_t)left : sizeof buf;
        ssize_t n = read(in, buf, want);
        int r;

        if (n < 0) {
            return -errno;
        }
        if (n == 0) { /* it has grown shorter */
            memset(buf, 0, want);
            n = (ssize_t)want;
        }
        r = file_write_all(o->fd, buf, (size_t)n);
        if (r < 0) {
            return r;
        }
        left -= (uint64_t)n;
    }
    return pad(o->fd, size);
}

static int add(const struct out *o, int dir, const char *name, const char *path,
               int depth);

static int add_below(const struct out *o, int in, const char *path, int depth)
{
    SCOPED(scope_dir) DIR *d = NULL;
    int list = fcntl(in, F_DUPFD_CLOEXEC, 3);
    int r = 0;

    d = list >= 0 ? fdopendir(list) : NULL;
    if (d == NULL) {
        return -errno;
    }
    while (r == 0) {
        const struct dirent *entry;
        char below[PATH_MAX];

        errno = 0;
        entry = readdir(d);
        if (entry == NULL) {
            return -errno;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        r = str_print(below, sizeof below, "%s%s", path, entry->d_name);
        if (r == 0) {
            r = add(o, in, entry->d_name, below, depth + 1);
        }
    }
    return r;
}

static char type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return '0';
    case S_IFLNK:
        return '2';
    case S_IFDIR:
        return '5';
    case S_IFIFO:
        return '6';
    default:
        return '\0'; /* sockets belong to a process, device nodes leave no guest */
    }
}

/* Open what has a content, and look at that file and no other. */
static int open_it(int dir, const char *name, struct stat *st)
{
    int fd;

    if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode)) {
        return fcntl(dir, F_DUPFD_CLOEXEC, 3);
    }
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 || fstat(fd, st) < 0 ? -errno : fd;
}

static int add(const struct out *o, int dir, const char *name, const char *path,
               int depth)
{
    SCOPED(scope_close) int in = -1;
    struct untar_entry t = {0};
    struct stat st;
    int r = depth > DEPTH_MOST ? -ELOOP : open_it(dir, name, &st);

    if (r < 0) {
        return r;
    }
    in = r;
    t.type = type_of(st.st_mode);
    if (t.type == '\0') {
        return 0;
    }
    t.mode = st.st_mode & 07777;
    t.uid = copy_shifted(st.st_uid, o->how);
    t.gid = copy_shifted(st.st_gid, o->how);
    t.mtime = st.st_mtim.tv_sec;
    t.size = t.type == '0' ? (uint64_t)st.st_size : 0;
    r = str_print(t.name, sizeof t.name, "%s%s", path, t.type == '5' ? "/" : "");
    if (r == 0 && t.type == '2' && readlinkat(dir, name, t.link, sizeof t.link - 1) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = write_entry(o, &t);
    }
    if (r == 0 && t.type == '0') {
        r = write_content(o, in, t.size);
    }
    return r == 0 && t.type == '5' ? add_below(o, in, t.name, depth) : r;
}

int totar(int dir, const char *name, int fd, const struct copy_how *how, struct err *e)
{
    static const char blank[BLANK_COUNT * TAR_BLOCK_BYTES];
    const struct out o = {.fd = fd, .how = how};
    int r = add(&o, dir, name, name, 0);

    if (r == 0) {
        r = file_write_all(fd, blank, sizeof blank);
    }
    return r < 0 ? err_sys(e, r, "cannot write '%s' as a tar stream", name) : 0;
}
