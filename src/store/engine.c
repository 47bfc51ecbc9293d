/* engine.c - transactions over a bed of events.
 *
 * A revision under way is `revision` + 1; its events count in `place`.  A read
 * without a revision sees the newest events, so it sees those of its own
 * transaction.  History is bounded here: each time a transaction's revision
 * passes a multiple of COMPACT_STEP, what is older than `keep_revisions` goes,
 * a bounded number of revisions at a time, so that no transaction grows long. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "store/private.h"

#define COMPACT_STEP 64                 /* revisions between two looks at the history */
#define COMPACT_MOST (4 * COMPACT_STEP) /* revisions dropped by one look */
#define BUSY_MS      10000

int store_collect(void *items, const struct kv_item *item)
{
    return kv_items_add(items, item, false);
}

int store_begin(struct store *s, bool writes, bool durable, struct err *e)
{
    struct store_lease due;
    int r = s->bed->begin(s, writes, durable || s->options.durable, e);

    if (r < 0) {
        return r;
    }
    s->writes = writes;
    s->place = 0;
    r = s->bed->revision(s, &s->revision, e);
    if (r == 0) {
        r = s->bed->lease_due(s, store_now(s), &due, e);
    }
    if (r > 0 && !writes) { /* what ended must not be seen: begin again to write */
        s->bed->rollback(s);
        return store_begin(s, true, durable, e);
    }
    if (r > 0) {
        r = store_sweep(s, e);
    }
    if (r < 0) {
        s->bed->rollback(s);
    }
    return r;
}

/* Bound the history, seldom and little at a time. */
static int trim(struct store *s, int64_t before, struct err *e)
{
    int64_t old, upto = s->revision - s->options.keep_revisions;
    int r;

    if (s->revision / COMPACT_STEP == before / COMPACT_STEP) {
        return 0;
    }
    r = s->bed->compacted(s, &old, e);
    if (r < 0 || upto <= old) {
        return r;
    }
    if (upto > old + COMPACT_MOST) {
        upto = old + COMPACT_MOST;
    }
    return s->bed->compact(s, old, upto, e);
}

static int finish(struct store *s, struct err *e)
{
    int r = fault_step("store.written");

    if (r < 0) {
        return err_sys(e, r, "cannot write a record");
    }
    store_next_revision(s);
    r = s->bed->commit(s, e);
    if (r == 0) {
        (void)fault_step("store.committed"); /* too late to fail; a place to die */
    }
    return r;
}

int store_end(struct store *s, int result, struct err *e)
{
    int r = result;

    if (r == 0) {
        r = s->writes ? finish(s, e) : s->bed->commit(s, e);
    }
    if (r < 0) {
        s->bed->rollback(s);
    }
    return r;
}

void store_next_revision(struct store *s)
{
    if (s->place > 0) {
        s->revision += 1;
        s->place = 0;
    }
}

static int append(struct store *s, struct kv_item *item, struct err *e)
{
    item->mod_revision = s->revision + 1;
    return s->bed->append(s, item, s->place++, e);
}

int store_delete_items(struct store *s, const struct kv_items *items, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < items->n && r == 0; i++) {
        struct kv_item tombstone = {.key = items->items[i].key, .value = ""};

        r = append(s, &tombstone, e);
    }
    return r;
}

/* One pass over a span, keeping what the operation asks for. */
struct reading {
    const struct kv_op *op;
    struct kv_items *out;
};

static int read_one(void *arg, const struct kv_item *item)
{
    struct reading *reading = arg;
    struct kv_items *out = reading->out;

    out->count += 1;
    if (reading->op->limit != 0 && out->n >= reading->op->limit) {
        out->more = true;
        return 0;
    }
    return kv_items_add(out, item, reading->op->keys_only);
}

static int check_revision(struct store *s, int64_t revision, struct err *e)
{
    int64_t newest = s->revision + (s->place > 0), oldest;
    int r;

    if (revision == 0) {
        return 0;
    }
    if (revision > newest) {
        return err_set(e, -ERANGE, "revision %lld is yet to come; the store is at %lld",
                       (long long)revision, (long long)newest);
    }
    r = s->bed->compacted(s, &oldest, e);
    if (r == 0 && revision < oldest) {
        return err_set(e, -ESTALE, "revision %lld was compacted; the oldest is %lld",
                       (long long)revision, (long long)oldest);
    }
    return r;
}

static int do_range(struct store *s, const struct kv_op *op, struct kv_items *out,
                    struct err *e)
{
    struct reading reading = {.op = op, .out = out};
    int r = check_revision(s, op->revision, e);

    if (r < 0) {
        return r;
    }
    r = s->bed->scan(s, op->span, op->revision == 0 ? INT64_MAX : op->revision, read_one,
                     &reading);
    return r < 0 ? s->bed->explain(s, r, e) : 0;
}

static int choose_lease(struct store *s, const struct kv_op *op,
                        const struct kv_items *old, struct err *e)
{
    struct store_lease lease;
    int r;

    if (op->keep_lease && old->n == 0) {
        return err_set(e, -ENOENT, "there is no record '%s' whose lease could be kept",
                       op->span.first);
    }
    if (op->lease == 0) {
        return 0;
    }
    r = s->bed->lease_get(s, op->lease, &lease, e);
    if (r == 0) {
        return err_set(e, -ENOENT, "there is no lease %lld for the record '%s'",
                       (long long)op->lease, op->span.first);
    }
    return r < 0 ? r : 0;
}

static int do_put(struct store *s, const struct kv_op *op, const struct kv_items *old,
                  struct err *e)
{
    struct kv_item item = {.key = op->span.first,
                           .value = op->value.data,
                           .len = op->value.len,
                           .create_revision = s->revision + 1,
                           .version = 1,
                           .lease = op->lease};
    int r = choose_lease(s, op, old, e);

    if (r < 0) {
        return r;
    }
    if (old->n > 0) {
        item.create_revision = old->items[0].create_revision;
        item.version = old->items[0].version + 1;
        item.lease = op->keep_lease ? old->items[0].lease : op->lease;
    }
    return append(s, &item, e);
}

/* Puts and deletes begin by reading what they replace. */
static int do_change(struct store *s, const struct kv_op *op, struct kv_items *out,
                     struct err *e)
{
    SCOPED(kv_items_fini) struct kv_items old = {0};
    int r;

    r = s->bed->scan(s, op->span, INT64_MAX, store_collect, &old);
    if (r < 0) {
        return s->bed->explain(s, r, e);
    }
    if (op->kind == KV_OP_PUT) {
        r = do_put(s, op, &old, e);
    } else {
        r = store_delete_items(s, &old, e);
    }
    out->count = op->kind == KV_OP_PUT ? 0 : old.n;
    if (r == 0 && op->prev) {
        out->items = old.items;
        out->n = old.n;
        old = (struct kv_items){0};
    }
    return r;
}

struct checking {
    const struct kv_cmp *cmp;
    bool any;
    bool holds;
};

static int check_one(void *arg, const struct kv_item *item)
{
    struct checking *checking = arg;

    checking->any = true;
    checking->holds = checking->holds && kv_cmp_holds(checking->cmp, item);
    return 0;
}

/* 1 when every comparison holds, else 0. */
static int compare(struct store *s, const struct kv_txn *t, struct err *e)
{
    static const struct kv_item missing;

    for (size_t i = 0; i < t->n_compare; i++) {
        struct checking checking = {.cmp = &t->compare[i], .holds = true};
        int r = s->bed->scan(s, checking.cmp->span, INT64_MAX, check_one, &checking);

        if (r < 0) {
            return s->bed->explain(s, r, e);
        }
        if (!checking.any) {
            checking.holds = kv_cmp_holds(checking.cmp, &missing);
        }
        if (!checking.holds) {
            return 0;
        }
    }
    return 1;
}

static int do_ops(struct store *s, const struct kv_op *ops, size_t n,
                  struct kv_result *out, struct err *e)
{
    int r = 0;

    out->parts = fault_calloc(n == 0 ? 1 : n, sizeof *out->parts);
    if (out->parts == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    out->n = n;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = ops[i].kind == KV_OP_RANGE ? do_range(s, &ops[i], &out->parts[i], e)
                                       : do_change(s, &ops[i], &out->parts[i], e);
    }
    store_next_revision(s);
    out->revision = s->revision;
    for (size_t i = 0; i < n; i++) {
        out->parts[i].revision = s->revision;
    }
    return r;
}

static int run(struct store *s, const struct kv_txn *t, struct kv_result *out,
               struct err *e)
{
    int64_t before = s->revision;
    int r = fault_step("store.begun");

    if (r < 0) {
        return err_sys(e, r, "cannot change records");
    }
    r = compare(s, t, e);
    if (r < 0) {
        return r;
    }
    out->succeeded = r > 0;
    r = out->succeeded ? do_ops(s, t->then_ops, t->n_then, out, e)
                       : do_ops(s, t->else_ops, t->n_else, out, e);
    return r == 0 && s->writes ? trim(s, before, e) : r;
}

int store_txn(struct kv *kv, const struct kv_txn *t, struct kv_result *ret, struct err *e)
{
    SCOPED(kv_result_fini) struct kv_result out = {0};
    struct store *s = store_of(kv);
    int r = store_begin(s, kv_txn_writes(t), t->durable, e);

    if (r < 0) {
        return r;
    }
    r = store_end(s, run(s, t, &out, e), e);
    if (r == 0) {
        *ret = out;
        out = (struct kv_result){0};
    }
    return r;
}

static int compact(struct store *s, int64_t revision, struct err *e)
{
    int64_t old;
    int r;

    if (revision > s->revision) {
        return err_set(e, -ERANGE, "revision %lld is yet to come; the store is at %lld",
                       (long long)revision, (long long)s->revision);
    }
    r = s->bed->compacted(s, &old, e);
    if (r == 0 && revision <= old) {
        return err_set(e, -ESTALE, "revision %lld was compacted; the oldest is %lld",
                       (long long)revision, (long long)old);
    }
    return r < 0 ? r : s->bed->compact(s, old, revision, e);
}

int store_compact(struct kv *kv, int64_t revision, struct err *e)
{
    struct store *s = store_of(kv);
    int r = store_begin(s, true, false, e);

    return r < 0 ? r : store_end(s, compact(s, revision, e), e);
}

struct store *store_of(struct kv *kv)
{
    static_assert(offsetof(struct store, kv) == 0, "the contract's base comes first");
    return (struct store *)kv;
}

void store_close(struct kv *kv)
{
    struct store *s = store_of(kv);

    s->bed->close(s);
}

void store_init(struct store *s, const struct kv_ops *ops, const struct store_bed *bed,
                const struct store_options *o)
{
    s->kv.ops = ops;
    s->bed = bed;
    if (o != NULL) {
        s->options = *o;
    }
    if (s->options.keep_revisions <= 0) {
        s->options.keep_revisions = STORE_KEEP_REVISIONS;
    }
    if (s->options.busy_ms == 0) {
        s->options.busy_ms = BUSY_MS;
    }
}
