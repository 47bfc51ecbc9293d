/* remove.c - a member is emptied and given back. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/care/care.h"

/* The store of images moves by a command of its own. */
static int check_images(struct care *c, const json_t *member, struct err *e)
{
    char link[PATH_MAX];
    char to[PATH_MAX];
    ssize_t len;

    (void)str_print(link, sizeof link, "%s/images", c->n->state);
    len = readlink(link, to, sizeof to - 1);
    to[len > 0 ? len : 0] = '\0';
    return str_starts(to, pool_member_path(member)) &&
                   to[strlen(pool_member_path(member))] == '/'
               ? err_set(e, -EBUSY,
                         "the store of images lies there ('strata image move' takes it "
                         "elsewhere)")
               : 0;
}

/* What is said of it has to be so. */
static int check_state(struct care *c, const json_t *member, bool lost, struct err *e)
{
    struct pool_room room;

    pool_look(c->n, c->pool, member, &room);
    if (room.state == POOL_SLOW) {
        return err_set(e, -ETIMEDOUT, "it does not answer in time: look at the device");
    }
    if (room.state == POOL_LOST && !lost) {
        return err_set(e, -ENODEV,
                       "it is lost: '--lost' removes it if all that it had has other "
                       "copies, 'strata pool replace' puts another in its place");
    }
    if (room.state != POOL_LOST && lost) {
        return err_set(e, -EEXIST, "it is there: remove it without '--lost'");
    }
    c->lost = lost;
    return 0;
}

/* Nothing new lands there (`yes`), or it stays after all. */
static int mark(struct care *c, bool yes, struct err *e)
{
    json_t *member = pool_member(c->pool, c->member);

    if (member == NULL || pool_member_is_leaving(member) == yes) {
        return 0;
    }
    if (yes) {
        (void)json_object_set_new(member, "leaving", json_true());
    } else {
        (void)json_object_del(member, "leaving");
    }
    return care_save(c, e);
}

static int forget(struct care *c, struct err *e)
{
    json_t *members = json_object_get(c->pool, "members");
    SCOPED(scope_json) json_t *gone = NULL;
    size_t i;
    json_t *member;
    int r;

    json_array_foreach(members, i, member)
    {
        if (pool_member_id(member) == c->member) {
            gone = json_incref(member);
            (void)json_array_remove(members, i);
            break;
        }
    }
    (void)json_object_del(pool_member(c->pool, c->to),
                          "for"); /* it is one like the others */
    r = care_save(c, e);
    (void)fault_step("care.forgotten");
    if (r == 0 && gone != NULL && !c->lost) {
        pool_release_member(c->n, c->pool, gone);
    }
    return r;
}

int care_leave(struct care *c, struct err *e)
{
    int r = c->lost ? care_check_loss(c, e) : 0;

    c->again = pool_member_is_leaving(pool_member(c->pool, c->member));
    r = r == 0 ? mark(c, true, e) : r;
    (void)fault_step("care.leaving");
    if (r < 0) {
        return r;
    }
    r = care_empty(c, e);
    if (r < 0) {
        (void)mark(c, false, NULL); /* what has moved stays where it is */
        return r;
    }
    return forget(c, e);
}

json_t *care_result(const struct care *c, const json_t *member)
{
    json_t *notes = json_array();

    for (size_t i = 0; i < c->notes.n; i++) {
        (void)json_array_append_new(notes, json_string(c->notes.items[i]));
    }
    return json_pack("{s:s, s:i, s:s, s:i, s:i, s:o}", "name", care_pool(c), "member",
                     (int)c->member, "path", pool_member_path(member), "moved",
                     (int)c->moved, "rebuilt", (int)c->rebuilt, "notes", notes);
}

int care_prepare(struct care *c, const char *word, bool lost, json_t **ret_member,
                 struct err *e)
{
    json_t *member = NULL;
    int r = care_find_member(c->pool, word, &member, e);

    if (r == 0) {
        c->member = pool_member_id(member);
        *ret_member = json_deep_copy(member);
        r = check_images(c, member, e);
    }
    if (r == 0 && strcmp(care_pool(c), POOL_DEFAULT) == 0 && c->member == 1) {
        r = err_set(e, -EPERM, "it is a part of the state");
    }
    return r == 0 ? check_state(c, member, lost, e) : r;
}

int care_remove(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *word = volume_text(order, "member");
    SCOPED(scope_json) json_t *member = NULL;
    struct care c = {.lock = -1};
    int r = care_begin(n, volume_text(order, "name"), &c, e);

    r = r == 0 ? care_prepare(&c, word, json_is_true(json_object_get(order, "lost")),
                              &member, e)
               : r;
    if (r == 0 && json_array_size(json_object_get(c.pool, "members")) < 2) {
        r = err_set(e, -EPERM, "it is the only one ('strata pool delete')");
    }
    r = r == 0 ? care_leave(&c, e) : r;
    if (r == 0) {
        *ret = care_result(&c, member);
    }
    care_end(&c);
    return r < 0 ? err_wrap(e, "cannot remove member '%s' of pool '%s'", word,
                            volume_text(order, "name"))
                 : 0;
}
