/* status.c - the status file and the host-realm event log.
 *
 * The status file is rewritten in place with one pwrite of its full, fixed
 * length, so that a reader gets one whole JSON text padded with blanks. */
#include "node/keeper/private.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

/* What the file says; texts are borrowed. */
struct words {
    const char *state;
    pid_t pid;    /* 0: no guest runs */
    pid_t keeper; /* 0: it has ended */
    const char *started;
    const char *finished;
    int exit_code;
    uint64_t restarts;
    const char *health; /* NULL: no checks */
    bool stop_wanted;
};

static const char *state_word(const struct keeper *k)
{
    switch (k->phase) {
    case KEEPER_RUNNING:
        return "running";
    case KEEPER_RESTARTING:
        return "restarting";
    case KEEPER_ENDED:
        break;
    }
    return "stopped";
}

static void write_words(int fd, const struct words *w)
{
    char text[KEEPER_STATUS_BYTES];
    int n;

    n = snprintf(text, sizeof text,
                 "{\"state\":\"%s\",\"pid\":%d,\"keeper\":%d,\"started\":\"%s\","
                 "\"finished\":\"%s\",\"exit_code\":%d,\"restarts\":%" PRIu64
                 ",\"health\":\"%s\",\"stop_wanted\":%s}",
                 w->state, (int)w->pid, (int)w->keeper, w->started, w->finished,
                 w->exit_code, w->restarts, w->health != NULL ? w->health : "",
                 w->stop_wanted ? "true" : "false");
    if (n < 0 || n >= (int)sizeof text) {
        return;
    }
    memset(text + n, ' ', sizeof text - (size_t)n);
    text[sizeof text - 1] = '\n';
    if (fd >= 0) {
        (void)!pwrite(fd, text, sizeof text, 0);
    }
}

void keeper_write_status(struct keeper *k)
{
    const struct words w = {.state = state_word(k),
                            .pid = k->phase == KEEPER_RUNNING ? k->c.pid : 0,
                            .keeper = k->phase == KEEPER_ENDED ? 0 : getpid(),
                            .started = k->started_text,
                            .finished = k->finished_text,
                            .exit_code = k->exit_code,
                            .restarts = k->c.restarts,
                            .health = k->health,
                            .stop_wanted = k->stop_wanted};

    write_words(k->c.status, &w);
}

void keeper_announce(const struct keeper_config *c)
{
    char started[UNITS_TEXT_BYTES];
    struct timespec ts;
    const struct words w = {.state = "running",
                            .pid = c->pid,
                            .keeper = getpid(),
                            .started = started,
                            .finished = "",
                            .restarts = c->restarts,
                            .health = c->health_interval_ms != 0 ? "starting" : NULL};

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    units_print_time(ts.tv_sec * 1000000000LL + ts.tv_nsec, started);
    write_words(c->status, &w);
}

void keeper_write_event(struct keeper *k, const char *what)
{
    char time[UNITS_TEXT_BYTES];
    char line[256];
    struct timespec ts;
    int fd = k->c.events; /* the log may be another file by now: opened each time */
    int n;

    if (k->c.events_dir >= 0) {
        fd = openat(k->c.events_dir, KEEPER_EVENTS,
                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    if (fd < 0) {
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    units_print_time(ts.tv_sec * 1000000000LL + ts.tv_nsec, time);
    n = snprintf(line, sizeof line,
                 "{\"time\":\"%s\",\"type\":\"guest\",\"id\":\"%s\",\"event\":\"%s\","
                 "\"exit_code\":%d,\"by\":\"keeper\"}\n",
                 time, k->c.id, what, k->exit_code);
    if (n > 0 && n < (int)sizeof line) {
        (void)!write(fd, line, (size_t)n);
    }
    if (fd != k->c.events) {
        (void)close(fd);
    }
}
