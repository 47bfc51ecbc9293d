/* move.c - a disk goes to another pool, also while it is served.
 *
 * A disk that nobody uses is copied while readers' locks keep writers away, and one
 * transaction says where it is then.  The worker of one in use copies it, mirrors every
 * write until it is told to go over, and the records follow in two steps: first the new
 * layer is one that the volume moves to (member `moving`, user m/NAME), and once the
 * worker writes to it alone, it is the top.  A command that is killed in between is
 * finished by the next one (live.c). */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "node/volume/worker.h"

static int save(struct node *n, struct volume *v, struct record_change *c,
                struct layer_release *gone, struct err *e)
{
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    (void)str_print(name, sizeof name, "%s", v->name);
    RECORD_KEY(key, "/volumes/%s", name);
    record_need_same(c, key, v->revision);
    record_put_json(c, key, v->record);
    r = layer_release_do(n, c, gone, e);
    if (r == 0) {
        volume_fini(v);
        r = volume_load(n, name, v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", name)
               : r;
}

/* The volume's disk is in `top` from now on.  `held`: a hold on where it was, and the new one
 * has no record yet; 0: it has. */
static int record_move(struct node *n, struct volume *v, const struct layer *top,
                       int held, struct err *e)
{
    struct record_change c = {0};
    struct layer_release gone = {0};
    char user[KV_KEY_BYTES];
    int r;

    RECORD_KEY(user, "v/%s", v->name);
    r = layer_release(n, &gone, volume_text(v->record, "top"), user, e);
    if (r == 0) {
        layer_release_hold(&gone, volume_text(v->record, "top"), held);
        if (held > 0) {
            layer_record(&c, top, user);
        } else {
            layer_use(&c, top->id, user);
            RECORD_KEY(user, "m/%s", v->name);
            layer_unuse(&c, top->id, user);
        }
        volume_set_top(v, top);
        (void)json_object_set(v->record, "pool", json_object_get(top->record, "pool"));
        (void)json_object_del(v->record, "moving");
        r = save(n, v, &c, &gone, e);
    }
    layer_release_fini(&gone);
    record_change_fini(&c);
    return r;
}

/* Nobody writes to it meanwhile: readers' locks keep writers away. */
static int move_alone(struct node *n, struct volume *v, const struct chain *from,
                      struct layer_new *top, struct err *e)
{
    SCOPED(scope_close) int steady = disk_open_steady(n, v, &from->layers[0], e);
    int r = steady < 0 ? steady : disk_copy_layer(n, from, &top->layer, e);

    r = r == 0 ? record_move(n, v, &top->layer, steady, e) : r;
    (void)fault_step("move.recorded");
    layer_settle(n, top, r == 0);
    return r;
}

/* ---- in use ---- */

struct moving {
    struct node *n;
    struct volume *v;
    struct layer_new *top;
    bool recorded;
};

/* Both are alike: the new layer is kept, whatever becomes of us. */
static int record_moving(void *arg, struct err *e)
{
    struct moving *m = arg;
    struct record_change c = {0};
    struct layer_release none = {0};
    char user[KV_KEY_BYTES];
    int r;

    (void)fault_step("move.alike");
    RECORD_KEY(user, "m/%s", m->v->name);
    layer_record(&c, &m->top->layer, user);
    (void)json_object_set_new(m->v->record, "moving", json_string(m->top->layer.id));
    r = save(m->n, m->v, &c, &none, e);
    m->recorded = r == 0;
    record_change_fini(&c);
    (void)fault_step("move.announced");
    return r;
}

/* It does not move any more. */
static int drop_moving(struct node *n, struct volume *v, struct err *e)
{
    struct record_change c = {0};
    struct layer_release gone = {0};
    char layer[LAYER_ID_DIGITS + 1];
    char user[KV_KEY_BYTES];
    int r;

    (void)str_print(layer, sizeof layer, "%s", volume_text(v->record, "moving"));
    (void)json_object_del(v->record, "moving");
    RECORD_KEY(user, "m/%s", v->name);
    r = layer_release(n, &gone, layer, user, e);
    r = r == 0 ? save(n, v, &c, &gone, e) : r;
    layer_release_fini(&gone);
    record_change_fini(&c);
    return r;
}

int disk_settle_move(struct node *n, struct volume *v, const char *now, struct err *e)
{
    struct layer top = {.record = NULL};
    int r;

    if (strcmp(now, volume_text(v->record, "moving")) != 0) {
        return drop_moving(n, v, e);
    }
    r = layer_load(n, now, &top, e);
    r = r == 0 ? record_move(n, v, &top, 0, e) : r;
    layer_fini(&top);
    return r;
}

static int move_live(struct node *n, struct volume *v, struct layer_new *top, int control,
                     int key, struct err *e)
{
    struct moving m = {.n = n, .v = v, .top = top};
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w, .ready = record_moving, .arg = &m};
    char fd[32];
    int turn = -1;
    int r = volume_turn_make(n, v->name, &turn, e);

    if (r < 0) {
        layer_settle(n, top, false);
        return r;
    }
    words_add(&w, "move");
    words_add(&w, "hold");
    words_add(&w, "%s", words_fd(&w, "turned", turn, fd));
    r = r == 0 ? volume_worker_block(n, control, &w.block, e) : r;
    r = r == 0 ? volume_worker_layer(n, &top->layer, key, &w, e) : r;
    r = r == 0 ? volume_worker_ask(n, control, &ask, e) : r;
    (void)fault_step("move.gone-over");
    words_fini(&w);
    layer_settle(n, top, m.recorded);
    if (r < 0) {
        (void)disk_settle(n, v, NULL); /* it has gone over, or it has not */
        return r;
    }
    r = disk_settle_move(n, v, volume_text(v->record, "moving"), e);
    (void)fault_step("move.recorded");
    if (r == 0) {
        volume_turn_forget(n, v->name);
    }
    return r;
}

/* ---- the verb ---- */

static int make_target(struct node *n, const struct volume *v, const struct chain *from,
                       const json_t *pool, struct layer_new *ret, struct err *e)
{
    bool encrypted = layer_is_encrypted(&from->layers[0]);
    const struct layer_plan plan = {
        .pool = pool,
        .class = volume_text(v->record, "class"),
        .format = encrypted ? "qcow2" : "raw",
        .size_bytes = volume_number(v->record, "size_bytes"),
        .block_bytes = layer_block_bytes(&from->layers[0]),
        .like = encrypted ? &from->layers[0] : NULL,
        .of = v->record,
    };
    bool elsewhere =
        strcmp(volume_text(v->record, "pool"), volume_text(pool, "name")) != 0;
    int r = elsewhere ? pool_check_quota(n, pool, plan.size_bytes, e) : 0;

    return r == 0 ? layer_make(n, &plan, ret, e) : r;
}

int disk_volume_move(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = volume_text(order, "name");
    SCOPED(scope_json) json_t *pool = NULL;
    SCOPED(scope_close) int lock = -1;
    SCOPED(scope_close) int control = -1;
    struct volume v = {0};
    struct chain chain = {0};
    struct layer_new top = {.intent = -1};
    int r;

    r = volume_load_disk(n, name, &v, &lock, e);
    r = r == 0 ? pool_load(n, volume_text(order, "pool"), &pool, e) : r;
    if (r == 0 && json_array_size(json_object_get(v.record, "snapshots")) > 0) {
        r = err_set(e, -ENOTEMPTY,
                    "it has snapshots, which stay where they are ('strata volume clone "
                    "--full' copies what it is now)");
    }
    r = r == 0 ? chain_load(n, volume_text(v.record, "top"), &chain, e) : r;
    r = r == 0 ? chain_unlock(n, &chain, order, e) : r;
    r = r == 0 ? make_target(n, &v, &chain, pool, &top, e) : r;
    if (r == 0) {
        control = volume_worker_connect(n, name);
        r = control >= 0 ? move_live(n, &v, &top, control, chain.key, e)
                         : move_alone(n, &v, &chain, &top, e);
    }
    if (r == 0) {
        *ret = json_incref(v.record);
    }
    chain_fini(&chain);
    volume_fini(&v);
    return r < 0 ? err_wrap(e, "cannot move volume '%s'", name) : 0;
}
