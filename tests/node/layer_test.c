/* layer_test.c - transactions that are put together, and layers through the verbs of
 * volumes: constant work, long chains, nothing left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "contract/kv.h"
#include "node/record.h"
#include "node/volume/arrange.h"
#include "tests/node/fixture.h"

#define CHAIN 60 /* more than go in one transaction */

static int put(const struct fixture *f, const char *key)
{
    struct record_change c = {0};
    int r;

    record_put(&c, key, "x");
    r = record_change_do(f->n, &c, NULL);
    record_change_fini(&c);
    return r;
}

static bool is_there(const struct fixture *f, const char *key)
{
    struct kv_item item = {0};
    struct kv *kv;
    bool found;

    assert_int_equal(node_kv(f->n, &kv, NULL), 0);
    found = kv_get(kv, key, &item, NULL) == 0;
    kv_item_fini(&item);
    return found;
}

static int only(const struct fixture *f, const char *const *keys, size_t n)
{
    struct record_change c = {0};
    int r;

    record_need_only(&c, "/t/", keys, n);
    record_put(&c, "/other", "x");
    r = record_change_do(f->n, &c, NULL);
    record_change_fini(&c);
    return r;
}

static void only_the_named_keys_may_be_there(void **state)
{
    static const char *const keys[] = {"/t/b", "/t/d"};
    const struct fixture *f = *state;

    assert_int_equal(only(f, NULL, 0), 0);
    assert_int_equal(put(f, "/t/b"), 0);
    assert_int_equal(only(f, NULL, 0), -EAGAIN);
    assert_int_equal(only(f, keys, 2), 0);
    assert_int_equal(put(f, "/t/d"), 0);
    assert_int_equal(put(f, "/u"), 0);
    assert_int_equal(only(f, keys, 2), 0);
    assert_int_equal(put(f, "/t/c"), 0);
    assert_int_equal(only(f, keys, 2), -EAGAIN);
}

static void neighbours_of_a_key_are_seen(void **state)
{
    static const char *const keys[] = {"/t/b"};
    static const char *const near[] = {"/t/a", "/t/b-", "/t/ba", "/t/c", "/t/z/z"};
    const struct fixture *f = *state;

    for (size_t i = 0; i < sizeof near / sizeof near[0]; i++) {
        struct record_change c = {0};

        assert_int_equal(put(f, near[i]), 0);
        assert_int_equal(only(f, keys, 1), -EAGAIN);
        record_delete(&c, near[i]);
        assert_int_equal(record_change_do(f->n, &c, NULL), 0);
        record_change_fini(&c);
        assert_int_equal(only(f, keys, 1), 0);
    }
}

static void all_or_nothing(void **state)
{
    const struct fixture *f = *state;
    struct record_change c = {0};

    record_need(&c, "/missing");
    record_need_none(&c, "/new");
    record_put(&c, "/new", "1");
    assert_int_equal(record_change_do(f->n, &c, NULL), -EAGAIN);
    assert_false(is_there(f, "/new"));
    record_change_fini(&c);
    for (int i = 0; i <= RECORD_CHANGE_MOST; i++) {
        char key[32];

        (void)snprintf(key, sizeof key, "/many/%d", i);
        record_put(&c, key, "x");
    }
    assert_int_equal(record_change_do(f->n, &c, NULL), -E2BIG);
    assert_false(is_there(f, "/many/0"));
    record_change_fini(&c);
}

/* ---- volumes ---- */

static int ask(const struct fixture *f, const char *op, const char *order)
{
    json_t *o = json_loads(order, 0, NULL);
    json_t *result = NULL;
    struct err e = {0};
    int r = node_volume(f->n, op, o, &result, &e);

    json_decref(result);
    json_decref(o);
    return r;
}

static unsigned files(const struct fixture *f)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    unsigned n = 0;
    DIR *d;

    (void)snprintf(path, sizeof path, "%s/pool/layers", f->n->state);
    d = opendir(path);
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        n += entry->d_name[0] != '.';
    }
    (void)closedir(d);
    return n;
}

static unsigned records(const struct fixture *f, const char *prefix)
{
    struct kv_items items;
    unsigned n;

    assert_int_equal(record_items(f->n, prefix, &items, NULL), 0);
    n = (unsigned)items.n;
    kv_items_fini(&items);
    return n;
}

static void long_chains_go_in_parts(void **state)
{
    const struct fixture *f = *state;

    assert_int_equal(ask(f, "create", "{\"name\":\"d\",\"size\":1048576}"), 0);
    for (int i = 0; i < CHAIN; i++) {
        char order[64];

        (void)snprintf(order, sizeof order, "{\"name\":\"d\",\"snapshot\":\"s%d\"}", i);
        assert_int_equal(ask(f, "snapshot", order), 0);
    }
    assert_int_equal(files(f), CHAIN + 1);
    assert_int_equal(ask(f, "clone", "{\"source\":\"d@s5\",\"name\":\"c\"}"), 0);
    assert_int_equal(ask(f, "delete", "{\"name\":\"d\",\"snapshots\":true}"), 0);
    assert_int_equal(files(f), 7); /* the clone and the six that it stands on */
    assert_int_equal(records(f, "/layers/"), 7);
    assert_int_equal(ask(f, "delete", "{\"name\":\"c\"}"), 0);
    assert_int_equal(files(f), 0);
    assert_int_equal(records(f, "/"), 0);
}

static void an_allocation_that_fails_leaves_nothing(void **state)
{
    const struct fixture *f = *state;
    int r = -ENOMEM;

    assert_int_equal(ask(f, "create", "{\"name\":\"d\",\"size\":1048576}"), 0);
    for (long i = 0; r != 0; i++) {
        fault_fail_alloc_at(i);
        r = ask(f, "clone", "{\"source\":\"d\",\"name\":\"c\"}");
        fault_fail_alloc_at(-1);
        assert_true(r == 0 || r == -ENOMEM);
        assert_int_equal(files(f), records(f, "/layers/"));
        assert_true(i < 500);
    }
    assert_int_equal(ask(f, "delete", "{\"name\":\"c\"}"), 0);
    assert_int_equal(ask(f, "delete", "{\"name\":\"d\"}"), 0);
    assert_int_equal(files(f), 0);
}

/* Members change places by their room while others write beside them: pairs of copies do not. */
static void the_room_of_the_moment_makes_no_pairs(void **state)
{
    static const char *const kinds[] = {"mirror", "raid5", "raid10"};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        json_t *pool = json_pack("{s:s, s:s}", "name", "p", "redundancy", kinds[i]);
        struct pool_choice choice = {.id = {4, 2, 3, 1}, .count = 4};
        const char *how = NULL;

        assert_int_equal(arrange_choose(pool, &choice, &how, NULL), 0);
        assert_string_equal(how, kinds[i]);
        assert_int_equal(choice.count, 4);
        for (unsigned k = 0; k < 4; k++) {
            assert_int_equal(choice.id[k], k + 1);
        }
        json_decref(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_named_keys_may_be_there, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(neighbours_of_a_key_are_seen, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(all_or_nothing, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(long_chains_go_in_parts, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(an_allocation_that_fails_leaves_nothing,
                                        fixture_begin, fixture_end),
        cmocka_unit_test(the_room_of_the_moment_makes_no_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
