/* space.c - reaching a guest's memory: the parts that all implementations share, and the
 * implementation over contract/mem.h. */
#include "virtio/space.h"

#include <errno.h>

#include "contract/mem.h"

uint8_t *virtio_space_flat(struct virtio_space *s, uint64_t at, uint64_t bytes,
                           bool write)
{
    uint64_t together;
    uint8_t *host = bytes == 0 ? NULL : s->reach(s, at, bytes, write, &together);

    return host != NULL && together == bytes ? host : NULL;
}

int virtio_space_read(struct virtio_space *s, uint64_t at, void *to, uint64_t bytes)
{
    uint8_t *out = to;

    while (bytes > 0) {
        uint64_t n;
        const uint8_t *host = s->reach(s, at, bytes, false, &n);

        if (host == NULL) {
            return -EFAULT;
        }
        virtio_copy_once(out, host, (size_t)n);
        out += n;
        at += n;
        bytes -= n;
    }
    return 0;
}

/* ---- over contract/mem.h ---- */

#define PAGE_MASK ((uint64_t)MEM_PAGE_BYTES - 1)

/* Do to each page of the range what its flags ask for. */
static int visit_pages(struct mem *m, const struct mem_region *r, gpa at, uint64_t bytes,
                       bool write)
{
    while (bytes > 0) {
        uint64_t n = MEM_PAGE_BYTES - (at & PAGE_MASK);

        n = n < bytes ? n : bytes;
        if (mem_present(m, r, at) != 0) {
            return -EFAULT;
        }
        if (write && mem_flags(r, at) != 0) {
            mem_touched(m, r, at, (unsigned)n);
        }
        at += n;
        bytes -= n;
    }
    return 0;
}

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret_bytes)
{
    struct mem *m = ((struct virtio_space_mem *)s)->mem;
    const struct mem_region *r = mem_find(m, at);
    uint64_t off;

    if (r == NULL || r->host == NULL || (write && r->read_only)) {
        return NULL;
    }
    off = at - r->base;
    *ret_bytes = bytes < r->bytes - off ? bytes : r->bytes - off;
    if (visit_pages(m, r, at, *ret_bytes, write) != 0) {
        return NULL;
    }
    return r->host + off;
}

static const struct mem_region *region_of(const struct mem *m, const uint8_t *host)
{
    for (unsigned i = 0; i < m->region_count; i++) {
        const struct mem_region *r = &m->region[i];

        if (r->host != NULL && host >= r->host && host < r->host + r->bytes) {
            return r;
        }
    }
    return NULL;
}

/* A flag that was set while the device wrote is seen now (contract/mem.c says why). */
static void wrote(struct virtio_space *s, const uint8_t *host, uint64_t bytes)
{
    struct mem *m = ((struct virtio_space_mem *)s)->mem;
    const struct mem_region *r = region_of(m, host);

    if (r != NULL) {
        (void)visit_pages(m, r, r->base + (uint64_t)(host - r->host), bytes, true);
    }
}

static int discard(struct virtio_space *s, uint8_t *host, uint64_t bytes)
{
    struct mem *m = ((struct virtio_space_mem *)s)->mem;
    const struct mem_region *r = region_of(m, host);
    gpa at;
    gpa end;

    if (r == NULL || r->read_only) {
        return -EFAULT;
    }
    at = r->base + (uint64_t)(host - r->host);
    end = (at + bytes) & ~PAGE_MASK;
    at = (at + PAGE_MASK) & ~PAGE_MASK;
    return at < end ? mem_discard(m, at, end - at) : 0;
}

void virtio_space_over_mem(struct virtio_space_mem *s, struct mem *m)
{
    *s = (struct virtio_space_mem){.space = {reach, wrote, discard}, .mem = m};
}
