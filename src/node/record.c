/* record.c - guests in the store.
 *
 *     /guests/ID        the record, a JSON object
 *     /names/NAME       ID: makes names unique
 *     /userns/SLOT      ID: a range of 65,536 host ids for the guest's users
 *     /owners/VOLUME/ID ID: has that volume; /owners/VOLUME/private when nobody else may
 *
 * A guest comes with one transaction that adds all of its keys or none, and goes
 * with one that removes them; nothing else of the platform is keyed by name. */
#include "node/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/gap.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/word.h"
#include "contract/kv.h"
#include "node/private.h"

#define LEAST_ID_DIGITS 3

void guest_fini(struct guest *g)
{
    json_decref(g->record);
    memset(g, 0, sizeof *g);
}

const char *guest_text(const struct guest *g, const char *key)
{
    const char *text = json_string_value(json_object_get(g->record, key));

    return text != NULL ? text : "";
}

json_t *guest_config(const struct guest *g)
{
    return json_object_get(g->record, "config");
}

static int read_record(const struct kv_item *item, json_t **ret, struct err *e)
{
    int r = json_parse(item->value, item->len, item->key, ret, e);

    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        r = err_set(e, -EINVAL, "'%s' is not a record", item->key);
    }
    return r;
}

int record_load(struct node *n, const char *key, json_t **ret, struct err *e)
{
    int64_t revision;

    return record_load_at(n, key, ret, &revision, e);
}

int record_load_at(struct node *n, const char *key, json_t **ret, int64_t *ret_revision,
                   struct err *e)
{
    struct kv_item item;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r == 0) {
        r = kv_get(kv, key, &item, e);
    }
    if (r < 0) {
        return r;
    }
    r = read_record(&item, ret, e);
    *ret_revision = item.mod_revision;
    kv_item_fini(&item);
    return r;
}

int record_items(struct node *n, const char *prefix, struct kv_items *ret, struct err *e)
{
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    return r < 0 ? r : kv_list(kv, prefix, ret, e);
}

int record_list(struct node *n, const char *prefix, json_t **ret, struct err *e)
{
    struct kv_items items;
    int r = record_items(n, prefix, &items, e);

    if (r < 0) {
        return r;
    }
    *ret = json_array();
    for (size_t i = 0; i < items.n; i++) {
        json_t *record = NULL;

        if (read_record(&items.items[i], &record, NULL) == 0) {
            (void)json_array_append_new(*ret, record);
        }
    }
    kv_items_fini(&items);
    return 0;
}

static int from_item(const struct kv_item *item, struct guest *ret, struct err *e)
{
    const char *id = strrchr(item->key, '/') + 1;
    json_t *record = NULL;
    int r = read_record(item, &record, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(ret->id, sizeof ret->id, "%s", id);
    ret->record = record;
    ret->revision = item->mod_revision;
    return 0;
}

int guest_load(struct node *n, const char *id, struct guest *ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    struct kv_item item;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    (void)str_print(key, sizeof key, "/guests/%s", id);
    r = kv_get(kv, key, &item, e);
    if (r < 0) {
        return r == -ENOENT
                   ? err_set(e, r, "guest '%s' does not exist (see 'strata list')", id)
                   : r;
    }
    r = from_item(&item, ret, e);
    kv_item_fini(&item);
    return r;
}

int guest_reload(struct node *n, struct guest *g, struct err *e)
{
    struct guest now = {0};
    int r = guest_load(n, g->id, &now, e);

    if (r == -ENOENT && e != NULL) {
        err_clear(e);
        r = err_set(e, r, "guest '%s' does not exist (see 'strata list')",
                    guest_text(g, "name"));
    }
    if (r == 0) {
        json_decref(g->record);
        *g = now;
    }
    return r;
}

static bool is_hex(const char *word)
{
    return word[strspn(word, "0123456789abcdef")] == '\0';
}

/* The one guest whose id begins with `word`. */
static int find_by_id(struct node *n, struct kv *kv, const char *word, struct guest *ret,
                      struct err *e)
{
    char prefix[KV_KEY_BYTES];
    struct kv_items items;
    int r;

    (void)n;
    if (strlen(word) < LEAST_ID_DIGITS || strlen(word) > NODE_ID_DIGITS ||
        !is_hex(word)) {
        return err_set(e, -ENOENT, "guest '%s' does not exist (see 'strata list')", word);
    }
    (void)str_print(prefix, sizeof prefix, "/guests/%s", word);
    r = kv_list(kv, prefix, &items, e);
    if (r < 0) {
        return r;
    }
    if (items.n == 1) {
        r = from_item(&items.items[0], ret, e);
    } else if (items.n == 0) {
        r = err_set(e, -ENOENT, "guest '%s' does not exist (see 'strata list')", word);
    } else {
        r = err_set(e, -ENOTUNIQ, "'%s' is the beginning of %zu guests' identifiers",
                    word, items.n);
    }
    kv_items_fini(&items);
    return r;
}

static int find(struct node *n, const char *word, struct guest *ret, struct err *e)
{
    char key[KV_KEY_BYTES];
    char id[NODE_ID_DIGITS + 1];
    struct kv_item item;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    if (!word_is_name(word)) {
        return err_set(e, -EINVAL, "'%s' cannot be the name of a guest", word);
    }
    (void)str_print(key, sizeof key, "/names/%s", word);
    r = kv_get(kv, key, &item, e);
    if (r == -ENOENT) {
        return find_by_id(n, kv, word, ret, e);
    }
    if (r < 0) {
        return r;
    }
    (void)str_print(id, sizeof id, "%s", item.value);
    kv_item_fini(&item);
    return guest_load(n, id, ret, e);
}

int guest_find(struct node *n, const char *word, struct guest *ret, struct err *e)
{
    int r = find(n, word, ret, e);

    if (r == 0) {
        r = guest_need_whole(n, ret, e);
    }
    if (r < 0) {
        guest_fini(ret);
    }
    return r;
}

int guest_save(struct node *n, struct guest *g, struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(g->record, JSON_COMPACT);
    char key[KV_KEY_BYTES];
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (text == NULL) {
        return err_set(e, -ENOMEM, "cannot record guest '%s': no memory", g->id);
    }
    (void)str_print(key, sizeof key, "/guests/%s", g->id);
    if (r == 0) {
        r = kv_put_if(kv, key, kv_text(text), g->revision, &g->revision, e);
    }
    if (r == -EAGAIN || r == -EEXIST) {
        r = err_set(e, -EAGAIN, "guest '%s' was changed by another command meanwhile",
                    guest_text(g, "name"));
    }
    return r;
}

int guest_all(struct node *n, json_t **ret, struct err *e)
{
    return record_list(n, "/guests/", ret, e);
}

struct numbers {
    struct kv *kv;
    const char *prefix;
};

/* A store that cannot be asked says so when the number is claimed. */
static bool number_is_taken(void *arg, unsigned number)
{
    const struct numbers *s = arg;
    struct kv_item item = {0};
    char key[KV_KEY_BYTES];
    bool found;

    (void)str_print(key, sizeof key, "%s%06u", s->prefix, number);
    found = kv_get(s->kv, key, &item, NULL) == 0;
    kv_item_fini(&item);
    return found;
}

int record_free_number(struct node *n, const char *prefix, unsigned least, unsigned most,
                       unsigned *ret, struct err *e)
{
    struct numbers s = {.prefix = prefix};
    int r = node_kv(n, &s.kv, e);

    return r < 0 ? r : gap_find(least, most, number_is_taken, &s, ret);
}

void record_claims_fini(struct record_claims *c)
{
    strv_fini(&c->take);
    strv_fini(&c->need);
}

int record_claim(struct node *n, const char *const *keys, size_t n_keys, const char *id,
                 const char *record, struct err *e)
{
    const struct record_claims c = {
        .take = {.items = (char **)(uintptr_t)keys, .n = n_keys}};

    return record_add(n, &c, id, record, e);
}

int record_add(struct node *n, const struct record_claims *c, const char *id,
               const char *record, struct err *e)
{
    struct kv_cmp compare[2 * RECORD_KEYS_MOST + 1];
    struct kv_op then[RECORD_KEYS_MOST + 1];
    struct kv_txn t = {.compare = compare, .then_ops = then, .durable = false};
    struct kv_result result;
    char own[KV_KEY_BYTES];
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    if (strv_failed(&c->take) || strv_failed(&c->need)) {
        return err_set(e, -ENOMEM, "cannot record guest '%s': no memory", id);
    }
    if (c->take.n > RECORD_KEYS_MOST || c->need.n > RECORD_KEYS_MOST) {
        return err_set(e, -E2BIG, "cannot record guest '%s': it claims too much", id);
    }
    for (size_t i = 0; i < c->take.n; i++) {
        compare[t.n_compare++] = kv_cmp_mod(c->take.items[i], 0);
        then[t.n_then++] = kv_op_put(c->take.items[i], kv_text(id));
    }
    if (record != NULL) {
        (void)str_print(own, sizeof own, "/guests/%s", id);
        compare[t.n_compare++] = kv_cmp_mod(own, 0);
        then[t.n_then++] = kv_op_put(own, kv_text(record));
    }
    for (size_t i = 0; i < c->need.n; i++) {
        compare[t.n_compare++] = (struct kv_cmp){.span = kv_key(c->need.items[i]),
                                                 .target = KV_TARGET_CREATE,
                                                 .order = KV_GREATER};
    }
    r = kv_txn(kv, &t, &result, e);
    if (r < 0) {
        return r;
    }
    r = result.succeeded ? 0 : -EEXIST;
    kv_result_fini(&result);
    return r;
}

int record_release(struct node *n, const char *const *keys, size_t n_keys, struct err *e)
{
    struct kv_op then[RECORD_KEYS_MOST + 1]; /* what was taken, and the record itself */
    struct kv_txn t = {.then_ops = then};
    struct kv_result result;
    struct kv *kv;
    int r = node_kv(n, &kv, e);

    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < n_keys && i <= RECORD_KEYS_MOST; i++) {
        then[i] = kv_op_delete(kv_key(keys[i]));
        t.n_then += 1;
    }
    r = kv_txn(kv, &t, &result, e);
    if (r == 0) {
        kv_result_fini(&result);
    }
    return r;
}
