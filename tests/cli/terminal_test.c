/* terminal_test.c - the packets that a keeper sees and sends, over a real socket. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/terminal.h"
#include "node/keeper/keeper.h"
#include "tests/base/check.h"

/* A keeper of a few packets, in a child: runs `play` with its end and exits. */
static pid_t keeper(int pair[2], void (*play)(int fd))
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        play(pair[1]);
        _exit(0);
    }
    (void)close(pair[1]);
    return pid;
}

/* Read from `fd` until its end; NUL-terminated. */
static void drain(int fd, char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0) {
        len += (size_t)n;
    }
    out[len] = 0;
}

static void end_with(int fd, unsigned char code)
{
    const unsigned char end[] = {KEEPER_EXIT, code, 0, 0, 0};
    (void)send(fd, end, sizeof end, 0);
}

static void say_hello_and_end(int fd)
{
    (void)send(fd, "ohello", 6, 0);
    (void)send(fd, "Eoops", 5, 0);
    end_with(fd, 7);
}

static void output_is_split_and_the_code_comes_back(void **state)
{
    int pair[2], out[2], err[2], code = -1;
    char text[64];
    struct err e = {0};
    (void)state;
    assert_int_equal(pipe(out) | pipe(err), 0);
    pid_t pid = keeper(pair, say_hello_and_end);
    struct terminal t = {.in = -1, .out = out[1], .err = err[1]};
    assert_int_equal(terminal_join_keeper(&t, pair[0], &code, &e), 0);
    assert_int_equal(code, 7);
    (void)close(out[1]);
    (void)close(err[1]);
    drain(out[0], text, sizeof text);
    assert_string_equal(text, "hello");
    drain(err[0], text, sizeof text);
    assert_string_equal(text, "oops");
    (void)close(out[0]);
    (void)close(err[0]);
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
}

/* Echo input until its end; the code is the number of bytes modulo 256. */
static void echo(int fd)
{
    unsigned char packet[1 + KEEPER_PACKET_BYTES];
    ssize_t n;
    size_t sum = 0;
    while ((n = recv(fd, packet, sizeof packet, 0)) > 0 && packet[0] != KEEPER_EOF) {
        if (packet[0] == KEEPER_INPUT) {
            sum += (size_t)n - 1;
            packet[0] = KEEPER_OUT;
            (void)send(fd, packet, (size_t)n, 0);
        }
    }
    end_with(fd, (unsigned char)sum);
}

static void megabytes_are_echoed_without_blocking(void **state)
{
    enum {
        BYTES = 3 * 1024 * 1024 + 5
    };

    int pair[2], in[2], code = -1;
    char path[] = "/tmp/strata-terminal-XXXXXX";
    int out = mkstemp(path);
    struct err e = {0};
    (void)state;
    (void)unlink(path);
    pid_t pid = keeper(pair, echo);
    assert_int_equal(pipe(in), 0); /* not before: the keeper would hold its end */
    pid_t writer = fork();
    if (writer == 0) {
        char block[4096];
        memset(block, 'x', sizeof block);
        for (size_t left = BYTES; left > 0;) {
            ssize_t n = write(in[1], block, left < sizeof block ? left : sizeof block);
            left -= n > 0 ? (size_t)n : 0;
        }
        _exit(0);
    }
    (void)close(in[1]);
    struct terminal t = {.in = in[0], .out = out, .err = out, .input = true};
    assert_int_equal(terminal_join_keeper(&t, pair[0], &code, &e), 0);
    assert_int_equal(code, BYTES % 256);
    assert_int_equal(lseek(out, 0, SEEK_END), BYTES);
    (void)close(in[0]);
    (void)close(out);
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
    (void)waitpid(writer, NULL, 0);
}

static void vanish(int fd)
{
    (void)send(fd, "ohalf", 5, 0);
}

static void a_lost_keeper_is_an_error(void **state)
{
    int pair[2], out[2], code = 0;
    struct err e = {0};
    (void)state;
    assert_int_equal(pipe(out), 0);
    pid_t pid = keeper(pair, vanish);
    struct terminal t = {.in = -1, .out = out[1], .err = out[1]};
    assert_int_equal(terminal_join_keeper(&t, pair[0], &code, &e), -EPIPE);
    assert_string_equal(e.text, "cannot follow the guest: its keeper is gone");
    (void)close(out[0]);
    (void)close(out[1]);
    (void)close(pair[0]);
    (void)waitpid(pid, NULL, 0);
}

/* The first packet must be the size of the terminal, 5 rows and 70 columns. */
static void expect_size_then_input(int fd)
{
    unsigned char packet[64];
    static const unsigned char want[] = {KEEPER_RESIZE, 5, 0, 70, 0};
    ssize_t n = recv(fd, packet, sizeof packet, 0);
    bool right = n == (ssize_t)sizeof want && memcmp(packet, want, sizeof want) == 0;
    n = recv(fd, packet, sizeof packet, 0);
    right = right && n == 3 && memcmp(packet, "iab", 3) == 0;
    (void)send(fd, right ? "oyes" : "ono", right ? 4 : 3, 0);
    while (recv(fd, packet, sizeof packet, 0) > 0) {
    }
}

static void detach_keys_leave_and_the_mode_is_put_back(void **state)
{
    int pair[2], master, slave, code = 0;
    struct winsize size = {.ws_row = 5, .ws_col = 70};
    struct termios before, after;
    char text[16] = {0};
    struct err e = {0};
    (void)state;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    assert_int_equal(tcgetattr(slave, &before), 0);
    pid_t pid = keeper(pair, expect_size_then_input);
    pid_t typist = fork();
    if (typist == 0) {
        struct termios mode;
        do { /* typed only once the terminal is raw */
            (void)usleep(1000);
            (void)tcgetattr(slave, &mode);
        } while ((mode.c_lflag & ICANON) != 0);
        (void)!write(master, "ab\020\021", 4);
        _exit(0);
    }
    struct terminal t = {
        .in = slave, .out = slave, .err = slave, .raw = true, .input = true};
    assert_int_equal(terminal_parse_keys("ctrl-p,ctrl-q", &t, &e), 0);
    assert_int_equal(terminal_join_keeper(&t, pair[0], &code, &e), 0);
    assert_int_equal(code, TERMINAL_DETACHED);
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    assert_int_equal(recv(pair[0], text, sizeof text - 1, 0), 4);
    assert_string_equal(text, "oyes");
    (void)close(pair[0]);
    (void)close(master);
    (void)close(slave);
    (void)waitpid(pid, NULL, 0);
    (void)waitpid(typist, NULL, 0);
}

static void keys_are_read_from_words(void **state)
{
    static const char *const bad[] = {"ctrl-", "ctrl-1", "ab", "ctrl-p,,ctrl-q",
                                      "a,b,c,d,e,f,g,h,i"};
    struct terminal t = {0};
    struct err e = {0};
    (void)state;
    assert_int_equal(terminal_parse_keys("ctrl-a,x,ctrl-\\", &t, &e), 0);
    assert_int_equal(t.n_keys, 3);
    assert_memory_equal(t.keys, "\001x\034", 3);
    assert_int_equal(terminal_parse_keys("", &t, &e), 0);
    assert_int_equal(t.n_keys, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(terminal_parse_keys(bad[i], &t, NULL), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_split_and_the_code_comes_back),
        cmocka_unit_test(megabytes_are_echoed_without_blocking),
        cmocka_unit_test(a_lost_keeper_is_an_error),
        cmocka_unit_test(detach_keys_leave_and_the_mode_is_put_back),
        cmocka_unit_test(keys_are_read_from_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
