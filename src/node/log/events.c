/* events.c - read the host realm's log, as far back as it is kept, and go on with it.
 *
 * A keeper does not know its guest's name, so that a line without one gets the name that
 * an earlier line, or else the store, has for its identifier.
 *
 * Following: the file is exchanged when it has grown large (see event.c).  The former
 * one stays open, since a writer may have it still; and when two exchanges fell between
 * two looks, the file between is read whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/keeper/keeper.h"
#include "node/private.h"

#define OLD KEEPER_EVENTS ".1"

struct source {
    int fd;          /* -1: none */
    struct str held; /* an unfinished line */
};

struct event_reader {
    struct node *n;
    struct source former; /* what `now` was before */
    struct source now;
    json_t *names; /* identifier to name */
    int64_t since_ns;
    bool quiet; /* only learn names */
    node_event_fn *fn;
    void *arg;
};

static void close_source(struct source *s)
{
    scope_close(&s->fd);
    s->fd = -1;
    str_fini(&s->held);
}

static void name_event(struct event_reader *rd, json_t *event)
{
    const char *id = json_string_value(json_object_get(event, "id"));
    json_t *name = json_object_get(event, "name");
    struct guest g = {0};

    if (id == NULL) {
        return;
    }
    if (name != NULL) {
        (void)json_object_set(rd->names, id, name);
        return;
    }
    name = json_object_get(rd->names, id);
    if (name != NULL) {
        (void)json_object_set(event, "name", name);
    } else if (guest_load(rd->n, id, &g, NULL) == 0) {
        name = json_string(guest_text(&g, "name"));
        (void)json_object_set(rd->names, id, name);
        (void)json_object_set_new(event, "name", name);
    }
    guest_fini(&g);
}

/* Hand on one line; non-zero ends the reading. */
static int hand_line(struct event_reader *rd, const char *line, size_t len)
{
    SCOPED(scope_json) json_t *event = json_loadb(line, len, 0, NULL);
    const char *time = json_string_value(json_object_get(event, "time"));
    int64_t at = 0;

    if (!json_is_object(event) || time == NULL || units_parse_time(time, &at) < 0) {
        return 0;
    }
    name_event(rd, event);
    return rd->quiet || at < rd->since_ns ? 0 : rd->fn(rd->arg, event);
}

static int read_source(struct event_reader *rd, struct source *s)
{
    char buf[16384];
    ssize_t n = 0;

    while (s->fd >= 0 && (n = read(s->fd, buf, sizeof buf)) > 0) {
        size_t from = 0;

        str_add_bytes(&s->held, buf, (size_t)n);
        if (str_failed(&s->held)) {
            return -ENOMEM;
        }
        for (size_t i = 0; i < s->held.len; i++) {
            int r;

            if (s->held.data[i] != '\n') {
                continue;
            }
            r = hand_line(rd, s->held.data + from, i - from);
            if (r != 0) {
                return r;
            }
            from = i + 1;
        }
        memmove(s->held.data, s->held.data + from, s->held.len - from);
        s->held.len -= from;
    }
    return n < 0 ? -errno : 0;
}

static int read_all(struct event_reader *rd)
{
    int r = read_source(rd, &rd->former);

    return r != 0 ? r : read_source(rd, &rd->now);
}

static bool same_file(int a, int b)
{
    struct stat one;
    struct stat two;

    return a >= 0 && b >= 0 && fstat(a, &one) == 0 && fstat(b, &two) == 0 &&
           one.st_ino == two.st_ino && one.st_dev == two.st_dev;
}

/* Take up the file that has the name now: 1 when it is another one. */
static int take_up(struct event_reader *rd, int dir, int watch)
{
    struct source between = {.fd = -1};
    int fd = openat(dir, KEEPER_EVENTS, O_RDONLY | O_CLOEXEC);
    char path[64];
    int r = 0;

    if (fd < 0 || same_file(fd, rd->now.fd)) {
        scope_close(&fd);
        return 0;
    }
    (void)str_print(path, sizeof path, "/proc/self/fd/%d", fd);
    (void)inotify_add_watch(watch, path, IN_MODIFY);
    between.fd = openat(dir, OLD, O_RDONLY | O_CLOEXEC);
    r = read_all(rd); /* it has got its last line, but for a late writer */
    if (r == 0 && rd->now.fd >= 0 && !same_file(between.fd, rd->now.fd) &&
        !same_file(between.fd, fd)) {
        r = read_source(rd, &between);
    }
    close_source(&between);
    close_source(&rd->former);
    rd->former = rd->now;
    rd->now = (struct source){.fd = fd};
    return r != 0 ? r : 1;
}

static int follow(struct event_reader *rd, int dir)
{
    SCOPED(scope_close) int watch = inotify_init1(IN_CLOEXEC);
    char path[64];
    char events[4096];
    int r = 0;

    (void)str_print(path, sizeof path, "/proc/self/fd/%d", dir);
    if (watch < 0 || inotify_add_watch(watch, path, IN_CREATE) < 0) {
        return -errno;
    }
    (void)str_print(path, sizeof path, "/proc/self/fd/%d", rd->now.fd);
    if (inotify_add_watch(watch, path, IN_MODIFY) < 0) {
        return -errno;
    }
    while (r == 0) {
        r = read_all(rd);
        if (r != 0) {
            return r;
        }
        r = take_up(rd, dir, watch);
        if (r == 1) {
            r = 0;
        } else if (r == 0 && read(watch, events, sizeof events) < 0 && errno != EINTR) {
            r = -errno;
        }
    }
    return r;
}

static int read_events(struct event_reader *rd, int dir, bool go_on)
{
    int r;

    rd->now.fd = openat(dir, KEEPER_EVENTS, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    rd->former.fd = openat(dir, OLD, O_RDONLY | O_CLOEXEC);
    if (rd->now.fd < 0) {
        return -errno;
    }
    rd->quiet = go_on && rd->since_ns == 0;
    r = read_all(rd);
    rd->quiet = false;
    return r == 0 && go_on ? follow(rd, dir) : r;
}

int node_events(struct node *n, int64_t since_ns, bool go_on, node_event_fn *fn,
                void *arg, struct err *e)
{
    struct event_reader rd = {.n = n,
                              .former = {.fd = -1},
                              .now = {.fd = -1},
                              .names = json_object(),
                              .since_ns = since_ns,
                              .fn = fn,
                              .arg = arg};
    SCOPED(scope_close) int dir = -1;
    int r = node_need_places(n, e);

    if (r < 0) {
        json_decref(rd.names);
        return r;
    }
    dir = event_dir(n);
    r = dir < 0 ? dir : read_events(&rd, dir, go_on);
    close_source(&rd.former);
    close_source(&rd.now);
    json_decref(rd.names);
    return r < 0 ? err_sys(e, r, "cannot read the event log in '%s'", n->state) : 0;
}
