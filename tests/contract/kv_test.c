/* The promises of contract/kv.h, kept by every implementer alike.  The SQLite
 * store runs twice: as it is, and closed and opened again between any two steps. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/kv.h"
#include "store/store.h"

enum implementer {
    MEMORY,
    SQLITE,
    SQLITE_REOPENED,
    IMPLEMENTER_COUNT
};

static const char *const names[] = {"memory", "sqlite", "sqlite reopened"};

struct fixture {
    enum implementer kind;
    struct kv *kv;
    struct store_options options;
    char dir[32];
    char path[64];
    int64_t now_ms;
    struct err e;
};

static int64_t test_clock(void *arg)
{
    return ((struct fixture *)arg)->now_ms;
}

static int open_store(struct fixture *f)
{
    return f->kind == MEMORY
               ? store_open_memory_with(&f->options, &f->kv, &f->e)
               : store_open_sqlite_with(f->path, &f->options, &f->kv, &f->e);
}

/* The handle; in the third row a new one each time. */
static struct kv *kv(struct fixture *f)
{
    if (f->kind == SQLITE_REOPENED) {
        kv_close(f->kv);
        assert_int_equal(open_store(f), 0);
    }
    return f->kv;
}

static enum implementer current; /* the row under test */

static int begin_next(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->kind = current;
    f->now_ms = 1000000;
    f->options = (struct store_options){.now_ms = test_clock, .clock_arg = f};
    strcpy(f->dir, "/tmp/kv-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof f->path, "%s/kv", f->dir);
    assert_int_equal(open_store(f), 0);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    char name[80];

    kv_close(f->kv);
    for (const char *const *tail = (const char *const[]){"", "-wal", "-shm", NULL};
         *tail != NULL; tail++) {
        (void)snprintf(name, sizeof name, "%s%s", f->path, *tail);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static int64_t put(struct fixture *f, const char *key, const char *value)
{
    int64_t revision = 0;

    assert_int_equal(kv_put(kv(f), key, kv_text(value), &revision, &f->e), 0);
    return revision;
}

static int64_t revision_of(struct fixture *f)
{
    struct kv_items items = {0};
    int64_t revision;

    assert_int_equal(kv_range(kv(f), kv_key("none"), 0, &items, &f->e), 0);
    revision = items.revision;
    kv_items_fini(&items);
    return revision;
}

static void expect(struct fixture *f, const char *key, const char *value)
{
    struct kv_item item = {0};

    assert_int_equal(kv_get(kv(f), key, &item, &f->e), value == NULL ? -ENOENT : 0);
    if (value != NULL) {
        assert_string_equal(item.key, key);
        assert_int_equal(item.len, strlen(value));
        assert_string_equal(item.value, value);
    }
    kv_item_fini(&item);
}

static void an_empty_store_is_at_revision_1(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(revision_of(f), 1);
    expect(f, "a", NULL);
    assert_int_equal(f->e.code, 0); /* a missing record is an answer, not a failure */
}

static void each_change_counts_one_revision(void **state)
{
    struct fixture *f = *state;
    uint64_t count = 9;

    assert_int_equal(put(f, "a", "1"), 2);
    assert_int_equal(put(f, "b", "1"), 3);
    assert_int_equal(put(f, "a", "1"), 4); /* also without a difference */
    assert_int_equal(kv_delete(kv(f), kv_key("none"), &count, &f->e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(revision_of(f), 4); /* nothing was deleted, nothing changed */
    assert_int_equal(kv_delete(kv(f), kv_key("a"), &count, &f->e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(revision_of(f), 5);
}

static void a_record_knows_its_revisions_and_version(void **state)
{
    struct fixture *f = *state;
    struct kv_item item;

    put(f, "x", "");
    put(f, "a", "1");
    put(f, "a", "2");
    assert_int_equal(kv_get(kv(f), "a", &item, &f->e), 0);
    assert_int_equal(item.create_revision, 3);
    assert_int_equal(item.mod_revision, 4);
    assert_int_equal(item.version, 2);
    assert_int_equal(item.lease, 0);
    kv_item_fini(&item);
    assert_int_equal(kv_delete(kv(f), kv_key("a"), NULL, &f->e), 0);
    put(f, "a", "3");
    assert_int_equal(kv_get(kv(f), "a", &item, &f->e), 0);
    assert_int_equal(item.create_revision, 6); /* a new life */
    assert_int_equal(item.version, 1);
    kv_item_fini(&item);
}

static void values_are_any_bytes(void **state)
{
    struct fixture *f = *state;
    char big[70000];
    struct kv_item item;

    for (size_t i = 0; i < sizeof big; i++) {
        big[i] = (char)(i * 7 % 256);
    }
    assert_int_equal(
        kv_put(kv(f), "big", (struct kv_bytes){big, sizeof big}, NULL, &f->e), 0);
    assert_int_equal(kv_put(kv(f), "empty", (struct kv_bytes){NULL, 0}, NULL, &f->e), 0);
    assert_int_equal(kv_get(kv(f), "big", &item, &f->e), 0);
    assert_int_equal(item.len, sizeof big);
    assert_memory_equal(item.value, big, sizeof big);
    kv_item_fini(&item);
    expect(f, "empty", "");
}

static void expect_keys(struct fixture *f, struct kv_span span, const char *keys)
{
    struct kv_items items = {0};
    char all[256] = "";

    assert_int_equal(kv_range(kv(f), span, 0, &items, &f->e), 0);
    for (size_t i = 0; i < items.n; i++) {
        strcat(strcat(all, items.items[i].key), " ");
    }
    assert_string_equal(all, keys);
    assert_int_equal(items.count, items.n);
    kv_items_fini(&items);
}

static void ranges_are_half_open_and_ordered_by_bytes(void **state)
{
    struct fixture *f = *state;
    char e[KV_KEY_BYTES];

    for (const char *const *k =
             (const char *const[]){"b", "a/2", "\xff", "a/1", "a0", "a", "a/10", "B",
                                   "\xff\xff", "\xc3\xa4", NULL};
         *k != NULL; k++) {
        put(f, *k, *k);
    }
    expect_keys(f, (struct kv_span){"a", "b"}, "a a/1 a/10 a/2 a0 ");
    expect_keys(f, (struct kv_span){"a/", ""},
                "a/1 a/10 a/2 a0 b \xc3\xa4 \xff \xff\xff ");
    expect_keys(f, (struct kv_span){"", "a/1"}, "B a ");
    expect_keys(f, kv_prefix("a/", e), "a/1 a/10 a/2 ");
    expect_keys(f, kv_prefix("\xff", e), "\xff \xff\xff ");
    expect_keys(f, kv_prefix("", e), "B a a/1 a/10 a/2 a0 b \xc3\xa4 \xff \xff\xff ");
    expect_keys(f, (struct kv_span){"b", "a"}, "");
    expect_keys(f, kv_key("a"), "a ");
}

static void a_limit_cuts_the_list_but_not_the_count(void **state)
{
    struct fixture *f = *state;
    struct kv_items items;

    put(f, "a", "1");
    put(f, "b", "2");
    put(f, "c", "3");
    assert_int_equal(kv_range(kv(f), (struct kv_span){"a", ""}, 2, &items, &f->e), 0);
    assert_int_equal(items.n, 2);
    assert_int_equal(items.count, 3);
    assert_true(items.more);
    kv_items_fini(&items);
    assert_int_equal(kv_range(kv(f), (struct kv_span){"a", ""}, 3, &items, &f->e), 0);
    assert_false(items.more);
    kv_items_fini(&items);
}

static void put_if_answers_what_was_in_the_way(void **state)
{
    struct fixture *f = *state;
    int64_t revision;

    assert_int_equal(kv_put_if(kv(f), "a", kv_text("1"), 7, NULL, &f->e), -EAGAIN);
    assert_int_equal(kv_put_if(kv(f), "a", kv_text("1"), 0, &revision, &f->e), 0);
    assert_int_equal(kv_put_if(kv(f), "a", kv_text("2"), 0, NULL, &f->e), -EEXIST);
    assert_int_equal(kv_put_if(kv(f), "a", kv_text("2"), revision, &revision, &f->e), 0);
    assert_int_equal(kv_put_if(kv(f), "a", kv_text("3"), revision - 1, NULL, &f->e),
                     -EAGAIN);
    expect(f, "a", "2");
    assert_int_equal(kv_delete_if(kv(f), "a", revision - 1, &f->e), -EAGAIN);
    assert_int_equal(kv_delete_if(kv(f), "a", revision, &f->e), 0);
    expect(f, "a", NULL);
    assert_int_equal(f->e.code, 0);
    assert_int_equal(revision_of(f), 4);
}

static bool holds(struct fixture *f, struct kv_cmp cmp)
{
    struct kv_result result = {0};
    bool yes;

    assert_int_equal(
        kv_txn(kv(f), &(struct kv_txn){.compare = &cmp, .n_compare = 1}, &result, &f->e),
        0);
    yes = result.succeeded;
    kv_result_fini(&result);
    return yes;
}

#define CMP(k, t, o, ...)                                                                \
    ((struct kv_cmp){.span = {k, NULL}, .target = (t), .order = (o), __VA_ARGS__})

static void comparisons_hold_as_in_etcd(void **state)
{
    struct fixture *f = *state;
    char e[KV_KEY_BYTES];
    struct kv_cmp all = {.span = kv_prefix("p", e), .target = KV_TARGET_VERSION};

    put(f, "p1", "bb"); /* 2 */
    put(f, "p2", "c");  /* 3 */
    put(f, "p2", "c");  /* 4 */
    assert_true(holds(f, CMP("p2", KV_TARGET_VERSION, KV_EQUAL, .number = 2)));
    assert_true(holds(f, CMP("p2", KV_TARGET_CREATE, KV_LESS, .number = 4)));
    assert_false(holds(f, CMP("p2", KV_TARGET_CREATE, KV_LESS, .number = 3)));
    assert_true(holds(f, CMP("p2", KV_TARGET_MOD, KV_GREATER, .number = 3)));
    assert_true(holds(f, CMP("p2", KV_TARGET_LEASE, KV_NOT_EQUAL, .number = 1)));
    assert_true(holds(f, CMP("p1", KV_TARGET_VALUE, KV_GREATER, .value = {"b", 1})));
    assert_true(holds(f, CMP("p1", KV_TARGET_VALUE, KV_LESS, .value = {"bba", 3})));
    assert_true(holds(f, CMP("p1", KV_TARGET_VALUE, KV_EQUAL, .value = {"bb", 2})));
    assert_true(holds(f, CMP("no", KV_TARGET_VERSION, KV_EQUAL, .number = 0)));
    assert_false(holds(f, CMP("no", KV_TARGET_VALUE, KV_NOT_EQUAL, .value = {"x", 1})));
    all.order = KV_GREATER;
    assert_true(holds(f, all)); /* every record of the span */
    all.number = 1;
    assert_false(holds(f, all)); /* p1 is not above 1 */
}

static void a_transaction_is_one_revision_and_reads_its_own_writes(void **state)
{
    struct fixture *f = *state;
    struct kv_result result;
    struct kv_op ops[5];

    put(f, "old/1", "x");
    put(f, "old/2", "y");
    ops[0] = kv_op_put("new", kv_text("1"));
    ops[1] = kv_op_range((struct kv_span){"a", ""}, 0);
    ops[2] = kv_op_delete((struct kv_span){"old/", "old0"});
    ops[2].prev = true;
    ops[3] = kv_op_range((struct kv_span){"a", ""}, 0);
    ops[4] = kv_op_put("zz", kv_text("2"));
    assert_int_equal(
        kv_txn(kv(f), &(struct kv_txn){.then_ops = ops, .n_then = 5}, &result, &f->e), 0);
    assert_true(result.succeeded);
    assert_int_equal(result.revision, 4);
    assert_int_equal(result.n, 5);
    assert_int_equal(result.parts[1].n, 3);
    assert_int_equal(result.parts[1].items[0].mod_revision, 4);
    assert_int_equal(result.parts[2].count, 2);
    assert_string_equal(result.parts[2].items[1].value, "y");
    assert_int_equal(result.parts[3].n, 1);
    assert_string_equal(result.parts[3].items[0].key, "new");
    kv_result_fini(&result);
    assert_int_equal(revision_of(f), 4);
    expect_keys(f, (struct kv_span){"a", ""}, "new zz ");
}

static void the_else_list_runs_when_a_comparison_fails(void **state)
{
    struct fixture *f = *state;
    struct kv_cmp cmp = kv_cmp_mod("a", 99);
    struct kv_op yes = kv_op_put("yes", kv_text("")), no = kv_op_put("no", kv_text(""));
    struct kv_txn t = {&cmp, 1, &yes, 1, &no, 1, true};
    struct kv_result result;

    assert_int_equal(kv_txn(kv(f), &t, &result, &f->e), 0);
    assert_false(result.succeeded);
    kv_result_fini(&result);
    expect(f, "yes", NULL);
    expect(f, "no", "");
}

static void a_failing_operation_undoes_the_whole_transaction(void **state)
{
    struct fixture *f = *state;
    struct kv_op ops[3];
    struct kv_result result;

    put(f, "a", "1");
    ops[0] = kv_op_put("a", kv_text("2"));
    ops[1] = kv_op_put("b", kv_text("2"));
    ops[2] = kv_op_put("c", kv_text("2"));
    ops[2].lease = 77; /* there is none */
    assert_int_equal(
        kv_txn(kv(f), &(struct kv_txn){.then_ops = ops, .n_then = 3}, &result, &f->e),
        -ENOENT);
    expect(f, "a", "1");
    expect(f, "b", NULL);
    assert_int_equal(revision_of(f), 2);
}

static void wrong_questions_are_refused(void **state)
{
    struct fixture *f = *state;
    static char longest[KV_KEY_BYTES + 1], big[KV_VALUE_MOST_BYTES + 1];
    struct kv_op ops[2] = {kv_op_put("a", kv_text("")), kv_op_put("a", kv_text(""))};
    struct kv_txn twice = {.then_ops = ops, .n_then = 2};
    struct kv_result result;
    struct kv_lease lease;
    struct kv_item item;

    memset(longest, 'k', KV_KEY_BYTES);
    assert_int_equal(kv_put(f->kv, "", kv_text(""), NULL, NULL), -EINVAL);
    assert_int_equal(kv_put(f->kv, longest, kv_text(""), NULL, NULL), -EINVAL);
    assert_int_equal(kv_get(f->kv, longest, &item, NULL), -EINVAL);
    assert_int_equal(kv_put(f->kv, "a", (struct kv_bytes){big, sizeof big}, NULL, NULL),
                     -EFBIG);
    assert_int_equal(kv_txn(f->kv, &twice, &result, NULL), -EINVAL);
    ops[1] = kv_op_delete((struct kv_span){"a", ""});
    assert_int_equal(kv_txn(f->kv, &twice, &result, NULL), -EINVAL);
    twice.n_then = KV_TXN_MOST_OPS + 1;
    assert_int_equal(kv_txn(f->kv, &twice, &result, NULL), -EINVAL);
    assert_int_equal(kv_compact(f->kv, 0, NULL), -EINVAL);
    assert_int_equal(kv_lease_grant(f->kv, 0, 0, &lease, NULL), -ERANGE);
    assert_int_equal(kv_lease_keep(f->kv, 0, &lease, NULL), -EINVAL);
    longest[KV_KEY_BYTES - 1] = '\0';
    assert_int_equal(kv_put(f->kv, longest, kv_text("v"), NULL, &f->e), 0);
    expect(f, longest, "v");
}

static int range_at(struct fixture *f, int64_t revision, struct kv_result *ret)
{
    struct kv_op op = kv_op_range((struct kv_span){"a", ""}, 0);

    op.revision = revision;
    return kv_txn(kv(f), &(struct kv_txn){.then_ops = &op, .n_then = 1}, ret, NULL);
}

static void expect_at(struct fixture *f, int64_t revision, const char *values)
{
    struct kv_result result;
    char all[64] = "";

    assert_int_equal(range_at(f, revision, &result), 0);
    for (size_t i = 0; i < result.parts[0].n; i++) {
        strcat(strcat(strcat(all, result.parts[0].items[i].key), "="),
               result.parts[0].items[i].value);
        strcat(all, " ");
    }
    assert_string_equal(all, values);
    kv_result_fini(&result);
}

static void old_revisions_stay_readable_until_compaction(void **state)
{
    struct fixture *f = *state;
    struct kv_result result;

    put(f, "a", "1");                                                /* 2 */
    put(f, "b", "1");                                                /* 3 */
    put(f, "a", "2");                                                /* 4 */
    assert_int_equal(kv_delete(kv(f), kv_key("b"), NULL, &f->e), 0); /* 5 */
    put(f, "b", "2");                                                /* 6 */
    assert_int_equal(kv_delete(kv(f), kv_key("a"), NULL, &f->e), 0); /* 7 */
    expect_at(f, 1, "");
    expect_at(f, 3, "a=1 b=1 ");
    expect_at(f, 5, "a=2 ");
    expect_at(f, 7, "b=2 ");
    assert_int_equal(range_at(f, 8, &result), -ERANGE);
    assert_int_equal(kv_compact(kv(f), 8, NULL), -ERANGE);
    assert_int_equal(kv_compact(kv(f), 5, &f->e), 0);
    assert_int_equal(kv_compact(kv(f), 5, NULL), -ESTALE);
    assert_int_equal(range_at(f, 4, &result), -ESTALE);
    expect_at(f, 5, "a=2 ");
    expect_at(f, 6, "a=2 b=2 ");
    assert_int_equal(kv_compact(kv(f), 7, &f->e), 0);
    expect_at(f, 7, "b=2 ");
    expect_at(f, 0, "b=2 ");
    assert_int_equal(revision_of(f), 7); /* compaction is no change */
    assert_int_equal(put(f, "a", "3"), 8);
    expect_at(f, 0, "a=3 b=2 ");
}

static void history_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct kv_result result;

    kv_close(f->kv);
    f->options.keep_revisions = 100;
    assert_int_equal(open_store(f), 0);
    for (int i = 0; i < 400; i++) {
        assert_int_equal(kv_put(f->kv, i % 2 ? "a" : "b", kv_text("v"), NULL, &f->e), 0);
    }
    assert_int_equal(range_at(f, 100, &result), -ESTALE);
    expect_at(f, 401 - 99, "a=v b=v ");
}

static void leases_take_their_records_with_them(void **state)
{
    struct fixture *f = *state;
    struct kv_lease lease;
    struct kv_op op;
    struct kv_result result;

    assert_int_equal(kv_lease_grant(kv(f), 7, 10, &lease, &f->e), 0);
    assert_int_equal(lease.id, 7);
    assert_int_equal(lease.left_ms, 10000);
    assert_int_equal(revision_of(f), 1); /* a lease is no record */
    assert_int_equal(kv_lease_grant(kv(f), 7, 10, &lease, NULL), -EEXIST);
    for (const char *const *k = (const char *const[]){"a", "b", "c", NULL}; *k; k++) {
        op = kv_op_put(*k, kv_text("v"));
        op.lease = 7;
        assert_int_equal(
            kv_txn(kv(f), &(struct kv_txn){.then_ops = &op, .n_then = 1}, &result, &f->e),
            0);
        kv_result_fini(&result);
    }
    put(f, "b", "2"); /* a put without a lease takes the record off it */
    op = kv_op_put("c", kv_text("2"));
    op.keep_lease = true;
    assert_int_equal(
        kv_txn(kv(f), &(struct kv_txn){.then_ops = &op, .n_then = 1}, &result, &f->e), 0);
    kv_result_fini(&result);
    assert_int_equal(revision_of(f), 6);
    f->now_ms += 9999;
    expect(f, "a", "v");
    assert_int_equal(kv_lease_keep(kv(f), 7, &lease, &f->e), 0);
    f->now_ms += 9999;
    assert_int_equal(kv_lease_get(kv(f), 7, &lease, &f->e), 0);
    assert_int_equal(lease.left_ms, 1);
    f->now_ms += 1;
    assert_int_equal(kv_lease_keep(kv(f), 7, &lease, NULL), -ENOENT);
    expect_keys(f, (struct kv_span){"a", ""}, "b ");
    assert_int_equal(revision_of(f), 7); /* all of them in one revision */
}

static void a_revoked_lease_is_gone_with_its_records(void **state)
{
    struct fixture *f = *state;
    struct kv_lease lease, other;
    struct kv_op op = kv_op_put("a", kv_text("v"));
    struct kv_result result;

    assert_int_equal(kv_lease_grant(kv(f), 0, 10, &lease, &f->e), 0);
    assert_int_equal(kv_lease_grant(kv(f), 0, 10, &other, &f->e), 0);
    assert_true(lease.id > 0 && other.id > 0 && lease.id != other.id);
    op.lease = lease.id;
    assert_int_equal(
        kv_txn(kv(f), &(struct kv_txn){.then_ops = &op, .n_then = 1}, &result, &f->e), 0);
    kv_result_fini(&result);
    assert_int_equal(kv_lease_revoke(kv(f), lease.id, &f->e), 0);
    assert_int_equal(kv_lease_revoke(kv(f), lease.id, NULL), -ENOENT);
    expect(f, "a", NULL);
    assert_int_equal(kv_lease_revoke(kv(f), other.id, &f->e), 0);
    assert_int_equal(revision_of(f), 3);
}

static void a_lease_older_than_the_clock_gets_its_time_again(void **state)
{
    struct fixture *f = *state;
    struct kv_lease lease;

    assert_int_equal(kv_lease_grant(kv(f), 5, 60, &lease, &f->e), 0);
    f->now_ms = 500; /* the host was started anew */
    assert_int_equal(kv_lease_get(kv(f), 5, &lease, &f->e), 0);
    assert_int_equal(lease.left_ms, 60000);
    f->now_ms += 60000;
    assert_int_equal(kv_lease_get(kv(f), 5, &lease, NULL), -ENOENT);
}

static void a_watch_tells_every_change_once_in_order(void **state)
{
    struct fixture *f = *state;
    struct kv_watch *w;
    struct kv_events events;
    char e[KV_KEY_BYTES];
    struct kv_op ops[2] = {kv_op_put("p/b", kv_text("3")), kv_op_delete(kv_key("p/a"))};
    struct kv_result result;

    put(f, "p/a", "1"); /* 2: before the watch */
    f->kv = kv(f);
    assert_int_equal(kv_watch_open(f->kv, kv_prefix("p/", e), 0, &w, &f->e), 0);
    assert_int_equal(kv_watch_next(w, 0, &events, &f->e), 0);
    assert_int_equal(events.n, 0);
    assert_int_equal(kv_put(f->kv, "p/a", kv_text("2"), NULL, &f->e), 0);
    assert_int_equal(kv_put(f->kv, "q", kv_text("2"), NULL, &f->e), 0);
    assert_int_equal(
        kv_txn(f->kv, &(struct kv_txn){.then_ops = ops, .n_then = 2}, &result, &f->e), 0);
    kv_result_fini(&result);
    assert_int_equal(kv_watch_next(w, 1000, &events, &f->e), 0);
    assert_int_equal(events.n, 3);
    assert_int_equal(events.revision, 5);
    assert_int_equal(events.items[0].kind, KV_EVENT_PUT);
    assert_string_equal(events.items[0].item.value, "2");
    assert_string_equal(events.items[0].prev.value, "1");
    assert_int_equal(events.items[0].prev.mod_revision, 2);
    assert_string_equal(events.items[1].item.key, "p/b");
    assert_null(events.items[1].prev.key);
    assert_int_equal(events.items[2].kind, KV_EVENT_DELETE);
    assert_string_equal(events.items[2].item.key, "p/a");
    assert_int_equal(events.items[2].item.mod_revision, 5);
    assert_string_equal(events.items[2].prev.value, "2");
    kv_events_fini(&events);
    assert_int_equal(kv_watch_next(w, 1, &events, &f->e), 0);
    assert_int_equal(events.n, 0);
    kv_watch_close(w);
}

static void a_watch_may_begin_in_the_past_until_compaction(void **state)
{
    struct fixture *f = *state;
    struct kv_watch *w;
    struct kv_events events;

    put(f, "a", "1");
    put(f, "a", "2");
    put(f, "a", "3");
    assert_int_equal(kv_delete(kv(f), kv_key("a"), NULL, &f->e), 0); /* 5 */
    f->kv = kv(f);
    assert_int_equal(kv_watch_open(f->kv, kv_key("a"), 3, &w, &f->e), 0);
    assert_int_equal(kv_watch_next(w, 0, &events, &f->e), 0);
    assert_int_equal(events.n, 3);
    assert_string_equal(events.items[0].prev.value, "1");
    kv_events_fini(&events);
    kv_watch_close(w);
    assert_int_equal(kv_compact(f->kv, 5, &f->e), 0);
    assert_int_equal(kv_watch_open(f->kv, kv_key("a"), 4, &w, &f->e), 0);
    assert_int_equal(kv_watch_next(w, 0, &events, &f->e), -ESTALE);
    assert_non_null(strstr(f->e.text, "compacted"));
    kv_watch_close(w);
    assert_int_equal(kv_watch_open(f->kv, kv_key("a"), 5, &w, NULL), 0);
    assert_int_equal(kv_watch_next(w, 0, &events, NULL), 0);
    assert_int_equal(events.n, 1); /* the tombstone of the revision itself stays */
    assert_int_equal(events.items[0].kind, KV_EVENT_DELETE);
    assert_null(events.items[0].prev.key);
    kv_events_fini(&events);
    kv_watch_close(w);
}

static void a_watch_tells_the_end_of_a_lease(void **state)
{
    struct fixture *f = *state;
    struct kv_lease lease;
    struct kv_watch *w;
    struct kv_events events;
    struct kv_op op = kv_op_put("a", kv_text("v"));
    struct kv_result result;

    f->kv = kv(f);
    assert_int_equal(kv_lease_grant(f->kv, 3, 5, &lease, &f->e), 0);
    op.lease = 3;
    assert_int_equal(
        kv_txn(f->kv, &(struct kv_txn){.then_ops = &op, .n_then = 1}, &result, &f->e), 0);
    kv_result_fini(&result);
    assert_int_equal(kv_watch_open(f->kv, kv_key("a"), 0, &w, &f->e), 0);
    f->now_ms += 5000;
    assert_int_equal(kv_watch_next(w, 0, &events, &f->e), 0);
    assert_int_equal(events.n, 1);
    assert_int_equal(events.items[0].kind, KV_EVENT_DELETE);
    assert_int_equal(events.items[0].prev.lease, 3);
    kv_events_fini(&events);
    kv_watch_close(w);
}

static void a_long_story_is_told_in_whole_revisions(void **state)
{
    struct fixture *f = *state;
    struct kv_watch *w;
    struct kv_events events;
    int64_t next = 2, seen = 0;
    char key[32];

    f->kv = kv(f);
    for (int i = 0; i < 600; i++) {
        (void)snprintf(key, sizeof key, "k%03d", i);
        assert_int_equal(kv_put(f->kv, key, kv_text("v"), NULL, &f->e), 0);
    }
    assert_int_equal(kv_delete(f->kv, (struct kv_span){"k", ""}, NULL, &f->e), 0);
    assert_int_equal(kv_watch_open(f->kv, (struct kv_span){"k", ""}, 2, &w, &f->e), 0);
    while (kv_watch_next(w, 0, &events, &f->e) == 0 && events.n > 0) {
        assert_true(events.items[0].item.mod_revision == next);
        next = events.items[events.n - 1].item.mod_revision + 1;
        assert_int_equal(events.revision, next - 1);
        seen += (int64_t)events.n;
        kv_events_fini(&events);
    }
    assert_int_equal(seen, 1200);
    assert_int_equal(next, 603);
    kv_watch_close(w);
}

static int look_back(struct fixture *f, int64_t from)
{
    struct kv_events events = {0};
    struct kv_watch *w = NULL;
    int r = kv_watch_open(f->kv, kv_key("a"), from, &w, NULL);

    if (r == 0) {
        r = kv_watch_next(w, 0, &events, NULL);
    }
    kv_events_fini(&events);
    kv_watch_close(w);
    return r;
}

/* A transaction, a watch and a lease, each of which may fail for memory. */
static int everything(struct fixture *f, int64_t from)
{
    struct kv_op ops[3] = {kv_op_put("a", kv_text("2")), kv_op_delete(kv_key("b")),
                           kv_op_range((struct kv_span){"a", ""}, 0)};
    struct kv_result result = {0};
    struct kv_lease lease;
    int r;

    ops[0].prev = ops[1].prev = true;
    r = kv_txn(f->kv, &(struct kv_txn){.then_ops = ops, .n_then = 3}, &result, NULL);
    kv_result_fini(&result);
    if (r == 0) {
        r = look_back(f, from);
    }
    if (r == 0) {
        r = kv_lease_grant(f->kv, 0, 10, &lease, NULL);
    }
    return r == 0 ? kv_lease_revoke(f->kv, lease.id, NULL) : r;
}

static int64_t mod_revision(struct fixture *f, const char *key)
{
    struct kv_item item;
    int64_t revision;

    assert_int_equal(kv_get(kv(f), key, &item, &f->e), 0);
    revision = item.mod_revision;
    kv_item_fini(&item);
    return revision;
}

static void failing_memory_leaves_the_store_as_it_was(void **state)
{
    struct fixture *f = *state;
    int64_t before;
    int r = -ENOMEM;

    for (long n = 0; r != 0; n++) {
        assert_true(n < 200);
        put(f, "a", "1");
        before = put(f, "b", "1");
        fault_fail_alloc_at(n);
        r = everything(f, before - 1);
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM);
        expect_keys(f, (struct kv_span){"a", ""},
                    mod_revision(f, "a") > before ? "a " : "a b ");
    }
}

static void opening_survives_failing_memory(void **state)
{
    struct fixture *f = *state;
    int r = -ENOMEM;

    kv_close(f->kv);
    f->kv = NULL;
    for (long n = 0; r != 0 && n < 20; n++) {
        fault_fail_alloc_at(n);
        r = open_store(f);
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM);
        err_clear(&f->e);
    }
    assert_int_equal(r, 0);
}

#define PROMISE(name) cmocka_unit_test_setup_teardown(name, begin_next, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROMISE(an_empty_store_is_at_revision_1),
        PROMISE(each_change_counts_one_revision),
        PROMISE(a_record_knows_its_revisions_and_version),
        PROMISE(values_are_any_bytes),
        PROMISE(ranges_are_half_open_and_ordered_by_bytes),
        PROMISE(a_limit_cuts_the_list_but_not_the_count),
        PROMISE(put_if_answers_what_was_in_the_way),
        PROMISE(comparisons_hold_as_in_etcd),
        PROMISE(a_transaction_is_one_revision_and_reads_its_own_writes),
        PROMISE(the_else_list_runs_when_a_comparison_fails),
        PROMISE(a_failing_operation_undoes_the_whole_transaction),
        PROMISE(wrong_questions_are_refused),
        PROMISE(old_revisions_stay_readable_until_compaction),
        PROMISE(history_is_bounded),
        PROMISE(leases_take_their_records_with_them),
        PROMISE(a_revoked_lease_is_gone_with_its_records),
        PROMISE(a_lease_older_than_the_clock_gets_its_time_again),
        PROMISE(a_watch_tells_every_change_once_in_order),
        PROMISE(a_watch_may_begin_in_the_past_until_compaction),
        PROMISE(a_watch_tells_the_end_of_a_lease),
        PROMISE(a_long_story_is_told_in_whole_revisions),
        PROMISE(failing_memory_leaves_the_store_as_it_was),
        PROMISE(opening_survives_failing_memory),
    };
    int failed = 0;

    for (current = 0; current < IMPLEMENTER_COUNT; current++) {
        failed += cmocka_run_group_tests_name(names[current], tests, NULL, NULL);
    }
    return failed;
}
