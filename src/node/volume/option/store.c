/* store.c - the stores of caches.
 *
 * A store is made and filled with an empty cache of the disk before the record names it, so
 * that a cache is never opened as a new one: what it holds back is lost with no command.  When
 * the disk below gets other contents while nobody uses it, its store goes first. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/arrange.h"
#include "node/volume/option.h"

#define END_STEPS 200 /* of 10 ms */

static const char *store_of(const json_t *volume)
{
    return volume_text(json_object_get(volume, "cache"), "layer");
}

static void store_user(const char *name, char out[KV_KEY_BYTES])
{
    RECORD_KEY(out, "c/%s", name);
}

/* ---- settling ---- */

/* Open the cache as it was, without what else stands over the disk; 0 also when a server
 * has it, -EBUSY when one is about to end. */
static int settle_once(struct node *n, const struct volume *v, const struct volume *bare,
                       struct err *e)
{
    SCOPED(scope_close) int control = volume_worker_connect(n, v->name);
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    int r;

    if (control >= 0) {
        return 0;
    }
    r = chain_load(n, volume_text(v->record, "top"), &chain, e);
    r = r == 0 ? words_chain(n, &chain, "disk", true, &w, e) : r;
    r = r == 0 ? option_words(n, bare, "disk", &w, e) : r;
    r = r == 0 ? words_run(n, "settle", &w, NULL, NULL, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

int option_cache_settle(struct node *n, const struct volume *v, struct err *e)
{
    const json_t *cache = json_object_get(v->record, "cache");
    const struct timespec step = {.tv_nsec = 10000000};
    SCOPED(scope_json) json_t *only = NULL;
    struct volume bare = {.record = NULL};
    struct err why = {0};
    int r;

    if (store_of(v->record)[0] == '\0' ||
        strcmp(volume_text(cache, "mode"), "write-back") != 0) {
        return 0;
    }
    only = json_pack("{s:O}", "cache", cache);
    bare.record = only;
    for (unsigned i = 0;; i++) {
        err_clear(&why);
        r = settle_once(n, v, &bare, &why);
        if (r != -EBUSY || i == END_STEPS || !volume_worker_has_socket(n, v->name)) {
            break;
        }
        (void)nanosleep(&step, NULL); /* its worker is about to end */
    }
    if (r < 0) {
        (void)err_set(e, r, "%s", why.text);
    }
    return r < 0
               ? err_wrap(e,
                          "the cache of volume '%s' cannot be written back (see 'strata "
                          "volume set --cache none --force')",
                          v->name)
               : 0;
}

/* ---- making ---- */

static int fill(struct node *n, const struct volume *v, const struct layer *store,
                int key, struct err *e)
{
    struct words w = {.n_fds = 0};
    struct chain chain = {0};
    int r = chain_load(n, volume_text(v->record, "top"), &chain, e);

    r = r == 0 ? words_chain(n, &chain, "disk", true, &w, e) : r;
    words_unlock(&w, key);
    r = r == 0 ? option_store_words(n, store, &w, e) : r;
    words_add(&w, "node=cache,cache,slow=disk,fast=%s,fresh", store->id);
    r = r == 0 ? words_run(n, "settle", &w, NULL, NULL, e) : r;
    words_fini(&w);
    chain_fini(&chain);
    return r;
}

static int record_store(struct node *n, struct volume *v, const struct layer *store,
                        struct err *e)
{
    struct record_change c = {0};
    char key[KV_KEY_BYTES];
    char user[KV_KEY_BYTES];
    int r;

    (void)json_object_set_new(json_object_get(v->record, "cache"), "layer",
                              json_string(store->id));
    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    store_user(v->name, user);
    layer_record(&c, store, user);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    return r;
}

static int make(struct node *n, struct volume *v, int key, struct err *e)
{
    bool encrypted = json_is_true(json_object_get(v->record, "encrypted"));
    const json_t *cache = json_object_get(v->record, "cache");
    SCOPED(scope_json) json_t *pool = NULL;
    struct layer_new store = {.intent = -1};
    struct layer_plan plan = {.class = volume_text(cache, "class"),
                              .format = encrypted ? "qcow2" : "raw",
                              .size_bytes = volume_number(cache, "size_bytes")};
    struct chain top = {0};
    int r = pool_load(n, volume_text(cache, "pool"), &pool, e);

    plan.pool = pool;
    if (r == 0 && encrypted) {
        r = chain_load_most(n, volume_text(v->record, "top"), 1, &top, e);
        plan.like = top.layers;
    }
    r = r == 0 ? layer_make(n, &plan, &store, e) : r;
    if (r == 0) {
        r = fill(n, v, &store.layer, key, e);
        (void)fault_step("cache.filled");
        r = r == 0 ? record_store(n, v, &store.layer, e) : r;
        (void)fault_step("cache.recorded");
        layer_settle(n, &store, r == 0);
    }
    chain_fini(&top);
    return r < 0 ? err_wrap(e, "cannot make the cache of volume '%s'", v->name) : 0;
}

int option_cache_need(struct node *n, const char *name, int key, struct err *e)
{
    struct volume v = {0};
    int r = volume_load(n, name, &v, e);

    if (r == 0 && json_object_get(v.record, "cache") != NULL &&
        store_of(v.record)[0] == '\0') {
        r = make(n, &v, key, e);
    }
    volume_fini(&v);
    return r;
}

/* ---- the end ---- */

int option_cache_release(struct node *n, const json_t *volume, const char *name,
                         struct layer_release *gone, struct err *e)
{
    char user[KV_KEY_BYTES];

    store_user(name, user);
    return store_of(volume)[0] != '\0' ? layer_release(n, gone, store_of(volume), user, e)
                                       : 0;
}

int option_cache_leave(struct node *n, struct volume *v, bool forget, struct err *e)
{
    struct record_change c = {0};
    struct layer_release gone = {0};
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    if (json_object_get(v->record, "cache") == NULL ||
        (!forget && store_of(v->record)[0] == '\0')) {
        return 0;
    }
    (void)str_print(name, sizeof name, "%s", v->name);
    r = option_cache_release(n, v->record, name, &gone, e);
    if (forget) {
        (void)json_object_del(v->record, "cache");
    } else {
        (void)json_object_del(json_object_get(v->record, "cache"), "layer");
    }
    RECORD_KEY(key, "/volumes/%s", name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    r = r == 0 ? layer_release_do(n, &c, &gone, e) : r;
    (void)fault_step("cache.left");
    layer_release_fini(&gone);
    record_change_fini(&c);
    if (r == 0) {
        volume_fini(v);
        r = volume_load(n, name, v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", name)
               : r;
}
