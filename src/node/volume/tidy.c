/* tidy.c - chains become short again.
 *
 * A layer that nobody names and that one other stands on is not needed for itself: what
 * the upper one holds goes down into it, and it takes the upper one's place, name and
 * users.  Until the transaction that says so the upper one hides every byte that was
 * changed below, so that a merge that was killed has changed nothing, and the next one
 * begins anew.
 *
 * The worker of a volume in use merges itself.  Where the upper layer does not change any
 * more, both states stay right until the records follow.  The top goes on being written: the
 * record says so before (member `merging`), and the worker turns as in a move (live.c).
 * Layers that others read are left for another time, and so are, in use, those with a filter and
 * those that lie in a cluster. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/option_layer.h"
#include "node/volume/worker.h"

/* Whether the layer is there for the other one alone. */
static bool is_only_for(struct node *n, const struct layer *lower,
                        const struct layer *upper)
{
    struct strv users = {0};
    char child[KV_KEY_BYTES];
    bool only;

    RECORD_KEY(child, "l/%s", upper->id);
    only = layer_users(n, lower->id, &users, NULL) == 0 && users.n == 1 &&
           strcmp(users.items[0], child) == 0;
    strv_fini(&users);
    return only;
}

static int copy_down(struct node *n, const struct chain *chain, size_t at, struct err *e)
{
    const struct chain below = {.layers = chain->layers + at + 1,
                                .count = chain->count - at - 1,
                                .key = chain->key};
    struct words w = {.n_fds = 0};
    const struct arrange_name as = {.name = "from.file"};
    int r = words_chain(n, &below, "to", true, &w, e);

    r = r == 0 ? arrange_words(n, &chain->layers[at], &as, &w, e) : r;
    words_add(&w, "node=from,qcow2,file=from.file,alone,read-only%s",
              words_key(&w, &chain->layers[at], chain->key));
    words_add(&w, "from=from");
    words_add(&w, "to=to");
    r = r == 0 ? words_run(n, "merge", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

/* One who stands on the upper layer stands on the lower one from now on. */
static int move_child(struct node *n, struct record_change *c, const char *child,
                      const struct layer *lower, struct err *e)
{
    SCOPED(scope_json) json_t *record = NULL;
    char key[KV_KEY_BYTES];
    int64_t revision;
    int r;

    RECORD_KEY(key, "/layers/%s", child);
    r = record_load_at(n, key, &record, &revision, e);
    if (r == 0) {
        (void)json_object_set_new(record, "parent", json_string(lower->id));
        record_need_same(c, key, revision);
        record_put_json(c, key, record);
    }
    return r;
}

/* The volume's own names for the upper layer. */
static void rename_in(struct volume *v, const struct layer *upper,
                      const struct layer *lower)
{
    char path[PATH_MAX] = "";
    size_t i;
    json_t *one;

    if (strcmp(volume_text(v->record, "top"), upper->id) == 0) {
        (void)piece_path(lower, path);
        (void)json_object_set_new(v->record, "top", json_string(lower->id));
        (void)json_object_set(v->record, "format",
                              json_object_get(lower->record, "format"));
        (void)json_object_set_new(v->record, "path", json_string(path));
    }
    json_array_foreach(json_object_get(v->record, "snapshots"), i, one)
    {
        if (strcmp(volume_text(one, "layer"), upper->id) == 0) {
            (void)json_object_set_new(one, "layer", json_string(lower->id));
        }
    }
    if (strcmp(volume_text(v->record, "backup_layer"), upper->id) == 0) {
        (void)json_object_set_new(v->record, "backup_layer", json_string(lower->id));
    }
}

/* Whether all who need the layer are layers, or this volume. */
static bool is_ours(const struct volume *v, const struct strv *users)
{
    char own[3][KV_KEY_BYTES];

    RECORD_KEY(own[0], "v/%s", v->name);
    RECORD_KEY(own[1], "b/%s", v->name);
    RECORD_KEY(own[2], "s/%s/", v->name);
    for (size_t i = 0; i < users->n; i++) {
        const char *user = users->items[i];

        if (strcmp(user, own[0]) != 0 && strcmp(user, own[1]) != 0 &&
            !str_starts(user, own[2]) && !str_starts(user, "l/")) {
            return false;
        }
    }
    return true;
}

static int move_users(struct node *n, struct record_change *c, const struct strv *users,
                      const struct layer *upper, const struct layer *lower, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < users->n; i++) {
        const char *user = users->items[i];

        layer_use(c, lower->id, user);
        layer_unuse(c, upper->id, user);
        r = str_starts(user, "l/") ? move_child(n, c, user + 2, lower, e) : 0;
    }
    return r;
}

int layer_rename_parent(struct node *n, const struct layer *child,
                        const struct layer *lower, bool unlocked)
{
    struct words w = {.n_fds = 0};
    const struct arrange_name as = {.name = "f", .writes = true, .unlocked = unlocked};
    char name[PATH_MAX];
    int r = piece_name(child, lower, name);

    r = r == 0 ? arrange_words(n, child, &as, &w, NULL) : r;
    if (r == 0) {
        words_add(&w, "node=disk,qcow2,file=f,alone%s",
                  words_key(&w, child, CHAIN_LOCKED));
        words_add(&w, "name=%s", name);
        words_add(&w, "format=%s", volume_text(lower->record, "format"));
        r = words_run(n, "rebase", &w, NULL, NULL, NULL);
    }
    words_fini(&w);
    return r;
}

/* Images that stand on the upper layer name the lower one, which has all by now, for other
 * tools; ours go by the records. */
static int rename_in_images(struct node *n, const struct strv *users,
                            const struct layer *lower)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < users->n; i++) {
        if (str_starts(users->items[i], "l/")) {
            struct layer child = {.record = NULL};

            r = layer_load(n, users->items[i] + 2, &child, NULL);
            r = r == 0 ? layer_rename_parent(n, &child, lower, false) : r;
            layer_fini(&child);
        }
    }
    return r;
}

static int record_merge(struct node *n, struct volume *v, const struct strv *users,
                        struct layer *pair, int held)
{
    const struct layer *upper = &pair[0];
    struct layer *lower = &pair[1];
    struct record_change c = {0};
    struct layer_release gone = {0};
    struct err *e = NULL;
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r = move_users(n, &c, users, upper, lower, e);

    rename_in(v, upper, lower);
    (void)json_object_del(v->record, "merging");
    (void)json_object_set(lower->record, "size_bytes",
                          json_object_get(upper->record, "size_bytes"));
    RECORD_KEY(key, "/layers/%s", lower->id);
    record_put_json(&c, key, lower->record);
    RECORD_KEY(user, "l/%s", upper->id);
    layer_unuse(&c, lower->id, user);
    layer_release_hold(&gone, upper->id, held);
    strv_add(&gone.gone, upper->id);
    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    r = r == 0 ? layer_merge_do(n, &c, &gone, users, e) : r;
    layer_release_fini(&gone);
    record_change_fini(&c);
    return r;
}

/* ---- in use ---- */

struct merging {
    struct node *n;
    struct volume *v;
};

/* Both layers are alike, and stay so until the worker is told. */
static int record_merging(void *arg, struct err *e)
{
    struct merging *m = arg;
    struct record_change c = {0};
    int r;

    (void)fault_step("merge.alike");
    (void)json_object_set(m->v->record, "merging", json_object_get(m->v->record, "top"));
    r = volume_save(m->n, m->v, &c, e);
    record_change_fini(&c);
    (void)fault_step("merge.announced");
    return r;
}

int disk_settle_merge(struct node *n, struct volume *v, const char *now, struct err *e)
{
    struct chain chain = {0};
    struct strv users = {0};
    int r = chain_load_most(n, volume_text(v->record, "top"), 2, &chain, e);
    bool gone = r == 0 && chain.count == 2 && strcmp(now, chain.layers[1].id) == 0;

    if (gone) {
        r = layer_users(n, chain.layers[0].id, &users, e);
        r = r == 0 ? record_merge(n, v, &users, chain.layers, 0) : r;
    } else if (r == 0) {
        struct record_change c = {0};

        (void)json_object_del(v->record, "merging");
        r = volume_save(n, v, &c, e);
        record_change_fini(&c);
    }
    strv_fini(&users);
    chain_fini(&chain);
    return r;
}

/* The worker merges the layer; what stands on it in its chain names the lower one then. */
static int ask_to_merge(struct node *n, struct volume *v, const struct chain *chain,
                        size_t at, int control)
{
    const struct layer *upper = &chain->layers[at];
    const struct layer *lower = &chain->layers[at + 1];
    struct merging m = {n, v};
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .ready = record_merging, .arg = &m};
    char text[PATH_MAX];
    int turn = -1;
    int r;

    words_add(&w, "merge");
    r = piece_reopen(n, lower, &w, NULL);
    words_add(&w, "layer=%s", upper->id);
    words_add(&w, "onto=%s", lower->id);
    if (r == 0 && at == 0) {
        r = volume_turn_make(n, v->name, &turn, NULL);
        words_add(&w, "hold");
        words_add(&w, "%s", words_fd(&w, "turned", turn, text));
    } else if (r == 0) {
        const struct layer *child = &chain->layers[at - 1];

        r = at > 1 ? piece_reopen(n, child, &w, NULL) : 0;
        r = r == 0 ? piece_name(child, lower, text) : r;
        words_add(&w, "rename=%s", text);
        words_add(&w, "rename-format=%s", volume_text(lower->record, "format"));
    }
    r = r == 0 ? volume_worker_ask(n, control, &ask, NULL) : r;
    words_fini(&w);
    return r;
}

/* Nobody but the layer above, of this volume, or names of this volume need the layer. */
static bool is_above_alone(const struct volume *v, const struct strv *users,
                           const struct chain *chain, size_t at)
{
    char child[KV_KEY_BYTES] = "";

    if (at > 0) {
        RECORD_KEY(child, "l/%s", chain->layers[at - 1].id);
    }
    for (size_t i = 0; i < users->n; i++) {
        if (str_starts(users->items[i], "l/") && strcmp(users->items[i], child) != 0) {
            return false;
        }
    }
    return is_ours(v, users);
}

static int merge_served(struct node *n, struct volume *v, struct chain *chain, size_t at,
                        int control)
{
    struct layer *upper = &chain->layers[at];
    struct layer *lower = &chain->layers[at + 1];
    struct strv users = {0};
    int r = layer_users(n, upper->id, &users, NULL);

    if (r == 0 && (!is_above_alone(v, &users, chain, at) || layer_is_filtered(lower))) {
        r = -EBUSY;
    }
    r = r == 0 ? ask_to_merge(n, v, chain, at, control) : r;
    (void)fault_step("merge.gone-down");
    if (r < 0 && volume_text(v->record, "merging")[0] != '\0') {
        (void)disk_settle(n, v, NULL);
    }
    r = r == 0 ? record_merge(n, v, &users, upper, 0) : r;
    (void)fault_step("merge.settled");
    if (r == 0 && at == 0) {
        volume_turn_forget(n, v->name);
    }
    strv_fini(&users);
    return r;
}

/* ---- one pair after the other ---- */

static int merge_alone(struct node *n, struct volume *v, struct chain *chain, size_t at)
{
    struct layer *upper = &chain->layers[at];
    struct layer *lower = &chain->layers[at + 1];
    SCOPED(scope_close) int steady = -1;
    struct strv users = {0};
    int r = layer_users(n, upper->id, &users, NULL);

    steady = r == 0 ? disk_open_steady(n, v, upper, NULL) : -1;
    if (steady < 0 || !is_ours(v, &users) ||
        (layer_is_encrypted(upper) && chain->key <= 0)) {
        r = -EBUSY; /* what is encrypted is not read without its passphrase */
    }
    r = r == 0 ? copy_down(n, chain, at, NULL) : r;
    (void)fault_step("tidy.copied");
    r = r == 0 ? rename_in_images(n, &users, lower) : r;
    (void)fault_step("tidy.renamed");
    r = r == 0 ? record_merge(n, v, &users, upper, steady) : r;
    (void)fault_step("tidy.recorded");
    strv_fini(&users);
    return r;
}

static int merge(struct node *n, struct volume *v, struct chain *chain, size_t at)
{
    SCOPED(scope_close) int control = volume_worker_connect(n, v->name);
    uint64_t bytes = 0;
    int r = control >= 0 ? merge_served(n, v, chain, at, control)
                         : merge_alone(n, v, chain, at);

    if (r == 0 && (control < 0 || at == 0)) { /* what was written over is room */
        (void)option_layer_reclaim(n, &chain->layers[at + 1], control, &bytes, NULL);
    }
    return r;
}

unsigned volume_untidy(struct node *n, const struct chain *chain)
{
    unsigned waiting = 0;

    for (size_t at = 0; at + 1 < chain->count; at++) {
        waiting += is_only_for(n, &chain->layers[at + 1], &chain->layers[at]);
    }
    return waiting;
}

void volume_tidy(struct node *n, const char *name, const json_t *order)
{
    size_t at = 0;

    for (;;) {
        struct volume v = {0};
        struct chain chain = {0};
        int r = volume_load(n, name, &v, NULL);

        r = r == 0 ? chain_load(n, volume_text(v.record, "top"), &chain, NULL) : r;
        if (r == 0 && json_object_get(order, "key_file") != NULL) {
            r = chain_unlock(n, &chain, order, NULL);
        }
        while (r == 0 && at + 1 < chain.count &&
               !is_only_for(n, &chain.layers[at + 1], &chain.layers[at])) {
            at++;
        }
        if (r == 0 && at + 1 < chain.count) {
            at += merge(n, &v, &chain, at) !=
                  0; /* the next pair, or the same place again */
        } else {
            r = -ENOENT;
        }
        chain_fini(&chain);
        volume_fini(&v);
        if (r < 0) {
            return;
        }
    }
}
