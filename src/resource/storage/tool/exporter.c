/* exporter.c - the table of ways to serve a disk, and serving one with nothing else. */
#include "resource/storage/tool/exporter.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/tool/private.h"

#define BACKLOG   64
#define KEYS_MOST 64
#define LOOK_MS   200 /* how soon the last client's leaving is seen */
#define NS_PER_MS 1000000

static const struct exporter *const table[] = {&exporter_nbd, &exporter_iscsi,
                                               &exporter_fuse, &exporter_vhost_user};

const struct exporter *exporter_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}

int exporter_listen_unix(const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    SCOPED(scope_close) int fd = -1;

    if (strlen(path) >= sizeof a.sun_path) {
        return err_set(e, -ENAMETOOLONG, "cannot listen on '%s': the path is too long",
                       path);
    }
    (void)strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        listen(fd, BACKLOG) != 0) {
        return err_sys(e, -errno, "cannot listen on '%s'", path);
    }
    return scope_take_fd(&fd);
}

/* ---- an operation of its own ---- */

/* The words that every such operation has; files that are named here become descriptors. */
static const char *const usual[] = {"file",       "fd",     "format", "read-only",
                                    "direct",     "driver", "tls",    "once",
                                    "tls-verify", "chap",   "keep",   NULL};

static int check_words(const struct request *r, const struct exporter *x)
{
    const char *const *lists[] = {usual, x->keys, x->sockets};
    const char *all[KEYS_MOST + 1];
    unsigned n = 0;

    for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (const char *const *k = lists[i]; *k != NULL && n < KEYS_MOST; k++) {
            all[n++] = *k;
        }
    }
    all[n] = NULL;
    return request_check(r, all);
}

static int listen_all(const struct request *r, const struct exporter *x,
                      struct export_ask *ask)
{
    if (!request_has(r, x->sockets[0])) {
        return err_set(r->e, -EINVAL, "no %s is named (%s=)", x->sockets[0],
                       x->sockets[0]);
    }
    for (const char *const *k = x->sockets; *k != NULL; k++) {
        const char *where = request_get(r, *k);
        int fd;

        if (where == NULL) {
            continue;
        }
        fd = x->listen_on(where, r->e);
        if (fd < 0) {
            return fd;
        }
        ask->sockets[ask->socket_count] = fd;
        ask->places[ask->socket_count++] = where;
    }
    return 0;
}

static int open_named(const struct request *r, const char *key, int flags, int *ret_fd)
{
    const char *path = request_get(r, key);

    if (path != NULL) {
        *ret_fd = open(path, flags | O_CLOEXEC, 0600);
        if (*ret_fd < 0) {
            return err_sys(r->e, -errno, "cannot open '%s'", path);
        }
    }
    return 0;
}

static void serve(const struct request *r, const struct exporter *x, const void *server)
{
    bool once = request_has(r, "once");

    for (;;) {
        if (once && x->accepted(server) > 0 && x->clients(server) == 0) {
            return;
        }
        if (loop_wait_fd(r->loop, r->signals, EPOLLIN,
                         once ? (int64_t)LOOK_MS * NS_PER_MS : -1) > 0) {
            return;
        }
    }
}

/* All that has to be opened. */
static int open_all(struct request *r, const struct exporter *x, struct export_ask *ask)
{
    const char *directory = request_get(r, "tls");
    int e = open_named(r, "chap", O_RDONLY, &ask->secrets);

    e = e != 0 ? e : open_named(r, "keep", O_RDWR | O_CREAT, &ask->keep);
    if (e == 0 && directory != NULL) {
        e = nbd_tls_load(directory, request_has(r, "tls-verify"), &ask->tls, r->e);
    }
    e = e != 0 ? e : request_plan_file(r);
    return e != 0 ? e : listen_all(r, x, ask);
}

static void close_all(struct export_ask *ask)
{
    for (unsigned i = 0; i < ask->socket_count; i++) {
        scope_close(&ask->sockets[i]);
    }
    scope_close(&ask->secrets);
    scope_close(&ask->keep);
}

static int set_up(struct request *r, const struct exporter *x, struct export_ask *ask,
                  void **ret_server)
{
    int e = check_words(r, x);

    e = e != 0 ? e : open_all(r, x, ask);
    e = e != 0 ? e : tool_confine(r, request_get(r, "socket"));
    e = e != 0 ? e : request_make(r, &ask->disk);
    e = e != 0 ? e : x->start(ask, ret_server, r->e);
    close_all(ask);
    return e;
}

int exporter_alone(struct request *r, const struct exporter *x)
{
    struct export_ask ask = {.words = r, .secrets = -1, .keep = -1};
    void *server = NULL;
    int e;

    request_catch_signals(r);
    e = set_up(r, x, &ask, &server);

    if (e == 0) {
        (void)request_answer(r, "listening", ask.places[0]);
        serve(r, x, server);
    }
    if (ask.socket_count > 0 && request_has(r, "socket")) {
        (void)unlink(request_get(r, "socket"));
    }
    if (server != NULL) {
        x->stop(server);
    }
    nbd_tls_free(ask.tls);
    return e;
}
