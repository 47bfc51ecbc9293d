/* node_pool.c - disks of pools: carved out of a device, spanned over several disks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/quota.h"
#include "resource/storage/pool/span.h"

#define ID_DIGITS 16

/* ---- store ---- */

/* The device; the locks of its disks are the store's. */
static int open_store(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    struct leaf_file_options o = {
        .label = graph_node_label(n),
        .read_only = graph_node_has(n, "read-only"),
        .direct = graph_node_has(n, "direct"),
        .no_lock = true,
    };
    int fd = fcntl((int)graph_node_number(n, "fd", 0), F_DUPFD_CLOEXEC, 3);

    return fd < 0 ? err_sys(e, -errno, "cannot use its descriptor")
                  : leaf_file_create(graph_loop(g), fd, &o, ret_disk, e);
}

/* `owner=`: the text on the store, or its first words. */
static int check_owner(struct graph_node *n, const struct place_store *s, struct err *e)
{
    const char *want = graph_node_text(n, "owner");
    const char *have = place_store_owner(s);
    size_t bytes = want != NULL ? strlen(want) : 0;

    return want == NULL || (strncmp(have, want, bytes) == 0 &&
                            (have[bytes] == '\0' || have[bytes] == ' '))
               ? 0
               : err_set(e, -ENODEV, "another's store is there");
}

static int make_store(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    struct place_store *store = NULL;
    int lock = fcntl((int)graph_node_number(n, "fd", 0), F_DUPFD_CLOEXEC, 3);
    int r;

    if (lock < 0) {
        return err_sys(e, -errno, "cannot use its descriptor");
    }
    r = place_store_open(graph_loop(g), n->hold.disk, lock, &store, e);
    n->object = store;
    *ret_disk = NULL;
    return r == 0 ? check_owner(n, store, e) : r;
}

static void drop_store(struct graph_node *n)
{
    place_store_unref(n->object);
}

static const struct graph_key store_keys[] = {
    {"fd", GRAPH_KEY_FD, true},        {"read-only", GRAPH_KEY_FLAG, false},
    {"direct", GRAPH_KEY_FLAG, false}, {"label", GRAPH_KEY_TEXT, false},
    {"owner", GRAPH_KEY_TEXT, false},  {0},
};

const struct graph_type graph_node_store = {.name = "store",
                                            .keys = store_keys,
                                            .holds_no_disk = true,
                                            .open = open_store,
                                            .make = make_store,
                                            .drop = drop_store};

/* ---- carve ---- */

int graph_parse_id(const char *text, uint64_t *ret, struct err *e)
{
    if (strlen(text) != ID_DIGITS || strspn(text, "0123456789abcdef") != ID_DIGITS) {
        return err_set(e, -EINVAL, "'%.40s' is no id of %d hex digits", text, ID_DIGITS);
    }
    *ret = strtoull(text, NULL, 16);
    return 0;
}

/* `new`: an empty one, of `size=` bytes. */
static int add_carve(const struct graph_node *n, uint64_t id, uint32_t part,
                     struct blk **ret_disk, struct err *e)
{
    struct place_store *s = graph_node_below(n, "on")->object;
    uint64_t size = graph_node_number(n, "size", 0);
    int r = place_carve_add(s, id, part, e);

    r = r == 0 ? place_carve_open(s, id, part, false, ret_disk, e) : r;
    if (r == 0 && size > 0) {
        r = blk_resize(*ret_disk, size, e);
        if (r != 0) {
            blk_drop(*ret_disk);
        }
    }
    return r;
}

static int make_carve(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    uint64_t part = graph_node_number(n, "part", 0);
    struct place_store *s = graph_node_below(n, "on")->object;
    bool read_only = graph_node_has(n, "read-only");
    uint64_t id = 0;
    int r = graph_parse_id(graph_node_text(n, "id"), &id, e);

    (void)g;
    if (r == 0 && part > UINT32_MAX) {
        r = err_set(e, -ERANGE, "there is no such part");
    }
    if (r == 0 && graph_node_has(n, "new")) {
        return add_carve(n, id, (uint32_t)part, ret_disk, e);
    }
    if (r != 0) {
        return r;
    }
    return graph_node_has(n, "no-lock")
               ? place_carve_open_beside(s, id, (uint32_t)part, read_only, ret_disk, e)
               : place_carve_open(s, id, (uint32_t)part, read_only, ret_disk, e);
}

static const struct graph_key carve_keys[] = {
    {"on", GRAPH_KEY_STORE, true},
    {"id", GRAPH_KEY_TEXT, true},
    {"part", GRAPH_KEY_NUMBER, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"no-lock", GRAPH_KEY_FLAG, false}, /* who asks keeps others away */
    {"new", GRAPH_KEY_FLAG, false},
    {"size", GRAPH_KEY_NUMBER, false},
    {0},
};

const struct graph_type graph_node_carve = {
    .name = "carve", .keys = carve_keys, .make = make_carve};

/* ---- quota ---- */

static int make_quota(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    (void)g;
    graph_node_let_grow(graph_node_below(n, "file"));
    return place_quota_create(graph_node_disk(n, "file"),
                              graph_node_number(n, "bound", 0), ret_disk, e);
}

static const struct graph_key quota_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"bound", GRAPH_KEY_NUMBER, true},
    {0},
};

const struct graph_type graph_node_quota = {
    .name = "quota", .keys = quota_keys, .make = make_quota};

/* ---- span ---- */

static int make_span(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                     struct err *e)
{
    struct blk *pieces[PLACE_PIECES_MOST + 1];
    struct place_span_options o = {
        .loop = graph_loop(g),
        .pieces = graph_node_pieces(n, "piece", pieces, PLACE_PIECES_MOST + 1),
        .read_only = graph_node_has(n, "read-only"),
    };

    if (o.pieces > PLACE_PIECES_MOST) {
        return err_set(e, -E2BIG, "a span has at most %d pieces", PLACE_PIECES_MOST);
    }
    if (!o.read_only) {
        graph_node_let_grow(graph_node_below(n, "map"));
        graph_node_let_pieces_grow(n, "piece");
    }
    return place_span_open(graph_node_disk(n, "map"), pieces, &o, ret_disk, e);
}

static const struct graph_key span_keys[] = {
    {"map", GRAPH_KEY_NODE, true},
    {"piece", GRAPH_KEY_PIECES, true},
    {"read-only", GRAPH_KEY_FLAG, false},
    {0},
};

const struct graph_type graph_node_span = {
    .name = "span", .keys = span_keys, .make = make_span};
