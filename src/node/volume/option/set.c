/* set.c - options of a disk change; limits also while it is served. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/option.h"

#define END_STEPS 200 /* of 10 ms */

static bool names(const json_t *order, const char *member)
{
    return json_object_get(order, member) != NULL;
}

static bool names_limit(const json_t *order)
{
    return names(order, "iops") || names(order, "bandwidth") ||
           names(order, "burst_iops") || names(order, "burst_bandwidth") ||
           names(order, "burst_time");
}

/* Its server keeps the new limits from now on. */
static int set_limits(struct node *n, const struct volume *v, int control, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    struct str text = {0};
    char *rest;
    char *word;
    SCOPED(scope_free) char *all = NULL;
    int r;

    option_limit_words(v->record, " ", &text);
    all = str_take(&text);
    rest = all;
    words_add(&w, "throttle");
    while (rest != NULL && (word = strsep(&rest, " ")) != NULL) {
        if (*word != '\0') {
            words_add(&w, "%s", word);
        }
    }
    r = all == NULL ? err_set(e, -ENOMEM, "no memory")
                    : volume_worker_ask(n, control, &ask, e);
    words_fini(&w);
    return r;
}

static int save(struct node *n, struct volume *v, struct err *e)
{
    struct record_change c = {0};
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    (void)str_print(name, sizeof name, "%s", v->name);
    RECORD_KEY(key, "/volumes/%s", name);
    record_need_same(&c, key, v->revision);
    record_put_json(&c, key, v->record);
    r = record_change_do(n, &c, e);
    record_change_fini(&c);
    if (r == 0) {
        volume_fini(v);
        r = volume_load(n, name, v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", name)
               : r;
}

/* The cache that is there goes, written back; one that cannot be opened only by force. */
static int leave_cache(struct node *n, struct volume *v, bool force, struct err *e)
{
    struct err why = {0};
    int r = option_cache_settle(n, v, &why);

    if (r < 0 && !force) {
        return err_set(e, r, "%s", why.text);
    }
    return option_cache_leave(n, v, true, e);
}

/* Nobody has it open, but for limits. */
static int check_free(struct node *n, const struct volume *v, struct err *e)
{
    const struct timespec step = {.tv_nsec = 10000000};
    struct chain chain = {0};
    struct err why = {0};
    int r = chain_load_most(n, volume_text(v->record, "top"), 1, &chain, e);

    for (unsigned i = 0; r == 0; i++) {
        SCOPED(scope_close) int control = volume_worker_connect(n, v->name);
        SCOPED(scope_close) int alone = -1;

        if (control >= 0) {
            r = err_set(e, -EBUSY,
                        "a disk gets or loses no cache and no trace while it is "
                        "served: end its exports first");
            break;
        }
        err_clear(&why);
        alone = disk_open_alone(n, v, &chain.layers[0], &why);
        if (alone >= 0) {
            break;
        }
        if (alone != -EBUSY || i == END_STEPS || !volume_worker_has_socket(n, v->name)) {
            r = err_set(e, alone, "%s", why.text);
        }
        (void)nanosleep(&step, NULL); /* its worker is about to end */
    }
    chain_fini(&chain);
    return r;
}

static int change(struct node *n, struct volume *v, const json_t *order, int control,
                  struct err *e)
{
    bool force = json_is_true(json_object_get(order, "force"));

    int r = names(order, "cache") || names(order, "log") ? check_free(n, v, e) : 0;

    r = r == 0 && names(order, "cache") ? leave_cache(n, v, force, e) : r;
    r = r == 0 ? option_take(n, order, v->record, e) : r;
    r = r == 0 ? save(n, v, e) : r;
    (void)fault_step("volume.set.recorded");
    if (r == 0 && control >= 0 && names_limit(order)) {
        r = set_limits(n, v, control, e);
    }
    if (r == 0 && json_object_get(v->record, "cache") != NULL && control < 0 &&
        !json_is_true(
            json_object_get(v->record, "encrypted"))) { /* else when it is opened */
        char name[WORD_NAME_BYTES];

        (void)str_print(name, sizeof name, "%s", v->name);
        r = option_cache_need(n, name, 0, e);
        volume_fini(v);
        r = r == 0 ? volume_load(n, name, v, e) : r;
    }
    return r;
}

int option_set(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_close) int control = -1;
    struct volume v = {0};
    int r = volume_load_locked(n, name, &v, &lock, e);

    if (r == 0 && !option_are_named(order)) {
        r = err_set(e, -EINVAL, "no option says what to change");
    }
    control = r == 0 ? volume_worker_connect(n, name) : -1;
    r = r == 0 ? change(n, &v, order, control, e) : r;
    if (r == 0) {
        *ret = json_incref(v.record);
    }
    volume_fini(&v);
    return r < 0 && r != -ENOENT ? err_wrap(e, "cannot change volume '%s'", name) : r;
}
