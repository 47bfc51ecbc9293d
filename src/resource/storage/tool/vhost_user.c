/* vhost_user.c - serve a disk to another monitor's machine. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"
#include "resource/storage/vhost_user/vhost_user.h"

static const char *const keys[] = {"id", "queues", "read-only", NULL};
static const char *const sockets[] = {"socket", NULL};

static int start(const struct export_ask *ask, void **ret_server, struct err *e)
{
    struct vhost_user_options o = {
        .disk = ask->disk,
        .id = request_get(ask->words, "id"),
        .read_only = request_has(ask->words, "read-only"),
    };
    struct vhost_user_server *server = NULL;
    uint64_t queues = 0;
    int fd;
    int r = request_number(ask->words, "queues", 0, &queues);

    o.queues =
        queues <= VHOST_USER_QUEUES_MOST ? (unsigned)queues : VHOST_USER_QUEUES_MOST + 1;
    r = r != 0 ? r : vhost_user_server_create(ask->words->loop, &o, &server, e);
    if (r != 0) {
        return r;
    }
    fd = fcntl(ask->sockets[0], F_DUPFD_CLOEXEC, 3);
    r = fd < 0 ? err_sys(e, -errno, "cannot listen for front ends")
               : vhost_user_server_listen(server, fd, e);
    if (r != 0) {
        vhost_user_server_destroy(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

static void stop(void *server)
{
    vhost_user_server_destroy(server);
}

static void resized(void *server)
{
    vhost_user_server_resized(server);
}

static uint64_t clients(const void *server)
{
    return vhost_user_server_counts(server).clients;
}

static uint64_t accepted(const void *server)
{
    return vhost_user_server_counts(server).accepted;
}

const struct exporter exporter_vhost_user = {
    .name = "vhost-user",
    .keys = keys,
    .sockets = sockets,
    .listen_on = exporter_listen_unix,
    .start = start,
    .stop = stop,
    .resized = resized,
    .clients = clients,
    .accepted = accepted,
};
