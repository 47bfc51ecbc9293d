/* follow.c - a program in the foreground: its signals, its terminal, its end.
 *
 * Signals are blocked and read from a descriptor, so that one poll(2) waits for
 * everything. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/file.h"
#include "virt/container/oci/oci.h"

#define RELAY_BYTES 16384

struct follow {
    pid_t pid;
    int master;
    int signals;
    int pidfd;
    bool raw;
    bool input_ended;
    struct termios before;
};

static void take_size(const struct follow *f)
{
    struct winsize size;

    if (f->master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        (void)ioctl(f->master, TIOCSWINSZ, &size);
    }
}

static void take_terminal(struct follow *f)
{
    struct termios raw;

    if (f->master < 0) {
        return;
    }
    take_size(f);
    if (tcgetattr(STDIN_FILENO, &f->before) == 0) {
        raw = f->before;
        cfmakeraw(&raw);
        f->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
}

/* Bytes from one end to the other; false at the end of input. */
static bool relay(int from, int to)
{
    char bytes[RELAY_BYTES];
    ssize_t n = read(from, bytes, sizeof bytes);

    return n > 0 ? file_write_all(to, bytes, (size_t)n) == 0
                 : n < 0 && (errno == EINTR || errno == EAGAIN);
}

static void pass_signal(const struct follow *f)
{
    struct signalfd_siginfo info;

    if (read(f->signals, &info, sizeof info) != (ssize_t)sizeof info) {
        return;
    }
    if ((int)info.ssi_signo == SIGWINCH) {
        take_size(f);
    } else if ((int)info.ssi_signo != SIGCHLD) {
        (void)syscall(SYS_pidfd_send_signal, f->pidfd, (int)info.ssi_signo, NULL, 0);
    }
}

static void serve(struct follow *f)
{
    struct pollfd p[4] = {{.fd = f->pidfd, .events = POLLIN},
                          {.fd = f->signals, .events = POLLIN},
                          {.fd = f->master, .events = POLLIN},
                          {.fd = f->master >= 0 ? STDIN_FILENO : -1, .events = POLLIN}};

    while (poll(p, 4, -1) >= 0 || errno == EINTR) {
        if (p[2].revents != 0 && !relay(f->master, STDOUT_FILENO)) {
            p[2].fd = -1;
        }
        if (p[3].revents != 0 && !relay(STDIN_FILENO, f->master)) {
            p[3].fd = -1;
        }
        if (p[1].revents != 0) {
            pass_signal(f);
        }
        if (p[0].revents != 0) {
            break;
        }
    }
    /* What the program wrote last. */
    while (f->master >= 0 && p[2].fd >= 0 && poll(&p[2], 1, 0) > 0 &&
           relay(f->master, STDOUT_FILENO)) {
    }
}

int oci_follow(pid_t pid, int master)
{
    struct follow f = {.pid = pid, .master = master, .signals = -1, .pidfd = -1};
    SCOPED(scope_close) int owned = master;
    sigset_t all;
    int status = 0;

    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    f.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    f.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (f.signals >= 0 && f.pidfd >= 0) {
        take_terminal(&f);
        serve(&f);
    }
    scope_close(&f.signals);
    scope_close(&f.pidfd);
    if (f.raw) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &f.before);
    }
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
