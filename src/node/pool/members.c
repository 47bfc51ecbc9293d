/* members.c - the records of pools and their members. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "node/pool/private.h"

static const char *const classes[] = {"fast", "normal", "archive"};

const char *pool_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

unsigned pool_member_id(const json_t *member)
{
    return (unsigned)json_integer_value(json_object_get(member, "id"));
}

const char *pool_member_path(const json_t *member)
{
    return pool_text(member, "path");
}

json_t *pool_member(const json_t *pool, unsigned id)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        if (pool_member_id(member) == id) {
            return member;
        }
    }
    return NULL;
}

/* The pool that is there without a record. */
static json_t *usual_pool(const struct node *n)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/pool", n->state);
    return json_pack("{s:s, s:s, s:i, s:[{s:i, s:s, s:s, s:s}]}", "name", POOL_DEFAULT,
                     "id", "0000000000000000", "next_member", 2, "members", "id", 1,
                     "kind", "directory", "path", path, "class", POOL_CLASS_USUAL);
}

int pool_load(struct node *n, const char *name, json_t **ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    int r;

    if (!word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a pool", name);
    }
    RECORD_KEY(key, "/pools/%s", name);
    r = record_load(n, key, ret, e);
    if (r == -ENOENT && (e == NULL || e->code == 0)) {
        if (strcmp(name, POOL_DEFAULT) == 0) {
            *ret = usual_pool(n);
            return *ret != NULL ? 0 : -ENOMEM;
        }
        r = err_set(e, r, "pool '%s' does not exist (see 'strata pool list')", name);
    }
    return r;
}

static bool is_class(const char *word)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(word, classes[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The path without links; of a directory that is still to be made, that of its parent. */
static int real_path(const char *path, char out[PATH_MAX], struct err *e)
{
    char parent[PATH_MAX];
    char *slash;

    if (realpath(path, out) != NULL) {
        return 0;
    }
    if (errno == ENOENT &&
        str_print(parent, sizeof parent, "%s%s", path[0] != '/' ? "./" : "", path) == 0) {
        slash = strrchr(parent, '/');
        *slash = '\0';
        if (slash[1] != '\0' && realpath(slash == parent ? "/" : parent, out) != NULL) {
            size_t len = strlen(out) - (slash == parent); /* the root ends with one */

            return str_print(out + len, PATH_MAX - len, "/%s", slash + 1);
        }
    }
    return err_sys(e, -errno, "cannot use '%s' as a member", path);
}

int pool_parse_member(const char *word, json_t **ret, struct err *e)
{
    const char *comma = strrchr(word, ',');
    const char *class = POOL_CLASS_USUAL;
    char path[PATH_MAX];
    char real[PATH_MAX];
    struct stat s;
    int r;

    if (comma != NULL && strncmp(comma, ",class=", 7) == 0) {
        class = comma + 7;
    } else {
        comma = NULL;
    }
    if (!is_class(class)) {
        return err_set(e, -EINVAL,
                       "cannot use '--member %s': the classes are fast, normal, archive",
                       word);
    }
    (void)str_print(path, sizeof path, "%.*s",
                    comma != NULL ? (int)(comma - word) : PATH_MAX - 1, word);
    r = real_path(path, real, e);
    if (r < 0) {
        return r;
    }
    if (stat(real, &s) == 0 && !S_ISDIR(s.st_mode)) {
        return err_set(e, -ENOTDIR, "cannot use '%s' as a member: it is no directory",
                       real);
    }
    *ret =
        json_pack("{s:s, s:s, s:s}", "kind", "directory", "path", real, "class", class);
    return *ret != NULL ? 0 : err_set(e, -ENOMEM, "no memory");
}
