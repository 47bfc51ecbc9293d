/* snapshot_table.c - the table of internal snapshots, read and written.
 *
 * QEMU, docs/interop/qcow2.rst, "Snapshots".  Entries have no fixed length, so the table
 * is read step by step, up to a bound. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/snapshot.h"

#define ENTRY_BYTES  40
#define EXTRA_VM     8  /* of the extra data: size of the VM state */
#define EXTRA_SIZE   16 /* and of the disk */
#define EXTRA_ICOUNT 24
#define STEP_BYTES   65536u

void qcow2_snapshot_fini(struct qcow2_snapshot *s)
{
    free(s->id);
    free(s->name);
    free(s->extra);
    *s = (struct qcow2_snapshot){0};
}

void qcow2_snapshots_fini(struct qcow2 *q)
{
    for (uint32_t i = 0; q->snapshot != NULL && i < q->header.snapshots; i++) {
        qcow2_snapshot_fini(&q->snapshot[i]);
    }
    free(q->snapshot);
    q->snapshot = NULL;
}

/* ---- reading ---- */

struct reader {
    struct qcow2 *q;
    uint64_t at;
    uint8_t *bytes; /* owned */
    size_t have;
};

/* The first `wanted` bytes of the table are there. */
static int need(struct reader *r, size_t wanted)
{
    while (r->have < wanted) {
        uint64_t end = blk_size(qcow2_file(r->q));
        uint8_t *more;
        int did;

        if (r->have >= QCOW2_SNAP_BYTES_MOST || r->at + r->have >= end) {
            return -EUCLEAN;
        }
        more = fault_realloc(r->bytes, r->have + STEP_BYTES);
        if (more == NULL) {
            return -ENOMEM;
        }
        r->bytes = more;
        did = qcow2_io_read(r->q, more + r->have, STEP_BYTES, r->at + r->have);
        if (did != 0) {
            return did;
        }
        r->have += STEP_BYTES;
    }
    return 0;
}

static char *text_of(const uint8_t *from, size_t bytes)
{
    char *to = fault_malloc(bytes + 1);

    if (to != NULL) {
        memcpy(to, from, bytes);
        to[bytes] = '\0';
    }
    return to;
}

static int take_entry(struct qcow2 *q, struct qcow2_snapshot *s, const uint8_t *p)
{
    uint32_t id_bytes = qcow2_get16(p + 12);
    uint32_t name_bytes = qcow2_get16(p + 14);
    const uint8_t *extra = p + ENTRY_BYTES;
    uint64_t l1_bytes;

    *s = (struct qcow2_snapshot){
        .l1_at = qcow2_get64(p),
        .l1_count = qcow2_get32(p + 8),
        .seconds = qcow2_get32(p + 16),
        .nanoseconds = qcow2_get32(p + 20),
        .guest_ns = qcow2_get64(p + 24),
        .vm_bytes = qcow2_get32(p + 32),
        .extra_bytes = qcow2_get32(p + 36),
        .size = q->header.size,
    };
    if (s->extra_bytes >= EXTRA_VM) {
        s->vm_bytes = qcow2_get64(extra);
    }
    if (s->extra_bytes >= EXTRA_SIZE) {
        s->size = qcow2_get64(extra + EXTRA_VM);
    }
    l1_bytes = (uint64_t)s->l1_count * 8;
    if (l1_bytes > QCOW2_L1_BYTES_MOST || s->size > BLK_SIZE_MOST_BYTES - (1u << 22) ||
        s->l1_at % q->cluster_bytes != 0 || s->l1_at > blk_size(qcow2_file(q))) {
        s->extra_bytes = 0;
        return -EUCLEAN;
    }
    s->extra = (uint8_t *)text_of(extra, s->extra_bytes);
    s->id = text_of(extra + s->extra_bytes, id_bytes);
    s->name = text_of(extra + s->extra_bytes + id_bytes, name_bytes);
    return s->extra == NULL || s->id == NULL || s->name == NULL ? -ENOMEM : 0;
}

static int load_one(struct reader *r, size_t *at, struct qcow2_snapshot *s)
{
    size_t bytes;
    int did = need(r, *at + ENTRY_BYTES);

    if (did != 0) {
        return did;
    }
    bytes = qcow2_get32(r->bytes + *at + 36);
    if (bytes > QCOW2_SNAP_EXTRA_MOST) {
        return -EUCLEAN;
    }
    bytes += ENTRY_BYTES + (size_t)qcow2_get16(r->bytes + *at + 12) +
             qcow2_get16(r->bytes + *at + 14);
    did = need(r, *at + bytes);
    if (did == 0) {
        did = take_entry(r->q, s, r->bytes + *at);
        *at += (bytes + 7) & ~(size_t)7;
    }
    return did;
}

int qcow2_snapshots_load(struct qcow2 *q, struct err *e)
{
    uint32_t count = q->header.snapshots;
    struct reader r = {.q = q, .at = q->header.snapshots_at};
    size_t at = 0;
    int did = 0;

    if (count == 0) {
        return 0;
    }
    if (count > QCOW2_SNAPSHOTS_MOST || r.at == 0 || r.at % q->cluster_bytes != 0 ||
        (uint64_t)count * ENTRY_BYTES > blk_size(qcow2_file(q))) {
        q->header.snapshots = 0;
        return err_set(e, -EUCLEAN, "its table of snapshots is out of place");
    }
    q->snapshot = fault_calloc(count, sizeof *q->snapshot);
    if (q->snapshot == NULL) {
        return err_sys(e, -ENOMEM, "cannot read its snapshots");
    }
    for (uint32_t i = 0; did == 0 && i < count; i++) {
        did = load_one(&r, &at, &q->snapshot[i]);
    }
    free(r.bytes);
    q->snapshots_bytes = at;
    return did == 0 ? 0 : err_sys(e, did, "its table of snapshots is not valid");
}

/* What the overlap check knows of them. */
int qcow2_snapshots_claim(struct qcow2 *q)
{
    uint64_t c = q->cluster_bytes;
    uint64_t bytes = q->header.snapshots > 0 ? q->snapshots_bytes : 0;
    int r =
        qcow2_uses_set(q, q->header.snapshots_at / c, (bytes + c - 1) / c, USE_SNAPSHOT);

    for (uint32_t i = 0; r == 0 && i < q->header.snapshots; i++) {
        const struct qcow2_snapshot *s = &q->snapshot[i];

        r = qcow2_uses_set(q, s->l1_at / c, ((uint64_t)s->l1_count * 8 + c - 1) / c,
                           USE_SNAPSHOT);
    }
    return r;
}

/* ---- writing ---- */

static uint32_t extra_bytes(const struct qcow2_snapshot *s)
{
    return s->extra_bytes > EXTRA_ICOUNT ? s->extra_bytes : EXTRA_ICOUNT;
}

size_t qcow2_snapshots_bytes(const struct qcow2_snapshot *s, uint32_t count)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) {
        bytes +=
            (ENTRY_BYTES + extra_bytes(&s[i]) + strlen(s[i].id) + strlen(s[i].name) + 7) &
            ~(size_t)7;
    }
    return bytes;
}

static size_t put_entry(uint8_t *p, const struct qcow2_snapshot *s)
{
    size_t id_bytes = strlen(s->id);
    size_t name_bytes = strlen(s->name);
    uint8_t *extra = p + ENTRY_BYTES;

    qcow2_put64(p, s->l1_at);
    qcow2_put32(p + 8, s->l1_count);
    qcow2_put16(p + 12, (uint16_t)id_bytes);
    qcow2_put16(p + 14, (uint16_t)name_bytes);
    qcow2_put32(p + 16, s->seconds);
    qcow2_put32(p + 20, s->nanoseconds);
    qcow2_put64(p + 24, s->guest_ns);
    qcow2_put32(p + 32, s->vm_bytes <= UINT32_MAX ? (uint32_t)s->vm_bytes : 0);
    qcow2_put32(p + 36, extra_bytes(s));
    qcow2_put64(extra + EXTRA_SIZE, UINT64_MAX); /* no icount */
    if (s->extra_bytes > 0) {
        memcpy(extra, s->extra, s->extra_bytes);
    }
    qcow2_put64(extra, s->vm_bytes);
    qcow2_put64(extra + EXTRA_VM, s->size);
    memcpy(extra + extra_bytes(s), s->id, id_bytes);
    memcpy(extra + extra_bytes(s) + id_bytes, s->name, name_bytes);
    return (ENTRY_BYTES + extra_bytes(s) + id_bytes + name_bytes + 7) & ~(size_t)7;
}

int qcow2_snapshots_write(struct qcow2 *q, const struct qcow2_snapshot *s, uint32_t count,
                          uint64_t at)
{
    size_t block = qcow2_file(q)->block_bytes;
    size_t bytes = (qcow2_snapshots_bytes(s, count) + block - 1) & ~(block - 1);
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, bytes + 1);
    size_t n = 0;

    if (room == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        n += put_entry(room + n, &s[i]);
    }
    return bytes > 0 ? qcow2_io_write(q, room, bytes, at) : 0;
}
