/* verbs.c - what a front end may ask of pools. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "base/word.h"
#include "node/node.h"
#include "node/pool/private.h"

#define SECOND_MS 1000

/* ---- looking ---- */

static const char *what_to_do(enum pool_state s)
{
    switch (s) {
    case POOL_FULL:
        return "add a member ('strata pool add'), or delete what is not needed";
    case POOL_SLOW:
        return "it did not answer in time: look at the device or server; nothing is lost";
    case POOL_LOST:
        return "mount or connect it again; what lies elsewhere goes on";
    default:
        return NULL;
    }
}

struct sums {
    struct pool_room room;
    enum pool_state worst;
};

static void look_at_members(struct node *n, json_t *pool, struct sums *ret)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        struct pool_room room;
        const char *hint;

        pool_look(n, pool, member, &room);
        hint = what_to_do(room.state);
        (void)json_object_set_new(member, "state",
                                  json_string(pool_state_name(room.state)));
        (void)json_object_set_new(member, "total_bytes",
                                  json_integer((json_int_t)room.total_bytes));
        (void)json_object_set_new(member, "used_bytes",
                                  json_integer((json_int_t)room.used_bytes));
        (void)json_object_set_new(member, "free_bytes",
                                  json_integer((json_int_t)room.free_bytes));
        if (hint != NULL) {
            (void)json_object_set_new(member, "to_do", json_string(hint));
        }
        ret->room.total_bytes += room.total_bytes;
        ret->room.used_bytes += room.used_bytes;
        ret->room.free_bytes += room.free_bytes;
        if (room.state != POOL_OK && ret->worst != POOL_LOST) {
            ret->worst = room.state;
        }
    }
}

/* Names of the volumes that lie on it. */
static json_t *volumes_of(struct node *n, const char *name)
{
    SCOPED(scope_json) json_t *all = NULL;
    json_t *out = json_array();
    size_t i;
    json_t *volume;

    if (record_list(n, "/volumes/", &all, NULL) < 0) {
        return out;
    }
    json_array_foreach(all, i, volume)
    {
        if (strcmp(pool_text(volume, "pool"), name) == 0) {
            (void)json_array_append(out, json_object_get(volume, "name"));
        }
    }
    return out;
}

static void describe(struct node *n, json_t *pool)
{
    struct sums s = {.worst = POOL_OK};

    look_at_members(n, pool, &s);
    (void)json_object_set_new(pool, "state", json_string(pool_state_name(s.worst)));
    (void)json_object_set_new(pool, "total_bytes",
                              json_integer((json_int_t)s.room.total_bytes));
    (void)json_object_set_new(pool, "used_bytes",
                              json_integer((json_int_t)s.room.used_bytes));
    (void)json_object_set_new(pool, "free_bytes",
                              json_integer((json_int_t)s.room.free_bytes));
    (void)json_object_set_new(pool, "volumes", volumes_of(n, pool_text(pool, "name")));
    (void)json_object_del(pool, "next_member");
}

static int list(struct node *n, json_t **ret, struct err *e)
{
    int r = record_list(n, "/pools/", ret, e);
    json_t *usual = NULL;
    bool found = false;
    size_t i;
    json_t *pool;

    if (r < 0) {
        return r;
    }
    json_array_foreach(*ret, i, pool)
    {
        found = found || strcmp(pool_text(pool, "name"), POOL_DEFAULT) == 0;
    }
    if (!found && pool_load(n, POOL_DEFAULT, &usual, e) == 0) {
        (void)json_array_insert_new(*ret, 0, usual);
    }
    json_array_foreach(*ret, i, pool)
    {
        describe(n, pool);
    }
    return 0;
}

/* ---- making ---- */

static int save(struct node *n, const json_t *pool, int64_t revision, struct err *e)
{
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/pools/%s", pool_text(pool, "name"));
    record_need_same(&c, key, revision);
    record_put_json(&c, key, pool);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r;
}

/* The record now, and its revision; that of the usual pool is 0 until it is changed. */
static int load_at(struct node *n, const char *name, json_t **ret, int64_t *ret_revision,
                   struct err *e)
{
    char key[KV_KEY_BYTES];
    int r = pool_load(n, name, ret, e);
    json_t *now = NULL;

    *ret_revision = 0;
    if (r == 0) {
        RECORD_KEY(key, "/pools/%s", name);
        if (record_load_at(n, key, &now, ret_revision, NULL) == 0) {
            json_decref(*ret);
            *ret = now;
        }
    }
    return r;
}

static bool has_path(const json_t *pool, const char *path)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        if (strcmp(pool_member_path(member), path) == 0) {
            return true;
        }
    }
    return false;
}

/* Put the members that the order names, with numbers, into the record. */
static int add_members(json_t *pool, const json_t *words, struct err *e)
{
    json_t *members = json_object_get(pool, "members");
    json_int_t next = json_integer_value(json_object_get(pool, "next_member"));
    size_t i;
    json_t *word;

    json_array_foreach(words, i, word)
    {
        json_t *member = NULL;
        int r = pool_parse_member(json_string_value(word), &member, e);

        if (r == 0 && has_path(pool, pool_member_path(member))) {
            r = err_set(e, -EEXIST, "'%s' is a member already", pool_member_path(member));
        }
        if (r == 0 && json_array_size(members) >= POOL_MEMBERS_MOST) {
            r = err_set(e, -E2BIG, "a pool has at most %d members", POOL_MEMBERS_MOST);
        }
        if (r < 0) {
            json_decref(member);
            return r;
        }
        (void)json_object_set_new(member, "id", json_integer(next++));
        (void)json_array_append_new(members, member);
    }
    (void)json_object_set_new(pool, "next_member", json_integer(next));
    return 0;
}

static void release_from(struct node *n, const json_t *pool, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        pool_release_member(n, pool, json_array_get(json_object_get(pool, "members"), i));
    }
}

/* Labels on the members from number `from` on, all or none. */
static int claim_from(struct node *n, const json_t *pool, size_t from, bool force,
                      struct err *e)
{
    const json_t *members = json_object_get(pool, "members");
    size_t i;
    int r = 0;

    for (i = from; r == 0 && i < json_array_size(members); i++) {
        r = pool_claim_member(n, pool, json_array_get(members, i), force, e);
        (void)fault_step("pool.labelled");
    }
    if (r < 0) {
        release_from(n, pool, from, i - 1);
    }
    return r;
}

static json_t *new_pool(const char *name, const json_t *order)
{
    json_int_t quota = json_integer_value(json_object_get(order, "quota"));
    json_int_t every = json_integer_value(json_object_get(order, "scrub_every"));
    char id[POOL_ID_DIGITS + 1];
    char created[UNITS_TEXT_BYTES];
    struct timespec now;
    json_t *pool;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    units_print_time(now.tv_sec * 1000000000LL + now.tv_nsec, created);
    if (word_random_id(id, POOL_ID_DIGITS) < 0) {
        return NULL;
    }
    pool = json_pack("{s:s, s:s, s:s, s:i, s:[]}", "name", name, "id", id, "created_at",
                     created, "next_member", 1, "members");
    if (json_object_get(order, "redundancy") != NULL) {
        (void)json_object_set(pool, "redundancy", json_object_get(order, "redundancy"));
    }
    if (quota > 0) {
        (void)json_object_set_new(pool, "quota_bytes", json_integer(quota));
    }
    if (json_is_true(json_object_get(order, "asynchronous"))) {
        (void)json_object_set_new(pool, "asynchronous", json_true());
    }
    if (every > 0) {
        (void)json_object_set_new(pool, "scrub_every_s", json_integer(every / SECOND_MS));
    }
    return pool;
}

static int check_redundancy(const json_t *pool, struct err *e)
{
    static const struct {
        const char *name;
        unsigned least;
    } known[] = {{"mirror", 2}, {"raid0", 2},  {"raid5", 3},
                 {"raid6", 4},  {"raid10", 4}, {"span", 1}};

    const char *word = pool_text(pool, "redundancy");

    if (json_is_true(json_object_get(pool, "asynchronous")) &&
        strcmp(word, "mirror") != 0) {
        return err_set(e, -EINVAL, "'--asynchronous' wants '--redundancy mirror'");
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, word) == 0) {
            return json_array_size(json_object_get(pool, "members")) >= known[i].least
                       ? 0
                       : err_set(e, -EINVAL, "'--redundancy %s' wants %u members or more",
                                 word, known[i].least);
        }
    }
    return word[0] == '\0' ? 0
                           : err_set(e, -EINVAL,
                                     "there is no redundancy '%s': mirror, raid0, raid5, "
                                     "raid6, raid10, span",
                                     word);
}

static int create(struct node *n, const char *name, const json_t *order, json_t **ret,
                  struct err *e)
{
    SCOPED(scope_json) json_t *pool = new_pool(name, order);
    SCOPED(scope_json) json_t *there = NULL;
    struct err none = {0};
    int r = pool == NULL ? err_set(e, -ENOMEM, "no memory") : 0;

    if (r == 0 && pool_load(n, name, &there, &none) == 0) {
        r = err_set(e, -EEXIST, "pool '%s' exists already", name);
    }
    r = r == 0 ? add_members(pool, json_object_get(order, "member"), e) : r;
    if (r == 0 && json_array_size(json_object_get(pool, "members")) == 0) {
        r = err_set(e, -EINVAL, "it wants a member (see '--member')");
    }
    r = r == 0 ? check_redundancy(pool, e) : r;
    r = r == 0 ? claim_from(n, pool, 0, json_is_true(json_object_get(order, "force")), e)
               : r;
    if (r < 0) {
        return err_wrap(e, "cannot make pool '%s'", name);
    }
    r = save(n, pool, 0, e);
    if (r < 0) {
        release_from(n, pool, 0, json_array_size(json_object_get(pool, "members")));
        return r == -EAGAIN ? err_set(e, -EEXIST, "pool '%s' exists already", name) : r;
    }
    (void)fault_step("pool.recorded");
    *ret = json_incref(pool);
    return 0;
}

static int add(struct node *n, const char *name, const json_t *order, json_t **ret,
               struct err *e)
{
    SCOPED(scope_json) json_t *pool = NULL;
    int64_t revision;
    size_t had;
    int r = load_at(n, name, &pool, &revision, e);

    if (r < 0) {
        return r;
    }
    had = json_array_size(json_object_get(pool, "members"));
    r = add_members(pool, json_object_get(order, "member"), e);
    r = r == 0
            ? claim_from(n, pool, had, json_is_true(json_object_get(order, "force")), e)
            : r;
    if (r < 0) {
        return err_wrap(e, "cannot add to pool '%s'", name);
    }
    r = save(n, pool, revision, e);
    if (r < 0) {
        release_from(n, pool, had, json_array_size(json_object_get(pool, "members")));
        return r == -EAGAIN
                   ? err_set(e, r, "pool '%s' was changed by another command", name)
                   : r;
    }
    describe(n, pool);
    *ret = json_incref(pool);
    return 0;
}

/* ---- taking away ---- */

static int delete_pool(struct node *n, const char *name, struct err *e)
{
    SCOPED(scope_json) json_t *pool = NULL;
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    char prefix[KV_KEY_BYTES];
    int64_t revision;
    int r = load_at(n, name, &pool, &revision, e);

    if (r < 0) {
        return r;
    }
    if (strcmp(name, POOL_DEFAULT) == 0) {
        return err_set(e, -EPERM, "cannot delete pool '%s': it is always there", name);
    }
    RECORD_KEY(key, "/pools/%s", name);
    RECORD_KEY(prefix, "/pool-layers/%s/", name);
    record_need_same(&c, key, revision);
    record_need_empty(&c, prefix);
    record_delete(&c, key);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    if (r == -EAGAIN) {
        return err_set(e, -EBUSY,
                       "cannot delete pool '%s': volumes lie on it (see 'strata pool "
                       "inspect %s')",
                       name, name);
    }
    (void)fault_step("pool.forgotten");
    if (r == 0) {
        release_from(n, pool, 0, json_array_size(json_object_get(pool, "members")));
    }
    return r;
}

int node_pool(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "name"));
    int r;

    *ret = NULL;
    if (strcmp(op, "list") == 0) {
        return list(n, ret, e);
    }
    if (name == NULL || !word_is_name(name)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a pool",
                       name != NULL ? name : "");
    }
    if (strcmp(op, "create") == 0) {
        return create(n, name, order, ret, e);
    }
    if (strcmp(op, "add") == 0) {
        return add(n, name, order, ret, e);
    }
    if (strcmp(op, "delete") == 0) {
        return delete_pool(n, name, e);
    }
    r = pool_load(n, name, ret, e);
    if (r == 0) {
        describe(n, *ret);
    }
    return r;
}
