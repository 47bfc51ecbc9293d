/* words_test.c - the program `volume` at work: what it answers, and how it ends without an
 * answer is said. */
#include "node/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "tests/node/fixture.h"

/* In place of the program: these lines of a shell. */
static void be(const struct fixture *f, const char *lines)
{
    char text[512];
    char path[128];

    assert_int_equal(str_print(text, sizeof text, "#!/bin/sh\n%s\n", lines), 0);
    fixture_write(f, "programs/volume", text);
    (void)str_print(path, sizeof path, "%s/programs", f->dir);
    free(f->n->libexec);
    f->n->libexec = strdup(path);
    assert_non_null(f->n->libexec);
    (void)str_print(path, sizeof path, "%s/programs/volume", f->dir);
    assert_int_equal(chmod(path, 0700), 0);
}

static int run(const struct fixture *f, struct err *e)
{
    struct words w = {.n_fds = 0};
    int r;

    *e = (struct err){0};
    words_add(&w, "word");
    r = words_run(f->n, "info", &w, NULL, NULL, e);
    words_fini(&w);
    return r;
}

static int leave(const struct fixture *f, struct err *e)
{
    struct words w = {.n_fds = 0};
    char log[128];
    int r;

    *e = (struct err){0};
    (void)str_print(log, sizeof log, "%s/log", f->dir);
    r = words_leave(f->n, "serve", &w, log, "serving=yes", e);
    words_fini(&w);
    return r;
}

static void answers_are_taken(void **state)
{
    const struct fixture *f = *state;
    struct err e;

    be(f, "echo key=value >&3; echo ok >&3");
    assert_int_equal(run(f, &e), 0);
    be(f, "echo error -28 there is no room >&3; exit 1");
    assert_int_equal(run(f, &e), -ENOSPC);
    assert_string_equal(e.text, "there is no room");
    be(f, "echo serving=yes >&3");
    assert_int_equal(leave(f, &e), 0);
    be(f, "echo error -16 it is in use >&3");
    assert_int_equal(leave(f, &e), -EBUSY);
    assert_string_equal(e.text, "it is in use");
}

static void an_end_without_an_answer_is_told(void **state)
{
    const struct fixture *f = *state;
    struct err e;

    be(f, "kill -9 $$");
    assert_int_equal(run(f, &e), -EIO);
    assert_non_null(strstr(e.text, "signal 9 (Killed)"));
    assert_int_equal(leave(f, &e), -EIO);
    assert_non_null(strstr(e.text, "signal 9 (Killed)"));
    be(f, "echo size=1 >&3; exit 7");
    assert_int_equal(run(f, &e), -EIO);
    assert_non_null(strstr(e.text, "with status 7"));
    be(f, "echo >&2; printf '==it is\\tbroken\\nmore\\n' >&2; exit 1");
    assert_int_equal(leave(f, &e), -EIO);
    assert_non_null(strstr(e.text, "with status 1 and said nothing: it is?broken"));
    assert_null(strstr(e.text, "more"));
}

static void one_that_cannot_be_started_is_told(void **state)
{
    const struct fixture *f = *state;
    struct err e;

    be(f, "exit 0");
    fixture_write(f, "programs/volume", "#!/nowhere/shell\n");
    {
        char path[128];

        (void)str_print(path, sizeof path, "%s/programs/volume", f->dir);
        assert_int_equal(chmod(path, 0700), 0);
    }
    assert_int_equal(run(f, &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot start"));
    assert_int_equal(leave(f, &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_are_taken, fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(an_end_without_an_answer_is_told, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_started_is_told, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
