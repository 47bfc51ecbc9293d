/* snap_init.c - the first process of a Linux that is moved about while it runs: computes in
 * two children with memory and floating point, watches its clocks, says what came out and
 * switches off.  With an argument it only computes, natively. */
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CELLS    (1u << 18)
#define CHILDREN 2

static volatile sig_atomic_t ticks;
static uint32_t cell[CELLS];

static void on_tick(int number)
{
    (void)number;
    ticks++;
}

static uint64_t now_ns(clockid_t which)
{
    struct timespec t;

    (void)clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t compute(uint32_t seed, unsigned rounds, int *ret_backwards)
{
    uint32_t state = seed;
    double sum = seed;
    uint64_t before = now_ns(CLOCK_MONOTONIC);

    for (unsigned round = 0; round < rounds; round++) {
        uint64_t after = now_ns(CLOCK_MONOTONIC);

        *ret_backwards += after < before;
        before = after;
        for (uint32_t i = 0; i < CELLS; i++) {
            state = state * 1664525u + 1013904223u;
            cell[i] = (cell[i] ^ state) + (cell[i] >> 7);
            state += cell[state >> 14];
            sum = sqrt(sum * 1.0009765625 + (state & 0xffff));
        }
        state ^= (uint32_t)(int64_t)(sum * 65536.0);
    }
    return state;
}

static void run(unsigned rounds)
{
    int pipes[CHILDREN][2];
    struct itimerval often = {{0, 10000}, {0, 10000}};

    for (unsigned i = 0; i < CHILDREN; i++) {
        if (pipe(pipes[i]) != 0) {
            return;
        }
        if (fork() == 0) {
            int backwards = 0;
            uint32_t answer[3];

            (void)signal(SIGALRM, on_tick);
            (void)setitimer(ITIMER_REAL, &often, NULL);
            answer[0] = compute(i + 1, rounds, &backwards);
            answer[1] = (uint32_t)backwards;
            while (ticks == 0) {
                (void)pause();
            }
            answer[2] = ticks > 0;
            (void)!write(pipes[i][1], answer, sizeof answer);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        uint32_t answer[3] = {0};

        (void)!read(pipes[i][0], answer, sizeof answer);
        printf("child %u: hash %08x, %u steps back, %s\n", i, answer[0], answer[1],
               answer[2] != 0 ? "ticks" : "no ticks");
    }
    while (wait(NULL) > 0) {
    }
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : getenv("rounds");

    printf("begin\n");
    (void)fflush(stdout);
    run(word != NULL ? (unsigned)atoi(word) : 40);
    printf("end\n");
    (void)fflush(stdout);
    if (getpid() == 1) {
        (void)reboot(RB_POWER_OFF);
    }
    return 0;
}
