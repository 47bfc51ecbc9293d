/* node_format.c - disks in images, and encrypted ones. */
#include <errno.h>

#include "base/err.h"
#include "contract/blk_source.h"
#include "resource/storage/format/format.h"
#include "resource/storage/graph/crypt.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/qcow2/qcow2.h"

#define NAMES_MOST 256 /* other files that an image names */

/* Answers what an image names, whatever the name, with the nodes that the word names. */
struct names {
    struct blk_source source;
    struct blk *disk[NAMES_MOST];
    unsigned count;
    unsigned next;
    const char *key; /* that would name one more */
};

static int open_name(struct blk_source *s, const char *name, const char *format,
                     bool read_only, struct blk **ret_disk, struct err *e)
{
    struct names *x = (struct names *)s;

    (void)format;
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

static struct names names_of(const struct graph_node *n, const char *key)
{
    struct names x = {.source = {open_name}, .key = key};

    x.count = graph_node_pieces(n, key, x.disk, NAMES_MOST);
    return x;
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
    struct names names = names_of(n, graph_node_has(n, "data") ? "data" : "backing");
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
    {"file", GRAPH_KEY_NODE, true},    {"backing", GRAPH_KEY_PIECES, false},
    {"data", GRAPH_KEY_PIECES, false}, {"read-only", GRAPH_KEY_FLAG, false},
    {"label", GRAPH_KEY_TEXT, false},  {0},
};

const struct graph_type graph_node_vmdk = {
    .name = "vmdk", .keys = format_keys, .make = make_format};
const struct graph_type graph_node_vhdx = {
    .name = "vhdx", .keys = format_keys, .make = make_format};
const struct graph_type graph_node_vhd = {
    .name = "vhd", .keys = format_keys, .make = make_format};
const struct graph_type graph_node_vdi = {
    .name = "vdi", .keys = format_keys, .make = make_format};

/* ---- qcow2 ---- */

static int open_qcow2(struct graph *g, struct graph_node *n,
                      const struct luks_secret *secret, struct blk **ret_disk,
                      struct err *e)
{
    struct names backing = names_of(n, "backing");
    struct names data = names_of(n, "data");
    struct qcow2_open_options o = {
        .label = graph_node_label(n),
        .read_only = wants_read_only(n),
        .source = &backing.source,
        .data_source = &data.source,
        .alone = graph_node_has(n, "alone"),
        .assume_format = "raw", /* the nodes know */
        .cache_bytes = (uint32_t)graph_node_number(n, "cache", 0),
        .loop = graph_loop(g),
        .for_repair = graph_node_has(n, "for-repair"),
    };
    int r = 0;

    if (!o.read_only) {
        graph_node_let_grow(graph_node_below(n, "file"));
        graph_node_let_grow(graph_node_below(n, "data"));
    }
    if (secret != NULL || graph_node_has(n, "locked")) {
        r = crypt_create(graph_loop(g), secret, &o.crypt);
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

        r = open_qcow2(g, n, &s, ret_disk, e);
        secret_fini(&secret);
    }
    return r;
}

static const struct graph_key qcow2_keys[] = {
    {"file", GRAPH_KEY_NODE, true},
    {"backing", GRAPH_KEY_NODE, false},
    {"data", GRAPH_KEY_NODE, false},
    {"key", GRAPH_KEY_FD, false},
    {"locked", GRAPH_KEY_FLAG, false},
    {"alone", GRAPH_KEY_FLAG, false},
    {"read-only", GRAPH_KEY_FLAG, false},
    {"for-repair", GRAPH_KEY_FLAG, false},
    {"cache", GRAPH_KEY_NUMBER, false},
    {"label", GRAPH_KEY_TEXT, false},
    {0},
};

const struct graph_type graph_node_qcow2 = {
    .name = "qcow2", .keys = qcow2_keys, .make = make_qcow2};

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
