/* ram.c - guest memory: anonymous mappings, or one memfd.
 *
 * A mapping starts at a host address that equals the guest's modulo 2 MiB, so that
 * the host's huge pages and the guest's coincide.  Nothing is reserved: a page
 * costs the host memory when it is first touched. */
#include "host/ram.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
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
     * drops the pages. */
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

static void ram_destroy(struct mem *m)
{
    struct ram *ram = (struct ram *)m;

    for (unsigned i = 0; i < m->region_count; i++) {
        release(&m->region[i]);
    }
    if (ram->fd >= 0) {
        (void)close(ram->fd);
    }
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
    ram->fd = -1;
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
