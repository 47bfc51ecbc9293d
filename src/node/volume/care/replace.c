/* replace.c - another directory takes the place of a member, dead or alive. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/care/care.h"

/* The member at that path; NULL. */
static json_t *member_at(const json_t *pool, const char *path)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        if (strcmp(pool_member_path(member), path) == 0) {
            return member;
        }
    }
    return NULL;
}

/* A command that was killed has taken it in for the same one already. */
static int go_on(struct care *c, const json_t *there, struct err *e)
{
    if ((unsigned)json_integer_value(json_object_get(there, "for")) != c->member) {
        return err_set(e, -EEXIST, "'%s' is a member already", pool_member_path(there));
    }
    c->to = pool_member_id(there);
    return 0;
}

/* With the class of the old one; marked before it is recorded. */
static int take_in(struct care *c, json_t *new, const json_t *old, struct err *e)
{
    json_t *members = json_object_get(c->pool, "members");
    json_int_t id = json_integer_value(json_object_get(c->pool, "next_member"));
    int r;

    if (json_array_size(members) >= POOL_MEMBERS_MOST) {
        return err_set(e, -E2BIG, "a pool has at most %d members", POOL_MEMBERS_MOST);
    }
    (void)json_object_set_new(new, "id", json_integer(id));
    (void)json_object_set_new(new, "for", json_integer((json_int_t)c->member));
    (void)json_object_set(new, "class", json_object_get(old, "class"));
    r = pool_claim_member(c->n, c->pool, new, false, e);
    (void)fault_step("care.labelled");
    if (r < 0) {
        return r;
    }
    (void)json_array_append(members, new);
    (void)json_object_set_new(c->pool, "next_member", json_integer(id + 1));
    r = care_save(c, e);
    if (r < 0) {
        pool_release_member(c->n, c->pool, new);
        return r;
    }
    c->to = (unsigned)id;
    return 0;
}

static int replace(struct care *c, const json_t *order, json_t **ret_old, struct err *e)
{
    const char *word = volume_text(order, "member");
    SCOPED(scope_json) json_t *new = NULL;
    struct pool_room room;
    json_t *old = NULL;
    const json_t *there;
    int r = care_find_member(c->pool, word, &old, e);

    if (r < 0) {
        return r;
    }
    pool_look(c->n, c->pool, old, &room);
    r = care_prepare(c, word, room.state == POOL_LOST, ret_old, e);
    r = r == 0 ? pool_parse_member(volume_text(order, "path"), &new, e) : r;
    r = r == 0 && c->lost ? care_check_loss(c, e) : r;
    if (r < 0) {
        return r;
    }
    there = member_at(c->pool, pool_member_path(new));
    r = there != NULL ? go_on(c, there, e) : take_in(c, new, old, e);
    (void)fault_step("care.taken-in");
    return r == 0 ? care_leave(c, e) : r;
}

int care_replace(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *old = NULL;
    struct care c = {.lock = -1};
    int r = care_begin(n, volume_text(order, "name"), &c, e);

    r = r == 0 ? replace(&c, order, &old, e) : r;
    if (r == 0) {
        *ret = care_result(&c, old);
    }
    care_end(&c);
    return r < 0 ? err_wrap(e, "cannot replace member '%s' of pool '%s'",
                            volume_text(order, "member"), volume_text(order, "name"))
                 : 0;
}
