/* choose.c - which members a new layer lies on.
 *
 * A class is a preference with one limit: an old device that is tagged `archive` never
 * takes anything but archives, whatever room it has. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/units.h"
#include "node/pool/private.h"

struct preference {
    const char *class;
    const char *order[3]; /* ends at NULL */
};

static const struct preference preferences[] = {
    {"fast", {"fast", "normal", NULL}},
    {"normal", {"normal", "fast", NULL}},
    {"archive", {"archive", "normal", NULL}},
};

static const char *const *order_of(const char *class)
{
    for (size_t i = 0; i < sizeof preferences / sizeof preferences[0]; i++) {
        if (strcmp(preferences[i].class, class) == 0) {
            return preferences[i].order;
        }
    }
    return NULL;
}

struct candidate {
    unsigned id;
    uint64_t free_bytes;
};

/* Into a list that begins with the most room. */
static void insert(struct candidate *list, unsigned *count, struct candidate new)
{
    unsigned at = *count;

    while (at > 0 && list[at - 1].free_bytes < new.free_bytes) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = new;
    *count += 1;
}

struct looked {
    unsigned full;
    unsigned lost;
};

static void look_at_class(struct node *n, const json_t *pool, const char *class,
                          struct pool_choice *ret, struct looked *seen)
{
    struct candidate list[POOL_MEMBERS_MOST];
    const json_t *members = json_object_get(pool, "members");
    size_t i;
    json_t *member;

    ret->count = 0;
    json_array_foreach(members, i, member)
    {
        struct pool_room room = {.state = POOL_OK};

        if (strcmp(pool_text(member, "class"), class) != 0 ||
            pool_member_is_leaving(member) || ret->count == POOL_MEMBERS_MOST) {
            continue;
        }
        if (json_array_size(members) > 1) { /* the only one is asked by its first use */
            pool_look(n, pool, member, &room);
        }
        seen->full += room.state == POOL_FULL;
        seen->lost += room.state == POOL_LOST || room.state == POOL_SLOW;
        if (room.state == POOL_OK) {
            insert(list, &ret->count,
                   (struct candidate){pool_member_id(member), room.free_bytes});
        }
    }
    for (unsigned k = 0; k < ret->count; k++) {
        ret->id[k] = list[k].id;
    }
}

int pool_choose(struct node *n, const json_t *pool, const char *class,
                struct pool_choice *ret, struct err *e)
{
    const char *const *order = order_of(class);
    const char *name = pool_text(pool, "name");
    struct looked seen = {0};

    if (order == NULL) {
        return err_set(e, -EINVAL, "there is no class '%s': fast, normal, archive",
                       class);
    }
    for (ret->count = 0; *order != NULL && ret->count == 0; order++) {
        look_at_class(n, pool, *order, ret, &seen);
    }
    if (ret->count > 0) {
        return 0;
    }
    if (seen.full > 0) {
        return err_set(e, -ENOSPC,
                       "pool '%s' is full for class '%s': add a member ('strata pool "
                       "add') or delete what is not needed",
                       name, class);
    }
    if (seen.lost > 0) {
        return err_set(e, -ENODEV,
                       "pool '%s' has lost its members for class '%s' (see 'strata pool "
                       "inspect %s')",
                       name, class, name);
    }
    return err_set(e, -ENOSPC, "pool '%s' has no member for class '%s'", name, class);
}

int pool_check_quota(struct node *n, const json_t *pool, uint64_t bytes, struct err *e)
{
    uint64_t quota = (uint64_t)json_integer_value(json_object_get(pool, "quota_bytes"));
    const char *name = pool_text(pool, "name");
    SCOPED(scope_json) json_t *volumes = NULL;
    uint64_t sum = 0;
    char most[UNITS_TEXT_BYTES];
    char now[UNITS_TEXT_BYTES];
    size_t i;
    json_t *volume;
    int r = quota == 0 ? 0 : record_list(n, "/volumes/", &volumes, e);

    if (quota == 0 || r < 0) {
        return r;
    }
    json_array_foreach(volumes, i, volume)
    {
        if (strcmp(pool_text(volume, "pool"), name) == 0) {
            sum += (uint64_t)json_integer_value(json_object_get(volume, "size_bytes"));
        }
    }
    if (sum <= quota && bytes <= quota - sum) {
        return 0;
    }
    units_print_size(quota, most);
    units_print_size(sum, now);
    return err_set(e, -EDQUOT,
                   "the quota of pool '%s' is %s, of which its volumes have %s", name,
                   most, now);
}
