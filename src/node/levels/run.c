/* run.c - the job at one level, and when it said what.
 *
 * START is from the order to the job's first line, so it has everything that a user waits
 * for; RUN is between its two lines.  A process is timed where its pipe is read, a guest by
 * the time that its keeper wrote to each line of the log: one clock, the host's. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/levels/private.h"

#define BEGIN_LINE "job begin"
#define END_LINE   "job end "
#define LOOK_MS    50 /* how often a guest's memory is asked for */
#define LIMIT_MS   600000

static int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One line of the job's; others are the kernel's and the firmware's. */
static void hear(struct levels_told *told, const char *line, size_t len, int64_t at)
{
    char text[256];
    unsigned long bytes;
    unsigned primes;
    char hash[65];
    const char *end;

    (void)str_print(text, sizeof text, "%.*s", (int)(len < 255 ? len : 255), line);
    if (told->began_ns == 0 && strstr(text, BEGIN_LINE) != NULL) {
        told->began_ns = at;
    }
    end = strstr(text, END_LINE);
    if (told->ended_ns == 0 && end != NULL &&
        sscanf(end + sizeof END_LINE - 1, "%lu %64s %u", &bytes, hash, &primes) == 3) {
        told->ended_ns = at;
        (void)str_print(told->found, sizeof told->found, "%lu %s %u", bytes, hash,
                        primes);
    }
}

static void hear_file(struct levels_told *told, int fd)
{
    SCOPED(scope_free) char *line = NULL;
    FILE *f = fdopen(fd, "r");
    size_t room = 0;
    ssize_t n;

    while (f != NULL && (n = getline(&line, &room, f)) > 0) {
        hear(told, line, (size_t)n, now_ns());
    }
    if (f != NULL) {
        (void)fclose(f);
    } else {
        (void)close(fd);
    }
}

static int start_here(const struct levels_job *j, int out, pid_t *ret)
{
    extern char **environ;
    posix_spawn_file_actions_t actions;
    char name[] = "job";
    char units[24];
    char *argv[] = {name, units, NULL};
    int r;

    (void)str_print(units, sizeof units, "%" PRIu64, j->units);
    r = posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        r = r == 0 ? posix_spawn(ret, j->program, &actions, NULL, argv, environ) : r;
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    return -r;
}

int levels_run_here(const struct levels_job *j, struct levels_told *ret, struct err *e)
{
    struct rusage used = {0};
    int pipe_fd[2];
    int status = 0;
    pid_t pid;
    int r;

    memset(ret, 0, sizeof *ret);
    if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    ret->ordered_ns = now_ns();
    r = start_here(j, pipe_fd[1], &pid);
    (void)close(pipe_fd[1]);
    if (r < 0) {
        (void)close(pipe_fd[0]);
        return err_sys(e, r, "cannot run '%s'", j->program);
    }
    hear_file(ret, pipe_fd[0]);
    if (wait4(pid, &status, 0, &used) == pid) {
        ret->memory_bytes = (uint64_t)used.ru_maxrss * 1024;
    }
    return 0;
}

static int hear_line(void *arg, const struct node_log_line *line)
{
    int64_t at;

    if (units_parse_time(line->time, &at) == 0) {
        hear(arg, line->text, line->len, at);
    }
    return 0;
}

/* Until it ends; what its group of processes had at most, as often as we look. */
static void watch(struct node *n, const char *id, struct levels_told *told)
{
    struct err gone = {0};
    json_t *stats = NULL;

    while (node_guest_stats(n, id, &stats, &gone) == 0) {
        json_int_t peak = json_integer_value(json_object_get(stats, "memory_peak_bytes"));

        if (peak > 0 && (uint64_t)peak > told->memory_bytes) {
            told->memory_bytes = (uint64_t)peak;
        }
        json_decref(stats);
        (void)poll(NULL, 0, LOOK_MS);
    }
}

static int check_engine(struct node *n, const char *id, const char *wanted, struct err *e)
{
    SCOPED(scope_json) json_t *shown = NULL;
    const char *engine = "";
    const char *why = "";
    int r = node_guest_inspect(n, id, &shown, e);

    if (r == 0 &&
        json_unpack(shown, "{s:{s:s, s:s}}", "machine", "engine", &engine, "why", &why) ==
            0 &&
        strcmp(engine, wanted) != 0) {
        return err_set(e, -EOPNOTSUPP, "%s", why);
    }
    return r;
}

int levels_run_guest(struct node *n, json_t *order, const char *engine,
                     struct levels_told *ret, struct err *e)
{
    const struct node_log_query lines = {.tail = -1, .fn = hear_line, .arg = ret};
    struct node_run_result run = {.console = -1};
    struct err ignored = {0};
    const char *id;
    int code = 0;
    int r;

    memset(ret, 0, sizeof *ret);
    (void)json_object_set_new(order, "detach", json_true());
    (void)json_object_set_new(order, "timeout", json_integer(LIMIT_MS));
    (void)json_object_set_new(order, "network", json_string("none"));
    ret->ordered_ns = now_ns();
    r = node_run(n, order, &run, e);
    if (r < 0) {
        return r;
    }
    id = json_string_value(json_object_get(run.guest, "id"));
    r = engine != NULL ? check_engine(n, id, engine, e) : 0;
    if (r == 0) {
        watch(n, id, ret);
        r = node_guest_wait(n, id, &code, e);
    }
    r = r == 0 ? node_guest_logs(n, id, &lines, e) : r;
    (void)node_guest_delete(n, id, true, &ignored);
    if (r == 0 && ret->ended_ns == 0) {
        r = err_set(e, -EPROTO, "the job did not end: the guest's exit code was %d",
                    code);
    }
    json_decref(run.guest);
    return r;
}
