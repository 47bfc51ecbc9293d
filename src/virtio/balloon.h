/* balloon.h - the virtio memory balloon: memory that a guest gives back to its host.
 *
 * The host sets how much it wants back at any time; the guest gives what it can, and may
 * take it again when it runs out.  Free memory is reported by the guest without
 * being asked.  Given and reported pages cost the host nothing until they are touched.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.5. */
#ifndef VIRTIO_BALLOON_H
#define VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct virtio_device;

/* What a guest says of its memory, by tag: VIRTIO 1.2, 5.5.6.4. */
enum virtio_balloon_tag {
    VIRTIO_BALLOON_SWAPPED_IN, /* bytes, as all but the counts */
    VIRTIO_BALLOON_SWAPPED_OUT,
    VIRTIO_BALLOON_MAJOR_FAULTS, /* a count */
    VIRTIO_BALLOON_MINOR_FAULTS, /* a count */
    VIRTIO_BALLOON_FREE,
    VIRTIO_BALLOON_TOTAL,
    VIRTIO_BALLOON_AVAILABLE,
    VIRTIO_BALLOON_CACHES,
    VIRTIO_BALLOON_HUGE_ALLOCATED, /* a count */
    VIRTIO_BALLOON_HUGE_FAILED,    /* a count */
    VIRTIO_BALLOON_TAG_COUNT
};

struct virtio_balloon_stats {
    uint32_t known; /* bits of tags */
    uint64_t value[VIRTIO_BALLOON_TAG_COUNT];
};

struct virtio_balloon_options {
    struct loop *loop; /* borrowed */

    /* The guest has answered `virtio_balloon_ask`.  NULL: nobody asks. */
    void (*stats)(void *who, const struct virtio_balloon_stats *s);
    void *who;
};

int virtio_balloon_create(const struct virtio_balloon_options *o,
                          struct virtio_device **ret, struct err *e);

/* How much the guest shall give, in bytes, rounded down to pages. */
void virtio_balloon_set(struct virtio_device *d, uint64_t bytes);

/* How much it has given, as it says itself. */
uint64_t virtio_balloon_given(const struct virtio_device *d);

/* Ask for statistics: they come later, or never.  false: the guest gives none. */
bool virtio_balloon_ask(struct virtio_device *d);

#endif
