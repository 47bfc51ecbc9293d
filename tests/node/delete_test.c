/* delete_test.c - the log tells that a guest is deleted once it is, and not before. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contract/kv.h"
#include "host/file.h"
#include "tests/node/fixture.h"

#define ID "0123456789ab"

static int count(void *arg, const json_t *event)
{
    const char *what = json_string_value(json_object_get(event, "event"));

    *(int *)arg += what != NULL && strcmp(what, "deleted") == 0;
    return 0;
}

static int told(const struct fixture *f)
{
    struct err e = {0};
    int n = 0;
    int r = node_events(f->n, 0, false, count, &n, &e);

    assert_true(r == 0 || r == -ENOENT);
    return n;
}

static void put(const struct fixture *f)
{
    struct kv *kv;

    assert_int_equal(node_kv(f->n, &kv, NULL), 0);
    assert_int_equal(kv_put(kv, "/names/web", kv_text(ID), NULL, NULL), 0);
    fixture_put_guest(
        f, ID, "{\"id\":\"" ID "\",\"name\":\"web\",\"network\":{},\"config\":{}}");
    fixture_write(f, "guests/" ID "/disk", "x");
}

static void what_could_not_be_removed_is_not_called_deleted(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {0};
    struct err e = {0};

    put(f);
    fixture_write(f, "guests/." ID ".gone", "a file where a directory is to go");
    assert_int_equal(guest_load(f->n, ID, &g, &e), 0);
    assert_int_equal(delete_guest(f->n, &g, &e), -ENOTDIR);
    assert_int_equal(told(f), 0);
    guest_fini(&g);
    assert_int_equal(node_guest_delete(f->n, "web", false, &e), -ENOTDIR);
    assert_int_equal(told(f), 0);
    err_clear(&e);
    assert_int_equal(guest_load(f->n, ID, &g, &e), 0); /* it is there still */
    guest_fini(&g);
}

static void a_deleted_guest_is_told_once(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {0};
    struct err e = {0};

    put(f);
    if (node_guest_delete(f->n, "web", false, &e) < 0) {
        fail_msg("%s", e.text);
    }
    assert_int_equal(told(f), 1);
    assert_int_equal(guest_load(f->n, ID, &g, NULL), -ENOENT);
    assert_int_equal(node_guest_delete(f->n, "web", false, NULL), -ENOENT);
    assert_int_equal(told(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_could_not_be_removed_is_not_called_deleted,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_deleted_guest_is_told_once, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
