/* space.h - the memory of a guest as a device reaches it.
 *
 * Implemented by whoever knows where the guest's bytes lie: a monitor over its own memory
 * (`virtio_space_over_mem`), a back end of another monitor over what was mapped from
 * there.  Used by everything that reads rings and requests.
 *
 * The guest changes its memory whenever it likes: what it wrote is copied once
 * (`virtio_copy_once`), checked, and used from the copy.
 *
 * Threads: that of the device. */
#ifndef VIRTIO_SPACE_H
#define VIRTIO_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem;

struct virtio_space {
    /* Where the byte at `at` lies, and how many from there on lie together, at most
     * `bytes` (not 0); NULL: nothing is there.  `write`: they are about to be
     * written. */
    uint8_t *(*reach)(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret_bytes);

    /* What was reached has been written.  NULL: nobody wants to know. */
    void (*wrote)(struct virtio_space *s, const uint8_t *host, uint64_t bytes);

    /* The guest does not need the whole pages of [host, host + bytes), which were reached:
     * they may read as zeros.  NULL: they are kept. */
    int (*discard)(struct virtio_space *s, uint8_t *host, uint64_t bytes);
};

/* [at, at + bytes) if all of it lies together; NULL: it does not. */
uint8_t *virtio_space_flat(struct virtio_space *s, uint64_t at, uint64_t bytes,
                           bool write);

/* Copy out of the guest, wherever it lies; -EFAULT: some of it is nowhere. */
int virtio_space_read(struct virtio_space *s, uint64_t at, void *to, uint64_t bytes);

/* A copy that is not read again from the guest behind our back. */
static inline void virtio_copy_once(void *to, const void *from, size_t bytes)
{
    __builtin_memcpy(to, from, bytes);
    __asm__ volatile("" ::: "memory");
}

/* Over the memory of a machine of this process. */
struct virtio_space_mem {
    struct virtio_space space; /* first */
    struct mem *mem;
};

void virtio_space_over_mem(struct virtio_space_mem *s, struct mem *m);

#endif
