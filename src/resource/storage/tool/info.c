/* info.c - what an image says of itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/format/format.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/luks/luks.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/qcow2/qcow2.h"
#include "resource/storage/tool/private.h"

static int answer_list(const struct request *r, const char *key, struct str *line)
{
    int e = str_failed(line) ? -ENOMEM : request_answer(r, key, str_text(line));

    str_fini(line);
    return e;
}

/* ---- qcow2 ---- */

static void tell_snapshots(const struct request *r, const struct blk *disk)
{
    for (unsigned i = 0; i < qcow2_snapshot_count(disk); i++) {
        struct qcow2_snapshot_info s;
        struct str line = {0};

        qcow2_snapshot_get(disk, i, &s);
        str_addf(&line, "%s %llu %u %llu %s", s.id, (unsigned long long)s.size_bytes,
                 s.seconds, (unsigned long long)s.vm_state_bytes, s.name);
        (void)answer_list(r, "snapshot", &line);
    }
}

static void tell_names(const struct request *r, const struct qcow2_info *i)
{
    if (i->backing_name != NULL) {
        (void)request_answer(r, "backing_name", i->backing_name);
    }
    if (i->backing_format != NULL) {
        (void)request_answer(r, "backing_format", i->backing_format);
    }
    if (i->data_name != NULL) {
        (void)request_answer(r, "data_name", i->data_name);
    }
}

static void tell_qcow2(const struct request *r, const struct blk *disk)
{
    struct qcow2_info i;

    qcow2_info(disk, &i);
    (void)request_answer_number(r, "version", i.version);
    (void)request_answer_number(r, "cluster_bytes", i.cluster_bytes);
    (void)request_answer_number(r, "refcount_bits", i.refcount_bits);
    (void)request_answer(r, "compression", i.compression == QCOW2_ZSTD ? "zstd" : "zlib");
    (void)request_answer_flag(r, "extended_l2", i.extended_l2);
    (void)request_answer_flag(r, "lazy_refcounts", i.lazy_refcounts);
    (void)request_answer_flag(r, "dirty", i.is_dirty);
    (void)request_answer_flag(r, "corrupt", i.is_corrupt);
    (void)request_answer_flag(r, "encrypted", i.is_encrypted);
    (void)request_answer_flag(r, "data_file", i.has_data_file);
    (void)request_answer_flag(r, "data_is_raw", i.data_is_raw);
    tell_names(r, &i);
    tell_snapshots(r, disk);
}

/* ---- members ---- */

static void tell_member(void *arg, const struct tool_care_member *m)
{
    struct str line = {0};

    str_addf(&line, "%u %llu %llu %s", m->role, (unsigned long long)m->behind,
             (unsigned long long)m->errors, m->state);
    (void)answer_list(arg, "member", &line);
}

static void tell_members(const struct request *r, const struct blk *disk)
{
    (void)request_answer(r, "state", tool_care_state(disk));
    tool_care_members(disk, tell_member, (void *)(uintptr_t)r);
}

/* How much of a span lies on each piece. */
static void tell_span(const struct request *r, const struct blk *disk)
{
    struct place_piece_status s;

    (void)request_answer_number(r, "segment_bytes", place_span_segment_bytes(disk));
    for (unsigned i = 0; place_span_status(disk, i, &s) == 0; i++) {
        struct str line = {0};

        str_addf(&line, "%u %llu %s", i, (unsigned long long)s.segments,
                 s.state == PLACE_PIECE_HERE ? "here" : "lost");
        (void)answer_list(r, "piece", &line);
    }
}

/* By the name that the implementation has, whatever the word said. */
static const struct {
    const char *ops;
    void (*tell)(const struct request *r, const struct blk *disk);
} tellers[] = {
    {"qcow2", tell_qcow2},
    {"mirror", tell_members},
    {"raid", tell_members},
    {"span", tell_span},
};

/* ---- LUKS without a passphrase ---- */

static int tell_luks(const struct request *r, struct blk *file)
{
    struct luks_info i;
    struct luks *k = NULL;
    int e = luks_open(r->loop, file, &k, r->e);

    if (e != 0) {
        return e;
    }
    luks_info(k, &i);
    luks_close(k);
    (void)request_answer_number(r, "version", i.version);
    (void)request_answer(r, "uuid", i.uuid);
    (void)request_answer_number(r, "data_off", i.data_off);
    (void)request_answer_number(r, "sector_bytes", i.sector_bytes);
    (void)request_answer_number(r, "key_bytes", i.key_bytes);
    for (unsigned slot = 0; slot < LUKS_SLOTS; slot++) {
        if ((i.slots >> slot & 1) != 0) {
            (void)request_answer_number(r, "slot", slot);
        }
    }
    return 0;
}

static int tell_probe(const struct request *r, struct blk *file)
{
    static const char luks[] = "LUKS\xba\xbe"; /* of both versions, at 0 */
    char first[BLK_BLOCK_MOST_BYTES] = {0};
    int e = blk_size(file) < file->block_bytes
                ? 0
                : blk_read(file, first, file->block_bytes, 0);

    if (e != 0) {
        return err_sys(r->e, e, "cannot read '%s'", file->label);
    }
    return request_answer(r, "probe",
                          memcmp(first, luks, sizeof luks - 1) == 0
                              ? "luks"
                              : format_probe(first, FORMAT_PROBE_BYTES));
}

static const char *const keys[] = {"probe", "luks", NULL};

int tool_info(struct request *r)
{
    struct blk *disk = NULL;
    int e = request_open(r, keys, &disk);

    if (e != 0) {
        return e;
    }
    (void)request_answer_number(r, "size_bytes", blk_size(disk));
    (void)request_answer_number(r, "block_bytes", blk_block_bytes(disk));
    (void)request_answer(r, "format", disk->ops->name);
    (void)request_answer_flag(r, "read_only", blk_is_read_only(disk));
    for (unsigned i = 0; i < sizeof tellers / sizeof tellers[0]; i++) {
        if (strcmp(tellers[i].ops, disk->ops->name) == 0) {
            tellers[i].tell(r, disk);
        }
    }
    if (request_has(r, "luks")) {
        e = tell_luks(r, disk);
    }
    return e == 0 && request_has(r, "probe") ? tell_probe(r, disk) : e;
}
