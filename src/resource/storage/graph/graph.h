/* graph.h - disks made of words, one word for each: NAME,TYPE[,KEY[=VALUE]]...
 *
 * A word names only words before it, so nothing can stand on itself.  A comma in a
 * value is doubled.  The types and their keys are rows of `graph_types`.
 *
 * The graph keeps an edge to each of its disks that asks for nothing and allows
 * everything, so that a disk is there until it is forgotten or the graph ends, and
 * as long as somebody else uses it.  Who may use which disk for what is decided by the
 * edges (contract/blk_graph.h): a word whose disk is written by two is refused.
 *
 * Descriptors that words name stay the caller's: the graph duplicates them.
 *
 * Threads: that of the loop; all functions in a strand. */
#ifndef RESOURCE_STORAGE_GRAPH_GRAPH_H
#define RESOURCE_STORAGE_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct dedup;
struct err;
struct filter_throttle_group;
struct graph;
struct loop;
struct place_store;

int graph_create(struct loop *l, struct graph **ret_graph, struct err *e);

/* Give all disks up that nobody else uses.  NULL is allowed. */
void graph_destroy(struct graph *g);

/* Take a word in, without opening anything: only what it says is looked at. */
int graph_plan(struct graph *g, const char *word, struct err *e);

/* Make what is planned.  `leaves_only`: files, memory, connections - what a confined
 * process cannot open, and what can be opened without reading what others wrote. */
int graph_make(struct graph *g, bool leaves_only, struct err *e);

/* Both, for one more word; on failure it is forgotten. */
int graph_add(struct graph *g, const char *word, struct err *e);

/* Close the descriptors that its words name, once all is made: for a process that goes on and has
 * no other use for them.  Each disk has its own, and takes it along when it goes. */
void graph_close_named(const struct graph *g);

/* The disk of that name, borrowed; NULL and a text: there is none. */
struct blk *graph_disk(const struct graph *g, const char *name, struct err *e);

/* The disk of the last word. */
struct blk *graph_top(const struct graph *g, struct err *e);

/* The name of the last word; NULL: there is none. */
const char *graph_last(const struct graph *g);

/* Whether a disk among them needs the network for as long as it lives. */
bool graph_needs_network(const struct graph *g);

/* The type of a node, as its word has it; NULL: there is no such node. */
const char *graph_type_of(const struct graph *g, const char *name);

/* The name of a disk; NULL: it is none of the graph's. */
const char *graph_name_of(const struct graph *g, const struct blk *disk);

/* Let writes end behind the end of a disk, if it is a regular file of the host. */
void graph_let_grow(const struct graph *g, const struct blk *disk);

/* The limits of a disk of type throttle; NULL: it is none. */
struct filter_throttle_group *graph_throttle(const struct graph *g, const char *name);

/* The store of a disk of type dedup, while the node is there; NULL: it is none. */
struct dedup *graph_dedup(const struct graph *g, const char *name);

/* What a node of type store is; NULL: it is none. */
struct place_store *graph_store(const struct graph *g, const char *name);

/* Whether the value of such a key is a descriptor in a word of any type. */
bool graph_key_is_fd(const char *key, size_t bytes);

/* Sixteen hex digits, lower case. */
int graph_parse_id(const char *text, uint64_t *ret, struct err *e);

/* Leave all disks that nobody uses, those on top first; `tell` hears each name. */
void graph_prune(struct graph *g, void (*tell)(void *arg, const char *name), void *arg);

/* Leave the disks of the last `count` words. */
void graph_drop_last(struct graph *g, unsigned count);

/* Call a disk by another name, which nobody has. */
int graph_rename(struct graph *g, const char *from, const char *to, struct err *e);

/* Whatever name a disk has is that of another one from now on. */
int graph_exchange(struct graph *g, const struct blk *old, struct blk *new,
                   struct err *e);

/* Leave a disk, which goes when it has no users; the name is free again. */
int graph_forget(struct graph *g, const char *name, struct err *e);

#endif
