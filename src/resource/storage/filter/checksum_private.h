/* checksum_private.h - the body of the checksum filter, for its files. */
#ifndef RESOURCE_STORAGE_FILTER_CHECKSUM_PRIVATE_H
#define RESOURCE_STORAGE_FILTER_CHECKSUM_PRIVATE_H

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/filter/checksum.h"
#include "resource/storage/safe/journal.h"
#include "resource/storage/safe/pages.h"
#include "resource/storage/safe/range.h"
#include "resource/storage/safe/slot.h"

#define CHECKSUM_SUM_MOST    32
#define CHECKSUM_PIECE       256 /* blocks that are worked on at once */
#define CHECKSUM_PAGES_MOST  8   /* that a piece may touch */
#define CHECKSUM_DOUBTS_MOST 65536

/* Where things lie in the area. */
struct checksum_layout {
    enum filter_checksum_kind kind;
    unsigned sum_bytes;
    uint32_t block; /* bytes */
    uint64_t data_bytes;
    uint64_t journal_at;
    uint64_t journal_bytes;
    uint64_t table_at;
    uint64_t pages;
    uint64_t id;
    uint64_t end; /* of the area that counts instead of this one; 0: this one does */
    uint64_t zero_from;
    uint64_t zero_to; /* bytes that are to be zeros, and are not yet */
};

/* A block that may have this sum instead of the one in the table. */
struct checksum_doubt {
    struct checksum_doubt *next;
    uint64_t block;
    uint8_t sum[CHECKSUM_SUM_MOST];
};

struct checksum {
    struct blk blk;
    struct blk_edge edge[2]; /* lower; the area's disk, if it is another one */
    struct blk *area;        /* borrowed: of one of the edges */
    struct checksum_layout at;
    uint64_t end; /* of the area */
    int broken;   /* not 0: which header is there is not known; nothing is written */
    uint8_t zero_sum[CHECKSUM_SUM_MOST]; /* of a block of zeros */
    struct journal journal;
    struct pages pages;
    struct range_lock blocks; /* readers share, writers do not */
    struct range_lock gate;   /* changes share, settling does not */
    struct checksum_doubt *doubt;
    unsigned doubts;
    struct filter_checksum_mend mend;
    struct filter_checksum_status count;
};

/* The sum of a block as the table has it: zeros for zeros. */
void filter_checksum_sum(const struct checksum *c, const void *block, uint8_t *ret);

/* The pages of a piece, pinned. */
struct checksum_pins {
    struct page *page[CHECKSUM_PAGES_MOST];
    unsigned count;
    uint64_t first; /* index of the first page */
};

int filter_checksum_pin(struct checksum *c, uint64_t first, unsigned blocks,
                        struct checksum_pins *ret);
void filter_checksum_unpin(struct checksum *c, struct checksum_pins *p);

/* The entry of a block; NULL: its sheet is damaged. */
uint8_t *filter_checksum_entry(struct checksum *c, struct checksum_pins *p,
                               uint64_t block);
uint8_t *filter_checksum_entry_raw(struct checksum *c, struct checksum_pins *p,
                                   uint64_t block);
void filter_checksum_changed(struct checksum *c, struct checksum_pins *p);

/* Make the journal empty: doubts are settled, the table is written and flushed. */
int filter_checksum_settle(struct checksum *c);

int filter_checksum_add_doubts(struct checksum *c, uint64_t first, unsigned blocks,
                               const uint8_t *sums);
void filter_checksum_drop_doubts(struct checksum *c, uint64_t first, uint64_t end);

/* Whether a doubt says that this sum is right for the block. */
bool filter_checksum_is_doubt(const struct checksum *c, uint64_t block,
                              const uint8_t *sum);

int filter_checksum_open_area(struct checksum *c, struct err *e);

/* ---- checksum_head.c ---- */

#define CHECKSUM_PLACE_BYTES   4096u
#define CHECKSUM_HEAD_BYTES    (2 * CHECKSUM_PLACE_BYTES)
#define CHECKSUM_JOURNAL_BYTES 262144u

/* Where the area on this disk ends, unless its header says otherwise. */
uint64_t filter_checksum_end(struct blk *area);

/* The header of the area that counts, into `at` and `end`. */
int filter_checksum_find_head(struct checksum *c);
int filter_checksum_store_head(struct blk *area, uint64_t end,
                               const struct checksum_layout *at);

/* ---- checksum_resize.c ---- */

/* All is settled, and no request runs. */
int filter_checksum_finish_zeros(struct checksum *c);
int filter_checksum_resize(struct checksum *c, uint64_t size_bytes, struct err *e);

#endif
