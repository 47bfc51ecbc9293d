/* watch.c - a program in a process of its own, timed by the lines that it prints.
 *
 * The same for a Linux process, our processor and another emulator: only what lies
 * between the lines "start" and "sum" counts, so neither does the start of an
 * emulator or its kernel. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "virt/isa/instrument/private.h"

struct lines {
    struct watch_result *result;
    double started; /* 0: not yet */
    char line[128]; /* the current one; longer ones are cut */
    size_t len;
};

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void take_line(struct lines *l, double at)
{
    struct watch_result *to = l->result;

    l->line[l->len] = '\0';
    if (strcmp(l->line, "start") == 0) {
        l->started = at;
    } else if (str_starts(l->line, "sum ") && l->started > 0) {
        to->seconds = at - l->started;
        (void)str_print(to->sum, sizeof to->sum, "%.16s", l->line + 4);
    } else if (sscanf(l->line, "count %" SCNu64, &to->count) != 1 && l->len > 0) {
        memcpy(to->last, l->line, l->len + 1);
    }
    l->len = 0;
}

static void take_bytes(struct lines *l, const char *bytes, size_t n)
{
    double at = now();
    size_t i;

    for (i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            take_line(l, at);
        } else if (bytes[i] != '\r' && l->len + 1 < sizeof l->line) {
            l->line[l->len++] = bytes[i];
        }
    }
}

static pid_t start(const struct watch *w, int out[2])
{
    pid_t child;

    if (pipe(out) < 0) {
        return -1;
    }
    child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(out[0]);
        (void)close(out[1]);
        w->child(w->arg);
        _exit(127);
    }
    (void)close(out[1]);
    if (child < 0) {
        (void)close(out[0]);
    }
    return child;
}

static int read_lines(int from, double deadline, struct lines *l)
{
    char bytes[4096];

    for (;;) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        double left = deadline - now();
        ssize_t n;

        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) == 0) {
            return -ETIMEDOUT;
        }
        n = read(from, bytes, sizeof bytes);
        if (n <= 0) {
            return 0;
        }
        take_bytes(l, bytes, (size_t)n);
    }
}

int watch_run(const struct watch *w, struct watch_result *ret_result)
{
    struct lines l = {.result = ret_result};
    int out[2];
    pid_t child;
    int r;

    *ret_result = (struct watch_result){0};
    child = start(w, out);
    if (child < 0) {
        return -errno;
    }
    r = read_lines(out[0], now() + w->seconds_most, &l);
    if (r < 0) {
        (void)kill(child, SIGKILL);
    }
    (void)close(out[0]);
    (void)waitpid(child, NULL, 0);
    return r < 0 ? r : ret_result->sum[0] == '\0' ? -EIO : 0;
}
