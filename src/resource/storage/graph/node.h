/* node.h - the nodes of a graph, for those who make disks of them. */
#ifndef RESOURCE_STORAGE_GRAPH_NODE_H
#define RESOURCE_STORAGE_GRAPH_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk_graph.h"

struct err;
struct graph;
struct graph_node;
struct loop;
struct luks_known;

enum graph_key_kind {
    GRAPH_KEY_FLAG,   /* no value */
    GRAPH_KEY_TEXT,   /* any */
    GRAPH_KEY_NUMBER, /* bytes or a count, with or without a unit */
    GRAPH_KEY_FD,     /* a descriptor */
    GRAPH_KEY_NODE,   /* the disk of a word before */
    GRAPH_KEY_PIECES, /* the same, or `-`: missing; again and again */
    GRAPH_KEY_STORE   /* a word before that is a store */
};

struct graph_key {
    const char *name; /* NULL: the end of the list */
    enum graph_key_kind kind;
    bool required;
};

struct graph_type {
    const char *name;
    const struct graph_key *keys;
    bool leaf; /* can be made before foreign bytes are read */
    bool holds_no_disk;
    bool network; /* connects again, to whom it finds then */

    /* Make the disk; its nodes below are made. */
    int (*make)(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                struct err *e);

    /* Open what a confined process cannot, as a disk (or NULL) to make the rest of.  NULL:
     * nothing. */
    int (*open)(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                struct err *e);

    /* Give `object` up, the disk being left already.  NULL: there is none. */
    void (*drop)(struct graph_node *n);
};

/* One KEY[=VALUE]. */
struct graph_word {
    const struct graph_key *key;
    const char *value;       /* "" of a flag */
    uint64_t number;         /* NUMBER, FD */
    struct graph_node *node; /* NODE, PIECES; NULL: `-` */
};

struct graph_node {
    struct graph_node *next; /* the word behind */
    char *text;              /* owned: name, type, keys and values */
    const char *name;
    char *other_name; /* owned: what it was called later; NULL: nothing */
    const struct graph_type *type;
    struct graph_word *words; /* owned */
    unsigned count;
    struct blk_edge hold; /* to the disk of the node, or to what was opened for it */
    bool opened;
    bool made;
    void *object; /* of the type */
};

struct loop *graph_loop(const struct graph *g);

/* Volume keys of layers that were opened. */
struct luks_known **graph_known(struct graph *g);

/* The first node of the graph; those behind it by `next`. */
struct graph_node *graph_first(const struct graph *g);

/* What the word says of a key; NULL, `without`, false: nothing. */
const struct graph_word *graph_node_word(const struct graph_node *n, const char *key);
const char *graph_node_text(const struct graph_node *n, const char *key);
uint64_t graph_node_number(const struct graph_node *n, const char *key, uint64_t without);
bool graph_node_has(const struct graph_node *n, const char *key);
struct graph_node *graph_node_below(const struct graph_node *n, const char *key);
struct blk *graph_node_disk(const struct graph_node *n, const char *key);

/* Up to `most` disks of a PIECES key in the order of the word, NULL for `-`; how many. */
unsigned graph_node_pieces(const struct graph_node *n, const char *key, struct blk **ret,
                           unsigned most);

/* Let writes of a format end behind the end of the file that this node is; devices and
 * other disks stay as they are.  NULL is allowed. */
void graph_node_let_grow(struct graph_node *n);

void graph_node_let_pieces_grow(struct graph_node *n, const char *key);

/* Whether its disk is one of `mirror_open`. */
bool graph_node_holds_mirror(const struct graph_node *n);

/* `label=`, or the name. */
const char *graph_node_label(const struct graph_node *n);

/* Ends with NULL. */
extern const struct graph_type *const graph_types[];

/* ---- the types ---- */

extern const struct graph_type graph_node_file, graph_node_memory, graph_node_nbd,
    graph_node_iscsi, graph_node_rbd;
extern const struct graph_type graph_node_raw, graph_node_qcow2, graph_node_vmdk,
    graph_node_vhdx, graph_node_vhd, graph_node_vdi, graph_node_luks;
extern const struct graph_type graph_node_throttle, graph_node_cache, graph_node_tier,
    graph_node_overlay, graph_node_checksum, graph_node_dedup, graph_node_marks,
    graph_node_log;
extern const struct graph_type graph_node_mirror, graph_node_raid;
extern const struct graph_type graph_node_store, graph_node_carve, graph_node_span,
    graph_node_quota;

#endif
