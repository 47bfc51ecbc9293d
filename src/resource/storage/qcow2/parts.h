/* parts.h - the functions that the files of this folder offer each other.
 *
 * All of them: in a strand; 0 or -errno.  "May suspend": other requests run. */
#ifndef RESOURCE_STORAGE_QCOW2_PARTS_H
#define RESOURCE_STORAGE_QCOW2_PARTS_H

#include "resource/storage/qcow2/image.h"

struct err;

/* ---- header.c ---- */

/* Fill in `h` from the first cluster; `room` bytes of it are there. */
int qcow2_header_parse(struct qcow2_header *h, const uint8_t *bytes, size_t room,
                       struct err *e);
void qcow2_header_fini(struct qcow2_header *h);

/* Write the header into a cleared buffer of one cluster.  -ENOSPC: does not fit. */
int qcow2_header_build(const struct qcow2_header *h, uint8_t *cluster, size_t room);

/* Write the header of an open image, durable.  May suspend. */
int qcow2_header_store(struct qcow2 *q);

/* ---- io.c: the file below ---- */

/* Read from the file; what lies behind its end reads zeros.  May suspend. */
int qcow2_io_read(struct qcow2 *q, void *to, size_t bytes, uint64_t at);
int qcow2_io_readv(struct blk *disk, struct blk_vec to, uint64_t at);
int qcow2_io_write(struct qcow2 *q, const void *from, size_t bytes, uint64_t at);
int qcow2_io_zero(struct qcow2 *q, uint64_t at, uint64_t bytes);

/* A table of `count` numbers from the file; owned by the caller. */
int qcow2_io_table(struct qcow2 *q, uint64_t at, uint32_t count, uint64_t **ret);
int qcow2_io_put_table(struct qcow2 *q, const uint64_t *entry, uint32_t count,
                       uint64_t at);

/* The top tables. */
int qcow2_table_init(struct qcow2 *q, struct qcow2_table *t, uint64_t at, uint32_t count);
void qcow2_table_fini(struct qcow2_table *t);
void qcow2_table_set(struct qcow2 *q, struct qcow2_table *t, uint32_t i, uint64_t v);

/* ---- cache.c ---- */

int qcow2_cache_init(struct qcow2_cache *c, uint32_t most);
void qcow2_cache_fini(struct qcow2_cache *c);

/* The slice at `at`; valid until the next suspension.  May suspend when it is not
 * in memory. */
int qcow2_slice_get(struct qcow2 *q, uint64_t at, enum qcow2_use kind,
                    struct qcow2_slice **ret);
void qcow2_slice_dirty(struct qcow2 *q, struct qcow2_slice *s);

/* A slice as it stands in memory; NULL: not there. */
struct qcow2_slice *qcow2_slice_find(struct qcow2 *q, uint64_t at);

/* Forget the slices in [at, at + bytes). */
void qcow2_cache_drop(struct qcow2 *q, uint64_t at, uint64_t bytes);

/* Forget all slices; none is dirty that matters. */
void qcow2_cache_clear(struct qcow2 *q);

/* So much is dirty that a commit should come first. */
bool qcow2_cache_presses(const struct qcow2 *q);

/* ---- commit.c ---- */

/* Make all that finished durable, data and metadata. */
int qcow2_commit(struct qcow2 *q);

/* The same, and give back what is unreferenced: no request is in flight. */
int qcow2_settle(struct qcow2 *q);

/* Set the dirty bit of an image with lazy refcounts before its first change. */
int qcow2_mark_dirty(struct qcow2 *q);

int qcow2_mark_clean(struct qcow2 *q);

/* ---- refcount.c ---- */

uint64_t qcow2_ref_read(const struct qcow2 *q, const uint8_t *slice, uint32_t i);
void qcow2_ref_write(const struct qcow2 *q, uint8_t *slice, uint32_t i, uint64_t v);
int qcow2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);

/* Raise or lower by one each of `count` clusters; at 0 they are free. */
int qcow2_ref_raise(struct qcow2 *q, uint64_t cluster, uint64_t count);
int qcow2_ref_lower(struct qcow2 *q, uint64_t cluster, uint64_t count);
int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t value);

int qcow2_ref_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **ret,
                    uint32_t *ret_i);
uint64_t qcow2_ref_most(const struct qcow2 *q);

/* Whether the file has, or can have, these clusters: -ENOSPC, -EFBIG. */
int qcow2_in_file(const struct qcow2 *q, uint64_t cluster, uint64_t count);

/* They are used from now on.  `ret_fresh`: they were never written and read zeros. */
int qcow2_claim(struct qcow2 *q, uint64_t cluster, uint64_t count, bool *ret_fresh);

#define QCOW2_RECYCLED_MOST 512u

/* Make the refcount block of the cluster exist; `alloc_lock` is held. */
int qcow2_ref_cover(struct qcow2 *q, uint64_t cluster);

/* ---- alloc.c ---- */

/* A run of free clusters, `least` to `most` long, with count 1 from now on.
 * `ret_fresh`: they read zeros.  May suspend. */
int qcow2_alloc(struct qcow2 *q, uint64_t least, uint64_t most, struct qcow2_run *ret,
                bool *ret_fresh);

/* Clusters that nothing ever referred to are free again. */
void qcow2_alloc_undo(struct qcow2 *q, struct qcow2_run run);

/* One reference less once that is durable. */
void qcow2_free(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* Clusters that a compressed L2 entry refers to. */
struct qcow2_run qcow2_packed_run(const struct qcow2 *q, uint64_t entry);
void qcow2_free_entry(struct qcow2 *q, uint64_t entry);

unsigned qcow2_enter(struct qcow2 *q);
void qcow2_leave(struct qcow2 *q, unsigned epoch);

/* Of commit.c: [freed] are durable now. */
void qcow2_unreferenced(struct qcow2 *q, struct qcow2_runs *take);
int qcow2_reclaim(struct qcow2 *q);
void qcow2_runs_add(struct qcow2_runs *r, uint64_t cluster, uint64_t count);

/* ---- overlap.c ---- */

int qcow2_uses_build(struct qcow2 *q);
int qcow2_uses_set(struct qcow2 *q, uint64_t cluster, uint64_t count, enum qcow2_use use);
enum qcow2_use qcow2_uses_of(const struct qcow2 *q, uint64_t cluster);

/* -EUCLEAN and the corrupt mark when something else than `use` lies there. */
int qcow2_uses_check(struct qcow2 *q, uint64_t at, uint64_t bytes, enum qcow2_use use);
int qcow2_is_corrupt(struct qcow2 *q);

/* ---- map.c ---- */

enum qcow2_kind {
    KIND_NOTHING, /* see the backing file */
    KIND_ZERO,
    KIND_DATA,
    KIND_PACKED
};

struct qcow2_extent {
    enum qcow2_kind kind;
    bool has_host; /* `host` is the place of the first byte */
    bool own;      /* it may be written there: its cluster has one reference */
    uint64_t host;
    uint64_t entry; /* PACKED: the L2 entry */
    uint64_t bytes;
};

/* What the first bytes of [off, off + bytes) are.  May suspend. */
int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *ret);

bool qcow2_is_image(const struct blk *b);

/* ---- table.c ---- */

/* Make the L2 table of `off` exist and be ours alone.  May suspend. */
int qcow2_own_table(struct qcow2 *q, uint64_t off);

/* Where the L2 entry of `off` is in memory, valid until the next suspension; after
 * `qcow2_own_table`.  May suspend. */
int qcow2_entry(struct qcow2 *q, uint64_t off, struct qcow2_slice **ret_slice,
                uint8_t **ret_entry);

/* L2 entries from `off` on that lie in one slice. */
uint64_t qcow2_entries_left(const struct qcow2 *q, uint64_t off);

uint64_t qcow2_l2_span(const struct qcow2 *q); /* guest bytes of an L2 table */

void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *r, uint64_t off, uint64_t end);
void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *r);

/* ---- read.c, write.c, zero.c ---- */

int qcow2_guest_read(struct qcow2 *q, struct blk_vec to, uint64_t off);
int qcow2_guest_write(struct qcow2 *q, struct blk_vec from, uint64_t off);

/* What a pipe holds, whole clusters only; as the slot `write_pipe` of struct blk_ops. */
int qcow2_guest_write_pipe(struct qcow2 *q, int from, uint64_t bytes, uint64_t off);

/* The cluster is ours, with room for data that is not there. */
bool qcow2_is_ready(const struct qcow2_extent *x);

/* Write a part of `from` where that changes metadata; the range is locked, and `begin`
 * is that of the unit in it that `off` is in.  *ret_did may stay 0: look again. */
int qcow2_write_locked(struct qcow2 *q, struct blk_vec from, uint64_t off, uint64_t begin,
                       bool ready, size_t *ret_did);
int qcow2_guest_zero(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap);

/* Zeros as data. */
int qcow2_write_zeros(struct qcow2 *q, uint64_t off, uint64_t bytes);

/* Nothing is mapped in these clusters afterwards, whatever a backing file has. */
int qcow2_guest_clear(struct qcow2 *q, uint64_t off, uint64_t end);
int qcow2_guest_drop(struct qcow2 *q, uint64_t off, uint64_t bytes);
int qcow2_guest_status(struct qcow2 *q, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret);

/* As the slot `pages` of struct blk_ops. */
int qcow2_guest_pages(struct qcow2 *q, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at);

/* Whether the backing file may hold something in the range. */
int qcow2_backing_has_data(struct qcow2 *q, uint64_t off, uint64_t bytes, bool *ret);

/* ---- packed.c ---- */

int qcow2_packed_read(struct qcow2 *q, struct blk_vec to, uint64_t off, uint64_t entry);

/* What was unpacked may be of a cluster that is something else soon. */
void qcow2_packed_forget(struct qcow2 *q);

/* ---- snapshot.c, bitmap.c, resize.c ---- */

int qcow2_snapshots_claim(struct qcow2 *q);
int qcow2_snapshots_load(struct qcow2 *q, struct err *e);
void qcow2_snapshots_fini(struct qcow2 *q);
int qcow2_bitmaps_load(struct qcow2 *q, struct err *e);
void qcow2_bitmaps_fini(struct qcow2 *q);
int qcow2_bitmaps_keep(struct qcow2 *q);
int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size_bytes);

/* A range is about to change.  Suspends before the first one only. */
int qcow2_bitmaps_touch(struct qcow2 *q, uint64_t off, uint64_t bytes);
int qcow2_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* ---- backing.c ---- */

int qcow2_backing_open(struct qcow2 *q, const struct qcow2_open_options *o,
                       struct err *e);

#endif
