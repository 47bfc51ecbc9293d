/* contract/mem.c - the guard: regions are whole pages and do not overlap, copies stay
 * inside RAM, and stores to flagged pages are told to whoever asked.
 *
 * A store and somebody who sets a flag may run at once, on two threads.  The one
 * who sets the flag does so first and reads the bytes afterwards; the one who
 * stores writes first and looks at the flags once more afterwards.  Both steps
 * are sequentially consistent, so one of the two sees the other: bytes that were
 * read too early are reported as touched. */
#include "contract/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "base/err.h"
#include "contract/mem_move.h"

#define PAGE_MASK ((uint64_t)MEM_PAGE_BYTES - 1)

static int check_room(const struct mem *m, gpa base, uint64_t bytes, struct err *e)
{
    if (bytes == 0 || ((base | bytes) & PAGE_MASK) != 0) {
        return err_set(e, -EINVAL,
                       "cannot place a region at 0x%" PRIx64 ": not whole pages", base);
    }
    if (base + bytes < base) {
        return err_set(e, -ERANGE,
                       "cannot place a region at 0x%" PRIx64
                       ": it ends behind the last address",
                       base);
    }
    if (m->region_count == MEM_REGIONS_MAX) {
        return err_set(e, -ENOSPC,
                       "cannot place a region at 0x%" PRIx64 ": there are %d already",
                       base, MEM_REGIONS_MAX);
    }
    for (unsigned i = 0; i < m->region_count; i++) {
        const struct mem_region *r = &m->region[i];

        if (base < r->base + r->bytes && r->base < base + bytes) {
            return err_set(e, -EEXIST,
                           "cannot place a region at 0x%" PRIx64
                           ": it overlaps the one at 0x%" PRIx64,
                           base, r->base);
        }
    }
    return 0;
}

void mem_insert(struct mem *m, const struct mem_region *region)
{
    unsigned at = m->region_count;

    assert(m->region_count < MEM_REGIONS_MAX);
    while (at > 0 && m->region[at - 1].base > region->base) {
        m->region[at] = m->region[at - 1];
        at--;
    }
    m->region[at] = *region;
    m->region_count++;
}

int mem_add_ram(struct mem *m, gpa base, uint64_t bytes, bool read_only, struct err *e)
{
    int r = check_room(m, base, bytes, e);

    if (r < 0) {
        return r;
    }
    return m->ops->add_ram(m, base, bytes, read_only, e);
}

int mem_add_io(struct mem *m, gpa base, uint64_t bytes, const struct mem_io *io,
               void *who, struct err *e)
{
    struct mem_region region = {.base = base, .bytes = bytes, .io = io, .who = who};
    int r = check_room(m, base, bytes, e);

    if (r < 0) {
        return r;
    }
    mem_insert(m, &region);
    return 0;
}

/* Whoever made something of these bytes forgets it. */
static void touch_all(struct mem *m, const struct mem_region *r)
{
    for (gpa at = r->base; at < r->base + r->bytes; at += MEM_PAGE_BYTES) {
        if (mem_flags(r, at) != 0) {
            mem_touched(m, r, at, MEM_PAGE_BYTES);
        }
    }
}

int mem_move(struct mem *m, gpa from, gpa to)
{
    const struct mem_region *r = mem_find(m, from);
    struct mem_region moved;
    uint64_t offset;
    int fd;

    if (r == NULL || r->base != from || r->host == NULL) {
        return -ENOENT;
    }
    if (mem_share(m, from, &fd, &offset) == 0) {
        return -EOPNOTSUPP;
    }
    if (from == to) {
        return 0;
    }
    touch_all(m, r);
    moved = *r;
    m->region_count--;
    memmove(&m->region[r - m->region], r + 1,
            (size_t)(&m->region[m->region_count] - r) * sizeof *r);
    moved.base = check_room(m, to, moved.bytes, NULL) == 0 ? to : from;
    mem_insert(m, &moved);
    return moved.base == to ? 0 : -EEXIST;
}

int mem_listen(struct mem *m, const struct mem_listener *l)
{
    if (l->touched == NULL || l->wants == 0) {
        return -EINVAL;
    }
    if (m->listener_count == MEM_LISTENERS_MAX) {
        return -ENOSPC;
    }
    m->listener[m->listener_count++] = *l;
    return 0;
}

void mem_unlisten(struct mem *m, const void *who)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < m->listener_count; i++) {
        if (m->listener[i].who != who) {
            m->listener[kept++] = m->listener[i];
        }
    }
    m->listener_count = kept;
}

void mem_destroy(struct mem *m)
{
    if (m != NULL) {
        m->ops->destroy(m);
    }
}

const struct mem_region *mem_find(const struct mem *m, gpa at)
{
    unsigned low = 0;
    unsigned high = m->region_count;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (m->region[middle].base <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || at - m->region[low - 1].base >= m->region[low - 1].bytes) {
        return NULL;
    }
    return &m->region[low - 1];
}

static uint8_t *flags_of(const struct mem_region *r, gpa at)
{
    return &r->flags[(at - r->base) >> MEM_PAGE_SHIFT];
}

uint8_t mem_flags(const struct mem_region *r, gpa at)
{
    return __atomic_load_n(flags_of(r, at), __ATOMIC_SEQ_CST);
}

int mem_flag_page(struct mem *m, gpa at, uint8_t flags)
{
    const struct mem_region *r = mem_find(m, at);

    if (r == NULL || r->host == NULL) {
        return -EFAULT;
    }
    (void)__atomic_fetch_or(flags_of(r, at), flags, __ATOMIC_SEQ_CST);
    return 0;
}

void mem_touched(struct mem *m, const struct mem_region *r, gpa at, unsigned bytes)
{
    uint8_t flags = mem_flags(r, at);
    uint8_t drop = 0;

    for (unsigned i = 0; i < m->listener_count && flags != 0; i++) {
        const struct mem_listener *l = &m->listener[i];

        if ((l->wants & flags) != 0) {
            drop |= l->touched(l->who, at, bytes, flags);
        }
    }
    if (drop != 0) {
        (void)__atomic_fetch_and(flags_of(r, at), (uint8_t)~drop, __ATOMIC_SEQ_CST);
    }
}

int mem_present(struct mem *m, const struct mem_region *r, gpa at)
{
    gpa page = at & ~PAGE_MASK;
    int result;

    if ((mem_flags(r, at) & MEM_ABSENT) == 0) {
        return 0;
    }
    if (m->ops->fill == NULL) {
        return -EFAULT;
    }
    result = m->ops->fill(m, page);
    if (result < 0) {
        return result;
    }
    (void)__atomic_fetch_and(flags_of(r, page), (uint8_t)~MEM_ABSENT, __ATOMIC_SEQ_CST);
    return 0;
}

/* How much of [at, at+bytes) lies in the page of `at`. */
static uint64_t part_in_page(gpa at, uint64_t bytes)
{
    uint64_t room = MEM_PAGE_BYTES - (at & PAGE_MASK);

    return bytes < room ? bytes : room;
}

/* All of it is RAM, and its bytes are there. */
static int check_ram(struct mem *m, gpa at, uint64_t bytes)
{
    if (at + bytes < at) {
        return -EFAULT;
    }
    while (bytes > 0) {
        const struct mem_region *r = mem_find(m, at);
        uint64_t part = part_in_page(at, bytes);

        if (r == NULL || r->host == NULL || mem_present(m, r, at) < 0) {
            return -EFAULT;
        }
        at += part;
        bytes -= part;
    }
    return 0;
}

int mem_read(struct mem *m, gpa at, void *buf, uint64_t bytes)
{
    uint8_t *to = buf;
    int result = check_ram(m, at, bytes);

    if (result < 0) {
        return result;
    }
    while (bytes > 0) {
        const struct mem_region *r = mem_find(m, at);
        uint64_t part = part_in_page(at, bytes);

        memcpy(to, r->host + (at - r->base), part);
        to += part;
        at += part;
        bytes -= part;
    }
    return 0;
}

int mem_write(struct mem *m, gpa at, const void *buf, uint64_t bytes)
{
    const uint8_t *from = buf;
    int result = check_ram(m, at, bytes);

    if (result < 0) {
        return result;
    }
    while (bytes > 0) {
        const struct mem_region *r = mem_find(m, at);
        uint64_t part = part_in_page(at, bytes);

        if (mem_flags(r, at) != 0) {
            mem_touched(m, r, at, (unsigned)part);
        }
        memcpy(r->host + (at - r->base), from, part);
        atomic_thread_fence(memory_order_seq_cst);
        if (mem_flags(r, at) != 0) {
            mem_touched(m, r, at, (unsigned)part);
        }
        from += part;
        at += part;
        bytes -= part;
    }
    return 0;
}

static int discard_in_region(struct mem *m, const struct mem_region *r, gpa at,
                             uint64_t bytes)
{
    int result;

    for (uint64_t done = 0; done < bytes; done += MEM_PAGE_BYTES) {
        if (mem_flags(r, at + done) != 0) {
            mem_touched(m, r, at + done, MEM_PAGE_BYTES);
        }
        (void)__atomic_fetch_and(flags_of(r, at + done), (uint8_t)~MEM_ABSENT,
                                 __ATOMIC_SEQ_CST);
    }
    result = m->ops->discard(m, at, bytes);
    for (uint64_t done = 0; done < bytes; done += MEM_PAGE_BYTES) {
        if (mem_flags(r, at + done) != 0) {
            mem_touched(m, r, at + done, MEM_PAGE_BYTES);
        }
    }
    return result;
}

int mem_discard(struct mem *m, gpa at, uint64_t bytes)
{
    if (((at | bytes) & PAGE_MASK) != 0) {
        return -EINVAL;
    }
    if (m->ops->discard == NULL) {
        return -EOPNOTSUPP;
    }
    if (at + bytes < at) {
        return -EFAULT;
    }
    for (gpa look = at; look < at + bytes; look += MEM_PAGE_BYTES) {
        const struct mem_region *r = mem_find(m, look);

        if (r == NULL || r->host == NULL) {
            return -EFAULT;
        }
    }
    while (bytes > 0) {
        const struct mem_region *r = mem_find(m, at);
        uint64_t part = r->base + r->bytes - at;
        int result;

        part = part < bytes ? part : bytes;
        result = discard_in_region(m, r, at, part);
        if (result < 0) {
            return result;
        }
        at += part;
        bytes -= part;
    }
    return 0;
}

int mem_share(struct mem *m, gpa at, int *ret_fd, uint64_t *ret_offset)
{
    const struct mem_region *r = mem_find(m, at);

    if (r == NULL || r->host == NULL) {
        return -EFAULT;
    }
    return m->ops->share == NULL ? -EOPNOTSUPP : m->ops->share(m, at, ret_fd, ret_offset);
}

void mem_lock(struct mem *m)
{
    unsigned tries = 0;

    while (atomic_exchange_explicit(&m->split_lock, 1, memory_order_acquire) != 0) {
        if (++tries > 64) {
            (void)sched_yield();
        }
    }
}

void mem_unlock(struct mem *m)
{
    atomic_store_explicit(&m->split_lock, 0, memory_order_release);
}
