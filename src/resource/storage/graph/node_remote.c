/* node_remote.c - disks that others serve. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/remote/remote.h"

/* ---- NBD ---- */

static int make_nbd(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                    struct err *e)
{
    return remote_nbd_create(graph_loop(g), graph_node_text(n, "uri"),
                             graph_node_has(n, "read-only"), ret_disk, e);
}

static const struct graph_key nbd_keys[] = {
    {"uri", GRAPH_KEY_TEXT, true},
    {"read-only", GRAPH_KEY_FLAG, false},
    {0},
};

const struct graph_type graph_node_nbd = {
    .name = "nbd", .keys = nbd_keys, .make = make_nbd, .leaf = true};

/* ---- iSCSI ---- */

#define CHAP_LINES 4 /* user, secret, and those that the target shows us */

/* The lines of a passphrase file, cut in place; those that are missing or empty are NULL. */
static void cut_lines(struct secret *s, const char *ret[CHAP_LINES])
{
    char *rest = s->bytes;
    char *end = s->bytes + s->count;

    for (unsigned i = 0; i < CHAP_LINES; i++) {
        char *line = rest;
        char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;

        stop = stop != NULL ? stop : end;
        if (stop < s->bytes + s->room) {
            *stop = '\0';
        }
        ret[i] = line < stop && stop < s->bytes + s->room ? line : NULL;
        rest = stop < end ? stop + 1 : end;
    }
}

static int make_iscsi(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    const char *line[CHAP_LINES] = {NULL};
    struct secret secret = {0};
    struct remote_iscsi_options o = {
        .url = graph_node_text(n, "url"),
        .read_only = graph_node_has(n, "read-only"),
        .initiator = graph_node_text(n, "initiator"),
        .patience_seconds = (unsigned)graph_node_number(n, "patience", 0),
        .silence_seconds = (unsigned)graph_node_number(n, "silence", 0),
    };
    int r = 0;

    if ((graph_node_number(n, "patience", 0) | graph_node_number(n, "silence", 0)) >
        UINT32_MAX / 1000) {
        return err_set(e, -EINVAL, "nobody is that patient");
    }
    if (graph_node_has(n, "chap")) {
        r = secret_read((int)graph_node_number(n, "chap", 0), &secret, e);
    }
    if (r == 0 && secret.bytes != NULL) {
        cut_lines(&secret, line);
        o.user = line[0];
        o.secret = line[1];
        o.target_user = line[2];
        o.target_secret = line[3];
    }
    r = r != 0 ? r : remote_iscsi_create(graph_loop(g), &o, ret_disk, e);
    secret_fini(&secret);
    return r;
}

static const struct graph_key iscsi_keys[] = {
    {"url", GRAPH_KEY_TEXT, true},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"initiator", GRAPH_KEY_TEXT, false},
    {"chap", GRAPH_KEY_FD, false},
    {"patience", GRAPH_KEY_NUMBER, false},
    {"silence", GRAPH_KEY_NUMBER, false},
    {0},
};

const struct graph_type graph_node_iscsi = {.name = "iscsi",
                                            .keys = iscsi_keys,
                                            .make = make_iscsi,
                                            .leaf = true,
                                            .network = true};

/* ---- Ceph ---- */

/* `lock=`: a descriptor, locked by whoever gave it, that is open for as long as the image. */
static int keep_lock(struct graph_node *n, struct err *e)
{
    int *fd = graph_node_has(n, "lock") ? fault_calloc(1, sizeof *fd) : NULL;

    if (fd == NULL) {
        return graph_node_has(n, "lock") ? err_sys(e, -ENOMEM, "cannot keep a lock") : 0;
    }
    *fd = fcntl((int)graph_node_number(n, "lock", 0), F_DUPFD_CLOEXEC, 3);
    n->object = fd;
    return *fd >= 0 ? 0 : err_sys(e, -errno, "cannot use its descriptor");
}

static void drop_rbd(struct graph_node *n)
{
    scope_close(n->object);
    free(n->object);
}

static int make_rbd(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                    struct err *e)
{
    struct remote_rbd_options pool = {
        .conf = graph_node_text(n, "conf"),
        .user = graph_node_text(n, "user"),
        .pool = graph_node_text(n, "pool"),
        .space = graph_node_text(n, "space"),
        .soname = graph_node_text(n, "soname"),
    };
    struct remote_rbd_image image = {
        .name = graph_node_text(n, "image"),
        .snapshot = graph_node_text(n, "snapshot"),
        .read_only = graph_node_has(n, "read-only"),
        .exclusive = graph_node_has(n, "exclusive"),
    };
    struct remote_rbd *connection = NULL;
    int r = remote_rbd_connect(graph_loop(g), &pool, &connection, e);

    r = r != 0 ? r : keep_lock(n, e);
    r = r != 0 ? r : remote_rbd_create(connection, &image, ret_disk, e);
    remote_rbd_leave(connection);
    return r;
}

static const struct graph_key rbd_keys[] = {
    {"pool", GRAPH_KEY_TEXT, true},
    {"image", GRAPH_KEY_TEXT, true},
    {"snapshot", GRAPH_KEY_TEXT, false},
    {"conf", GRAPH_KEY_TEXT, false},
    {"user", GRAPH_KEY_TEXT, false},
    {"space", GRAPH_KEY_TEXT, false},
    {"soname", GRAPH_KEY_TEXT, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"exclusive", GRAPH_KEY_FLAG, false},
    {"lock", GRAPH_KEY_FD, false},
    {0},
};

const struct graph_type graph_node_rbd = {.name = "rbd",
                                          .keys = rbd_keys,
                                          .make = make_rbd,
                                          .leaf = true,
                                          .network = true,
                                          .drop = drop_rbd};
