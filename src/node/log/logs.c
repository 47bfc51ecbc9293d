/* logs.c - read a guest's log: the kept files from the oldest to the newest.
 *
 * The layout is the keeper's (node/keeper/log.c).  Following waits for changes
 * of the directory and ends with the guest.  However many rotations fall between two
 * looks, what is still kept is read, in order and once. */
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

#define FILES_MOST    1001 /* `log` and as many as --log-count may ask for */
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

static ino_t inode_of(FILE *f)
{
    struct stat st;

    return f != NULL && fstat(fileno(f), &st) == 0 ? st.st_ino : 0;
}

/* The kept files by their inodes, the newest first: while they are looked at the keeper
 * may give each the next number, so that a number says little. */
struct chain {
    size_t n;
    ino_t inodes[FILES_MOST];
};

/* List the files that are newer than `own` (0: all).  A name is missing for a moment
 * while its file is renamed: it is then found at the next number. */
static void list_newer(const char *dir, ino_t own, struct chain *c)
{
    unsigned missing = 0;

    c->n = 0;
    for (unsigned i = 0; missing < 2 && c->n < FILES_MOST; i++) {
        FILE *f = open_log(dir, i);
        ino_t inode = inode_of(f);

        if (f == NULL) {
            missing += 1;
            continue;
        }
        missing = 0;
        (void)fclose(f);
        if (inode == own) {
            return;
        }
        if (c->n == 0 || c->inodes[c->n - 1] != inode) { /* else renamed just now */
            c->inodes[c->n++] = inode;
        }
    }
}

/* Open file `k` of the chain; NULL when it was deleted meanwhile. */
static FILE *open_of_chain(const char *dir, const struct chain *c, size_t k)
{
    unsigned missing = 0;

    for (unsigned i = k > 0 ? (unsigned)k - 1 : 0; missing < 3; i++) {
        FILE *f = open_log(dir, i);

        if (f != NULL && inode_of(f) == c->inodes[k]) {
            return f;
        }
        missing = f == NULL ? missing + 1 : 0;
        if (f != NULL) {
            (void)fclose(f);
        }
    }
    return NULL;
}

/* Read what is newer than *last, which is at its end then, or all when it is NULL;
 * *last becomes the newest one, still open at its end. */
static int read_newer(const char *dir, struct log_reader *rd, FILE **last)
{
    SCOPED(scope_free) struct chain *c = malloc(sizeof *c);
    int r = 0;

    if (c == NULL) {
        return -ENOMEM;
    }
    list_newer(dir, inode_of(*last), c);
    if (c->n != 0 && *last != NULL) {
        r = read_lines(*last, rd); /* what came between the last look and the rotation */
    }
    for (size_t k = c->n; r == 0 && k-- > 0;) {
        FILE *f = open_of_chain(dir, c, k);

        if (f == NULL) {
            continue;
        }
        if (*last != NULL) {
            (void)fclose(*last);
        }
        *last = f;
        r = read_lines(f, rd);
    }
    return r;
}

static bool is_alive(struct node *n, const struct guest *g)
{
    struct guest_status st;

    return guest_status(n, g->id, &st, NULL) == 0 && guest_is_alive(&st);
}

static int follow(struct node *n, const struct guest *g, const char *dir,
                  struct log_reader *rd, FILE **last)
{
    SCOPED(scope_close) int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (watch < 0 ||
        inotify_add_watch(watch, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        return -errno;
    }
    for (;;) {
        struct pollfd p = {.fd = watch, .events = POLLIN};
        char events[4096];
        bool alive = is_alive(n, g); /* before the look, so that its last line is seen */
        int r = *last != NULL ? read_lines(*last, rd) : 0;

        if (r == 0) {
            r = read_newer(dir, rd, last);
        }
        if (r != 0 || !alive) {
            return r;
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
        SCOPED(scope_file) FILE *counted = NULL;

        rd.counting = true;
        (void)read_newer(dir, &rd, &counted);
        rd.skip = rd.count > q->tail ? rd.count - q->tail : 0;
        rd.count = 0;
        rd.counting = false;
    }
    r = read_newer(dir, &rd, &last);
    if (r == 0 && q->follow) {
        r = follow(n, &g, dir, &rd, &last);
    }
    if (r < 0) {
        r = err_sys(e, r, "cannot read the log of guest '%s'", guest);
    }
    guest_fini(&g);
    return r < 0 ? r : 0;
}
