/* node_many.c - disks over several: mirrors and arrays. */
#include <errno.h>

#include "base/err.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"

#define LEVEL_MIRROR 1 /* an array of this level is a mirror */

bool graph_node_holds_mirror(const struct graph_node *n)
{
    return n->type->make == graph_node_mirror.make ||
           (n->type->make == graph_node_raid.make &&
            graph_node_number(n, "level", 0) == LEVEL_MIRROR);
}

static int make_mirror(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                       struct err *e)
{
    struct blk *pieces[MIRROR_MOST + 1];
    unsigned count = graph_node_pieces(n, "piece", pieces, MIRROR_MOST + 1);
    struct mirror_options o = {
        .read_only = graph_node_has(n, "read-only"),
        .degraded = graph_node_has(n, "degraded"),
        .promote = graph_node_has(n, "promote"),
        .choose = graph_node_has(n, "winner"),
        .winner = (unsigned)graph_node_number(n, "winner", 0),
        .window_bytes = graph_node_number(n, "window", 0),
    };

    if (count > MIRROR_MOST) {
        return err_set(e, -E2BIG, "a mirror has at most %d pieces", MIRROR_MOST);
    }
    return mirror_open(graph_loop(g), pieces, count, &o, ret_disk, e);
}

static const struct graph_key mirror_keys[] = {
    {"piece", GRAPH_KEY_PIECES, true},
    {"degraded", GRAPH_KEY_FLAG, false},
    {"promote", GRAPH_KEY_FLAG, false},
    {"winner", GRAPH_KEY_NUMBER, false},
    {"window", GRAPH_KEY_NUMBER, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {0},
};

const struct graph_type graph_node_mirror = {
    .name = "mirror", .keys = mirror_keys, .make = make_mirror};

static int make_raid(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                     struct err *e)
{
    struct blk *pieces[RAID_MOST + 1];
    unsigned count = graph_node_pieces(n, "piece", pieces, RAID_MOST + 1);
    struct raid_options o = {
        .level = (unsigned)graph_node_number(n, "level", 0),
        .read_only = graph_node_has(n, "read-only"),
        .degraded = graph_node_has(n, "degraded"),
        .choose = graph_node_has(n, "winner"),
        .winner = (unsigned)graph_node_number(n, "winner", 0),
    };

    if (count > RAID_MOST) {
        return err_set(e, -E2BIG, "an array has at most %d pieces", RAID_MOST);
    }
    return raid_open(graph_loop(g), pieces, count, &o, ret_disk, e);
}

static const struct graph_key raid_keys[] = {
    {"piece", GRAPH_KEY_PIECES, true},    {"level", GRAPH_KEY_NUMBER, true},
    {"degraded", GRAPH_KEY_FLAG, false},  {"winner", GRAPH_KEY_NUMBER, false},
    {"read-only", GRAPH_KEY_FLAG, false}, {0},
};

const struct graph_type graph_node_raid = {
    .name = "raid", .keys = raid_keys, .make = make_raid};
