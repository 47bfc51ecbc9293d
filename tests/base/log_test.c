/* log_test.c - lines reach the sink with their object in front. */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "tests/base/check.h"

struct seen {
    int n;
    enum log_level level;
    char line[2048];
};

static void keep(void *arg, enum log_level level, const char *line)
{
    struct seen *s = arg;

    s->n += 1;
    s->level = level;
    (void)str_print(s->line, sizeof s->line, "%s", line);
}

static void a_line_begins_with_its_object(void **state)
{
    struct seen s = {0};
    struct log ctx = {"container web1", keep, &s, LOG_LEVEL_DEBUG};

    (void)state;
    log_warn(&ctx, "disk %s: %d left", "root", 3);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.level, LOG_LEVEL_WARN);
    assert_string_equal(s.line, "container web1: disk root: 3 left");
    ctx.name = NULL;
    log_error(&ctx, "plain");
    assert_string_equal(s.line, "plain");
}

static void lines_above_the_level_are_dropped(void **state)
{
    struct seen s = {0};
    struct log ctx = {"x", keep, &s, LOG_LEVEL_WARN};

    (void)state;
    log_info(&ctx, "no");
    log_debug(&ctx, "no");
    assert_int_equal(s.n, 0);
    log_warn(&ctx, "yes");
    log_error(&ctx, "yes");
    assert_int_equal(s.n, 2);
}

static void without_a_sink_nothing_happens(void **state)
{
    struct log ctx = {"x", NULL, NULL, LOG_LEVEL_DEBUG};

    (void)state;
    log_error(&ctx, "dropped");
    log_error(NULL, "dropped");
}

static void long_lines_and_names_are_cut(void **state)
{
    char text[4000];
    struct seen s = {0};
    struct log ctx = {text, keep, &s, LOG_LEVEL_DEBUG};

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_info(&ctx, "%s", text);
    assert_int_equal(s.n, 1);
    assert_int_equal(strlen(s.line), 1023);
    ctx.name = "short";
    log_info(&ctx, "%s", text);
    assert_memory_equal(s.line, "short: xxx", 10);
    assert_int_equal(strlen(s.line), 1023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_begins_with_its_object),
        cmocka_unit_test(lines_above_the_level_are_dropped),
        cmocka_unit_test(without_a_sink_nothing_happens),
        cmocka_unit_test(long_lines_and_names_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
