/* private.h - the body of a store.  The layout is at the head of store.c. */
#ifndef RESOURCE_STORAGE_DEDUP_PRIVATE_H
#define RESOURCE_STORAGE_DEDUP_PRIVATE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "resource/storage/dedup/dedup.h"
#include "resource/storage/safe/journal.h"
#include "resource/storage/safe/pages.h"
#include "resource/storage/safe/range.h"
#include "resource/storage/safe/slot.h"

#define ENTRY_BYTES 44
#define MAP_BYTES   8
#define NOTE_BYTES  16 /* before each change */
#define GROUP_BYTES                                                                      \
    (3 * NOTE_BYTES + 2 * ENTRY_BYTES + MAP_BYTES) /* changes of one block */
#define PENDING_BYTES 131072 /* of changes that are not durable yet, at most */
#define LOCKS         64

struct volume_row {
    char name[DEDUP_NAME_BYTES];
    uint64_t first; /* of its entries in the map */
    uint64_t blocks;
    bool open;
};

/* Slots that are being filled, looked at or given back: nobody else may take them. */
struct busy {
    uint64_t slot;
    uint64_t count;
    struct busy *next;
};

struct dedup {
    struct blk_edge disk;
    unsigned users;
    struct slot slot;
    uint64_t id;
    uint64_t slots;
    uint64_t data_at;
    struct journal journal;
    struct pages entries;
    struct pages map;
    struct volume_row row[DEDUP_VOLUMES_MOST];
    unsigned rows;

    uint64_t epoch;   /* of the changes that are made now */
    uint64_t durable; /* changes up to this one are */
    uint8_t *pending; /* owned; changes of `epoch` */
    size_t pending_bytes;
    uint8_t *batch; /* owned; changes of `batch_epoch`, on their way */
    size_t batch_bytes;
    uint64_t batch_epoch;
    size_t reserved;        /* bytes of `pending` that are promised */
    struct range_lock gate; /* changes share, settling does not */
    struct strand_lock commit_lock;
    struct strand_queue room;       /* waits until promised bytes are given back */
    struct strand_lock lock[LOCKS]; /* by the first page where a hash may be */
    struct busy *busy;

    uint64_t logical;
    uint64_t stored;
    uint64_t damaged;
    bool replayed;
};

/* ---- store.c ---- */

/* Around each change of one block: reserve room for it, or make some. */
int dedup_begin_change(struct dedup *s, struct range_hold *gate);
void dedup_end_change(struct dedup *s, struct range_hold *gate);

/* Note an entry as it is now, or a map entry, for the next commit. */
void dedup_note_entry(struct dedup *s, uint64_t slot, const uint8_t *entry);
void dedup_note_map(struct dedup *s, uint64_t index, uint64_t value);

/* The row of a volume; NULL: there is none.  Rows move when one is removed. */
struct volume_row *dedup_row(struct dedup *s, const char *name);

/* The volume has so many blocks from now on, durably; those that go are zeros already.
 * -ENOSPC: the map has no room behind it. */
int dedup_row_resize(struct dedup *s, const char *name, uint64_t blocks);

int dedup_commit(struct dedup *s); /* all changes so far are durable */
int dedup_settle(struct dedup *s); /* and in place; the journal is empty */

/* ---- chunk.c ---- */

uint32_t dedup_refs(const uint8_t *entry);
bool dedup_is_busy(const struct dedup *s, uint64_t slot);
void dedup_set_free(struct dedup *s, struct busy *b);
int dedup_read_slot(struct dedup *s, uint64_t slot, uint8_t *to);

/* Let map entry `index` refer to the block with these bytes; NULL: zeros. */
int dedup_point(struct dedup *s, uint64_t index, const uint8_t *bytes);

/* What the map says: 0, or a slot plus one. */
int dedup_look_up(struct dedup *s, uint64_t index, uint64_t *ret_value);

/* The slot of a hash.  -ENOENT. */
int dedup_find(struct dedup *s, const uint8_t *hash, uint64_t *ret_slot);

#endif
