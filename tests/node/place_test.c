/* place_test.c - where the state of a user without a home lies, and that nobody else can
 * have prepared that place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/file.h"
#include "node/node.h"
#include "tests/base/check.h"

#define UID   61742U /* of nobody */
#define PLACE "/tmp/strata-61742"
#define OTHER 61743U

static int need_root(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("needs root, to become a user without a home\n");
        skip();
    }
    (void)unlink(PLACE);
    return file_remove_tree(AT_FDCWD, PLACE) == 0 || errno == ENOENT ? 0 : 0;
}

static int remove_place(void **state)
{
    (void)state;
    (void)unlink(PLACE);
    (void)file_remove_tree(AT_FDCWD, PLACE);
    return 0;
}

/* Open as that user; 0 or the positive errno. */
static int open_as_user(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct node_options o = {.program = "/x", .libexec = "/x"};
        struct node *n = NULL;
        struct err e = {0};
        int r;

        (void)umask(0);
        if (unsetenv("HOME") < 0 || unsetenv("XDG_DATA_HOME") < 0 ||
            unsetenv("XDG_RUNTIME_DIR") < 0 || setresgid(UID, UID, UID) < 0 ||
            setresuid(UID, UID, UID) < 0) {
            _exit(100);
        }
        r = node_open(&o, &n, &e);
        r = r == 0 ? node_need_places(n, &e) : r;
        node_close(n);
        _exit(-r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void without_a_home_the_place_is_the_users_alone(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(open_as_user(), 0);
    assert_int_equal(lstat(PLACE, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(st.st_uid, UID);
    assert_int_equal(access(PLACE "/guests", F_OK), 0);
    assert_int_equal(access(PLACE "/run/guests", F_OK), 0); /* not the same */
    assert_int_equal(chmod(PLACE, 0777), 0);
    assert_int_equal(open_as_user(), 0); /* once more, and closed again */
    assert_int_equal(lstat(PLACE, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
}

static void a_place_that_somebody_else_made_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(PLACE, 0777), 0);
    assert_int_equal(chmod(PLACE, 0777), 0);
    assert_int_equal(chown(PLACE, OTHER, OTHER), 0);
    assert_int_equal(open_as_user(), EPERM);
    assert_int_equal(access(PLACE "/guests", F_OK), -1);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
    char target[] = "/tmp/strata-place-XXXXXX";
    char inside[64];

    (void)state;
    assert_non_null(mkdtemp(target));
    assert_int_equal(chown(target, UID, UID), 0); /* even to a directory of ours */
    assert_int_equal(symlink(target, PLACE), 0);
    assert_int_equal(open_as_user(), EPERM);
    (void)snprintf(inside, sizeof inside, "%s/guests", target);
    assert_int_equal(access(inside, F_OK), -1);
    assert_int_equal(rmdir(target), 0);
}

/* Opened, asked what cannot be, and only then what can: a directory comes with the last. */
static void what_is_refused_makes_no_directory(void **state)
{
    char dir[] = "/tmp/strata-place-XXXXXX";
    char place[64];
    struct node_options o = {.state = place, .program = "/x", .libexec = "/x"};
    json_t *order = json_pack("{s:s, s:i}", "image", "x", "memory", 4095);
    json_t *ret = NULL;
    struct node *n = NULL;
    struct err e = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(place, sizeof place, "%s/state", dir);
    assert_int_equal(node_open(&o, &n, &e), 0);
    assert_true(node_guest_create(n, order, &ret, &e) < 0);
    assert_non_null(strstr(e.text, "--memory 4095"));
    node_refused(n, "create", "x", &e);
    err_clear(&e);
    assert_true(node_guest_resize(n, "x", order, &e) < 0);
    assert_non_null(strstr(e.text, "--memory 4095"));
    assert_int_equal(access(place, F_OK), -1);
    err_clear(&e);
    assert_int_equal(node_guest_list(n, true, NULL, &ret, &e), 0);
    assert_int_equal(json_array_size(ret), 0);
    assert_int_equal(access(place, F_OK), 0);
    json_decref(ret);
    json_decref(order);
    node_close(n);
    assert_int_equal(file_remove_tree(AT_FDCWD, dir), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, need_root, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_a_home_the_place_is_the_users_alone),
        T(a_place_that_somebody_else_made_is_refused),
        T(a_link_in_its_place_is_not_followed),
        cmocka_unit_test(what_is_refused_makes_no_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
