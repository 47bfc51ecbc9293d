/* contract/mem.h - the physical memory of a guest.
 *
 * Implemented by host/ram (anonymous with huge pages, or a memfd where a second
 * process must see it).  Used by every engine, device and snapshot.
 *
 * An address space is a list of regions that do not overlap.  A region is RAM
 * (a host pointer, and one flag byte for each page) or I/O (two functions).
 *
 * The flag byte is one mechanism for five uses: a page that holds translated
 * code, a page that is walked as a page table, a page whose changes are logged,
 * a watched page, a page whose bytes are not there yet.  A store to a page with
 * any flag, by any engine or device, must call `mem_touched` before it writes;
 * a page without flags may be written directly.  Loads need care only for
 * MEM_ABSENT.
 *
 * Threads: regions change only while no vCPU runs.  Flags may be set and read
 * by any thread; a flag that is set is seen by a vCPU after its next safe point,
 * so whoever sets one must get the vCPUs there before relying on it.
 * Units: addresses and lengths are bytes; regions are whole pages. */
#ifndef CONTRACT_MEM_H
#define CONTRACT_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct mem;

typedef uint64_t gpa; /* guest physical address */

#define MEM_PAGE_BYTES  4096u
#define MEM_PAGE_SHIFT  12
#define MEM_REGIONS_MAX 64

enum mem_flag {
    MEM_CODE = 1,    /* instructions were decoded or translated from it */
    MEM_TABLE = 2,   /* the guest's page tables */
    MEM_LOGGED = 4,  /* tell the dirty log of the first store, then drop the flag */
    MEM_WATCHED = 8, /* a debugger or device wants every store */
    MEM_ABSENT = 16, /* `fill` must bring the bytes before any access */
};

/* What lies behind an I/O region.  `bytes` is 1, 2, 4 or 8; `offset` counts from
 * the region's start.  Called on the thread of the vCPU that made the access. */
struct mem_io {
    void (*read)(void *who, uint64_t offset, unsigned bytes, uint64_t *ret_value);
    void (*write)(void *who, uint64_t offset, unsigned bytes, uint64_t value);
};

struct mem_region {
    gpa base;
    uint64_t bytes;
    uint8_t *host;  /* RAM: the bytes; NULL: I/O */
    uint8_t *flags; /* RAM: one byte a page, `enum mem_flag` bits */
    bool read_only; /* RAM: stores by the guest are dropped (ROM) */
    const struct mem_io *io;
    void *who; /* borrowed; first argument of `io` */
};

/* Who wants to know of stores to flagged pages, of pages that are to be filled,
 * and of regions that went. */
struct mem_listener {
    /* [at, at+bytes), inside one page, is about to be written; `flags` as they
     * stand.  Returns the flags to drop from the page. */
    uint8_t (*touched)(void *who, gpa at, unsigned bytes, uint8_t flags);
    void *who;
    uint8_t wants; /* only called for these flags */
};

struct mem_ops {
    const char *name;

    /* Reserve RAM at `base`.  Its bytes read as zeros. */
    int (*add_ram)(struct mem *m, gpa base, uint64_t bytes, bool read_only,
                   struct err *e);

    /* Give [at, at+bytes) of RAM back to the host; it reads as zeros later. */
    int (*discard)(struct mem *m, gpa at, uint64_t bytes);

    /* Bring the bytes of an absent page.  NULL: pages are never absent. */
    int (*fill)(struct mem *m, gpa page);

    /* The descriptor and offset behind RAM at `at`, for another process to map.
     * NULL or -EOPNOTSUPP: private memory. */
    int (*share)(struct mem *m, gpa at, int *ret_fd, uint64_t *ret_offset);

    void (*destroy)(struct mem *m);
};

#define MEM_LISTENERS_MAX 72 /* one for each processor's translations, and some */

/* First member of every implementation's own struct. */
struct mem {
    const struct mem_ops *ops;
    struct mem_region region[MEM_REGIONS_MAX]; /* sorted by base */
    unsigned region_count;
    struct mem_listener listener[MEM_LISTENERS_MAX];
    unsigned listener_count;
    atomic_uint split_lock; /* `mem_lock` */
};

/* The guard: whole pages, no wrap, no overlap with a region. */
int mem_add_ram(struct mem *m, gpa base, uint64_t bytes, bool read_only, struct err *e);
int mem_add_io(struct mem *m, gpa base, uint64_t bytes, const struct mem_io *io,
               void *who, struct err *e);
int mem_listen(struct mem *m, const struct mem_listener *l);
void mem_unlisten(struct mem *m, const void *who); /* while no vCPU runs */
int mem_discard(struct mem *m, gpa at, uint64_t bytes);
void mem_destroy(struct mem *m);
int mem_share(struct mem *m, gpa at, int *ret_fd, uint64_t *ret_offset);

/* For implementers, from `add_ram`: enter a region that the guard has checked. */
void mem_insert(struct mem *m, const struct mem_region *region);

/* The region that holds `at`; NULL: nothing does (reads give all ones, stores
 * are dropped). */
const struct mem_region *mem_find(const struct mem *m, gpa at);

/* Add flags to the page of `at`; RAM only, else -EFAULT. */
int mem_flag_page(struct mem *m, gpa at, uint8_t flags);
uint8_t mem_flags(const struct mem_region *r, gpa at);

/* Say that [at, at+bytes), inside one page of `r`, is about to be written.  A store
 * that another thread's flag may cross says so once more when it is done. */
void mem_touched(struct mem *m, const struct mem_region *r, gpa at, unsigned bytes);

/* Bring the bytes of the page of `at`, RAM of `r`, if they are absent. */
int mem_present(struct mem *m, const struct mem_region *r, gpa at);

/* One at a time in the machine: locked operations that no host instruction can do
 * at once (their bytes lie in two places).  Held for moments, never nested. */
void mem_lock(struct mem *m);
void mem_unlock(struct mem *m);

/* Copy between a buffer and guest memory, RAM only and across regions; -EFAULT
 * where there is none, and then nothing was copied.  Flags are honoured. */
int mem_read(struct mem *m, gpa at, void *buf, uint64_t bytes);
int mem_write(struct mem *m, gpa at, const void *buf, uint64_t bytes);

#endif
