/* node_leaf.c - disks of this host without a disk below: files, memory. */
#include <errno.h>
#include <fcntl.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/leaf/leaf.h"

static int open_file(const struct graph_node *n, bool read_only, struct err *e)
{
    const struct graph_word *w = graph_node_word(n, "fd");
    const char *path = graph_node_text(n, "path");
    int fd;

    if ((w != NULL) == (path != NULL)) {
        return err_set(e, -EINVAL, "it needs 'fd=' or 'path='");
    }
    if (w != NULL) {
        fd = fcntl((int)w->number, F_DUPFD_CLOEXEC, 3);
        return fd >= 0 ? fd
                       : err_sys(e, -errno, "cannot use descriptor %d", (int)w->number);
    }
    fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, -errno, "cannot open '%s'", path);
}

static int make_file(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                     struct err *e)
{
    const char *path = graph_node_text(n, "path");
    struct leaf_file_options o = {
        .label = path != NULL && !graph_node_has(n, "label") ? path : graph_node_label(n),
        .read_only = graph_node_has(n, "read-only"),
        .direct = graph_node_has(n, "direct"),
        .let_others_read = graph_node_has(n, "let-others-read"),
        .no_lock = graph_node_has(n, "no-lock"),
        .block_bytes = (uint32_t)graph_node_number(n, "block", 0),
    };
    int fd = open_file(n, o.read_only, e);

    return fd < 0 ? fd : leaf_file_create(graph_loop(g), fd, &o, ret_disk, e);
}

static const struct graph_key file_keys[] = {
    {"fd", GRAPH_KEY_FD, false},
    {"path", GRAPH_KEY_TEXT, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"direct", GRAPH_KEY_FLAG, false},
    {"let-others-read", GRAPH_KEY_FLAG, false},
    {"no-lock", GRAPH_KEY_FLAG, false}, /* who asks keeps others away */
    {"block", GRAPH_KEY_NUMBER, false},
    {"label", GRAPH_KEY_TEXT, false},
    {0},
};

const struct graph_type graph_node_file = {
    .name = "file", .keys = file_keys, .make = make_file, .leaf = true};

static int make_memory(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                       struct err *e)
{
    uint64_t block = graph_node_number(n, "block", BLK_BLOCK_LEAST_BYTES);
    uint64_t size = graph_node_number(n, "size", 0);

    if (block < BLK_BLOCK_LEAST_BYTES || block > BLK_BLOCK_MOST_BYTES ||
        (block & (block - 1)) != 0 || size % block != 0 || size > BLK_SIZE_MOST_BYTES) {
        return err_set(e, -EINVAL, "not whole blocks");
    }
    return leaf_memory_create(loop_strands(graph_loop(g)), size, (uint32_t)block,
                              ret_disk, e);
}

static const struct graph_key memory_keys[] = {
    {"size", GRAPH_KEY_NUMBER, true},
    {"block", GRAPH_KEY_NUMBER, false},
    {0},
};

const struct graph_type graph_node_memory = {
    .name = "memory", .keys = memory_keys, .make = make_memory, .leaf = true};
