/* speed.c - how many instructions a second the interpreter executes.
 *
 * Programs of the everyday mix, each in a process of its own for a moment: what counts
 * is its counter of instructions and its processor time, the kernel's start included,
 * which is a thousandth of it. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "base/str.h"
#include "contract/cpu.h"
#include "virt/isa/bare/bare.h"
#include "virt/isa/instrument/private.h"

#define MOMENT_NS    300000000
#define SECONDS_MOST 10.0

static void *stop_soon(void *arg)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = MOMENT_NS}, NULL);
    bare_stop(arg);
    return NULL;
}

static double thread_seconds(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_a_moment(const struct peer_run *run)
{
    enum bare_end end = BARE_EXITED;
    struct cpu_counters c;
    struct bare *b = NULL;
    struct err e = {0};
    pthread_t stopper;
    unsigned code = 0;
    double begun;

    if (peer_load(run, &b, &e) < 0 || pthread_create(&stopper, NULL, stop_soon, b) != 0) {
        bare_destroy(b);
        return;
    }
    begun = thread_seconds();
    if (bare_run(b, &end, &code, &e) == 0) {
        bare_count(b, &c);
        (void)printf("\nstart\nrate %f\nsum 0\n",
                     (double)c.interpreted / (thread_seconds() - begun));
        (void)fflush(stdout);
    }
    (void)pthread_join(stopper, NULL);
    bare_destroy(b);
}

double speed_interpret(const char *dir, const char *kernel)
{
    static const char *const names[] = {"alu", "branchy", "calls",
                                        "mix", "sieve",   "sort"};
    static const struct peer moment = {.name = "interpret", .run = run_a_moment};
    double logs = 0;
    unsigned n = 0;
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        char program[PATH_MAX];
        struct peer_run run = {&moment, program, kernel, "interpret"};
        struct watch_result result;

        (void)str_print(program, sizeof program, "%s/%s.elf", dir, names[i]);
        if (peer_time(&run, SECONDS_MOST, &result) == 0 && result.rate > 0) {
            logs += log(result.rate);
            n++;
        }
    }
    return n != 0 ? exp(logs / n) * 1e-6 : 0;
}
