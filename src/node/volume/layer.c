/* layer.c - layers: what disks are made of, and who needs them.
 *
 *     /layers/ID                  pool, format, size, parent, pieces
 *     /layer-users/ID/v/VOLUME    it is the top of that volume, which writes to it
 *     /layer-users/ID/s/VOLUME/S  it is what the snapshot S kept
 *     /layer-users/ID/l/CHILD     the layer CHILD stands on it
 *     /pool-layers/POOL/ID        it lies there
 *
 * A layer that anybody but one volume's top needs never changes again.  It goes in a
 * transaction that takes its last user away and finds no other; and it is found in none
 * once its record is gone, so that its bytes may go after that. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "node/volume/option_layer.h"

void layer_fini(struct layer *l)
{
    json_decref(l->record);
    json_decref(l->pool);
    memset(l, 0, sizeof *l);
}

void chain_fini(struct chain *c)
{
    for (size_t i = 0; i < c->count; i++) {
        layer_fini(&c->layers[i]);
    }
    free(c->layers);
    if (c->key > 0) {
        (void)close(c->key);
    }
    memset(c, 0, sizeof *c);
}

uint32_t layer_block_bytes(const struct layer *l)
{
    uint64_t bytes = volume_number(l->record, "block_bytes");

    return bytes != 0 ? (uint32_t)bytes : VOLUME_SECTOR_BYTES;
}

static int load_layer(struct node *n, const char *id, const struct layer *near,
                      struct layer *ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    const char *pool;
    int r;

    RECORD_KEY(key, "/layers/%s", id);
    r = record_load(n, key, &ret->record, e);
    if (r < 0) {
        return err_set(e, r == -ENOENT ? -EUCLEAN : r,
                       "the layer '%s' has no record: the store is damaged", id);
    }
    (void)str_print(ret->id, sizeof ret->id, "%s", id);
    pool = volume_text(ret->record, "pool");
    if (near != NULL && strcmp(volume_text(near->record, "pool"), pool) == 0) {
        ret->pool = json_incref(near->pool);
    } else if (pool[0] != '\0') {
        r = pool_load(n, pool, &ret->pool, e);
    }
    return r;
}

int layer_load(struct node *n, const char *id, struct layer *ret, struct err *e)
{
    return load_layer(n, id, NULL, ret, e);
}

int chain_load(struct node *n, const char *top, struct chain *ret, struct err *e)
{
    return chain_load_most(n, top, LAYER_CHAIN_MOST, ret, e);
}

int chain_load_most(struct node *n, const char *top, size_t most, struct chain *ret,
                    struct err *e)
{
    const char *id = top;
    int r = 0;

    while (r == 0 && id != NULL && id[0] != '\0' &&
           (ret->count < most || most == LAYER_CHAIN_MOST)) {
        size_t count = ret->count;
        struct layer *more = count == LAYER_CHAIN_MOST
                                 ? NULL
                                 : fault_realloc(ret->layers, (count + 1) * sizeof *more);

        if (more == NULL) {
            r = err_set(e, -ENOMEM, "too many layers stand on each other");
            break;
        }
        ret->layers = more;
        memset(&more[count], 0, sizeof *more);
        ret->count = count + 1;
        r = load_layer(n, id, count > 0 ? &more[count - 1] : NULL, &more[count], e);
        id = json_string_value(json_object_get(more[count].record, "parent"));
    }
    if (r < 0) {
        chain_fini(ret);
    }
    return r;
}

static json_t *pieces_of(const struct pool_choice *choice, unsigned count)
{
    json_t *pieces = json_array();

    for (unsigned i = 0; i < count; i++) {
        (void)json_array_append_new(pieces, json_integer(choice->id[i]));
    }
    return pieces;
}

static const char *plan_filter(const struct layer_plan *p)
{
    return p->of != NULL ? option_layer_wanted(p->of) : "";
}

/* Whether the member of the parent's only piece takes new ones. */
static bool takes_more(const json_t *pool, const json_t *pieces)
{
    const json_t *member =
        pool_member(pool, (unsigned)json_integer_value(json_array_get(pieces, 0)));

    return member != NULL && !pool_member_is_leaving(member);
}

/* A copy-on-write layer lies beside its parent while that member takes it. */
static int choose(struct node *n, const struct layer_plan *p, struct pool_choice *ret,
                  const char **ret_arrangement, struct err *e)
{
    int r;

    const struct layer *near = p->beside != NULL ? p->beside : p->parent;
    const json_t *pieces = near != NULL ? json_object_get(near->record, "pieces") : NULL;

    *ret_arrangement = "plain";
    if (strcmp(plan_filter(p), "tier") == 0) {
        *ret_arrangement = "tier";
        return option_layer_choose(n, p, ret, e);
    }
    if (near != NULL && volume_text(p->pool, "redundancy")[0] == '\0' &&
        takes_more(p->pool, pieces) &&
        strcmp(volume_text(near->record, "pool"), volume_text(p->pool, "name")) == 0) {
        ret->id[0] = (unsigned)json_integer_value(json_array_get(pieces, 0));
        ret->count = 1;
        return 0;
    }
    r = pool_choose(n, p->pool, p->class, ret, e);
    return r == 0 ? arrange_choose(p->pool, ret, ret_arrangement, e) : r;
}

/* Once it is announced: none of its members was told to leave meanwhile. */
static int check_members(struct node *n, const struct layer *l, struct err *e)
{
    SCOPED(scope_json) json_t *pool = NULL;
    size_t i;
    json_t *one;
    int r = pool_load(n, volume_text(l->record, "pool"), &pool, e);

    json_array_foreach(json_object_get(l->record, "pieces"), i, one)
    {
        const json_t *member = pool_member(pool, (unsigned)json_integer_value(one));

        if (r == 0 && (member == NULL || pool_member_is_leaving(member))) {
            r = err_set(e, -EBUSY, "a member of pool '%s' is about to leave: try again",
                        volume_text(l->record, "pool"));
        }
    }
    return r;
}

/* Empty, over its parent; encrypted as another layer is. */
static int fill_image(struct node *n, int fd, const struct layer *l,
                      const struct layer_plan *p, struct err *e)
{
    SCOPED(scope_close) int header = -1;
    char backing[PATH_MAX] = "";
    struct image_plan image = {.size_bytes = p->size_bytes};
    int r = 0;

    if (p->key > 0) {
        return volume_image_make_locked(n, fd, p, e);
    }
    if (p->parent != NULL) {
        r = piece_name(l, p->parent, backing);
        image.backing = backing;
        image.backing_format = volume_text(p->parent->record, "format");
    }
    header = r == 0 ? layer_plan_header(n, p, e) : -1;
    image.header = header;
    r = r == 0 && header < 0 ? header : r;
    if (header == 0) {
        header = -1; /* there is none to close */
    }
    return r == 0 ? volume_image_make(fd, &image, e) : r;
}

/* By the program, where this process cannot write to the piece. */
static int fill_by_words(struct node *n, const struct layer *l,
                         const struct layer_plan *p, struct err *e)
{
    bool raw = strcmp(volume_text(l->record, "format"), "raw") == 0;
    const struct pool_node as = {"disk", POOL_USE_NEW, raw ? p->size_bytes : 0,
                                 arrange_bytes(l)};
    struct words w = {.n_fds = 0};
    int r = piece_words(n, l, 0, &as, &w, e);

    if (raw) {
        words_add(&w, "format=raw");
        words_add(&w, "size=%llu", (unsigned long long)p->size_bytes);
    } else {
        r = r == 0 ? arrange_add_image(n, l, p, &w, e) : r;
    }
    r = r == 0 ? words_run(n, "create", &w, NULL, NULL, e) : r;
    words_fini(&w);
    return r;
}

static int fill_piece(struct node *n, const struct layer *l, const struct layer_plan *p,
                      struct err *e)
{
    SCOPED(scope_close)
    int fd =
        layer_has_file(l) ? piece_open(n, l, O_RDWR | O_CREAT | O_EXCL, e) : -EOPNOTSUPP;

    if (!layer_has_file(l)) {
        return fill_by_words(n, l, p, e);
    }

    if (fd < 0) {
        return fd;
    }
    if (strcmp(volume_text(l->record, "format"), "raw") != 0) {
        return fill_image(n, fd, l, p, e);
    }
    return ftruncate(fd, (off_t)p->size_bytes) < 0 || fsync(fd) < 0
               ? err_sys(e, -errno, "cannot make a layer")
               : 0;
}

/* A size that its members cannot have is an image's. */
static const char *format_for(const struct layer_plan *p, const struct pool_choice *c,
                              const char *arrangement)
{
    const json_t *member = pool_member(p->pool, c->id[0]);

    return member != NULL && strcmp(arrangement, "plain") == 0 &&
                   p->size_bytes % pool_member_unit(member) != 0
               ? "qcow2"
               : arrange_format(arrangement, p->format, p->size_bytes);
}

/* What lies on a device has the blocks of that device. */
static int check_blocks(const struct layer *l, struct err *e)
{
    size_t i;
    json_t *id;

    json_array_foreach(json_object_get(l->record, "pieces"), i, id)
    {
        if (layer_block_bytes(l) != VOLUME_SECTOR_BYTES &&
            !pool_member_has_files(
                pool_member(l->pool, (unsigned)json_integer_value(id)))) {
            return err_set(e, -EOPNOTSUPP,
                           "pool '%s' has devices, whose disks have the blocks of the "
                           "device: without --block-size",
                           volume_text(l->record, "pool"));
        }
    }
    return 0;
}

int layer_make(struct node *n, const struct layer_plan *p, struct layer_new *ret,
               struct err *e)
{
    struct layer *l = &ret->layer;
    uint32_t block = p->block_bytes == 0 && p->parent != NULL
                         ? layer_block_bytes(p->parent)
                         : p->block_bytes;
    struct pool_choice choice;
    const char *how;
    int r;

    memset(ret, 0, sizeof *ret);
    ret->intent = -1;
    r = choose(n, p, &choice, &how, e);
    r = r == 0 ? word_random_id(l->id, LAYER_ID_DIGITS) : r;
    if (r < 0) {
        return r;
    }
    l->pool = json_incref((json_t *)(uintptr_t)p->pool);
    l->record =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s?, s:o}", "id", l->id, "pool",
                  volume_text(p->pool, "name"), "format", format_for(p, &choice, how),
                  "arrangement", how, "size_bytes", (json_int_t)p->size_bytes, "parent",
                  p->parent != NULL ? p->parent->id : NULL, "pieces",
                  pieces_of(&choice, choice.count));
    if (strcmp(how, "mirror") == 0 &&
        json_is_true(json_object_get(p->pool, "asynchronous"))) {
        (void)json_object_set_new(l->record, "asynchronous", json_true());
    }
    if (strcmp(how, "span") == 0 && choice.count > 1) {
        (void)json_object_set_new(l->record, "maps", pieces_of(&choice, 2));
    }
    if (block > VOLUME_SECTOR_BYTES) {
        (void)json_object_set_new(l->record, "block_bytes", json_integer(block));
    }
    if (layer_is_to_be_encrypted(p)) {
        (void)json_object_set_new(l->record, "encrypted", json_true());
    }
    if (plan_filter(p)[0] != '\0') {
        (void)json_object_set_new(l->record, "filter", json_string(plan_filter(p)));
    }
    if (strcmp(plan_filter(p), "tier") == 0) {
        (void)json_object_set(l->record, "tier", json_object_get(p->of, "tier"));
    }
    r = l->record == NULL ? err_set(e, -ENOMEM, "no memory") : check_blocks(l, e);
    r = r == 0 ? piece_announce(n, l, &ret->intent, e) : r;
    (void)fault_step("layer.announced");
    r = r == 0 ? check_members(n, l, e) : r;
    if (r == 0) {
        r = layer_is_filtered(l)   ? option_layer_make(n, l, p, e)
            : layer_is_one_file(l) ? fill_piece(n, l, p, e)
                                   : arrange_make(n, l, p, e);
    }
    (void)fault_step("layer.made");
    if (r < 0) {
        layer_settle(n, ret, false);
    }
    return r;
}

int layer_make_device(struct node *n, const char *path, uint64_t size_bytes,
                      struct layer_new *ret, struct err *e)
{
    struct layer *l = &ret->layer;
    int r;

    memset(ret, 0, sizeof *ret);
    ret->intent = -1;
    r = word_random_id(l->id, LAYER_ID_DIGITS);
    if (r == 0) {
        l->record =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:n, s:[]}", "id", l->id, "pool",
                      "", "format", "raw", "arrangement", "device", "path", path,
                      "size_bytes", (json_int_t)size_bytes, "parent", "pieces");
    }
    return l->record == NULL ? err_set(e, -ENOMEM, "no memory")
                             : piece_announce(n, l, &ret->intent, e);
}

void layer_settle(struct node *n, struct layer_new *l, bool kept)
{
    if (l->layer.record != NULL && !kept) {
        (void)piece_remove(n, &l->layer, 0);
    }
    piece_settled(n, l->layer.id, &l->intent);
    layer_fini(&l->layer);
}

static void user_key(const char *id, const char *user, char out[KV_KEY_BYTES])
{
    RECORD_KEY(out, "/layer-users/%s/%s", id, user);
}

void layer_use(struct record_change *c, const char *id, const char *user)
{
    char key[KV_KEY_BYTES];

    user_key(id, user, key);
    record_put(c, key, "");
}

void layer_unuse(struct record_change *c, const char *id, const char *user)
{
    char key[KV_KEY_BYTES];

    user_key(id, user, key);
    record_delete(c, key);
}

void layer_record(struct record_change *c, const struct layer *l, const char *user)
{
    const char *parent = json_string_value(json_object_get(l->record, "parent"));
    const char *pool = volume_text(l->record, "pool");
    char key[KV_KEY_BYTES];

    RECORD_KEY(key, "/layers/%s", l->id);
    record_put_json(c, key, l->record);
    if (pool[0] != '\0') {
        RECORD_KEY(key, "/pool-layers/%s/%s", pool, l->id);
        record_put(c, key, "");
    }
    if (pool[0] != '\0' && strcmp(pool, POOL_DEFAULT) != 0) {
        RECORD_KEY(key, "/pools/%s", pool);
        record_need(c, key);
    }
    if (parent != NULL) {
        char child[KV_KEY_BYTES];

        RECORD_KEY(key, "/layers/%s", parent);
        record_need(c, key);
        RECORD_KEY(child, "l/%s", l->id);
        layer_use(c, parent, child);
    }
    layer_use(c, l->id, user);
}

int layer_users(struct node *n, const char *id, struct strv *ret, struct err *e)
{
    char prefix[KV_KEY_BYTES];
    struct kv_items items;
    int r;

    RECORD_KEY(prefix, "/layer-users/%s/", id);
    r = record_items(n, prefix, &items, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < items.n; i++) {
        strv_add(ret, items.items[i].key + strlen(prefix));
    }
    kv_items_fini(&items);
    return strv_failed(ret) ? err_set(e, -ENOMEM, "no memory") : 0;
}

void layer_release_fini(struct layer_release *r)
{
    strv_fini(&r->users);
    strv_fini(&r->gone);
}

/* Whether somebody needs the layer who is not on his way out. */
static int is_needed(struct node *n, const struct layer_release *r, const char *id,
                     struct err *e)
{
    struct strv users = {0};
    int needed = layer_users(n, id, &users, e);

    for (size_t i = 0; needed == 0 && i < users.n; i++) {
        char key[KV_KEY_BYTES];

        user_key(id, users.items[i], key);
        needed = !strv_has(&r->users, key);
    }
    strv_fini(&users);
    return needed;
}

int layer_release(struct node *n, struct layer_release *r, const char *id,
                  const char *user, struct err *e)
{
    char next[LAYER_ID_DIGITS + 1];
    char now[KV_KEY_BYTES];

    (void)str_print(next, sizeof next, "%s", id);
    RECORD_KEY(now, "%s", user);
    for (;;) {
        SCOPED(scope_json) json_t *record = NULL;
        char key[KV_KEY_BYTES];
        const char *parent;
        int needed;

        user_key(next, now, key);
        strv_add(&r->users, key);
        needed = is_needed(n, r, next, e);
        if (needed != 0) {
            return needed < 0 ? needed : 0;
        }
        strv_add(&r->gone, next);
        RECORD_KEY(key, "/layers/%s", next);
        if (record_load(n, key, &record, e) < 0) {
            return e != NULL && e->code != 0 ? e->code : 0; /* gone already */
        }
        parent = json_string_value(json_object_get(record, "parent"));
        if (parent == NULL) {
            return 0;
        }
        RECORD_KEY(now, "l/%s", next);
        (void)str_print(next, sizeof next, "%s", parent);
        if (r->gone.n >= LAYER_RELEASE_MOST) {
            (void)str_print(r->rest, sizeof r->rest, "%s", next);
            RECORD_KEY(r->rest_user, "%s", now);
            return 0;
        }
    }
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The layer goes, and nobody else may need it. */
static void forget_layer(struct record_change *c, struct node *n,
                         const struct layer_release *r, const char *id)
{
    SCOPED(scope_json) json_t *record = NULL;
    const char *own[RECORD_CHANGE_MOST];
    char prefix[KV_KEY_BYTES];
    char key[KV_KEY_BYTES];
    size_t count = 0;

    RECORD_KEY(prefix, "/layer-users/%s/", id);
    for (size_t i = 0; i < r->users.n && count < RECORD_CHANGE_MOST; i++) {
        if (str_starts(r->users.items[i], prefix)) {
            own[count++] = r->users.items[i];
        }
    }
    qsort(own, count, sizeof own[0], compare_texts);
    record_need_only(c, prefix, own, count);
    RECORD_KEY(key, "/layers/%s", id);
    if (record_load(n, key, &record, NULL) == 0) {
        record_delete(c, key);
        RECORD_KEY(key, "/pool-layers/%s/%s", volume_text(record, "pool"), id);
        record_delete(c, key);
    }
}

void layer_release_record(struct record_change *c, const struct layer_release *r,
                          struct node *n)
{
    if (strv_failed(&r->users) || strv_failed(&r->gone)) {
        c->failed = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < r->gone.n; i++) {
        forget_layer(c, n, r, r->gone.items[i]);
    }
    for (size_t i = 0; i < r->users.n; i++) {
        record_delete(c, r->users.items[i]);
    }
}
