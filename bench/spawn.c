/* spawn.c - run steps again and again; say how long each took and what it used.
 *
 *   spawn [-n RUNS] [-p LANES] [-g CODE] [-w WORD] +++ STEP... [+++ STEP...]...
 *
 * A run executes the steps one after another; `@` in an argument becomes the
 * run's own word, WORDxLANExRUN.  Each step must end with code 0.  With
 * -g the guest that the steps left to us (we are the reaper of orphans) must
 * end with CODE before the last step: it really ran, and ran to its end.
 *
 * One line of JSON per run; then one with the wall time of all.  Lanes are
 * processes that make RUNS runs each, all at the same time.
 *
 * Why C, small and static: the largest resident size of a process is handed
 * down over fork and exec, so a spawner of 10 MiB would hide anything below.
 * The step is started by vfork for the same reason. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MOST 8
#define ARGS_MOST  64
#define TEXT_BYTES 4096

struct plan {
    char **steps[STEPS_MOST]; /* each NULL-terminated; borrowed from argv */
    int n;
    int runs;
    int lanes;
    int guest_code;   /* -1: no guest to wait for */
    const char *word; /* NULL: made of the process id */
};

struct used {
    double wall_ms;
    double cpu_ms;
    long rss_kib;
};

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what, int code)
{
    (void)fprintf(stderr, "spawn: %s: %d\n", what, code);
    exit(1);
}

/* Copy `step` into `out` with `@` replaced; the texts live in `text`. */
static void fill_in(char *const *step, const char *word, char *out[ARGS_MOST],
                    char text[TEXT_BYTES])
{
    size_t used = 0;
    int i;

    for (i = 0; step[i] != NULL && i + 1 < ARGS_MOST; i++) {
        const char *at = strchr(step[i], '@');

        out[i] = step[i];
        if (at != NULL) {
            int n = snprintf(text + used, TEXT_BYTES - used, "%.*s%s%s",
                             (int)(at - step[i]), step[i], word, at + 1);

            out[i] = text + used;
            used += (size_t)n + 1;
            if (used >= TEXT_BYTES) {
                die("arguments too long", i);
            }
        }
    }
    out[i] = NULL;
}

static double cpu_of(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e3 +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e3;
}

static void run_step(char *const *step, const char *word, struct used *ret)
{
    char *argv[ARGS_MOST];
    char text[TEXT_BYTES];
    struct rusage u;
    double began;
    int status;
    pid_t pid;

    fill_in(step, word, argv, text);
    began = now_ms();
    pid = vfork();
    if (pid == 0) {
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &u) != pid) {
        die(argv[0], -errno);
    }
    ret->wall_ms = now_ms() - began;
    ret->cpu_ms = cpu_of(&u);
    ret->rss_kib = u.ru_maxrss;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        die(argv[0], status);
    }
}

static void wait_for_guest(int code)
{
    int status;

    if (waitpid(-1, &status, 0) < 0) {
        die("no guest was left to wait for", -errno);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code) {
        die("the guest ended otherwise, status", status);
    }
}

static void one_run(const struct plan *p, const char *word)
{
    struct used u[STEPS_MOST];
    double began = now_ms();
    double total;

    for (int i = 0; i < p->n; i++) {
        if (i == p->n - 1 && p->guest_code >= 0) {
            wait_for_guest(p->guest_code);
        }
        run_step(p->steps[i], word, &u[i]);
    }
    total = now_ms() - began;
    (void)printf("{\"total_ms\": %.4f, \"steps\": [", total);
    for (int i = 0; i < p->n; i++) {
        (void)printf("%s{\"wall_ms\": %.4f, \"cpu_ms\": %.4f, \"rss_kib\": %ld}",
                     i != 0 ? ", " : "", u[i].wall_ms, u[i].cpu_ms, u[i].rss_kib);
    }
    (void)printf("]}\n");
    (void)fflush(stdout);
}

static void one_lane(const struct plan *p, int lane, int gate)
{
    char byte;

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (read(gate, &byte, 1) != 0) { /* opens when the writer closes it */
        die("gate", -errno);
    }
    (void)close(gate);
    for (int i = 0; i < p->runs; i++) {
        char word[64];

        if (p->word != NULL) {
            (void)snprintf(word, sizeof word, "%sx%dx%d", p->word, lane, i);
        } else {
            (void)snprintf(word, sizeof word, "b%dx%dx%d", (int)getppid(), lane, i);
        }
        one_run(p, word);
    }
    exit(0);
}

static int run_lanes(const struct plan *p)
{
    int failed = 0;
    int gate[2];
    double began;

    if (pipe2(gate, O_CLOEXEC) < 0) {
        die("pipe", -errno);
    }
    for (int i = 0; i < p->lanes; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            (void)close(gate[1]);
            one_lane(p, i, gate[0]);
        }
        if (pid < 0) {
            die("fork", -errno);
        }
    }
    began = now_ms();
    (void)close(gate[1]);
    for (int i = 0; i < p->lanes; i++) {
        int status;

        (void)wait(&status);
        failed += status != 0;
    }
    (void)printf("{\"all_ms\": %.4f}\n", now_ms() - began);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct plan p = {.runs = 1, .lanes = 1, .guest_code = -1};
    int c;

    while ((c = getopt(argc, argv, "+n:p:g:w:")) != -1) {
        int *where = c == 'n' ? &p.runs : c == 'p' ? &p.lanes : &p.guest_code;

        if (c == '?') {
            return 2;
        }
        if (c == 'w') {
            p.word = optarg;
        } else {
            *where = atoi(optarg);
        }
    }
    while (optind < argc && p.n < STEPS_MOST) {
        if (strcmp(argv[optind], "+++") == 0) {
            argv[optind] = NULL; /* ends the step before it */
            p.steps[p.n++] = &argv[optind + 1];
        }
        optind++;
    }
    return p.n != 0 ? run_lanes(&p) : 2;
}
