/* contract/kv.c - the guard of the record store, and its small calls.
 *
 * Whatever a store could be asked in a wrong way is refused here, once for all
 * implementers; the calls for one operation are transactions with one. */
#include "contract/kv.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/kv_ops.h"

static int check_key(const char *key, struct err *e)
{
    size_t len = key == NULL ? 0 : strnlen(key, KV_KEY_BYTES);

    if (len == 0) {
        return err_set(e, -EINVAL, "the key of a record is empty");
    }
    if (len == KV_KEY_BYTES) {
        return err_set(e, -EINVAL, "the key '%.40s...' is longer than %d bytes", key,
                       KV_KEY_BYTES - 1);
    }
    return 0;
}

static int check_span(struct kv_span span, struct err *e)
{
    int r;

    if (span.end == NULL || span.first == NULL || span.first[0] != '\0') {
        r = check_key(span.first, e);
        if (r < 0) {
            return r;
        }
    }
    return span.end != NULL && span.end[0] != '\0' ? check_key(span.end, e) : 0;
}

static int check_put(const struct kv_op *op, struct err *e)
{
    if (op->span.end != NULL) {
        return err_set(e, -EINVAL, "a put of '%s' names a span", op->span.first);
    }
    if (op->value.len > KV_VALUE_MOST_BYTES) {
        return err_set(e, -EFBIG, "the record '%s' has %zu bytes; at most %d are stored",
                       op->span.first, op->value.len, KV_VALUE_MOST_BYTES);
    }
    if (op->lease < 0 || (op->keep_lease && op->lease != 0)) {
        return err_set(e, -EINVAL, "the put of '%s' names no possible lease",
                       op->span.first);
    }
    return 0;
}

static int check_op(const struct kv_op *op, struct err *e)
{
    int r = check_span(op->span, e);

    if (r < 0) {
        return r;
    }
    if ((unsigned)op->kind >= KV_OP_KIND_COUNT) {
        return err_set(e, -EINVAL, "operation %d is unknown", (int)op->kind);
    }
    if (op->revision < 0) {
        return err_set(e, -EINVAL, "a revision is not negative");
    }
    return op->kind == KV_OP_PUT ? check_put(op, e) : 0;
}

/* A put excludes another put or a delete of the same key in one list. */
static int check_pair(const struct kv_op *a, const struct kv_op *b, struct err *e)
{
    const struct kv_op *put = a->kind == KV_OP_PUT ? a : b;
    const struct kv_op *other = put == a ? b : a;

    if (put->kind == KV_OP_PUT && other->kind != KV_OP_RANGE &&
        kv_span_holds(other->span, put->span.first)) {
        return err_set(e, -EINVAL, "a transaction changes '%s' twice", put->span.first);
    }
    return 0;
}

static int check_ops(const struct kv_op *ops, size_t n, struct err *e)
{
    if (n > KV_TXN_MOST_OPS) {
        return err_set(e, -EINVAL, "a transaction has %zu operations; %d are allowed", n,
                       KV_TXN_MOST_OPS);
    }
    for (size_t i = 0; i < n; i++) {
        int r = check_op(&ops[i], e);

        for (size_t k = 0; k < i && r == 0; k++) {
            r = check_pair(&ops[k], &ops[i], e);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int check_compare(const struct kv_cmp *cmp, size_t n, struct err *e)
{
    if (n > KV_TXN_MOST_OPS) {
        return err_set(e, -EINVAL, "a transaction has %zu comparisons; %d are allowed", n,
                       KV_TXN_MOST_OPS);
    }
    for (size_t i = 0; i < n; i++) {
        int r = check_span(cmp[i].span, e);

        if (r < 0) {
            return r;
        }
        if ((unsigned)cmp[i].target >= KV_TARGET_COUNT ||
            (unsigned)cmp[i].order >= KV_ORDER_COUNT) {
            return err_set(e, -EINVAL, "the comparison of '%s' is unknown",
                           cmp[i].span.first);
        }
    }
    return 0;
}

int kv_txn(struct kv *kv, const struct kv_txn *t, struct kv_result *ret, struct err *e)
{
    int r = check_compare(t->compare, t->n_compare, e);

    if (r == 0) {
        r = check_ops(t->then_ops, t->n_then, e);
    }
    if (r == 0) {
        r = check_ops(t->else_ops, t->n_else, e);
    }
    return r < 0 ? r : kv->ops->txn(kv, t, ret, e);
}

void kv_close(struct kv *kv)
{
    if (kv != NULL) {
        kv->ops->close(kv);
    }
}

struct kv_bytes kv_text(const char *text)
{
    return (struct kv_bytes){.data = text, .len = strlen(text)};
}

struct kv_span kv_key(const char *key)
{
    return (struct kv_span){.first = key};
}

struct kv_span kv_prefix(const char *prefix, char end[KV_KEY_BYTES])
{
    size_t len = strnlen(prefix, KV_KEY_BYTES);

    if (len == KV_KEY_BYTES) { /* the guard will refuse it by its length */
        end[0] = '\0';
        return (struct kv_span){.first = prefix, .end = end};
    }
    while (len > 0 && (unsigned char)prefix[len - 1] == 0xff) {
        len -= 1;
    }
    memcpy(end, prefix, len);
    end[len] = '\0';
    if (len > 0) {
        end[len - 1] = (char)((unsigned char)end[len - 1] + 1);
    }
    return (struct kv_span){.first = prefix, .end = end};
}

struct kv_op kv_op_put(const char *key, struct kv_bytes value)
{
    return (struct kv_op){.kind = KV_OP_PUT, .span = kv_key(key), .value = value};
}

struct kv_op kv_op_range(struct kv_span span, uint64_t limit)
{
    return (struct kv_op){.kind = KV_OP_RANGE, .span = span, .limit = limit};
}

struct kv_op kv_op_delete(struct kv_span span)
{
    return (struct kv_op){.kind = KV_OP_DELETE, .span = span};
}

struct kv_cmp kv_cmp_mod(const char *key, int64_t revision)
{
    return (struct kv_cmp){
        .span = kv_key(key), .target = KV_TARGET_MOD, .number = revision};
}

static int run_one(struct kv *kv, const struct kv_op *op, struct kv_result *ret,
                   struct err *e)
{
    return kv_txn(kv, &(struct kv_txn){.then_ops = op, .n_then = 1}, ret, e);
}

int kv_get(struct kv *kv, const char *key, struct kv_item *ret, struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result result = {0};
    struct kv_op op = kv_op_range(kv_key(key), 0);
    int r = run_one(kv, &op, &result, e);

    if (r < 0) {
        return r;
    }
    if (result.parts[0].n == 0) {
        return -ENOENT;
    }
    *ret = result.parts[0].items[0];
    result.parts[0].n = 0;
    return 0;
}

int kv_put(struct kv *kv, const char *key, struct kv_bytes value, int64_t *ret_revision,
           struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result result = {0};
    struct kv_op op = kv_op_put(key, value);
    int r = run_one(kv, &op, &result, e);

    if (r == 0 && ret_revision != NULL) {
        *ret_revision = result.revision;
    }
    return r;
}

static int run_if(struct kv *kv, const struct kv_op *op, int64_t expected,
                  int64_t *ret_revision, struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result result = {0};
    struct kv_cmp unchanged = kv_cmp_mod(op->span.first, expected);
    struct kv_txn t = {
        .compare = &unchanged, .n_compare = 1, .then_ops = op, .n_then = 1};
    int r = kv_txn(kv, &t, &result, e);

    if (r < 0) {
        return r;
    }
    if (!result.succeeded) {
        return expected == 0 ? -EEXIST : -EAGAIN;
    }
    if (ret_revision != NULL) {
        *ret_revision = result.revision;
    }
    return 0;
}

int kv_put_if(struct kv *kv, const char *key, struct kv_bytes value, int64_t expected,
              int64_t *ret_revision, struct err *e)
{
    struct kv_op op = kv_op_put(key, value);

    return run_if(kv, &op, expected, ret_revision, e);
}

int kv_delete(struct kv *kv, struct kv_span span, uint64_t *ret_count, struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result result = {0};
    struct kv_op op = kv_op_delete(span);
    int r = run_one(kv, &op, &result, e);

    if (r == 0 && ret_count != NULL) {
        *ret_count = result.parts[0].count;
    }
    return r;
}

int kv_delete_if(struct kv *kv, const char *key, int64_t expected, struct err *e)
{
    struct kv_op op = kv_op_delete(kv_key(key));

    return run_if(kv, &op, expected, NULL, e);
}

int kv_range(struct kv *kv, struct kv_span span, uint64_t limit, struct kv_items *ret,
             struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result result = {0};
    struct kv_op op = kv_op_range(span, limit);
    int r = run_one(kv, &op, &result, e);

    if (r == 0) {
        *ret = result.parts[0];
        result.n = 0;
    }
    return r;
}

int kv_list(struct kv *kv, const char *prefix, struct kv_items *ret, struct err *e)
{
    char end[KV_KEY_BYTES];

    return kv_range(kv, kv_prefix(prefix, end), 0, ret, e);
}

int kv_compact(struct kv *kv, int64_t revision, struct err *e)
{
    if (revision < 1) {
        return err_set(e, -EINVAL, "there is no revision %lld to compact to",
                       (long long)revision);
    }
    return kv->ops->compact(kv, revision, e);
}

static int check_lease(int64_t id, struct err *e)
{
    return id > 0 ? 0 : err_set(e, -EINVAL, "%lld is no lease", (long long)id);
}

int kv_lease_grant(struct kv *kv, int64_t id, int64_t ttl_seconds, struct kv_lease *ret,
                   struct err *e)
{
    if (id < 0) {
        return check_lease(id, e);
    }
    if (ttl_seconds < 1 || ttl_seconds > KV_LEASE_MOST_SECONDS) {
        return err_set(e, -ERANGE, "a lease lasts 1 to %lld seconds",
                       (long long)KV_LEASE_MOST_SECONDS);
    }
    return kv->ops->lease_grant(kv, id, ttl_seconds, ret, e);
}

int kv_lease_keep(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e)
{
    int r = check_lease(id, e);

    return r < 0 ? r : kv->ops->lease_keep(kv, id, ret, e);
}

int kv_lease_get(struct kv *kv, int64_t id, struct kv_lease *ret, struct err *e)
{
    int r = check_lease(id, e);

    return r < 0 ? r : kv->ops->lease_get(kv, id, ret, e);
}

int kv_lease_revoke(struct kv *kv, int64_t id, struct err *e)
{
    int r = check_lease(id, e);

    return r < 0 ? r : kv->ops->lease_revoke(kv, id, e);
}

int kv_watch_open(struct kv *kv, struct kv_span span, int64_t from, struct kv_watch **ret,
                  struct err *e)
{
    int r = check_span(span, e);

    if (r < 0) {
        return r;
    }
    if (from < 0) {
        return err_set(e, -EINVAL, "a revision is not negative");
    }
    return kv->ops->watch_open(kv, span, from, ret, e);
}

int kv_watch_next(struct kv_watch *w, int timeout_ms, struct kv_events *ret,
                  struct err *e)
{
    return w->kv->ops->watch_next(w, timeout_ms, ret, e);
}

void kv_watch_close(struct kv_watch *w)
{
    if (w != NULL) {
        w->kv->ops->watch_close(w);
    }
}
