/* word_test.c - names, the nearest word, random identifiers. */
#include <errno.h>
#include <string.h>

#include "base/word.h"
#include "tests/base/check.h"

static void names_follow_the_rule(void **state)
{
    static const char *const good[] = {"a", "0", "web1", "Web.1_x-y", "a--", "9.9"};
    static const char *const bad[] = {"",    "-a",       ".a",  "_a", "a b", "a/b",
                                      "a\n", "\xc3\xa4", "a:b", "..", "a*"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(word_is_name(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(word_is_name(bad[i]));
    }
}

static void a_name_has_at_most_63_characters(void **state)
{
    char name[WORD_NAME_BYTES + 1];

    (void)state;
    memset(name, 'a', sizeof name);
    name[WORD_NAME_BYTES - 1] = '\0';
    assert_true(word_is_name(name));
    name[WORD_NAME_BYTES - 1] = 'a';
    name[WORD_NAME_BYTES] = '\0';
    assert_false(word_is_name(name));
}

static void a_slip_of_the_hand_finds_its_word(void **state)
{
    static const char *const words[] = {"start",    "stop",   NULL,
                                        "snapshot", "delete", "rm"};
    size_t n = sizeof words / sizeof words[0];

    (void)state;
    assert_string_equal(word_nearest("strat", words, n), "start");
    assert_string_equal(word_nearest("stp", words, n), "stop");
    assert_string_equal(word_nearest("snapshoot", words, n), "snapshot");
    assert_string_equal(word_nearest("delte", words, n), "delete");
    assert_string_equal(word_nearest("stop", words, n), "stop");
    assert_null(word_nearest("console", words, n));
    assert_null(word_nearest("xx", words, 0));
}

static void the_nearer_of_two_words_wins(void **state)
{
    static const char *const words[] = {"stap", "stops", "stop"};

    (void)state;
    assert_string_equal(word_nearest("stop", words, 3), "stop");
    assert_string_equal(word_nearest("stopz", words, 3), "stops");
}

static void long_words_are_nobodys_neighbour(void **state)
{
    char text[200];
    const char *words[] = {text, "stop"};

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_null(word_nearest(text, words, 2));
    assert_string_equal(word_nearest("stoq", words, 2), "stop");
}

static void identifiers_are_hex_and_differ(void **state)
{
    char a[33];
    char b[33];

    (void)state;
    assert_int_equal(word_random_id(a, 32), 0);
    assert_int_equal(word_random_id(b, 32), 0);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_int_equal(strlen(a), 32);
    assert_string_not_equal(a, b);
    assert_int_equal(word_random_id(a, 65), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_the_rule),
        cmocka_unit_test(a_name_has_at_most_63_characters),
        cmocka_unit_test(a_slip_of_the_hand_finds_its_word),
        cmocka_unit_test(the_nearer_of_two_words_wins),
        cmocka_unit_test(long_words_are_nobodys_neighbour),
        cmocka_unit_test(identifiers_are_hex_and_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
