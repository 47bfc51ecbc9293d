/* nbd.c - serve a disk over NBD until a signal ends it, or the last client leaves. */
#include <errno.h>
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

static int offer(struct request *r, struct nbd_server *server)
{
    const char *name = request_get(r, "name");
    struct nbd_export x = {
        .name = name != NULL ? name : "",
        .description = request_get(r, "description"),
        .read_only = request_has(r, "read-only"),
        .resizable = request_has(r, "resizable"),
    };
    int e = request_make(r, &x.disk);

    return e != 0 ? e : nbd_server_add(server, &x, r->e);
}

/* All that has to be opened; the socket, or -errno. */
static int open_all(struct request *r)
{
    const char *path = request_get(r, "socket");
    int e;

    if (path == NULL) {
        return err_set(r->e, -EINVAL, "no socket is named (socket=PATH)");
    }
    e = request_plan_file(r);
    return e != 0 ? e : listen_on(path, r->e);
}

static void wait_for_end(struct request *r, struct nbd_server *server)
{
    bool once = request_has(r, "once");

    for (;;) {
        struct nbd_counts n = nbd_server_counts(server);

        if (once && n.accepted > 0 && n.clients == 0) {
            return;
        }
        if (loop_wait_fd(r->loop, r->signals, EPOLLIN,
                         once ? (int64_t)LOOK_MS * NS_PER_MS : -1) > 0) {
            return;
        }
    }
}

static int serve(struct request *r, struct nbd_server *server, int *take_listener)
{
    const char *socket = request_get(r, "socket");
    int e = tool_confine(socket, r->e);

    e = e != 0 ? e : offer(r, server);
    e = e != 0 ? e : nbd_server_listen(server, scope_take_fd(take_listener), r->e);
    if (e == 0) {
        (void)request_answer(r, "listening", socket);
        wait_for_end(r, server);
    }
    (void)unlink(socket);
    return e;
}

int tool_nbd(struct request *r)
{
    const char *directory = request_get(r, "tls");
    struct nbd_server_options o = {.tls_required = directory != NULL};
    struct nbd_server *server = NULL;
    SCOPED(scope_close) int listener = -1;
    int e = request_check(r, keys);

    request_catch_signals(r);
    if (e == 0 && directory != NULL) {
        e = nbd_tls_load(directory, request_has(r, "tls-verify"), &o.tls, r->e);
    }
    if (e == 0) {
        e = nbd_server_create(r->loop, &o, &server, r->e);
    }
    if (e == 0) {
        listener = open_all(r);
        e = listener < 0 ? listener : serve(r, server, &listener);
    }
    nbd_server_destroy(server);
    nbd_tls_free(o.tls);
    return e;
}
