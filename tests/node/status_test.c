/* status_test.c - what a guest is doing, told from its lock and what its keeper wrote. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "tests/node/fixture.h"

#define ID  "0123456789ab"
#define RUN "run/guests/" ID "/"

/* As a keeper does, from another open file: -1 to let go. */
static int hold(const struct fixture *f)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX];
    int fd;

    (void)str_print(path, sizeof path, "%s/" RUN "lock", f->dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
    return fd;
}

static struct guest_status look(const struct fixture *f)
{
    struct guest_status st;
    struct err e = {0};

    assert_int_equal(guest_status(f->n, ID, &st, &e), 0);
    return st;
}

static void without_a_file_it_was_never_started(void **state)
{
    struct guest_status st = look(*state);

    assert_int_equal(st.state, GUEST_CREATED);
    assert_false(st.ever_started || st.lost || st.unfinished);
}

static void the_lock_decides_between_running_and_lost(void **state)
{
    const struct fixture *f = *state;
    SCOPED(scope_close) int lock = -1;
    struct guest_status st;

    fixture_write(f, RUN "status", "{\"state\":\"running\",\"pid\":77,\"exit_code\":0}");
    lock = hold(f);
    st = look(f);
    assert_int_equal(st.state, GUEST_RUNNING);
    assert_int_equal(st.pid, 77);
    assert_false(st.lost || st.unfinished);
    scope_close(&lock);
    lock = -1;
    st = look(f);
    assert_int_equal(st.state, GUEST_STOPPED);
    assert_int_equal(st.exit_code, 128 + 9);
    assert_true(st.lost && st.unfinished);
}

static void a_keeper_that_died_between_two_runs_leaves_the_code_of_the_last(void **state)
{
    const struct fixture *f = *state;
    struct guest_status st;

    fixture_write(f, RUN "status", "{\"state\":\"restarting\",\"exit_code\":5}");
    st = look(f);
    assert_int_equal(st.state, GUEST_STOPPED);
    assert_int_equal(st.exit_code, 5);
    assert_true(st.lost);
}

static void the_control_socket_says_that_nobody_has_cleaned_up(void **state)
{
    const struct fixture *f = *state;
    struct guest_status st;

    fixture_write(f, RUN "status", "{\"state\":\"stopped\",\"exit_code\":3}");
    st = look(f);
    assert_false(st.lost || st.unfinished);
    assert_int_equal(st.exit_code, 3);
    fixture_write(f, RUN "control", "");
    st = look(f);
    assert_true(st.unfinished);
    assert_false(st.lost);
}

/* Older and newer keepers, and files cut off: whoever holds the lock runs. */
static void what_the_file_says_is_never_an_error(void **state)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "{}",
                                        "no json",
                                        "[1,2]",
                                        "{\"state\":7,\"pid\":\"x\"}",
                                        "{\"state\":\"dancing\",\"new\":{}}",
                                        "{\"state\":\"runn"};
    const struct fixture *f = *state;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int lock;
        struct guest_status st;

        fixture_write(f, RUN "status", texts[i]);
        lock = hold(f);
        st = look(f);
        assert_true(st.ever_started);
        assert_false(st.lost || st.unfinished);
        (void)close(lock);
        st = look(f);
        assert_false(guest_is_alive(&st));
    }
}

static void a_second_holder_is_told_so_at_once(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {.id = ID, .record = json_pack("{s:s}", "name", "web")};
    SCOPED(scope_close) int mine = -1;
    int other = -1;
    struct err e = {0};

    assert_int_equal(guest_lock(f->n, &g, 0, &mine, &e), 0);
    assert_true(guest_is_locked(f->n, ID));
    assert_int_equal(guest_lock(f->n, &g, 0, &other, &e), -EBUSY);
    assert_non_null(strstr(e.text, "'web'"));
    scope_close(&mine);
    mine = -1;
    assert_false(guest_is_locked(f->n, ID));
    guest_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_file_it_was_never_started,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(the_lock_decides_between_running_and_lost,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(
            a_keeper_that_died_between_two_runs_leaves_the_code_of_the_last,
            fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(
            the_control_socket_says_that_nobody_has_cleaned_up, fixture_begin,
            fixture_end),
        cmocka_unit_test_setup_teardown(what_the_file_says_is_never_an_error,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_second_holder_is_told_so_at_once, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
