/* boot_command.c - one command as all that a machine does, on its console.
 *
 * Whoever runs a machine's only command is process 1: signals that the host sends for it
 * come here, and are passed on to all of the command. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "virt/agent/private.h"

struct boot_command {
    struct frame_exec x; /* its texts are in `bytes`, or in the wish */
    const char *list[FRAME_ARGS_MOST + 2];
    uint8_t bytes[FRAME_BYTES_MOST];
};

static const int passed_on[] = {SIGTERM, SIGINT,  SIGHUP,   SIGQUIT,
                                SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

/* ---- what it is ---- */

static bool read_file(struct boot_command *c)
{
    int fd = open("/" FRAME_BOOT_COMMAND, O_RDONLY | O_CLOEXEC);
    struct frame f = {.type = FRAME_EXEC, .bytes = c->bytes};
    ssize_t n = 1;

    while (fd >= 0 && n > 0 && f.len < sizeof c->bytes) {
        n = read(fd, c->bytes + f.len, sizeof c->bytes - f.len);
        f.len += n > 0 ? (uint32_t)n : 0;
    }
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink("/" FRAME_BOOT_COMMAND);
    }
    return f.len > 0 && frame_get_exec(&f, c->list, &c->x) == 0;
}

static bool read_words(struct boot_command *c, struct wish *w)
{
    c->x = (struct frame_exec){.argv = c->list};
    return w->command[0] != '\0' &&
           frame_get_words(w->command, (char **)(uintptr_t)c->list, FRAME_ARGS_MOST) > 0;
}

struct boot_command *agent_read_command(struct wish *w)
{
    struct boot_command *c = calloc(1, sizeof *c);

    if (c != NULL && !read_file(c) && !read_words(c, w)) {
        free(c);
        c = NULL;
    }
    return c;
}

/* ---- its console ---- */

/* Bytes of a command come out as they are. */
static void make_plain(void)
{
    struct termios t;

    if (tcgetattr(0, &t) == 0) {
        t.c_oflag &= ~(tcflag_t)OPOST;
        t.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(0, TCSANOW, &t);
    }
}

/* The terminal that is the console: /dev/console itself controls nothing. */
static void take_terminal(const struct frame_exec *x)
{
    const struct winsize size = {.ws_row = x->rows, .ws_col = x->columns};
    char names[128] = "", path[160];
    const char *last;
    int fd;

    (void)agent_read_small("/sys/class/tty/console/active", names, sizeof names);
    names[strcspn(names, "\n")] = '\0';
    last = strrchr(names, ' ');
    (void)snprintf(path, sizeof path, "/dev/%s", last != NULL ? last + 1 : names);
    fd = open(path, O_RDWR | O_NOCTTY);
    for (int i = 0; fd >= 0 && i < 3; i++) {
        (void)dup2(fd, i);
    }
    if (fd > 2) {
        (void)close(fd);
    }
    (void)ioctl(0, TIOCSCTTY, 1);
    if (x->rows > 0 && x->columns > 0) {
        (void)ioctl(0, TIOCSWINSZ, &size);
    }
}

static void take_nothing(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)dup2(fd, 0);
}

/* ---- its run ---- */

static _Noreturn void be_command(const struct boot_command *c, const sigset_t *before)
{
    (void)setsid();
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    if ((c->x.flags & FRAME_EXEC_TTY) != 0) {
        take_terminal(&c->x);
    } else if ((c->x.flags & FRAME_EXEC_NO_STDIN) != 0) {
        take_nothing();
    }
    _exit(agent_exec(&c->x));
}

int agent_run_command(const struct boot_command *c)
{
    sigset_t set, before;
    int status = 0, number;
    pid_t pid, command;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    for (unsigned i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        (void)sigaddset(&set, passed_on[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &set, &before);
    (void)prctl(PR_SET_NAME, AGENT_RUNS);
    if ((c->x.flags & FRAME_EXEC_TTY) == 0) {
        make_plain();
    }
    command = fork();
    if (command == 0) {
        be_command(c, &before);
    }
    while (command > 0) {
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid == command) {
                return agent_exit_code(status);
            }
        }
        if (sigwait(&set, &number) == 0 && number != SIGCHLD) {
            if (kill(-command, number) < 0) { /* it has no session yet */
                (void)kill(command, number);
            }
        }
    }
    return 125;
}
