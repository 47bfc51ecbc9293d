/* config_test.c - the words between a command and a keeper, of this version and others. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "node/keeper/keeper.h"
#include "tests/base/check.h"

static int parse(struct keeper_config *c, const char *a, const char *b, struct err *e)
{
    char id[] = "id=0123";
    char dir[] = "run-dir=/run/x";
    char pid[] = "pid=7";
    char one[64];
    char two[64];
    char *words[] = {id, dir, pid, one, b != NULL ? two : NULL, NULL};

    (void)str_print(one, sizeof one, "%s", a);
    (void)str_print(two, sizeof two, "%s", b != NULL ? b : "");
    return keeper_config_parse(c, words, e);
}

static void every_word_comes_back(void **state)
{
    struct keeper_config c;
    struct keeper_config back;
    struct strv words = {0};
    struct err e = {0};

    (void)state;
    keeper_config_init(&c);
    c.id = "0123";
    c.program = "/usr/bin/strata";
    c.run_dir = "/run/x";
    c.pid = 7;
    c.events_dir = 11;
    c.viewers[0] = 12;
    c.viewers[1] = 13;
    c.n_viewers = 2;
    c.owner = true;
    c.finishes = true;
    c.restart = KEEPER_RESTART_ALWAYS;
    c.log_bytes = UINT64_C(1) << 40;
    keeper_config_words(&c, &words);
    assert_false(strv_failed(&words));
    assert_int_equal(keeper_config_parse(&back, words.items, &e), 0);
    assert_string_equal(back.id, c.id);
    assert_string_equal(back.program, c.program);
    assert_int_equal(back.pid, 7);
    assert_int_equal(back.events, -1);
    assert_int_equal(back.events_dir, 11);
    assert_int_equal(back.n_viewers, 2);
    assert_int_equal(back.viewers[1], 13);
    assert_true(back.owner);
    assert_true(back.finishes);
    assert_int_equal(back.restart, KEEPER_RESTART_ALWAYS);
    assert_int_equal(back.log_bytes, c.log_bytes);
    strv_fini(&words);
}

/* A keeper that was started before there was "events-dir" hands on "events". */
static void words_of_an_older_keeper_are_understood(void **state)
{
    struct keeper_config c;
    struct err e = {0};

    (void)state;
    assert_int_equal(parse(&c, "events=9", NULL, &e), 0);
    assert_int_equal(c.events, 9);
    assert_int_equal(c.events_dir, -1);
    assert_int_equal(c.lock, -1);
}

static void bad_words_are_named(void **state)
{
    static const char *const bad[] = {
        "",       "colour=blue",     "=1",        "log",        "log=",      "log=x",
        "log=1x", "log=99999999999", "restart=9", "restart=-1", "run-ms=-1", "viewer=x"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct keeper_config c;
        struct err e = {0};

        assert_true(parse(&c, bad[i], "log=3", &e) < 0);
        assert_non_null(strstr(e.text, bad[i]));
    }
}

static void no_more_viewers_than_there_are_places(void **state)
{
    char viewer[] = "viewer=5";
    char id[] = "id=0123";
    char dir[] = "run-dir=/run/x";
    char pid[] = "pid=7";
    char *words[KEEPER_VIEWERS_MAX + 5] = {id, dir, pid};
    struct keeper_config c;
    struct err e = {0};

    (void)state;
    for (int i = 0; i < KEEPER_VIEWERS_MAX + 1; i++) {
        words[3 + i] = viewer;
    }
    assert_int_equal(keeper_config_parse(&c, words, &e), -EINVAL);
    words[3 + KEEPER_VIEWERS_MAX] = NULL;
    assert_int_equal(keeper_config_parse(&c, words, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_comes_back),
        cmocka_unit_test(words_of_an_older_keeper_are_understood),
        cmocka_unit_test(bad_words_are_named),
        cmocka_unit_test(no_more_viewers_than_there_are_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
