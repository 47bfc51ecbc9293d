/* parse_test.c - words become arguments; what is wrong is said in one line. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/parse.h"
#include "tests/base/check.h"

#define MAX_WORDS 40

/* Parse a NULL-terminated list of words behind "strata". */
static int parse(struct parse *p, struct err *e, const char *const *words)
{
    char *argv[MAX_WORDS] = {(char *)(uintptr_t) "strata"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    }
    return parse_words(argc, argv, p, e);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void run_takes_all_forms_of_options(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e,
                           WORDS("--state", "/s", "run", "-it", "--name=web", "--cpus",
                                 "0.5", "-m512M", "-e", "A=1", "--env", "B=2", "-p",
                                 "8080:80", "--stop-signal", "sigint", "--json",
                                 "busybox", "sh", "-c", "echo --rm")),
                     0);
    const struct op_run *a = p.args;
    assert_int_equal(p.op, WIRE_OP_RUN);
    assert_string_equal(p.global.state, "/s");
    assert_true(p.global.json);
    assert_true(a->guest.interactive && a->guest.tty && !a->guest.rm && !a->detach);
    assert_string_equal(a->guest.name, "web");
    assert_int_equal(a->guest.limits.cpus, 500);
    assert_int_equal(a->guest.limits.memory, 512 << 20);
    assert_int_equal(a->guest.n_env, 2);
    assert_string_equal(a->guest.env[1], "B=2");
    assert_null(a->guest.env[2]);
    assert_int_equal(a->guest.stop_signal, SIGINT);
    assert_string_equal(a->guest.image, "busybox");
    assert_int_equal(a->guest.n_command, 3);
    assert_string_equal(a->guest.command[2], "echo --rm");
    parse_fini(&p);
}

static void options_may_follow_the_image_and_dashes_end_them(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(
        parse(&p, &e,
              WORDS("run", "busybox", "--name", "web", "--rm", "--", "--help", "-x")),
        0);
    const struct op_run *a = p.args;
    assert_string_equal(a->guest.name, "web");
    assert_true(a->guest.rm);
    assert_false(p.global.help);
    assert_int_equal(a->guest.n_command, 2);
    assert_string_equal(a->guest.command[0], "--help");
    parse_fini(&p);
}

static void words_of_the_guests_command_are_untouched(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e, WORDS("exec", "web", "ls", "--json", "--", "-l")), 0);
    const struct op_exec *a = p.args;
    assert_int_equal(a->n_command, 4);
    assert_string_equal(a->command[1], "--json");
    assert_string_equal(a->command[2], "--");
    assert_false(p.global.json);
    parse_fini(&p);
    assert_int_equal(
        parse(&p, &e, WORDS("oci", "--root", "/r", "--help", "--", "state", "x")), 0);
    const struct op_oci *o = p.args;
    assert_int_equal(o->n_argument, 6);
    assert_string_equal(o->argument[2], "--help");
    parse_fini(&p);
}

static void defaults_are_those_of_the_record(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e, WORDS("create", "busybox")), 0);
    const struct op_create *a = p.args;
    assert_string_equal(a->guest.restart, "no");
    assert_int_equal(a->guest.n_disk, 0); /* the node knows that none is "private" */
    assert_int_equal(a->guest.pull, PART_GUEST_PULL_MISSING);
    assert_int_equal(a->guest.stop_timeout, 10000);
    assert_int_equal(a->guest.log_size, 10 << 20);
    assert_true(a->guest.timeout == WIRE_NONE);
    assert_int_equal(a->guest.limits.memory, 0);
    assert_null(a->guest.name);
    parse_fini(&p);
}

static void none_takes_a_limit_away(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e, WORDS("resize", "web", "--memory", "none")), 0);
    const struct op_resize *a = p.args;
    assert_true(a->limits.memory == WIRE_NONE);
    assert_int_equal(a->limits.pids, 0);
    parse_fini(&p);
}

static void a_variable_without_value_is_copied_or_left_out(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(setenv("STRATA_PARSE_TEST", "here", 1), 0);
    assert_int_equal(parse(&p, &e,
                           WORDS("run", "-e", "STRATA_PARSE_TEST", "-e",
                                 "STRATA_PARSE_UNSET", "-e", "X=", "busybox")),
                     0);
    const struct op_run *a = p.args;
    assert_int_equal(a->guest.n_env, 2);
    assert_string_equal(a->guest.env[0], "STRATA_PARSE_TEST=here");
    assert_string_equal(a->guest.env[1], "X=");
    parse_fini(&p);
}

static void a_bool_may_be_written_out(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e, WORDS("list", "--running=false", "--quiet=true")), 0);
    const struct op_list *a = p.args;
    assert_false(a->running);
    assert_true(a->quiet);
    parse_fini(&p);
}

static void wrong_words_are_answered_in_one_line(void **state)
{
    static const struct {
        const char *words[6];
        const char *text;
    } rows[] = {
        {{"rum"}, "cannot find command 'rum': did you mean 'strata run'?"},
        {{"ps"}, "cannot find command 'ps': did you mean 'strata list'?"},
        {{"image", "biuld"},
         "cannot find command 'image biuld': did you mean 'strata image build'?"},
        {{"image", "rm"},
         "cannot find command 'image rm': did you mean 'strata image delete'?"},
        {{"image", "ls"},
         "cannot find command 'image ls': did you mean 'strata image list'?"},
        {{"network", "ls"},
         "cannot find command 'network ls': did you mean 'strata network list'?"},
        {{"volume", "ls"},
         "cannot find command 'volume ls': did you mean 'strata volume list'?"},
        {{"snapshot", "rm"},
         "cannot find command 'snapshot rm': did you mean 'strata snapshot delete'?"},
        {{"list", "--all"},
         "cannot find option '--all': stopped guests are shown, too; see '--running'"},
        {{"list", "-a"},
         "cannot find option '-a': stopped guests are shown, too; see '--running'"},
        {{"list", "--filter=x"},
         "cannot find option '--filter': see '--running' and '--label'"},
        {{"stats", "--no-stream"},
         "cannot find option '--no-stream': figures are shown once unless '--follow'"},
        {{"inspect", "--format", "x", "web"},
         "cannot find option '--format': see '--json'"},
        {{"run", "--replace", "busybox"},
         "cannot find option '--replace': first 'strata delete --force GUEST'"},
        {{"stop", "--time", "3", "web"},
         "cannot find option '--time': did you mean '--timeout'?"},
        {{"delete", "--all"},
         "cannot find option '--all': see 'strata delete $(strata list --quiet)'"},
        {{"pause", "--all"}, "cannot find option '--all' (see 'strata pause --help')"},
        {{"xyzzyxyzzy"}, "cannot find command 'xyzzyxyzzy' (see 'strata help')"},
        {{"run", "--memry", "1", "busybox"},
         "cannot find option '--memry': did you mean '--memory'?"},
        {{"run", "--zzzzzzzzz"},
         "cannot find option '--zzzzzzzzz' (see 'strata run --help')"},
        {{"run", "-Z", "busybox"}, "cannot find option '-Z' (see 'strata run --help')"},
        {{"--stat", "x"}, "cannot find option '--stat': did you mean '--state'?"},
        {{"stop"}, "cannot stop: GUEST is missing (see 'strata stop --help')"},
        {{"exec", "web"}, "cannot exec: COMMAND is missing (see 'strata exec --help')"},
        {{"cp", "a"}, "cannot cp: TARGET is missing (see 'strata cp --help')"},
        {{"completion"},
         "cannot do 'completion': SHELL is missing (see 'strata completion --help')"},
        {{"image", "build"},
         "cannot build image: SOURCE is missing (see 'strata image build --help')"},
        {{"pause", "a b"},
         "cannot use 'a b' as GUEST: a name has 1 to 63 of a-z A-Z 0-9 _ . - and begins with a letter or digit"},
        {{"rename", "a", "b", "c"},
         "cannot use 'c': too many arguments (see 'strata rename --help')"},
        {{"run", "--memory", "12Q", "x"},
         "cannot use '--memory 12Q': it is no size (512M, 2G)"},
        {{"run", "--memory", "0", "x"}, "cannot use '--memory 0': it is too small"},
        {{"run", "--memory"}, "cannot use '--memory': its SIZE is missing"},
        {{"run", "-m"}, "cannot use '-m': its SIZE is missing"},
        {{"run", "--cpu-weight", "10001", "x"},
         "cannot use '--cpu-weight 10001': it is too large"},
        {{"run", "--cpus", "0", "x"}, "cannot use '--cpus 0': it is too small"},
        {{"run", "--cpus", "0.0001", "x"}, "cannot use '--cpus 0.0001': it is too small"},
        {{"run", "--cpus", "18446744073709551615", "x"},
         "cannot use '--cpus 18446744073709551615': it is too large"},
        {{"run", "--cpu-weight", "none", "x"},
         "cannot use '--cpu-weight none': it is no number"},
        {{"run", "--pids", "-1", "x"}, "cannot use '--pids -1': it is no number"},
        {{"run", "--pull", "nevr", "x"},
         "cannot use '--pull nevr': did you mean 'never'?"},
        {{"run", "--pull", "perhaps", "x"},
         "cannot use '--pull perhaps': it is none of missing, always, never"},
        {{"run", "--timeout", "5 miles", "x"},
         "cannot use '--timeout 5 miles': it is no duration (10s, 5m)"},
        {{"run", "--env", "=x", "x"}, "cannot use '--env =x': it has no name (K=V)"},
        {{"run", "--label", "x", "x"}, "cannot use '--label x': it is not K=V"},
        {{"run", "--ip", "1.2.3", "x"}, "cannot use '--ip 1.2.3': it is no IP address"},
        {{"kill", "-s", "NOSUCH", "x"},
         "cannot use '--signal NOSUCH': there is no such signal (TERM, KILL, 15)"},
        {{"list", "--quiet=perhaps"},
         "cannot use '--quiet perhaps': it is neither true nor false"},
        {{"run", "two words"},
         "cannot use 'two words' as IMAGE: it is no image reference"},
        {{"completion", "bsh"}, "cannot use 'bsh' as SHELL: did you mean 'bash'?"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parse p;
        struct err e = {0};
        assert_int_equal(parse(&p, &e, rows[i].words), -EINVAL);
        assert_string_equal(e.text, rows[i].text);
        parse_fini(&p);
    }
}

static void help_asks_for_nothing_else(void **state)
{
    struct parse p;
    struct err e = {0};
    (void)state;
    assert_int_equal(parse(&p, &e, WORDS("run", "--help")), 0);
    assert_true(p.global.help);
    parse_fini(&p);
    assert_int_equal(parse(&p, &e, WORDS("image")), 0);
    assert_int_equal(p.op, WIRE_OP_COUNT);
    assert_string_equal(p.noun, "image");
    parse_fini(&p);
    assert_int_equal(parse(&p, &e, WORDS("-h")), 0);
    assert_true(p.global.help && p.noun == NULL);
    parse_fini(&p);
}

static void signals_are_known_by_all_their_names(void **state)
{
    struct parse p;
    struct err e = {0};
    static const char *const names[] = {"9", "KILL", "SIGKILL", "kill"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(parse(&p, &e, WORDS("kill", "--signal", names[i], "x")), 0);
        assert_int_equal(((const struct op_kill *)p.args)->signal, SIGKILL);
        parse_fini(&p);
    }
    assert_int_equal(parse(&p, &e, WORDS("kill", "-s", "RTMIN+2", "x")), 0);
    assert_int_equal(((const struct op_kill *)p.args)->signal, SIGRTMIN + 2);
    parse_fini(&p);
}

static int parse_once(void *arg)
{
    struct parse p;
    struct err e = {0};
    (void)arg;
    int r = parse(&p, &e, WORDS("run", "-e", "HOME", "-e", "B=2", "-l", "a=b", "x", "y"));
    parse_fini(&p);
    return r;
}

static void each_failing_allocation_is_reported(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/", 1), 0);
    assert_true(check_each_allocation(parse_once, NULL, -ENOMEM) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_takes_all_forms_of_options),
        cmocka_unit_test(options_may_follow_the_image_and_dashes_end_them),
        cmocka_unit_test(words_of_the_guests_command_are_untouched),
        cmocka_unit_test(defaults_are_those_of_the_record),
        cmocka_unit_test(none_takes_a_limit_away),
        cmocka_unit_test(a_variable_without_value_is_copied_or_left_out),
        cmocka_unit_test(a_bool_may_be_written_out),
        cmocka_unit_test(wrong_words_are_answered_in_one_line),
        cmocka_unit_test(help_asks_for_nothing_else),
        cmocka_unit_test(signals_are_known_by_all_their_names),
        cmocka_unit_test(each_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
