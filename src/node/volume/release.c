/* release.c - layers that nobody needs any more go: their records with the transaction
 * that takes the last user away, their bytes after it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/private.h"

struct leaving {
    struct layer layers[LAYER_RELEASE_MOST];
    int announced[LAYER_RELEASE_MOST];
    size_t count;
};

static int announce(struct node *n, const struct layer_release *r, struct leaving *s,
                    struct err *e)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < r->gone.n && i < LAYER_RELEASE_MOST; i++) {
        s->announced[s->count] = -1;
        result = layer_load(n, r->gone.items[i], &s->layers[s->count], e);
        if (result == 0) {
            s->count += 1;
            result = piece_announce(n, &s->layers[s->count - 1],
                                    &s->announced[s->count - 1], e);
        }
    }
    return result;
}

static void settle(struct node *n, struct leaving *s, bool gone,
                   const struct layer_release *r)
{
    for (size_t i = 0; i < s->count; i++) {
        if (gone) {
            bool held = r->held > 0 && strcmp(r->held_layer, s->layers[i].id) == 0;

            (void)piece_remove(n, &s->layers[i], held ? r->held : 0);
        }
        piece_settled(n, s->layers[i].id, &s->announced[i]);
        layer_fini(&s->layers[i]);
    }
    s->count = 0;
}

void layer_release_hold(struct layer_release *r, const char *layer, int held)
{
    r->held = held;
    (void)str_print(r->held_layer, sizeof r->held_layer, "%s", layer);
}

int layer_release_do(struct node *n, struct record_change *c, struct layer_release *r,
                     struct err *e)
{
    struct leaving leaving = {.count = 0};
    int result = announce(n, r, &leaving, e);

    (void)fault_step("release.announced");
    if (result == 0) {
        layer_release_record(c, r, n);
        result = record_change_do(n, c, e);
    }
    (void)fault_step("release.recorded");
    settle(n, &leaving, result == 0, r);
    (void)fault_step("release.done");
    while (result == 0 && r->rest[0] != '\0') { /* a long chain goes in parts */
        struct layer_release more = {0};
        struct record_change then = {0};
        char id[LAYER_ID_DIGITS + 1];
        char user[KV_KEY_BYTES];

        (void)str_print(id, sizeof id, "%s", r->rest);
        RECORD_KEY(user, "%s", r->rest_user);
        r->rest[0] = '\0';
        result = layer_release(n, &more, id, user, e);
        result = result == 0 ? announce(n, &more, &leaving, e) : result;
        if (result == 0) {
            layer_release_record(&then, &more, n);
            result = record_change_do(n, &then, e);
        }
        settle(n, &leaving, result == 0, &more);
        (void)str_print(r->rest, sizeof r->rest, "%s", more.rest);
        RECORD_KEY(r->rest_user, "%s", more.rest_user);
        layer_release_fini(&more);
        record_change_fini(&then);
    }
    return result;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int layer_merge_do(struct node *n, struct record_change *c, struct layer_release *gone,
                   const struct strv *users, struct err *e)
{
    struct leaving leaving = {.count = 0};
    const char *id = gone->gone.items[0];
    struct strv keys = {0};
    char prefix[KV_KEY_BYTES];
    int r = announce(n, gone, &leaving, e);

    RECORD_KEY(prefix, "/layer-users/%s/", id);
    for (size_t i = 0; i < users->n; i++) {
        strv_addf(&keys, "%s%s", prefix, users->items[i]);
    }
    if (strv_failed(&keys)) {
        r = err_set(e, -ENOMEM, "no memory");
    }
    if (r == 0) {
        qsort(keys.items, keys.n, sizeof keys.items[0], compare_texts);
        record_need_only(c, prefix, (const char *const *)keys.items, keys.n);
        RECORD_KEY(prefix, "/layers/%s", id);
        record_delete(c, prefix);
        RECORD_KEY(prefix, "/pool-layers/%s/%s",
                   volume_text(leaving.layers[0].record, "pool"), id);
        record_delete(c, prefix);
        r = record_change_do(n, c, e);
    }
    (void)fault_step("merge.recorded");
    settle(n, &leaving, r == 0, gone);
    strv_fini(&keys);
    return r;
}
