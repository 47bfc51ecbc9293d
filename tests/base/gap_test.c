/* gap_test.c - a free number is found, with few questions. */
#include <errno.h>
#include <limits.h>

#include "base/gap.h"
#include "tests/base/check.h"

struct numbers {
    unsigned below; /* these are taken */
    unsigned free;  /* and this one is not */
    unsigned above; /* but these again */
    unsigned asked;
};

static bool is_taken(void *arg, unsigned number)
{
    struct numbers *n = arg;

    n->asked += 1;
    return number != n->free && (number < n->below || number > n->above);
}

static void the_first_free_one_follows_those_that_stand_together(void **state)
{
    (void)state;
    for (unsigned below = 16; below < 3000; below++) {
        struct numbers n = {.below = below, .above = UINT_MAX};
        unsigned got = 0;

        assert_int_equal(gap_find(16, 4000, is_taken, &n, &got), 0);
        assert_int_equal(got, below);
        assert_in_range(n.asked, 1, 26);
    }
}

static void a_single_free_one_is_found_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned free = 16; free <= 600; free++) {
        struct numbers n = {.below = UINT_MAX, .free = free, .above = UINT_MAX};
        unsigned got = 0;

        assert_int_equal(gap_find(16, 600, is_taken, &n, &got), 0);
        assert_int_equal(got, free);
    }
}

static void when_all_are_taken_it_says_so(void **state)
{
    struct numbers n = {.below = UINT_MAX, .above = UINT_MAX};
    unsigned got = 7;

    (void)state;
    assert_int_equal(gap_find(1, 300, is_taken, &n, &got), -ENOSPC);
    assert_int_equal(gap_find(5, 5, is_taken, &n, &got), -ENOSPC);
    assert_int_equal(gap_find(6, 5, is_taken, &n, &got), -ENOSPC);
    assert_int_equal(gap_find(UINT_MAX - 3, UINT_MAX - 1, is_taken, &n, &got), -ENOSPC);
    assert_int_equal(got, 7);
}

static void the_ends_of_the_range_are_numbers_like_others(void **state)
{
    struct numbers none = {.below = 0, .above = UINT_MAX};
    struct numbers but_last = {.below = UINT_MAX, .above = UINT_MAX};
    unsigned got = 0;

    (void)state;
    assert_int_equal(gap_find(3, 3, is_taken, &none, &got), 0);
    assert_int_equal(got, 3);
    assert_int_equal(gap_find(UINT_MAX - 5, UINT_MAX, is_taken, &but_last, &got), 0);
    assert_int_equal(got, UINT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_free_one_follows_those_that_stand_together),
        cmocka_unit_test(a_single_free_one_is_found_wherever_it_is),
        cmocka_unit_test(when_all_are_taken_it_says_so),
        cmocka_unit_test(the_ends_of_the_range_are_numbers_like_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
