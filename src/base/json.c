/* json.c - typed reading of JSON objects. */
#include "base/json.h"

#include <errno.h>

#include "base/err.h"

static int wrong(const char *where, const char *key, const char *type, struct err *e)
{
    return err_set(e, -EINVAL, "'%s%s%s' is not %s", where, *where != '\0' ? "." : "",
                   key, type);
}

/* The member, or NULL when it is missing or null. */
static json_t *member(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);

    return json_is_null(v) ? NULL : v;
}

int json_opt_str(const json_t *obj, const char *where, const char *key, const char **ret,
                 struct err *e)
{
    const json_t *v = member(obj, key);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_string(v)) {
        return wrong(where, key, "a string", e);
    }
    *ret = json_string_value(v);
    return 0;
}

int json_want_str(const json_t *obj, const char *where, const char *key, const char **ret,
                  struct err *e)
{
    if (member(obj, key) == NULL) {
        return err_set(e, -EINVAL, "'%s%s%s' is missing", where,
                       *where != '\0' ? "." : "", key);
    }
    return json_opt_str(obj, where, key, ret, e);
}

int json_opt_i64(const json_t *obj, const char *where, const char *key, int64_t *ret,
                 struct err *e)
{
    const json_t *v = member(obj, key);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_integer(v)) {
        return wrong(where, key, "an integer", e);
    }
    *ret = json_integer_value(v);
    return 0;
}

int json_opt_u64(const json_t *obj, const char *where, const char *key, uint64_t *ret,
                 struct err *e)
{
    int64_t v = 0;
    int r;

    if (member(obj, key) == NULL) {
        return 0;
    }
    r = json_opt_i64(obj, where, key, &v, e);
    if (r < 0) {
        return r;
    }
    if (v < 0) {
        return wrong(where, key, "a number from 0 up", e);
    }
    *ret = (uint64_t)v;
    return 0;
}

int json_opt_bool(const json_t *obj, const char *where, const char *key, bool *ret,
                  struct err *e)
{
    const json_t *v = member(obj, key);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_boolean(v)) {
        return wrong(where, key, "true or false", e);
    }
    *ret = json_is_true(v);
    return 0;
}

int json_opt_object(const json_t *obj, const char *where, const char *key, json_t **ret,
                    struct err *e)
{
    json_t *v = member(obj, key);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_object(v)) {
        return wrong(where, key, "an object", e);
    }
    *ret = v;
    return 0;
}

int json_opt_array(const json_t *obj, const char *where, const char *key, json_t **ret,
                   struct err *e)
{
    json_t *v = member(obj, key);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_array(v)) {
        return wrong(where, key, "an array", e);
    }
    *ret = v;
    return 0;
}

int json_parse(const char *text, size_t len, const char *what, json_t **ret,
               struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);

    if (j == NULL) {
        return err_set(e, -EINVAL, "cannot read %s: line %d: %s", what, je.line, je.text);
    }
    *ret = j;
    return 0;
}
