/* snapshot.c - internal snapshots: taken, gone back to, deleted.
 *
 * A snapshot is a copy of the L1 table; L2 tables and data are shared and counted once
 * more.  Every step ends durable before the next one begins, and each leaves an image
 * in which no write can hit what a snapshot holds: COPIED flags go before counts rise, and
 * come back only after counts fell.  The header's switch of tables is the moment at
 * which it is done; an interruption before or after leaves clusters counted too often,
 * or flags that cost a copy, and a check mends both.
 *
 * No request is in flight meanwhile. */
#include "resource/storage/qcow2/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"

#define TEXT_MOST 1023 /* of a name */

/* ---- walks ---- */

static uint64_t host_of(uint64_t entry)
{
    return entry & QCOW2_OFFSET;
}

static int clear_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    (void)w;
    *l1_entry &= ~QCOW2_COPIED;
    return host_of(*l1_entry) == 0;
}

static int clear_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    uint64_t v = qcow2_get64(entry);

    (void)w;
    if ((v & QCOW2_COPIED) == 0) {
        return 0;
    }
    qcow2_put64(entry, v & ~QCOW2_COPIED);
    return 1;
}

/* The host clusters of an L2 entry. */
static struct qcow2_run run_of(const struct qcow2 *q, uint64_t v)
{
    if ((v & QCOW2_COMPRESSED) != 0) {
        return qcow2_packed_run(q, v);
    }
    return (struct qcow2_run){host_of(v) / q->cluster_bytes, host_of(v) != 0};
}

static int raise_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    return qcow2_ref_raise(w->q, host_of(*l1_entry) / w->q->cluster_bytes, 1);
}

static int raise_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    struct qcow2_run run = run_of(w->q, qcow2_get64(entry));
    int r = qcow2_cache_presses(w->q) ? qcow2_commit(w->q) : 0;

    return r != 0 ? r : qcow2_ref_raise(w->q, run.cluster, run.count);
}

/* The table itself goes after its entries: `qcow2_walk` reads it in between. */
static int lower_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    (void)w;
    return host_of(*l1_entry) == 0;
}

static int lower_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    struct qcow2_run run = run_of(w->q, qcow2_get64(entry));
    int r = qcow2_cache_presses(w->q) ? qcow2_commit(w->q) : 0;

    return r != 0 ? r : qcow2_ref_lower(w->q, run.cluster, run.count);
}

static int flag_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    struct qcow2 *q = w->q;
    uint64_t refs;
    int r;

    if (host_of(*l1_entry) == 0) {
        return 1;
    }
    r = qcow2_ref_get(q, host_of(*l1_entry) / q->cluster_bytes, &refs);
    if (r == 0 && refs == 1 && (*l1_entry & QCOW2_COPIED) == 0) {
        qcow2_table_set(q, &q->l1, (uint32_t)(l1_entry - q->l1.entry),
                        *l1_entry | QCOW2_COPIED);
    }
    return r;
}

static int flag_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    uint64_t v = qcow2_get64(entry);
    uint64_t refs;
    int r;

    if ((v & QCOW2_COMPRESSED) != 0 || host_of(v) == 0) {
        return 0;
    }
    r = qcow2_ref_get(w->q, host_of(v) / w->q->cluster_bytes, &refs);
    if (r != 0 || refs != 1 || (v & QCOW2_COPIED) != 0) {
        return r;
    }
    qcow2_put64(entry, v | QCOW2_COPIED);
    return 1;
}

static int clear_flags(struct qcow2 *q, uint64_t *l1, uint32_t count)
{
    struct qcow2_walk w = {.table = clear_table, .cluster = clear_cluster, .q = q};

    return qcow2_walk(&w, l1, count);
}

static int raise_all(struct qcow2 *q, uint64_t *l1, uint32_t count)
{
    struct qcow2_walk w = {.table = raise_table, .cluster = raise_cluster, .q = q};
    int r = qcow2_walk(&w, l1, count);

    return r != 0 ? r : qcow2_settle(q);
}

static int lower_all(struct qcow2 *q, uint64_t *l1, uint32_t count)
{
    struct qcow2_walk w = {.table = lower_table, .cluster = lower_cluster, .q = q};
    int r = qcow2_walk(&w, l1, count);

    for (uint32_t i = 0; r == 0 && i < count; i++) {
        if (host_of(l1[i]) != 0) {
            r = qcow2_ref_lower(q, host_of(l1[i]) / q->cluster_bytes, 1);
        }
    }
    return r != 0 ? r : qcow2_settle(q);
}

/* Flags of clusters that only the active image has, now. */
static int set_flags(struct qcow2 *q)
{
    struct qcow2_walk w = {.table = flag_table, .cluster = flag_cluster, .q = q};
    int r = qcow2_walk(&w, q->l1.entry, q->l1.count);

    return r != 0 ? r : qcow2_settle(q);
}

/* ---- tables in the file ---- */

static uint64_t clusters_of(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes + q->cluster_bytes - 1) / q->cluster_bytes;
}

static int free_now(struct qcow2 *q, uint64_t at, uint64_t bytes)
{
    return qcow2_ref_lower(q, at / q->cluster_bytes, clusters_of(q, bytes));
}

/* A copy of an L1 table in new clusters; `*ret_at` 0 when it is empty. */
static int copy_l1(struct qcow2 *q, const uint64_t *l1, uint32_t count, uint64_t *ret_at)
{
    uint64_t n = clusters_of(q, (uint64_t)count * 8);
    struct qcow2_run run = {0};
    bool fresh;
    int r = n > 0 ? qcow2_alloc(q, n, n, &run, &fresh) : 0;

    if (r == 0 && n > 0) {
        r = qcow2_io_put_table(q, l1, count, run.cluster * q->cluster_bytes);
        if (r != 0) {
            qcow2_alloc_undo(q, run);
        }
    }
    *ret_at = run.cluster * q->cluster_bytes;
    return r;
}

/* Let the header lead to another snapshot table; the old one is free then. */
static int switch_table(struct qcow2 *q, struct qcow2_snapshot *take, uint32_t count)
{
    struct qcow2_header *h = &q->header;
    size_t bytes = qcow2_snapshots_bytes(take, count);
    uint64_t n = clusters_of(q, bytes);
    uint64_t old_at = h->snapshots_at;
    uint32_t old_count = h->snapshots;
    uint64_t old_bytes = old_count > 0 ? q->snapshots_bytes : 0;
    struct qcow2_run run = {0};
    bool fresh;
    int r = n > 0 ? qcow2_alloc(q, n, n, &run, &fresh) : 0;

    if (r != 0) {
        return r;
    }
    r = qcow2_snapshots_write(q, take, count, run.cluster * q->cluster_bytes);
    r = r != 0 ? r : qcow2_settle(q);
    if (r == 0) {
        h->snapshots_at = run.cluster * q->cluster_bytes;
        h->snapshots = count;
        r = qcow2_header_store(q);
    }
    if (r != 0) {
        h->snapshots_at = old_at;
        h->snapshots = old_count;
        q->header_unsure = true;
        qcow2_alloc_undo(q, run);
        return r;
    }
    free(q->snapshot); /* the entries are in `take` */
    q->snapshot = take;
    q->snapshots_bytes = bytes;
    return old_bytes > 0 ? free_now(q, old_at, old_bytes) : 0;
}

/* ---- which ---- */

unsigned qcow2_snapshot_count(const struct blk *disk)
{
    return ((const struct qcow2 *)disk)->header.snapshots;
}

void qcow2_snapshot_get(const struct blk *disk, unsigned i,
                        struct qcow2_snapshot_info *ret)
{
    const struct qcow2_snapshot *s = &((const struct qcow2 *)disk)->snapshot[i];

    *ret = (struct qcow2_snapshot_info){
        .id = s->id,
        .name = s->name,
        .size_bytes = s->size,
        .vm_state_bytes = s->vm_bytes,
        .guest_ns = s->guest_ns,
        .seconds = s->seconds,
        .nanoseconds = s->nanoseconds,
    };
}

/* An id goes before a name. */
static struct qcow2_snapshot *find(struct qcow2 *q, const char *which)
{
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < q->header.snapshots; i++) {
            struct qcow2_snapshot *s = &q->snapshot[i];

            if (strcmp(turn == 0 ? s->id : s->name, which) == 0) {
                return s;
            }
        }
    }
    return NULL;
}

static int check_state(const struct qcow2 *q, const char *verb, struct err *e)
{
    if (q->blk.read_only || q->corrupt) {
        return err_set(e, -EROFS, "cannot %s a snapshot of '%s': it is %s", verb,
                       q->label, q->corrupt ? "corrupt" : "read only");
    }
    if (qcow2_has_data_file(q)) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot %s a snapshot of '%s': its data is in another file", verb,
                       q->label);
    }
    return 0;
}

/* ---- taking ---- */

static int fill_snapshot(struct qcow2 *q, const char *name, struct qcow2_snapshot *s)
{
    unsigned long most = 0;
    struct timespec now;
    char id[24];

    for (uint32_t i = 0; i < q->header.snapshots; i++) {
        unsigned long n = strtoul(q->snapshot[i].id, NULL, 10);

        most = n > most && n < UINT32_MAX ? n : most;
    }
    (void)snprintf(id, sizeof id, "%lu", most + 1);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *s = (struct qcow2_snapshot){
        .l1_count = q->l1.count,
        .id = fault_strdup(id),
        .name = fault_strdup(name),
        .seconds = (uint32_t)now.tv_sec,
        .nanoseconds = (uint32_t)now.tv_nsec,
        .size = q->header.size,
    };
    return s->id == NULL || s->name == NULL ? -ENOMEM : 0;
}

static int take_snapshot(struct qcow2 *q, const char *name)
{
    uint32_t count = q->header.snapshots;
    struct qcow2_snapshot *all = fault_calloc(count + 1, sizeof *all);
    struct qcow2_snapshot *s = all != NULL ? &all[count] : NULL;
    int r = all == NULL ? -ENOMEM : fill_snapshot(q, name, s);

    if (r == 0) {
        r = qcow2_settle(q);
    }
    if (r == 0) {
        r = clear_flags(q, q->l1.entry, q->l1.count);
        for (uint32_t i = 0; i < q->l1.count; i++) { /* written with the next commit */
            if (host_of(q->l1.entry[i]) != 0) {
                qcow2_table_set(q, &q->l1, i, q->l1.entry[i]);
            }
        }
        r = r != 0 ? r : qcow2_settle(q);
    }
    r = r != 0 ? r : copy_l1(q, q->l1.entry, q->l1.count, &s->l1_at);
    r = r != 0 ? r : raise_all(q, q->l1.entry, q->l1.count);
    if (r == 0) {
        for (uint32_t i = 0; i < count; i++) {
            all[i] = q->snapshot[i];
        }
        r = switch_table(q, all, count + 1);
    }
    if (r != 0 && q->snapshot != all) {
        if (s != NULL) {
            qcow2_snapshot_fini(s);
        }
        free(all);
    }
    return r;
}

/* What the change left to be done, whether or not it succeeded. */
static int finish(struct qcow2 *q, int r)
{
    int did = q->corrupt ? -EUCLEAN : qcow2_settle(q);

    qcow2_packed_forget(q);
    did = did != 0 ? did : qcow2_uses_build(q);
    return r != 0 ? r : did;
}

int qcow2_snapshot_create(struct blk *disk, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    int r = check_state(q, "take", e);

    if (r != 0) {
        return r;
    }
    if (name[0] == '\0' || strlen(name) > TEXT_MOST || find(q, name) != NULL) {
        return err_set(e, name[0] != '\0' && find(q, name) != NULL ? -EEXIST : -EINVAL,
                       "cannot take a snapshot of '%s' with the name '%.64s'", q->label,
                       name);
    }
    if (q->header.snapshots >= QCOW2_SNAPSHOTS_MOST || qcow2_ref_most(q) < 2) {
        return err_set(e, -EMLINK, "cannot take a snapshot of '%s': %s", q->label,
                       qcow2_ref_most(q) < 2 ? "its reference counts have one bit"
                                             : "it has too many");
    }
    blk_drain_begin(disk);
    r = finish(q, take_snapshot(q, name));
    if (r != 0 && !q->corrupt) {
        (void)set_flags(q);
    }
    blk_drain_end(disk);
    return r == 0 ? 0 : err_sys(e, r, "cannot take a snapshot of '%s'", q->label);
}

/* ---- going back ---- */

/* The header leads to the new L1 table. */
static int switch_l1(struct qcow2 *q, uint64_t at, uint32_t count, uint64_t size)
{
    struct qcow2_header *h = &q->header;
    uint64_t old_at = h->l1_at;
    uint64_t old_size = h->size;
    uint32_t old_count = h->l1_count;
    int r;

    h->l1_at = at;
    h->l1_count = count;
    h->size = size;
    r = qcow2_header_store(q);
    if (r != 0) {
        h->l1_at = old_at;
        h->l1_count = old_count;
        h->size = old_size;
        q->header_unsure = true;
    }
    return r;
}

static int go_back(struct qcow2 *q, const struct qcow2_snapshot *s)
{
    uint64_t span = qcow2_l2_span(q);
    uint64_t least = (s->size + span - 1) / span;
    uint32_t count = s->l1_count > least ? s->l1_count : (uint32_t)least;
    SCOPED(scope_free) uint64_t *l1 = NULL;
    SCOPED(scope_free) uint64_t *loaded = NULL;
    struct qcow2_table old;
    uint64_t at = 0;
    int r = qcow2_settle(q);

    count = count > 0 ? count : 1;
    if (r == 0) {
        l1 = fault_calloc(count, sizeof *l1);
        r = l1 == NULL ? -ENOMEM : qcow2_io_table(q, s->l1_at, s->l1_count, &loaded);
    }
    if (r != 0) {
        return r;
    }
    for (uint32_t i = 0; i < s->l1_count; i++) {
        l1[i] = loaded[i];
    }
    r = clear_flags(q, l1, count);
    r = r != 0 ? r : copy_l1(q, l1, count, &at);
    r = r != 0 ? r : raise_all(q, l1, count);
    r = r != 0 ? r : switch_l1(q, at, count, s->size);
    if (r != 0) {
        return r;
    }
    old = q->l1;
    q->l1 = (struct qcow2_table){0};
    r = qcow2_table_init(q, &q->l1, at, count);
    if (r != 0) { /* cannot go on with either */
        q->corrupt = true;
    } else {
        uint32_t block = q->blk.block_bytes;

        q->blk.size_bytes = (q->header.size + block - 1) & ~(uint64_t)(block - 1);
        qcow2_cache_clear(q);
        r = lower_all(q, old.entry, old.count);
        r = r != 0 ? r : free_now(q, old.at, (uint64_t)old.count * 8);
    }
    qcow2_table_fini(&old);
    return r;
}

int qcow2_snapshot_apply(struct blk *disk, const char *which, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_snapshot *s = find(q, which);
    int r = check_state(q, "go back to", e);

    if (r != 0 || s == NULL) {
        return r != 0
                   ? r
                   : err_set(e, -ENOENT, "'%s' has no snapshot '%.64s'", q->label, which);
    }
    blk_drain_begin(disk);
    r = qcow2_bitmaps_touch(q, 0, q->blk.size_bytes);
    r = r != 0 ? r : finish(q, go_back(q, s));
    if (r == 0) {
        r = set_flags(q);
    }
    if (r == 0) {
        r = qcow2_bitmaps_resize(q, q->blk.size_bytes);
        r = r != 0 ? r : qcow2_bitmaps_touch(q, 0, q->blk.size_bytes);
    }
    blk_drain_end(disk);
    return r == 0 ? 0
                  : err_sys(e, r, "cannot go back to snapshot '%.64s' of '%s'", which,
                            q->label);
}

/* ---- deleting ---- */

static int delete_it(struct qcow2 *q, struct qcow2_snapshot *s)
{
    struct qcow2_snapshot gone = *s;
    uint32_t count = gone.l1_count;
    uint32_t i = (uint32_t)(s - q->snapshot);
    uint32_t left = q->header.snapshots - 1;
    struct qcow2_snapshot *rest = fault_calloc(left + 1, sizeof *rest);
    uint64_t *l1 = NULL;
    int r = rest == NULL ? -ENOMEM : qcow2_settle(q);

    r = r != 0 ? r : qcow2_io_table(q, gone.l1_at, count, &l1);
    if (r == 0) {
        memcpy(rest, q->snapshot, i * sizeof *rest);
        memcpy(rest + i, s + 1, (left - i) * sizeof *rest);
        r = switch_table(q, rest, left);
    }
    if (q->snapshot != rest) {
        free(rest);
        free(l1);
        return r;
    }
    qcow2_snapshot_fini(&gone);
    r = r != 0 ? r : lower_all(q, l1, count);
    free(l1);
    return r;
}

int qcow2_snapshot_delete(struct blk *disk, const char *which, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_snapshot *s = find(q, which);
    uint64_t at = s != NULL ? s->l1_at : 0;
    uint64_t bytes = s != NULL ? (uint64_t)s->l1_count * 8 : 0;
    uint32_t before = q->header.snapshots;
    int r = check_state(q, "delete", e);

    if (r != 0 || s == NULL) {
        return r != 0
                   ? r
                   : err_set(e, -ENOENT, "'%s' has no snapshot '%.64s'", q->label, which);
    }
    blk_drain_begin(disk);
    r = delete_it(q, s);
    if (r == 0 && bytes > 0 && q->header.snapshots < before) {
        r = free_now(q, at, bytes);
    }
    r = finish(q, r);
    r = r != 0 ? r : set_flags(q);
    blk_drain_end(disk);
    return r == 0
               ? 0
               : err_sys(e, r, "cannot delete snapshot '%.64s' of '%s'", which, q->label);
}
