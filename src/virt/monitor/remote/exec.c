/* exec.c - one more program inside a machine: this end of it.
 *
 * A child of the caller stands for the program: its end is the program's, with the same code,
 * signals that it gets go on to the program, and what it is given as standard streams, or the
 * terminal that it makes, is joined to the agent's frames.  When it is killed, the agent ends
 * the program.
 *
 * Neither direction waits for the other: what is to be sent is kept, one frame at most,
 * while what comes is written. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "virt/agent/frame/frame.h"
#include "virt/monitor/remote/private.h"

#define BOOT_WAIT_MS 60000 /* a machine that was just started has no agent yet */
#define PIECE_BYTES  16384
#define CODE_LOST    137 /* the guest ended under the program */
#define CODE_NO_PIPE 141 /* nobody hears what it prints: as of one that SIGPIPE ended */
#define FD_AGENT     3
#define FD_SIGNALS   4

struct relay {
    bool terminal;
    int in; /* 0, or -1: its end was sent */
    size_t in_n;
    size_t out_at, out_n; /* of `out`: not sent yet */
    uint8_t out[FRAME_HEAD_BYTES + PIECE_BYTES];
    uint8_t bytes[2 * (FRAME_HEAD_BYTES + FRAME_BYTES_MOST)];
};

/* ---- in the child ---- */

static void put_frame(struct relay *r, enum frame_type type, size_t n)
{
    frame_put_head(r->out, type, (uint32_t)n);
    r->out_at = 0;
    r->out_n = FRAME_HEAD_BYTES + n;
}

/* false: the agent is gone. */
static bool send_some(struct relay *r)
{
    ssize_t n = send(FD_AGENT, r->out + r->out_at, r->out_n, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    r->out_at += (size_t)n;
    r->out_n -= (size_t)n;
    return true;
}

static void take_input(struct relay *r)
{
    ssize_t n = read(r->in, r->out + FRAME_HEAD_BYTES, PIECE_BYTES);

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    put_frame(r, FRAME_STDIN, n > 0 ? (size_t)n : 0); /* an empty one is the end */
    r->in = n > 0 ? r->in : -1;
}

static void take_signal(struct relay *r)
{
    uint8_t *bytes = r->out + FRAME_HEAD_BYTES;
    struct signalfd_siginfo info;
    struct winsize size;
    int32_t number;

    if (read(FD_SIGNALS, &info, sizeof info) != (ssize_t)sizeof info) {
        return;
    }
    if (info.ssi_signo != SIGWINCH) {
        number = (int32_t)info.ssi_signo;
        memcpy(bytes, &number, sizeof number);
        put_frame(r, FRAME_SIGNAL, sizeof number);
    } else if (r->terminal && ioctl(0, TIOCGWINSZ, &size) == 0) {
        memcpy(bytes, &size.ws_row, 2);
        memcpy(bytes + 2, &size.ws_col, 2);
        put_frame(r, FRAME_RESIZE, 4);
    }
}

/* -1: there is more to come; else the code. */
static int take_frame(const struct frame *f)
{
    int32_t code = CODE_LOST;

    switch (f->type) {
    case FRAME_STDOUT:
    case FRAME_STDERR:
        return file_write_all(f->type == FRAME_STDOUT ? 1 : 2, f->bytes, f->len) < 0
                   ? CODE_NO_PIPE
                   : -1;
    case FRAME_EXIT:
        (void)frame_get_i32(f, &code);
        return code & 255;
    default:
        return CODE_LOST;
    }
}

static int take_frames(struct relay *r)
{
    ssize_t n = read(FD_AGENT, r->bytes + r->in_n, sizeof r->bytes - r->in_n);
    struct frame f;
    size_t used = 0;
    int code = -1, taken;

    if (n <= 0) {
        return n < 0 && (errno == EINTR || errno == EAGAIN) ? -1 : CODE_LOST;
    }
    r->in_n += (size_t)n;
    while (code < 0 && (taken = frame_take(r->bytes, r->in_n, &f, &used)) != 0) {
        code = taken < 0 ? CODE_LOST : take_frame(&f);
        if (taken == 1) {
            memmove(r->bytes, r->bytes + used, r->in_n - used);
            r->in_n -= used;
        }
    }
    return code;
}

static int carry(struct relay *r)
{
    int code = -1;

    while (code < 0) {
        bool idle = r->out_n == 0;
        struct pollfd p[] = {
            {.fd = FD_AGENT, .events = (short)(POLLIN | (idle ? 0 : POLLOUT))},
            {.fd = idle ? FD_SIGNALS : -1, .events = POLLIN},
            {.fd = idle ? r->in : -1, .events = POLLIN}};

        if (poll(p, 3, -1) < 0 && errno != EINTR) {
            return CODE_LOST;
        }
        if ((p[0].revents & POLLOUT) != 0 && !send_some(r)) {
            return CODE_LOST;
        }
        if ((p[0].revents & ~POLLOUT) != 0) {
            code = take_frames(r);
        }
        if (code < 0 && p[1].revents != 0) {
            take_signal(r);
        } else if (code < 0 && p[2].revents != 0) {
            take_input(r);
        }
    }
    return code;
}

/* All streams lead nowhere: the program goes on when its caller has gone. */
static bool is_detached(void)
{
    for (int i = 0; i < 3; i++) {
        struct stat st;

        if (fstat(i, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
            return false;
        }
    }
    return true;
}

static void take_signals(void)
{
    static const int taken[] = {SIGTERM, SIGINT,  SIGHUP,   SIGQUIT,
                                SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
    sigset_t set;
    int fd;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        (void)sigaddset(&set, taken[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd != FD_SIGNALS) {
        (void)dup2(fd, FD_SIGNALS);
    }
    (void)close_range(FD_SIGNALS + 1, ~0u, 0);
}

/* Numbers above all that are given, so that none is overwritten before it is moved. */
static int high(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 64);
}

static _Noreturn void be_program(struct relay *r, const int std[3], int agent,
                                 pid_t caller)
{
    const int from[] = {high(std[0]), high(std[1]), high(std[2]), high(agent)};

    (void)setsid();
    for (int i = 0; i < 4; i++) {
        if (dup2(from[i], i) < 0) {
            _exit(125);
        }
    }
    if (r->terminal) {
        (void)ioctl(0, TIOCSCTTY, 0);
    }
    take_signals();
    if (!is_detached()) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != caller) {
            _exit(125);
        }
    }
    _exit(carry(r));
}

/* ---- in the caller ---- */

static int open_terminal(int *ret_master, int *ret_slave, struct err *e)
{
    struct termios raw;

    if (openpty(ret_master, ret_slave, NULL, NULL, NULL) < 0) {
        return err_sys(e, -errno, "cannot make a terminal");
    }
    (void)fcntl(*ret_master, F_SETFD, FD_CLOEXEC);
    if (tcgetattr(*ret_slave, &raw) == 0) { /* the one inside the guest is a terminal */
        cfmakeraw(&raw);
        (void)tcsetattr(*ret_slave, TCSANOW, &raw);
    }
    return 0;
}

static int order_program(int agent, const struct task_exec *x, struct relay *r,
                         struct err *e)
{
    const struct frame_exec order = {.flags = x->terminal ? FRAME_EXEC_TTY : 0,
                                     .user = x->user,
                                     .workdir = x->cwd,
                                     .argv = x->argv,
                                     .env = x->env};
    int n = frame_put_exec(&order, r->bytes, sizeof r->bytes);
    uint8_t head[FRAME_HEAD_BYTES];

    if (n < 0) {
        return err_set(e, n,
                       "the command and its variables are too long: %u bytes and %u "
                       "words at most",
                       FRAME_BYTES_MOST, FRAME_ARGS_MOST);
    }
    frame_put_head(head, FRAME_EXEC, (uint32_t)n);
    return file_write_all(agent, head, sizeof head) < 0 ||
                   file_write_all(agent, r->bytes, (size_t)n) < 0
               ? err_sys(e, -EPIPE, "cannot ask the agent")
               : 0;
}

int far_exec(struct task *t, const struct task_exec *x, int *ret_pidfd, int *ret_master,
             struct err *e)
{
    const struct far *f = (const struct far *)t; /* the first member */
    SCOPED(scope_close) int agent = far_agent_connect(f->directory, BOOT_WAIT_MS, e);
    SCOPED(scope_close) int master = -1;
    SCOPED(scope_close) int slave = -1;
    SCOPED(scope_free) struct relay *r = fault_calloc(1, sizeof *r);
    int std[] = {x->stdio[0], x->stdio[1], x->stdio[2]};
    pid_t caller = getpid(), pid;
    int failed = 0;

    if (agent < 0 || r == NULL) {
        return agent < 0 ? agent : err_set(e, -ENOMEM, "cannot run it: no memory");
    }
    if (x->terminal) {
        failed = open_terminal(&master, &slave, e);
        std[0] = std[1] = std[2] = slave;
    }
    failed = failed < 0 ? failed : order_program(agent, x, r, e);
    if (failed < 0) {
        return failed;
    }
    r->terminal = x->terminal;
    pid = fork();
    if (pid == 0) {
        be_program(r, std, agent, caller);
    }
    if (pid < 0) {
        return err_sys(e, -errno, "cannot run it");
    }
    *ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    *ret_master = scope_take_fd(&master);
    return *ret_pidfd < 0 ? err_sys(e, -errno, "cannot wait for it") : 0;
}
