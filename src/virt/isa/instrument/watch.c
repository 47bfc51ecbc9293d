/* watch.c - a program in a process of its own, timed by the lines that it prints.
 *
 * The same for a Linux process, our processor and another emulator: only what lies
 * between the lines "start" and "sum" counts, so neither does the start of an
 * emulator or its kernel.  What counts is the child's processor time, all threads
 * together: what else runs on the host then does not.  A child that has ended keeps
 * its clock until it is waited for.
 *
 * The clock is read when a line is, so we run with higher priority than the child, if
 * we may: a line that waits for us would spoil a run of some milliseconds. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "virt/isa/instrument/private.h"

struct lines {
    struct watch_result *result;
    clockid_t clock; /* the child's processor time */
    double started;  /* by that; below 0: not yet */
    char line[128];  /* the current one; longer ones are cut */
    size_t len;
};

static double read_clock(clockid_t clock)
{
    struct timespec t = {0};

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double watch_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static void take_line(struct lines *l, double at)
{
    struct watch_result *to = l->result;

    l->line[l->len] = '\0';
    if (strcmp(l->line, "start") == 0) {
        l->started = at;
    } else if (str_starts(l->line, "sum ") && l->started >= 0) {
        to->seconds = at - l->started;
        (void)str_print(to->sum, sizeof to->sum, "%.16s", l->line + 4);
    } else if (sscanf(l->line, "made %" SCNu64 " %" SCNu64, &to->lifted, &to->lift_ns) !=
                   2 &&
               sscanf(l->line, "rate %lf", &to->rate) != 1 && l->len > 0) {
        memcpy(to->last, l->line, l->len + 1);
    }
    l->len = 0;
}

static void take_bytes(struct lines *l, const char *bytes, size_t n)
{
    double at = read_clock(l->clock);
    size_t i;

    for (i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            take_line(l, at);
        } else if (bytes[i] != '\r' && l->len + 1 < sizeof l->line) {
            l->line[l->len++] = bytes[i];
        }
    }
}

#define NICE_WATCH (-15)

static pid_t start(const struct watch *w, int out[2])
{
    int before = getpriority(PRIO_PROCESS, 0);
    pid_t child;

    if (pipe(out) < 0) {
        return -1;
    }
    (void)setpriority(PRIO_PROCESS, 0, NICE_WATCH);
    child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpriority(PRIO_PROCESS, 0, before);
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
        double left = deadline - watch_now();
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
    struct lines l = {.result = ret_result, .clock = CLOCK_MONOTONIC, .started = -1};
    double begun = watch_now();
    int before = getpriority(PRIO_PROCESS, 0);
    int out[2];
    pid_t child;
    int r;

    *ret_result = (struct watch_result){0};
    child = start(w, out);
    if (child < 0) {
        return -errno;
    }
    (void)clock_getcpuclockid(child, &l.clock);
    r = read_lines(out[0], begun + w->seconds_most, &l);
    if (r < 0) {
        (void)kill(child, SIGKILL);
    }
    (void)close(out[0]);
    (void)waitpid(child, NULL, 0);
    (void)setpriority(PRIO_PROCESS, 0, before);
    ret_result->wall = watch_now() - begun;
    return r < 0 ? r : ret_result->sum[0] == '\0' ? -EIO : 0;
}
