/* json.h - typed reading of JSON objects, with the member's path in each error.
 *
 * A thin layer over jansson.  A `want` member must be there; an `opt` member
 * may be missing or null, and then the output keeps its value.  Both fail with
 * -EINVAL and "'linux.uidMappings[0].size' is not a number" when the type is
 * wrong.  Results are borrowed from the object. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

/* `where` is the path of `obj` for error texts ("" at the root). */
int json_want_str(const json_t *obj, const char *where, const char *key, const char **ret,
                  struct err *e);
int json_opt_str(const json_t *obj, const char *where, const char *key, const char **ret,
                 struct err *e);
int json_opt_i64(const json_t *obj, const char *where, const char *key, int64_t *ret,
                 struct err *e);
int json_opt_u64(const json_t *obj, const char *where, const char *key, uint64_t *ret,
                 struct err *e);
int json_opt_bool(const json_t *obj, const char *where, const char *key, bool *ret,
                  struct err *e);
int json_opt_object(const json_t *obj, const char *where, const char *key, json_t **ret,
                    struct err *e);
int json_opt_array(const json_t *obj, const char *where, const char *key, json_t **ret,
                   struct err *e);

/* Parse `len` bytes of text; `what` names it in the error ("config.json").
 * Nesting deeper than jansson's limit, duplicate keys and trailing text fail.
 * The caller owns *ret. */
int json_parse(const char *text, size_t len, const char *what, json_t **ret,
               struct err *e);

/* For `SCOPED(scope_json) json_t *j = NULL;` */
static inline void scope_json(json_t **j)
{
    json_decref(*j);
}

#endif
