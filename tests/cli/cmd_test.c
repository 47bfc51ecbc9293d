/* cmd_test.c - what each command asks of the host, prints, and returns. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "tests/base/check.h"
#include "tests/cli/fake_node.h"

#define MAX_WORDS  24
#define TEXT_BYTES (1 << 20)

static char out[TEXT_BYTES], err[TEXT_BYTES];

static void read_back(FILE *f, char *text)
{
    rewind(f);
    text[fread(text, 1, TEXT_BYTES - 1, f)] = 0;
    (void)fclose(f);
}

/* Run "strata WORDS..." with its output in `out` and `err`; the exit code. */
static int strata(const char *const *words)
{
    char *argv[MAX_WORDS] = {(char *)(uintptr_t) "strata"};
    FILE *files[] = {tmpfile(), tmpfile()};
    int saved[] = {dup(1), dup(2)};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    str_fini(&fake.calls);
    str_fini(&fake.refused);
    (void)fflush(NULL);
    (void)dup2(fileno(files[0]), 1);
    (void)dup2(fileno(files[1]), 2);
    int code = cli_main(argc, argv, "/usr/bin/strata", "/usr/libexec/strata");
    (void)fflush(NULL);
    for (int i = 0; i < 2; i++) {
        (void)dup2(saved[i], i + 1);
        (void)close(saved[i]);
    }
    read_back(files[0], out);
    read_back(files[1], err);
    return code;
}

#define STRATA(...) strata((const char *const[]){__VA_ARGS__, NULL})

static int reset(void **state)
{
    (void)state;
    str_fini(&fake.calls);
    str_fini(&fake.refused);
    fake = (struct fake_node){0};
    return 0;
}

static void run_shows_the_guest_and_returns_its_code(void **state)
{
    (void)state;
    fake.out = "hello\n";
    fake.code = 7;
    assert_int_equal(STRATA("run", "--rm", "busybox", "echo", "hello"), 7);
    assert_string_equal(out, "hello\n");
    assert_string_equal(err, "");
    assert_non_null(strstr(fake.calls.data, "\"command\":[\"echo\",\"hello\"]"));
    assert_non_null(strstr(fake.calls.data, "\"rm\":true"));
    assert_non_null(strstr(fake.calls.data, "run_end web\n"));
}

static void what_is_refused_is_recorded_with_its_object(void **state)
{
    (void)state;
    fake.fail = "web";
    assert_int_equal(STRATA("delete", "db", "web"), 1);
    assert_non_null(strstr(str_text(&fake.refused), "delete web: "));
    assert_null(strstr(str_text(&fake.refused), "delete db: "));
    assert_int_equal(STRATA("logs", "web"), 1);
    assert_non_null(strstr(str_text(&fake.refused), "logs web: "));
    assert_int_equal(STRATA("frobnicate"), 2); /* no operation: nobody was asked */
    assert_int_equal(fake.refused.len, 0);
}

static void detached_run_prints_the_identifier(void **state)
{
    (void)state;
    assert_int_equal(STRATA("run", "-d", "busybox"), 0);
    assert_string_equal(out, "0123\n");
    assert_null(strstr(fake.calls.data, "run_end"));
    assert_int_equal(STRATA("--json", "run", "-d", "busybox"), 0);
    json_t *j = json_loads(out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "name")), "web");
    json_decref(j);
}

static void limits_that_are_none_are_no_order_of_a_new_guest(void **state)
{
    (void)state;
    fake.result = "{\"id\":\"1\"}";
    assert_int_equal(STRATA("create", "--memory", "none", "busybox"), 0);
    assert_null(strstr(fake.calls.data, "memory"));
    assert_int_equal(STRATA("resize", "web", "--memory", "none"), 0);
    assert_string_equal(fake.calls.data,
                        "resize web {\"guest\":\"web\",\"memory\":-1}\n");
}

static void env_files_come_before_variables(void **state)
{
    char path[] = "/tmp/strata-env-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# comment\nA=file\n\nSTRATA_CMD_UNSET\nB=file\n";
    (void)state;
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    (void)close(fd);
    fake.result = "{\"id\":\"1\"}";
    assert_int_equal(STRATA("create", "--env-file", path, "-e", "A=word", "busybox"), 0);
    assert_non_null(
        strstr(fake.calls.data, "\"env\":[\"A=file\",\"B=file\",\"A=word\"]"));
    (void)unlink(path);
    assert_int_equal(STRATA("create", "--env-file", path, "busybox"), CLI_NOT_STARTED);
    assert_non_null(
        strstr(err, "strata: cannot read environment file '/tmp/strata-env-"));
}

static void several_guests_go_on_after_a_failure(void **state)
{
    (void)state;
    fake.fail = "b";
    assert_int_equal(STRATA("stop", "--timeout", "1s", "a", "b", "c"), CLI_FAILED);
    assert_string_equal(fake.calls.data, "stop 1000 a\nstop 1000 b\nstop 1000 c\n");
    assert_string_equal(out, "a\nc\n");
    assert_string_equal(err, "strata: cannot stop: guest 'b' does not exist\n");
    fake.fail = NULL;
    assert_int_equal(STRATA("stop", "a"), 0);
    assert_string_equal(fake.calls.data, "stop -1 a\n");
}

static void verbs_reach_the_host(void **state)
{
    (void)state;
    assert_int_equal(STRATA("kill", "-s", "TERM", "--all", "a"), 0);
    assert_string_equal(fake.calls.data, "kill 15 1 a\n");
    assert_int_equal(STRATA("delete", "-f", "a"), 0);
    assert_string_equal(fake.calls.data, "delete forced a\n");
    assert_int_equal(STRATA("pause", "a"), 0);
    assert_int_equal(STRATA("resume", "a"), 0);
    assert_int_equal(STRATA("restart", "a"), 0);
    assert_int_equal(STRATA("rename", "a", "b"), 0);
    assert_string_equal(out, "b\n");
    assert_int_equal(STRATA("cp", "a:/x", "."), 0);
    assert_string_equal(fake.calls.data, "cp a:/x\n");
    assert_int_equal(STRATA("snapshot", "delete", "a", "one", "two"), 0);
    assert_string_equal(fake.calls.data, "snapshot delete one\nsnapshot delete two\n");
}

static void objects_are_done_one_by_one(void **state)
{
    (void)state;
    assert_int_equal(STRATA("volume", "delete", "x", "y"), 0);
    assert_string_equal(out, "x\ny\n");
    assert_non_null(strstr(fake.calls.data, "\"name\":\"y\""));
    fake.result = "[{\"name\":\"n\",\"kind\":\"bridge\"}]";
    assert_int_equal(STRATA("network", "list"), 0);
    assert_string_equal(out,
                        "NAME   KIND     SUBNETS   GUESTS   INTERNAL\nn      bridge\n");
    fake.result = "{\"digest\":\"sha256:1\"}";
    assert_int_equal(STRATA("image", "build", "-t", "x", "busybox"), 0);
    assert_string_equal(
        fake.calls.data,
        "image build {\"pull\":\"missing\",\"source\":\"busybox\",\"tag\":[\"x\"]}\n");
    assert_string_equal(out, "sha256:1\n");
}

static void a_password_is_read_from_standard_input(void **state)
{
    int pair[2];
    int saved = dup(0);
    (void)state;
    assert_int_equal(pipe(pair), 0);
    assert_int_equal(write(pair[1], "secret\n", 7), 7);
    (void)close(pair[1]);
    (void)dup2(pair[0], 0);
    (void)close(pair[0]);
    assert_int_equal(STRATA("image", "login", "-u", "me", "--password-stdin", "h:5000"),
                     0);
    (void)dup2(saved, 0);
    (void)close(saved);
    assert_string_equal(fake.calls.data,
                        "image login {\"host\":\"h:5000\",\"password\":\"secret\","
                        "\"password_stdin\":true,\"user\":\"me\"}\n");
    assert_null(strstr(out, "secret"));
    assert_int_equal(STRATA("image", "login", "--remove", "h:5000"), 0);
    assert_int_equal(strncmp(fake.calls.data, "image logout {", 14), 0);
    assert_int_equal(STRATA("image", "login", "--password-stdin", "h:5000"), CLI_FAILED);
    assert_string_equal(err, "strata: cannot log in: --password-stdin needs --user\n");
}

static void logs_end_at_the_time_and_json_holds_any_byte(void **state)
{
    (void)state;
    assert_int_equal(STRATA("logs", "--until", "2026-01-02T03:04:07Z", "web"), 0);
    assert_string_equal(out, "one\nt\xffo\n");
    assert_int_equal(STRATA("--json", "logs", "web"), 0);
    assert_non_null(strstr(out, "\"t\303\277o\""));
    assert_int_equal(STRATA("logs", "--timestamps", "web"), 0);
    assert_non_null(strstr(out, "2026-01-02T03:04:05Z one\n"));
}

static void events_of_others_are_left_out(void **state)
{
    (void)state;
    assert_int_equal(STRATA("events", "web"), 0);
    assert_string_equal(out, "2026-01-02T03:04:05Z guest web started\n");
}

static void wait_prints_codes_and_gives_up_in_time(void **state)
{
    (void)state;
    fake.code = 5;
    assert_int_equal(STRATA("wait", "a", "b"), 0);
    assert_string_equal(out, "5\n5\n");
    fake.result = "{\"state\":\"running\"}";
    assert_int_equal(STRATA("wait", "--timeout", "1ms", "a"), CLI_FAILED);
    assert_string_equal(err, "strata: cannot wait for guest 'a': it is still running\n");
    assert_int_equal(STRATA("wait", "--for", "running", "a"), 0);
    assert_string_equal(out, "");
}

static void exec_and_start_return_the_programs_code(void **state)
{
    (void)state;
    fake.code = 4;
    fake.result = "{\"name\":\"web\",\"config\":{}}";
    assert_int_equal(STRATA("exec", "web", "false"), 4);
    assert_int_equal(STRATA("start", "--attach", "web"), 4);
    assert_int_equal(STRATA("console", "--no-input", "web"), 4);
    assert_int_equal(STRATA("start", "--attach", "a", "b"), CLI_USAGE);
    fake.fail = "web";
    assert_int_equal(STRATA("exec", "web", "false"), CLI_NOT_STARTED);
}

static void doctor_tells_by_its_code_that_something_is_missing(void **state)
{
    (void)state;
    fake.result = "[{\"check\":\"a\",\"result\":\"ok\"}]";
    assert_int_equal(STRATA("doctor"), 0);
    fake.result = "[{\"check\":\"a\",\"result\":\"missing\"}]";
    assert_int_equal(STRATA("doctor"), CLI_DOCTOR_FINDS);
}

static void oci_words_are_passed_untouched(void **state)
{
    (void)state;
    assert_int_equal(STRATA("oci", "--root", "/r", "--help", "state"), 42);
    assert_string_equal(fake.calls.data, "oci --root /r --help state ");
}

static void usage_is_code_two_and_one_line(void **state)
{
    (void)state;
    assert_int_equal(STRATA("rum"), CLI_USAGE);
    assert_string_equal(
        err, "strata: cannot find command 'rum': did you mean 'strata run'?\n");
    assert_string_equal(out, "");
    assert_int_equal(STRATA("image"), CLI_USAGE);
    assert_non_null(strstr(err, "Usage: strata image COMMAND"));
    assert_int_equal(STRATA("help", "image", "biuld"), CLI_USAGE);
    assert_non_null(strstr(err, "did you mean 'strata image build'?"));
}

static void an_image_is_wanted_of_all_but_machines(void **state)
{
    (void)state;
    assert_int_equal(STRATA("run"), 2);
    assert_string_equal(
        err, "strata: cannot run: IMAGE is missing (see 'strata run --help')\n");
    assert_int_equal(STRATA("create", "--name", "web"), 2);
    assert_non_null(strstr(err, "cannot create: IMAGE is missing"));
    assert_null(fake.calls.data);
    assert_int_equal(STRATA("create", "--as", "machine", "--kernel", "k"), 0);
    assert_non_null(strstr(fake.calls.data, "\"as\":\"machine\""));
    assert_non_null(strstr(fake.calls.data, "\"kernel\":\"k\""));
}

static void help_version_and_completion_need_no_host(void **state)
{
    (void)state;
    assert_int_equal(STRATA("--help"), 0);
    assert_non_null(strstr(out, "Usage: strata"));
    assert_int_equal(STRATA("run", "--help"), 0);
    assert_non_null(strstr(out, "--memory SIZE"));
    assert_int_equal(STRATA("help", "run"), 0);
    assert_int_equal(STRATA("--version"), 0);
    assert_int_equal(strncmp(out, "strata ", 7), 0);
    assert_int_equal(STRATA("version", "--json"), 0);
    assert_int_equal(STRATA("completion", "bash"), 0);
    assert_non_null(strstr(out, "complete "));
    assert_int_equal(STRATA("system", "autostart", "--unit"), 0);
    assert_non_null(strstr(out, "ExecStart=/usr/bin/strata system autostart"));
    assert_null(fake.calls.data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_refused_is_recorded_with_its_object),
        TEST(run_shows_the_guest_and_returns_its_code),
        TEST(detached_run_prints_the_identifier),
        TEST(limits_that_are_none_are_no_order_of_a_new_guest),
        TEST(env_files_come_before_variables),
        TEST(several_guests_go_on_after_a_failure),
        TEST(verbs_reach_the_host),
        TEST(objects_are_done_one_by_one),
        TEST(a_password_is_read_from_standard_input),
        TEST(logs_end_at_the_time_and_json_holds_any_byte),
        TEST(events_of_others_are_left_out),
        TEST(wait_prints_codes_and_gives_up_in_time),
        TEST(exec_and_start_return_the_programs_code),
        TEST(doctor_tells_by_its_code_that_something_is_missing),
        TEST(oci_words_are_passed_untouched),
        TEST(usage_is_code_two_and_one_line),
        TEST(an_image_is_wanted_of_all_but_machines),
        TEST(help_version_and_completion_need_no_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
