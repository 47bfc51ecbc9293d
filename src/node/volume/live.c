/* live.c - a disk that is served is frozen, without its clients' noticing.
 *
 * The new top is recorded before the worker writes to it, because an empty layer over the
 * old top reads as that does: whoever dies in between leaves a record that is right.  The
 * old top keeps the volume as a user until the worker has gone over, so that nothing is
 * built upon it as if it could not change; the member `unsettled` of the volume's record
 * says so, and whoever finds it goes on from there. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/worker.h"

static int save(struct node *n, struct volume *v, struct record_change *c, struct err *e)
{
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    (void)str_print(name, sizeof name, "%s", v->name);
    RECORD_KEY(key, "/volumes/%s", name);
    record_need_same(c, key, v->revision);
    record_put_json(c, key, v->record);
    r = record_change_do(n, c, e);
    if (r == 0) {
        volume_fini(v);
        r = volume_load(n, name, v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", name)
               : r;
}

/* The worker's disk stands on this layer from now on, and writes to it. */
static int fork_worker(struct node *n, const struct disk_hold *hold,
                       const struct layer *above, struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    int r;

    words_add(&w, "fork");
    r = volume_worker_layer(n, above, hold->key, &w, e);
    r = r == 0 ? volume_worker_ask(n, hold->control, &ask, e) : r;
    words_fini(&w);
    return r;
}

/* Nobody writes to the old top any more: it is what `name` (NULL: nobody) keeps. */
static int settle(struct node *n, struct volume *v, const char *name, struct err *e)
{
    struct record_change c = {0};
    char old[LAYER_ID_DIGITS + 1];
    char user[KV_KEY_BYTES];
    int r;

    (void)str_print(old, sizeof old, "%s", volume_text(v->record, "unsettled"));
    (void)json_object_del(v->record, "unsettled");
    if (name != NULL) {
        volume_add_snapshot(v, name, old);
        RECORD_KEY(user, "s/%s/%s", v->name, name);
        layer_use(&c, old, user);
    }
    RECORD_KEY(user, "v/%s", v->name);
    layer_unuse(&c, old, user);
    r = save(n, v, &c, e);
    record_change_fini(&c);
    return r;
}

int disk_freeze_live(struct node *n, struct volume *v, const struct layer *top,
                     const char *name, const struct disk_hold *hold, struct err *e)
{
    struct record_change c = {0};
    struct layer_new above = {.intent = -1};
    struct layer new = {.record = NULL};
    char user[KV_KEY_BYTES];
    int r = volume_make_over(n, v, top, &above, e);

    if (r < 0) {
        return r;
    }
    volume_set_top(v, &above.layer);
    (void)json_object_set_new(v->record, "unsettled", json_string(top->id));
    RECORD_KEY(user, "v/%s", v->name);
    layer_record(&c, &above.layer, user);
    r = save(n, v, &c, e);
    record_change_fini(&c);
    (void)fault_step("live.recorded");
    layer_settle(n, &above, r == 0);
    r = r == 0 ? layer_load(n, volume_text(v->record, "top"), &new, e) : r;
    r = r == 0 ? fork_worker(n, hold, &new, e) : r;
    layer_fini(&new);
    (void)fault_step("live.forked");
    r = r == 0 ? settle(n, v, name, e) : r;
    (void)fault_step("live.settled");
    return r;
}

/* Go on with a freeze; `now`: the layer that the worker writes to, "" without one. */
static int settle_freeze(struct node *n, struct volume *v, int control, const char *now,
                         struct err *e)
{
    struct layer top = {.record = NULL};
    int r = 0;

    if (control >= 0 && strcmp(now, volume_text(v->record, "top")) != 0) {
        r = layer_load(n, volume_text(v->record, "top"), &top, e);
        r = r == 0 && layer_is_encrypted(&top)
                ? err_set(e, -EBUSY,
                          "volume '%s' is encrypted, and a snapshot of it was "
                          "interrupted: end its exports first",
                          v->name)
                : r;
        r = r == 0 ? fork_worker(n, &(struct disk_hold){control, -1, 0}, &top, e) : r;
        layer_fini(&top);
    }
    return r == 0 ? settle(n, v, NULL, e) : r;
}

int disk_settle(struct node *n, struct volume *v, struct err *e)
{
    SCOPED(scope_close) int control = -1;
    bool frozen = volume_text(v->record, "unsettled")[0] != '\0';
    bool moving = volume_text(v->record, "moving")[0] != '\0';
    char now[LAYER_ID_DIGITS + 1] = "";
    int r = 0;

    if (!frozen && !moving) {
        return 0;
    }
    control = volume_worker_connect(n, v->name);
    if (control >= 0) {
        r = volume_worker_top(n, control, now, e);
    }
    if (r == 0 && moving) {
        r = disk_settle_move(n, v, now, e);
    }
    return r == 0 && frozen ? settle_freeze(n, v, control, now, e) : r;
}
