/* copy_put.c - entries of the layer that a COPY makes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/copy.h"

#define READ_BYTES (256u << 10)

static void fold(struct copy *c, const void *bytes, size_t len)
{
    uint64_t n = len;

    sha256_add(&c->sum, &n, sizeof n);
    sha256_add(&c->sum, bytes, len);
}

static int fold_file(struct copy *c, const struct pack_entry *x, struct err *e)
{
    SCOPED(scope_free) uint8_t *buf = malloc(READ_BYTES);
    ssize_t n = 0;
    off_t at = 0;

    if (x->fd < 0) {
        fold(c, x->bytes, (size_t)x->size);
        return 0;
    }
    while (buf != NULL && (n = pread(x->fd, buf, READ_BYTES, at)) > 0) {
        sha256_add(&c->sum, buf, (size_t)n);
        at += n;
    }
    return buf == NULL ? err_set(e, -ENOMEM, "out of memory")
           : n < 0     ? err_sys(e, -errno, "cannot read '%s'", x->path)
                       : 0;
}

static int fold_entry(struct copy *c, const struct pack_entry *x, struct err *e)
{
    uint64_t numbers[] = {(uint64_t)x->type, x->mode, x->uid, x->gid, x->size};

    fold(c, x->path, strlen(x->path));
    fold(c, x->link != NULL ? x->link : "", x->link != NULL ? strlen(x->link) : 0);
    fold(c, numbers, sizeof numbers);
    return x->type == '-' ? fold_file(c, x, e) : 0;
}

int copy_put(struct copy *c, struct pack_entry *x, struct err *e)
{
    if (c->own) {
        x->uid = c->uid;
        x->gid = c->gid;
    }
    if (c->set_mode && x->type != 'l') {
        x->mode = c->mode;
    }
    if (c->epoch >= 0 && x->mtime > c->epoch) {
        x->mtime = c->epoch;
    }
    return c->layer != NULL ? pack_layer_add(c->layer, x, e) : fold_entry(c, x, e);
}

/* An entry for a directory that is not the copy's own: nothing of it changes. */
static int put_as_is(struct copy *c, const char *path, const struct stat *st,
                     struct err *e)
{
    struct pack_entry x = {.path = path,
                           .type = 'd',
                           .mode = st->st_mode & 07777,
                           .uid = st->st_uid,
                           .gid = st->st_gid,
                           .mtime = st->st_mtime,
                           .fd = -1};

    if (c->epoch >= 0 && x.mtime > c->epoch) {
        x.mtime = c->epoch;
    }
    if (json_object_set_new(c->made, path, json_true()) < 0) {
        return err_set(e, -EINVAL, "the name '%s' is not UTF-8", path);
    }
    return c->layer != NULL ? pack_layer_add(c->layer, &x, e) : 0;
}

static int put_parent(struct copy *c, const char *path, struct err *e)
{
    struct stat fresh = {.st_mode = S_IFDIR | 0755, .st_mtime = time(NULL)};
    struct view_entry at;
    int r;

    if (json_object_get(c->made, path) != NULL) {
        return 0;
    }
    r = view_find(c->to, path, false, &at);
    if (r < 0 && r != -ENOTDIR) {
        return err_sys(e, r, "cannot look at '/%s'", path);
    }
    if (r == -ENOTDIR || (at.exists && !S_ISDIR(at.st.st_mode))) {
        return err_set(e, -ENOTDIR, "'/%s' is not a directory in the image", path);
    }
    return put_as_is(c, path, at.exists ? &at.st : &fresh, e);
}

int copy_put_parents(struct copy *c, const char *path, struct err *e)
{
    SCOPED(scope_free) char *part = strdup(path);
    int r = part == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;

    for (char *p = part; r == 0 && (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        r = put_parent(c, part, e);
        *p = '/';
    }
    return r;
}

int copy_put_dir(struct copy *c, const char *path, const struct stat *st, struct err *e)
{
    struct pack_entry x = {.path = path,
                           .type = 'd',
                           .mode = st->st_mode & 07777,
                           .uid = st->st_uid,
                           .gid = st->st_gid,
                           .mtime = st->st_mtime,
                           .fd = -1};
    struct view_entry at;
    int r = copy_put_parents(c, path, e);

    if (r < 0 || path[0] == '\0' || json_object_get(c->made, path) != NULL) {
        return r;
    }
    r = view_find(c->to, path, false, &at);
    if (r < 0) {
        return err_sys(e, r, "cannot look at '/%s'", path);
    }
    if (at.exists && S_ISDIR(at.st.st_mode)) {
        return put_as_is(c, path, &at.st, e);
    }
    if (json_object_set_new(c->made, path, json_true()) < 0) {
        return err_set(e, -EINVAL, "the name '%s' is not UTF-8", path);
    }
    return copy_put(c, &x, e);
}

/* ---- owners ---- */

/* The number in the third field of the line that begins with `name`. */
static bool find_id(const char *text, const char *name, uint32_t *ret)
{
    size_t n = strlen(name);

    for (const char *line = text; line != NULL && *line != '\0';) {
        unsigned id;

        if (strncmp(line, name, n) == 0 && line[n] == ':' &&
            sscanf(line + n + 1, "%*[^:]:%u", &id) == 1) {
            *ret = id;
            return true;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

static int parse_id(const struct view *to, const char *file, const char *name,
                    uint32_t *ret, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_close) int fd = -1;
    struct view_entry at;
    char *end;
    unsigned long n = strtoul(name, &end, 10);

    if (name[0] >= '0' && name[0] <= '9' && *end == '\0' && n < UINT32_MAX) {
        *ret = (uint32_t)n;
        return 0;
    }
    if (view_find(to, file, true, &at) == 0 && at.exists && S_ISREG(at.st.st_mode) &&
        at.st.st_size < (1 << 20)) {
        fd = view_open_file(to, &at);
        text = calloc(1, (size_t)at.st.st_size + 1);
    }
    if (fd >= 0 && text != NULL && file_read_all(fd, text, (size_t)at.st.st_size) > 0 &&
        find_id(text, name, ret)) {
        return 0;
    }
    return err_set(e, -ENOENT, "the image's /%s does not know '%.60s'", file, name);
}

int copy_parse_owner(const struct view *to, const char *text, uint32_t *ret_uid,
                     uint32_t *ret_gid, struct err *e)
{
    SCOPED(scope_free) char *user = strdup(text);
    char *group = user != NULL ? strchr(user, ':') : NULL;
    int r;

    if (user == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    if (group != NULL) {
        *group++ = '\0';
    }
    r = parse_id(to, "etc/passwd", user, ret_uid, e);
    if (r == 0 && group != NULL) {
        return parse_id(to, "etc/group", group, ret_gid, e);
    }
    *ret_gid = *ret_uid;
    return r;
}
