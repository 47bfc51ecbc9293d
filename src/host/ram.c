/* ram.c - guest memory: anonymous mappings, one memfd, or a file mapped privately.
 *
 * A mapping starts at a host address that equals the guest's modulo 2 MiB, so that
 * the host's huge pages and the guest's coincide.  Nothing is reserved: a page
 * costs the host memory when it is first touched. */
#include "host/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"

#define HUGE_BYTES (2u << 20)

struct ram {
    struct mem mem;
    int fd;              /* owned; -1: private */
    uint64_t fd_bytes;   /* length of the file so far */
    pthread_mutex_t one; /* guards the filler */
    int (*filler)(void *who, gpa page, uint8_t *bytes);
    void *filler_who;
    int file;     /* owned; what all of it is mapped from, or -1 */
    int pagemap;  /* owned; of /proc, which says what was stored to; or -1 */
    bool is_torn; /* ranges are not mapped from `file` any more */
    uint64_t fd_offset[MEM_REGIONS_MAX]; /* by order of creation */
    gpa fd_base[MEM_REGIONS_MAX];
    unsigned fd_count;
};

/* Address space of `bytes`, placed as `base` modulo HUGE_BYTES; NULL: none left. */
static uint8_t *reserve(gpa base, uint64_t bytes)
{
    uint64_t whole = bytes + HUGE_BYTES;
    uint8_t *start;
    uint64_t skip;

    if (whole < bytes) {
        return NULL;
    }
    start =
        mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        return NULL;
    }
    skip = (base - (uintptr_t)start) & (HUGE_BYTES - 1);
    if (skip > 0) {
        (void)munmap(start, skip);
    }
    (void)munmap(start + skip + bytes, HUGE_BYTES - skip);
    return start + skip;
}

/* Put memory behind a reservation. */
static int back(struct ram *ram, uint8_t *host, uint64_t bytes)
{
    int map = MAP_FIXED | MAP_NORESERVE;

    if (ram->fd < 0) {
        map |= MAP_PRIVATE | MAP_ANONYMOUS;
    } else {
        map |= MAP_SHARED;
        if (ftruncate(ram->fd, (off_t)(ram->fd_bytes + bytes)) < 0) {
            return -errno;
        }
    }
    if (mmap(host, bytes, PROT_READ | PROT_WRITE, map, ram->fd,
             ram->fd < 0 ? 0 : (off_t)ram->fd_bytes) == MAP_FAILED) {
        return -errno;
    }
    (void)madvise(host, bytes, MADV_HUGEPAGE);
    return 0;
}

static void release(const struct mem_region *region)
{
    if (region->host != NULL) {
        (void)munmap(region->host, region->bytes);
        free(region->flags);
    }
}

static int ram_add(struct mem *m, gpa base, uint64_t bytes, bool read_only, struct err *e)
{
    struct ram *ram = (struct ram *)m;
    struct mem_region region = {.base = base, .bytes = bytes, .read_only = read_only};
    int r;

    region.host = reserve(base, bytes);
    if (region.host != NULL) {
        region.flags = fault_calloc(bytes >> MEM_PAGE_SHIFT, 1);
    }
    if (region.flags == NULL) {
        release(&region);
        return err_set(e, -ENOMEM,
                       "cannot reserve %" PRIu64 " bytes of guest memory: the host has "
                       "no room for them",
                       bytes);
    }
    r = back(ram, region.host, bytes);
    if (r < 0) {
        release(&region);
        return err_sys(e, r, "cannot map %" PRIu64 " bytes of guest memory", bytes);
    }
    if (ram->fd >= 0) {
        ram->fd_base[ram->fd_count] = base;
        ram->fd_offset[ram->fd_count++] = ram->fd_bytes;
        ram->fd_bytes += bytes;
    }
    mem_insert(m, &region);
    return 0;
}

static int ram_share(struct mem *m, gpa at, int *ret_fd, uint64_t *ret_offset)
{
    struct ram *ram = (struct ram *)m;
    const struct mem_region *region = mem_find(m, at);

    if (ram->fd < 0) {
        return -EOPNOTSUPP;
    }
    for (unsigned i = 0; i < ram->fd_count; i++) {
        if (ram->fd_base[i] == region->base) {
            *ret_fd = ram->fd;
            *ret_offset = ram->fd_offset[i] + (at - region->base);
            return 0;
        }
    }
    return -EFAULT;
}

static int ram_discard(struct mem *m, gpa at, uint64_t bytes)
{
    const struct mem_region *region = mem_find(m, at);
    struct ram *ram = (struct ram *)m;

    /* MADV_REMOVE punches a hole into the file; on a private mapping MADV_DONTNEED
     * drops the pages, behind which a mapped file would show. */
    if (ram->file >= 0) {
        ram->is_torn = true;
        return mmap(region->host + (at - region->base), bytes, PROT_READ | PROT_WRITE,
                    MAP_FIXED | MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0) == MAP_FAILED
                   ? -errno
                   : 0;
    }
    return madvise(region->host + (at - region->base), bytes,
                   ram->fd < 0 ? MADV_DONTNEED : MADV_REMOVE) < 0
               ? -errno
               : 0;
}

static int ram_fill(struct mem *m, gpa page)
{
    struct ram *ram = (struct ram *)m;
    const struct mem_region *region = mem_find(m, page);
    int r = 0;

    (void)pthread_mutex_lock(&ram->one);
    /* Another vCPU may have brought it while this one waited. */
    if ((mem_flags(region, page) & MEM_ABSENT) != 0) {
        r = ram->filler == NULL ? -EFAULT
                                : ram->filler(ram->filler_who, page,
                                              region->host + (page - region->base));
        if (r >= 0) {
            (void)__atomic_fetch_and(
                &region->flags[(page - region->base) >> MEM_PAGE_SHIFT],
                (uint8_t)~MEM_ABSENT, __ATOMIC_SEQ_CST);
        }
    }
    (void)pthread_mutex_unlock(&ram->one);
    return r < 0 ? r : 0;
}

static void close_file(struct ram *ram)
{
    if (ram->file >= 0) {
        (void)close(ram->file);
    }
    if (ram->pagemap >= 0) {
        (void)close(ram->pagemap);
    }
    ram->file = ram->pagemap = -1;
}

void ram_take_pagemap(struct mem *m, int take_fd)
{
    struct ram *ram = (struct ram *)m;

    if (ram->pagemap >= 0) {
        (void)close(ram->pagemap);
    }
    ram->pagemap = take_fd;
}

static void ram_destroy(struct mem *m)
{
    struct ram *ram = (struct ram *)m;

    for (unsigned i = 0; i < m->region_count; i++) {
        release(&m->region[i]);
    }
    if (ram->fd >= 0) {
        (void)close(ram->fd);
    }
    close_file(ram);
    (void)pthread_mutex_destroy(&ram->one);
    free(ram);
}

static const struct mem_ops ram_private_ops = {
    .name = "private",
    .add_ram = ram_add,
    .discard = ram_discard,
    .fill = ram_fill,
    .share = ram_share,
    .destroy = ram_destroy,
};

static const struct mem_ops ram_shared_ops = {
    .name = "shared",
    .add_ram = ram_add,
    .discard = ram_discard,
    .fill = ram_fill,
    .share = ram_share,
    .destroy = ram_destroy,
};

int ram_create(enum ram_kind kind, struct mem **ret_mem, struct err *e)
{
    struct ram *ram = fault_calloc(1, sizeof *ram);

    if (ram == NULL) {
        return err_set(e, -ENOMEM, "cannot make guest memory: out of memory");
    }
    ram->fd = ram->file = ram->pagemap = -1;
    ram->mem.ops = kind == RAM_SHARED ? &ram_shared_ops : &ram_private_ops;
    if (kind == RAM_SHARED) {
        ram->fd = memfd_create("guest", MFD_CLOEXEC);
        if (ram->fd < 0) {
            int r = err_sys(e, -errno, "cannot make shared guest memory");

            free(ram);
            return r;
        }
    }
    (void)pthread_mutex_init(&ram->one, NULL);
    *ret_mem = &ram->mem;
    return 0;
}

void ram_set_filler(struct mem *m, int (*filler)(void *who, gpa page, uint8_t *bytes),
                    void *who)
{
    struct ram *ram = (struct ram *)m;

    ram->filler = filler;
    ram->filler_who = who;
}

/* ---- memory from a file ---- */

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE    (UINT64_C(1) << 61) /* a page of the file's, not a copy of it */
#define PAGEMAP_WORDS   512u

/* Bytes of [at, at+bytes) change, all at once. */
static void tell(struct mem *m, const struct mem_region *r, gpa at, uint64_t bytes)
{
    for (gpa page = at; page < at + bytes; page += MEM_PAGE_BYTES) {
        if (mem_flags(r, page) != 0) {
            mem_touched(m, r, page, MEM_PAGE_BYTES);
        }
    }
}

static int map_region(struct ram *ram, const struct mem_region *r, int fd, uint64_t at)
{
    if (ram->fd < 0) {
        return mmap(r->host, r->bytes, PROT_READ | PROT_WRITE,
                    MAP_FIXED | MAP_NORESERVE | MAP_PRIVATE, fd, (off_t)at) == MAP_FAILED
                   ? -errno
                   : 0;
    }
    for (uint64_t done = 0; done < r->bytes;) {
        ssize_t n = pread(fd, r->host + done, r->bytes - done, (off_t)(at + done));

        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        done += (uint64_t)n;
    }
    return 0;
}

static int map_all(struct mem *m, int fd, struct err *e)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < m->region_count; i++) {
        const struct mem_region *r = &m->region[i];
        int result;

        if (r->host == NULL) {
            continue;
        }
        tell(m, r, r->base, r->bytes);
        result = map_region((struct ram *)m, r, fd, at);
        if (result != 0) {
            return err_sys(e, result, "cannot map the file of a guest's memory");
        }
        tell(m, r, r->base, r->bytes);
        at += r->bytes;
    }
    return 0;
}

int ram_map_file(struct mem *m, int fd, struct err *e)
{
    struct ram *ram = (struct ram *)m;
    int own = ram->fd < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    int r;

    if (ram->fd < 0 && own < 0) {
        return err_sys(e, -errno, "cannot map the file of a guest's memory");
    }
    r = map_all(m, fd, e);
    if (ram->fd < 0) {
        if (ram->file >= 0) {
            (void)close(ram->file);
        }
        ram->file = own;
        if (ram->pagemap < 0) {
            ram->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        }
        ram->is_torn = false;
    }
    return r;
}

static int revert_range(struct mem *m, const struct mem_region *r, uint64_t from,
                        uint64_t to)
{
    tell(m, r, r->base + from, to - from);
    return madvise(r->host + from, to - from, MADV_DONTNEED) < 0 ? -errno : 0;
}

/* Ranges of pages that are the guest's own copies. */
static int64_t revert_region(struct ram *ram, const struct mem_region *r)
{
    uint64_t word[PAGEMAP_WORDS];
    uint64_t pages = r->bytes / MEM_PAGE_BYTES;
    uint64_t first = (uintptr_t)r->host / MEM_PAGE_BYTES;
    uint64_t since = 0; /* of the range that is open */
    bool is_open = false;
    int64_t sum = 0;

    for (uint64_t n = 0; n <= pages; n++) {
        bool is_own = false;
        int result;

        if (n < pages) {
            uint64_t place = n % PAGEMAP_WORDS;
            uint64_t v;

            if (place == 0) {
                uint64_t wanted = pages - n < PAGEMAP_WORDS ? pages - n : PAGEMAP_WORDS;

                if (pread(ram->pagemap, word, wanted * 8, (off_t)((first + n) * 8)) !=
                    (ssize_t)(wanted * 8)) {
                    return -EIO;
                }
            }
            v = word[place];
            is_own = (v & PAGEMAP_SWAPPED) != 0 ||
                     ((v & PAGEMAP_PRESENT) != 0 && (v & PAGEMAP_FILE) == 0);
        }
        if (is_own == is_open) {
            continue;
        }
        if (is_open) {
            result =
                revert_range(&ram->mem, r, since * MEM_PAGE_BYTES, n * MEM_PAGE_BYTES);
            if (result != 0) {
                return result;
            }
            sum += (int64_t)(n - since);
        }
        since = n;
        is_open = is_own;
    }
    return sum;
}

int64_t ram_revert(struct mem *m, struct err *e)
{
    struct ram *ram = (struct ram *)m;
    int64_t sum = 0;

    if (ram->file < 0) {
        return err_set(e, -EINVAL,
                       "cannot revert memory that was not mapped from a file");
    }
    if (ram->is_torn || ram->pagemap < 0) {
        int r = map_all(m, ram->file, e);

        ram->is_torn = r != 0;
        return r;
    }
    for (unsigned i = 0; i < m->region_count; i++) {
        int64_t n = m->region[i].host == NULL ? 0 : revert_region(ram, &m->region[i]);

        if (n < 0) {
            return err_sys(e, (int)n, "cannot revert a guest's memory");
        }
        sum += n;
    }
    return sum;
}

void ram_zero(void *at, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)at + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)at + bytes) & ~(page - 1);
    uint8_t *p = at;

    if (from >= to || madvise(p + (from - (uintptr_t)at), to - from, MADV_DONTNEED) < 0) {
        memset(at, 0, bytes);
        return;
    }
    memset(at, 0, from - (uintptr_t)at);
    memset(p + (to - (uintptr_t)at), 0, (uintptr_t)at + bytes - to);
}
