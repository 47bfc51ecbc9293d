/* worker.c - connections come and go, each request is answered in a strand of its own.
 *
 * A connection has one request under way.  While it is answered, its socket is not
 * read - but for jobs, which take the word to go on, and which end when the peer leaves.
 * Whatever is bound to a connection ends with it. */
#include "resource/storage/tool/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/filter/throttle.h"
#include "resource/storage/job/job.h"
#include "resource/storage/tool/exporter.h"

#define CONNECTIONS_MOST 64
#define PROGRESS_NS      250000000u
#define LONELY_NS        ((uint64_t)60 * 1000000000u) /* nobody has ever come */

/* ---- answers ---- */

/* A peer that does not take its answers is not talked to any more. */
static void send_lines(struct connection *c, const char *text, size_t bytes)
{
    if (!c->gone && bytes > 0 &&
        send(c->watch.fd, text, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)bytes) {
        c->gone = true;
    }
}

void call_send(struct call *c)
{
    send_lines(c->from, c->lines, c->filled);
    c->filled = 0;
}

void call_answer(struct call *c, const char *key, const char *fmt, ...)
{
    char value[ERR_TEXT_BYTES];
    size_t bytes;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    for (char *at = value; *at != '\0'; at++) {
        *at = *at == '\n' ? ' ' : *at;
    }
    bytes = strlen(key) + strlen(value) + 2;
    if (c->filled + bytes + 1 > CALL_LINES_BYTES) {
        call_send(c);
    }
    c->filled += (size_t)snprintf(c->lines + c->filled, CALL_LINES_BYTES - c->filled,
                                  "%s=%s\n", key, value);
}

void call_progress(struct call *c, uint64_t done, uint64_t total)
{
    struct worker *w = c->worker;
    uint64_t now = loop_now_ns(w->loop);
    char line[64];

    w->job_done = done;
    w->job_total = total;
    if (now - w->told_ns >= PROGRESS_NS && !c->from->gone) {
        int n = snprintf(line, sizeof line, "progress=%llu %llu\n",
                         (unsigned long long)done, (unsigned long long)total);

        w->told_ns = now;
        (void)send(c->from->watch.fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

/* The last line of an answer. */
static void conclude(struct connection *c, int r, const struct err *e)
{
    char line[ERR_TEXT_BYTES + 64];
    int n = r == 0 ? snprintf(line, sizeof line, "ok\n")
                   : snprintf(line, sizeof line, "error %d %s\n", r,
                              e->text[0] != '\0' ? e->text : strerror(-r));

    send_lines(c, line, (size_t)n);
}

int call_check(const struct call *c)
{
    return c->from->gone || c->worker->ending ? -ECANCELED : 0;
}

/* ---- connections ---- */

static void maybe_end(struct worker *w)
{
    if (w->ending || (w->ever && w->connections == NULL && w->served == NULL)) {
        (void)strand_wake_all(&w->end);
    }
}

void serve_unserve(struct worker *w, struct served *x)
{
    struct served **at = &w->served;

    while (*at != x) {
        at = &(*at)->next;
    }
    *at = x->next;
    x->way->stop(x->server);
    free(x);
    maybe_end(w);
}

/* In a strand: the peer has left and nothing is under way. */
static void end_connection(void *arg)
{
    struct connection *c = arg;
    struct worker *w = c->worker;
    struct connection **at = &w->connections;
    struct served *x = w->served;

    while (x != NULL) {
        if (x->bound == c) {
            serve_unserve(w, x);
            x = w->served; /* others may have gone meanwhile */
        } else {
            x = x->next;
        }
    }
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    (void)close(c->watch.fd);
    free(c);
    maybe_end(w);
}

static void leave(struct connection *c)
{
    c->gone = true;
    loop_unwatch(&c->watch);
    if (!c->busy) {
        c->busy = true; /* nothing else begins */
        if (strand_start(loop_strands(c->worker->loop), end_connection, c) != 0) {
            c->busy = false; /* no memory: the end of the worker sees to it */
        }
    }
}

static void read_more(struct connection *c)
{
    (void)loop_watch_change(&c->watch, EPOLLIN);
}

/* In a strand. */
static void answer(void *arg)
{
    struct call *c = arg;
    struct connection *from = c->from;
    struct err e = {0};
    int r;

    c->words.e = &e;
    r = serve_verb(c);
    message_fini(&c->message);
    call_send(c);
    conclude(from, r, &e);
    free(c->lines);
    free(c);
    from->busy = false;
    from->listens = false;
    from->told = false;
    if (from->gone) {
        leave(from);
    } else {
        read_more(from);
    }
}

static int begin(struct connection *from, struct message *m)
{
    struct call *c = fault_calloc(1, sizeof *c);

    if (c != NULL) {
        c->lines = fault_malloc(CALL_LINES_BYTES);
    }
    if (c == NULL || c->lines == NULL) {
        free(c);
        message_fini(m);
        return -ENOMEM;
    }
    c->worker = from->worker;
    c->from = from;
    c->message = *m;
    c->verb = m->words[0];
    c->words = (struct request){.words = m->words + 1,
                                .count = m->count - 1,
                                .answer_fd = -1,
                                .loop = from->worker->loop};
    from->busy = true;
    from->listens = serve_verb_listens(c->verb);
    if (!from->listens) {
        (void)loop_watch_change(&from->watch, 0);
    }
    if (strand_start(loop_strands(from->worker->loop), answer, c) != 0) {
        from->busy = false;
        message_fini(&c->message);
        free(c->lines);
        free(c);
        read_more(from);
        return -ENOMEM;
    }
    return 0;
}

/* What is said to a job: nothing but to go on. */
static void tell(struct connection *c, struct message *m)
{
    c->told = c->told || strcmp(m->words[0], "go") == 0;
    message_fini(m);
}

static void came(struct loop_watch *watch, uint32_t events)
{
    struct connection *c =
        (struct connection *)((char *)watch - offsetof(struct connection, watch));
    struct message m;
    struct err e = {0};
    int r = (events & EPOLLIN) != 0 ? message_receive(watch->fd, &m, &e) : -ECONNRESET;

    if (c->busy && r != -ECONNRESET) {
        if (r == 0) {
            tell(c, &m);
        }
        return;
    }
    if (r == 0) {
        r = begin(c, &m);
    }
    if (r != 0 && r != -EAGAIN && r != -ECONNRESET) {
        conclude(c, r, &e);
    }
    if (r == -ECONNRESET || (c->gone && !c->busy)) {
        leave(c);
    }
}

int serve_talk(struct worker *w, int take_fd, struct err *e)
{
    struct connection *c = fault_calloc(1, sizeof *c);
    int r = c == NULL ? -ENOMEM : 0;

    if (r == 0) {
        c->worker = w;
        c->watch = (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = came};
        r = loop_watch(w->loop, &c->watch);
    }
    if (r != 0) {
        (void)close(take_fd);
        free(c);
        return err_sys(e, r, "cannot talk to a client");
    }
    c->next = w->connections;
    w->connections = c;
    w->ever = true;
    return 0;
}

static void accept_clients(struct loop_watch *watch, uint32_t events)
{
    struct worker *w = (struct worker *)((char *)watch - offsetof(struct worker, listen));
    unsigned n = 0;
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    for (struct connection *c = w->connections; c != NULL; c = c->next) {
        n++;
    }
    if (fd >= 0 && (w->ending || n >= CONNECTIONS_MOST)) {
        (void)close(fd);
    } else if (fd >= 0) {
        (void)serve_talk(w, fd, NULL);
    }
}

int serve_listen(struct worker *w, int take_fd, struct err *e)
{
    int flags = fcntl(take_fd, F_GETFL);
    int r = flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) != 0 ? -errno : 0;

    if (r == 0) {
        w->listen =
            (struct loop_watch){.fd = take_fd, .events = EPOLLIN, .fn = accept_clients};
        r = loop_watch(w->loop, &w->listen);
    }
    if (r != 0) {
        w->listen = (struct loop_watch){.fd = -1};
        (void)close(take_fd);
        return err_sys(e, r, "cannot listen for control");
    }
    return 0;
}

/* ---- life ---- */

int serve_create(struct loop *l, struct graph *g, struct blk *disk,
                 struct worker **ret_worker, struct err *e)
{
    struct worker *w = fault_calloc(1, sizeof *w);
    struct blk *root = NULL;
    int r = w == NULL ? err_sys(e, -ENOMEM, "cannot serve a disk")
                      : job_root_create(disk, &root, e);

    if (r == 0) {
        w->loop = l;
        w->graph = g;
        w->listen.fd = -1;
        w->root = (struct blk_edge){.user = "worker", .lets = BLK_USE_ALL};
        r = blk_attach(&w->root, root, e);
    }
    if (r != 0) {
        free(w);
        return r;
    }
    *ret_worker = w;
    return 0;
}

struct loneliness {
    struct loop_timer timer;
    struct worker *worker;
};

static void give_up(struct loop_timer *t)
{
    struct worker *w = ((struct loneliness *)t)->worker;

    w->ever = true;
    maybe_end(w);
}

void serve_run(struct worker *w)
{
    struct loneliness l = {.timer.fn = give_up, .worker = w};

    loop_timer_set(w->loop, &l.timer, LONELY_NS);
    while (!w->ending && !(w->ever && w->connections == NULL && w->served == NULL)) {
        strand_wait(loop_strands(w->loop), &w->end);
    }
    loop_timer_clear(w->loop, &l.timer);
}

void serve_stop(struct worker *w)
{
    w->ending = true;
    maybe_end(w);
}

static bool any_is_busy(const struct worker *w)
{
    for (const struct connection *c = w->connections; c != NULL; c = c->next) {
        if (c->busy) {
            return true;
        }
    }
    return false;
}

int serve_destroy(struct worker *w)
{
    int r;

    if (w == NULL) {
        return 0;
    }
    serve_stop(w);
    if (w->listen.fd >= 0) {
        loop_unwatch(&w->listen);
        (void)close(w->listen.fd);
    }
    while (any_is_busy(w)) {
        loop_sleep(w->loop, 1000000);
    }
    while (w->served != NULL) {
        serve_unserve(w, w->served);
    }
    while (w->connections != NULL) {
        struct connection *c = w->connections;

        if (!c->gone) {
            loop_unwatch(&c->watch);
        }
        end_connection(c);
    }
    r = blk_flush(w->root.disk);
    blk_detach(&w->root);
    filter_throttle_group_drop(w->limits);
    free(w);
    return r;
}
