/* nbd.c - serve a disk over NBD, with its dirty bitmaps.
 *
 * A bitmap is a metadata context `qemu:dirty-bitmap:NAME` whose bit 0 says that a range is dirty
 * (QEMU, docs/interop/nbd.txt).  Those are shown that are there when the export begins;
 * one that goes afterwards gives an error. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"

static const char *const keys[] = {"name", "description", "read-only", "resizable", NULL};
static const char *const sockets[] = {"socket", NULL};

#define CONTEXT_PREFIX "qemu:dirty-bitmap:"
#define DIRTY          1u
#define SHOWN_MOST     15 /* contexts that the server can offer beside its own */

struct shown {
    struct service *service;
    char name[sizeof CONTEXT_PREFIX + BITMAP_NAME_BYTES];
};

struct service {
    struct nbd_server *server;
    struct blk_edge marks; /* the disk with the bitmaps, as long as they are shown */
    struct shown shown[SHOWN_MOST];
    struct nbd_context context[SHOWN_MOST];
    unsigned count;
};

static int dirty_status(void *arg, uint64_t off, uint64_t bytes, uint64_t *ret_bytes,
                        uint32_t *ret_flags)
{
    const struct shown *x = arg;
    const struct bitmap *b = bitmap_find(bitmap_filter_set(x->service->marks.disk),
                                         x->name + strlen(CONTEXT_PREFIX));
    uint64_t until;
    bool dirty;

    if (b == NULL) {
        return -ENOENT;
    }
    if (off >= bitmap_size(b)) {
        *ret_bytes = bytes;
        *ret_flags = DIRTY;
        return 0;
    }
    dirty = bitmap_is_dirty(b, off);
    until = bitmap_next(b, off, !dirty);
    *ret_bytes = until - off < bytes ? until - off : bytes;
    *ret_flags = dirty ? DIRTY : 0;
    return 0;
}

static int show_bitmaps(struct service *s, struct blk *disk, struct err *e)
{
    struct bitmap *b;
    int r;

    if (disk == NULL) {
        return 0;
    }
    s->marks = (struct blk_edge){.user = "NBD export", .lets = BLK_USE_ALL};
    r = blk_attach(&s->marks, disk, e);
    for (unsigned i = 0; r == 0 && s->count < SHOWN_MOST &&
                         (b = bitmap_at(bitmap_filter_set(disk), i)) != NULL;
         i++) {
        struct shown *x = &s->shown[s->count];

        x->service = s;
        (void)snprintf(x->name, sizeof x->name, CONTEXT_PREFIX "%s", bitmap_name(b));
        s->context[s->count++] = (struct nbd_context){x->name, dirty_status, x};
    }
    return r;
}

static int fill(struct service *s, const struct export_ask *ask, struct err *e)
{
    struct nbd_server *server = s->server;
    const char *name = request_get(ask->words, "name");
    struct nbd_export x = {
        .name = name != NULL ? name : "",
        .description = request_get(ask->words, "description"),
        .disk = ask->disk,
        .read_only = request_has(ask->words, "read-only"),
        .resizable = request_has(ask->words, "resizable"),
        .contexts = s->context,
    };
    int r = show_bitmaps(s, ask->marks, e);

    x.context_count = s->count;
    r = r == 0 ? nbd_server_add(server, &x, e) : r;

    for (unsigned i = 0; r == 0 && i < ask->socket_count; i++) {
        int fd = fcntl(ask->sockets[i], F_DUPFD_CLOEXEC, 3);

        r = fd < 0 ? err_sys(e, -errno, "cannot listen for clients")
                   : nbd_server_listen(server, fd, e);
    }
    return r;
}

static void stop(void *server)
{
    struct service *s = server;

    nbd_server_destroy(s->server);
    blk_detach(&s->marks);
    free(s);
}

static int start(const struct export_ask *ask, void **ret_server, struct err *e)
{
    struct nbd_server_options o = {.tls = ask->tls, .tls_required = ask->tls != NULL};
    struct service *s = fault_calloc(1, sizeof *s);
    int r = s == NULL ? err_sys(e, -ENOMEM, "cannot start the NBD server")
                      : nbd_server_create(ask->words->loop, &o, &s->server, e);

    r = r == 0 ? fill(s, ask, e) : r;
    if (r != 0 && s != NULL) {
        stop(s);
    } else if (r == 0) {
        *ret_server = s;
    }
    return r;
}

static uint64_t clients(const void *server)
{
    return nbd_server_counts(((const struct service *)server)->server).clients;
}

static uint64_t accepted(const void *server)
{
    return nbd_server_counts(((const struct service *)server)->server).accepted;
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
