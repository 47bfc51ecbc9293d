/* lifecycle_test.c - from create to delete, and nothing left behind.
 * rows: OSL-01 OSL-10 OPS-01 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"

static const char *status(struct box *b)
{
    static char word[32];
    json_t *s = container_state(b->c);

    (void)snprintf(word, sizeof word, "%s",
                   json_string_value(json_object_get(s, "status")));
    json_decref(s);
    return word;
}

static void the_program_runs_and_its_code_comes_back(void **state)
{
    struct box *b = *state;

    assert_int_equal(box_run(b, "echo hello; exit 7"), 7);
    assert_string_equal(b->out, "hello\n");
}

static void states_follow_the_specification(void **state)
{
    struct box *b = *state;
    struct err e = {0};
    pid_t pid;

    box_must(b, box_create(b, "one", "sleep 100"));
    pid = container_pid(b->c);
    assert_string_equal(status(b), "created");
    assert_int_equal(container_delete(b->c, false, &e), -EBUSY);
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_string_equal(status(b), "running");
    err_clear(&e);
    assert_int_equal(task_start(container_task(b->c), &e), -EBUSY);
    assert_non_null(strstr(e.text, "created"));
    box_must(b, task_pause(container_task(b->c), &b->e));
    assert_string_equal(status(b), "paused");
    box_must(b, task_resume(container_task(b->c), &b->e));
    assert_string_equal(status(b), "running");
    box_must(b, task_signal(container_task(b->c), SIGKILL, false, &b->e));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_string_equal(status(b), "stopped");
    box_must(b, container_delete(b->c, false, &b->e));
}

static void an_id_is_used_once(void **state)
{
    struct box *b = *state;
    struct container *first;

    box_must(b, box_create(b, "same", "true"));
    first = b->c;
    assert_int_equal(box_create(b, "same", "true"), -EEXIST);
    assert_non_null(strstr(b->e.text, "same"));
    b->c = first;
}

static void hostile_ids_are_refused(void **state)
{
    struct box *b = *state;
    static const char *const ids[] = {"", ".", "..", "a/b", "a b", "\n", "../x"};

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_int_equal(box_create(b, ids[i], "true"), -EINVAL);
    }
}

/* Of several commands that start one container at once, one does. */
static void racing_starts_have_one_winner(void **state)
{
    struct box *b = *state;
    pid_t pids[4];
    int won = 0;

    box_must(b, box_create(b, "race", "sleep 1"));
    for (size_t i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct container *c = NULL;
            struct err e = {0};
            int r = container_open(box_path(b, "state"), "race", &c, &e);

            r = r == 0 ? task_start(container_task(c), &e) : r;
            _exit(r == 0 ? 0 : r == -EBUSY ? 1 : 2);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        int s = 0;

        assert_int_equal(waitpid(pids[i], &s, 0), pids[i]);
        assert_true(WIFEXITED(s) && WEXITSTATUS(s) < 2);
        won += WEXITSTATUS(s) == 0;
    }
    assert_int_equal(won, 1);
}

static void another_process_can_start_and_delete(void **state)
{
    struct box *b = *state;
    struct container *c = NULL;
    int s = 0;
    pid_t pid;

    box_must(b, box_create(b, "other", "sleep 100"));
    pid = fork();
    if (pid == 0) {
        struct err e = {0};
        int r = container_open(box_path(b, "state"), "other", &c, &e);

        r = r == 0 ? task_start(container_task(c), &e) : r;
        r = r == 0 ? container_delete(c, true, &e) : r;
        _exit(r == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &s, 0), pid);
    assert_int_equal(s, 0);
    assert_int_equal(container_open(box_path(b, "state"), "other", &c, &b->e), -ENOENT);
}

static void one_more_program_runs_inside(void **state)
{
    struct box *b = *state;

    box_must(b, box_create(b, "exec", "sleep 100"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(box_exec(b, "echo $PPID $$; cat /proc/1/comm; exit 5"), 5);
    assert_non_null(strstr(b->out, "sleep"));
    assert_int_equal(box_exec(b, "ls /nowhere"), 1);
    assert_true(box_exec(b, "exit 0") == 0);
}

static void exec_into_a_stopped_one_is_refused(void **state)
{
    struct box *b = *state;
    pid_t pid;

    box_must(b, box_create(b, "gone", "true"));
    pid = container_pid(b->c);
    box_must(b, task_start(container_task(b->c), &b->e));
    (void)waitpid(pid, NULL, 0);
    assert_true(box_exec(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "gone"));
}

static void a_missing_program_is_named(void **state)
{
    struct box *b = *state;
    const char *const args[] = {"no-such-thing", NULL};

    assert_int_equal(box_run_args(b, args), -ENOENT);
    assert_non_null(strstr(b->e.text, "no-such-thing"));
}

static void hooks_run_in_order_with_the_state(void **state)
{
    static const char *const kinds[] = {"prestart", "createRuntime", "createContainer",
                                        "poststart", "poststop"};
    struct box *b = *state;
    char *text = NULL;

    box_write(b, "hook",
              "#!/bin/sh\nread s\ncase \"$s\" in *'\"id\"'*) echo $1 >> $2;; esac\n");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "hooks.%s", kinds[i]);
        box_add(b, path,
                json_pack("{s:s, s:[s, s, s]}", "path", box_path(b, "hook"), "args",
                          "hook", kinds[i], box_path(b, "order")));
    }
    box_must(b, box_run(b, "true"));
    assert_int_equal(file_read(AT_FDCWD, box_path(b, "order"), 4096, &text, NULL), 0);
    assert_string_equal(
        text, "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
    free(text);
}

static void a_failing_or_slow_hook_fails_the_create(void **state)
{
    struct box *b = *state;

    box_add(b, "hooks.createRuntime", json_pack("{s:s}", "path", "/bin/false"));
    assert_true(box_run(b, "true") < 0);
    assert_non_null(strstr(b->e.text, "/bin/false"));
    box_set(b, "hooks.createRuntime",
            json_pack("[{s:s, s:[s, s], s:i}]", "path", "/bin/sleep", "args", "sleep",
                      "30", "timeout", 1));
    assert_int_equal(box_run(b, "true"), -ETIMEDOUT);
}

static int count_groups(const char *dir, const char *id, int depth)
{
    DIR *d = depth > 0 ? opendir(dir) : NULL;
    const struct dirent *entry;
    int n = 0;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        char path[512];

        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        n += strstr(entry->d_name, id) != NULL;
        n += count_groups(path, id, depth - 1);
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return n;
}

static char *mount_table(void)
{
    char *text = NULL;

    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &text, NULL),
                     0);
    return text;
}

static void delete_leaves_nothing(void **state)
{
    struct box *b = *state;
    char *before = mount_table();
    const char *id = "leaves-nothing-behind";
    char *after;
    struct stat st;
    pid_t pid;

    box_set(b, "linux.resources.pids.limit", json_integer(50));
    box_must(b, box_create(b, id, "sleep 1000 & sleep 1000 & sleep 1000"));
    pid = container_pid(b->c);
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_true(count_groups("/sys/fs/cgroup", id, 4) > 0);
    after = mount_table();
    assert_string_equal(before, after); /* not while it runs, either */
    free(after);
    box_must(b, container_delete(b->c, true, &b->e));
    assert_true(kill(pid, 0) < 0 && errno == ESRCH);
    assert_int_equal(count_groups("/sys/fs/cgroup", id, 4), 0);
    assert_true(stat(box_path(b, "state/leaves-nothing-behind"), &st) < 0);
    after = mount_table();
    assert_string_equal(before, after);
    free(after);
    free(before);
}

static void a_failed_create_leaves_nothing(void **state)
{
    struct box *b = *state;
    const char *id = "fails-to-be-made";
    struct stat st;

    box_mount(b, "/x", "bind", "/no/such/source", "bind");
    assert_true(box_create(b, id, "true") < 0);
    assert_non_null(strstr(b->e.text, "/no/such/source"));
    assert_int_equal(count_groups("/sys/fs/cgroup", id, 4), 0);
    assert_true(stat(box_path(b, "state/fails-to-be-made"), &st) < 0);
}

static void limits_change_while_it_runs(void **state)
{
    struct box *b = *state;
    json_t *r = json_pack("{s:{s:i}}", "pids", "limit", 3);

    box_must(b, box_create(b, "update", "sleep 100"));
    box_must(b, task_start(container_task(b->c), &b->e));
    assert_int_equal(box_exec(b, "true & true & true & true & wait; echo ok"), 0);
    box_must(b, container_update(b->c, r, &b->e));
    (void)box_exec(b, "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait; echo end");
    assert_non_null(strstr(b->out, "fork"));
    json_decref(r);
}

static void a_terminal_is_handed_back(void **state)
{
    struct box *b = *state;
    struct container_new n = {.root = box_path(b, "state"),
                              .id = "terminal",
                              .bundle = b->dir,
                              .config = b->config,
                              .want_master = true};
    char text[512];
    size_t len = 0;
    int master = -1;

    box_set(b, "process.terminal", json_true());
    box_set(b, "process.consoleSize", json_pack("{s:i, s:i}", "height", 33, "width", 77));
    box_set(b, "process.args",
            json_pack("[s, s, s]", "/bin/sh", "-c",
                      "[ -t 0 ] && echo is-a-terminal; busybox stty size; "
                      "busybox tty; echo on-console > /dev/console"));
    box_must(b, container_create(&n, &b->c, &master, &b->e));
    assert_true(master >= 0);
    box_must(b, task_start(container_task(b->c), &b->e));
    for (;;) {
        ssize_t got = read(master, text + len, sizeof text - 1 - len);

        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    text[len] = '\0';
    (void)close(master);
    assert_non_null(strstr(text, "is-a-terminal"));
    assert_non_null(strstr(text, "33 77"));
    assert_non_null(strstr(text, "/dev/pts/0"));
    assert_non_null(strstr(text, "on-console"));
}

static void the_user_and_limits_are_as_said(void **state)
{
    struct box *b = *state;

    box_set(b, "process.user",
            json_pack("{s:i, s:i, s:i, s:[i, i]}", "uid", 1000, "gid", 1001, "umask", 077,
                      "additionalGids", 7, 8));
    box_set(
        b, "process.rlimits",
        json_pack("[{s:s, s:i, s:i}]", "type", "RLIMIT_NOFILE", "soft", 64, "hard", 65));
    box_set(b, "process.cwd", json_string("/made/for/it"));
    box_must(
        b,
        box_run(
            b,
            "busybox grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask; ulimit -n; ulimit -Hn; pwd; "
            "busybox grep -E 'CapEff|NoNewPrivs' /proc/self/status"));
    assert_non_null(strstr(b->out, "Uid:\t1000\t1000\t1000\t1000"));
    assert_non_null(strstr(b->out, "Gid:\t1001\t1001\t1001\t1001"));
    assert_non_null(strstr(b->out, "Groups:\t7 8"));
    assert_non_null(strstr(b->out, "0077\n64\n65\n/made/for/it\n"));
    assert_non_null(strstr(b->out, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(b->out, "NoNewPrivs:\t1"));
}

/* A signal mask or an ignored signal of the caller is none of the program's. */
static void the_callers_signals_are_not_inherited(void **state)
{
    struct box *b = *state;
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &before);
    box_must(b, box_run(b, "busybox grep -E 'SigBlk|SigIgn' /proc/self/status"));
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    assert_non_null(strstr(b->out, "SigBlk:\t0000000000000000"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_begin, box_end)
    const struct CMUnitTest tests[] = {
        T(the_program_runs_and_its_code_comes_back),
        T(states_follow_the_specification),
        T(an_id_is_used_once),
        T(hostile_ids_are_refused),
        T(racing_starts_have_one_winner),
        T(another_process_can_start_and_delete),
        T(one_more_program_runs_inside),
        T(exec_into_a_stopped_one_is_refused),
        T(a_missing_program_is_named),
        T(hooks_run_in_order_with_the_state),
        T(a_failing_or_slow_hook_fails_the_create),
        T(delete_leaves_nothing),
        T(a_failed_create_leaves_nothing),
        T(limits_change_while_it_runs),
        T(a_terminal_is_handed_back),
        T(the_user_and_limits_are_as_said),
        T(the_callers_signals_are_not_inherited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
