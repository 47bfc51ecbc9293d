/* tool_test.c - the program `image` as `strata` calls it: progress, results, errors, its death. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/image.h"
#include "tests/base/check.h"
#include "tests/resource/image/craft.h"

static const char *program; /* of the command line */

static int run(const char *path, const char *op, const json_t *request, json_t **ret,
               struct err *e)
{
    return image_tool_run(&(struct image_tool){.program = path}, op, request, ret, e);
}

static void a_result_and_an_error_come_back(void **state)
{
    char *dir = craft_dir();
    SCOPED(scope_json) json_t *q = json_pack("{s:s,s:s}", "state", dir, "name", "none:1");
    SCOPED(scope_json) json_t *result = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(run(program, "verify", q, &result, &e), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "blobs")), 0);
    assert_int_equal(run(program, "unpack", q, &result, &e), -ENOENT);
    assert_string_equal(e.text, "image 'none:1' is not in the store");
    craft_remove(dir);
}

static void a_program_that_dies_or_is_missing_is_an_error(void **state)
{
    SCOPED(scope_json) json_t *q = json_object(), *result = NULL;
    struct err e = {0};

    (void)state;
    assert_int_equal(run("/none", "x", q, &result, &e), -ENOENT);
    assert_non_null(strstr(e.text, "'/none'"));
    assert_true(run("/bin/true", "x", q, &result, NULL) < 0);
    assert_true(run("/bin/false", "x", q, &result, NULL) < 0);
    assert_true(run("/bin/echo", "x", q, &result, NULL) < 0);
    assert_null(result);
}

/* Killed, failed or out of space at each step of a commit and an unpacking: the
 * store still verifies, and the next try works. */
static void each_step_may_fail(void **state)
{
    static const char *const how[] = {"kill", "fail", "full"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int n = 1;; n++) {
            char *dir = craft_dir();
            SCOPED(scope_free) char *upper = NULL;
            SCOPED(scope_json)
            json_t *q = NULL, *result = NULL, *verified = NULL;
            char fault[20];
            int r;

            assert_true(asprintf(&upper, "%s/upper/d", dir) > 0);
            assert_int_equal(file_make_dirs(upper, 0755), 0);
            q = json_pack("{s:s,s:s,s:s}", "state", dir, "upper", upper, "name", "x");
            (void)snprintf(fault, sizeof fault, "%s:%d", how[i], n);
            (void)setenv("STRATA_FAULT", fault, 1);
            r = run(program, "commit", q, &result, NULL);
            if (r == 0) {
                json_decref(result);
                result = NULL;
                r = run(program, "unpack", q, &result, NULL);
            }
            (void)unsetenv("STRATA_FAULT");
            assert_int_equal(run(program, "verify", q, &verified, NULL), 0);
            assert_int_equal(json_array_size(json_object_get(verified, "faults")), 0);
            if (r < 0) {
                json_decref(result);
                result = NULL;
                assert_int_equal(run(program, "commit", q, &result, NULL), 0);
                json_decref(result);
                result = NULL;
                assert_int_equal(run(program, "unpack", q, &result, NULL), 0);
            }
            craft_remove(dir);
            if (r == 0) {
                assert_true(n > 5);
                break;
            }
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_and_an_error_come_back),
        cmocka_unit_test(a_program_that_dies_or_is_missing_is_an_error),
        cmocka_unit_test(each_step_may_fail),
    };

    program = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
