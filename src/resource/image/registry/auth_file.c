/* auth_file.c - logins on disk, {"auths":{"HOST":{"auth":"base64(USER:PASSWORD)"}}},
 * as docker's config.json and the auth.json of other tools have them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/registry/auth.h"

#define AUTH_FILE_BYTES_MAX (1u << 20)

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *auth_encode(const char *user, const char *password)
{
    SCOPED(scope_free) char *plain = NULL;
    char *out, *p;
    int len = asprintf(&plain, "%s:%s", user, password);

    if (len < 0) {
        plain = NULL;
        return NULL;
    }
    out = p = malloc(((size_t)len + 2) / 3 * 4 + 1);
    for (int i = 0; out != NULL && i < len; i += 3) {
        unsigned left = (unsigned)(len - i);
        unsigned v = (unsigned)(unsigned char)plain[i] << 16;

        v |= left > 1 ? (unsigned)(unsigned char)plain[i + 1] << 8 : 0;
        v |= left > 2 ? (unsigned)(unsigned char)plain[i + 2] : 0;
        *p++ = digits[v >> 18];
        *p++ = digits[(v >> 12) & 63];
        *p++ = left > 1 ? digits[(v >> 6) & 63] : '=';
        *p++ = left > 2 ? digits[v & 63] : '=';
    }
    if (out != NULL) {
        *p = '\0';
    }
    return out;
}

int auth_decode(const char *text, char **ret_user, char **ret_password)
{
    size_t len = strcspn(text, "=");
    SCOPED(scope_free) char *plain = calloc(1, len + 4);
    char *p = plain, *colon;
    unsigned v = 0, bits = 0;

    if (plain == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < len; i++) {
        const char *d = strchr(digits, text[i]);

        if (d == NULL) {
            return -EINVAL;
        }
        v = (v << 6 | (unsigned)(d - digits)) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *p++ = (char)(v >> bits & 0xff);
        }
    }
    colon = strchr(plain, ':');
    if (colon == NULL || strlen(plain) != (size_t)(p - plain)) {
        return -EINVAL;
    }
    *ret_user = strndup(plain, (size_t)(colon - plain));
    *ret_password = strdup(colon + 1);
    if (*ret_user == NULL || *ret_password == NULL) {
        free(*ret_user);
        free(*ret_password);
        return -ENOMEM;
    }
    return 0;
}

/* The whole file, an empty object when there is none. */
static int load(const char *path, json_t **ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, AUTH_FILE_BYTES_MAX, &text, &len);

    if (r == -ENOENT) {
        *ret = json_object();
        return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
    }
    if (r < 0) {
        return err_sys(e, r, "cannot read the logins in '%s'", path);
    }
    r = json_parse(text, len, path, ret, e);
    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        r = err_set(e, -EINVAL, "the logins in '%s' are damaged", path);
    }
    return r;
}

/* The entry of `host`; Docker Hub has an old key of its own. */
static const json_t *entry(const json_t *file, const char *host)
{
    const json_t *auths = json_object_get(file, "auths");
    const json_t *x = json_object_get(auths, host);

    if (x == NULL && strcmp(host, "docker.io") == 0) {
        x = json_object_get(auths, "https://index.docker.io/v1/");
    }
    return x;
}

int auth_file_get(const char *path, const char *host, char **ret_user,
                  char **ret_password, struct err *e)
{
    SCOPED(scope_json) json_t *file = NULL;
    const char *text;
    int r = load(path, &file, e);

    if (r < 0) {
        return r;
    }
    text = json_string_value(json_object_get(entry(file, host), "auth"));
    if (text == NULL || text[0] == '\0') {
        return -ENOENT;
    }
    r = auth_decode(text, ret_user, ret_password);
    return r < 0 ? err_set(e, r, "the login of '%s' in '%s' is damaged", host, path) : 0;
}

int auth_file_get_identity(const char *path, const char *host, char **ret, struct err *e)
{
    SCOPED(scope_json) json_t *file = NULL;
    const char *text;
    int r = load(path, &file, e);

    if (r < 0) {
        return r;
    }
    text = json_string_value(json_object_get(entry(file, host), "identitytoken"));
    if (text == NULL || text[0] == '\0') {
        return -ENOENT;
    }
    *ret = strdup(text);
    return *ret == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;
}

static int save(const char *path, const json_t *file, struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(file, JSON_INDENT(4) | JSON_SORT_KEYS);
    int r = text == NULL ? -ENOMEM
                         : file_replace(AT_FDCWD, path, text, strlen(text), 0600, true);

    return r < 0 ? err_sys(e, r, "cannot write the logins to '%s'", path) : 0;
}

/* Two commands may log in at once: a lock beside the file, which is replaced. */
static int lock(const char *path, struct err *e)
{
    SCOPED(scope_free) char *name = NULL;
    int fd;

    if (asprintf(&name, "%s.lock", path) < 0) {
        name = NULL;
        return err_set(e, -ENOMEM, "out of memory");
    }
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        int r = err_sys(e, -errno, "cannot lock '%s'", name);

        scope_close(&fd);
        return r;
    }
    return fd;
}

int auth_file_set(const char *path, const char *host, const char *user,
                  const char *password, struct err *e)
{
    SCOPED(scope_json) json_t *file = NULL;
    SCOPED(scope_free) char *text = auth_encode(user, password);
    SCOPED(scope_close) int fd = lock(path, e);
    json_t *auths;
    int r = fd < 0 ? fd : load(path, &file, e);

    if (r < 0) {
        return r;
    }
    auths = json_object_get(file, "auths");
    if (!json_is_object(auths)) {
        auths = json_object();
        if (json_object_set_new(file, "auths", auths) < 0) {
            return err_set(e, -ENOMEM, "out of memory");
        }
    }
    if (text == NULL ||
        json_object_set_new(auths, host, json_pack("{s:s}", "auth", text)) < 0) {
        return err_set(e, -EINVAL, "cannot keep the login of '%s'", host);
    }
    return save(path, file, e);
}

int auth_file_remove(const char *path, const char *host, struct err *e)
{
    SCOPED(scope_json) json_t *file = NULL;
    SCOPED(scope_close) int fd = lock(path, e);
    int r = fd < 0 ? fd : load(path, &file, e);

    if (r < 0) {
        return r;
    }
    if (json_object_del(json_object_get(file, "auths"), host) < 0) {
        return err_set(e, -ENOENT, "there is no login of '%s'", host);
    }
    return save(path, file, e);
}
