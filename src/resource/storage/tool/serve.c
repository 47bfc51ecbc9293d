/* serve.c - the worker as an operation, and the verbs that serve its disk to others. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/worker.h"

#define KEYS_MOST 64

/* ---- export ---- */

static const char *const usual[] = {"socket",  "place",   "keep",  "tls",
                                    "secrets", "keep-fd", "marks", NULL};

static int check_words(const struct call *c, const struct request *words,
                       const struct exporter *x)
{
    const char *all[KEYS_MOST + 1];
    unsigned n = 0;

    for (const char *const *k = usual; *k != NULL; k++) {
        all[n++] = *k;
    }
    for (const char *const *k = x->keys; *k != NULL && n < KEYS_MOST; k++) {
        all[n++] = *k;
    }
    all[n] = NULL;
    if (request_has(words, "tls") && c->worker->tls == NULL) {
        return err_set(c->words.e, -EINVAL, "the worker was started without 'tls='");
    }
    return request_check(words, all);
}

static bool listens(int fd)
{
    int yes = 0;
    socklen_t bytes = sizeof yes;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &bytes) == 0 && yes != 0;
}

/* The numbers in the words are those of descriptors that came with the message. */
static int take_sockets(const struct request *words, const struct exporter *x,
                        struct export_ask *ask)
{
    unsigned places = 0;

    for (unsigned i = 0; i < words->count; i++) {
        const char *word = words->words[i];

        if (strncmp(word, "socket=", 7) == 0) {
            if (ask->socket_count == EXPORT_SOCKETS_MOST) {
                return err_set(words->e, -E2BIG, "too many sockets");
            }
            if (!(x->takes != NULL ? x->takes : listens)(atoi(word + 7))) {
                return err_set(words->e, -ENOTSOCK, "%s is not served on such a socket",
                               x->name);
            }
            ask->sockets[ask->socket_count++] = atoi(word + 7);
        } else if (strncmp(word, "place=", 6) == 0 && places < EXPORT_SOCKETS_MOST) {
            ask->places[places++] = word + 6;
        }
    }
    for (; places < ask->socket_count; places++) {
        ask->places[places] = "0.0.0.0:0";
    }
    return ask->socket_count > 0 ? 0
                                 : err_set(words->e, -EINVAL,
                                           "no socket came with the request (socket=@0)");
}

static int fd_word(const struct request *words, const char *key)
{
    const char *value = request_get(words, key);

    return value != NULL ? atoi(value) : -1;
}

/* In a strand. */
static void end_served(void *arg)
{
    struct served *gone = arg;
    struct worker *w = gone->worker;

    for (struct served *s = w->served; s != NULL; s = s->next) {
        if (s == gone) { /* it is not on its way out already */
            serve_unserve(w, s);
            return;
        }
    }
}

/* Without memory it stays until it is told to end. */
static void served_gone(void *arg)
{
    (void)strand_start(loop_strands(((struct served *)arg)->worker->loop), end_served,
                       arg);
}

static int start(struct call *c, const struct exporter *x, struct served *s)
{
    struct request words = c->words;
    struct export_ask ask = {.words = &words,
                             .disk = c->worker->root.disk,
                             .gone = served_gone,
                             .gone_arg = s};
    const char *marks;
    int r;

    words.words++; /* behind the way */
    words.count--;
    r = check_words(c, &words, x);
    r = r != 0 ? r : take_sockets(&words, x, &ask);
    if (r != 0) {
        return r;
    }
    marks = request_get(&words, "marks");
    if (marks != NULL) {
        if (call_marks(c, marks) == NULL) {
            return -ENOENT;
        }
        ask.marks = graph_disk(c->worker->graph, marks, NULL);
    }
    ask.secrets = fd_word(&words, "secrets");
    ask.keep = fd_word(&words, "keep-fd");
    ask.tls = request_has(&words, "tls") ? c->worker->tls : NULL;
    s->way = x;
    s->worker = c->worker;
    s->bound = request_has(&words, "keep") ? NULL : c->from;
    return x->start(&ask, &s->server, c->words.e);
}

int serve_export(struct call *c)
{
    const struct exporter *x =
        c->words.count > 0 ? exporter_find(c->words.words[0]) : NULL;
    struct served *s;
    int r;

    if (c->worker->locked) {
        return err_set(c->words.e, -EACCES, "the disk was opened without its passphrase");
    }
    if (x == NULL) {
        return err_set(c->words.e, -EINVAL,
                       "no way to export is named (nbd, iscsi, fuse, vhost-user)");
    }
    s = fault_calloc(1, sizeof *s);
    r = s == NULL ? err_sys(c->words.e, -ENOMEM, "cannot export") : start(c, x, s);
    if (r != 0) {
        free(s);
        return r;
    }
    s->id = ++c->worker->ids;
    s->next = c->worker->served;
    c->worker->served = s;
    call_answer(c, "export", "%llu", (unsigned long long)s->id);
    return 0;
}

int serve_unexport(struct call *c)
{
    uint64_t id = 0;
    int r = request_number(&c->words, "id", 0, &id);

    for (struct served *s = c->worker->served; r == 0 && s != NULL; s = s->next) {
        if (s->id == id) {
            serve_unserve(c->worker, s);
            return 0;
        }
    }
    return r != 0 ? r
                  : err_set(c->words.e, -ENOENT, "there is no export %llu",
                            (unsigned long long)id);
}

/* ---- the operation ---- */

static const char *const keys[] = {"control", "tls", "tls-verify", "for-care", NULL};

struct signals {
    struct loop_watch watch; /* first */
    struct worker *worker;
};

static void on_signal(struct loop_watch *w, uint32_t events)
{
    struct worker *worker = ((struct signals *)w)->worker;

    (void)events;
    loop_unwatch(w); /* it is gone when the worker has stopped */
    serve_stop(worker);
}

/* The control socket, ours alone; or -errno. */
static int control_socket(const struct request *r)
{
    const char *text = request_get(r, "control");
    int fd = text != NULL ? fcntl(atoi(text), F_DUPFD_CLOEXEC, 3) : -1;

    if (fd < 0) {
        return err_set(r->e, -EINVAL, "no control socket is passed (control=FD)");
    }
    return fd;
}

static int run(struct request *r, struct worker *w, int *take_control)
{
    struct signals s = {.watch = {.fd = r->signals, .events = EPOLLIN, .fn = on_signal},
                        .worker = w};
    int e = serve_listen(w, scope_take_fd(take_control), r->e);

    e = e != 0 ? e : loop_watch(r->loop, &s.watch);
    if (e == 0) {
        (void)request_answer(r, "serving", "yes");
        serve_run(w);
        loop_unwatch(&s.watch);
    }
    return e;
}

int tool_serve(struct request *r)
{
    SCOPED(scope_close) int control = -1;
    struct nbd_tls *tls = NULL;
    struct worker *w = NULL;
    struct blk *disk;
    int end;
    int e = request_check(r, keys);

    request_catch_signals(r);
    control = e == 0 ? control_socket(r) : -1;
    e = e == 0 && control < 0 ? control : e;
    if (e == 0 && request_has(r, "tls")) {
        e = nbd_tls_load(request_get(r, "tls"), request_has(r, "tls-verify"), &tls, r->e);
    }
    e = e != 0 ? e : request_plan(r);
    e = e != 0 ? e : tool_confine(r, NULL);
    e = e != 0 ? e : request_make(r, &disk);
    if (e == 0) {
        graph_close_named(r->graph);
        e = serve_create(r->loop, r->graph, disk, &w, r->e);
    }
    if (e == 0) {
        w->tls = tls;
        w->locked = request_has(r, "for-care");
        e = run(r, w, &control);
    }
    end = serve_destroy(w);
    nbd_tls_free(tls);
    return e != 0 ? e : end;
}
