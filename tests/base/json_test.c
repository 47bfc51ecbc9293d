/* json_test.c - typed reading of JSON objects. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "tests/base/check.h"

static const char sample[] =
    "{\"name\": \"web\", \"n\": -3, \"big\": 9223372036854775807, \"on\": true,"
    " \"none\": null, \"list\": [1], \"obj\": {}, \"half\": 0.5}";

static json_t *parse(const char *text)
{
    struct err e = {0};
    json_t *j = NULL;

    if (json_parse(text, strlen(text), "sample", &j, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return j;
}

static void members_of_the_right_type_are_read(void **state)
{
    SCOPED(scope_json) json_t *j = parse(sample);
    const char *name = NULL;
    int64_t n = 0;
    uint64_t big = 0;
    bool on = false;
    json_t *list = NULL;
    json_t *obj = NULL;

    (void)state;
    assert_int_equal(json_want_str(j, "", "name", &name, NULL), 0);
    assert_string_equal(name, "web");
    assert_int_equal(json_opt_i64(j, "", "n", &n, NULL), 0);
    assert_int_equal(n, -3);
    assert_int_equal(json_opt_u64(j, "", "big", &big, NULL), 0);
    assert_true(big == INT64_MAX);
    assert_int_equal(json_opt_bool(j, "", "on", &on, NULL), 0);
    assert_true(on);
    assert_int_equal(json_opt_array(j, "", "list", &list, NULL), 0);
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_opt_object(j, "", "obj", &obj, NULL), 0);
    assert_true(json_is_object(obj));
}

static void missing_and_null_members_keep_the_output(void **state)
{
    static const char *const keys[] = {"absent", "none"};
    SCOPED(scope_json) json_t *j = parse(sample);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *text = "old";
        int64_t n = 7;
        uint64_t u = 8;
        bool on = true;
        json_t *sub = j;

        assert_int_equal(json_opt_str(j, "", keys[i], &text, NULL), 0);
        assert_int_equal(json_opt_i64(j, "", keys[i], &n, NULL), 0);
        assert_int_equal(json_opt_u64(j, "", keys[i], &u, NULL), 0);
        assert_int_equal(json_opt_bool(j, "", keys[i], &on, NULL), 0);
        assert_int_equal(json_opt_object(j, "", keys[i], &sub, NULL), 0);
        assert_int_equal(json_opt_array(j, "", keys[i], &sub, NULL), 0);
        assert_string_equal(text, "old");
        assert_true(n == 7 && u == 8 && on && sub == j);
    }
}

static void a_wanted_member_must_be_there(void **state)
{
    SCOPED(scope_json) json_t *j = parse(sample);
    struct err e = {0};
    const char *text = "old";

    (void)state;
    assert_int_equal(json_want_str(j, "process", "cwd", &text, &e), -EINVAL);
    assert_string_equal(e.text, "'process.cwd' is missing");
    assert_string_equal(text, "old");
}

/* Every reader refuses `key` and names it by its path. */
static void refuse(int r, struct err *e, const char *text)
{
    assert_int_equal(r, -EINVAL);
    assert_string_equal(e->text, text);
    err_clear(e);
}

static void wrong_types_are_named_with_their_path(void **state)
{
    SCOPED(scope_json) json_t *j = parse(sample);
    struct err e = {0};
    const char *text = NULL;
    int64_t n = 0;
    uint64_t u = 0;
    bool on = false;
    json_t *sub = NULL;

    (void)state;
    refuse(json_opt_str(j, "a[0]", "n", &text, &e), &e, "'a[0].n' is not a string");
    refuse(json_opt_i64(j, "", "half", &n, &e), &e, "'half' is not an integer");
    refuse(json_opt_u64(j, "", "n", &u, &e), &e, "'n' is not a number from 0 up");
    refuse(json_opt_u64(j, "", "name", &u, &e), &e, "'name' is not an integer");
    refuse(json_opt_bool(j, "", "n", &on, &e), &e, "'n' is not true or false");
    refuse(json_opt_object(j, "", "list", &sub, &e), &e, "'list' is not an object");
    refuse(json_opt_array(j, "", "obj", &sub, &e), &e, "'obj' is not an array");
}

static void broken_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "{\"a\": 1, \"a\": 2}",
        "{} x",
        "\"text\"x",
        "{\"a\": 99999999999999999999}",
        "{\"a\": \"\\ud800\"}",
        "{\"a\": \"\\u0000\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct err e = {0};
        json_t *j = NULL;

        assert_int_equal(json_parse(texts[i], strlen(texts[i]), "config.json", &j, &e),
                         -EINVAL);
        assert_null(j);
        assert_non_null(strstr(e.text, "cannot read config.json: line "));
    }
}

static void deep_nesting_is_refused(void **state)
{
    char text[20000];
    json_t *j = NULL;

    (void)state;
    memset(text, '[', sizeof text);
    assert_int_equal(json_parse(text, sizeof text, "deep", &j, NULL), -EINVAL);
    assert_null(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_of_the_right_type_are_read),
        cmocka_unit_test(missing_and_null_members_keep_the_output),
        cmocka_unit_test(a_wanted_member_must_be_there),
        cmocka_unit_test(wrong_types_are_named_with_their_path),
        cmocka_unit_test(broken_texts_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
