/* machine_guest.c - the first process of a machine that is measured: the system mix, programs.
 *
 * What it does is in the word `work=` of the kernel's command line: mix, user, parallel (`jobs=`), idle, wake, answer.
 * Each line of results says the least and the median of many batches, by the guest's clock; `begin`
 * and `end` lines let whoever started the machine compare that clock with its own. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES_MOST  4000
#define BATCHES_LEAST 12
#define SECONDS       1.0 /* of one operation; the word `seconds=` says otherwise */
#define PAGE          4096
#define FAULT_PAGES   256
#define MAP_BYTES     65536
#define JOBS          8
#define IDLE_BEFORE   3
#define IDLE_SECONDS  10
#define WAKE_WARM     200
#define PROGRAMS      "/programs"

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    _exit(1);
}

/* ---- operations: each does `n` of it and returns the seconds that count ---- */

static double null_call(int n)
{
    double start = now();

    for (int i = 0; i < n; i++) {
        (void)syscall(SYS_getppid);
    }
    return now() - start;
}

static double stat_call(int n)
{
    struct stat st;
    double start = now();

    for (int i = 0; i < n; i++) {
        if (stat("/init", &st) != 0) {
            die("stat");
        }
    }
    return now() - start;
}

static char *map(size_t bytes)
{
    char *at =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        die("mmap");
    }
    return at;
}

static void touch(volatile char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += PAGE) {
        at[i] = 1;
    }
}

static double fault(int n)
{
    char *at = map((size_t)n * PAGE);
    double start, took;

    (void)madvise(at, (size_t)n * PAGE, MADV_NOHUGEPAGE);
    start = now();
    touch(at, (size_t)n * PAGE);
    took = now() - start;
    (void)munmap(at, (size_t)n * PAGE);
    return took;
}

static double map_and_unmap(int n)
{
    double start = now();

    for (int i = 0; i < n; i++) {
        char *at = map(MAP_BYTES);

        touch(at, MAP_BYTES);
        (void)munmap(at, MAP_BYTES);
    }
    return now() - start;
}

static double fork_exec_wait(int n)
{
    double start = now();

    for (int i = 0; i < n; i++) {
        int status = 0;
        pid_t p = fork();

        if (p == 0) {
            (void)execl("/init", "/init", "exit", NULL);
            _exit(1);
        }
        if (p < 0 || waitpid(p, &status, 0) != p || WEXITSTATUS(status) != 7) {
            die("fork");
        }
    }
    return now() - start;
}

static double ping_pong(int n)
{
    int to[2], back[2];
    char c = 1;
    double start, took;
    pid_t p;

    if (pipe(to) != 0 || pipe(back) != 0 || (p = fork()) < 0) {
        die("pipe");
    }
    if (p == 0) {
        (void)close(to[1]);
        while (read(to[0], &c, 1) == 1 && write(back[1], &c, 1) == 1) {
        }
        _exit(0);
    }
    (void)close(to[0]);
    start = now();
    for (int i = 0; i < n; i++) {
        if (write(to[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) {
            die("ping");
        }
    }
    took = now() - start;
    (void)close(to[1]);
    (void)close(back[0]);
    (void)close(back[1]);
    (void)waitpid(p, NULL, 0);
    return took;
}

static const struct {
    const char *name;
    double (*run)(int n);
    int batch;
} operations[] = {
    {"null", null_call, 5000},     {"stat", stat_call, 1000},
    {"fault", fault, FAULT_PAGES}, {"mmap", map_and_unmap, 20},
    {"fork", fork_exec_wait, 4},   {"pipe", ping_pong, 200},
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(unsigned o, double seconds)
{
    double took[BATCHES_MOST], start = now();
    int n = 0;

    printf("begin %s %.6f\n", operations[o].name, start);
    (void)fflush(stdout);
    while (n < BATCHES_MOST && (n < BATCHES_LEAST || now() - start < seconds)) {
        took[n++] = operations[o].run(operations[o].batch) / operations[o].batch * 1e6;
    }
    printf("end %s %.6f %d\n", operations[o].name, now(), n * operations[o].batch);
    qsort(took, (size_t)n, sizeof *took, by_size);
    printf("op %s %.4f %.4f\n", operations[o].name, took[0], took[n / 2]);
    (void)fflush(stdout);
}

static void mix(const char *only)
{
    const char *seconds = getenv("seconds");

    for (unsigned o = 0; o < sizeof operations / sizeof *operations; o++) {
        if (only == NULL || strstr(only, operations[o].name) != NULL) {
            measure(o, seconds != NULL ? atof(seconds) : SECONDS);
        }
    }
}

/* ---- programs ---- */

static pid_t start_program(const char *path, int out)
{
    pid_t p = fork();

    if (p == 0) {
        (void)dup2(out, 1);
        (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        (void)execl(path, path, NULL);
        _exit(127);
    }
    return p;
}

/* The program stands still at the next of: its beginning, a system call's beginning or end. */
static void wait_stopped(pid_t p)
{
    int status;

    if (waitpid(p, &status, 0) != p || !WIFSTOPPED(status) ||
        WSTOPSIG(status) != SIGTRAP) {
        die("a program that is watched");
    }
}

/* The time from the end of its first system call to the beginning of its second: it prints
 * "start", works, and prints "sum X".  It stands still at both, so that nobody has to read
 * what it prints in time. */
static double watch(pid_t p)
{
    double start, took;

    wait_stopped(p);
    for (int stops = 0; stops < 2; stops++) {
        (void)ptrace(PTRACE_SYSCALL, p, NULL, NULL);
        wait_stopped(p);
    }
    start = now();
    (void)ptrace(PTRACE_SYSCALL, p, NULL, NULL);
    wait_stopped(p);
    took = now() - start;
    (void)ptrace(PTRACE_DETACH, p, NULL, NULL);
    return took;
}

static void run_program(const char *name)
{
    char path[128], text[128] = "";
    double took;
    int out[2], status;
    size_t n = 0;
    ssize_t got;
    pid_t p;

    printf("begin %s %.6f\n", name, now());
    (void)fflush(stdout);
    (void)snprintf(path, sizeof path, PROGRAMS "/%s", name);
    if (pipe(out) != 0 || (p = start_program(path, out[1])) < 0) {
        die("program");
    }
    (void)close(out[1]);
    took = watch(p);
    while ((got = read(out[0], text + n, sizeof text - 1 - n)) > 0) {
        n += (size_t)got;
    }
    (void)close(out[0]);
    (void)waitpid(p, &status, 0);
    for (char *c = text; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    printf("end %s %.6f 1\n", name, now());
    printf("program %s %.6f %d %s\n", name, took, status, text);
    (void)fflush(stdout);
}

/* `names` is program+program...; each twice. */
static void user(char *names)
{
    char *rest;

    for (char *n = strtok_r(names, "+", &rest); n != NULL;
         n = strtok_r(NULL, "+", &rest)) {
        run_program(n);
        run_program(n);
    }
}

/* ---- many at once ---- */

static pid_t start_compiler(int job)
{
    pid_t p = fork();

    if (p == 0) {
        char out[32];

        (void)snprintf(out, sizeof out, "/tmp/%d.s", job);
        (void)execl("/cc1", "cc1", "-quiet", "-O1", "-fpreprocessed", "/source.i", "-o",
                    out, NULL);
        _exit(127);
    }
    return p;
}

static void parallel(void)
{
    const char *word = getenv("jobs");
    int jobs = word != NULL ? atoi(word) : JOBS;
    int workers = (int)sysconf(_SC_NPROCESSORS_ONLN), started = 0, running = 0,
        failed = 0;
    struct stat st = {0};
    double start = now();

    printf("begin parallel %.6f\n", start);
    (void)fflush(stdout);
    while (started < jobs || running > 0) {
        int status = 0;

        if (started < jobs && running < workers) {
            running += start_compiler(started++) > 0;
            continue;
        }
        (void)wait(&status);
        failed += status != 0;
        running--;
    }
    (void)stat("/tmp/0.s", &st);
    printf("end parallel %.6f %d\n", now(), jobs);
    printf("op parallel %.4f %d %ld\n", now() - start, failed, (long)st.st_size);
    (void)fflush(stdout);
}

/* ---- nothing ---- */

/* Behind the noise of the start; then nothing for `rest=` seconds. */
static void idle(void)
{
    const char *seconds = getenv("rest");

    (void)sleep(IDLE_BEFORE);
    printf("begin idle %.6f\n", now());
    (void)fflush(stdout);
    (void)sleep(seconds != NULL ? (unsigned)atoi(seconds) : IDLE_SECONDS);
    printf("end idle %.6f 1\n", now());
    (void)fflush(stdout);
}

/* What coming back costs: commands and a program just before a rest of `rest=` seconds, and
 * the same again just behind it. */
static void wake(void)
{
    const char *seconds = getenv("rest");

    (void)fork_exec_wait(WAKE_WARM);
    printf("op exec-before %.4f\n", fork_exec_wait(WAKE_WARM) / WAKE_WARM * 1e6);
    run_program("mix");
    run_program("mix");
    (void)fflush(stdout);
    (void)sleep(seconds != NULL ? (unsigned)atoi(seconds) : IDLE_SECONDS);
    printf("rested\n");
    (void)fflush(stdout);
    printf("op exec-first %.4f\n", fork_exec_wait(1) * 1e6);
    printf("op exec-second %.4f\n", fork_exec_wait(1) * 1e6);
    printf("op exec-behind %.4f\n", fork_exec_wait(WAKE_WARM) / WAKE_WARM * 1e6);
    run_program("mix");
    run_program("mix");
}

/* Each line of the console comes back, until one says `end`. */
static void answer(void)
{
    char line[128];

    while (fgets(line, sizeof line, stdin) != NULL && strncmp(line, "end", 3) != 0) {
        printf("answer %s", line);
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    const char *work = getenv("work"), *programs = getenv("programs");

    if (argc > 1 && strcmp(argv[1], "exit") == 0) {
        _exit(7);
    }
    (void)mkdir("/proc", 0755);
    (void)mkdir("/tmp", 0755);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    printf("first process\n");
    (void)fflush(stdout);
    work = work != NULL ? work : "";
    if (strstr(work, "mix") != NULL) {
        mix(getenv("only"));
    }
    if (strstr(work, "user") != NULL && programs != NULL) {
        user(strdup(programs));
    }
    if (strstr(work, "parallel") != NULL) {
        parallel();
    }
    if (strstr(work, "idle") != NULL) {
        idle();
    }
    if (strstr(work, "wake") != NULL) {
        wake();
    }
    if (strstr(work, "answer") != NULL) {
        answer();
    }
    printf("last line\n");
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
