/* vmdk_sparse.c - one sparse extent: its directory, its tables, where grains lie. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vmdk_parts.h"

#define GRAIN_LEAST       8u                  /* sectors */
#define GRAIN_MOST        ((64u << 20) / 512) /* 64 MiB */
#define PACKED_GRAIN_MOST ((4u << 20) / 512)  /* is unpacked in memory */
#define TABLES_MOST       (1u << 20)
#define FOOTER_FROM_END   1024

/* ---- tables ---- */

static int load_table(struct vmdk_sparse *s, struct vmdk_table *t, uint32_t index)
{
    uint64_t at = (uint64_t)s->directory[index] * VMDK_SECTOR;
    int r = 0;

    t->index = UINT32_MAX;
    if (at == 0) { /* none of its grains was ever written */
        memset(t->entry, 0, sizeof t->entry);
    } else {
        r = format_read_meta(s->file, t->entry, VMDK_TABLE_BYTES, at);
    }
    if (r == 0) {
        t->index = index;
    }
    return r;
}

static int write_table(struct vmdk_sparse *s, const struct vmdk_table *t)
{
    int r = blk_write(s->file, t->entry, VMDK_TABLE_BYTES,
                      (uint64_t)s->directory[t->index] * VMDK_SECTOR, 0);

    if (r == 0 && s->redundant != NULL) {
        r = blk_write(s->file, t->entry, VMDK_TABLE_BYTES,
                      (uint64_t)s->redundant[t->index] * VMDK_SECTOR, 0);
    }
    return r;
}

static int flush_locked(struct vmdk_sparse *s)
{
    int r = blk_flush(s->file);
    bool wrote = false;

    for (unsigned i = 0; r == 0 && i < VMDK_TABLE_SLOTS; i++) {
        struct vmdk_table *t = s->slot[i];

        if (t != NULL && t->dirty) {
            r = write_table(s, t);
            wrote = true;
        }
    }
    if (r == 0 && wrote) {
        r = blk_flush(s->file);
    }
    for (unsigned i = 0; r == 0 && wrote && i < VMDK_TABLE_SLOTS; i++) {
        if (s->slot[i] != NULL) {
            s->slot[i]->dirty = false;
        }
    }
    return r;
}

int vmdk_sparse_flush(struct vmdk_sparse *s)
{
    int r;

    strand_lock(s->file->strands, &s->lock);
    r = flush_locked(s);
    strand_unlock(&s->lock);
    return r;
}

static int table_locked(struct vmdk_sparse *s, uint32_t index, struct vmdk_table **ret)
{
    struct vmdk_table **slot = &s->slot[index % VMDK_TABLE_SLOTS];
    int r = 0;

    if (*slot == NULL) {
        *slot = fault_calloc(1, sizeof **slot);
        if (*slot == NULL) {
            return -ENOMEM;
        }
        (*slot)->index = UINT32_MAX;
    }
    if ((*slot)->index != index) {
        if ((*slot)->dirty) {
            r = flush_locked(s);
        }
        if (r == 0) {
            r = load_table(s, *slot, index);
        }
    }
    *ret = *slot;
    return r;
}

int vmdk_entry_get(struct vmdk_sparse *s, uint64_t grain, uint32_t *ret_sector)
{
    uint32_t index = (uint32_t)(grain / VMDK_TABLE_ENTRIES);
    struct vmdk_table *t = s->slot[index % VMDK_TABLE_SLOTS];
    int r;

    if (t != NULL && t->index == index) {
        *ret_sector = le32toh(t->entry[grain % VMDK_TABLE_ENTRIES]);
        return 0;
    }
    strand_lock(s->file->strands, &s->lock);
    r = table_locked(s, index, &t);
    if (r == 0) { /* before others run, who may need the slot */
        *ret_sector = le32toh(t->entry[grain % VMDK_TABLE_ENTRIES]);
    }
    strand_unlock(&s->lock);
    return r;
}

int vmdk_entry_set(struct vmdk_sparse *s, uint64_t grain, uint64_t count, uint32_t sector)
{
    int r = 0;

    strand_lock(s->file->strands, &s->lock);
    for (uint64_t i = 0; r == 0 && i < count; i++) {
        struct vmdk_table *t;

        r = table_locked(s, (uint32_t)((grain + i) / VMDK_TABLE_ENTRIES), &t);
        if (r == 0) {
            t->entry[(grain + i) % VMDK_TABLE_ENTRIES] = htole32(sector);
            t->dirty = true;
            sector += (uint32_t)s->header.grain;
        }
    }
    strand_unlock(&s->lock);
    return r;
}

/* ---- where grains lie ---- */

int vmdk_sparse_find(struct vmdk_sparse *s, uint64_t off, uint64_t bytes,
                     struct format_run *ret)
{
    uint64_t grain = off / s->grain_bytes;
    uint64_t inside = off % s->grain_bytes;
    uint32_t sector;
    int r = vmdk_entry_get(s, grain, &sector);

    if (r != 0) {
        return r;
    }
    ret->bytes = bytes < s->grain_bytes - inside ? bytes : s->grain_bytes - inside;
    ret->file = s->file;
    ret->at = (uint64_t)sector * VMDK_SECTOR + (s->inflate == NULL ? inside : 0);
    if (sector == 0) {
        ret->place = FORMAT_PLACE_NOWHERE;
    } else if (sector == 1 && (s->header.flags & VMDK_FLAG_ZERO_GRAINS) != 0) {
        ret->place = FORMAT_PLACE_ZERO;
    } else {
        ret->place = s->inflate != NULL ? FORMAT_PLACE_PACKED : FORMAT_PLACE_FILE;
    }
    return 0;
}

/* Unpack the grain behind the marker in `head` into a new buffer. */
static int unpack(struct vmdk_sparse *s, const char *from, size_t bytes, char **ret)
{
    SCOPED(scope_free) char *room = fault_calloc(1, s->grain_bytes);
    size_t did = 0;

    if (room == NULL) {
        return -ENOMEM;
    }
    if (libdeflate_zlib_decompress(s->inflate, from, bytes, room, s->grain_bytes, &did) !=
        LIBDEFLATE_SUCCESS) {
        return -EUCLEAN;
    }
    *ret = room;
    room = NULL;
    return 0;
}

static int read_packed(struct vmdk_sparse *s, uint64_t at, uint64_t grain, char **ret)
{
    char head[VMDK_SECTOR];
    SCOPED(scope_free) char *packed = NULL;
    uint64_t bytes;
    int r = format_read_meta(s->file, head, sizeof head, at);

    if (r != 0) {
        return r;
    }
    bytes = (uint64_t)bytes_le32(head + 8);
    if (bytes_le64(head) != grain * s->header.grain || bytes == 0 ||
        bytes > 2 * s->grain_bytes + VMDK_SECTOR) {
        return -EUCLEAN;
    }
    if (bytes <= sizeof head - VMDK_MARK_BYTES) {
        return unpack(s, head + VMDK_MARK_BYTES, (size_t)bytes, ret);
    }
    bytes = (bytes + VMDK_MARK_BYTES + VMDK_SECTOR - 1) & ~(uint64_t)(VMDK_SECTOR - 1);
    packed = fault_malloc(bytes);
    r = packed == NULL ? -ENOMEM : format_read_meta(s->file, packed, bytes, at);
    return r != 0 ? r : unpack(s, packed + VMDK_MARK_BYTES, bytes_le32(head + 8), ret);
}

/* The grain that was unpacked last is kept for small reads in a row. */
int vmdk_sparse_unpack(struct vmdk_sparse *s, const struct format_run *run,
                       struct blk_vec to, uint64_t off)
{
    uint64_t grain = off / s->grain_bytes;

    if (s->unpacked_grain != grain) {
        char *bytes = NULL;
        int r = read_packed(s, run->at, grain, &bytes);

        if (r != 0) {
            return r;
        }
        free(s->unpacked);
        s->unpacked = bytes;
        s->unpacked_grain = grain;
    }
    blk_vec_put(to, s->unpacked + off % s->grain_bytes);
    return 0;
}

/* ---- opening ---- */

/* Streams have their final header at the end: marker, footer, end of stream. */
static int read_footer(const struct format_base *b, struct vmdk_sparse *s, struct err *e)
{
    char footer[VMDK_HEADER_BYTES];
    uint64_t size = blk_size(s->file);
    int r = size < FOOTER_FROM_END ? -EUCLEAN
                                   : format_read_meta(s->file, footer, sizeof footer,
                                                      size - FOOTER_FROM_END);

    if (r == 0) {
        r = vmdk_header_parse(footer, &s->header);
    }
    return r == 0 ? 0
                  : format_refuse(b, r, e, "the end of the stream is missing or damaged");
}

static int check_header(const struct format_base *b, struct vmdk_sparse *s, struct err *e)
{
    const struct vmdk_header *h = &s->header;
    bool packed = (h->flags & VMDK_FLAG_COMPRESSED) != 0;
    uint64_t covers;

    if (h->grain < GRAIN_LEAST || (h->grain & (h->grain - 1)) != 0 ||
        h->grain > (packed ? PACKED_GRAIN_MOST : GRAIN_MOST) ||
        h->table_entries != VMDK_TABLE_ENTRIES) {
        return format_refuse(b, -EUCLEAN, e, "grains of %llu sectors, tables of %u",
                             (unsigned long long)h->grain, h->table_entries);
    }
    if (packed && h->compression != VMDK_DEFLATE) {
        return format_refuse(b, -EOPNOTSUPP, e, "unknown compression %u", h->compression);
    }
    covers = h->grain * VMDK_TABLE_ENTRIES;
    if (h->capacity > TABLES_MOST * covers) {
        return format_refuse(b, -EUCLEAN, e, "a size of %llu sectors is not possible",
                             (unsigned long long)h->capacity);
    }
    s->grain_bytes = h->grain * VMDK_SECTOR;
    s->next_free = (blk_size(s->file) + s->grain_bytes - 1) & ~(s->grain_bytes - 1);
    s->tables = (uint32_t)((h->capacity + covers - 1) / covers);
    return 0;
}

static int read_directory(struct vmdk_sparse *s, uint64_t sector, uint32_t **ret)
{
    uint64_t bytes = ((uint64_t)s->tables * 4 + VMDK_SECTOR - 1) & ~(uint64_t)511;
    uint32_t *d;
    int r;

    if (sector > blk_size(s->file) / VMDK_SECTOR ||
        bytes > blk_size(s->file) - sector * VMDK_SECTOR) {
        return -EUCLEAN; /* before memory is taken for it */
    }
    d = fault_malloc(bytes + 1);
    r = d == NULL ? -ENOMEM : format_read_meta(s->file, d, bytes, sector * VMDK_SECTOR);
    for (uint32_t i = 0; r == 0 && i < s->tables; i++) {
        d[i] = le32toh(d[i]);
    }
    if (r != 0) {
        free(d);
        return r;
    }
    *ret = d;
    return 0;
}

/* Every table has to have its places: we enter grains in them. */
static int check_writable(const struct format_base *b, struct vmdk_sparse *s,
                          struct err *e)
{
    uint64_t first_grain = s->header.overhead;

    if (s->inflate != NULL) {
        return format_refuse(b, -EOPNOTSUPP, e,
                             "a stream-optimised image cannot be changed");
    }
    if (!s->file->grows) {
        return format_refuse(b, -EOPNOTSUPP, e, "its file cannot grow");
    }
    for (uint32_t i = 0; i < s->tables; i++) {
        if (s->directory[i] == 0 || (s->redundant != NULL && s->redundant[i] == 0) ||
            s->directory[i] + (uint64_t)4 > first_grain) {
            return format_refuse(b, -EOPNOTSUPP, e,
                                 "a grain table has no place: read only is possible");
        }
    }
    return 0;
}

static int read_tables(const struct format_base *b, struct vmdk_sparse *s, bool read_only,
                       struct err *e)
{
    bool redundant = (s->header.flags & VMDK_FLAG_REDUNDANT) != 0 && !read_only;
    int r;

    if ((s->header.flags & VMDK_FLAG_COMPRESSED) != 0) {
        s->inflate = libdeflate_alloc_decompressor();
        if (s->inflate == NULL) {
            return format_refuse(b, -ENOMEM, e, "no memory");
        }
    }
    r = read_directory(s, s->header.directory, &s->directory);
    if (r == 0 && redundant) {
        r = read_directory(s, s->header.redundant_directory, &s->redundant);
    }
    if (r != 0) {
        return format_refuse(b, r, e, "its grain directory cannot be read");
    }
    return read_only ? 0 : check_writable(b, s, e);
}

int vmdk_sparse_open(const struct format_base *b, struct blk *file, bool read_only,
                     struct vmdk_sparse **ret, struct err *e)
{
    struct vmdk_sparse *s = fault_calloc(1, sizeof *s);
    char header[VMDK_HEADER_BYTES];
    int r;

    if (s == NULL) {
        return format_refuse(b, -ENOMEM, e, "no memory");
    }
    s->file = file;
    s->unpacked_grain = UINT64_MAX;
    r = format_read_meta(file, header, sizeof header, 0);
    if (r == 0) {
        r = vmdk_header_parse(header, &s->header);
    }
    if (r != 0) {
        r = format_refuse(b, r, e, "it has no valid VMDK header");
    } else if (s->header.directory == VMDK_AT_END) {
        r = read_footer(b, s, e);
    }
    if (r == 0) {
        r = check_header(b, s, e);
    }
    if (r == 0) {
        r = read_tables(b, s, read_only, e);
    }
    if (r != 0) {
        vmdk_sparse_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void vmdk_sparse_close(struct vmdk_sparse *s)
{
    if (s == NULL) {
        return;
    }
    for (unsigned i = 0; i < VMDK_TABLE_SLOTS; i++) {
        free(s->slot[i]);
    }
    libdeflate_free_decompressor(s->inflate);
    free(s->unpacked);
    free(s->directory);
    free(s->redundant);
    free(s);
}
