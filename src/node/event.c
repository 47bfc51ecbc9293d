/* event.c - the host realm's log: what was done to which guest, by whom.
 *
 * One JSON object per line in STATE/events.log, appended with one write so that
 * many commands and keepers share the file.  Guests cannot reach it; what they
 * print goes to their own log.  Above ROTATE_BYTES the file becomes
 * `events.log.1` once. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/private.h"

#define ROTATE_BYTES (8 << 20)

static int64_t wall_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int event_open(struct node *n)
{
    char path[PATH_MAX];
    char old[PATH_MAX];
    struct stat st;

    (void)str_print(path, sizeof path, "%s/events.log", n->state);
    if (stat(path, &st) == 0 && st.st_size > ROTATE_BYTES) {
        (void)str_print(old, sizeof old, "%s/events.log.1", n->state);
        (void)rename(path, old);
    }
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void event_write(struct node *n, const char *what, const struct guest *g,
                 const char *detail)
{
    SCOPED(scope_close) int fd = event_open(n);
    SCOPED(scope_json) json_t *event = NULL;
    SCOPED(scope_free) char *line = NULL;
    char time[UNITS_TEXT_BYTES];
    struct str s = {0};

    units_print_time(wall_ns(), time);
    event = json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s*, s:i}", "time", time, "type",
                      "guest", "event", what, "id", g != NULL ? g->id : NULL, "name",
                      g != NULL ? guest_text(g, "name") : NULL, "detail", detail, "uid",
                      (int)getuid());
    line = event != NULL ? json_dumps(event, JSON_COMPACT) : NULL;
    if (fd < 0 || line == NULL) {
        return;
    }
    str_addf(&s, "%s\n", line);
    if (!str_failed(&s)) {
        (void)!write(fd, s.data, s.len);
    }
    str_fini(&s);
}

/* Hand on one line; non-zero ends the reading. */
static int hand_line(const char *line, size_t len, int64_t since_ns, node_event_fn *fn,
                     void *arg)
{
    SCOPED(scope_json) json_t *event = json_loadb(line, len, 0, NULL);
    const char *time = json_string_value(json_object_get(event, "time"));
    int64_t at = 0;

    if (event == NULL || time == NULL || units_parse_time(time, &at) < 0 ||
        at < since_ns) {
        return 0;
    }
    return fn(arg, event);
}

struct event_reader {
    struct str held; /* an unfinished line */
    int64_t since_ns;
    node_event_fn *fn;
    void *arg;
};

static int read_more(int fd, struct event_reader *reader)
{
    char buf[16384];
    ssize_t n;

    while ((n = read(fd, buf, sizeof buf)) > 0) {
        size_t from = 0;

        str_add_bytes(&reader->held, buf, (size_t)n);
        for (size_t i = 0; i < reader->held.len; i++) {
            int r;

            if (reader->held.data[i] != '\n') {
                continue;
            }
            r = hand_line(reader->held.data + from, i - from, reader->since_ns,
                          reader->fn, reader->arg);
            if (r != 0) {
                return r;
            }
            from = i + 1;
        }
        memmove(reader->held.data, reader->held.data + from, reader->held.len - from);
        reader->held.len -= from;
    }
    return n < 0 ? -errno : 0;
}

static int follow_file(const char *path, int fd, struct event_reader *reader)
{
    SCOPED(scope_close) int watch = inotify_init1(IN_CLOEXEC);
    char events[4096];
    int r = 0;

    if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY | IN_MOVE_SELF) < 0) {
        return -errno;
    }
    while (r == 0) {
        r = read_more(fd, reader);
        if (r == 0 && read(watch, events, sizeof events) < 0 && errno != EINTR) {
            r = -errno;
        }
    }
    return r;
}

int node_events(struct node *n, int64_t since_ns, bool follow, node_event_fn *fn,
                void *arg, struct err *e)
{
    struct event_reader reader = {.since_ns = since_ns, .fn = fn, .arg = arg};
    char path[PATH_MAX];
    SCOPED(scope_close) int fd = -1;
    int r;

    (void)str_print(path, sizeof path, "%s/events.log", n->state);
    fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_sys(e, -errno, "cannot read the event log '%s'", path);
    }
    if (follow && since_ns == 0) {
        (void)lseek(fd, 0, SEEK_END);
    }
    r = read_more(fd, &reader);
    if (r == 0 && follow) {
        r = follow_file(path, fd, &reader);
    }
    str_fini(&reader.held);
    return r < 0 ? err_sys(e, r, "cannot read the event log '%s'", path) : 0;
}
