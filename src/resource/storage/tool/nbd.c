/* nbd.c - serve a disk over NBD. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"

static const char *const keys[] = {"name", "description", "read-only", "resizable", NULL};
static const char *const sockets[] = {"socket", NULL};

static int fill(struct nbd_server *server, const struct export_ask *ask, struct err *e)
{
    const char *name = request_get(ask->words, "name");
    struct nbd_export x = {
        .name = name != NULL ? name : "",
        .description = request_get(ask->words, "description"),
        .disk = ask->disk,
        .read_only = request_has(ask->words, "read-only"),
        .resizable = request_has(ask->words, "resizable"),
    };
    int r = nbd_server_add(server, &x, e);

    for (unsigned i = 0; r == 0 && i < ask->socket_count; i++) {
        int fd = fcntl(ask->sockets[i], F_DUPFD_CLOEXEC, 3);

        r = fd < 0 ? err_sys(e, -errno, "cannot listen for clients")
                   : nbd_server_listen(server, fd, e);
    }
    return r;
}

static int start(const struct export_ask *ask, void **ret_server, struct err *e)
{
    struct nbd_server_options o = {.tls = ask->tls, .tls_required = ask->tls != NULL};
    struct nbd_server *server = NULL;
    int r = nbd_server_create(ask->words->loop, &o, &server, e);

    if (r == 0) {
        r = fill(server, ask, e);
    }
    if (r != 0) {
        nbd_server_destroy(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

static void stop(void *server)
{
    nbd_server_destroy(server);
}

static uint64_t clients(const void *server)
{
    return nbd_server_counts(server).clients;
}

static uint64_t accepted(const void *server)
{
    return nbd_server_counts(server).accepted;
}

const struct exporter exporter_nbd = {
    .name = "nbd",
    .keys = keys,
    .sockets = sockets,
    .listen_on = exporter_listen_unix,
    .start = start,
    .stop = stop,
    .clients = clients,
    .accepted = accepted,
};
