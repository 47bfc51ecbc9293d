/* err_test.c - the error record. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "tests/base/check.h"

static void set_fills_the_record_and_returns_the_code(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(err_set(&e, -EINVAL, "cannot open '%s'", "a"), -EINVAL);
    assert_int_equal(e.code, -EINVAL);
    assert_string_equal(e.text, "cannot open 'a'");
}

static void the_first_failure_wins(void **state)
{
    struct err e = {0};

    (void)state;
    err_set(&e, -EINVAL, "first");
    assert_int_equal(err_set(&e, -EIO, "second"), -EIO);
    assert_int_equal(err_sys(&e, -EPERM, "third"), -EPERM);
    assert_int_equal(e.code, -EINVAL);
    assert_string_equal(e.text, "first");
}

static void sys_names_the_errno(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(err_sys(&e, -ENOENT, "cannot open '%s'", "b"), -ENOENT);
    assert_string_equal(e.text, "cannot open 'b': No such file or directory");
}

static void wrap_puts_context_in_front(void **state)
{
    struct err e = {0};

    (void)state;
    err_set(&e, -EBUSY, "in use");
    assert_int_equal(err_wrap(&e, "cannot start guest '%s'", "web"), -EBUSY);
    assert_int_equal(err_wrap(&e, "cannot run"), -EBUSY);
    assert_string_equal(e.text, "cannot run: cannot start guest 'web': in use");
}

static void a_missing_record_is_fine(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_sys(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_wrap(NULL, "x"), 0);
    err_clear(NULL);
}

static void clear_makes_room_for_the_next(void **state)
{
    struct err e = {0};

    (void)state;
    err_set(&e, -EIO, "old");
    err_clear(&e);
    assert_int_equal(e.code, 0);
    assert_string_equal(e.text, "");
    err_set(&e, -EPERM, "new");
    assert_string_equal(e.text, "new");
}

static void long_texts_are_cut_and_terminated(void **state)
{
    char *text = malloc(4 * ERR_TEXT_BYTES);
    struct err e = {0};

    (void)state;
    assert_non_null(text);
    memset(text, 'x', 4 * ERR_TEXT_BYTES - 1);
    text[4 * ERR_TEXT_BYTES - 1] = '\0';
    err_sys(&e, -EIO, "%s", text);
    assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
    err_wrap(&e, "%s", text);
    assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
    assert_int_equal(e.code, -EIO);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_the_record_and_returns_the_code),
        cmocka_unit_test(the_first_failure_wins),
        cmocka_unit_test(sys_names_the_errno),
        cmocka_unit_test(wrap_puts_context_in_front),
        cmocka_unit_test(a_missing_record_is_fine),
        cmocka_unit_test(clear_makes_room_for_the_next),
        cmocka_unit_test(long_texts_are_cut_and_terminated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
