/* header.c - the header of an image: read, built, written.
 *
 * The whole header lives in the first cluster: fields, extensions, the name of the
 * backing file.  Everything that changes while an image is in use (the places of
 * tables, features, the bitmaps extension) is put into the first 512 bytes, so that a
 * power cut finds all of it old or all of it new; a new name of the backing file is
 * put where the old one is not, and is durable before the first block is written.
 *
 * What is not understood is kept: fields behind the known ones, unknown extensions.
 * The table of feature names is written anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

#define COMPRESSION_AT 104 /* "Additional fields" */
#define LENGTH_OURS    112
#define FIRST_BLOCK    512 /* is written as one: old or new */

static uint8_t *copy_bytes(const uint8_t *from, size_t bytes)
{
    uint8_t *to = fault_malloc(bytes + 1);

    if (to != NULL) {
        memcpy(to, from, bytes);
        to[bytes] = 0;
    }
    return to;
}

static int keep_name(char **name, const uint8_t *from, size_t bytes)
{
    if (*name != NULL || memchr(from, 0, bytes) != NULL || bytes == 0) {
        return bytes == 0 ? 0 : -EUCLEAN;
    }
    *name = (char *)copy_bytes(from, bytes);
    return *name == NULL ? -ENOMEM : 0;
}

static void parse_fields(struct qcow2_header *h, const uint8_t *p)
{
    h->version = qcow2_get32(p + 4);
    h->backing_at = qcow2_get64(p + 8);
    h->backing_bytes = qcow2_get32(p + 16);
    h->cluster_bits = qcow2_get32(p + 20);
    h->size = qcow2_get64(p + 24);
    h->crypt_method = qcow2_get32(p + 32);
    h->l1_count = qcow2_get32(p + 36);
    h->l1_at = qcow2_get64(p + 40);
    h->rt_at = qcow2_get64(p + 48);
    h->rt_clusters = qcow2_get32(p + 56);
    h->snapshots = qcow2_get32(p + 60);
    h->snapshots_at = qcow2_get64(p + 64);
    h->refcount_order = 4; /* "For version 2 images, the order is always 4" */
    h->bytes = QCOW2_V2_BYTES;
    if (h->version == 3) {
        h->incompatible = qcow2_get64(p + 72);
        h->compatible = qcow2_get64(p + 80);
        h->autoclear = qcow2_get64(p + 88);
        h->refcount_order = qcow2_get32(p + 96);
        h->bytes = qcow2_get32(p + 100);
        h->compression = h->bytes > COMPRESSION_AT ? p[COMPRESSION_AT] : 0;
    }
}

/* The names of features that nobody here knows, from the image's own table. */
static int refuse_features(const struct qcow2_header *h, const uint8_t *names,
                           uint32_t bytes, struct err *e)
{
    uint64_t bad = h->incompatible & ~QCOW2_KNOWN;
    char text[128] = "";
    size_t n = 0;

    for (uint32_t i = 0; i + 48 <= bytes; i += 48) {
        if (names[i] == 0 && names[i + 1] < 64 && (bad >> names[i + 1] & 1) != 0 &&
            n < sizeof text) {
            int did = snprintf(text + n, sizeof text - n, "%s'%.46s'", n > 0 ? ", " : "",
                               (const char *)names + i + 2);

            n += did > 0 ? (size_t)did : 0;
        }
    }
    for (size_t i = 0; text[i] != '\0'; i++) {
        text[i] = text[i] < ' ' ? '?' : text[i];
    }
    return err_set(e, -EOPNOTSUPP, "its features are not known here: bits %#llx %s",
                   (unsigned long long)bad, text);
}

static int parse_bitmaps(struct qcow2_header *h, const uint8_t *p, uint32_t bytes)
{
    if (bytes < 24 || h->bitmaps_at != 0 || qcow2_get32(p + 4) != 0) {
        return -EUCLEAN;
    }
    h->bitmaps = qcow2_get32(p);
    h->bitmaps_bytes = qcow2_get64(p + 8);
    h->bitmaps_at = qcow2_get64(p + 16);
    return h->bitmaps == 0 || h->bitmaps_at == 0 ? -EUCLEAN : 0;
}

static int parse_crypt(struct qcow2_header *h, const uint8_t *p, uint32_t bytes)
{
    if (bytes < 16 || h->crypt_at != 0 || h->crypt_method != 2) {
        return -EUCLEAN;
    }
    h->crypt_at = qcow2_get64(p);
    h->crypt_bytes = qcow2_get64(p + 8);
    return h->crypt_at == 0 ? -EUCLEAN : 0;
}

static int keep_unknown(struct qcow2_header *h, const uint8_t *p, uint32_t bytes)
{
    uint8_t *more = fault_realloc(h->unknown, h->unknown_bytes + bytes);

    if (more == NULL) {
        return -ENOMEM;
    }
    memcpy(more + h->unknown_bytes, p, bytes);
    h->unknown = more;
    h->unknown_bytes += bytes;
    return 0;
}

static int parse_extensions(struct qcow2_header *h, const uint8_t *bytes, size_t room,
                            struct err *e)
{
    const uint8_t *names = NULL;
    uint32_t names_bytes = 0;
    size_t at = h->bytes;
    size_t end = h->backing_at != 0 && h->backing_at < room ? h->backing_at : room;
    int r = 0;

    while (r == 0 && at + 8 <= end) {
        const uint8_t *p = bytes + at;
        uint32_t type = qcow2_get32(p);
        uint32_t len = qcow2_get32(p + 4);
        size_t padded = ((size_t)len + 7) & ~(size_t)7;

        if (type == QCOW2_EXT_END) {
            break;
        }
        if (len > end - at - 8) {
            return err_set(e, -EUCLEAN, "an extension of its header is too long");
        }
        if (type == QCOW2_EXT_FORMAT) {
            r = keep_name(&h->backing_format, p + 8, len);
        } else if (type == QCOW2_EXT_DATA) {
            r = keep_name(&h->data_name, p + 8, len);
        } else if (type == QCOW2_EXT_FEATURES) {
            names = p + 8;
            names_bytes = len;
        } else if (type == QCOW2_EXT_BITMAPS) {
            r = parse_bitmaps(h, p + 8, len);
        } else if (type == QCOW2_EXT_CRYPT) {
            r = parse_crypt(h, p + 8, len);
        } else {
            size_t whole = 8 + padded < end - at ? 8 + padded : 8 + (size_t)len;

            r = keep_unknown(h, p, (uint32_t)whole);
        }
        at += 8 + padded;
    }
    if (r != 0) {
        return err_sys(e, r, "an extension of its header is not valid");
    }
    if ((h->incompatible & ~QCOW2_KNOWN) != 0) {
        return refuse_features(h, names, names_bytes, e);
    }
    return 0;
}

static int check_numbers(const struct qcow2_header *h, size_t room, struct err *e)
{
    if (h->version != 2 && h->version != 3) {
        return err_set(e, -EOPNOTSUPP, "its version is %u", h->version);
    }
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_LEAST ||
        h->cluster_bits > QCOW2_CLUSTER_BITS_MOST) {
        return err_set(e, -EUCLEAN, "its clusters have 2^%u bytes", h->cluster_bits);
    }
    if (h->refcount_order > 6) {
        return err_set(e, -EUCLEAN, "its reference counts have 2^%u bits",
                       h->refcount_order);
    }
    if (h->bytes > ((size_t)1 << h->cluster_bits) || h->bytes > room ||
        (h->version == 3 && (h->bytes < QCOW2_V3_BYTES || h->bytes % 8 != 0))) {
        return err_set(e, -EUCLEAN, "its header has %u bytes", h->bytes);
    }
    if (h->crypt_method > 2) {
        return err_set(e, -EOPNOTSUPP, "its method of encryption is %u", h->crypt_method);
    }
    if (h->backing_at != 0 &&
        (h->backing_bytes > QCOW2_NAME_MOST || h->backing_at < h->bytes ||
         h->backing_at > room || h->backing_bytes > room - h->backing_at ||
         h->backing_at + h->backing_bytes > (uint64_t)1 << h->cluster_bits)) {
        return err_set(e, -EUCLEAN, "the name of its backing file is out of place");
    }
    return 0;
}

static int check_features(const struct qcow2_header *h, struct err *e)
{
    if ((h->incompatible & QCOW2_EXTENDED_L2) != 0 &&
        h->cluster_bits < QCOW2_EXT_BITS_LEAST) {
        return err_set(e, -EUCLEAN, "its clusters are too small for subclusters");
    }
    if (((h->incompatible & QCOW2_COMPRESSION) != 0) != (h->compression != 0)) {
        return err_set(e, -EUCLEAN, "its type of compression contradicts its features");
    }
    if (h->compression > 1) {
        return err_set(e, -EOPNOTSUPP, "its type of compression is %u", h->compression);
    }
    if ((h->autoclear & QCOW2_AUTO_RAW) != 0 &&
        ((h->incompatible & QCOW2_DATA_FILE) == 0 || h->backing_at != 0)) {
        return err_set(e, -EUCLEAN, "it claims a raw data file that it cannot have");
    }
    if ((h->autoclear & QCOW2_AUTO_BITMAPS) != 0 && h->bitmaps_at == 0) {
        return err_set(e, -EUCLEAN, "it claims bitmaps and has none");
    }
    if ((h->crypt_method == 2) != (h->crypt_at != 0)) {
        return err_set(e, -EUCLEAN, "its encryption header is missing");
    }
    return 0;
}

int qcow2_header_parse(struct qcow2_header *h, const uint8_t *bytes, size_t room,
                       struct err *e)
{
    int r;

    if (room < LENGTH_OURS || qcow2_get32(bytes) != QCOW2_MAGIC) {
        return err_set(e, -EUCLEAN, "not a qcow2 image");
    }
    parse_fields(h, bytes);
    r = check_numbers(h, room, e);
    if (r == 0 && room > ((size_t)1 << h->cluster_bits)) {
        room = (size_t)1 << h->cluster_bits;
    }
    if (r == 0 && h->bytes > LENGTH_OURS) {
        h->more_bytes = h->bytes - LENGTH_OURS;
        h->more = copy_bytes(bytes + LENGTH_OURS, h->more_bytes);
        r = h->more == NULL ? err_sys(e, -ENOMEM, "cannot read the header") : 0;
    }
    if (r == 0) {
        r = parse_extensions(h, bytes, room, e);
    }
    if (r == 0 && h->backing_at != 0) {
        r = keep_name(&h->backing_name, bytes + h->backing_at, h->backing_bytes);
        r = r == 0 ? 0 : err_sys(e, r, "the name of its backing file is not valid");
    }
    return r != 0 ? r : check_features(h, e);
}

void qcow2_header_fini(struct qcow2_header *h)
{
    free(h->more);
    free(h->backing_name);
    free(h->backing_format);
    free(h->data_name);
    free(h->unknown);
    *h = (struct qcow2_header){0};
}

/* ---- the way out ---- */

struct build {
    uint8_t *to;
    size_t at;
    size_t room;
    bool full;
};

static void add(struct build *b, uint32_t type, const void *data, size_t bytes)
{
    size_t padded = (bytes + 7) & ~(size_t)7;

    if (b->full || 8 + padded > b->room - b->at) {
        b->full = true;
        return;
    }
    qcow2_put32(b->to + b->at, type);
    qcow2_put32(b->to + b->at + 4, (uint32_t)bytes);
    memcpy(b->to + b->at + 8, data, bytes);
    b->at += 8 + padded;
}

/* As many names as the first block has room for. */
static void add_features(struct build *b)
{
    static const struct {
        uint8_t type;
        uint8_t bit;
        char name[46];
    } names[] = {
        {0, 0, "dirty bit"},
        {0, 1, "corrupt bit"},
        {0, 2, "external data file"},
        {0, 3, "compression type"},
        {0, 4, "extended L2 entries"},
        {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},
        {2, 1, "raw external data"},
    };

    size_t n = b->at + 64 <= FIRST_BLOCK ? (FIRST_BLOCK - 16 - b->at) / 48 : 0;

    n = n < sizeof names / sizeof names[0] ? n : sizeof names / sizeof names[0];
    if (n > 0 && b->room > FIRST_BLOCK) {
        add(b, QCOW2_EXT_FEATURES, names, n * 48);
    }
}

static void build_fields(const struct qcow2_header *h, uint8_t *p)
{
    qcow2_put32(p, QCOW2_MAGIC);
    qcow2_put32(p + 4, h->version);
    qcow2_put32(p + 20, h->cluster_bits);
    qcow2_put64(p + 24, h->size);
    qcow2_put32(p + 32, h->crypt_method);
    qcow2_put32(p + 36, h->l1_count);
    qcow2_put64(p + 40, h->l1_at);
    qcow2_put64(p + 48, h->rt_at);
    qcow2_put32(p + 56, h->rt_clusters);
    qcow2_put32(p + 60, h->snapshots);
    qcow2_put64(p + 64, h->snapshots_at);
    if (h->version == 3) {
        qcow2_put64(p + 72, h->incompatible);
        qcow2_put64(p + 80, h->compatible);
        qcow2_put64(p + 88, h->autoclear);
        qcow2_put32(p + 96, h->refcount_order);
        qcow2_put32(p + 100, LENGTH_OURS + h->more_bytes);
        p[COMPRESSION_AT] = h->compression;
        if (h->more_bytes > 0) {
            memcpy(p + LENGTH_OURS, h->more, h->more_bytes);
        }
    }
}

/* The name goes behind the extensions, and not over the old one, which counts until
 * the first block of the header is written. */
static void place_name(const struct qcow2_header *h, struct build *b)
{
    size_t bytes = strlen(h->backing_name);
    size_t at = b->at;

    if (!h->name_is_new && h->backing_at >= at) {
        at = h->backing_at;
    } else if (h->backing_at != 0 && at < h->backing_at + h->backing_bytes &&
               h->backing_at < at + bytes) {
        size_t behind = (h->backing_at + h->backing_bytes + 7) & ~(size_t)7;

        at = behind + bytes <= b->room ? behind : at;
    }
    if (b->full || bytes > b->room - at) {
        b->full = true;
        return;
    }
    memcpy(b->to + at, h->backing_name, bytes);
    qcow2_put64(b->to + 8, at);
    qcow2_put32(b->to + 16, (uint32_t)bytes);
}

static int build(const struct qcow2_header *h, uint8_t *cluster, size_t room,
                 size_t *ret_end)
{
    struct build b = {.to = cluster, .room = room, .at = QCOW2_V2_BYTES};
    uint8_t words[24] = {0};

    build_fields(h, cluster);
    b.at = h->version == 3 ? LENGTH_OURS + h->more_bytes : b.at;
    if (h->bitmaps > 0) {
        qcow2_put32(words, h->bitmaps);
        qcow2_put64(words + 8, h->bitmaps_bytes);
        qcow2_put64(words + 16, h->bitmaps_at);
        add(&b, QCOW2_EXT_BITMAPS, words, 24);
    }
    if (h->crypt_at != 0) {
        qcow2_put64(words, h->crypt_at);
        qcow2_put64(words + 8, h->crypt_bytes);
        add(&b, QCOW2_EXT_CRYPT, words, 16);
    }
    if (h->backing_name != NULL && h->backing_format != NULL) {
        add(&b, QCOW2_EXT_FORMAT, h->backing_format, strlen(h->backing_format));
    }
    if (h->data_name != NULL) {
        add(&b, QCOW2_EXT_DATA, h->data_name, strlen(h->data_name));
    }
    if (h->unknown_bytes > 0 && h->unknown_bytes <= b.room - b.at) {
        memcpy(cluster + b.at, h->unknown, h->unknown_bytes);
        b.at += (h->unknown_bytes + 7u) & ~(size_t)7;
    } else {
        b.full = b.full || h->unknown_bytes > 0;
    }
    if (h->version == 3) {
        add_features(&b);
    }
    add(&b, QCOW2_EXT_END, "", 0);
    *ret_end = b.at;
    if (h->backing_name != NULL) {
        place_name(h, &b);
    }
    return b.full ? -ENOSPC : 0;
}

int qcow2_header_build(const struct qcow2_header *h, uint8_t *cluster, size_t room)
{
    size_t end;

    return build(h, cluster, room, &end);
}

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

/* The old name counts until the first block is written: what of it lies behind that stays in
 * the new cluster, where nothing else does. */
static int keep_old_name(struct qcow2 *q, uint8_t *bytes, size_t end)
{
    const struct qcow2_header *h = &q->header;
    size_t first = qcow2_file(q)->block_bytes;
    size_t from = h->backing_at > first ? (size_t)h->backing_at : first;
    size_t to = (size_t)(h->backing_at + h->backing_bytes);
    SCOPED(scope_free) uint8_t *old = NULL;
    int r;

    if (h->backing_at == 0 || to <= from || from < end ||
        overlaps(from, to - from, qcow2_get64(bytes + 8), qcow2_get32(bytes + 16))) {
        return 0;
    }
    old = fault_aligned(4096, q->cluster_bytes);
    r = old == NULL ? -ENOMEM : qcow2_io_read(q, old, q->cluster_bytes, 0);
    if (r == 0) {
        memcpy(bytes + from, old + from, to - from);
    }
    return r;
}

/* Write the cluster: what is behind the first block comes first when it is needed by
 * the new header, last when it is only cleared. */
static int store_parts(struct blk *file, const uint8_t *bytes, size_t room, bool tail)
{
    size_t first = file->block_bytes;
    int r = 0;

    if (tail && room > first) {
        r = blk_write(file, bytes + first, room - first, first, 0);
    }
    if (r == 0) {
        r = blk_flush(file);
    }
    if (r == 0) {
        r = blk_write(file, bytes, first, 0, 0);
    }
    if (r == 0) {
        r = blk_flush(file);
    }
    if (r == 0 && !tail && room > first) {
        r = blk_write(file, bytes + first, room - first, first, 0);
    }
    return r;
}

static int store(struct qcow2 *q)
{
    SCOPED(scope_free) uint8_t *bytes = fault_aligned(4096, q->cluster_bytes);
    size_t end = 0;
    int r = bytes == NULL ? -ENOMEM : 0;

    if (r == 0) {
        r = build(&q->header, bytes, q->cluster_bytes, &end);
    }
    if (r == 0 && q->header.name_is_new) {
        r = keep_old_name(q, bytes, end);
    }
    if (r == 0) {
        r = store_parts(qcow2_file(q), bytes, q->cluster_bytes,
                        q->header.name_is_new || end > qcow2_file(q)->block_bytes);
    }
    if (r == 0) {
        q->header.backing_at = qcow2_get64(bytes + 8);
        q->header.backing_bytes = qcow2_get32(bytes + 16);
        q->header.name_is_new = false;
    }
    return r;
}

/* An older header must not come after a newer one. */
int qcow2_header_store(struct qcow2 *q)
{
    int r;

    strand_lock(q->blk.strands, &q->header_lock);
    r = store(q);
    strand_unlock(&q->header_lock);
    return r;
}
