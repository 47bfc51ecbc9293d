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

void keeper_write_status(struct keeper *k)
{
    char text[KEEPER_STATUS_BYTES];
    int n;

    n = snprintf(text, sizeof text,
                 "{\"state\":\"%s\",\"pid\":%d,\"keeper\":%d,\"started\":\"%s\","
                 "\"finished\":\"%s\",\"exit_code\":%d,\"restarts\":%" PRIu64
                 ",\"health\":\"%s\",\"stop_wanted\":%s}",
                 state_word(k), k->phase == KEEPER_RUNNING ? (int)k->c.pid : 0,
                 k->phase == KEEPER_ENDED ? 0 : (int)getpid(), k->started_text,
                 k->finished_text, k->exit_code, k->c.restarts,
                 k->health != NULL ? k->health : "", k->stop_wanted ? "true" : "false");
    if (n < 0 || n >= (int)sizeof text) {
        return;
    }
    memset(text + n, ' ', sizeof text - (size_t)n);
    text[sizeof text - 1] = '\n';
    if (k->c.status >= 0) {
        (void)!pwrite(k->c.status, text, sizeof text, 0);
    }
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
