/* tier_private.h - what the files of the tier share: its map in memory. */
#ifndef RESOURCE_STORAGE_FILTER_TIER_PRIVATE_H
#define RESOURCE_STORAGE_FILTER_TIER_PRIVATE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/filter/page.h"
#include "resource/storage/filter/tier.h"

#define TIER_HEAD_KIND    0x31484954u /* "TIH1" */
#define TIER_MAP_KIND     0x314d4954u /* "TIM1" */
#define TIER_PAGE_WORDS   (FILTER_PAGE_ROOM / 8)
#define TIER_WORD_USED    ((uint64_t)1 << 63)
#define TIER_WORD_FAST    ((uint64_t)1 << 62)
#define TIER_WORD_TAG     60 /* two bits from here */
#define TIER_WORD_SLOT    (((uint64_t)1 << 40) - 1)
#define TIER_EXTENTS_MOST ((uint64_t)1 << 32)
#define TIER_LOOK_MOVES   8u

enum tier_disk {
    TIER_FAST,
    TIER_SLOW,
    TIER_DISKS
};

enum tier_slot_state {
    TIER_SLOT_FREE,
    TIER_SLOT_USED,
    TIER_SLOT_RELEASING /* free with the next commit */
};

struct tier_slot {
    uint64_t released; /* the commit that makes it free */
    uint32_t pins;     /* reads under way */
    uint8_t state;
};

struct tier_extent {
    uint64_t word;
    uint64_t born; /* the commit that may show it */
    uint32_t heat;
    uint16_t writers;
    bool moving;
};

struct tier {
    struct blk blk;
    struct blk_edge edge[TIER_DISKS];
    struct filter_tier_options options;
    uint64_t life;
    uint32_t extent_bytes;
    uint64_t first[TIER_DISKS]; /* offset of the first slot */
    uint64_t slots[TIER_DISKS];
    uint64_t used[TIER_DISKS];          /* not free */
    uint64_t releasing;                 /* slots in that state */
    uint64_t hint[TIER_DISKS];          /* look for a free slot from here */
    struct tier_slot *slot[TIER_DISKS]; /* owned */
    struct tier_extent *extent;         /* owned: as many as there are slots */
    uint64_t extents;
    struct filter_page_area map;
    uint64_t *map_dirty; /* owned */
    bool head_changed;
    bool map_changed;
    uint64_t commits; /* the next one's number */
    uint64_t closing; /* the one that is being written */
    struct strand_lock commit;
    struct strand_lock balance;
    struct strand_lock birth;    /* one extent at a time gets its first slot */
    struct strand_queue waiters; /* for a move to end, or for writes to */
    unsigned since_look;
    bool looking; /* the strand that balances runs */
    bool stopping;
    struct filter_tier_figures figures;
};

static inline enum tier_disk tier_disk_of(uint64_t word)
{
    return (word & TIER_WORD_FAST) != 0 ? TIER_FAST : TIER_SLOW;
}

static inline enum filter_tier_tag tier_tag_of(const struct tier_extent *x)
{
    return x->word >> TIER_WORD_TAG & 3;
}

static inline uint64_t tier_word_of(enum tier_disk d, uint64_t slot,
                                    enum filter_tier_tag tag)
{
    return TIER_WORD_USED | (d == TIER_FAST ? TIER_WORD_FAST : 0) |
           (uint64_t)tag << TIER_WORD_TAG | slot;
}

static inline uint64_t tier_room_of(const struct tier *t)
{
    return (t->slots[TIER_FAST] + t->slots[TIER_SLOW] - 2) * t->extent_bytes;
}

/* tier_open.c: attach the disks; make them tiers, or find what they are. */
int filter_tier_begin(struct tier *t, struct blk *fast, struct blk *slow, struct err *e);

#endif
