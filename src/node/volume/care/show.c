/* show.c - how the volumes of a pool are, for people: who lacks a copy, which member came back
 * and is not equal yet, how far one that follows is behind. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/volume/care/care.h"

struct showing {
    struct node *n;
    json_t *pool; /* as it is described */
    json_t *degraded;
    json_t *lost;
    json_t *behind;
};

/* One layer of several pieces. */
struct looking {
    struct showing *s;
    const struct layer *l;
    const char *label; /* of a worker's lines; NULL: of the program's */
    bool unequal;
    unsigned long long lag;
};

/* The member that has that piece, and is there; NULL. */
static json_t *there(const struct showing *s, const struct layer *l, unsigned at)
{
    json_t *member = pool_member(s->pool, piece_member(l, at));
    const char *state = member != NULL ? volume_text(member, "state") : "lost";

    return strcmp(state, "lost") != 0 && strcmp(state, "slow") != 0 ? member : NULL;
}

static void returned(struct looking *x, unsigned role)
{
    json_t *member = there(x->s, x->l, role);
    char hint[160];

    x->unequal = true;
    if (member != NULL) {
        (void)str_print(hint, sizeof hint,
                        "it lacks what was written while it was away: 'strata pool scrub "
                        "--repair %s' makes it equal",
                        volume_text(x->s->pool, "name"));
        (void)json_object_set_new(member, "state", json_string("returned"));
        (void)json_object_set_new(member, "to_do", json_string(hint));
    }
}

/* "member=ROLE BEHIND ERRORS STATE", or of a worker "member=LABEL ROLE BEHIND LAG ERRORS STATE". */
static void take_member(void *arg, const char *line)
{
    struct looking *x = arg;
    char label[64];
    char state[32];
    unsigned role;
    unsigned long long behind;
    unsigned long long lag = 0;
    unsigned long long errors;

    if (x->label == NULL) {
        if (sscanf(line, "member=%u %llu %llu %31[a-z ]", &role, &behind, &errors,
                   state) != 4) {
            return;
        }
    } else if (sscanf(line, "member=%63s %u %llu %llu %llu %31[a-z ]", label, &role,
                      &behind, &lag, &errors, state) != 6 ||
               strcmp(label, x->label) != 0) {
        return;
    }
    x->lag = lag > x->lag ? lag : x->lag;
    if (behind > 0 || (strcmp(state, "in sync") != 0 && strcmp(state, "follows") != 0)) {
        returned(x, role);
    }
}

static void ask_worker(struct looking *x, int control)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .line = take_member, .arg = x};

    words_add(&w, "status");
    (void)volume_worker_ask(x->s->n, control, &ask, NULL);
    words_fini(&w);
}

static void add_all(json_t *to, const struct strv *names)
{
    for (size_t i = 0; i < names->n; i++) {
        bool has = false;
        size_t k;
        json_t *one;

        json_array_foreach(to, k, one)
        {
            has = has || strcmp(json_string_value(one), names->items[i]) == 0;
        }
        if (!has) {
            (void)json_array_append_new(to, json_string(names->items[i]));
        }
    }
}

/* The members say it of themselves; those of a volume in use by its worker. */
static void look_at_members(struct looking *x, const struct strv *names)
{
    const struct arrange_name as = {.name = "disk", .unlocked = true, .promote = true};
    char label[CARE_NODE_BYTES];
    bool asked = false;

    care_node(x->l, label);
    for (size_t i = 0; !asked && i < names->n; i++) {
        SCOPED(scope_close) int control = volume_worker_peek(x->s->n, names->items[i]);

        if (control >= 0) {
            x->label = label;
            ask_worker(x, control);
            asked = true;
            if (x->lag > 0) {
                (void)json_array_append_new(
                    x->s->behind, json_pack("{s:s, s:I}", "volume", names->items[i],
                                            "bytes", (json_int_t)x->lag));
            }
        }
    }
    if (!asked) {
        (void)arrange_ask(x->s->n, x->l, &as, take_member, x, NULL);
    }
}

static void show_layer(struct showing *s, const char *id)
{
    struct layer l = {.record = NULL};
    struct strv names = {0};
    struct looking x = {.s = s, .l = &l};
    unsigned missing = 0;

    if (layer_load(s->n, id, &l, NULL) == 0 &&
        care_volumes(s->n, id, &names, NULL) == 0) {
        for (unsigned i = 0; i < piece_count(&l); i++) {
            bool left = piece_maps(&l) > 0 && piece_member(&l, i) == 0;

            missing += !left && there(s, &l, i) == NULL;
        }
        if (arrange_spare(&l) > 0 && missing < piece_count(&l)) {
            look_at_members(&x, &names);
        }
        if (missing > arrange_spare(&l)) {
            add_all(s->lost, &names);
        } else if (missing > 0 || x.unequal || care_lacks_map(&l)) {
            add_all(s->degraded, &names);
        }
    }
    strv_fini(&names);
    layer_fini(&l);
}

static void put_list(json_t *pool, const char *key, json_t *take)
{
    if (json_array_size(take) > 0) {
        (void)json_object_set(pool, key, take);
    }
    json_decref(take);
}

static bool has_returned(const json_t *pool)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        if (strcmp(volume_text(member, "state"), "returned") == 0) {
            return true;
        }
    }
    return false;
}

bool care_is_due(const json_t *pool)
{
    json_int_t every = json_integer_value(json_object_get(pool, "scrub_every_s"));
    const char *last = volume_text(json_object_get(pool, "last_scrub"), "at");
    int64_t then = 0;

    if (every <= 0) {
        return false;
    }
    if (units_parse_time(last[0] != '\0' ? last : volume_text(pool, "created_at"),
                         &then) < 0) {
        return true;
    }
    return (int64_t)time(NULL) - then / 1000000000 >= every;
}

void care_show(struct node *n, json_t *pool)
{
    struct showing s = {.n = n,
                        .pool = pool,
                        .degraded = json_array(),
                        .lost = json_array(),
                        .behind = json_array()};
    const char *state = volume_text(pool, "state");
    json_int_t every = json_integer_value(json_object_get(pool, "scrub_every_s"));
    struct strv ids = {0};

    if (care_layers(n, volume_text(pool, "name"), 0, &ids, NULL) == 0) {
        for (size_t i = 0; i < ids.n; i++) {
            show_layer(&s, ids.items[i]);
        }
    }
    strv_fini(&ids);
    if (has_returned(pool) && strcmp(state, "lost") != 0) {
        (void)json_object_set_new(pool, "state", json_string("returned"));
    }
    put_list(pool, "degraded", s.degraded);
    put_list(pool, "lost", s.lost);
    put_list(pool, "behind", s.behind);
    if (every > 0) {
        char text[UNITS_TEXT_BYTES];

        units_print_duration((uint64_t)every * 1000, text);
        (void)json_object_set_new(pool, "scrub_every", json_string(text));
        (void)json_object_set_new(pool, "scrub_due", json_boolean(care_is_due(pool)));
        (void)json_object_del(pool, "scrub_every_s");
    }
}
