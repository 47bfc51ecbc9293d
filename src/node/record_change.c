/* record_change.c - a transaction that is put together step by step. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "node/private.h"
#include "node/record.h"

void record_change_fini(struct record_change *c)
{
    strv_fini(&c->texts);
    memset(c, 0, sizeof *c);
}

/* A copy that lives as long as the change; NULL: `failed` says why. */
static const char *keep(struct record_change *c, const char *text)
{
    size_t n = c->texts.n;

    strv_add(&c->texts, text);
    if (strv_failed(&c->texts) || c->texts.n == n) {
        c->failed = -ENOMEM;
        return NULL;
    }
    return c->texts.items[n];
}

static void need(struct record_change *c, struct kv_cmp condition)
{
    if (c->n_compare == RECORD_CHANGE_MOST) {
        c->failed = -E2BIG;
    } else {
        c->compare[c->n_compare++] = condition;
    }
}

static void need_created(struct record_change *c, const char *key, enum kv_order order)
{
    const char *own = keep(c, key);

    if (own != NULL) {
        need(c, (struct kv_cmp){
                    .span = kv_key(own), .target = KV_TARGET_CREATE, .order = order});
    }
}

void record_need(struct record_change *c, const char *key)
{
    need_created(c, key, KV_GREATER);
}

void record_need_none(struct record_change *c, const char *key)
{
    need_created(c, key, KV_EQUAL);
}

void record_need_same(struct record_change *c, const char *key, int64_t revision)
{
    const char *own = keep(c, key);

    if (own != NULL) {
        need(c, kv_cmp_mod(own, revision));
    }
}

/* No record from `first` up to, not including, `end`; both are kept texts or NULL. */
static void need_gap(struct record_change *c, const char *first, const char *end)
{
    if (first != NULL && end != NULL && strcmp(first, end) < 0) {
        need(c, (struct kv_cmp){.span = {.first = first, .end = end},
                                .target = KV_TARGET_CREATE,
                                .order = KV_EQUAL});
    }
}

void record_need_only(struct record_change *c, const char *prefix,
                      const char *const *keys, size_t n_keys)
{
    const char *from = keep(c, prefix);
    char end[KV_KEY_BYTES];
    struct kv_span span;

    if (from == NULL) {
        return;
    }
    span = kv_prefix(from, end);
    for (size_t i = 0; i < n_keys; i++) {
        char behind[KV_KEY_BYTES];

        need_gap(c, from, keep(c, keys[i]));
        (void)str_print(behind, sizeof behind, "%s\001", keys[i]); /* no key has it */
        from = keep(c, behind);
    }
    need_gap(c, from, keep(c, span.end));
}

void record_need_empty(struct record_change *c, const char *prefix)
{
    record_need_only(c, prefix, NULL, 0);
}

static void then(struct record_change *c, struct kv_op op)
{
    if (c->n_then == RECORD_CHANGE_MOST) {
        c->failed = -E2BIG;
    } else {
        c->then[c->n_then++] = op;
    }
}

void record_put(struct record_change *c, const char *key, const char *text)
{
    const char *own = keep(c, key);
    const char *value = own == NULL ? NULL : keep(c, text);

    if (value != NULL) {
        then(c, kv_op_put(own, kv_text(value)));
    }
}

void record_put_json(struct record_change *c, const char *key, const json_t *value)
{
    SCOPED(scope_free) char *text = json_dumps(value, JSON_COMPACT);

    if (text == NULL) {
        c->failed = -ENOMEM;
    } else {
        record_put(c, key, text);
    }
}

void record_delete(struct record_change *c, const char *key)
{
    const char *own = keep(c, key);

    if (own != NULL) {
        then(c, kv_op_delete(kv_key(own)));
    }
}

int record_change_do(struct node *n, struct record_change *c, struct err *e)
{
    const struct kv_txn t = {.compare = c->compare,
                             .n_compare = c->n_compare,
                             .then_ops = c->then,
                             .n_then = c->n_then};
    struct kv_result result;
    struct kv *kv;
    int r = c->failed != 0 ? err_sys(e, c->failed, "cannot record it") : 0;

    r = r == 0 ? node_kv(n, &kv, e) : r;
    r = r == 0 ? kv_txn(kv, &t, &result, e) : r;
    if (r < 0) {
        return r;
    }
    r = result.succeeded ? 0 : -EAGAIN;
    kv_result_fini(&result);
    return r;
}
