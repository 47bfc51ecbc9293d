/* vhdx_log.c - a log that was not written back, laid over the file.
 *
 * [MS-VHDX] 2.3: the log is a ring of entries, each a header, descriptors and data
 * sectors of 4096 bytes.  The active sequence is the one with the highest number that
 * reaches back to the tail which its last entry names (2.3.2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vhdx_parts.h"

#define HEADER_BYTES     64
#define DESCRIPTOR_BYTES 32
#define BUDGET           ((uint64_t)4) /* times that a ring may be summed */
#define LEADING          8             /* bytes of a sector that its descriptor has */
#define TRAILING         4
#define AT_CHECKSUM      4
#define AT_LENGTH        8
#define AT_TAIL          12
#define AT_SEQUENCE      16
#define AT_COUNT         24
#define AT_GUID          32
#define AT_FLUSHED       48
#define AT_LAST          56

/* The ring in memory. */
struct ring {
    const char *bytes;
    uint64_t size;
    uint64_t budget; /* bytes that may still be summed: hostile entries overlap */
    const unsigned char *guid;
};

/* Entries in a row. */
struct sequence {
    uint64_t begin;
    uint64_t last;   /* offset of the last entry */
    uint64_t number; /* of the last entry */
    unsigned count;
};

static const char *piece_at(const struct ring *g, uint64_t at)
{
    return g->bytes + at % g->size; /* pieces divide the size */
}

static uint32_t entry_length(const char *h)
{
    return bytes_le32(h + AT_LENGTH);
}

/* Descriptors follow the header, both fill whole pieces. */
static uint64_t descriptor_pieces(const char *h)
{
    uint64_t bytes = HEADER_BYTES + (uint64_t)bytes_le32(h + AT_COUNT) * DESCRIPTOR_BYTES;

    return (bytes + VHDX_PIECE - 1) / VHDX_PIECE;
}

static const char *descriptor(const struct ring *g, uint64_t entry, uint32_t i)
{
    return piece_at(g, entry + (HEADER_BYTES + (uint64_t)i * DESCRIPTOR_BYTES) /
                                   VHDX_PIECE * VHDX_PIECE) +
           (HEADER_BYTES + (uint64_t)i * DESCRIPTOR_BYTES) % VHDX_PIECE;
}

/* Every descriptor is of this entry, and so are its data sectors (2.3.1.2, 2.3.1.4). */
static bool descriptors_are_right(const struct ring *g, uint64_t at, const char *h)
{
    uint64_t sequence = bytes_le64(h + AT_SEQUENCE);
    uint64_t pieces = entry_length(h) / VHDX_PIECE;
    uint64_t next = descriptor_pieces(h);

    for (uint32_t i = 0; i < bytes_le32(h + AT_COUNT); i++) {
        const char *d = descriptor(g, at, i);
        const char *data;

        if (bytes_le64(d + 24) != sequence) {
            return false;
        }
        if (memcmp(d, "zero", 4) == 0) {
            continue;
        }
        if (memcmp(d, "desc", 4) != 0 || next >= pieces) {
            return false;
        }
        data = piece_at(g, at + next++ * VHDX_PIECE);
        if (memcmp(data, "data", 4) != 0 ||
            bytes_le32(data + 4) != (uint32_t)(sequence >> 32) ||
            bytes_le32(data + VHDX_PIECE - TRAILING) != (uint32_t)sequence) {
            return false;
        }
    }
    return true;
}

static bool entry_is_right(struct ring *g, uint64_t at)
{
    static const char none[TRAILING];
    const char *h = piece_at(g, at);
    uint64_t length = entry_length(h);
    uint32_t sum = crc32c(0, h, AT_CHECKSUM);

    if (memcmp(h, "loge", 4) != 0 || length < VHDX_PIECE || length > g->size ||
        length % VHDX_PIECE != 0 || bytes_le64(h + AT_SEQUENCE) == 0 ||
        bytes_le32(h + AT_TAIL) % VHDX_PIECE != 0 ||
        memcmp(h + AT_GUID, g->guid, VHDX_GUID_BYTES) != 0 ||
        descriptor_pieces(h) > length / VHDX_PIECE || length > g->budget) {
        return false;
    }
    g->budget -= length;
    sum = crc32c(sum, none, sizeof none); /* the checksum counts as zeros */
    sum = crc32c(sum, h + AT_LENGTH, VHDX_PIECE - AT_LENGTH);
    for (uint64_t i = VHDX_PIECE; i < length; i += VHDX_PIECE) {
        sum = crc32c(sum, piece_at(g, at + i), VHDX_PIECE);
    }
    return sum == bytes_le32(h + AT_CHECKSUM) && descriptors_are_right(g, at, h);
}

/* The entries in a row from `begin` on; how many bytes they take. */
static uint64_t follow(struct ring *g, uint64_t begin, struct sequence *ret)
{
    uint64_t at = begin;

    *ret = (struct sequence){.begin = begin};
    while (at - begin < g->size && entry_is_right(g, at)) {
        uint64_t number = bytes_le64(piece_at(g, at) + AT_SEQUENCE);
        uint64_t length = entry_length(piece_at(g, at));

        if ((ret->count > 0 && number != ret->number + 1) ||
            at - begin + length > g->size) {
            break;
        }
        ret->number = number;
        ret->last = at;
        ret->count++;
        at += length;
    }
    return at - begin;
}

/* The tail that the last entry names is one of the entries. */
static bool reaches_tail(const struct ring *g, const struct sequence *q)
{
    uint64_t tail = bytes_le32(piece_at(g, q->last) + AT_TAIL);
    uint64_t at = q->begin;

    for (unsigned i = 0; i < q->count; i++) {
        if (at % g->size == tail) {
            return true;
        }
        at += entry_length(piece_at(g, at));
    }
    return false;
}

static bool find_active(struct ring *g, struct sequence *ret)
{
    bool found = false;
    uint64_t at = 0;

    while (at < g->size) {
        struct sequence q;
        uint64_t bytes = follow(g, at, &q);

        if (q.count > 0 && reaches_tail(g, &q) && (!found || q.number > ret->number)) {
            *ret = q;
            found = true;
        }
        at += bytes > 0 ? bytes : VHDX_PIECE;
    }
    return found;
}

static int add_patch(struct vhdx *v, struct vhdx_patch p)
{
    if (v->patch_count == v->patch_room) {
        unsigned room = v->patch_room == 0 ? 64 : v->patch_room * 2;
        struct vhdx_patch *more = fault_realloc(v->patch, room * sizeof *more);

        if (more == NULL) {
            free(p.data);
            return -ENOMEM;
        }
        v->patch = more;
        v->patch_room = room;
    }
    v->patch[v->patch_count++] = p;
    return 0;
}

static int add_data(struct vhdx *v, const char *d, const char *data)
{
    struct vhdx_patch p = {.at = bytes_le64(d + 16), .bytes = VHDX_PIECE};

    p.data = fault_malloc(VHDX_PIECE);
    if (p.data == NULL) {
        return -ENOMEM;
    }
    memcpy(p.data, d + 8, LEADING);
    memcpy(p.data + LEADING, data + LEADING, VHDX_PIECE - LEADING - TRAILING);
    memcpy(p.data + VHDX_PIECE - TRAILING, d + 4, TRAILING);
    return add_patch(v, p);
}

static int add_entry(struct vhdx *v, const struct ring *g, uint64_t at)
{
    const char *h = piece_at(g, at);
    uint64_t next = descriptor_pieces(h);
    uint64_t last = bytes_le64(h + AT_LAST);
    int r = 0;

    if (bytes_le64(h + AT_FLUSHED) > blk_size(v->file) || last > BLK_SIZE_MOST_BYTES) {
        return -EUCLEAN; /* the file was cut off since */
    }
    for (uint32_t i = 0; r == 0 && i < bytes_le32(h + AT_COUNT); i++) {
        const char *d = descriptor(g, at, i);
        uint64_t to = bytes_le64(d + 16);
        uint64_t bytes = d[0] == 'z' ? bytes_le64(d + 8) : VHDX_PIECE;

        if (to % VHDX_PIECE != 0 || bytes % VHDX_PIECE != 0 || to > BLK_SIZE_MOST_BYTES ||
            bytes > BLK_SIZE_MOST_BYTES - to) {
            return -EUCLEAN;
        }
        if (d[0] == 'z') {
            r = add_patch(v, (struct vhdx_patch){.at = to, .bytes = bytes});
        } else {
            r = add_data(v, d, piece_at(g, at + next++ * VHDX_PIECE));
        }
    }
    v->file_bytes = last > v->file_bytes ? last : v->file_bytes;
    return r;
}

/* From the tail to the head. */
static int add_sequence(struct vhdx *v, const struct ring *g, const struct sequence *q)
{
    uint64_t tail = bytes_le32(piece_at(g, q->last) + AT_TAIL);
    uint64_t at = q->begin;
    bool begun = false;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < q->count; i++) {
        begun = begun || at % g->size == tail;
        if (begun) {
            r = add_entry(v, g, at);
        }
        at += entry_length(piece_at(g, at));
    }
    return r;
}

int vhdx_read_log(struct vhdx *v, struct err *e)
{
    SCOPED(scope_free) char *bytes = NULL;
    struct ring g = {.size = v->header.log_bytes,
                     .budget = BUDGET * v->header.log_bytes,
                     .guid = v->header.log};
    struct sequence active = {0};
    int r;

    if (g.size == 0 || g.size % VHDX_MIB != 0 || g.size > VHDX_LOG_MOST ||
        v->header.log_at % VHDX_MIB != 0 || v->header.log_at > blk_size(v->file) ||
        g.size > blk_size(v->file) - v->header.log_at) {
        return format_refuse(&v->base, -EUCLEAN, e, "its log is not clean and damaged");
    }
    bytes = fault_malloc(g.size);
    if (bytes == NULL) {
        return format_refuse(&v->base, -ENOMEM, e, "no memory");
    }
    r = format_read_meta(v->file, bytes, g.size, v->header.log_at);
    g.bytes = bytes;
    if (r == 0) {
        r = find_active(&g, &active) ? add_sequence(v, &g, &active) : -EUCLEAN;
    }
    return r == 0 ? 0
                  : format_refuse(&v->base, r, e,
                                  "its log is not clean and cannot be replayed");
}

void vhdx_forget_log(struct vhdx *v)
{
    for (unsigned i = 0; i < v->patch_count; i++) {
        free(v->patch[i].data);
    }
    free(v->patch);
}

/* ---- the file as the log has it ---- */

static void lay_over(const struct vhdx_patch *p, struct blk_vec to, uint64_t at)
{
    uint64_t from = at > p->at ? at : p->at;
    uint64_t end = p->at + p->bytes;
    struct blk_vec part;

    end = end < at + to.bytes ? end : at + to.bytes;
    if (from >= end) {
        return;
    }
    part = blk_vec_part(to, (size_t)(from - at), (size_t)(end - from));
    if (p->data == NULL) {
        blk_vec_zero(part);
    } else {
        blk_vec_put(part, p->data + (from - p->at));
    }
}

int vhdx_read_file(struct vhdx *v, struct blk_vec to, uint64_t at)
{
    uint64_t size = blk_size(v->file);
    int r = 0;

    if (at > v->file_bytes || to.bytes > v->file_bytes - at) {
        return -EUCLEAN;
    }
    if (at < size) {
        r = format_run_plain(v->file, to, at);
    } else {
        blk_vec_zero(to);
    }
    for (unsigned i = 0; r == 0 && i < v->patch_count; i++) {
        lay_over(&v->patch[i], to, at);
    }
    return r;
}

int vhdx_read_flat(struct vhdx *v, void *to, uint64_t bytes, uint64_t at)
{
    struct iovec piece;

    return vhdx_read_file(v, blk_vec_of(&piece, to, (size_t)bytes), at);
}
