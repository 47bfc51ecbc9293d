/* piece.c - what one member has of a layer goes to another member.
 *
 *     nobody writes to it        its bytes are copied
 *     a worker reads it          the same, and the worker is told to read the copy
 *     a worker writes to it      an empty layer is put on top, as for a snapshot: then nobody
 *                                writes to it; with other copies, the worker makes the new
 *                                piece of those (rebuild.c)
 *     the member is lost         it is made of the other copies (rebuild.c)
 *     a span                     its segments go where there is room (span.c)
 *
 * The copy is complete and durable before the record names it, and the old piece goes after
 * that. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/care/care.h"

int care_moved(const struct layer *l, unsigned at, unsigned to, struct layer *ret,
               struct err *e)
{
    *ret = *l;
    ret->record = json_deep_copy(l->record);
    ret->pool = l->pool != NULL ? json_incref(l->pool) : NULL;
    if (ret->record == NULL || json_array_set_new(json_object_get(ret->record, "pieces"),
                                                  at, json_integer(to)) < 0) {
        layer_fini(ret);
        return err_set(e, -ENOMEM, "no memory");
    }
    return 0;
}

int care_same(const struct layer *l, struct layer *ret, struct err *e)
{
    return care_moved(l, 0, piece_member(l, 0), ret, e);
}

int care_choose(struct care *c, const struct layer *l, struct pool_choice *ret,
                struct err *e)
{
    const json_t *member = pool_member(c->pool, c->member);
    const char *class = member != NULL ? volume_text(member, "class") : POOL_CLASS_USUAL;
    struct pool_choice all;
    int r;

    ret->count = 0;
    if (c->to != 0) {
        ret->id[ret->count++] = c->to;
        return 0;
    }
    r = pool_choose(c->n, c->pool, class, &all, e);
    for (unsigned i = 0; r == 0 && i < all.count; i++) {
        if (care_piece_of(l, all.id[i]) < 0) {
            ret->id[ret->count++] = all.id[i];
        }
    }
    if (r == 0 && ret->count == 0) {
        r = err_set(e, -ENOSPC,
                    "pool '%s' has no other member that can take it: add one ('strata "
                    "pool add'), or put another in its place ('strata pool replace')",
                    care_pool(c));
    }
    return r;
}

/* ---- records ---- */

/* The path that the record of a volume says for tools. */
static void put_path(struct record_change *change, struct care_holder *h,
                     const struct layer *to)
{
    char path[PATH_MAX] = "";
    char key[KV_KEY_BYTES];

    (void)piece_path(to, path);
    (void)json_object_set_new(h->v.record, "path", json_string(path));
    RECORD_KEY(key, "/volumes/%s", h->v.name);
    record_need_same(change, key, h->v.revision);
    record_put_json(change, key, h->v.record);
}

int care_record(struct care *c, struct layer *to, struct care_holders *h, struct err *e)
{
    struct care_holder *writer = care_writer(h, to);
    struct record_change change = {0};
    char key[KV_KEY_BYTES];
    int r;

    RECORD_KEY(key, "/layers/%s", to->id);
    record_need(&change, key);
    record_put_json(&change, key, to->record);
    if (writer != NULL) {
        put_path(&change, writer, to);
    }
    r = record_change_do(c->n, &change, e);
    record_change_fini(&change);
    (void)fault_step("care.recorded");
    if (r == 0 && writer != NULL) {
        char name[WORD_NAME_BYTES];

        (void)str_print(name, sizeof name, "%s", writer->v.name);
        volume_fini(&writer->v);
        r = volume_load(c->n, name, &writer->v, e);
    }
    return r == -EAGAIN && (e == NULL || e->code == 0)
               ? err_set(e, -EBUSY, "it was changed by another command")
               : r;
}

/* ---- bytes ---- */

static int part_words(struct node *n, const struct care_part *p,
                      const struct pool_node *as, struct words *w, struct err *e)
{
    return p->map ? piece_words_map(n, p->l, p->at, as, w, e)
                  : piece_words(n, p->l, p->at, as, w, e);
}

static void take_size(void *arg, const char *line)
{
    unsigned long long size;

    if (sscanf(line, "size_bytes=%llu", &size) == 1) {
        *(uint64_t *)arg = size;
    }
}

int care_size(struct node *n, const struct care_part *p, uint64_t *ret, struct err *e)
{
    const struct pool_node as = {"piece", POOL_USE_READ, 0, 0, true};
    struct words w = {.n_fds = 0};
    int r = part_words(n, p, &as, &w, e);

    *ret = 0;
    r = r == 0 ? words_run(n, "info", &w, take_size, ret, e) : r;
    words_fini(&w);
    return r;
}

int care_copy(struct node *n, const struct care_part *from, const struct care_part *to,
              struct err *e)
{
    struct pool_node new = {"to", POOL_USE_NEW, 0, 0, false};
    const struct pool_node old = {"from", POOL_USE_READ, 0, 0, false};
    struct words w = {.n_fds = 0};
    int r = care_size(n, from, &new.bytes, e);

    r = r == 0 ? part_words(n, from, &old, &w, e) : r;
    r = r == 0 ? part_words(n, to, &new, &w, e) : r;
    (void)fault_step("care.made");
    words_add(&w, "from=from");
    words_add(&w, "to=to");
    r = r == 0 ? words_run(n, "convert", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

/* The copy of the piece `at`; the image's own name for what it stands on is right there. */
static int copy_piece(struct care *c, const struct layer *l, const struct layer *to,
                      unsigned at, struct err *e)
{
    const char *parent = json_string_value(json_object_get(l->record, "parent"));
    struct layer below = {.record = NULL};
    int r = care_copy(c->n, &(struct care_part){l, at, false},
                      &(struct care_part){to, at, false}, e);

    if (r == 0 && parent != NULL && layer_is_one_file(l) &&
        layer_load(c->n, parent, &below, NULL) == 0) {
        (void)layer_rename_parent(c->n, to, &below, false);
    }
    layer_fini(&below);
    (void)fault_step("care.copied");
    return r;
}

/* ---- workers ---- */

void care_node(const struct layer *l, char out[CARE_NODE_BYTES])
{
    (void)str_print(out, CARE_NODE_BYTES, "%s.file%s", l->id,
                    layer_is_filtered(l) ? ".below" : "");
}

/* What a worker calls the piece. */
static void name_piece(const struct layer *l, unsigned at, char out[CARE_NODE_BYTES])
{
    (void)str_print(out, CARE_NODE_BYTES,
                    layer_is_one_file(l) ? "%s.file" : "%s.file.p%u", l->id, at);
}

/* The worker reads the copy from now on; one that does not have the layer need not. */
static int swap(struct care *c, const struct layer *to, unsigned at, int control,
                struct err *e)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    struct err why = {0};
    char name[CARE_NODE_BYTES];
    char new[POOL_NODE_BYTES];
    const struct pool_node as = {new, POOL_USE_READ, 0, 0, false};
    int r;

    name_piece(to, at, name);
    (void)str_print(new, sizeof new, "%s.m%u", name, piece_member(to, at));
    words_add(&w, "swap");
    words_add(&w, "layer=%s", name);
    r = piece_words(c->n, to, at, &as, &w, &why);
    r = r == 0 ? volume_worker_ask(c->n, control, &ask, &why) : r;
    words_fini(&w);
    return r == 0 || r == -ENOENT ? 0 : err_set(e, r, "%s", why.text);
}

static int swap_all(struct care *c, const struct layer *to, unsigned at,
                    struct care_holders *h, struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < h->count; i++) {
        r = h->list[i].control >= 0 ? swap(c, to, at, h->list[i].control, e) : 0;
    }
    (void)fault_step("care.swapped");
    return r;
}

int care_refuse_use(const struct care_holder *h, const char *why, struct err *e)
{
    return err_set(e, -EBUSY, "volume '%s' is in use, and %s: end its exports first",
                   h->v.name, why);
}

/* Nobody writes to the layer any more: its writer goes on above it. */
static int freeze(struct care *c, const struct layer *l, struct care_holder *writer,
                  struct err *e)
{
    const struct disk_hold hold = {.control = writer->control, .alone = -1};
    int r;

    if (layer_is_encrypted(l)) {
        return care_refuse_use(writer, "encrypted", e);
    }
    r = disk_freeze_live(c->n, &writer->v, l, NULL, &hold, e);
    (void)fault_step("care.frozen");
    return r;
}

/* ---- the way of most ---- */

/* The worker that writes to the image does. */
static void rename_live(struct care *c, const struct layer *child,
                        const struct layer *parent, int control)
{
    struct words w = {.message = true};
    const struct worker_ask ask = {.words = &w};
    char name[PATH_MAX];

    words_add(&w, "rebase");
    words_add(&w, "layer=%s", child->id);
    if (piece_name(child, parent, name) == 0) {
        words_add(&w, "name=%s", name);
        words_add(&w, "format=%s", volume_text(parent->record, "format"));
        (void)volume_worker_ask(c->n, control, &ask, NULL);
    }
    words_fini(&w);
}

void care_rename(struct care *c, const struct layer *to, const struct care_holders *h)
{
    struct strv users = {0};

    if (layer_has_file(to) && layer_users(c->n, to->id, &users, NULL) == 0) {
        for (size_t i = 0; i < users.n; i++) {
            struct layer child = {.record = NULL};

            if (str_starts(users.items[i], "l/") &&
                layer_load(c->n, users.items[i] + 2, &child, NULL) == 0) {
                const struct care_holder *writer = care_writer(h, &child);

                if (writer != NULL && writer->control >= 0) {
                    rename_live(c, &child, to, writer->control);
                } else {
                    (void)layer_rename_parent(c->n, &child, to, writer == NULL);
                }
            }
            layer_fini(&child);
        }
    }
    strv_fini(&users);
}

static int move_frozen(struct care *c, const struct layer *l, unsigned at,
                       struct care_holders *h, struct err *e)
{
    struct care_holder *writer = care_writer(h, l);
    struct pool_choice choice;
    struct layer to = {.record = NULL};
    SCOPED(scope_close) int steady = -1;
    int intent = -1;
    int r = care_choose(c, l, &choice, e);

    if (r == 0 && writer != NULL) { /* nobody writes to it meanwhile */
        steady = disk_open_steady(c->n, &writer->v, l, e);
        r = steady < 0 ? steady : 0;
    }
    r = r == 0 ? care_moved(l, at, choice.id[0], &to, e) : r;
    r = r == 0 ? piece_announce(c->n, &to, &intent, e) : r;
    if (r == 0) {
        r = copy_piece(c, l, &to, at, e);
        r = r == 0 ? swap_all(c, &to, at, h, e) : r;
        r = r == 0 ? care_record(c, &to, h, e) : r;
        (void)piece_remove_at(c->n, r == 0 ? l : &to, at,
                              r == 0 && steady > 0 ? steady : 0);
        (void)fault_step("care.removed");
        piece_settled(c->n, l->id, &intent);
    }
    if (r == 0) {
        scope_close(&steady);
        steady = -1;
        care_rename(c, &to, h);
        c->moved++;
    }
    layer_fini(&to);
    return r;
}

int care_move_layer(struct care *c, const struct layer *l, struct care_holders *h,
                    struct err *e)
{
    unsigned at = (unsigned)care_piece_of(l, c->member);
    struct care_holder *writer = care_writer(h, l);
    int r;

    if (layer_is_filtered(l) && care_live(h) != NULL) {
        return care_refuse_use(care_live(h), "its layers go through a filter", e);
    }
    if (piece_maps(l) > 0) {
        return care_move_span(c, l, at, h, e);
    }
    if (c->lost || (writer != NULL && writer->control >= 0 && arrange_spare(l) > 0)) {
        return care_rebuild(c, l, at, h, e);
    }
    if (writer != NULL && writer->control >= 0) {
        r = freeze(c, l, writer, e);
        if (r < 0) {
            return r;
        }
    }
    return move_frozen(c, l, at, h, e);
}
