/* event_test.c - the host realm's log: whole lines, one exchange, names and causes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "tests/node/fixture.h"

#define ID      "0123456789ab"
#define WRITERS 6
#define LINES   200
#define LARGE   ((8 << 20) + 1)

struct seen {
    size_t n;
    struct str words; /* "EVENT NAME\n" of each */
    json_t *last;
};

static int take(void *arg, const json_t *event)
{
    struct seen *s = arg;
    const char *name = json_string_value(json_object_get(event, "name"));

    s->n += 1;
    str_addf(&s->words, "%s %s\n", json_string_value(json_object_get(event, "event")),
             name != NULL ? name : "-");
    json_decref(s->last);
    s->last = json_deep_copy(event);
    return 0;
}

static struct seen read_events(const struct fixture *f)
{
    struct seen s = {0};
    struct err e = {0};

    assert_int_equal(node_events(f->n, 0, false, take, &s, &e), 0);
    return s;
}

static void drop(struct seen *s)
{
    str_fini(&s->words);
    json_decref(s->last);
}

static void a_line_without_a_name_gets_that_of_its_identifier(void **state)
{
    const struct fixture *f = *state;
    struct seen s;

    fixture_put_guest(f, "ffffffffffff", "{\"name\":\"stored\"}");
    fixture_write(
        f, "events.log",
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"a\",\"id\":\"" ID
        "\",\"name\":\"web\"}\n"
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"b\",\"id\":\"" ID "\"}\n"
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"c\",\"id\":\"ffffffffffff\"}\n"
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"d\",\"id\":\"eeeeeeeeeeee\"}\n");
    s = read_events(f);
    assert_string_equal(str_text(&s.words), "a web\nb web\nc stored\nd -\n");
    drop(&s);
}

static void lines_that_are_damaged_are_passed_over(void **state)
{
    const struct fixture *f = *state;
    struct seen s;

    fixture_write(f, "events.log",
                  "\n{\n[]\n7\n{\"event\":\"timeless\"}\n"
                  "{\"time\":\"soon\",\"event\":\"odd\"}\n"
                  "{\"time\":7,\"event\":\"odd\"}\n"
                  "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"good\",\"id\":[]}\n"
                  "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"cut");
    s = read_events(f);
    assert_string_equal(str_text(&s.words), "good -\n");
    drop(&s);
}

static void a_refusal_says_what_why_and_who(void **state)
{
    const struct fixture *f = *state;
    const struct err why = {.code = -EBUSY,
                            .text = "cannot delete guest 'web': it is running"};
    const struct err full = {.code = -ENOSPC, .text = "no room"};
    struct seen s;

    node_refused(f->n, "delete", "web", &why);
    s = read_events(f);
    assert_string_equal(str_text(&s.words), "refused web\n");
    assert_string_equal(json_string_value(json_object_get(s.last, "operation")),
                        "delete");
    assert_string_equal(json_string_value(json_object_get(s.last, "detail")), why.text);
    assert_int_equal(json_integer_value(json_object_get(s.last, "uid")), getuid());
    assert_int_equal(json_integer_value(json_object_get(s.last, "pid")), getpid());
    drop(&s);
    node_refused(f->n, "create", NULL, &full);
    s = read_events(f);
    assert_string_equal(str_text(&s.words), "refused web\nfailed -\n");
    drop(&s);
}

static void a_large_file_is_exchanged_once_and_still_read(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {.id = ID, .record = json_pack("{s:s}", "name", "web")};
    char path[PATH_MAX];
    struct stat st;
    struct seen s;

    fixture_write(
        f, "events.log",
        "{\"time\":\"2026-01-02T03:04:05Z\",\"event\":\"old\",\"name\":\"web\"}\n");
    (void)str_print(path, sizeof path, "%s/events.log", f->dir);
    assert_int_equal(truncate(path, LARGE), 0); /* a hole: one long damaged line */
    event_write(f->n, "one", &g, NULL);
    event_write(f->n, "two", &g, NULL);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 4096);
    (void)str_print(path, sizeof path, "%s/events.log.1", f->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, LARGE);
    s = read_events(f);
    assert_string_equal(str_text(&s.words), "old web\none web\ntwo web\n");
    drop(&s);
    guest_fini(&g);
}

static void many_writers_lose_and_mix_nothing(void **state)
{
    const struct fixture *f = *state;
    struct guest g = {.id = ID, .record = json_pack("{s:s}", "name", "web")};
    pid_t pids[WRITERS];
    struct seen s;

    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            for (int k = 0; k < LINES; k++) {
                event_write(f->n, "line", &g, "a detail of some length");
            }
            _exit(0);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    }
    s = read_events(f);
    assert_int_equal(s.n, WRITERS * LINES);
    drop(&s);
    guest_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_without_a_name_gets_that_of_its_identifier,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(lines_that_are_damaged_are_passed_over,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(a_refusal_says_what_why_and_who, fixture_begin,
                                        fixture_end),
        cmocka_unit_test_setup_teardown(a_large_file_is_exchanged_once_and_still_read,
                                        fixture_begin, fixture_end),
        cmocka_unit_test_setup_teardown(many_writers_lose_and_mix_nothing, fixture_begin,
                                        fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
