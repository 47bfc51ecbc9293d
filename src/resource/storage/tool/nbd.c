/* nbd.c - serve a disk over NBD until a signal ends it, or the last client leaves. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/tool/private.h"

#define BACKLOG   64
#define LOOK_MS   200 /* how soon the last client's leaving is seen */
#define NS_PER_MS 1000000

static const char *const keys[] = {
    "file", "fd",  "format",     "read-only", "direct",      "driver",    "socket",
    "name", "tls", "tls-verify", "once",      "description", "resizable", NULL};

/* A listening socket at a path, where none is yet. */
static int listen_on(const char *path, struct err *e)
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

static int set_up(struct request *r, struct nbd_server *server)
{
    const char *path = request_get(r, "socket");
    const char *name = request_get(r, "name");
    struct nbd_export x = {
        .name = name != NULL ? name : "",
        .description = request_get(r, "description"),
        .read_only = request_has(r, "read-only"),
        .resizable = request_has(r, "resizable"),
    };
    int fd;
    int e;

    if (path == NULL) {
        return err_set(r->e, -EINVAL, "no socket is named (socket=PATH)");
    }
    e = request_open_disk(r, &x.disk);
    if (e != 0) {
        return e;
    }
    e = nbd_server_add(server, &x, r->e);
    if (e != 0) {
        blk_drop(x.disk);
        return e;
    }
    fd = listen_on(path, r->e);
    return fd < 0 ? fd : nbd_server_listen(server, fd, r->e);
}

/* SIGTERM and SIGINT as a descriptor. */
static int catch_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void serve(struct request *r, struct nbd_server *server, int signals)
{
    bool once = request_has(r, "once");

    for (;;) {
        struct nbd_counts n = nbd_server_counts(server);

        if (once && n.accepted > 0 && n.clients == 0) {
            return;
        }
        if (loop_wait_fd(r->loop, signals, EPOLLIN,
                         once ? (int64_t)LOOK_MS * NS_PER_MS : -1) > 0) {
            return;
        }
    }
}

int tool_nbd(struct request *r)
{
    const char *directory = request_get(r, "tls");
    struct nbd_server_options o = {.tls_required = directory != NULL};
    struct nbd_server *server = NULL;
    SCOPED(scope_close) int signals = catch_signals();
    int e = request_check(r, keys);

    if (e == 0 && directory != NULL) {
        e = nbd_tls_load(directory, request_has(r, "tls-verify"), &o.tls, r->e);
    }
    if (e == 0) {
        e = nbd_server_create(r->loop, &o, &server, r->e);
    }
    if (e == 0) {
        e = set_up(r, server);
    }
    if (e == 0) {
        e = tool_confine(request_get(r, "socket"), r->e);
    }
    if (e == 0) {
        (void)request_answer(r, "listening", request_get(r, "socket"));
        serve(r, server, signals);
        (void)unlink(request_get(r, "socket"));
    }
    nbd_server_destroy(server);
    nbd_tls_free(o.tls);
    return e;
}
