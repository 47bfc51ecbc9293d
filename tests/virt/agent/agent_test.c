/* agent_test.c - the host's side of the protocol, against sessions over socket pairs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/base/check.h"
#include "virt/agent/private.h"

struct host {
    int fd;
    pid_t agent;
    uint8_t bytes[4 * FRAME_BYTES_MOST];
    size_t n;
};

static struct host *begin(void)
{
    struct host *h = calloc(1, sizeof *h);
    int pair[2];

    assert_non_null(h);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    h->agent = fork();
    if (h->agent == 0) {
        (void)close(pair[0]);
        agent_session(pair[1], -1);
        _exit(0);
    }
    (void)close(pair[1]);
    h->fd = pair[0];
    return h;
}

static void end(struct host *h)
{
    int status = 0;

    (void)close(h->fd);
    assert_int_equal(waitpid(h->agent, &status, 0), h->agent);
    assert_int_equal(status, 0);
    free(h);
}

static void order(struct host *h, const struct frame_exec *x)
{
    uint8_t out[FRAME_BYTES_MOST];
    int n = frame_put_exec(x, out, sizeof out);

    assert_true(n > 0);
    assert_int_equal(agent_send(h->fd, FRAME_EXEC, out, (size_t)n), 0);
}

/* The next frame; the one before goes.  0: the agent has gone. */
static int next(struct host *h, struct frame *f)
{
    size_t used = 0;

    if (f->bytes != NULL) {
        (void)frame_take(h->bytes, h->n, f, &used);
        memmove(h->bytes, h->bytes + used, h->n - used);
        h->n -= used;
    }
    while (frame_take(h->bytes, h->n, f, &used) == 0) {
        ssize_t n = read(h->fd, h->bytes + h->n, sizeof h->bytes - h->n);

        if (n <= 0) {
            return 0;
        }
        h->n += (size_t)n;
    }
    return 1;
}

/* All output until the command ends; its code. */
static int32_t gather(struct host *h, char *out, char *err, size_t room)
{
    struct frame f = {0};
    int32_t code = -1;
    size_t n[2] = {0};

    while (next(h, &f) == 1 && f.type != FRAME_EXIT) {
        int i = f.type == FRAME_STDERR ? 1 : 0;
        char *to = i == 0 ? out : err;

        assert_true(f.type == FRAME_STDOUT || f.type == FRAME_STDERR);
        assert_true(n[i] + f.len < room);
        memcpy(to + n[i], f.bytes, f.len);
        n[i] += f.len;
    }
    out[n[0]] = '\0';
    err[n[1]] = '\0';
    assert_int_equal(f.type, FRAME_EXIT);
    assert_int_equal(frame_get_i32(&f, &code), 0);
    h->n = 0;
    return code;
}

static void a_command_has_its_own_everything(void **state)
{
    static const char *const argv[] = {"sh", "-c",
                                       "cat; echo \"$A-$HOME\" >&2; pwd; exit 7", NULL};
    static const char *const env[] = {"A=b c", NULL};
    const struct frame_exec x = {.workdir = "/usr", .argv = argv, .env = env};
    struct host *h = begin();
    char out[4096], err[4096];

    (void)state;
    for (int i = 0; i < 3; i++) { /* one connection, several commands */
        order(h, &x);
        assert_int_equal(agent_send(h->fd, FRAME_STDIN, "12345\n", 6), 0);
        assert_int_equal(agent_send(h->fd, FRAME_STDIN, NULL, 0), 0);
        assert_int_equal(gather(h, out, err, sizeof out), 7);
        assert_string_equal(out, "12345\n/usr\n");
        assert_non_null(strstr(err, "b c-/"));
    }
    end(h);
}

static void megabytes_pass_both_ways(void **state)
{
    static const char *const argv[] = {"cat", NULL};
    const struct frame_exec x = {.argv = argv};
    struct host *h = begin();
    struct frame f = {0};
    size_t got = 0;
    pid_t writer;

    (void)state;
    order(h, &x);
    writer = fork();
    if (writer == 0) {
        static const char piece[50000] = "x";
        int r = 0;

        for (int i = 0; r == 0 && i < 200; i++) {
            r = agent_send(h->fd, FRAME_STDIN, piece, sizeof piece);
        }
        r = r == 0 ? agent_send(h->fd, FRAME_STDIN, NULL, 0) : r;
        _exit(r == 0 ? 0 : 1);
    }
    while (next(h, &f) == 1 && f.type == FRAME_STDOUT) {
        got += f.len;
    }
    assert_int_equal(got, 200 * 50000);
    assert_int_equal(f.type, FRAME_EXIT);
    (void)waitpid(writer, NULL, 0);
    end(h);
}

static void a_terminal_has_a_size_and_hears_signals(void **state)
{
    static const char *const argv[] = {
        "sh", "-c", "tty >/dev/null && stty size; read x; stty size; kill -STOP 0", NULL};
    const struct frame_exec x = {
        .flags = FRAME_EXEC_TTY, .rows = 11, .columns = 22, .argv = argv};
    static const uint8_t size[4] = {33, 0, 44, 0}, number[4] = {SIGKILL};
    struct host *h = begin();
    char out[4096], err[4096];

    (void)state;
    order(h, &x);
    assert_int_equal(agent_send(h->fd, FRAME_RESIZE, size, sizeof size), 0);
    assert_int_equal(agent_send(h->fd, FRAME_STDIN, "\n", 1), 0);
    assert_int_equal(agent_send(h->fd, FRAME_STDIN, "\n", 1), 0);
    (void)nanosleep(&(struct timespec){0, 300000000}, NULL);
    assert_int_equal(agent_send(h->fd, FRAME_SIGNAL, number, sizeof number), 0);
    assert_int_equal(gather(h, out, err, sizeof out), 128 + SIGKILL);
    assert_non_null(strstr(out, "33 44"));
    end(h);
}

static void a_host_that_goes_ends_the_command(void **state)
{
    static const char *const argv[] = {"sleep", "1000", NULL};
    const struct frame_exec x = {.argv = argv};
    struct host *h;

    (void)state;
    (void)signal(SIGHUP, SIG_IGN); /* as under nohup: commands begin with none ignored */
    h = begin();
    order(h, &x);
    end(h); /* does not come back before the command has ended */
    (void)signal(SIGHUP, SIG_DFL);
}

static void what_cannot_be_run_has_a_code(void **state)
{
    static const char *const none[] = {"no-such-program", NULL}, *const bad[] = {
                                                                     "/etc/passwd", NULL};
    struct host *h = begin();
    char out[4096], err[4096];

    (void)state;
    order(h, &(struct frame_exec){.argv = none});
    assert_int_equal(gather(h, out, err, sizeof out), 127);
    assert_non_null(strstr(err, "no-such-program"));
    order(h, &(struct frame_exec){.argv = bad});
    assert_int_equal(gather(h, out, err, sizeof out), 126);
    order(h, &(struct frame_exec){.argv = none, .user = "nobody-of-that-name"});
    assert_int_equal(gather(h, out, err, sizeof out), 126);
    end(h);
}

static void the_rest_is_answered(void **state)
{
    struct host *h = begin();
    struct frame f = {0};
    int32_t code = -1;

    (void)state;
    assert_int_equal(agent_send(h->fd, FRAME_INFO, NULL, 0), 0);
    assert_int_equal(next(h, &f), 1);
    assert_int_equal(f.type, FRAME_DONE);
    assert_non_null(memmem(f.bytes, f.len, "kernel=", 7));
    assert_int_equal(agent_send(h->fd, FRAME_SET_CLOCK, "abc", 3), 0);
    assert_int_equal(next(h, &f), 1);
    memcpy(&code, f.bytes, sizeof code);
    assert_int_equal(code, -EPROTO);
    end(h);
}

static void nonsense_ends_the_connection(void **state)
{
    static const uint8_t bad[][8] = {{0xff, 0xff, 0xff, 0xff, 1},
                                     {0, 0, 0, 0, 99},
                                     {0, 0, 0, 0, 0},
                                     {2, 0, 0, 0, 1, 9, 9}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct host *h = begin();
        struct frame f = {0};

        assert_int_equal(send(h->fd, bad[i], 8, MSG_NOSIGNAL), 8);
        assert_int_equal(next(h, &f), 0);
        end(h);
    }
}

static void words_of_a_command_line(void **state)
{
    static const char *const words[] = {"/bin/sh", "-c", "echo \"a b\" :%= \t\xc3\xa4",
                                        "",        "x",  NULL};
    char text[256], line[512];
    char *list[8];
    struct wish w;

    (void)state;
    assert_int_equal(frame_put_words(words, text, sizeof text), 0);
    assert_null(strpbrk(text, " \t\"="));
    (void)snprintf(
        line, sizeof line,
        "quiet strata.root=disk0  strata.command=%s strata.ro x=y -- strata.agent\n",
        text);
    wish_read(line, &w);
    assert_string_equal(w.root, "disk0");
    assert_string_equal(w.type, "ext4");
    assert_true(w.read_only && !w.serves);
    assert_int_equal(frame_get_words(w.command, list, 7), 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(list[i], words[i]);
    }
    assert_int_equal(frame_put_words(words, text, 20), -E2BIG);
    assert_int_equal(frame_get_words(strcpy(text, "a:b:c"), list, 2), -E2BIG);
}

/* As Linux writes them: what happened, '@', the path below /sys. */
static void messages_of_the_kernel(void **state)
{
    (void)state;
    assert_int_equal(agent_cpu_that_came("add@/devices/system/cpu/cpu3"), 3);
    assert_int_equal(agent_cpu_that_came("add@/devices/system/cpu/cpu63"), 63);
    assert_int_equal(agent_cpu_that_came("remove@/devices/system/cpu/cpu3"), -1);
    assert_int_equal(agent_cpu_that_came("add@/devices/system/cpu/cpu3/x"), -1);
    assert_int_equal(agent_cpu_that_came("add@/devices/system/cpu/cpu"), -1);
    assert_int_equal(agent_cpu_that_came("add@/devices/system/memory/memory3"), -1);
    assert_int_equal(agent_cpu_that_came(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_has_its_own_everything),
        cmocka_unit_test(megabytes_pass_both_ways),
        cmocka_unit_test(a_terminal_has_a_size_and_hears_signals),
        cmocka_unit_test(a_host_that_goes_ends_the_command),
        cmocka_unit_test(what_cannot_be_run_has_a_code),
        cmocka_unit_test(the_rest_is_answered),
        cmocka_unit_test(nonsense_ends_the_connection),
        cmocka_unit_test(words_of_a_command_line),
        cmocka_unit_test(messages_of_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
