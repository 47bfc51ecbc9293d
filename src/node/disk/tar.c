/* tar.c - read the members of a tar stream, and trust none of it.
 *
 * Known: ustar (with prefix), pax headers (path, linkpath, size, uid, gid, mtime), GNU's
 * long names and base-256 numbers.  Refused: sparse members, whose content is not what
 * their header says.  Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax
 * Header Block"; GNU tar 1.34 manual, "Basic Tar Format". */
#include "node/disk/tar.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"

#define EXTENDED_MOST (1 << 20) /* bytes of one extended header */
#define NUMBER_MOST   (INT64_MAX / 2)

struct field {
    size_t at, len;
};

/* POSIX.1-2017, pax, "ustar Header Block" */
static const struct field f_name = {0, 100};
static const struct field f_mode = {100, 8};
static const struct field f_uid = {108, 8};
static const struct field f_gid = {116, 8};
static const struct field f_size = {124, 12};
static const struct field f_mtime = {136, 12};
static const struct field f_sum = {148, 8};
static const struct field f_type = {156, 1};
static const struct field f_link = {157, 100};
static const struct field f_magic = {257, 6};
static const struct field f_prefix = {345, 155};

/* What extended headers said of the next member. */
struct extended {
    bool has_size, has_uid, has_gid, has_mtime;
    uint64_t size, uid, gid;
    int64_t mtime;
    char name[PATH_MAX]; /* "": not said */
    char link[PATH_MAX];
};

static int read_block(int fd, unsigned char b[TAR_BLOCK_BYTES])
{
    ssize_t n = file_read_all(fd, b, TAR_BLOCK_BYTES);

    return n < 0 ? (int)n : n == TAR_BLOCK_BYTES ? 1 : n == 0 ? 0 : -EPIPE;
}

static int skip(int fd, uint64_t bytes)
{
    char buf[16384];

    while (bytes > 0) {
        size_t want = bytes < sizeof buf ? (size_t)bytes : sizeof buf;
        ssize_t n = file_read_all(fd, buf, want);

        if (n != (ssize_t)want) {
            return n < 0 ? (int)n : -EPIPE;
        }
        bytes -= want;
    }
    return 0;
}

ssize_t untar_content(struct untar_in *in, void *buf, size_t len)
{
    size_t want = in->left < len ? (size_t)in->left : len;
    ssize_t n = want == 0 ? 0 : file_read_all(in->fd, buf, want);

    if (n < 0) {
        return n;
    }
    if ((size_t)n != want) {
        return -EPIPE;
    }
    in->left -= want;
    return n;
}

/* Octal digits, or GNU's base 256 with the first bit set. */
static int read_number(const unsigned char *b, struct field f, uint64_t *ret)
{
    const unsigned char *p = b + f.at;
    size_t i = 0;
    uint64_t v = 0;

    if ((p[0] & 0x80) != 0) {
        v = p[0] & 0x3f;
        if ((p[0] & 0x40) != 0) {
            return -EINVAL; /* negative */
        }
        for (i = 1; i < f.len; i++) {
            if (v > NUMBER_MOST >> 8) {
                return -EINVAL;
            }
            v = v << 8 | p[i];
        }
        *ret = v;
        return 0;
    }
    while (i < f.len && p[i] == ' ') {
        i++;
    }
    for (; i < f.len && p[i] >= '0' && p[i] <= '7'; i++) {
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    *ret = v;
    return i < f.len && p[i] != ' ' && p[i] != '\0' ? -EINVAL : 0;
}

static bool sum_is_right(const unsigned char *b)
{
    uint64_t said = 0;
    uint64_t sum = 0;

    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        bool own = i >= f_sum.at && i < f_sum.at + f_sum.len;

        sum += own ? ' ' : b[i];
    }
    return read_number(b, f_sum, &said) == 0 && said == sum;
}

static bool is_blank(const unsigned char *b)
{
    for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
        if (b[i] != 0) {
            return false;
        }
    }
    return true;
}

static int set_text(char out[PATH_MAX], const void *text, size_t len)
{
    if (len >= PATH_MAX) {
        return -ENAMETOOLONG;
    }
    if (memchr(text, '\0', len) != NULL) {
        return -EINVAL;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

static int decimal(const char *text, size_t len, bool fraction, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;

    for (; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        if (v > NUMBER_MOST / 10) {
            return -EINVAL;
        }
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = v;
    return i == 0 || (i < len && !(fraction && text[i] == '.')) ? -EINVAL : 0;
}

static bool is_key(const char *key, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(key, word, len) == 0;
}

/* "KEY=VALUE" */
static int take_pair(struct extended *x, const char *pair, size_t len)
{
    const char *equals = memchr(pair, '=', len);
    size_t key = equals != NULL ? (size_t)(equals - pair) : len;
    const char *value = pair + key + 1;
    size_t n = len - key - 1;
    uint64_t v = 0;
    int r;

    if (equals == NULL) {
        return -EINVAL;
    }
    if (is_key(pair, key, "path")) {
        return set_text(x->name, value, n);
    }
    if (is_key(pair, key, "linkpath")) {
        return set_text(x->link, value, n);
    }
    if (is_key(pair, key, "size")) {
        x->has_size = true;
        return decimal(value, n, false, &x->size);
    }
    if (is_key(pair, key, "uid")) {
        x->has_uid = true;
        return decimal(value, n, false, &x->uid);
    }
    if (is_key(pair, key, "gid")) {
        x->has_gid = true;
        return decimal(value, n, false, &x->gid);
    }
    if (is_key(pair, key, "mtime")) {
        r = decimal(value, n, true, &v);
        x->has_mtime = r == 0; /* before 1970: as if it were not said */
        x->mtime = (int64_t)v;
        return 0;
    }
    return len > 11 && memcmp(pair, "GNU.sparse.", 11) == 0 ? -EOPNOTSUPP : 0;
}

/* "LENGTH KEY=VALUE\n" again and again; LENGTH counts itself. */
static int take_pax(struct extended *x, const char *text, size_t len)
{
    while (len > 0) {
        const char *blank = memchr(text, ' ', len);
        size_t head = blank != NULL ? (size_t)(blank - text) + 1 : 0;
        uint64_t size = 0;
        int r;

        if (blank == NULL || decimal(text, head - 1, false, &size) < 0 || size > len ||
            size < head + 2 || text[size - 1] != '\n') {
            return -EINVAL;
        }
        r = take_pair(x, blank + 1, (size_t)size - head - 1);
        if (r < 0) {
            return r;
        }
        text += size;
        len -= (size_t)size;
    }
    return 0;
}

/* A header that tells of the next member, of `size` bytes. */
static int take_extended(struct untar_in *in, char type, uint64_t size,
                         struct extended *x)
{
    SCOPED(scope_free) char *text = NULL;
    ssize_t n;
    int r;

    if (size > EXTENDED_MOST) {
        return -EFBIG;
    }
    text = malloc((size_t)size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    n = untar_content(in, text, (size_t)size);
    if (n < 0) {
        return (int)n;
    }
    text[n] = '\0';
    switch (type) {
    case 'x':
        r = take_pax(x, text, (size_t)n);
        break;
    case 'L':
        r = set_text(x->name, text, strlen(text));
        break;
    case 'K':
        r = set_text(x->link, text, strlen(text));
        break;
    default: /* 'g' is about all members, and nothing of it is used */
        r = 0;
        break;
    }
    return r;
}

static int join_name(const unsigned char *b, char out[PATH_MAX])
{
    size_t n = strnlen((const char *)b + f_name.at, f_name.len);
    size_t p = strnlen((const char *)b + f_prefix.at, f_prefix.len);
    char both[257]; /* prefix, slash, name */

    if (p == 0 || memcmp(b + f_magic.at, "ustar", 6) != 0) {
        return set_text(out, b + f_name.at, n);
    }
    memcpy(both, b + f_prefix.at, p);
    both[p] = '/';
    memcpy(both + p + 1, b + f_name.at, n);
    return set_text(out, both, p + 1 + n);
}

static int fill_entry(const unsigned char *b, const struct extended *x,
                      struct untar_entry *ret)
{
    uint64_t mode = 0;
    uint64_t mtime = 0;
    int r = read_number(b, f_mode, &mode);

    if (r == 0) {
        r = read_number(b, f_uid, &ret->uid);
    }
    if (r == 0) {
        r = read_number(b, f_gid, &ret->gid);
    }
    if (r == 0) {
        r = x->name[0] != '\0' ? set_text(ret->name, x->name, strlen(x->name))
                               : join_name(b, ret->name);
    }
    if (r == 0) {
        r = x->link[0] != '\0'
                ? set_text(ret->link, x->link, strlen(x->link))
                : set_text(ret->link, b + f_link.at,
                           strnlen((const char *)b + f_link.at, f_link.len));
    }
    (void)read_number(b, f_mtime, &mtime);
    ret->mode = (mode_t)(mode & 07777);
    ret->uid = x->has_uid ? x->uid : ret->uid;
    ret->gid = x->has_gid ? x->gid : ret->gid;
    ret->mtime = x->has_mtime ? x->mtime : (int64_t)mtime;
    ret->type = (char)b[f_type.at];
    if (ret->type == '\0' || ret->type == '7') {
        ret->type = '0';
    }
    if (ret->type == '0' && ret->name[0] != '\0' &&
        ret->name[strlen(ret->name) - 1] == '/') {
        ret->type = '5'; /* as before ustar */
    }
    return r < 0                  ? r
           : ret->type == 'S'     ? -EOPNOTSUPP
           : ret->name[0] == '\0' ? -EINVAL
                                  : 0;
}

/* One header block, its size in *in: 1, or 0 at the end. */
static int next_block(struct untar_in *in, unsigned char *b, const struct extended *x)
{
    uint64_t size = 0;
    int r = skip(in->fd, in->left + in->padding);

    in->left = in->padding = 0;
    if (r == 0) {
        r = read_block(in->fd, b);
    }
    if (r <= 0) {
        return r == 0 ? -EPIPE : r;
    }
    if (is_blank(b)) {
        return 0;
    }
    if (!sum_is_right(b) || read_number(b, f_size, &size) < 0) {
        return -EINVAL;
    }
    if (x->has_size && strchr("xgLK", b[f_type.at]) == NULL) {
        size = x->size;
    }
    if (b[f_type.at] != '\0' && strchr("123456", b[f_type.at]) != NULL) {
        size = 0;
    }
    in->left = size;
    in->padding = (TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES;
    return 1;
}

static int next(struct untar_in *in, struct untar_entry *ret)
{
    SCOPED(scope_free) struct extended *x = calloc(1, sizeof *x);
    unsigned char b[TAR_BLOCK_BYTES];
    int r = x == NULL ? -ENOMEM : 1;

    while (r == 1) {
        r = next_block(in, b, x);
        if (r != 1 || b[f_type.at] == '\0' || strchr("xgLK", b[f_type.at]) == NULL) {
            break;
        }
        r = take_extended(in, (char)b[f_type.at], in->left, x);
        r = r < 0 ? r : 1;
    }
    if (r != 1) {
        return r;
    }
    memset(ret, 0, sizeof *ret);
    ret->size = in->left;
    r = fill_entry(b, x, ret);
    return r < 0 ? r : 1;
}

int untar_next(struct untar_in *in, struct untar_entry *ret, struct err *e)
{
    int r = next(in, ret);

    switch (r) {
    case -EPIPE:
        return err_set(e, r, "cannot read the tar stream: it is cut off");
    case -EINVAL:
        return err_set(e, r,
                       "cannot read the tar stream: it is damaged or no tar stream");
    case -EOPNOTSUPP:
        return err_set(e, r, "cannot read the tar stream: it has sparse members");
    default:
        return r < 0 ? err_sys(e, r, "cannot read the tar stream") : r;
    }
}
