/* change.c - a member of a pool is to be empty: what remove and replace have in common.
 *
 * The member is marked in the pool's record (`leaving`) before anything moves, so that nothing
 * new lands there.  Then one layer after the other has its piece brought elsewhere; each is a
 * transaction of its own, before which the new piece is complete and after which the old one is
 * removed.  So a command that was killed is run again and goes on with the layer at which it
 * was; what it left half made is on a member whose layers' records do not name it, and is
 * swept at the begin. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "host/file.h"
#include "node/volume/care/care.h"

#define LOSS_TEXT_BYTES (ERR_TEXT_BYTES - 160)

const char *care_pool(const struct care *c)
{
    return volume_text(c->pool, "name");
}

static int lock_pool(struct node *n, const char *name, int *ret, struct err *e)
{
    char path[PATH_MAX];
    int r = node_need_places(n, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(path, sizeof path, "%s/volumes/making", n->run);
    r = file_make_dirs(path, 0700);
    (void)str_print(path, sizeof path, "%s/volumes/.%s.pool", n->run, name);
    *ret = r < 0 ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*ret < 0) {
        return err_sys(e, r < 0 ? r : -errno, "cannot lock pool '%s'", name);
    }
    return flock(*ret, LOCK_EX | LOCK_NB) == 0
               ? 0
               : err_set(e, -EBUSY, "another command takes care of pool '%s'", name);
}

int care_reload(struct care *c, const char *name, struct err *e)
{
    char key[KV_KEY_BYTES];
    json_t *now = NULL;
    int r;

    json_decref(c->pool);
    c->pool = NULL;
    c->revision = 0;
    r = pool_load(c->n, name, &c->pool, e);
    RECORD_KEY(key, "/pools/%s", name);
    if (r == 0 && record_load_at(c->n, key, &now, &c->revision, NULL) == 0) {
        json_decref(c->pool);
        c->pool = now;
    }
    return r;
}

int care_begin(struct node *n, const char *pool, struct care *ret, struct err *e)
{
    int r;

    *ret = (struct care){.n = n, .lock = -1};
    r = care_reload(ret, pool, e); /* before a lock is made for a slip */
    r = r == 0 ? lock_pool(n, pool, &ret->lock, e) : r;
    r = r == 0 ? care_reload(ret, pool, e) : r;
    if (r == 0) {
        piece_mend(n);
    } else {
        care_end(ret);
    }
    return r;
}

void care_end(struct care *c)
{
    json_decref(c->pool);
    c->pool = NULL;
    strv_fini(&c->notes);
    scope_close(&c->lock);
    c->lock = -1;
}

int care_save(struct care *c, struct err *e)
{
    struct record_change change = {0};
    char name[WORD_NAME_BYTES];
    char key[KV_KEY_BYTES];
    int r;

    (void)str_print(name, sizeof name, "%s", care_pool(c));
    RECORD_KEY(key, "/pools/%s", name);
    record_need_same(&change, key, c->revision);
    record_put_json(&change, key, c->pool);
    r = record_change_do(c->n, &change, e);
    record_change_fini(&change);
    if (r == -EAGAIN && (e == NULL || e->code == 0)) {
        return err_set(e, r, "pool '%s' was changed by another command", name);
    }
    return r == 0 ? care_reload(c, name, e) : r;
}

int care_find_member(const json_t *pool, const char *word, json_t **ret, struct err *e)
{
    char *end = NULL;
    unsigned long id = strtoul(word, &end, 10);
    SCOPED(scope_free) char *real = realpath(word, NULL);
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(pool, "members"), i, member)
    {
        const char *path = pool_member_path(member);

        if ((word[0] != '\0' && *end == '\0' && pool_member_id(member) == id) ||
            strcmp(path, word) == 0 || (real != NULL && strcmp(path, real) == 0)) {
            *ret = member;
            return 0;
        }
    }
    return err_set(
        e, -ENOENT,
        "pool '%s' has no member '%s': say its number or its path (see 'strata "
        "pool inspect %s')",
        volume_text(pool, "name"), word, volume_text(pool, "name"));
}

int care_piece_of(const struct layer *l, unsigned member)
{
    size_t i;
    json_t *one;

    json_array_foreach(json_object_get(l->record, "pieces"), i, one)
    {
        if ((unsigned)json_integer_value(one) == member) {
            return (int)i;
        }
    }
    return -1;
}

bool care_lacks_map(const struct layer *l)
{
    unsigned copies = 0;
    unsigned members = 0;

    for (unsigned i = 0; i < piece_count(l); i++) {
        copies += piece_map_of(l, i) >= 0;
        members += piece_member(l, i) != 0;
    }
    return copies < piece_maps(l) && copies < members;
}

int care_layers(struct node *n, const char *pool, unsigned member, struct strv *ret,
                struct err *e)
{
    char prefix[KV_KEY_BYTES];
    struct kv_items items;
    int r;

    RECORD_KEY(prefix, "/pool-layers/%s/", pool);
    r = record_items(n, prefix, &items, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < items.n; i++) {
        const char *id = items.items[i].key + strlen(prefix);
        struct layer l = {.record = NULL};

        if (strlen(id) != LAYER_ID_DIGITS) {
            continue; /* the store of images */
        }
        if (member == 0 ||
            (layer_load(n, id, &l, NULL) == 0 && care_piece_of(&l, member) >= 0)) {
            strv_add(ret, id);
        }
        layer_fini(&l);
    }
    kv_items_fini(&items);
    return strv_failed(ret) ? err_set(e, -ENOMEM, "no memory") : 0;
}

/* ---- what would be lost ---- */

struct segments {
    unsigned piece;
    unsigned long long here; /* on that piece */
    unsigned long long all;
    unsigned long long bytes; /* of each */
};

static void take_segments(void *arg, const char *line)
{
    struct segments *s = arg;
    unsigned long long count;
    unsigned piece;

    if (sscanf(line, "piece=%u %llu", &piece, &count) == 2) {
        s->all += count;
        s->here += piece == s->piece ? count : 0;
    }
    (void)sscanf(line, "segment_bytes=%llu", &s->bytes);
}

struct others {
    const struct layer *l;
    unsigned at;
    unsigned good;
    bool partner; /* of a pair */
};

/* "member=LABEL ROLE BEHIND LAG ERRORS STATE" of a worker. */
static void take_other(void *arg, const char *line)
{
    struct others *o = arg;
    char label[64];
    char own[CARE_NODE_BYTES];
    char state[32];
    unsigned role;

    care_node(o->l, own);
    if (sscanf(line, "member=%63s %u %*u %*u %*u %31[a-z ]", label, &role, state) == 3 &&
        strcmp(label, own) == 0 && role != o->at &&
        (strcmp(state, "in sync") == 0 || strcmp(state, "follows") == 0)) {
        o->good++;
        o->partner = o->partner || role == (o->at ^ 1u);
    }
}

/* Its worker goes on with the others; false: there is none, or it cannot. */
static bool goes_on(struct care *c, const struct layer *l, unsigned at)
{
    struct strv names = {0};
    struct others o = {.l = l, .at = at};
    bool pairs = strcmp(volume_text(l->record, "arrangement"), "raid10") == 0;

    (void)care_volumes(c->n, l->id, &names, NULL);
    for (size_t i = 0; o.good == 0 && i < names.n; i++) {
        SCOPED(scope_close) int control = volume_worker_peek(c->n, names.items[i]);
        struct words w = {.message = true};
        const struct worker_ask ask = {.words = &w, .line = take_other, .arg = &o};

        words_add(&w, "status");
        if (control >= 0) {
            (void)volume_worker_ask(c->n, control, &ask, NULL);
        }
        words_fini(&w);
    }
    strv_fini(&names);
    return pairs ? o.partner : o.good > 0 && o.good + arrange_spare(l) >= piece_count(l);
}

/* The others alone can be read; of one that was cut off once what it had begun is finished. */
static bool is_spare(struct care *c, const struct layer *l, unsigned at)
{
    const struct arrange_name as = {.name = "disk", .unlocked = true, .promote = true};
    int r;

    if (arrange_spare(l) == 0 || goes_on(c, l, at)) {
        return arrange_spare(l) > 0;
    }
    r = arrange_ask(c->n, l, &as, NULL, NULL, NULL);
    if (r == -EOWNERDEAD && arrange_settle(c->n, l, NULL) == 0) {
        r = arrange_ask(c->n, l, &as, NULL, NULL, NULL);
    }
    return r == 0;
}

/* "" when there is another copy of all of it. */
static void measure_loss(struct care *c, const struct layer *l, unsigned at, char out[96])
{
    const struct arrange_name as = {.name = "disk", .unlocked = true, .promote = true};
    struct segments s = {.piece = at};
    char part[UNITS_TEXT_BYTES];

    (void)str_print(out, 96, "all of it");
    if (piece_maps(l) > 0 && arrange_ask(c->n, l, &as, take_segments, &s, NULL) == 0) {
        units_print_size(s.here * s.bytes, part);
        (void)str_print(out, 96, s.here == 0 ? "" : "%llu of %llu parts, %s", s.here,
                        s.all, part);
    } else if (is_spare(c, l, at)) {
        out[0] = '\0';
    }
}

/* The volumes that have the layer, and how much of it goes. */
static int add_loss(struct care *c, const char *id, struct str *out, struct err *e)
{
    struct layer l = {.record = NULL};
    struct strv names = {0};
    char what[96] = "";
    int r = layer_load(c->n, id, &l, e);
    int at = r == 0 ? care_piece_of(&l, c->member) : -1;

    if (at >= 0) {
        measure_loss(c, &l, (unsigned)at, what);
        r = what[0] != '\0' ? care_volumes(c->n, id, &names, e) : 0;
    }
    if (r == 0 && what[0] != '\0') {
        str_addf(out, "%s", out->len > 0 ? "; " : "");
        for (size_t i = 0; i < names.n; i++) {
            str_addf(out, "%s'%s'", i > 0 ? ", " : "", names.items[i]);
        }
        str_addf(out, " layer %s (%s)", id, what);
    }
    strv_fini(&names);
    layer_fini(&l);
    return r;
}

int care_check_loss(struct care *c, struct err *e)
{
    struct strv ids = {0};
    struct str text = {0};
    int r = care_layers(c->n, care_pool(c), c->member, &ids, e);

    for (size_t i = 0; r == 0 && i < ids.n; i++) {
        r = add_loss(c, ids.items[i], &text, e);
    }
    if (r == 0 && text.len > 0) {
        r = err_set(e, -ENODATA,
                    "what lies on member %u and nowhere else would be lost: of %.*s%s",
                    c->member, LOSS_TEXT_BYTES, str_text(&text),
                    text.len > LOSS_TEXT_BYTES ? " ..." : "");
    }
    str_fini(&text);
    strv_fini(&ids);
    return r;
}

/* ---- layer by layer ---- */

static void note_swept(void *arg, const char *name)
{
    (void)arg;
    (void)name;
}

static void sweep(struct care *c)
{
    size_t i;
    json_t *member;

    json_array_foreach(json_object_get(c->pool, "members"), i, member)
    {
        piece_sweep_member(c->n, c->pool, member, note_swept, NULL);
    }
}

/* The layer that was put over one so that it could move goes down into it again. */
static void tidy(struct care *c, const struct care_holders *h)
{
    SCOPED(scope_json) json_t *nothing = json_object();

    for (size_t i = 0; i < h->count; i++) {
        if (h->list[i].control >= 0) {
            volume_tidy(c->n, h->list[i].v.name, nothing);
        }
    }
}

static int move_one(struct care *c, const char *id, struct err *e)
{
    struct care_holders h = {.list = NULL};
    struct layer l = {.record = NULL};
    int r = care_hold(c->n, id, &h, e);

    r = r == 0 ? layer_load(c->n, id, &l, e) : r;
    if (r == 0 && care_piece_of(&l, c->member) >= 0) {
        r = care_move_layer(c, &l, &h, e);
    }
    if (r < 0 && h.count > 0) {
        (void)err_wrap(e, "volume '%s'", h.list[0].v.name);
    }
    if (r == 0) {
        tidy(c, &h);
    }
    layer_fini(&l);
    care_let_go(&h);
    return r;
}

/* What a command that was killed had moved, told nobody, and not made equal. */
static void finish_moved(struct care *c)
{
    struct strv ids = {0};

    if (c->again && care_layers(c->n, care_pool(c), 0, &ids, NULL) == 0) {
        for (size_t i = 0; i < ids.n; i++) {
            struct care_holders h = {.list = NULL};
            struct layer l = {.record = NULL};

            if (layer_load(c->n, ids.items[i], &l, NULL) == 0 &&
                care_hold(c->n, ids.items[i], &h, NULL) == 0) {
                care_rename(c, &l, &h);
                (void)care_make_equal(c, &l, &h, NULL); /* or by a scrub */
            }
            care_let_go(&h);
            layer_fini(&l);
        }
    }
    strv_fini(&ids);
}

int care_empty(struct care *c, struct err *e)
{
    const json_t *member = pool_member(c->pool, c->member);
    int r = 0;

    sweep(c);
    for (unsigned round = 0; r == 0; round++) {
        struct strv ids = {0};
        bool awaited = piece_is_awaited(c->n, c->pool, member); /* first: see piece.c */

        r = care_layers(c->n, care_pool(c), c->member, &ids, e);
        if (r == 0 && ids.n == 0 && !awaited) {
            finish_moved(c);
            return 0;
        }
        if (r == 0 && ids.n == 0) {
            r = err_set(e, -EBUSY, "a volume is being made there: try again");
        }
        for (size_t i = 0; r == 0 && i < ids.n; i++) {
            node_report(c->n, "layers", i, ids.n);
            r = move_one(c, ids.items[i], e);
        }
        strv_fini(&ids);
        if (r == 0 && round == LAYER_CHAIN_MOST) {
            r = err_set(e, -EBUSY, "volumes come and go: try again");
        }
    }
    return r;
}
