/* attribute.c - extended attributes of a file, as text and back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/archive/private.h"

#define NAMES_MOST XATTR_LIST_MAX
#define VALUE_MOST XATTR_SIZE_MAX

/* Through /proc: there is no f-call for a descriptor of O_PATH, which a link has. */
static void path_of(int fd, char out[64])
{
    (void)str_print(out, 64, "/proc/self/fd/%d", fd);
}

static char *hex(const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *out = fault_malloc(2 * n + 1);

    for (size_t i = 0; out != NULL && i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    if (out != NULL) {
        out[2 * n] = '\0';
    }
    return out;
}

static int add_one(const char *path, const char *name, unsigned char *value, json_t *into)
{
    ssize_t n = getxattr(path, name, value, VALUE_MOST);
    SCOPED(scope_free) char *text = n >= 0 ? hex(value, (size_t)n) : NULL;
    SCOPED(scope_free) char *key = archive_quote(name);

    if (n < 0) {
        return errno == ENODATA ? 0 : -errno; /* taken away meanwhile */
    }
    return text == NULL || key == NULL ||
                   json_object_set_new(into, key, json_string(text)) < 0
               ? -ENOMEM
               : 0;
}

int archive_attributes(int fd, json_t **ret)
{
    SCOPED(scope_free) char *names = NULL;
    SCOPED(scope_free) unsigned char *value = NULL;
    char path[64];
    ssize_t len;
    int r = 0;

    *ret = NULL;
    path_of(fd, path);
    len = listxattr(path, NULL, 0);
    if (len <= 0) {
        return len == 0 || errno == EOPNOTSUPP ? 0 : -errno;
    }
    names = fault_malloc(NAMES_MOST);
    value = fault_malloc(VALUE_MOST);
    *ret = json_object();
    if (names == NULL || value == NULL || *ret == NULL) {
        r = -ENOMEM;
    } else {
        len = listxattr(path, names, NAMES_MOST);
        r = len < 0 ? -errno : 0;
    }
    for (ssize_t at = 0; r == 0 && at < len; at += (ssize_t)strlen(names + at) + 1) {
        r = add_one(path, names + at, value, *ret);
    }
    if (r < 0 || json_object_size(*ret) == 0) {
        json_decref(*ret);
        *ret = NULL;
    }
    return r;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int set_one(const char *path, const char *key, const char *text,
                   unsigned char *value)
{
    size_t n = strlen(text) / 2;
    char name[XATTR_NAME_MAX + 1];

    if (archive_unquote(key, name, sizeof name) < 0 || strlen(text) % 2 != 0 ||
        n > VALUE_MOST) {
        return -EUCLEAN;
    }
    for (size_t i = 0; i < n; i++) {
        int high = nibble(text[2 * i]);
        int low = nibble(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return -EUCLEAN;
        }
        value[i] = (unsigned char)(high << 4 | low);
    }
    return setxattr(path, name, value, n, 0) < 0 ? -errno : 0;
}

int archive_set_attributes(int fd, const json_t *xattrs)
{
    SCOPED(scope_free) unsigned char *value = NULL;
    char path[64];
    const char *key;
    json_t *one;
    int r = 0;

    if (json_object_size(xattrs) == 0) {
        return 0;
    }
    value = fault_malloc(VALUE_MOST);
    path_of(fd, path);
    json_object_foreach((json_t *)(uintptr_t)xattrs, key, one)
    {
        const char *text = json_string_value(one);

        r = r < 0           ? r
            : value == NULL ? -ENOMEM
            : text == NULL  ? -EUCLEAN
                            : set_one(path, key, text, value);
    }
    return r;
}
