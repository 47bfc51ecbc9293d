/* private.h - what the files of the cache share. */
#ifndef RESOURCE_STORAGE_CACHE_PRIVATE_H
#define RESOURCE_STORAGE_CACHE_PRIVATE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/filter/page.h"
#include "resource/storage/safe/range.h"

#define CACHE_ENTRY_BYTES  32u
#define CACHE_PAGE_ENTRIES (FILTER_PAGE_ROOM / CACHE_ENTRY_BYTES)
#define CACHE_STREAMS      8u

enum cache_state {
    CACHE_FREE,    /* its entry in the index is free, durably: it may be written */
    CACHE_FREEING, /* to be free with the next commit */
    CACHE_CLEAN,   /* the slow disk has the same */
    CACHE_DIRTY,   /* the slow disk does not have it yet */
    CACHE_DONE     /* gone down, but the head does not say so durably yet */
};

/* A place for one line in the store, and what lies there. */
struct cache_slot {
    uint64_t line;
    uint64_t epoch; /* dirty: when it was written; clean: when it was put there */
    uint64_t valid; /* a bit for each block of the line that is here */
    struct cache_slot *older;  /* version of the same line */
    struct cache_slot *bucket; /* the newest version of another line, same hash */
    struct cache_slot *next;   /* in the list of its state */
    struct cache_slot *prev;
    uint32_t pins; /* requests that read or write the place now */
    uint8_t state; /* enum cache_state */
    bool used;     /* since the hand passed */
};

struct cache_list {
    struct cache_slot *first;
    struct cache_slot *last;
    uint64_t count;
};

/* A write or a fill that is under way; on the stack of its strand. */
struct cache_work {
    uint64_t first_line;
    uint64_t end_line;
    bool poisoned; /* a fill: a write came in between */
    struct cache_work *next;
};

/* Bytes that were discarded and read as zeros; they become so on the slow disk when their
 * epoch goes down. */
struct cache_drop {
    struct cache_drop *next;
    uint64_t epoch;
    uint64_t off;
    uint64_t bytes; /* 0: all of it was written since */
};

struct cache_stream {
    uint64_t next_off;
    uint64_t bytes;
    uint64_t tick;
};

struct cache {
    struct blk blk;
    struct blk_edge edge[2]; /* the slow disk, the store */
    struct cache_options options;
    uint64_t life;
    uint32_t line_bytes;
    struct cache_slot *slot; /* owned array */
    uint64_t slots;
    struct cache_slot **bucket; /* owned */
    uint64_t bucket_mask;
    struct cache_list list[CACHE_DONE + 1]; /* dirty: by epoch */

    /* Epochs: `done` <= `sealed` < `epoch`. */
    uint64_t epoch;       /* what is written now belongs to this one */
    uint64_t sealed;      /* the head says so, durably */
    uint64_t done;        /* gone down */
    uint64_t head_done;   /* as the head says, durably */
    uint64_t closing;     /* being made durable */
    uint64_t other_bytes; /* while the size changes: what the slow disk may have, too */
    bool changed;         /* something was written in the open epoch */
    unsigned writers[2];  /* in the store, by parity of their epoch */
    struct strand_queue writers_gone;
    struct filter_page_area index;
    uint64_t *index_dirty; /* owned: a bit for each page */
    bool head_in_use;      /* write-through: the head says that the index is not to be
                         trusted after a power cut */
    struct strand_lock commit;

    struct cache_drop *drop; /* owned: the oldest first */
    unsigned drops;

    struct cache_work *writes; /* under way */
    struct cache_work *fills;
    struct range_lock ranges; /* write-through: blocks being written */

    bool tending;               /* the strand that writes back and makes room runs */
    struct strand_queue room;   /* those that wait for a free slot */
    struct strand_queue tended; /* those that wait for that strand to end */
    unsigned wanting;           /* so many wait for room, or are about to */
    int tend_error;             /* why that strand ended; 0: there was nothing to do */
    int back_error;
    struct strand_lock back;
    uint64_t pinned; /* sum of `pins` */

    uint8_t *heat; /* owned: how often lines were read lately, by hash */
    uint64_t heat_mask;
    uint64_t heat_noted;
    struct cache_slot *hand; /* of the clock over clean slots */
    struct cache_stream stream[CACHE_STREAMS];
    uint64_t tick;
    struct cache_figures figures;
};

static inline struct blk *cache_slow(const struct cache *c)
{
    return c->edge[0].disk;
}

static inline struct blk *cache_store(const struct cache *c)
{
    return c->edge[1].disk;
}

/* ---- slots.c: lists, and which versions of a line there are ---- */

int cache_slots_create(struct cache *c, uint64_t count);
void cache_slots_destroy(struct cache *c);
uint64_t cache_place(const struct cache *c, const struct cache_slot *s);
struct cache_slot *cache_newest(const struct cache *c, uint64_t line);
void cache_put(struct cache *c, struct cache_slot *s); /* as the newest of its line */
void cache_take_out(struct cache *c, struct cache_slot *s);
void cache_move(struct cache *c, struct cache_slot *s, enum cache_state state);
void cache_touch_index(struct cache *c, const struct cache_slot *s);

/* Out of the map; free with the next commit, or at once where nothing is kept. */
void cache_release(struct cache *c, struct cache_slot *s);

/* Blocks of a line that are written take the place of clean ones. */
void cache_mask_clean(struct cache *c, uint64_t line, uint64_t bits);

/* ---- index.c: what a power cut finds ---- */

int cache_index_load(struct cache *c, struct err *e);
int cache_index_begin(struct cache *c, struct err *e); /* a fresh one */
uint64_t cache_slots_for(const struct cache *c, uint64_t store_bytes);

/* Close the open epoch and, where the index is kept, make it durable. */
int cache_commit(struct cache *c);

/* At the end: the index as it is, to be trusted. */
int cache_save(struct cache *c);
int cache_write_head(struct cache *c, bool in_use);
bool cache_keeps_index(const struct cache *c); /* at every commit */

/* ---- back.c: going down, and making room ---- */

/* Around a change of blocks: what is read of them meanwhile is not kept. */
void cache_begin_write(struct cache *c, struct cache_work *w, uint64_t off,
                       uint64_t bytes);
void cache_end_write(struct cache *c, struct cache_work *w);

/* ---- drop.c: discards on their way ---- */

#define CACHE_DROPS_MOST 1024

/* -ENOMEM, -ENOSPC: too many wait already. */
int cache_drop_note(struct cache *c, uint64_t off, uint64_t bytes);

/* [off, off + bytes) has been written.  -ENOMEM: nothing changed. */
int cache_drop_cut(struct cache *c, uint64_t off, uint64_t bytes);

/* Whether what lies at `off` reads as zeros; for how many bytes that is so, or is not. */
bool cache_drop_find(const struct cache *c, uint64_t off, size_t *bytes);

/* On the slow disk, those of the epochs up to the target; then forget them. */
int cache_drop_give_back(struct cache *c, uint64_t target);
void cache_drop_forget(struct cache *c, uint64_t target);

/* Everything sealed goes down and the slow disk is flushed. */
int cache_go_down(struct cache *c);
void cache_tend(struct cache *c); /* start the strand that does so, unless it runs */
void cache_wait_tended(struct cache *c);

/* Until there is a free slot; 0, or why there is none. */
int cache_need_slot(struct cache *c);

void cache_pin(struct cache *c, struct cache_slot *s);
void cache_unpin(struct cache *c, struct cache_slot *s);

/* Requests that write to places of an epoch: it is not durable before they end. */
void cache_enter_epoch(struct cache *c, uint64_t epoch);
void cache_leave_epoch(struct cache *c, uint64_t epoch);

/* ---- heat.c: what is worth keeping ---- */

int cache_heat_create(struct cache *c);
unsigned cache_heat_of(const struct cache *c, uint64_t line);
void cache_heat_note(struct cache *c, uint64_t line);
bool cache_is_sequential(struct cache *c, uint64_t off, uint64_t bytes);
struct cache_slot *cache_victim(struct cache *c);

#endif
