/* page.h - sealed pages: what filters keep of themselves on a disk.
 *
 * A page is as large as the smallest block, so that it is whole after any power
 * cut.  It carries a mark of what it belongs to: the kind, the life (a random number
 * drawn when the store was made anew, so that pages of an earlier one are not taken
 * for its own) and its place.  All numbers are little endian. */
#ifndef RESOURCE_STORAGE_FILTER_PAGE_H
#define RESOURCE_STORAGE_FILTER_PAGE_H

#include <stdbool.h>
#include <stdint.h>

struct blk;

#define FILTER_PAGE_BYTES      512u
#define FILTER_PAGE_ROOM       480u  /* for the content, behind the head */
#define FILTER_PAGE_UNIT_BYTES 4096u /* pages are read and written in such pieces */
#define FILTER_PAGE_UNIT_PAGES 8u

struct filter_page_mark {
    uint32_t kind;
    uint64_t life;
    uint64_t number;
};

/* Where the content of a page begins. */
char *filter_page_room(char *page);

/* Write the head; the content is there. */
void filter_page_seal(char *page, const struct filter_page_mark *mark);

/* 1: a page of that mark; 0: none yet (zeros, or of another life); -EUCLEAN: damaged,
 * or of another kind or place. */
int filter_page_check(const char *page, const struct filter_page_mark *mark);

/* A life for a new store; 0 or -errno. */
int filter_page_new_life(uint64_t *ret_life);

/* Pages in a row on a disk. */
struct filter_page_area {
    struct blk *disk;
    uint64_t off; /* of the first; a multiple of FILTER_PAGE_UNIT_BYTES */
    uint64_t count;
    uint32_t kind;
    uint64_t life;
};

/* Bytes on the disk, whole units. */
uint64_t filter_page_area_bytes(uint64_t count);

/* Make [off, off + bytes), as far as the disk has it, read as pages that were never
 * written.  In a strand. */
int filter_page_clear(struct blk *disk, uint64_t off, uint64_t bytes);

/* Give each page that was ever written to `take`; its first error ends it.  In a
 * strand. */
int filter_page_load(const struct filter_page_area *a,
                     int (*take)(void *arg, uint64_t number, const char *room),
                     void *arg);

/* Write the units that have a page whose bit in `dirty` is set; `fill` makes the content
 * of all their pages from zeros.  Bits are cleared before `fill` is asked; after
 * an error those of pages that may not be there are set again.  In a strand. */
int filter_page_store(const struct filter_page_area *a, uint64_t *dirty,
                      void (*fill)(void *arg, uint64_t number, char *room), void *arg);

static inline void filter_page_mark_dirty(uint64_t *dirty, uint64_t number)
{
    dirty[number / 64] |= (uint64_t)1 << number % 64;
}

#endif
