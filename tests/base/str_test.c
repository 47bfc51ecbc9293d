/* str_test.c - growing strings and lists of strings. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "tests/base/check.h"

static void an_empty_string_reads_as_empty_text(void **state)
{
    struct str s = {0};
    char *taken = str_take(&s);

    (void)state;
    assert_string_equal(str_text(&s), "");
    assert_string_equal(taken, "");
    free(taken);
    str_fini(&s);
}

static void additions_join_in_order(void **state)
{
    struct str s = {0};

    (void)state;
    str_add(&s, "one ");
    str_add_bytes(&s, "two\0three", 9);
    str_addf(&s, " %d-%s", 4, "five");
    assert_int_equal(s.len, 20);
    assert_memory_equal(str_text(&s), "one two\0three 4-five", 21);
    assert_false(str_failed(&s));
    str_fini(&s);
}

static void growth_keeps_what_was_added(void **state)
{
    struct str s = {0};

    (void)state;
    for (int i = 0; i < 10000; i++) {
        str_addf(&s, "%04d", i);
    }
    assert_int_equal(s.len, 40000);
    for (int i = 0; i < 10000; i++) {
        char want[5];

        assert_int_equal(str_print(want, sizeof want, "%04d", i), 0);
        assert_memory_equal(str_text(&s) + 4 * i, want, 4);
    }
    str_fini(&s);
}

static void take_hands_over_and_empties(void **state)
{
    struct str s = {0};
    char *text;

    (void)state;
    str_add(&s, "mine");
    text = str_take(&s);
    assert_string_equal(text, "mine");
    assert_string_equal(str_text(&s), "");
    str_add(&s, "again");
    assert_string_equal(str_text(&s), "again");
    assert_string_equal(text, "mine");
    free(text);
    str_fini(&s);
}

static void a_sum_that_wraps_is_a_failure(void **state)
{
    struct str s = {0};

    (void)state;
    str_add(&s, "abc");
    str_add_bytes(&s, "x", SIZE_MAX - 1);
    assert_true(str_failed(&s));
    assert_null(str_take(&s));
}

static int build_string(void *arg)
{
    struct str s = {0};
    SCOPED(scope_free) char *text = NULL;

    (void)arg;
    for (int i = 0; i < 100; i++) {
        str_addf(&s, "%d,", i);
    }
    text = str_take(&s);
    if (text == NULL) {
        return -ENOMEM;
    }
    assert_int_equal(strlen(text), 290);
    return 0;
}

static void each_failed_allocation_of_a_string_is_told_at_the_end(void **state)
{
    (void)state;
    assert_true(check_each_allocation(build_string, NULL, -ENOMEM) >= 3);
}

static int build_list(void *arg)
{
    struct strv v = {0};
    int r = 0;

    (void)arg;
    for (int i = 0; i < 40; i++) {
        strv_addf(&v, "item %d", i);
    }
    strv_add(&v, "last");
    if (strv_failed(&v)) {
        r = -ENOMEM;
    } else {
        assert_int_equal(v.n, 41);
        assert_string_equal(v.items[40], "last");
        assert_null(v.items[41]);
    }
    strv_fini(&v);
    return r;
}

static void each_failed_allocation_of_a_list_is_told_at_the_end(void **state)
{
    (void)state;
    assert_true(check_each_allocation(build_list, NULL, -ENOMEM) >= 41);
}

static void a_list_finds_its_own_items_only(void **state)
{
    struct strv v = {0};

    (void)state;
    assert_false(strv_has(&v, "a"));
    strv_add(&v, "a");
    strv_take(&v, strdup("b"));
    assert_true(strv_has(&v, "a"));
    assert_true(strv_has(&v, "b"));
    assert_false(strv_has(&v, "ab"));
    assert_false(strv_has(&v, ""));
    strv_fini(&v);
    assert_int_equal(v.n, 0);
}

static void taking_null_is_a_failure(void **state)
{
    struct strv v = {0};

    (void)state;
    strv_take(&v, NULL);
    assert_true(strv_failed(&v));
    strv_add(&v, "ignored");
    assert_int_equal(v.n, 0);
    strv_fini(&v);
}

static void print_tells_when_a_buffer_is_too_small(void **state)
{
    char buf[4];

    (void)state;
    assert_int_equal(str_print(buf, sizeof buf, "%s", "abc"), 0);
    assert_string_equal(buf, "abc");
    assert_int_equal(str_print(buf, sizeof buf, "%s", "abcd"), -ENAMETOOLONG);
}

static void prefixes_and_suffixes(void **state)
{
    (void)state;
    assert_true(str_starts("sha256:ab", "sha256:"));
    assert_true(str_starts("a", ""));
    assert_false(str_starts("sha", "sha256:"));
    assert_true(str_ends("layer.tar.gz", ".gz"));
    assert_true(str_ends("a", ""));
    assert_false(str_ends("gz", ".gz"));
    assert_false(str_ends("", "x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_string_reads_as_empty_text),
        cmocka_unit_test(additions_join_in_order),
        cmocka_unit_test(growth_keeps_what_was_added),
        cmocka_unit_test(take_hands_over_and_empties),
        cmocka_unit_test(a_sum_that_wraps_is_a_failure),
        cmocka_unit_test(each_failed_allocation_of_a_string_is_told_at_the_end),
        cmocka_unit_test(each_failed_allocation_of_a_list_is_told_at_the_end),
        cmocka_unit_test(a_list_finds_its_own_items_only),
        cmocka_unit_test(taking_null_is_a_failure),
        cmocka_unit_test(print_tells_when_a_buffer_is_too_small),
        cmocka_unit_test(prefixes_and_suffixes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
