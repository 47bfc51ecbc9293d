/* prp.c - the guest's memory that a command names: NVMe 4.3.
 *
 * The first entry may begin within a page, all others are whole pages.  What does not fit into
 * two entries is named by a list, whose last entry in a page leads to the next page of it where
 * there are more.  A list's first page may begin anywhere, so that it may have one entry only; others
 * have a page's: lists end, whatever they say. */
#include <string.h>

#include "virt/monitor/nvme/private.h"
#include "virtio/space.h"

#define ENTRY_BYTES 8u
#define PAGE_MASK   ((uint64_t)NVME_PAGE_BYTES - 1)

static void add_piece(struct nvme_request *r, uint8_t *host, uint64_t bytes)
{
    struct iovec *last = r->vecs > 0 ? &r->vec[r->vecs - 1] : NULL;

    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == host) {
        last->iov_len += bytes;
    } else {
        r->vec[r->vecs++] = (struct iovec){.iov_base = host, .iov_len = bytes};
    }
}

/* What an entry names. */
static uint16_t add(struct nvme_request *r, uint64_t at, uint64_t bytes)
{
    struct virtio_space *s = r->nvme->space;

    while (bytes > 0) {
        uint64_t n = 0;
        uint8_t *host = s->reach(s, at, bytes, r->fills, &n);

        if (host == NULL) {
            return NVME_DATA_TRANSFER;
        }
        if (r->vecs == VECS_MOST) {
            return NVME_INTERNAL;
        }
        add_piece(r, host, n);
        at += n;
        bytes -= n;
    }
    return NVME_OK;
}

static uint64_t pages_of(uint64_t bytes)
{
    return (bytes + PAGE_MASK) / NVME_PAGE_BYTES;
}

/* As much as the part of a list names that lies in one page; where the list goes on. */
static uint16_t add_page(struct nvme_request *r, uint64_t list, uint64_t *bytes,
                         uint64_t *ret_next)
{
    uint64_t entry[NVME_PAGE_BYTES / ENTRY_BYTES];
    uint64_t room = (NVME_PAGE_BYTES - (list & PAGE_MASK)) / ENTRY_BYTES;
    uint64_t left = pages_of(*bytes);
    uint64_t count = left < room ? left : room;
    uint16_t status = NVME_OK;

    if (virtio_space_read(r->nvme->space, list, entry, count * ENTRY_BYTES) != 0) {
        return NVME_DATA_TRANSFER;
    }
    if (left > room) {
        *ret_next = entry[--count];
    }
    for (uint64_t i = 0; i < count && status == NVME_OK; i++) {
        uint64_t n = *bytes < NVME_PAGE_BYTES ? *bytes : NVME_PAGE_BYTES;

        status = (entry[i] & PAGE_MASK) != 0 ? (uint16_t)NVME_INVALID_PRP_OFFSET
                                             : add(r, entry[i], n);
        *bytes -= n;
    }
    return status;
}

static uint16_t add_list(struct nvme_request *r, uint64_t list, uint64_t bytes)
{
    uint16_t status = NVME_OK;

    if (list % ENTRY_BYTES != 0) {
        return NVME_INVALID_PRP_OFFSET;
    }
    while (status == NVME_OK && bytes > 0) {
        status = add_page(r, list, &bytes, &list);
        if (status == NVME_OK && bytes > 0 && (list & PAGE_MASK) != 0) {
            status = NVME_INVALID_PRP_OFFSET;
        }
    }
    return status;
}

uint16_t nvme_map(struct nvme_request *r, uint32_t bytes, bool fills)
{
    const uint64_t *prp = r->c.prp;
    uint64_t first = NVME_PAGE_BYTES - (prp[0] & PAGE_MASK);
    uint16_t status;

    r->vecs = 0;
    r->fills = fills;
    if (bytes > TRANSFER_BYTES) {
        return NVME_INVALID_FIELD;
    }
    if (prp[0] % 4 != 0) {
        return NVME_INVALID_PRP_OFFSET;
    }
    first = first < bytes ? first : bytes;
    status = add(r, prp[0], first);
    bytes -= (uint32_t)first;
    if (status != NVME_OK || bytes == 0) {
        return status;
    }
    if (bytes > NVME_PAGE_BYTES) {
        return add_list(r, prp[1], bytes);
    }
    return (prp[1] & PAGE_MASK) != 0 ? (uint16_t)NVME_INVALID_PRP_OFFSET
                                     : add(r, prp[1], bytes);
}

void nvme_tell_space(const struct nvme_request *r)
{
    struct virtio_space *s = r->nvme->space;

    for (unsigned i = 0; r->fills && s->wrote != NULL && i < r->vecs; i++) {
        s->wrote(s, r->vec[i].iov_base, r->vec[i].iov_len);
    }
}

uint16_t nvme_fill(struct nvme_request *r, const void *from, uint32_t bytes)
{
    uint16_t status = nvme_map(r, bytes, true);

    if (status == NVME_OK) {
        blk_vec_put((struct blk_vec){.iov = r->vec, .bytes = bytes}, from);
        nvme_tell_space(r);
    }
    return status;
}
