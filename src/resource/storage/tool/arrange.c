/* arrange.c - what disks over others need on them before they can be opened. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "resource/storage/bitmap/bitmap.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/tool/private.h"

#define PIECES_MOST RAID_MOST

struct pieces {
    struct blk *disk[PIECES_MOST];
    unsigned count;
};

/* The disks of `piece=`, which nobody else uses. */
static int take_pieces(const struct request *r, struct pieces *p)
{
    const char *name;

    while ((name = request_nth(r, "piece", p->count)) != NULL) {
        if (p->count == PIECES_MOST) {
            return err_set(r->e, -E2BIG, "there are too many pieces");
        }
        p->disk[p->count] = graph_disk(r->graph, name, r->e);
        if (p->disk[p->count] == NULL) {
            return -ENOENT;
        }
        p->count++;
    }
    return p->count > 0 ? 0 : err_set(r->e, -EINVAL, "no piece is named (piece=NODE)");
}

static int arrange_mirror(const struct request *r, struct blk *top)
{
    struct mirror_format f = {.async = request_has(r, "async"),
                              .same = request_has(r, "same")};
    struct pieces p = {.count = 0};
    uint64_t region = 0;
    int e = take_pieces(r, &p);

    (void)top;
    e = e != 0 ? e : request_number(r, "size", 0, &f.size_bytes);
    e = e != 0 ? e : request_number(r, "region", 0, &region);
    f.region_bytes = (uint32_t)region;
    return e != 0 ? e : mirror_format(p.disk, p.count, &f, r->e);
}

static int arrange_raid(const struct request *r, struct blk *top)
{
    struct raid_format f = {0};
    struct pieces p = {.count = 0};
    uint64_t level = 0;
    uint64_t chunk = 0;
    int e = take_pieces(r, &p);

    (void)top;
    if (e == 0 && !request_has(r, "level")) {
        e = err_set(r->e, -EINVAL, "no level is given (level=0|1|5|6|10)");
    }
    e = e != 0 ? e : request_number(r, "level", 0, &level);
    e = e != 0 ? e : request_number(r, "chunk", 0, &chunk);
    e = e != 0 ? e : request_number(r, "size", 0, &f.size_bytes);
    e = e != 0 ? e : request_number(r, "journal", 0, &f.journal_bytes);
    f.level = (unsigned)level;
    f.chunk_bytes = (uint32_t)chunk;
    return e != 0 ? e : raid_format(r->loop, p.disk, p.count, &f, r->e);
}

static int arrange_checksum(const struct request *r, struct blk *top)
{
    struct filter_checksum_format f = {.kind = FILTER_CHECKSUM_CRC32C,
                                       .adopt = request_has(r, "adopt")};
    const char *kind = request_get(r, "kind");
    struct blk *area = NULL;
    int e = request_has(r, "area") ? request_disk(r, "area", &area) : 0;

    if (kind != NULL && strcmp(kind, "sha256") == 0) {
        f.kind = FILTER_CHECKSUM_SHA256;
    } else if (kind != NULL && strcmp(kind, "crc32c") != 0) {
        return err_set(r->e, -EINVAL, "kind= is crc32c or sha256");
    }
    e = e != 0 ? e : request_number(r, "size", 0, &f.data_bytes);
    return e != 0 ? e : filter_checksum_format(top, area, &f, r->e);
}

/* A new store, or with `volume=` one more volume in the one that is there. */
static int arrange_dedup(const struct request *r, struct blk *top)
{
    const char *volume = request_get(r, "volume");
    struct dedup *store = NULL;
    uint64_t size = 0;
    int e = request_number(r, "size", 0, &size);

    if (e != 0 || volume == NULL) {
        return e != 0 ? e : dedup_format(top, size, r->e);
    }
    e = dedup_open(top, &store, r->e);
    if (e == 0) {
        e = request_has(r, "remove") ? dedup_volume_remove(store, volume, r->e)
                                     : dedup_volume_add(store, volume, size, r->e);
        dedup_unref(store);
    }
    return e;
}

static int arrange_marks(const struct request *r, struct blk *top)
{
    struct blk *of = NULL;
    uint64_t size = 0;
    int e = request_has(r, "of") ? request_disk(r, "of", &of)
                                 : request_number(r, "size", 0, &size);

    graph_let_grow(r->graph, top);
    return e != 0 ? e : bitmap_set_format(top, of != NULL ? blk_size(of) : size, r->e);
}

static int arrange_store(const struct request *r, struct blk *top)
{
    const char *owner = request_get(r, "owner");
    uint64_t extent = 0;
    int e = request_number(r, "extent", 0, &extent);

    if (e == 0 && extent > UINT32_MAX) {
        e = err_set(r->e, -ERANGE, "extent= is too large");
    }
    owner = owner != NULL ? owner : "";
    return e != 0 ? e : place_store_format_for(top, (uint32_t)extent, owner, r->e);
}

/* The map alone: the pieces are not looked at. */
static int arrange_span(const struct request *r, struct blk *top)
{
    struct place_span_shape s = {.on_first = request_has(r, "on-first")};
    uint64_t pieces = 0;
    int e = request_number(r, "pieces", 1, &pieces);

    e = e != 0 ? e : request_number(r, "segment", 0, &s.segment_bytes);
    e = e != 0 ? e : request_number(r, "size", 0, &s.size_bytes);
    if (e == 0 && (pieces < 1 || pieces > PLACE_PIECES_MOST)) {
        e = err_set(r->e, -EINVAL, "a span has 1 to %d pieces", PLACE_PIECES_MOST);
    }
    s.pieces = (unsigned)pieces;
    graph_let_grow(r->graph, top);
    return e != 0 ? e : place_span_format(top, &s, r->e);
}

static const struct {
    const char *format;
    int (*arrange)(const struct request *r, struct blk *top);
} arrangements[] = {
    {"mirror", arrange_mirror}, {"raid", arrange_raid},   {"checksum", arrange_checksum},
    {"dedup", arrange_dedup},   {"marks", arrange_marks}, {"store", arrange_store},
    {"span", arrange_span},
};

static const char *const keys[] = {
    "format", "piece",   "size",    "region", "async",    "same",   "level",
    "chunk",  "journal", "kind",    "area",   "adopt",    "volume", "remove",
    "of",     "extent",  "segment", "pieces", "on-first", "owner",  NULL};

int tool_arrange(struct request *r)
{
    const char *format = request_get(r, "format");
    struct blk *top = NULL;
    int e = request_open(r, keys, &top);

    if (e != 0 || format == NULL) {
        return e != 0 ? e : err_set(r->e, -EINVAL, "no format is given (format=NAME)");
    }
    for (unsigned i = 0; i < sizeof arrangements / sizeof arrangements[0]; i++) {
        if (strcmp(arrangements[i].format, format) == 0) {
            e = arrangements[i].arrange(r, top);
            return e == 0 ? 0 : err_sys(r->e, e, "cannot arrange the disks");
        }
    }
    return err_set(r->e, -EINVAL, "'%.40s' is no arrangement", format);
}
