/* Logins on disk.  rows: SEC-05 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/registry/auth.h"
#include "servers.h"
#include "tests/base/check.h"

static void base64_is_that_of_rfc_4648(void **state)
{
    static const char *const rows[][3] = {
        {"", "", "Og=="},
        {"a", "", "YTo="},
        {"a", "b", "YTpi"},
        {"Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        {"\xff\xfe", "\xfb\xf0", "//46+/A="},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        SCOPED(scope_free) char *text = auth_encode(rows[i][0], rows[i][1]);
        SCOPED(scope_free) char *user = NULL;
        SCOPED(scope_free) char *password = NULL;

        assert_string_equal(text, rows[i][2]);
        assert_int_equal(auth_decode(text, &user, &password), 0);
        assert_string_equal(user, rows[i][0]);
        assert_string_equal(password, rows[i][1]);
    }
}

static void damaged_logins_are_refused(void **state)
{
    static const char *const bad[] = {"", "YQ==", "????", "AAAA", "Y\nQ6", "YTpi\x80"};
    char *user, *password;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(auth_decode(bad[i], &user, &password), -EINVAL);
    }
}

static void logins_of_several_hosts_live_in_one_private_file(void **state)
{
    char dir[64], path[96];
    SCOPED(scope_free) char *user = NULL;
    SCOPED(scope_free) char *password = NULL;
    char *none;
    struct err e = {0};
    struct stat st;

    (void)state;
    make_dir(dir);
    (void)snprintf(path, sizeof path, "%s/auth.json", dir);
    assert_int_equal(auth_file_get(path, "a", &none, &none, &e), -ENOENT);
    assert_int_equal(auth_file_set(path, "a:5000", "ann", "x:y", &e), 0);
    assert_int_equal(auth_file_set(path, "docker.io", "bob", "z", &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(auth_file_get(path, "a:5000", &user, &password, &e), 0);
    assert_string_equal(user, "ann");
    assert_string_equal(password, "x:y");
    assert_int_equal(auth_file_remove(path, "a:5000", &e), 0);
    assert_int_equal(auth_file_get(path, "a:5000", &none, &none, &e), -ENOENT);
    assert_int_equal(auth_file_remove(path, "a:5000", &e), -ENOENT);
    remove_dir(dir);
}

static void the_file_of_docker_is_understood(void **state)
{
    static const char text[] =
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"YTpi\"}},\"other\":1}";
    char dir[64], path[96];
    SCOPED(scope_free) char *user = NULL;
    SCOPED(scope_free) char *password = NULL;
    char *kept = NULL;
    size_t len;
    struct err e = {0};

    (void)state;
    make_dir(dir);
    (void)snprintf(path, sizeof path, "%s/config.json", dir);
    assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false), 0);
    assert_int_equal(auth_file_get(path, "docker.io", &user, &password, &e), 0);
    assert_string_equal(user, "a");
    assert_int_equal(auth_file_set(path, "b", "u", "p", &e), 0);
    assert_int_equal(file_read(AT_FDCWD, path, 10000, &kept, &len), 0);
    assert_non_null(strstr(kept, "\"other\""));
    free(kept);
    assert_int_equal(file_replace(AT_FDCWD, path, "[]", 2, 0600, false), 0);
    assert_int_equal(auth_file_get(path, "b", &user, &password, &e), -EINVAL);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(damaged_logins_are_refused),
        cmocka_unit_test(logins_of_several_hosts_live_in_one_private_file),
        cmocka_unit_test(the_file_of_docker_is_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
