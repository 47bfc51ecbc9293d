/* logs_test.c - a guest's log as its keeper writes it and as it is read, over rotations. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/keeper/private.h"
#include "tests/node/fixture.h"

#define ID   "0123456789ab"
#define LOGS "guests/" ID "/logs"

struct writer {
    struct keeper k;
    struct keeper_stream out;
};

static int open_dir(const struct fixture *f)
{
    char path[PATH_MAX];

    (void)str_print(path, sizeof path, "%s/" LOGS, f->dir);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void begin(const struct fixture *f, struct writer *w, uint64_t bytes,
                  uint64_t count)
{
    memset(w, 0, sizeof *w);
    fixture_write(f, LOGS "/log", "");
    w->k.c.log_dir = open_dir(f);
    w->k.c.log = openat(w->k.c.log_dir, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
    w->k.c.log_bytes = bytes;
    w->k.c.log_count = count;
    w->out.name = "stdout";
    assert_true(w->k.c.log >= 0);
}

static void end(struct writer *w)
{
    (void)close(w->k.c.log);
    (void)close(w->k.c.log_dir);
}

static void say(struct writer *w, const char *text)
{
    keeper_log_bytes(&w->k, &w->out, text, strlen(text));
}

static int take(void *arg, const struct node_log_line *line)
{
    struct str *s = arg;

    str_add_bytes(s, line->text, line->len);
    str_add(s, line->partial ? "+" : "\n");
    return 0;
}

static void put_guest(const struct fixture *f)
{
    fixture_put_guest(
        f, ID, "{\"id\":\"" ID "\",\"name\":\"web\",\"network\":{\"driver\":\"none\"}}");
}

static void is_read(const struct fixture *f, int64_t tail, const char *want)
{
    struct str s = {0};
    const struct node_log_query q = {.tail = tail, .fn = take, .arg = &s};
    struct err e = {0};

    if (node_guest_logs(f->n, ID, &q, &e) < 0) {
        fail_msg("%s", e.text);
    }
    assert_string_equal(str_text(&s), want);
    str_fini(&s);
}

static void lines_come_back_as_they_were_said(void **state)
{
    const struct fixture *f = *state;
    struct writer w;

    put_guest(f);
    begin(f, &w, 0, 3);
    say(&w, "one\ntwo");
    say(&w, " and more\n\n");
    say(&w, "rest");
    is_read(f, -1, "one\ntwo and more\n\n");
    keeper_log_flush(&w.k, &w.out);
    is_read(f, -1, "one\ntwo and more\n\nrest+");
    is_read(f, 2, "\nrest+");
    is_read(f, 0, "");
    end(&w);
}

static void a_long_line_is_cut_and_marked(void **state)
{
    const struct fixture *f = *state;
    char line[2 * KEEPER_LINE_BYTES + 12];
    char want[2 * KEEPER_LINE_BYTES + 16];
    struct writer w;

    put_guest(f);
    begin(f, &w, 0, 3);
    memset(line, 'x', sizeof line);
    line[sizeof line - 2] = '\n';
    line[sizeof line - 1] = '\0';
    say(&w, line);
    (void)str_print(want, sizeof want, "%.*s+%.*s+%s", KEEPER_LINE_BYTES, line,
                    KEEPER_LINE_BYTES, line, line + (size_t)2 * KEEPER_LINE_BYTES);
    is_read(f, -1, want);
    end(&w);
}

static void files_are_exchanged_by_size_and_the_oldest_goes(void **state)
{
    const struct fixture *f = *state;
    struct writer w;

    put_guest(f);
    begin(f, &w, 128, 2); /* one or two lines a file */
    for (int i = 0; i < 40; i++) {
        char line[64];

        (void)str_print(line, sizeof line,
                        "line %02d, of forty bytes and more, all in all\n", i);
        say(&w, line);
    }
    assert_int_equal(faccessat(w.k.c.log_dir, "log.2", F_OK, 0), 0);
    assert_int_equal(faccessat(w.k.c.log_dir, "log.3", F_OK, 0), -1);
    is_read(f, -1,
            "line 37, of forty bytes and more, all in all\n"
            "line 38, of forty bytes and more, all in all\n"
            "line 39, of forty bytes and more, all in all\n");
    end(&w);
}

static void more_than_a_hundred_files_are_read_in_order(void **state)
{
    const struct fixture *f = *state;
    struct writer w;
    struct str want = {0};

    put_guest(f);
    begin(f, &w, 1, 1000); /* a file for each line */
    for (int i = 0; i < 150; i++) {
        char line[16];

        (void)str_print(line, sizeof line, "line %d\n", i);
        str_add(&want, line);
        say(&w, line);
    }
    is_read(f, -1, str_text(&want));
    str_fini(&want);
    end(&w);
}

/* While one rotation is under way a file has no name, or the next number already. */
static void a_number_that_is_missing_for_a_moment_hides_nothing(void **state)
{
    const struct fixture *f = *state;

    put_guest(f);
    fixture_write(f, LOGS "/log.3", "2026-01-02T03:04:05Z stdout F a\n");
    fixture_write(f, LOGS "/log.1", "2026-01-02T03:04:05Z stdout F b\n");
    is_read(f, -1, "a\nb\n");
}

static void lines_cut_off_by_a_full_disk_are_passed_over(void **state)
{
    const struct fixture *f = *state;

    put_guest(f);
    fixture_write(f, LOGS "/log",
                  "\n \n  \nnonsense\n2026-01-02T03:04:05Z\n2026-01-02T03:04:05Z stdout\n"
                  "2026-01-02T03:04:05Z stdout F\n2026-01-02T03:04:05Z stdout F good\n"
                  "2026-01-02T03:04:05Z stdout F cut");
    is_read(f, -1, "good\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_come_back_as_they_were_said, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_marked, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(files_are_exchanged_by_size_and_the_oldest_goes,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(more_than_a_hundred_files_are_read_in_order,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(
            a_number_that_is_missing_for_a_moment_hides_nothing, fixture_begin,
            fixture_end),
        cmocka_unit_test_setup_teardown(lines_cut_off_by_a_full_disk_are_passed_over,
                                        fixture_begin, fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
