/* logs.c - read a guest's log: the kept files from the oldest to the newest.
 *
 * The layout is the keeper's (node/keeper/log.c).  Following waits for changes
 * of the directory and ends with the guest. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "node/private.h"

#define FILES_MOST    100
#define LINE_MOST     65536
#define LOOK_AGAIN_MS 250

struct log_reader {
    const struct node_log_query *q;
    int64_t skip; /* lines to leave out first, for `tail` */
    int64_t count;
    bool counting; /* only count */
};

/* "TIME STREAM TAG TEXT" */
static int hand_line(struct log_reader *rd, char *line, size_t len)
{
    struct node_log_line out = {0};
    char *stream = memchr(line, ' ', len);
    char *tag = stream != NULL ? strchr(stream + 1, ' ') : NULL;
    int64_t at;

    if (tag == NULL || (size_t)(tag - line) + 3 > len) {
        return 0; /* cut off by a full disk */
    }
    *stream = '\0';
    *tag = '\0';
    out.time = line;
    out.stream = stream + 1;
    out.partial = tag[1] == 'P';
    out.text = tag + 3;
    out.len = len - (size_t)(out.text - line);
    if (rd->q->since_ns != 0 &&
        (units_parse_time(out.time, &at) < 0 || at < rd->q->since_ns)) {
        return 0;
    }
    rd->count += 1;
    if (rd->counting || rd->count <= rd->skip) {
        return 0;
    }
    return rd->q->fn(rd->q->arg, &out);
}

static int read_lines(FILE *f, struct log_reader *rd)
{
    SCOPED(scope_free) char *line = NULL;
    size_t cap = 0;

    for (;;) {
        off_t at = ftello(f);
        ssize_t n = getline(&line, &cap, f);
        int r;

        if (n <= 0) {
            clearerr(f);
            return 0;
        }
        if (line[n - 1] != '\n') { /* being written: read it again later */
            (void)fseeko(f, at, SEEK_SET);
            return 0;
        }
        line[n - 1] = '\0';
        r = hand_line(rd, line, (size_t)n - 1);
        if (r != 0) {
            return r;
        }
    }
}

static FILE *open_log(const char *dir, unsigned i)
{
    char path[PATH_MAX];

    if (i == 0) {
        (void)str_print(path, sizeof path, "%s/log", dir);
    } else {
        (void)str_print(path, sizeof path, "%s/log.%u", dir, i);
    }
    return fopen(path, "re");
}

/* All files; *ret_last is the newest one, still open at its end. */
static int read_files(const char *dir, struct log_reader *rd, FILE **ret_last)
{
    for (unsigned i = FILES_MOST; i-- > 0;) {
        FILE *f = open_log(dir, i);
        int r;

        if (f == NULL) {
            continue;
        }
        r = read_lines(f, rd);
        if (r != 0 || i != 0 || ret_last == NULL) {
            (void)fclose(f);
        } else {
            *ret_last = f;
        }
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static bool was_rotated(FILE *f, const char *dir)
{
    char path[PATH_MAX];
    struct stat now;
    struct stat own;

    (void)str_print(path, sizeof path, "%s/log", dir);
    return stat(path, &now) == 0 && fstat(fileno(f), &own) == 0 &&
           now.st_ino != own.st_ino;
}

static int follow(struct node *n, const struct guest *g, const char *dir,
                  struct log_reader *rd, FILE **f)
{
    SCOPED(scope_close) int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (watch < 0 ||
        inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        return -errno;
    }
    for (;;) {
        struct guest_status st;
        struct pollfd p = {.fd = watch, .events = POLLIN};
        char events[4096];
        bool alive = guest_status(n, g->id, &st, NULL) == 0 &&
                     (st.state == GUEST_RUNNING || st.state == GUEST_RESTARTING ||
                      st.state == GUEST_PAUSED);
        int r = *f != NULL ? read_lines(*f, rd) : 0;

        if (r != 0) {
            return r;
        }
        if (*f == NULL || was_rotated(*f, dir)) {
            if (*f != NULL) {
                (void)fclose(*f);
            }
            *f = open_log(dir, 0);
            if (*f != NULL) {
                continue;
            }
        }
        if (!alive) {
            return 0;
        }
        (void)poll(&p, 1, LOOK_AGAIN_MS);
        while (read(watch, events, sizeof events) > 0) {
        }
    }
}

int node_guest_logs(struct node *n, const char *guest, const struct node_log_query *q,
                    struct err *e)
{
    struct log_reader rd = {.q = q, .skip = 0};
    SCOPED(scope_file) FILE *last = NULL;
    struct guest g = {0};
    char dir[PATH_MAX];
    int r = guest_find(n, guest, &g, e);

    if (r < 0) {
        return r;
    }
    (void)guest_state_path(n, g.id, "logs", dir);
    if (q->tail >= 0) {
        rd.counting = true;
        (void)read_files(dir, &rd, NULL);
        rd.skip = rd.count > q->tail ? rd.count - q->tail : 0;
        rd.count = 0;
        rd.counting = false;
    }
    r = read_files(dir, &rd, &last);
    if (r == 0 && q->follow) {
        r = follow(n, &g, dir, &rd, &last);
    }
    if (r < 0) {
        r = err_sys(e, r, "cannot read the log of guest '%s'", guest);
    }
    guest_fini(&g);
    return r < 0 ? r : 0;
}
