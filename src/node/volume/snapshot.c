/* snapshot.c - what a disk was at some time, kept by name: a tree, and clones of it.
 *
 * A snapshot names the layer that was the top; the volume writes to a new one above it.
 * Restoring puts a new top over the named layer, so that two later snapshots may stand on
 * one earlier: a tree.  A clone is a new top over the same layer.  Each is one empty
 * image and one transaction, whatever the size of the disk and the length of its chain.
 *
 * File systems that share blocks (reflink) are asked for whole clones only: what they do takes
 * time by the number of extents, wants a source that nobody writes to meanwhile, and works for
 * raw layers within one member. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/mounted.h"
#include "node/volume/option.h"

static int put_volume(struct record_change *c, const struct volume *v)
{
    char key[KV_KEY_BYTES];

    RECORD_KEY(key, "/volumes/%s", v->name);
    record_need_same(c, key, v->revision);
    record_put_json(c, key, v->record);
    return 0;
}

/* The volume's top is this layer from now on. */
void volume_set_top(struct volume *v, const struct layer *top)
{
    char path[PATH_MAX] = "";

    (void)piece_path(top, path);
    (void)json_object_set_new(v->record, "top", json_string(top->id));
    (void)json_object_set_new(v->record, "format",
                              json_string(volume_text(top->record, "format")));
    (void)json_object_set_new(v->record, "path", json_string(path));
}

/* The pool of what stands on a layer: that of a device of the host is the usual one. */
static json_t *pool_beside(struct node *n, const struct layer *parent)
{
    json_t *pool = parent->pool != NULL ? json_incref(parent->pool) : NULL;

    if (pool == NULL) {
        (void)pool_load(n, POOL_DEFAULT, &pool, NULL);
    }
    return pool;
}

/* A new, empty layer over another, as the volume wants it. */
int volume_make_over(struct node *n, const struct volume *v, const struct layer *parent,
                     struct layer_new *ret, struct err *e)
{
    SCOPED(scope_json) json_t *pool = pool_beside(n, parent);
    const struct layer_plan plan = {
        .pool = pool,
        .class = volume_text(v->record, "class"),
        .format = "qcow2",
        .size_bytes = volume_number(v->record, "size_bytes"),
        .parent = parent,
        .of = v->record,
    };

    return layer_make(n, &plan, ret, e);
}

static int changed(int r, const struct volume *v, struct err *e)
{
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "volume '%s' was changed by another command", v->name)
               : r;
}

/* ---- taking one ---- */

void volume_add_snapshot(struct volume *v, const char *name, const char *layer)
{
    json_t *list = json_object_get(v->record, "snapshots");
    char now[32];

    volume_now(now);
    if (list == NULL) {
        list = json_array();
        (void)json_object_set_new(v->record, "snapshots", list);
    }
    (void)json_array_append_new(
        list,
        json_pack("{s:s, s:s, s:s, s:I}", "name", name, "layer", layer, "created_at", now,
                  "size_bytes", (json_int_t)volume_number(v->record, "size_bytes")));
}

/* The top is kept, under a name (NULL: none), and the volume goes on above it. */
static int freeze_alone(struct node *n, struct volume *v, const struct layer *top,
                        const char *name, struct err *e)
{
    struct record_change c = {0};
    struct layer_new above = {.intent = -1};
    char user[KV_KEY_BYTES];
    int r = volume_make_over(n, v, top, &above, e);

    if (r < 0) {
        return r;
    }
    if (name != NULL) {
        volume_add_snapshot(v, name, top->id);
        RECORD_KEY(user, "s/%s/%s", v->name, name);
        layer_use(&c, top->id, user);
    }
    volume_set_top(v, &above.layer);
    RECORD_KEY(user, "v/%s", v->name);
    layer_unuse(&c, top->id, user);
    layer_record(&c, &above.layer, user);
    (void)put_volume(&c, v);
    r = record_change_do(n, &c, e);
    (void)fault_step("snapshot.recorded");
    layer_settle(n, &above, r == 0);
    record_change_fini(&c);
    return changed(r, v, e);
}

int disk_volume_freeze(struct node *n, struct volume *v, const struct layer *top,
                       const char *name, const struct disk_hold *hold, struct err *e)
{
    return hold->control >= 0 ? disk_freeze_live(n, v, top, name, hold, e)
                              : freeze_alone(n, v, top, name, e);
}

static int take(struct node *n, struct volume *v, const json_t *order, json_t **ret,
                struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "snapshot"));
    struct disk_hold hold = {-1, -1, 0};
    struct chain chain = {0};
    struct err why = {0};
    char made[32];
    int r;

    if (name == NULL) {
        volume_now(made);
        made[19] = '\0';
        for (char *p = made; *p != '\0'; p++) {
            *p = *p == ':' || *p == 'T' ? '-' : *p;
        }
        name = made;
    }
    if (volume_snapshot_of(v->record, name) != NULL) {
        return err_set(e, -EEXIST, "volume '%s' has a snapshot '%s' already", v->name,
                       name);
    }
    r = chain_load_most(n, volume_text(v->record, "top"), 1, &chain, e);
    if (r == 0) {
        r = disk_take(n, v, &chain.layers[0], &hold, &why);
        r = r < 0 ? r : disk_hold_key(n, v, &hold, &chain.layers[0], order, &why);
        if (r == -EBUSY) {
            r = disk_keep_mounted(n, v, &chain.layers[0], name, &why);
        } else if (r == 0) {
            r = disk_volume_freeze(n, v, &chain.layers[0], name, &hold, &why);
        }
    }
    if (r < 0 && (e == NULL || e->code == 0)) {
        (void)err_set(e, r, "%s", why.text);
    }
    if (r == 0) {
        *ret = json_pack("[O]", volume_snapshot_of(v->record, name));
    }
    disk_let_go(&hold);
    chain_fini(&chain);
    return r;
}

/* ---- going back, and forgetting ---- */

static int find(const struct volume *v, const char *name, json_t **ret, struct err *e)
{
    *ret = name != NULL ? volume_snapshot_of(v->record, name) : NULL;
    if (name == NULL) {
        return err_set(e, -EINVAL, "which snapshot of volume '%s'?", v->name);
    }
    return *ret != NULL ? 0
                        : err_set(e, -ENOENT,
                                  "volume '%s' has no snapshot '%s' (see 'strata volume "
                                  "snapshot --list %s')",
                                  v->name, name, v->name);
}

/* It knows another disk than that of the snapshot. */
static int leave_cache(struct node *n, struct volume *v, const json_t **snapshot,
                       struct err *e)
{
    char name[WORD_NAME_BYTES];
    json_t *one = NULL;
    int r;

    (void)str_print(name, sizeof name, "%s", volume_text(*snapshot, "name"));
    r = option_cache_leave(n, v, false, e);
    r = r == 0 ? find(v, name, &one, e) : r; /* of the record as it is now */
    *snapshot = one;
    return r;
}

static int restore(struct node *n, struct volume *v, const json_t *snapshot,
                   struct err *e)
{
    SCOPED(scope_close) int alone = -1;
    struct chain now = {0};
    struct chain then = {0};
    struct record_change c = {0};
    struct layer_release gone = {0};
    struct layer_new above = {.intent = -1};
    char user[KV_KEY_BYTES];
    int r = chain_load_most(n, volume_text(v->record, "top"), 1, &now, e);

    r = r == 0 ? chain_load_most(n, volume_text(snapshot, "layer"), 1, &then, e) : r;
    if (r == 0) {
        alone = disk_open_alone(n, v, &now.layers[0], e);
        r = alone < 0 ? alone : 0;
    }
    r = r == 0 ? leave_cache(n, v, &snapshot, e) : r;
    if (r == 0) {
        (void)json_object_set(v->record, "size_bytes",
                              json_object_get(snapshot, "size_bytes"));
        r = volume_make_over(n, v, &then.layers[0], &above, e);
    }
    RECORD_KEY(user, "v/%s", v->name);
    r = r == 0 ? layer_release(n, &gone, now.layers[0].id, user, e) : r;
    if (r == 0) {
        layer_release_hold(&gone, now.layers[0].id, alone);
        volume_set_top(v, &above.layer);
        layer_record(&c, &above.layer, user);
        (void)put_volume(&c, v);
        r = layer_release_do(n, &c, &gone, e);
    }
    layer_settle(n, &above, r == 0);
    layer_release_fini(&gone);
    record_change_fini(&c);
    chain_fini(&now);
    chain_fini(&then);
    return changed(r, v, e);
}

static int forget(struct node *n, struct volume *v, const json_t *snapshot, struct err *e)
{
    json_t *list = json_object_get(v->record, "snapshots");
    SCOPED(scope_json) json_t *kept = json_incref((json_t *)(uintptr_t)snapshot);
    struct record_change c = {0};
    struct layer_release gone = {0};
    char user[KV_KEY_BYTES];
    size_t i;
    json_t *one;
    int r;

    RECORD_KEY(user, "s/%s/%s", v->name, volume_text(snapshot, "name"));
    r = layer_release(n, &gone, volume_text(snapshot, "layer"), user, e);
    if (r == 0) {
        json_array_foreach(list, i, one)
        {
            if (one == snapshot) {
                (void)json_array_remove(list, i);
                break;
            }
        }
        (void)put_volume(&c, v);
        r = layer_release_do(n, &c, &gone, e);
    }
    layer_release_fini(&gone);
    record_change_fini(&c);
    return changed(r, v, e);
}

/* ---- the list ---- */

/* The name of the volume's nearest snapshot that the layer stands on. */
static const char *name_below(const struct volume *v, const struct chain *chain,
                              size_t from)
{
    for (size_t i = from; i < chain->count; i++) {
        size_t k;
        json_t *one;

        json_array_foreach(json_object_get(v->record, "snapshots"), k, one)
        {
            if (strcmp(volume_text(one, "layer"), chain->layers[i].id) == 0) {
                return volume_text(one, "name");
            }
        }
    }
    return NULL;
}

int volume_snapshots(struct node *n, const struct volume *v, json_t **ret, struct err *e)
{
    struct chain top = {0};
    const char *current;
    size_t i;
    json_t *one;
    int r = chain_load(n, volume_text(v->record, "top"), &top, e);

    if (r < 0) {
        return r;
    }
    current = name_below(v, &top, 0);
    *ret = json_array();
    json_array_foreach(json_object_get(v->record, "snapshots"), i, one)
    {
        struct chain chain = {0};
        json_t *row = json_copy(one);
        const char *parent;

        if (chain_load(n, volume_text(one, "layer"), &chain, e) < 0) {
            continue;
        }
        parent = name_below(v, &chain, 1);
        (void)json_object_set_new(
            row, "used_bytes",
            json_integer((json_int_t)piece_used_bytes(n, &chain.layers[0])));
        if (parent != NULL) {
            (void)json_object_set_new(row, "parent", json_string(parent));
        }
        (void)json_object_set_new(
            row, "current",
            json_boolean(current != NULL &&
                         strcmp(current, volume_text(one, "name")) == 0));
        (void)json_array_append_new(*ret, row);
        chain_fini(&chain);
    }
    chain_fini(&top);
    return 0;
}

int disk_volume_snapshot(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *name = json_string_value(json_object_get(order, "snapshot"));
    bool list = json_is_true(json_object_get(order, "list"));
    bool back = json_is_true(json_object_get(order, "restore"));
    bool away = json_is_true(json_object_get(order, "delete"));
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    json_t *snapshot = NULL;
    int r = list + back + away > 1
                ? err_set(e, -EINVAL, "one of --list, --restore and --delete at a time")
                : 0;

    if (name != NULL && !word_is_name(name)) {
        r = err_set(e, -EINVAL, "'%s' cannot be the name of a snapshot", name);
    }
    if (r == 0) {
        r = volume_load_disk(n, volume_text(order, "name"), &v, &lock, e);
    }
    if (r == 0 && list) {
        r = volume_snapshots(n, &v, ret, e);
    } else if (r == 0 && (back || away)) {
        r = find(&v, name, &snapshot, e);
        if (r == 0) {
            *ret = json_pack("[O]", snapshot);
            r = back ? restore(n, &v, snapshot, e) : forget(n, &v, snapshot, e);
            if (r == 0) {
                volume_tidy(n, v.name, order);
            }
        }
    } else if (r == 0) {
        r = take(n, &v, order, ret, e);
    }
    volume_fini(&v);
    return r;
}

/* ---- clones ---- */

/* The layer that a clone stands on: it does not change any more. */
static int frozen_layer(struct node *n, struct volume *v, const json_t *order,
                        struct chain *chain, size_t *ret_at, struct err *e)
{
    const char *snapshot = strchr(volume_text(order, "source"), '@');
    struct disk_hold hold = {-1, -1, 0};
    json_t *one = NULL;
    int r;

    *ret_at = 0;
    if (snapshot != NULL) {
        r = find(v, snapshot + 1, &one, e);
        return r == 0 ? chain_load_most(n, volume_text(one, "layer"), 1, chain, e) : r;
    }
    r = chain_load_most(n, volume_text(v->record, "top"), 2, chain, e);
    r = r == 0 ? disk_take(n, v, &chain->layers[0], &hold, e) : r;
    r = r == 0 ? disk_hold_key(n, v, &hold, &chain->layers[0], order, e) : r;
    if (r == 0 && hold.alone >= 0 && chain->count > 1 &&
        layer_has_file(&chain->layers[0]) && volume_image_is_empty(hold.alone) &&
        volume_number(chain->layers[1].record, "size_bytes") ==
            volume_number(v->record, "size_bytes")) {
        *ret_at = 1; /* nothing was written since the last time: no layer between */
    } else if (r == 0) {
        r = disk_volume_freeze(n, v, &chain->layers[0], NULL, &hold, e);
    }
    disk_let_go(&hold);
    return r;
}

static int clone_over(struct node *n, const struct volume *source,
                      const struct layer *base, const json_t *order, json_t **ret,
                      struct err *e)
{
    struct record_change c = {0};
    struct layer_new top = {.intent = -1};
    SCOPED(scope_json) json_t *pool = pool_beside(n, base);
    const struct layer_plan plan = {
        .pool = pool,
        .class = volume_text(source->record, "class"),
        .format = "qcow2",
        .size_bytes = volume_number(base->record, "size_bytes"),
        .parent = base,
        .of = source->record,
    };
    json_t *record = NULL;
    int r = layer_make(n, &plan, &top, e);

    if (r == 0) {
        record = disk_volume_record(volume_text(order, "name"), order, &top.layer);
        (void)json_object_set(record, "class", json_object_get(source->record, "class"));
        (void)json_object_set_new(record, "source", json_string(source->name));
        r = disk_volume_add(n, record, &top.layer, &c, e);
        (void)fault_step("clone.recorded");
        layer_settle(n, &top, r == 0);
    }
    record_change_fini(&c);
    if (r < 0) {
        json_decref(record);
        return r;
    }
    *ret = record;
    return 0;
}

/* Before anything is made. */
static int check_room(struct node *n, const struct volume *source, struct err *e)
{
    const char *name = volume_text(source->record, "pool");
    SCOPED(scope_json) json_t *pool = NULL;
    int r = pool_load(n, name[0] != '\0' ? name : POOL_DEFAULT, &pool, e);

    return r < 0 ? r
                 : pool_check_quota(n, pool, volume_number(source->record, "size_bytes"),
                                    e);
}

/* A copy that shares no layer with the source. */
static int clone_whole(struct node *n, const struct volume *source, const char *top_id,
                       const json_t *order, json_t **ret, struct err *e)
{
    SCOPED(scope_close) int steady = -1;
    SCOPED(scope_json) json_t *pool = NULL;
    struct chain from = {0};
    struct record_change c = {0};
    struct layer_new top = {.intent = -1};
    struct layer_plan plan = {.class = volume_text(source->record, "class"),
                              .format = "raw",
                              .of = source->record};
    json_t *record = NULL;
    int r = chain_load(n, top_id, &from, e);

    r = r == 0 ? chain_unlock(n, &from, order, e) : r;
    if (r < 0) {
        chain_fini(&from);
        return r;
    }
    if (from.key > 0) {
        plan.format = "qcow2";
        plan.key = from.key;
    }
    steady = disk_open_steady(n, source, &from.layers[0], e);
    pool = pool_beside(n, &from.layers[0]);
    plan.pool = pool;
    plan.size_bytes = volume_number(from.layers[0].record, "size_bytes");
    plan.block_bytes = layer_block_bytes(&from.layers[0]);
    r = steady < 0 ? steady : layer_make(n, &plan, &top, e);
    if (r == 0) {
        r = disk_copy_layer(n, &from, &top.layer, e);
        record = disk_volume_record(volume_text(order, "name"), order, &top.layer);
        (void)json_object_set(record, "class", json_object_get(source->record, "class"));
        r = r == 0 ? disk_volume_add(n, record, &top.layer, &c, e) : r;
        layer_settle(n, &top, r == 0);
    }
    chain_fini(&from);
    record_change_fini(&c);
    if (r < 0) {
        json_decref(record);
        return r;
    }
    *ret = record;
    return 0;
}

/* The layer that the words SOURCE[@SNAPSHOT] mean, and whether it is the volume's top. */
static int named_layer(const struct volume *v, const char *snapshot, const char **ret,
                       struct err *e)
{
    json_t *one = NULL;
    int r = snapshot != NULL ? find(v, snapshot, &one, e) : 0;

    *ret = snapshot != NULL ? volume_text(one, "layer") : volume_text(v->record, "top");
    return r;
}

static int clone_linked(struct node *n, struct volume *v, const json_t *order,
                        json_t **ret, struct err *e)
{
    struct chain chain = {0};
    size_t base = 0;
    int r = frozen_layer(n, v, order, &chain, &base, e);

    r = r == 0 ? clone_over(n, v, &chain.layers[base], order, ret, e) : r;
    chain_fini(&chain);
    return r;
}

int disk_volume_clone(struct node *n, const json_t *order, json_t **ret, struct err *e)
{
    const char *word = volume_text(order, "source");
    const char *at = strchr(word, '@');
    const char *name = volume_text(order, "name");
    char source[WORD_NAME_BYTES] = "";
    SCOPED(scope_close) int lock = -1;
    struct volume v = {0};
    struct volume other = {0};
    struct err none = {0};
    const char *layer = NULL;
    int r = str_print(source, sizeof source, "%.*s",
                      at != NULL ? (int)(at - word) : (int)strlen(word), word);

    r = r < 0 ? err_set(e, -EINVAL, "'%s' names no volume", word)
              : volume_load_disk(n, source, &v, &lock, e);
    if (r == 0 && volume_load(n, name, &other, &none) == 0) {
        r = err_set(e, -EEXIST, "volume '%s' exists already", name);
    }
    r = r == 0 ? check_room(n, &v, e) : r;
    r = r == 0 ? named_layer(&v, at != NULL ? at + 1 : NULL, &layer, e) : r;
    if (r == 0 && json_is_true(json_object_get(order, "full"))) {
        r = clone_whole(n, &v, layer, order, ret, e);
    } else if (r == 0) {
        r = clone_linked(n, &v, order, ret, e);
    }
    volume_fini(&v);
    volume_fini(&other);
    return r;
}
