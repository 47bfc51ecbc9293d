/* graph.c - words become nodes, nodes become disks. */
#include "resource/storage/graph/graph.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/units.h"
#include "base/word.h"
#include "contract/blk_ops.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/pool/carve.h"

#define NODES_MOST    4096
#define NO_PIECE      "-"
#define TYPES_MOST    64
#define TYPE_AND_NAME 2 /* parts of a word in front of its keys */

struct graph {
    struct loop *loop;
    struct graph_node *first; /* owned */
    struct graph_node *last;
    unsigned count;
    struct luks_known *known; /* owned */
};

int graph_create(struct loop *l, struct graph **ret_graph, struct err *e)
{
    struct graph *g = fault_calloc(1, sizeof *g);

    if (g == NULL) {
        return err_sys(e, -ENOMEM, "cannot make a graph of disks");
    }
    g->loop = l;
    *ret_graph = g;
    return 0;
}

struct luks_known **graph_known(struct graph *g)
{
    return &g->known;
}

struct loop *graph_loop(const struct graph *g)
{
    return g->loop;
}

struct graph_node *graph_first(const struct graph *g)
{
    return g->first;
}

static struct graph_node *find(const struct graph *g, const char *name)
{
    struct graph_node *n = g->first;

    while (n != NULL && strcmp(n->name, name) != 0) {
        n = n->next;
    }
    return n;
}

static void free_node(struct graph_node *n)
{
    blk_detach(&n->hold);
    if (n->object != NULL && n->type->drop != NULL) {
        n->type->drop(n);
    }
    free(n->words);
    free(n->text);
    free(n->other_name);
    free(n);
}

/* The words that are left name it no more. */
static void forget_name(struct graph *g, const struct graph_node *gone)
{
    for (struct graph_node *n = g->first; n != NULL; n = n->next) {
        for (unsigned i = 0; i < n->count; i++) {
            if (n->words[i].node == gone) {
                n->words[i].node = NULL;
            }
        }
    }
}

static void remove_node(struct graph *g, struct graph_node *n)
{
    struct graph_node *before = NULL;

    for (struct graph_node *x = g->first; x != n; x = x->next) {
        before = x;
    }
    if (before == NULL) {
        g->first = n->next;
    } else {
        before->next = n->next;
    }
    if (g->last == n) {
        g->last = before;
    }
    g->count--;
    forget_name(g, n);
    free_node(n);
}

void graph_destroy(struct graph *g)
{
    while (g != NULL && g->last != NULL) { /* parents first */
        remove_node(g, g->last);
    }
    if (g != NULL) {
        luks_known_free(g->known);
    }
    free(g);
}

/* ---- a word into parts ---- */

/* Cut at single commas, in place; two of them are one of the value.  How many parts. */
static unsigned cut(char *text)
{
    unsigned count = 1;
    char *to = text;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at != ',') {
            *to++ = *at;
        } else if (at[1] == ',') {
            *to++ = ',';
            at++;
        } else {
            *to++ = '\0';
            count++;
        }
    }
    *to = '\0';
    return count;
}

static const struct graph_type *find_type(const char *name, struct err *e)
{
    const char *names[TYPES_MOST];
    const char *near;
    unsigned n = 0;

    for (; graph_types[n] != NULL; n++) {
        assert(n < TYPES_MOST);
        if (strcmp(graph_types[n]->name, name) == 0) {
            return graph_types[n];
        }
        names[n] = graph_types[n]->name;
    }
    near = word_nearest(name, names, n);
    (void)err_set(e, -EINVAL, "'%.40s' is no type of a disk%s%s%s", name,
                  near != NULL ? " (did you mean '" : "", near != NULL ? near : "",
                  near != NULL ? "'?)" : "");
    return NULL;
}

static const struct graph_key *find_key(const struct graph_type *t, const char *name,
                                        size_t bytes)
{
    const struct graph_key *k = t->keys;

    while (k->name != NULL &&
           (strlen(k->name) != bytes || strncmp(k->name, name, bytes) != 0)) {
        k++;
    }
    return k->name != NULL ? k : NULL;
}

bool graph_key_is_fd(const char *key, size_t bytes)
{
    for (const struct graph_type *const *t = graph_types; *t != NULL; t++) {
        const struct graph_key *k = find_key(*t, key, bytes);

        if (k != NULL && k->kind == GRAPH_KEY_FD) {
            return true;
        }
    }
    return false;
}

static int take_number(struct graph_word *w, struct err *e)
{
    char *end = NULL;

    if (w->key->kind == GRAPH_KEY_NUMBER) {
        return units_parse_size(w->value, &w->number) == 0
                   ? 0
                   : err_set(e, -EINVAL, "%s=%.40s is no number", w->key->name, w->value);
    }
    w->number = strtoul(w->value, &end, 10);
    return w->value[0] >= '0' && w->value[0] <= '9' && *end == '\0' &&
                   w->number <= INT32_MAX
               ? 0
               : err_set(e, -EINVAL, "%s=%.40s is no descriptor", w->key->name, w->value);
}

static int take_node(const struct graph *g, struct graph_word *w, struct err *e)
{
    if (w->key->kind == GRAPH_KEY_PIECES && strcmp(w->value, NO_PIECE) == 0) {
        return 0;
    }
    w->node = find(g, w->value);
    if (w->node == NULL) {
        return err_set(e, -ENOENT, "no disk before it is called '%.64s'", w->value);
    }
    if (w->node->type->holds_no_disk != (w->key->kind == GRAPH_KEY_STORE)) {
        return err_set(e, -EINVAL, "'%s' is %s", w->value,
                       w->node->type->holds_no_disk ? "no disk, but holds some"
                                                    : "no store of disks");
    }
    return 0;
}

/* KEY[=VALUE] */
static int take_word(const struct graph *g, struct graph_node *n, const char *part,
                     struct err *e)
{
    size_t bytes = strcspn(part, "=");
    struct graph_word w = {.key = find_key(n->type, part, bytes)};
    bool has_value = part[bytes] == '=';

    if (w.key == NULL) {
        return err_set(e, -EINVAL, "'%.40s' is no word of a disk of type %s", part,
                       n->type->name);
    }
    if (has_value == (w.key->kind == GRAPH_KEY_FLAG)) {
        return err_set(e, -EINVAL, "'%s' takes %s value", w.key->name,
                       has_value ? "no" : "a");
    }
    if (w.key->kind != GRAPH_KEY_PIECES && graph_node_has(n, w.key->name)) {
        return err_set(e, -EINVAL, "'%s' is said twice", w.key->name);
    }
    w.value = part + bytes + has_value;
    n->words[n->count++] = w;
    switch (w.key->kind) {
    case GRAPH_KEY_NUMBER:
    case GRAPH_KEY_FD:
        return take_number(&n->words[n->count - 1], e);
    case GRAPH_KEY_NODE:
    case GRAPH_KEY_PIECES:
    case GRAPH_KEY_STORE:
        return take_node(g, &n->words[n->count - 1], e);
    default:
        return 0;
    }
}

static int check_required(const struct graph_node *n, struct err *e)
{
    for (const struct graph_key *k = n->type->keys; k->name != NULL; k++) {
        if (k->required && !graph_node_has(n, k->name)) {
            return err_set(e, -EINVAL, "'%s=' is missing", k->name);
        }
    }
    return 0;
}

static int parse(const struct graph *g, struct graph_node *n, unsigned parts,
                 struct err *e)
{
    const char *part = n->text + strlen(n->text) + 1;
    int r = 0;

    if (!word_is_name(n->name)) {
        return err_set(e, -EINVAL, "'%.64s' is no name", n->name);
    }
    if (parts < TYPE_AND_NAME || find(g, n->name) != NULL) {
        return err_set(e, parts < TYPE_AND_NAME ? -EINVAL : -EEXIST,
                       parts < TYPE_AND_NAME ? "its type is missing"
                                             : "there is one of this name");
    }
    n->type = find_type(part, e);
    if (n->type == NULL) {
        return -EINVAL;
    }
    for (unsigned i = TYPE_AND_NAME; r == 0 && i < parts; i++) {
        part += strlen(part) + 1;
        r = take_word(g, n, part, e);
    }
    return r != 0 ? r : check_required(n, e);
}

int graph_plan(struct graph *g, const char *word, struct err *e)
{
    struct graph_node *n = fault_calloc(1, sizeof *n);
    unsigned parts;
    int r = 0;

    if (n != NULL) {
        n->text = fault_strdup(word);
    }
    parts = n != NULL && n->text != NULL ? cut(n->text) : 0;
    if (parts > 0) {
        n->name = n->text;
        n->words = fault_calloc(parts, sizeof *n->words);
    }
    if (n == NULL || n->words == NULL) {
        r = err_sys(e, -ENOMEM, "cannot plan a disk");
    } else if (g->count == NODES_MOST) {
        r = err_set(e, -E2BIG, "there are too many disks");
    } else {
        r = parse(g, n, parts, e);
        r = r == 0 ? 0 : err_wrap(e, "node '%.64s'", n->name);
    }
    if (r != 0) {
        if (n != NULL) {
            free_node(n);
        }
        return r;
    }
    if (g->last != NULL) {
        g->last->next = n;
    } else {
        g->first = n;
    }
    g->last = n;
    g->count++;
    return 0;
}

/* ---- making ---- */

static int hold(struct graph_node *n, struct blk *disk, struct err *e)
{
    n->hold = (struct blk_edge){.user = n->name, .lets = BLK_USE_ALL};
    return blk_attach(&n->hold, disk, e);
}

static int open_node(struct graph *g, struct graph_node *n, struct err *e)
{
    struct blk *disk = NULL;
    int r = 0;

    if (n->type->open != NULL && !n->opened) {
        r = n->type->open(g, n, &disk, e);
        n->opened = r == 0;
        r = r == 0 && disk != NULL ? hold(n, disk, e) : r;
    }
    return r == 0 ? 0 : err_wrap(e, "node '%s'", n->name);
}

static int make_node(struct graph *g, struct graph_node *n, struct err *e)
{
    struct blk *disk = NULL;
    int r = n->type->make(g, n, &disk, e);

    if (r == 0) {
        blk_detach(&n->hold); /* what was opened is below what was made */
        n->made = true;
    }
    if (r == 0 && disk != NULL) {
        r = hold(n, disk, e);
    }
    return r == 0 ? 0 : err_wrap(e, "node '%s'", n->name);
}

int graph_make(struct graph *g, bool leaves_only, struct err *e)
{
    int r = 0;

    for (struct graph_node *n = g->first; r == 0 && n != NULL; n = n->next) {
        r = n->made ? 0 : open_node(g, n, e);
        if (r == 0 && !n->made && (n->type->leaf || !leaves_only)) {
            r = make_node(g, n, e);
        }
    }
    return r;
}

int graph_add(struct graph *g, const char *word, struct err *e)
{
    int r = graph_plan(g, word, e);

    if (r == 0) {
        r = open_node(g, g->last, e);
        r = r != 0 ? r : make_node(g, g->last, e);
        if (r != 0) {
            remove_node(g, g->last);
        }
    }
    return r;
}

/* Several words may name one. */
void graph_close_named(const struct graph *g)
{
    for (const struct graph_node *n = g->first; n != NULL; n = n->next) {
        for (unsigned i = 0; i < n->count; i++) {
            if (n->words[i].key->kind == GRAPH_KEY_FD &&
                n->words[i].number > STDERR_FILENO) {
                (void)close((int)n->words[i].number);
            }
        }
    }
}

/* ---- looking ---- */

struct blk *graph_disk(const struct graph *g, const char *name, struct err *e)
{
    const struct graph_node *n = find(g, name);

    if (n == NULL || !n->made || n->hold.disk == NULL) {
        (void)err_set(e, -ENOENT, "no disk is called '%.64s'", name);
        return NULL;
    }
    return n->hold.disk;
}

const char *graph_last(const struct graph *g)
{
    return g->last != NULL ? g->last->name : NULL;
}

struct blk *graph_top(const struct graph *g, struct err *e)
{
    if (g->last == NULL) {
        (void)err_set(e, -EINVAL, "no disk is named (node=NAME,TYPE...)");
        return NULL;
    }
    return graph_disk(g, graph_last(g), e);
}

bool graph_needs_network(const struct graph *g)
{
    const struct graph_node *n = g->first;

    while (n != NULL && !n->type->network) {
        n = n->next;
    }
    return n != NULL;
}

const char *graph_type_of(const struct graph *g, const char *name)
{
    const struct graph_node *n = find(g, name);

    return n != NULL ? n->type->name : NULL;
}

/* The disk of a node, or the one that a store cuts into disks. */
static const struct blk *disk_of(const struct graph_node *n)
{
    return n->type->make == graph_node_store.make && n->object != NULL
               ? place_store_disk(n->object)
               : n->hold.disk;
}

const char *graph_name_of(const struct graph *g, const struct blk *disk)
{
    const struct graph_node *n = g->first;

    while (n != NULL && disk_of(n) != disk) {
        n = n->next;
    }
    return n != NULL ? n->name : NULL;
}

void graph_let_grow(const struct graph *g, const struct blk *disk)
{
    for (struct graph_node *n = g->first; n != NULL; n = n->next) {
        if (n->hold.disk == disk) {
            graph_node_let_grow(n);
        }
    }
}

struct filter_throttle_group *graph_throttle(const struct graph *g, const char *name)
{
    const struct graph_node *n = find(g, name);

    return n != NULL && n->type->make == graph_node_throttle.make ? n->object : NULL;
}

struct dedup *graph_dedup(const struct graph *g, const char *name)
{
    const struct graph_node *n = find(g, name);

    return n != NULL && n->type->make == graph_node_dedup.make ? n->object : NULL;
}

struct place_store *graph_store(const struct graph *g, const char *name)
{
    const struct graph_node *n = find(g, name);

    return n != NULL && n->type->make == graph_node_store.make ? n->object : NULL;
}

int graph_forget(struct graph *g, const char *name, struct err *e)
{
    struct graph_node *n = find(g, name);

    if (n == NULL) {
        return err_set(e, -ENOENT, "no disk is called '%.64s'", name);
    }
    remove_node(g, n);
    return 0;
}

static bool is_hold(const struct graph *g, const struct blk_edge *edge)
{
    const struct graph_node *n = g->first;

    while (n != NULL && edge != &n->hold) {
        n = n->next;
    }
    return n != NULL;
}

/* Nobody but words has the disk: several may be words for one (raw, and its file).  Or no disk
 * of the store is open. */
static bool is_unused(const struct graph *g, const struct graph_node *n)
{
    if (n->type->make == graph_node_store.make) {
        return n->object != NULL && place_store_is_idle(n->object);
    }
    for (const struct blk_edge *edge = n->hold.disk != NULL ? n->hold.disk->users : NULL;
         edge != NULL; edge = edge->next) {
        if (!is_hold(g, edge)) {
            return false;
        }
    }
    return n->hold.disk != NULL;
}

int graph_exchange(struct graph *g, const struct blk *old, struct blk *new, struct err *e)
{
    int r = 0;

    for (struct graph_node *n = g->first; r == 0 && n != NULL; n = n->next) {
        if (n->hold.disk == old) {
            blk_detach(&n->hold);
            r = hold(n, new, e);
        }
    }
    return r;
}

int graph_rename(struct graph *g, const char *from, const char *to, struct err *e)
{
    struct graph_node *n = find(g, from);
    char *name;

    if (n == NULL || find(g, to) != NULL) {
        return n == NULL ? err_set(e, -ENOENT, "no disk is called '%.64s'", from)
                         : err_set(e, -EEXIST, "'%.64s' is there twice", to);
    }
    name = fault_malloc(strlen(to) + 1);
    if (name == NULL) {
        return err_sys(e, -ENOMEM, "cannot rename '%.64s'", from);
    }
    memcpy(name, to, strlen(to) + 1);
    free(n->other_name);
    n->other_name = name;
    n->name = name;
    n->hold.user = name;
    return 0;
}

/* The last word of a disk that only the graph has; NULL: there is none. */
static struct graph_node *find_unused(const struct graph *g)
{
    struct graph_node *found = NULL;

    for (struct graph_node *n = g->first; n != NULL; n = n->next) {
        found = is_unused(g, n) ? n : found;
    }
    return found;
}

void graph_prune(struct graph *g, void (*tell)(void *arg, const char *name), void *arg)
{
    for (struct graph_node *n = find_unused(g); n != NULL; n = find_unused(g)) {
        tell(arg, n->name);
        remove_node(g, n);
    }
}

void graph_drop_last(struct graph *g, unsigned count)
{
    for (; count > 0 && g->last != NULL; count--) {
        remove_node(g, g->last);
    }
}

/* ---- what a word says ---- */

const struct graph_word *graph_node_word(const struct graph_node *n, const char *key)
{
    for (unsigned i = 0; i < n->count; i++) {
        if (strcmp(n->words[i].key->name, key) == 0) {
            return &n->words[i];
        }
    }
    return NULL;
}

const char *graph_node_text(const struct graph_node *n, const char *key)
{
    const struct graph_word *w = graph_node_word(n, key);

    return w != NULL ? w->value : NULL;
}

uint64_t graph_node_number(const struct graph_node *n, const char *key, uint64_t without)
{
    const struct graph_word *w = graph_node_word(n, key);

    return w != NULL ? w->number : without;
}

bool graph_node_has(const struct graph_node *n, const char *key)
{
    return graph_node_word(n, key) != NULL;
}

struct graph_node *graph_node_below(const struct graph_node *n, const char *key)
{
    const struct graph_word *w = graph_node_word(n, key);

    return w != NULL ? w->node : NULL;
}

struct blk *graph_node_disk(const struct graph_node *n, const char *key)
{
    const struct graph_node *below = graph_node_below(n, key);

    return below != NULL ? below->hold.disk : NULL;
}

unsigned graph_node_pieces(const struct graph_node *n, const char *key, struct blk **ret,
                           unsigned most)
{
    unsigned count = 0;

    for (unsigned i = 0; i < n->count && count < most; i++) {
        const struct graph_word *w = &n->words[i];

        if (strcmp(w->key->name, key) == 0) {
            ret[count++] = w->node != NULL ? w->node->hold.disk : NULL;
        }
    }
    return count;
}

const char *graph_node_label(const struct graph_node *n)
{
    const char *label = graph_node_text(n, "label");

    return label != NULL ? label : n->name;
}

void graph_node_let_grow(struct graph_node *n)
{
    if (n != NULL && n->type->make == graph_node_file.make && !n->hold.disk->read_only) {
        leaf_file_let_grow(n->hold.disk);
    }
}

void graph_node_let_pieces_grow(struct graph_node *n, const char *key)
{
    for (unsigned i = 0; i < n->count; i++) {
        if (strcmp(n->words[i].key->name, key) == 0) {
            graph_node_let_grow(n->words[i].node);
        }
    }
}
