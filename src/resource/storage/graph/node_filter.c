/* node_filter.c - disks that add something to a disk below. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/filter/log.h"
#include "resource/storage/filter/overlay.h"
#include "resource/storage/filter/throttle.h"
#include "resource/storage/filter/tier.h"
#include "resource/storage/graph/limits.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"

/* ---- throttle ---- */

/* A group of its own, or that of another node. */
static int throttle_group(struct graph *g, struct graph_node *n,
                          struct filter_throttle_group **ret, struct err *e)
{
    struct graph_node *other = graph_node_below(n, "group");
    struct filter_throttle_limits l = {0};
    int r = 0;

    if (other != NULL) {
        *ret = other->object;
        return other->type->make == graph_node_throttle.make && *ret != NULL
                   ? 0
                   : err_set(e, -EINVAL, "'%s' has no limits to share", other->name);
    }
    for (unsigned i = 0; r == 0 && i < n->count; i++) {
        if (n->words[i].key->kind == GRAPH_KEY_NUMBER) {
            r = limits_set(&l, n->words[i].key->name, n->words[i].number);
        }
    }
    r = r != 0 ? err_sys(e, r, "its limits make no sense")
               : filter_throttle_group_create(graph_loop(g), &l, ret, e);
    n->object = r == 0 ? *ret : NULL;
    return r;
}

static int make_throttle(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                         struct err *e)
{
    struct filter_throttle_group *group;
    int r = throttle_group(g, n, &group, e);

    return r != 0
               ? r
               : filter_throttle_create(group, graph_node_disk(n, "file"), ret_disk, e);
}

static void drop_throttle(struct graph_node *n)
{
    filter_throttle_group_drop(n->object);
}

static const struct graph_key throttle_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"group", GRAPH_KEY_NODE, false},
    {"op-bytes", GRAPH_KEY_NUMBER, false},
#define LIMIT(word, what, field) {word, GRAPH_KEY_NUMBER, false},
#include "resource/storage/graph/limits.rows.h"
#undef LIMIT
    {0},
};

const struct graph_type graph_node_throttle = {.name = "throttle",
                                               .keys = throttle_keys,
                                               .make = make_throttle,
                                               .drop = drop_throttle};

/* ---- cache, tier, overlay ---- */

static int make_cache(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    const char *mode = graph_node_text(n, "mode");
    struct cache_options o = {
        .fresh = graph_node_has(n, "fresh"),
        .is_volatile = graph_node_has(n, "volatile"),
        .leave_dirty = graph_node_has(n, "leave-dirty"),
        .line_bytes = (uint32_t)graph_node_number(n, "line", 0),
        .store_bytes = graph_node_number(n, "bytes", 0),
        .bypass_bytes = graph_node_number(n, "bypass", 0),
    };

    (void)g;
    if (mode != NULL && strcmp(mode, "write-back") == 0) {
        o.write_back = true;
    } else if (mode != NULL && strcmp(mode, "write-through") != 0) {
        return err_set(e, -EINVAL, "mode= is write-through or write-back");
    }
    return cache_create(graph_node_disk(n, "slow"), graph_node_disk(n, "fast"), &o,
                        ret_disk, e);
}

static const struct graph_key cache_keys[] = {
    {"slow", GRAPH_KEY_NODE, true},      {"fast", GRAPH_KEY_NODE, true},
    {"mode", GRAPH_KEY_TEXT, false},     {"fresh", GRAPH_KEY_FLAG, false},
    {"volatile", GRAPH_KEY_FLAG, false}, {"leave-dirty", GRAPH_KEY_FLAG, false},
    {"line", GRAPH_KEY_NUMBER, false},   {"bytes", GRAPH_KEY_NUMBER, false},
    {"bypass", GRAPH_KEY_NUMBER, false}, {0},
};

const struct graph_type graph_node_cache = {
    .name = "cache", .keys = cache_keys, .make = make_cache};

static int make_tier(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                     struct err *e)
{
    struct filter_tier_options o = {
        .fresh = graph_node_has(n, "fresh"),
        .size_bytes = graph_node_number(n, "size", 0),
        .fast_bytes = graph_node_number(n, "bytes", 0),
        .extent_bytes = (uint32_t)graph_node_number(n, "extent", 0),
        .look_every = (uint32_t)graph_node_number(n, "look-every", 0),
    };

    (void)g;
    return filter_tier_create(graph_node_disk(n, "fast"), graph_node_disk(n, "slow"), &o,
                              ret_disk, e);
}

static const struct graph_key tier_keys[] = {
    {"fast", GRAPH_KEY_NODE, true},          {"slow", GRAPH_KEY_NODE, true},
    {"fresh", GRAPH_KEY_FLAG, false},        {"size", GRAPH_KEY_NUMBER, false},
    {"bytes", GRAPH_KEY_NUMBER, false},      {"extent", GRAPH_KEY_NUMBER, false},
    {"look-every", GRAPH_KEY_NUMBER, false}, {0},
};

const struct graph_type graph_node_tier = {
    .name = "tier", .keys = tier_keys, .make = make_tier};

static int make_overlay(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                        struct err *e)
{
    struct filter_overlay_options o = {
        .fresh = graph_node_has(n, "fresh"),
        .discard_at_end = graph_node_has(n, "discard-at-end"),
        .size_bytes = graph_node_number(n, "size", 0),
    };

    (void)g;
    return filter_overlay_create(graph_node_disk(n, "base"), graph_node_disk(n, "top"),
                                 &o, ret_disk, e);
}

static const struct graph_key overlay_keys[] = {
    {"base", GRAPH_KEY_NODE, true},    {"top", GRAPH_KEY_NODE, true},
    {"fresh", GRAPH_KEY_FLAG, false},  {"discard-at-end", GRAPH_KEY_FLAG, false},
    {"size", GRAPH_KEY_NUMBER, false}, {0},
};

const struct graph_type graph_node_overlay = {
    .name = "overlay", .keys = overlay_keys, .make = make_overlay};

/* ---- checksum ---- */

static int copy_of_mirror(void *arg, unsigned copy, struct blk_vec to, uint64_t off)
{
    return mirror_read_copy(arg, copy, to, off);
}

static int copy_of_raid(void *arg, unsigned copy, struct blk_vec to, uint64_t off)
{
    return raid_read_copy(arg, copy, to, off);
}

static int make_checksum(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                         struct err *e)
{
    const struct graph_node *below = graph_node_below(n, "file");
    struct filter_checksum_mend mend = {.arg = below->hold.disk};

    (void)g;
    if (graph_node_holds_mirror(below)) {
        mend.read_copy = copy_of_mirror;
    } else if (below->type->make == graph_node_raid.make) {
        mend.read_copy = copy_of_raid;
    }
    return filter_checksum_create(below->hold.disk, graph_node_disk(n, "area"),
                                  mend.read_copy != NULL ? &mend : NULL, ret_disk, e);
}

static const struct graph_key checksum_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"area", GRAPH_KEY_NODE, false},
    {0},
};

const struct graph_type graph_node_checksum = {
    .name = "checksum", .keys = checksum_keys, .make = make_checksum};

/* ---- dedup ---- */

/* The store on the same disk that another node has opened; NULL: none. */
static struct dedup *opened_store(struct graph *g, const struct graph_node *n)
{
    for (struct graph_node *x = graph_first(g); x != NULL; x = x->next) {
        if (x->type->make == graph_node_dedup.make && x->object != NULL &&
            graph_node_below(x, "file") == graph_node_below(n, "file")) {
            return x->object;
        }
    }
    return NULL;
}

/* Each volume keeps the store, so the node keeps it by its disk. */
static int make_dedup(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    struct dedup *store = opened_store(g, n);
    bool shared = store != NULL;
    int r = shared ? 0 : dedup_open(graph_node_disk(n, "file"), &store, e);

    r = r != 0 ? r : dedup_volume_open(store, graph_node_text(n, "volume"), ret_disk, e);
    n->object = r == 0 ? store : NULL;
    if (!shared) {
        dedup_unref(store);
    }
    return r;
}

static const struct graph_key dedup_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"volume", GRAPH_KEY_TEXT, true},
    {0},
};

const struct graph_type graph_node_dedup = {
    .name = "dedup", .keys = dedup_keys, .make = make_dedup};

/* ---- marks, log ---- */

static int make_marks(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    struct blk *lower = graph_node_disk(n, "file");
    struct bitmap_set *set = NULL;
    int r;

    (void)g;
    graph_node_let_grow(graph_node_below(n, "set"));
    r = bitmap_set_open(graph_node_disk(n, "set"), blk_size(lower), &set, e);
    return r != 0 ? r : bitmap_filter_create(lower, set, ret_disk, e);
}

static const struct graph_key marks_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"set", GRAPH_KEY_NODE, true},
    {0},
};

const struct graph_type graph_node_marks = {
    .name = "marks", .keys = marks_keys, .make = make_marks};

static int make_log(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                    struct err *e)
{
    graph_node_let_grow(graph_node_below(n, "trace"));
    return filter_log_create(graph_loop(g), graph_node_disk(n, "file"),
                             graph_node_disk(n, "trace"), ret_disk, e);
}

static const struct graph_key log_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"trace", GRAPH_KEY_NODE, false},
    {0},
};

const struct graph_type graph_node_log = {
    .name = "log", .keys = log_keys, .make = make_log};
