/* Short names and mirrors, as registries.json says.  rows: OPS-11 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/registry/names.h"
#include "servers.h"
#include "tests/base/check.h"

static json_t *parse(const char *text)
{
    json_t *j = NULL;

    assert_int_equal(json_parse(text, strlen(text), "test", &j, NULL), 0);
    return j;
}

static void short_names_get_their_registry(void **state)
{
    static const char *const rows[][2] = {
        {"web", "registry.example/team/site:latest"}, /* by name */
        {"web:2", "registry.example/team/site:2"},
        {"other:1", "docker.io/library/other:1"}, /* by default */
        {"a/b", "docker.io/library/a/b:latest"},
        {"quay.example/web:3", "quay.example/web:3"}, /* has one */
    };
    SCOPED(scope_json)
    json_t *file = parse("{\"names\": {\"web\": \"registry.example/team/site\"},"
                         " \"default\": \"docker.io/library\"}");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct image_ref ref;
        char name[IMAGE_NAME_BYTES];
        struct err e = {0};

        assert_int_equal(image_ref_parse(rows[i][0], &ref, &e), 0);
        assert_int_equal(names_resolve(file, &ref, &e), 0);
        assert_int_equal(image_ref_name(&ref, name), 0);
        assert_string_equal(name, rows[i][1]);
    }
}

static void a_name_that_nobody_configured_stays_unknown(void **state)
{
    SCOPED(scope_json) json_t *file = parse("{\"names\": {\"web\": \"no-registry\"}}");
    struct image_ref ref;
    struct err e = {0};

    (void)state;
    assert_int_equal(image_ref_parse("other", &ref, &e), 0);
    assert_int_equal(names_resolve(file, &ref, &e), -ENODATA);
    assert_int_equal(names_resolve(NULL, &ref, &e), -ENODATA);
    assert_int_equal(e.code, 0);
    assert_int_equal(image_ref_parse("web", &ref, &e), 0);
    assert_int_equal(names_resolve(file, &ref, &e), -EINVAL);
    assert_non_null(strstr(e.text, "names no registry"));
}

static void mirrors_keep_path_tag_and_digest(void **state)
{
    SCOPED(scope_json)
    json_t *file =
        parse("{\"mirrors\": {\"docker.io\": [\"m.example:5000/hub\", \"bad place\"]}}");
    struct image_ref ref, there;
    char name[IMAGE_NAME_BYTES];
    struct err e = {0};

    (void)state;
    assert_int_equal(image_ref_parse("docker.io/library/x:1", &ref, &e), 0);
    assert_int_equal(names_mirror(file, 0, &ref, &there, &e), 1);
    assert_int_equal(image_ref_name(&there, name), 0);
    assert_string_equal(name, "m.example:5000/hub/library/x:1");
    assert_int_equal(names_mirror(file, 1, &ref, &there, &e), -EINVAL);
    assert_int_equal(names_mirror(file, 2, &ref, &there, &e), 0);
    assert_int_equal(image_ref_parse("quay.example/x:1", &ref, NULL), 0);
    assert_int_equal(names_mirror(file, 0, &ref, &there, NULL), 0);
}

static void damaged_files_are_refused_and_missing_ones_are_empty(void **state)
{
    static const char *const bad[] = {"[]", "{", "{\"names\": []}", "{\"default\": 1}",
                                      "{\"mirror\": {}}"};
    char dir[64], path[96];
    SCOPED(scope_free) char *found = NULL;
    json_t *file = NULL;

    (void)state;
    make_dir(dir);
    (void)snprintf(path, sizeof path, "%s/" NAMES_FILE, dir);
    assert_int_equal(names_load(NULL, &file, NULL), 0);
    assert_null(file);
    assert_int_equal(names_load(path, &file, NULL), 0);
    assert_null(file);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};

        assert_int_equal(
            file_replace(AT_FDCWD, path, bad[i], strlen(bad[i]), 0600, false), 0);
        assert_int_equal(names_load(path, &file, &e), -EINVAL);
        assert_non_null(strstr(e.text, NAMES_FILE));
        assert_null(file);
    }
    found = names_find_file(dir); /* that of the state goes first */
    assert_string_equal(found, path);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_names_get_their_registry),
        cmocka_unit_test(a_name_that_nobody_configured_stays_unknown),
        cmocka_unit_test(mirrors_keep_path_tag_and_digest),
        cmocka_unit_test(damaged_files_are_refused_and_missing_ones_are_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
