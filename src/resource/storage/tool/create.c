/* create.c - a new image of any format in a file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/format/format.h"
#include "resource/storage/graph/crypt.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/secret.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"

/* A number that has to fit into 32 bits. */
static int small_number(const struct request *r, const char *key, uint32_t *ret)
{
    uint64_t n = 0;
    int e = request_number(r, key, 0, &n);

    if (e == 0 && n > UINT32_MAX) {
        e = err_set(r->e, -ERANGE, "%s= is too large", key);
    }
    if (e == 0) {
        *ret = (uint32_t)n;
    }
    return e;
}

/* The passphrase of `key=FD`. */
static int read_key(const struct request *r, struct secret *ret)
{
    const char *fd = request_get(r, "key");

    if (fd == NULL) {
        return err_set(r->e, -EINVAL, "no passphrase is given (key=DESCRIPTOR)");
    }
    return secret_read(atoi(fd), ret, r->e);
}

/* ---- qcow2 ---- */

static int choose_compression(const struct request *r, struct qcow2_create_options *o)
{
    const char *text = request_get(r, "compression");

    if (text == NULL || strcmp(text, "zlib") == 0) {
        o->compression = QCOW2_DEFLATE;
    } else if (strcmp(text, "zstd") == 0) {
        o->compression = QCOW2_ZSTD;
    } else {
        return err_set(r->e, -EINVAL, "compression= is zlib or zstd");
    }
    return 0;
}

static int choose_cost(const struct request *r, struct luks_cost *ret)
{
    int e = small_number(r, "rounds", &ret->rounds);

    e = e != 0 ? e : small_number(r, "memory", &ret->memory_kib);
    return e != 0 ? e : small_number(r, "threads", &ret->threads);
}

/* Encrypted by a key of its own (`key=`), by that of another image, or of a header alone
 * (`key-of=NODE`), or not. */
static int create_encrypted(const struct request *r, struct blk *file,
                            struct qcow2_create_options *o)
{
    struct blk *other = NULL;
    struct luks_cost cost = {0};
    struct secret secret = {0};
    struct crypt_copy copy;
    struct crypt_new own;
    int e;

    if (request_has(r, "key-of")) {
        e = request_disk(r, "key-of", &other);
        e = e != 0 ? e
            : strcmp(other->ops->name, "qcow2") == 0
                ? crypt_copy_init(&copy, other, r->e)
                : crypt_copy_header_init(&copy, other, r->e);
        o->crypt = &copy.maker;
        return e != 0 ? e : qcow2_create(file, o, r->e);
    }
    e = choose_cost(r, &cost);
    e = e != 0 ? e : read_key(r, &secret);
    if (e == 0) {
        crypt_new_init(&own, r->loop, &(struct luks_secret){secret.bytes, secret.count},
                       &cost);
        o->crypt = &own.maker;
        e = qcow2_create(file, o, r->e);
        secret_fini(&secret);
    }
    return e;
}

static int create_qcow2(const struct request *r, struct blk *file, uint64_t size_bytes)
{
    struct qcow2_create_options o = {
        .size_bytes = size_bytes,
        .extended_l2 = request_has(r, "extended-l2"),
        .lazy_refcounts = request_has(r, "lazy-refcounts"),
        .preallocate_metadata = request_has(r, "preallocate"),
        .backing_name = request_get(r, "backing-name"),
        .backing_format = request_get(r, "backing-format"),
        .data_name = request_get(r, "data-name"),
        .data_is_raw = request_has(r, "data-is-raw"),
    };
    const char *version = request_get(r, "version");
    int e = choose_compression(r, &o);

    e = e != 0 ? e : small_number(r, "cluster", &o.cluster_bytes);
    e = e != 0 ? e : small_number(r, "refcount-bits", &o.refcount_bits);
    if (e == 0 && version != NULL && strcmp(version, "2") != 0 &&
        strcmp(version, "3") != 0) {
        e = err_set(r->e, -EINVAL, "there are versions 2 and 3 of qcow2");
    }
    o.version_2 = version != NULL && strcmp(version, "2") == 0;
    if (e == 0 && (request_has(r, "key") || request_has(r, "key-of"))) {
        return create_encrypted(r, file, &o);
    }
    return e != 0 ? e : qcow2_create(file, &o, r->e);
}

/* ---- LUKS ---- */

#define LUKS_ROOM ((uint64_t)16 << 20) /* of a header of any version */

static int choose_luks(const struct request *r, struct luks_format *o)
{
    uint32_t version = 0;
    int e = small_number(r, "version", &version);

    e = e != 0 ? e : small_number(r, "sector", &o->sector_bytes);
    o->version = version;
    return e != 0 ? e : choose_cost(r, &o->cost);
}

/* As large as the data behind the header, which is noise to whoever reads it. */
static int fit_luks(const struct request *r, struct blk *file, uint64_t size_bytes)
{
    struct luks_info info = {0};
    struct luks *k = NULL;
    int e = luks_open(r->loop, file, &k, r->e);

    if (e == 0) {
        luks_info(k, &info);
        luks_close(k);
        size_bytes += info.data_off;
        e = file->grows || blk_size(file) < size_bytes
                ? blk_resize(file, size_bytes, r->e)
                : 0;
    }
    return e;
}

static int create_luks(const struct request *r, struct blk *file, uint64_t size_bytes)
{
    struct luks_format o = {0};
    struct secret secret = {0};
    int e = choose_luks(r, &o);

    e = e != 0 ? e : read_key(r, &secret);
    if (e != 0) {
        return e;
    }
    if (blk_size(file) < LUKS_ROOM && file->grows) {
        e = blk_resize(file, LUKS_ROOM, r->e);
    }
    if (e == 0) {
        e = luks_format(r->loop, file, &o,
                        &(struct luks_secret){secret.bytes, secret.count}, r->e);
    }
    secret_fini(&secret);
    return e != 0 ? e : fit_luks(r, file, size_bytes);
}

/* ---- raw ---- */

/* A device keeps its size and what it has. */
static int create_raw(const struct request *r, struct blk *file, uint64_t size_bytes)
{
    uint64_t block = blk_block_bytes(file);

    if (!file->grows && blk_size(file) >= size_bytes) {
        return 0;
    }
    size_bytes = (size_bytes + block - 1) & ~(block - 1);
    return format_find("raw", r->e)->create(file, size_bytes, r->e);
}

/* ---- by name ---- */

static const struct {
    const char *format;
    int (*create)(const struct request *r, struct blk *file, uint64_t size_bytes);
} makers[] = {
    {"raw", create_raw},
    {"qcow2", create_qcow2},
    {"luks", create_luks},
};

int tool_create_image(const struct request *r, const char *format, struct blk *file,
                      uint64_t size_bytes)
{
    const struct format_row *row;

    graph_let_grow(r->graph, file);
    for (unsigned i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (strcmp(makers[i].format, format) == 0) {
            return makers[i].create(r, file, size_bytes);
        }
    }
    row = format_find(format, r->e);
    if (row == NULL) {
        return -EINVAL;
    }
    return row->create != NULL ? row->create(file, size_bytes, r->e)
                               : err_set(r->e, -EOPNOTSUPP,
                                         "images of format '%s' cannot be made", format);
}

static const char *const keys[] = {CREATE_KEYS, "like", NULL};

/* `size=`, or that of the disk that `like=` names. */
static int choose_size(const struct request *r, uint64_t *ret)
{
    struct blk *like = NULL;
    int e;

    if (request_has(r, "size") || !request_has(r, "like")) {
        return request_has(r, "size")
                   ? request_number(r, "size", 0, ret)
                   : err_set(r->e, -EINVAL, "no size is given (size=BYTES)");
    }
    e = request_disk(r, "like", &like);
    *ret = e == 0 ? blk_size(like) : 0;
    return e;
}

int tool_create(struct request *r)
{
    struct blk_edge file = {.user = "create", .uses = BLK_USE_ALL};
    const char *format = request_get(r, "format");
    struct blk *disk = NULL;
    uint64_t size = 0;
    int e = request_open(r, keys, &disk);

    if (e == 0 && format == NULL) {
        e = err_set(r->e, -EINVAL, "no format is given (format=NAME)");
    }
    e = e != 0 ? e : choose_size(r, &size);
    e = e != 0 ? e : blk_attach(&file, disk, r->e);
    if (e == 0) {
        e = tool_create_image(r, format, disk, size);
        blk_detach(&file);
    }
    return e;
}
