/* init.c - the first process of a guest that was ordered with --init.
 *
 * Starts the command given after "--", passes signals on to it, reaps whatever
 * is left to process 1, and ends with the command's own code. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(char **argv, const sigset_t *before)
{
    pid_t pid = fork();

    if (pid != 0) {
        return pid;
    }
    (void)setpgid(0, 0);
    if (isatty(0) == 1) {
        (void)tcsetpgrp(0, getpid());
    }
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    (void)execvp(argv[0], argv);
    (void)fprintf(stderr, "init: cannot run '%s': %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* True once the command itself ended; *ret_code is its code. */
static int reap(pid_t command, int *ret_code)
{
    int status;
    pid_t pid;
    int ended = 0;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == command) {
            *ret_code =
                WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            ended = 1;
        }
    }
    return ended;
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
    sigset_t all;
    sigset_t before;
    pid_t command;
    int code = 0;

    if (argc <= first) {
        (void)fprintf(stderr, "init: no command\n");
        return 2;
    }
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    (void)signal(SIGTTOU, SIG_IGN);
    command = start(argv + first, &before);
    if (command < 0) {
        return 1;
    }
    for (;;) {
        int s = 0;

        if (sigwait(&all, &s) != 0) {
            continue;
        }
        if (s == SIGCHLD) {
            if (reap(command, &code)) {
                return code;
            }
        } else {
            (void)kill(-command, s);
        }
    }
}
