/* memory.c - a front end's memory: mapped, translated, and logged.
 *
 * What a front end says of a region is checked against its file and the other regions;
 * lost.c is about files that are made shorter afterwards. */
#include "resource/storage/vhost_user/memory.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "resource/storage/vhost_user/lost.h"
#include "resource/storage/vhost_user/protocol.h"

/* ---- mapping ---- */

/* The unit in which a file can be mapped: larger than a page for huge pages. */
static uint64_t map_unit(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0) {
        return (uint64_t)fs.f_bsize;
    }
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

int vhost_map(int fd, const struct vhost_user_area *area, struct vhost_mapping *ret)
{
    uint64_t unit = map_unit(fd);
    uint64_t begin = area->offset & ~(unit - 1);
    uint64_t end;
    struct stat st;
    void *at;
    int slot;

    if (area->bytes == 0 || __builtin_add_overflow(area->offset, area->bytes, &end) ||
        end > INT64_MAX) {
        return -EINVAL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end > (uint64_t)st.st_size) {
        return -ERANGE;
    }
    end = (end + unit - 1) & ~(unit - 1);
    at = mmap(NULL, (size_t)(end - begin), PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_NORESERVE, fd, (off_t)begin);
    if (at == MAP_FAILED) {
        return -errno;
    }
    slot = lost_watch(at, (size_t)(end - begin));
    if (slot < 0) {
        (void)munmap(at, (size_t)(end - begin));
        return slot;
    }
    ret->slot = slot;
    ret->base = at;
    ret->bytes = (size_t)(end - begin);
    ret->at = ret->base + (area->offset - begin);
    return 0;
}

void vhost_unmap(struct vhost_mapping *map)
{
    if (map->base != NULL) {
        lost_unwatch(map->slot);
        (void)munmap(map->base, map->bytes);
    }
    *map = (struct vhost_mapping){0};
}

bool vhost_mapping_is_lost(const struct vhost_mapping *map)
{
    return map->base != NULL && lost_is(map->slot);
}

bool vhost_memory_is_lost(const struct vhost_memory *m)
{
    bool lost = vhost_mapping_is_lost(&m->log);

    for (unsigned i = 0; i < m->count; i++) {
        lost = lost || vhost_mapping_is_lost(&m->region[i].map);
    }
    return lost;
}

/* ---- regions ---- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

int vhost_memory_add(struct vhost_memory *m, int fd, const struct vhost_user_region *r)
{
    struct vhost_region *own = &m->region[m->count];
    struct vhost_user_area area = {.bytes = r->bytes, .offset = r->offset};
    int e;

    if (r->guest + r->bytes < r->guest || r->user + r->bytes < r->user) {
        return -EINVAL;
    }
    if (m->count == VHOST_MEMORY_REGIONS_MOST) {
        return -ENOSPC;
    }
    for (unsigned i = 0; i < m->count; i++) {
        const struct vhost_region *o = &m->region[i];

        if (overlap(o->guest, o->bytes, r->guest, r->bytes) ||
            overlap(o->user, o->bytes, r->user, r->bytes)) {
            return -EEXIST;
        }
    }
    *own = (struct vhost_region){.guest = r->guest, .user = r->user, .bytes = r->bytes};
    e = vhost_map(fd, &area, &own->map);
    if (e == 0) {
        m->count++;
    }
    return e;
}

int vhost_memory_remove(struct vhost_memory *m, const struct vhost_user_region *r)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct vhost_region *o = &m->region[i];

        if (o->guest == r->guest && o->user == r->user && o->bytes == r->bytes) {
            vhost_unmap(&o->map);
            *o = m->region[--m->count];
            m->last = 0;
            return 0;
        }
    }
    return -ENOENT;
}

void vhost_memory_clear(struct vhost_memory *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        vhost_unmap(&m->region[i].map);
    }
    m->count = 0;
    m->last = 0;
}

static bool holds(const struct vhost_region *r, uint64_t guest)
{
    return guest >= r->guest && guest - r->guest < r->bytes;
}

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret_bytes)
{
    struct vhost_memory *m = (struct vhost_memory *)s;
    const struct vhost_region *r = &m->region[m->last];

    (void)write;
    if (m->count == 0) {
        return NULL;
    }
    for (unsigned i = 0; !holds(r, at); i++) {
        if (i == m->count) {
            return NULL;
        }
        m->last = i;
        r = &m->region[i];
    }
    at -= r->guest;
    *ret_bytes = bytes < r->bytes - at ? bytes : r->bytes - at;
    return r->map.at + at;
}

uint8_t *vhost_memory_user(struct vhost_memory *m, uint64_t user, uint64_t bytes)
{
    for (unsigned i = 0; i < m->count; i++) {
        const struct vhost_region *r = &m->region[i];

        if (user >= r->user && user - r->user < r->bytes &&
            bytes <= r->bytes - (user - r->user)) {
            return r->map.at + (user - r->user);
        }
    }
    return NULL;
}

/* ---- the log of written pages ---- */

/* The front end looks at the log while we write it. */
void vhost_memory_mark(struct vhost_memory *m, uint64_t guest, uint64_t bytes)
{
    uint64_t page = guest / VHOST_USER_LOG_PAGE;
    uint64_t last = (guest + bytes - 1) / VHOST_USER_LOG_PAGE;

    if (m->log.base == NULL || bytes == 0 || guest + bytes < guest) {
        return;
    }
    for (; page <= last && page / 8 < m->log_bytes; page++) {
        (void)__atomic_fetch_or(&m->log.at[page / 8], (uint8_t)(1u << page % 8),
                                __ATOMIC_SEQ_CST);
    }
}

static void wrote(struct virtio_space *s, const uint8_t *host, uint64_t bytes)
{
    struct vhost_memory *m = (struct vhost_memory *)s;

    for (unsigned i = 0; i < m->count; i++) {
        const struct vhost_region *r = &m->region[i];

        if (host >= r->map.at && host < r->map.at + r->bytes) {
            vhost_memory_mark(m, r->guest + (uint64_t)(host - r->map.at), bytes);
            return;
        }
    }
}

void vhost_memory_log(struct vhost_memory *m, bool on)
{
    m->space.wrote = on ? wrote : NULL;
}

void vhost_memory_init(struct vhost_memory *m)
{
    *m = (struct vhost_memory){.space.reach = reach};
}

void vhost_memory_fini(struct vhost_memory *m)
{
    vhost_memory_clear(m);
    vhost_unmap(&m->log);
}
