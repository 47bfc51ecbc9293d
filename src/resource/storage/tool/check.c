/* check.c - whether an image is right, and mending it; reading all of a redundant disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"
#include "resource/storage/tool/private.h"

#define PIECE_BYTES   (1u << 20)
#define EQUAL_STEP_NS 10000000u
#define EQUAL_TRIES   6000 /* steps in which nothing was copied */

static bool is(const struct blk *disk, const char *name)
{
    return strcmp(disk->ops->name, name) == 0;
}

static int choose_repair(const struct request *r, enum qcow2_repair *ret)
{
    const char *text = request_get(r, "repair");

    if (text == NULL) {
        *ret = QCOW2_REPAIR_NOTHING;
    } else if (strcmp(text, "leaks") == 0) {
        *ret = QCOW2_REPAIR_LEAKS;
    } else if (strcmp(text, "all") == 0) {
        *ret = QCOW2_REPAIR_ALL;
    } else {
        return err_set(r->e, -EINVAL, "repair= is leaks or all");
    }
    return 0;
}

static int check_qcow2(const struct request *r, struct blk *disk)
{
    struct qcow2_check_result x;
    enum qcow2_repair repair = QCOW2_REPAIR_NOTHING;
    int e = choose_repair(r, &repair);

    e = e != 0 ? e : qcow2_check(disk, repair, &x, r->e);
    if (e != 0) {
        return e;
    }
    (void)request_answer_number(r, "corruptions", x.corruptions);
    (void)request_answer_number(r, "leaks", x.leaks);
    (void)request_answer_number(r, "repaired_corruptions", x.repaired_corruptions);
    (void)request_answer_number(r, "repaired_leaks", x.repaired_leaks);
    (void)request_answer_number(r, "data_clusters", x.data_clusters);
    (void)request_answer_number(r, "compressed_clusters", x.compressed_clusters);
    return request_answer_number(r, "file_end", x.file_end);
}

static const char *const check_keys[] = {"repair", NULL};

int tool_check(struct request *r)
{
    struct blk *disk = NULL;
    struct dedup *store;
    int e = request_open(r, check_keys, &disk);

    if (e != 0) {
        return e;
    }
    store = graph_dedup(r->graph, graph_name_of(r->graph, disk));
    if (is(disk, "qcow2")) {
        return check_qcow2(r, disk);
    }
    if (request_has(r, "repair")) {
        return err_set(r->e, -EOPNOTSUPP, "nobody here can repair a disk of type %s",
                       disk->ops->name);
    }
    return store != NULL ? dedup_check(store, r->e) : 0; /* it could be opened */
}

/* ---- scrub ---- */

static int scrub_checksum(const struct request *r, struct blk *disk)
{
    struct filter_checksum_scrub s = {.renew = request_has(r, "renew")};
    int e = filter_checksum_scrub(disk, &s);

    (void)request_answer_number(r, "blocks", s.blocks);
    (void)request_answer_number(r, "wrong", s.wrong);
    (void)request_answer_number(r, "mended", s.mended);
    (void)request_answer_number(r, "renewed", s.renewed);
    return e;
}

struct mirror_scrub {
    bool mend;
    uint64_t wrong;
    uint64_t mended;
    char *first; /* of PIECE_BYTES each */
    char *other;
};

/* Compare all copies of a piece with the first that can be read; `mend`: write that one to
 * all. */
static int compare_copies(struct mirror_scrub *s, struct blk *disk, uint64_t off,
                          size_t bytes)
{
    bool have = false;
    bool alike = true;
    int r = 0;

    for (unsigned copy = 0; r != -ENOENT; copy++) {
        struct iovec piece;

        r = mirror_read_copy(disk, copy,
                             blk_vec_of(&piece, have ? s->other : s->first, bytes), off);
        if (r == 0 && have) {
            alike = alike && memcmp(s->first, s->other, bytes) == 0;
        } else if (r == 0) {
            have = true;
        } else if (r != -ENOENT && r != -ENODEV) {
            alike = false;
        }
    }
    if (!have) {
        return -EIO;
    }
    s->wrong += !alike;
    if (!alike && s->mend) {
        r = blk_write(disk, s->first, bytes, off, 0);
        s->mended += r == 0;
        return r;
    }
    return 0;
}

static int scrub_mirror(const struct request *r, struct blk *disk)
{
    SCOPED(scope_free) char *first = fault_aligned(4096, PIECE_BYTES);
    SCOPED(scope_free) char *other = fault_aligned(4096, PIECE_BYTES);
    struct mirror_scrub s = {
        .mend = request_has(r, "mend"), .first = first, .other = other};
    struct request_progress p = {.r = r};
    int e = first == NULL || other == NULL ? -ENOMEM : 0;

    for (uint64_t off = 0; e == 0 && off < blk_size(disk); off += PIECE_BYTES) {
        uint64_t left = blk_size(disk) - off;

        e = compare_copies(&s, disk, off,
                           (size_t)(left < PIECE_BYTES ? left : PIECE_BYTES));
        e = e != 0 ? e : request_progress(&p, off, blk_size(disk));
    }
    (void)request_answer_number(r, "wrong", s.wrong);
    (void)request_answer_number(r, "mended", s.mended);
    return e != 0 ? e : blk_flush(disk);
}

static int scrub_raid(const struct request *r, struct blk *disk)
{
    struct raid_scrub s = {.mend = request_has(r, "mend")};
    int e = raid_scrub(disk, &s);

    for (unsigned i = 0; (e == -EOPNOTSUPP || e == 0) && i < disk->edge_count; i++) {
        struct blk *below = disk->edge[i].disk; /* of level 10: mirrors */

        e = below != NULL && is(below, "mirror") ? scrub_mirror(r, below) : e;
    }
    (void)request_answer_number(r, "stripes", s.stripes);
    (void)request_answer_number(r, "wrong", s.wrong);
    (void)request_answer_number(r, "mended", s.mended);
    return e;
}

/* Whether a member that came back is being made equal, in the disk or in one below it. */
static bool is_rebuilding(const struct blk *disk, uint64_t *done)
{
    struct mirror_status m;
    struct raid_status x;

    if (is(disk, "mirror")) {
        mirror_status(disk, &m);
        *done += m.copied_bytes;
        return m.state == MIRROR_REBUILDING;
    }
    if (!is(disk, "raid")) {
        return false;
    }
    raid_status(disk, &x);
    *done += x.done_stripes;
    for (unsigned i = 0; !x.rebuilding && i < disk->edge_count; i++) {
        x.rebuilding =
            disk->edge[i].disk != NULL && is_rebuilding(disk->edge[i].disk, done);
    }
    return x.rebuilding;
}

/* Until all members that are there are equal; one that fails is left out, which ends it. */
static int wait_for_equal(const struct request *r, const struct blk *disk)
{
    uint64_t before = 0;
    uint64_t done = 0;

    for (unsigned tries = 0; is_rebuilding(disk, &done); tries++) {
        if (done != before) {
            tries = 0;
        }
        if (tries == EQUAL_TRIES) {
            return err_set(r->e, -ETIMEDOUT, "its members do not become equal");
        }
        before = done;
        done = 0;
        loop_sleep(r->loop, EQUAL_STEP_NS);
    }
    return 0;
}

static const struct {
    const char *ops;
    int (*scrub)(const struct request *r, struct blk *disk);
} scrubbers[] = {
    {"checksum", scrub_checksum},
    {"raid", scrub_raid},
    {"mirror", scrub_mirror},
};

static const char *const scrub_keys[] = {"mend", "renew", "equal", NULL};

int tool_scrub(struct request *r)
{
    struct blk_edge edge = {.user = "scrub"};
    struct blk *disk = NULL;
    int e;

    request_catch_signals(r);
    e = request_open(r, scrub_keys, &disk);
    if (e != 0) {
        return e;
    }
    edge.uses = blk_is_read_only(disk) ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE;
    for (unsigned i = 0; i < sizeof scrubbers / sizeof scrubbers[0]; i++) {
        if (is(disk, scrubbers[i].ops)) {
            e = blk_attach(&edge, disk, r->e);
            e = e == 0 && request_has(r, "equal") ? wait_for_equal(r, disk) : e;
            e = e != 0 ? e : scrubbers[i].scrub(r, disk);
            blk_detach(&edge);
            return e == 0 ? 0 : err_sys(r->e, e, "cannot scrub '%s'", disk->label);
        }
    }
    return err_set(r->e, -EOPNOTSUPP, "a disk of type %s has nothing to compare",
                   disk->ops->name);
}
