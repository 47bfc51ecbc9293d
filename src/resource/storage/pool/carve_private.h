/* carve_private.h - the bodies of a store and of a carved disk.  The layout is at the head of
 * sheet.c, what protects what at the heads of room.c and keep.c. */
#ifndef RESOURCE_STORAGE_POOL_CARVE_PRIVATE_H
#define RESOURCE_STORAGE_POOL_CARVE_PRIVATE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/extent_map.h"
#include "resource/storage/pool/grace.h"
#include "resource/storage/pool/room.h"
#include "resource/storage/safe/range.h"

#define PLACE_CHUNK_BYTES   65536u /* of sheets, handled at once */
#define PLACE_SHEET_TAIL    32u
#define PLACE_ENTRY_BYTES   24u
#define PLACE_ROW_BYTES     40u
#define PLACE_RESERVE_MOST  256u
#define PLACE_RESERVE_BYTES (16u << 20) /* at most, but for one extent */
#define PLACE_EXTENTS_MOST  0xfffffff0u
#define PLACE_GRANULE_LEAST 4096u

/* The first sheet of each area, and what fits in a sheet. */
struct place_area {
    uint64_t at;
    uint32_t sheets;
    uint32_t per_sheet;
};

struct place_store {
    struct blk_edge disk;
    struct loop *loop;
    struct strand_pool *strands;
    int lock_fd; /* owned; -1: nobody else uses the store */
    unsigned users;
    bool read_only;
    char owner[PLACE_OWNER_BYTES];
    uint64_t uid;
    uint32_t sheet_bytes;
    uint32_t extent_bytes;
    uint32_t extents;
    struct place_area room; /* one sheet, which counts what is free */
    struct place_area rows;
    struct place_area table;
    uint64_t data_at;
    struct strand_lock edit;     /* one change of a sheet by this process at a time */
    struct strand_lock changing; /* one change of what is free: see `place_room_lock` */
    uint32_t cursor;             /* sheet of the table where room was found last */
    uint64_t swept_ns;           /* when; 0: never */
    bool unsettled;              /* the device knows that what is free is being changed */
    bool miscounted;             /* a change failed: what is free is to be counted anew */
    struct carve *open;
};

enum place_entry_state {
    PLACE_ENTRY_FREE,
    PLACE_ENTRY_RESERVED, /* set aside for a disk; holds nothing */
    PLACE_ENTRY_USED,
    PLACE_ENTRY_STATE_COUNT
};

struct place_entry {
    uint64_t id;
    uint64_t bits;
    uint32_t index;
    uint16_t part;
    uint16_t state;
};

enum place_row_state {
    PLACE_ROW_FREE,
    PLACE_ROW_LIVE,
    PLACE_ROW_DYING, /* being removed */
    PLACE_ROW_STATE_COUNT
};

/* A carved disk in the directory. */
struct place_row {
    uint64_t id;
    uint64_t size;
    uint32_t first; /* sheets of the table that may have its entries: [first, end) */
    uint32_t end;
    uint16_t part;
    uint16_t state;
};

struct carve {
    struct blk blk;
    struct blk_edge edge;
    struct place_store *store; /* one of its users is this disk */
    struct carve *next;        /* of the store's open ones */
    struct place_row row;      /* as it is on the device */
    uint64_t lock;             /* of its name */
    bool unlocked;             /* it takes none: who opened it knows what others do */
    uint32_t row_number;
    char label[40];
    uint32_t granule_shift;
    struct extent_map map;
    struct grace grace;
    struct range_lock growing; /* of those who fill granules or take them away */
    struct strand_lock place;  /* one takes an extent for a new index at a time */
    struct strand_lock keep;   /* one tells the table at a time */
    uint32_t reserve[PLACE_RESERVE_MOST]; /* extents set aside, in order */
    unsigned reserve_first;
    unsigned reserve_end;
    unsigned batch;    /* how many to set aside next */
    uint32_t *changed; /* owned; indices whose slot is `changed` */
    uint32_t changed_count;
    uint32_t changed_room;
    uint32_t *freed; /* owned; extents that go back to the store */
    uint32_t freed_count;
    uint32_t freed_room;
    uint32_t freed_trimmed; /* of them, the first ones: dropped below as well */
    bool clipped; /* slots behind the end were dropped: durable before the end moves */
    int late;     /* an error that the next flush tells */
};

/* ---- sheet.c ---- */

struct place_change {
    /* Change a sheet, whose number in its area is given: 1 changed, 0 not, or -errno. */
    int (*sheet)(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg);
    void *arg;
};

/* Read sheets [first, first + count), at most PLACE_CHUNK_BYTES.  -EUCLEAN: one is damaged. */
int place_sheets_read(struct place_store *s, const struct place_area *area,
                      uint32_t first, uint32_t count, uint8_t *to);
uint32_t place_chunk_sheets(const struct place_store *s);

/* Read, change and write sheets while no other process does.  Not flushed. */
int place_sheets_change(struct place_store *s, const struct place_area *area,
                        uint32_t first, uint32_t count,
                        const struct place_change *change);

struct place_entry place_entry_get(const uint8_t *sheet, uint32_t n);
void place_entry_put(uint8_t *sheet, uint32_t n, const struct place_entry *entry);
struct place_row place_row_get(const uint8_t *sheet, uint32_t n);
void place_row_put(uint8_t *sheet, uint32_t n, const struct place_row *row);
uint32_t place_sheet_flags(const struct place_store *s, const uint8_t *sheet);
void place_sheet_set_flags(const struct place_store *s, uint8_t *sheet, uint32_t flags);

/* ---- lock.c: bytes far behind the end of the device ---- */

enum place_lock_kind {
    PLACE_LOCK_SHEET, /* by the number on the device */
    PLACE_LOCK_DISK,  /* by `place_lock_of`: whoever has that disk open */
    PLACE_LOCK_STORE, /* 0: whoever uses it; 1: whoever changes what is free */
    PLACE_LOCK_KIND_COUNT
};

/* The number of a disk's lock. */
uint64_t place_lock_of(uint64_t id, uint32_t part);

/* 0, or -EBUSY: another process excludes us. */
int place_lock_try(const struct place_store *s, enum place_lock_kind kind, uint64_t first,
                   uint64_t count, bool writes);

/* In a strand: until nobody excludes us.  -EIO: somebody does for half a minute. */
int place_lock_wait(const struct place_store *s, enum place_lock_kind kind,
                    uint64_t first, uint64_t count, bool writes);
void place_lock_drop(const struct place_store *s, enum place_lock_kind kind,
                     uint64_t first, uint64_t count);
/* Keep away from whoever uses the device as something else. */
int place_lock_device(const struct place_store *s, const char *label, struct err *e);
bool place_lock_is_held(const struct place_store *s, enum place_lock_kind kind,
                        uint64_t at);

/* ---- rows.c ---- */

int place_row_find(struct place_store *s, uint64_t id, uint32_t part,
                   uint32_t *ret_number, struct place_row *ret);
int place_row_read(struct place_store *s, uint32_t number, struct place_row *ret);
int place_row_write(struct place_store *s, uint32_t number, const struct place_row *row);

/* With the room locked.  -EBUSY, -ENOENT: it is another's by now. */
int place_row_remove_locked(struct place_store *s, uint32_t number, uint64_t id,
                            uint32_t part);
int place_rows_visit(struct place_store *s,
                     int (*visit)(struct place_store *s, uint32_t number,
                                  const struct place_row *row, void *arg),
                     void *arg);

/* ---- keep.c ---- */

int carve_load(struct carve *c, struct err *e);
int carve_keep(struct carve *c); /* flush */
int carve_settle_freed(struct carve *c);
int carve_give_reserve(struct carve *c);
int carve_resize(struct blk *b, uint64_t size_bytes, struct err *e);

/* Room for one more slot in all lists: what follows cannot fail. */
int carve_make_room(struct carve *c);
void carve_note(struct carve *c, struct extent_slot *slot);

/* Take the extent of a slot out of the disk; `carve_settle_freed` gives it back. */
void carve_let_go(struct carve *c, struct extent_slot *slot);

/* ---- carve.c ---- */

extern const struct blk_ops carve_ops;

/* Take its lock again, on another descriptor of the store. */
int place_carve_lock(struct carve *c);

/* Zeros in [off, off + bytes); what is whole is taken away, if `gives_back`. */
int carve_erase(struct carve *c, uint64_t off, uint64_t bytes, bool gives_back,
                bool exactly);

static inline uint64_t place_extent_off(const struct place_store *s, uint32_t extent)
{
    return s->data_at + (uint64_t)extent * s->extent_bytes;
}

static inline uint32_t place_granules(const struct place_store *s)
{
    return s->extent_bytes / 64 > PLACE_GRANULE_LEAST
               ? 64
               : s->extent_bytes / PLACE_GRANULE_LEAST;
}

#endif
