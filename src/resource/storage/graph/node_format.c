/* node_format.c - disks in images, and encrypted ones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/strand.h"
#include "contract/blk_source.h"
#include "host/loop/loop.h"
#include "resource/storage/format/format.h"
#include "resource/storage/graph/crypt.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/graph/opener.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/qcow2/qcow2.h"

#define NAMES_MOST 256 /* other files that an image names */

/* Answers what an image names: with the nodes that the word names, whatever the name is, or with
 * files of a directory. */
struct names {
    struct blk_source source;
    struct blk **disk; /* `count` of them */
    unsigned count;
    unsigned next;
    const char *key; /* that would name one more */
    struct loop *loop;
    int opener;     /* borrowed, of `opener_start`; -1: there is no directory */
    unsigned depth; /* images of the directory that stand on each other */
};

/* An image of the directory that is being opened. */
struct opening {
    struct names below; /* for what it names */
    struct blk *file;
    const char *name;
    const char *format;
    struct blk **ret_disk;
    struct err *e;
    int result;
    bool done;
    struct strand_queue waiter;
};

static int open_image(struct opening *o)
{
    const struct format_row *row;

    if (strcmp(o->format, "qcow2") == 0) {
        struct qcow2_open_options q = {.label = o->name,
                                       .read_only = true,
                                       .source = &o->below.source,
                                       .depth = o->below.depth,
                                       .loop = o->below.loop};

        return qcow2_open(o->file, &q, o->ret_disk, o->e);
    }
    row = format_find(strcmp(o->format, "vpc") == 0 ? "vhd" : o->format, /* QEMU's word */
                      o->e);
    if (row != NULL && o->below.depth >= QCOW2_CHAIN_MOST) {
        (void)err_set(o->e, -ELOOP, "more than %d images stand on each other",
                      QCOW2_CHAIN_MOST);
        row = NULL;
    }
    if (row == NULL) {
        blk_drop(o->file);
        return -EINVAL;
    }
    return row->open(o->file,
                     &(struct format_open_options){
                         .label = o->name, .read_only = true, .source = &o->below.source},
                     o->ret_disk, o->e);
}

static void run_opening(void *arg)
{
    struct opening *o = arg;

    o->result = open_image(o);
    o->done = true;
    (void)strand_wake(&o->waiter);
}

/* Each image in a strand of its own: a stack is too small for a chain of them. */
static int open_apart(struct opening *o)
{
    struct strand_pool *strands = loop_strands(o->below.loop);
    int r = strand_start(strands, run_opening, o);

    if (r != 0) {
        blk_drop(o->file);
        return err_sys(o->e, r, "cannot open '%.200s'", o->name);
    }
    while (!o->done) {
        strand_wait(strands, &o->waiter);
    }
    return o->result;
}

static int open_in_directory(struct names *x, const char *name, const char *format,
                             bool read_only, struct blk **ret_disk, struct err *e)
{
    struct leaf_file_options o = {.label = name, .read_only = true};
    struct opening opening = {.below = {.source = x->source,
                                        .key = x->key,
                                        .loop = x->loop,
                                        .opener = x->opener,
                                        .depth = x->depth + 1},
                              .name = name,
                              .format = format,
                              .ret_disk = ret_disk,
                              .e = e};
    int fd = read_only ? opener_ask(x->opener, name) : -EROFS;
    int r;

    if (fd < 0) {
        return err_sys(e, fd, "cannot open '%.200s' in the directory", name);
    }
    r = leaf_file_create(x->loop, fd, &o, &opening.file, e);
    return r != 0 ? r : open_apart(&opening);
}

static int open_name(struct blk_source *s, const char *name, const char *format,
                     bool read_only, struct blk **ret_disk, struct err *e)
{
    struct names *x = (struct names *)s;

    if (x->next >= x->count && x->opener >= 0) {
        return open_in_directory(x, name, format, read_only, ret_disk, e);
    }
    if (x->next >= x->count || x->disk[x->next] == NULL) {
        return err_set(e, -EACCES,
                       "it names '%.200s', and no '%s=' says which disk that is", name,
                       x->key);
    }
    if (!read_only && blk_is_read_only(x->disk[x->next])) {
        return err_set(e, -EROFS, "the disk for '%.200s' is read only", name);
    }
    *ret_disk = x->disk[x->next++];
    return 0;
}

static struct names names_of(const struct graph *g, const struct graph_node *n,
                             const char *key, struct blk **room, unsigned most)
{
    const int *opener = n->object;

    return (struct names){.source = {open_name},
                          .disk = room,
                          .count = graph_node_pieces(n, key, room, most),
                          .key = key,
                          .loop = graph_loop(g),
                          .opener = opener != NULL ? *opener : -1};
}

/* `dir=`: whoever opens its files has to be there before this process is confined. */
static int open_directory(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                          struct err *e)
{
    int *opener;

    (void)g;
    (void)ret_disk;
    if (!graph_node_has(n, "dir")) {
        return 0;
    }
    opener = fault_malloc(sizeof *opener);
    if (opener == NULL) {
        return err_sys(e, -ENOMEM, "cannot open the files of a directory");
    }
    *opener = opener_start((int)graph_node_number(n, "dir", 0), e);
    n->object = opener;
    return *opener < 0 ? *opener : 0;
}

static void close_directory(struct graph_node *n)
{
    scope_close(n->object);
    free(n->object);
}

/* A word that says less than its file can do is not a lock: who wrote it thinks it is. */
static int check_read_only(const struct graph_node *n, struct err *e)
{
    return graph_node_has(n, "read-only") && !blk_is_read_only(graph_node_disk(n, "file"))
               ? err_set(e, -EINVAL, "'%s' is to be read only, too",
                         graph_node_below(n, "file")->name)
               : 0;
}

static bool wants_read_only(const struct graph_node *n)
{
    return graph_node_has(n, "read-only") || blk_is_read_only(graph_node_disk(n, "file"));
}

/* ---- images of other products ---- */

static int make_format(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                       struct err *e)
{
    const struct format_row *row = format_find(n->type->name, e);
    struct blk *room[NAMES_MOST];
    struct names names =
        names_of(g, n, graph_node_has(n, "data") ? "data" : "backing", room, NAMES_MOST);
    struct format_open_options o = {
        .label = graph_node_label(n),
        .read_only = wants_read_only(n) || (row != NULL && !row->writable),
        .source = &names.source,
    };

    (void)g;
    if (row == NULL) {
        return -EINVAL;
    }
    if (row->create != NULL && n->type->make != graph_node_raw.make) {
        graph_node_let_grow(graph_node_below(n, "file"));
    }
    return row->open(graph_node_disk(n, "file"), &o, ret_disk, e);
}

static int make_raw(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                    struct err *e)
{
    int r = check_read_only(n, e);

    return r != 0 ? r : make_format(g, n, ret_disk, e);
}

static const struct graph_key raw_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"read-only", GRAPH_KEY_FLAG, false},
    {0},
};

const struct graph_type graph_node_raw = {
    .name = "raw", .keys = raw_keys, .make = make_raw};

static const struct graph_key format_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"backing", GRAPH_KEY_PIECES, false},
    {"data", GRAPH_KEY_PIECES, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"label", GRAPH_KEY_TEXT, false},
    {"dir", GRAPH_KEY_FD, false},
    {0},
};

const struct graph_type graph_node_vmdk = {.name = "vmdk",
                                           .keys = format_keys,
                                           .make = make_format,
                                           .open = open_directory,
                                           .drop = close_directory};
const struct graph_type graph_node_vhdx = {.name = "vhdx",
                                           .keys = format_keys,
                                           .make = make_format,
                                           .open = open_directory,
                                           .drop = close_directory};
const struct graph_type graph_node_vhd = {.name = "vhd",
                                          .keys = format_keys,
                                          .make = make_format,
                                          .open = open_directory,
                                          .drop = close_directory};
const struct graph_type graph_node_vdi = {.name = "vdi",
                                          .keys = format_keys,
                                          .make = make_format,
                                          .open = open_directory,
                                          .drop = close_directory};

/* ---- qcow2 ---- */

static int open_qcow2(struct graph *g, struct graph_node *n, const struct crypt_key *key,
                      struct blk **ret_disk, struct err *e)
{
    struct blk *room[2];
    struct names backing = names_of(g, n, "backing", &room[0], 1);
    struct names data = names_of(g, n, "data", &room[1], 1);
    struct qcow2_open_options o = {
        .label = graph_node_label(n),
        .read_only = wants_read_only(n),
        .source = &backing.source,
        .data_source = &data.source,
        .alone = graph_node_has(n, "alone"),
        .assume_format = graph_node_has(n, "backing") ? "raw" : NULL, /* the node knows */
        .cache_bytes = (uint32_t)graph_node_number(n, "cache", 0),
        .loop = graph_loop(g),
        .for_repair = graph_node_has(n, "for-repair"),
    };
    int r = 0;

    if (!o.read_only) {
        graph_node_let_grow(graph_node_below(n, "file"));
        graph_node_let_grow(graph_node_below(n, "data"));
    }
    if (key != NULL || graph_node_has(n, "locked")) {
        r = crypt_create(graph_loop(g), key, &o.crypt);
    }
    return r != 0 ? err_sys(e, r, "cannot open '%s'", o.label)
                  : qcow2_open(graph_node_disk(n, "file"), &o, ret_disk, e);
}

static int make_qcow2(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                      struct err *e)
{
    struct secret secret = {0};
    int r;

    if (!graph_node_has(n, "key")) {
        return open_qcow2(g, n, NULL, ret_disk, e);
    }
    r = secret_read((int)graph_node_number(n, "key", 0), &secret, e);
    if (r == 0) {
        struct luks_secret s = {secret.bytes, secret.count};

        r = open_qcow2(g, n, &(struct crypt_key){&s, graph_known(g)}, ret_disk, e);
        secret_fini(&secret);
    }
    return r;
}

static const struct graph_key qcow2_keys[] = {
    {"file", GRAPH_KEY_NODE, true},       {"backing", GRAPH_KEY_NODE, false},
    {"data", GRAPH_KEY_NODE, false},      {"key", GRAPH_KEY_FD, false},
    {"locked", GRAPH_KEY_FLAG, false},    {"alone", GRAPH_KEY_FLAG, false},
    {"read-only", GRAPH_KEY_FLAG, false}, {"for-repair", GRAPH_KEY_FLAG, false},
    {"cache", GRAPH_KEY_NUMBER, false},   {"label", GRAPH_KEY_TEXT, false},
    {"dir", GRAPH_KEY_FD, false},         {0},
};

const struct graph_type graph_node_qcow2 = {.name = "qcow2",
                                            .keys = qcow2_keys,
                                            .make = make_qcow2,
                                            .open = open_directory,
                                            .drop = close_directory};

/* ---- LUKS ---- */

static int make_luks(struct graph *g, struct graph_node *n, struct blk **ret_disk,
                     struct err *e)
{
    struct secret secret;
    int r = secret_read((int)graph_node_number(n, "key", 0), &secret, e);

    if (r == 0) {
        struct luks_secret s = {secret.bytes, secret.count};

        r = luks_disk_create(graph_loop(g), graph_node_disk(n, "file"),
                             graph_node_disk(n, "header"), &s, ret_disk, e);
        secret_fini(&secret);
    }
    return r;
}

static const struct graph_key luks_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"key", GRAPH_KEY_FD, true},
    {"header", GRAPH_KEY_NODE, false},
    {0},
};

const struct graph_type graph_node_luks = {
    .name = "luks", .keys = luks_keys, .make = make_luks};
