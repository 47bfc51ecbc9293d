/* verbs.c - what a front end may ask about the care of pools. */
#include <errno.h>
#include <string.h>

#include "base/scope.h"
#include "node/node.h"
#include "node/volume/care/care.h"

#define SECOND_MS 1000

/* "none" is -1 in the order. */
int care_set(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const json_t *every = json_object_get(order, "scrub_every");
    const json_t *quota = json_object_get(order, "quota");
    struct care c = {.lock = -1};
    int r = care_begin(n, volume_text(order, "name"), &c, e);

    if (r == 0 && every == NULL && quota == NULL) {
        r = err_set(e, -EINVAL, "say what to change: '--scrub-every', '--quota'");
    }
    if (r == 0 && every != NULL) {
        (void)json_object_set_new(c.pool, "scrub_every_s",
                                  json_integer(json_integer_value(every) > 0
                                                   ? json_integer_value(every) / SECOND_MS
                                                   : 0));
    }
    if (r == 0 && quota != NULL) {
        (void)json_object_set_new(
            c.pool, "quota_bytes",
            json_integer(json_integer_value(quota) > 0 ? json_integer_value(quota) : 0));
    }
    r = r == 0 ? care_save(&c, e) : r;
    if (r == 0) {
        *ret = json_incref(c.pool);
    }
    care_end(&c);
    return r < 0 ? err_wrap(e, "cannot change pool '%s'", volume_text(order, "name")) : 0;
}

static int show(struct node *n, const char *op, const json_t *order, json_t **ret,
                struct err *e)
{
    int r = node_pool(n, op, order, ret, e);
    size_t i;
    json_t *pool;

    if (r == 0 && json_is_object(*ret)) {
        care_show(n, *ret);
    }
    json_array_foreach(r == 0 ? *ret : NULL, i, pool)
    {
        care_show(n, pool);
    }
    return r;
}

static const struct verb {
    const char *name;
    int (*fn)(struct node *n, const json_t *order, json_t **ret, struct err *e);
} verbs[] = {
    {"remove", care_remove},
    {"replace", care_replace},
    {"scrub", care_scrub},
    {"set", care_set},
};

int node_care(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e)
{
    *ret = NULL;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, op) == 0) {
            return verbs[i].fn(n, order, ret, e);
        }
    }
    return show(n, op, order, ret, e);
}
