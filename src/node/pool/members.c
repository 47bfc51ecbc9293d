/* members.c - the records of pools and their members. */
#include <errno.h>
#include <limits.h>
#include <string.h>

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

bool pool_member_is_leaving(const json_t *member)
{
    return json_is_true(json_object_get(member, "leaving"));
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

int pool_parse_member(const char *word, json_t **ret, struct err *e)
{
    const char *comma = strrchr(word, ',');
    const char *class = POOL_CLASS_USUAL;
    char place[PATH_MAX];
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
    r = str_print(place, sizeof place, "%.*s",
                  comma != NULL ? (int)(comma - word) : PATH_MAX - 1, word);
    if (r < 0 || strlen(word) >= PATH_MAX) {
        return err_set(e, -ENAMETOOLONG, "cannot use '%.64s...' as a member", word);
    }
    r = pool_parse_place(place, ret, e);
    if (r == 0) {
        (void)json_object_set_new(*ret, "class", json_string(class));
    }
    return r;
}
