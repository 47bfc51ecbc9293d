/* command.c - a command of the host: its descriptors become frames, frames its input.
 *
 * What the host sends is read only while nothing waits for the command, and what the
 * command says only while the host takes it: neither side can make the agent keep more
 * than one frame each way.  A host that goes away ends the command (SIGHUP, as a terminal
 * would). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virt/agent/session.h"

#define PIECE_BYTES 32768

struct command {
    struct inbox *in;
    pid_t pid;
    int to;      /* its input; -1: closed */
    int from[2]; /* its output and errors; -1: ended */
    bool gone;   /* the host is */
    size_t
        left; /* of the STDIN frame that is first in the inbox: bytes not written yet */
};

static void close_one(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* ---- start ---- */

static _Noreturn void child(const struct frame_exec *x, const int std[3])
{
    sigset_t none;

    (void)setsid();
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL); /* whoever started us may have ignored some */
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if ((x->flags & FRAME_EXEC_TTY) != 0) {
        (void)ioctl(std[0], TIOCSCTTY, 0);
    }
    for (int i = 0; i < 3; i++) {
        (void)dup2(std[i], i);
    }
    (void)close_range(3, ~0u, 0);
    _exit(agent_exec(x));
}

/* Pairs of descriptors: the child's three, and ours. */
static int open_pipes(struct command *c, const struct frame_exec *x, int std[3])
{
    int p[2];

    if ((x->flags & FRAME_EXEC_TTY) != 0) {
        const struct winsize size = {.ws_row = x->rows, .ws_col = x->columns};
        int master, slave;

        if (openpty(&master, &slave, NULL, NULL, &size) < 0) {
            return -errno;
        }
        c->from[0] = master;
        c->to = dup(master);
        std[0] = slave;
        std[1] = dup(slave);
        std[2] = dup(slave);
        return c->to < 0 || std[1] < 0 || std[2] < 0 ? -errno : 0;
    }
    for (int i = 0; i < 3; i++) {
        if (pipe(p) < 0) {
            return -errno;
        }
        std[i] = p[i == 0 ? 0 : 1];
        *(i == 0 ? &c->to : &c->from[i - 1]) = p[i == 0 ? 1 : 0];
    }
    return 0;
}

static int start(struct command *c, const struct frame_exec *x)
{
    int std[3] = {-1, -1, -1};
    sigset_t all, before;
    int r = open_pipes(c, x, std);

    /* What comes before the child has its own dispositions waits for them. */
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    c->pid = r < 0 ? -1 : fork();
    if (c->pid == 0) {
        close_one(&c->to);
        close_one(&c->from[0]);
        close_one(&c->from[1]);
        child(x, std);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    r = r == 0 && c->pid < 0 ? -errno : r;
    for (int i = 0; i < 3; i++) {
        close_one(&std[i]);
    }
    if (r == 0) {
        (void)fcntl(c->to, F_SETFL, O_NONBLOCK);
    }
    return r;
}

/* ---- carry ---- */

/* Bytes of the first frame to the command. */
static int feed(struct command *c, const struct frame *f, size_t used)
{
    ssize_t n = 0;

    if (f->len == 0) {
        static const char end = 4; /* on a terminal: Ctrl-D */

        if (c->to >= 0 && isatty(c->to) == 1) {
            (void)!write(c->to, &end, 1);
        } else {
            close_one(&c->to);
        }
    }
    if (c->left == 0) {
        c->left = f->len;
    }
    if (c->to >= 0 && c->left > 0) {
        n = write(c->to, f->bytes + (f->len - c->left), c->left);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            close_one(&c->to); /* it does not want more */
        }
    }
    c->left = c->to < 0 ? 0 : c->left - (n > 0 ? (size_t)n : 0);
    if (c->left == 0) {
        inbox_drop(c->in, used);
    }
    return c->left == 0;
}

/* To all of the command; before it has a session of its own it is alone. */
static void signal_all(const struct command *c, int number)
{
    if (kill(-c->pid, number) < 0 && errno == ESRCH) {
        (void)kill(c->pid, number);
    }
}

static void resize(const struct command *c, const struct frame *f)
{
    struct winsize size = {0};

    if (frame_get_size(f, &size.ws_row, &size.ws_col) == 0) {
        (void)ioctl(c->from[0], TIOCSWINSZ, &size);
    }
}

static void pass_signal(const struct command *c, const struct frame *f)
{
    int32_t number = 0;

    if (frame_get_i32(f, &number) == 0 && number > 0 && number < NSIG) {
        signal_all(c, number);
    }
}

/* Frames that have come, until one must wait.  -errno: the host says nonsense. */
static int take_frames(struct command *c)
{
    struct frame f;
    size_t used = 0;
    int r;

    while ((r = inbox_first(c->in, &f, &used)) == 1) {
        if (f.type == FRAME_STDIN) {
            if (!feed(c, &f, used)) {
                return 0;
            }
            continue;
        }
        if (f.type == FRAME_RESIZE) {
            resize(c, &f);
        } else if (f.type == FRAME_SIGNAL) {
            pass_signal(c, &f);
        } else {
            return -EPROTO;
        }
        inbox_drop(c->in, used);
    }
    return r;
}

static int give(struct command *c, int i)
{
    uint8_t piece[PIECE_BYTES];
    ssize_t n = read(c->from[i], piece, sizeof piece);

    if (n <= 0) { /* a terminal without a command says EIO */
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            close_one(&c->from[i]);
        }
        return 0;
    }
    return agent_send(c->in->fd, i == 0 ? FRAME_STDOUT : FRAME_STDERR, piece, (size_t)n);
}

static void hang_up(struct command *c)
{
    c->gone = true;
    close_one(&c->to);
    close_one(&c->from[0]);
    close_one(&c->from[1]);
    signal_all(c, SIGHUP);
    signal_all(c, SIGCONT);
}

static int turn(struct command *c)
{
    struct pollfd p[4] = {
        {.fd = c->left == 0 ? c->in->fd : -1, .events = POLLIN},
        {.fd = c->left > 0 ? c->to : -1, .events = POLLOUT},
        {.fd = c->from[0], .events = POLLIN},
        {.fd = c->from[1], .events = POLLIN},
    };
    int r = 0;

    if (poll(p, 4, -1) < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    if (p[0].revents != 0) {
        ssize_t n = inbox_fill(c->in);

        r = n > 0 ? take_frames(c) : n < 0 ? (int)n : -ESHUTDOWN;
    }
    if (r == 0 && p[1].revents != 0) {
        r = take_frames(c);
    }
    for (int i = 0; r == 0 && i < 2; i++) {
        if (p[2 + i].revents != 0) {
            r = give(c, i);
        }
    }
    return r;
}

int agent_command(struct inbox *in, const struct frame *f)
{
    const char *list[FRAME_ARGS_MOST + 2];
    struct command c = {.in = in, .pid = -1, .to = -1, .from = {-1, -1}};
    struct frame_exec x;
    int32_t code = 125;
    int status = 0;
    int r = frame_get_exec(f, list, &x);

    if (r < 0) {
        return r;
    }
    if (start(&c, &x) < 0) {
        close_one(&c.to);
        close_one(&c.from[0]);
        close_one(&c.from[1]);
        inbox_drop(in, FRAME_HEAD_BYTES + f->len);
        return agent_send(in->fd, FRAME_EXIT, &code, sizeof code);
    }
    if ((x.flags & FRAME_EXEC_NO_STDIN) != 0) {
        close_one(&c.to);
    }
    inbox_drop(in, FRAME_HEAD_BYTES + f->len);
    r = take_frames(&c);
    while (r == 0 && (c.from[0] >= 0 || c.from[1] >= 0)) {
        r = turn(&c);
    }
    if (r < 0) {
        hang_up(&c);
    }
    close_one(&c.to);
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR) {
    }
    code = agent_exit_code(status);
    return r < 0 ? r : agent_send(in->fd, FRAME_EXIT, &code, sizeof code);
}
