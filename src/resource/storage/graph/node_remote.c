/* node_remote.c - disks of other hosts that are known by more than an address: iSCSI, Ceph. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/remote/remote.h"

#define SECRET_BYTES 256 /* of CHAP, with its end */

/* What can be read from the descriptor, as a text; none: NULL. */
static int read_secret(const struct graph_node *n, const char *key,
                       char room[SECRET_BYTES], const char **ret, struct err *e)
{
    struct secret s = {0};
    int r;

    *ret = NULL;
    if (!graph_node_has(n, key)) {
        return 0;
    }
    r = secret_read((int)graph_node_number(n, key, 0), &s, e);
    if (r == 0 && (s.count == 0 || s.count >= SECRET_BYTES ||
                   memchr(s.bytes, '\0', s.count) != NULL)) {
        r = err_set(e, -EINVAL, "'%s' has no secret for CHAP", key);
    }
    if (r == 0) {
        memcpy(room, s.bytes, s.count);
        room[s.count] = '\0';
        *ret = room;
    }
    secret_fini(&s);
    return r;
}

static int make_iscsi(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    char own[SECRET_BYTES];
    char other[SECRET_BYTES];
    struct remote_iscsi_options o = {
        .url = graph_node_text(n, "url"),
        .read_only = graph_node_has(n, "read-only"),
        .initiator = graph_node_text(n, "initiator"),
        .user = graph_node_text(n, "user"),
        .target_user = graph_node_text(n, "target-user"),
        .patience_seconds = (unsigned)graph_node_number(n, "patience", 0),
    };
    int r;

    if ((o.user != NULL) != graph_node_has(n, "secret") ||
        (o.target_user != NULL) != graph_node_has(n, "target-secret")) {
        return err_set(e, -EINVAL, "a user goes with a secret");
    }
    if (graph_node_number(n, "patience", 0) > UINT32_MAX / 1000) {
        return err_set(e, -EINVAL, "nobody is that patient");
    }
    r = read_secret(n, "secret", own, &o.secret, e);
    r = r != 0 ? r : read_secret(n, "target-secret", other, &o.target_secret, e);
    r = r != 0 ? r : remote_iscsi_create(graph_loop(g), &o, ret_disk, e);
    explicit_bzero(own, sizeof own);
    explicit_bzero(other, sizeof other);
    return r;
}

static const struct graph_key iscsi_keys[] = {
    {"url", GRAPH_KEY_TEXT, true},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"initiator", GRAPH_KEY_TEXT, false},
    {"user", GRAPH_KEY_TEXT, false},
    {"secret", GRAPH_KEY_FD, false},
    {"target-user", GRAPH_KEY_TEXT, false},
    {"target-secret", GRAPH_KEY_FD, false},
    {"patience", GRAPH_KEY_NUMBER, false},
    {0},
};

const struct graph_type graph_node_iscsi = {
    .name = "iscsi", .keys = iscsi_keys, .make = make_iscsi, .leaf = true};

static int make_rbd(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                    struct err *e)
{
    struct remote_rbd_options o = {
        .conf = graph_node_text(n, "conf"),
        .user = graph_node_text(n, "user"),
        .pool = graph_node_text(n, "pool"),
        .space = graph_node_text(n, "namespace"),
    };
    struct remote_rbd_image i = {
        .name = graph_node_text(n, "image"),
        .snapshot = graph_node_text(n, "snapshot"),
        .read_only = graph_node_has(n, "read-only"),
        .exclusive = graph_node_has(n, "exclusive"),
    };
    struct remote_rbd *p;
    int r = remote_rbd_connect(graph_loop(g), &o, &p, e);

    if (r == 0) {
        r = remote_rbd_create(p, &i, ret_disk, e);
        remote_rbd_leave(p); /* the disk keeps it */
    }
    return r;
}

static const struct graph_key rbd_keys[] = {
    {"pool", GRAPH_KEY_TEXT, true},
    {"image", GRAPH_KEY_TEXT, true},
    {"namespace", GRAPH_KEY_TEXT, false},
    {"snapshot", GRAPH_KEY_TEXT, false},
    {"conf", GRAPH_KEY_TEXT, false},
    {"user", GRAPH_KEY_TEXT, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"exclusive", GRAPH_KEY_FLAG, false},
    {0},
};

const struct graph_type graph_node_rbd = {
    .name = "rbd", .keys = rbd_keys, .make = make_rbd, .leaf = true};
