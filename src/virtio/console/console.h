/* virtio/console/console.h - the virtio console device: terminals and named ports.
 *
 * A port carries bytes both ways, with back pressure: `output` takes as many as it can,
 * `virtio_console_type` as many as the guest has buffers for.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.3. */
#ifndef VIRTIO_CONSOLE_CONSOLE_H
#define VIRTIO_CONSOLE_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct virtio_device;

#define VIRTIO_CONSOLE_PORTS_MOST 15
#define VIRTIO_CONSOLE_NAME_BYTES 64

struct virtio_console_port {
    const char *name; /* "org.example.agent": borrowed for `create`; NULL: none */
    bool is_console;  /* a terminal, else only bytes */

    /* Bytes of the guest: how many were taken; the others come again after
     * `virtio_console_more`. */
    uint32_t (*output)(void *who, const uint8_t *bytes, uint32_t n);

    /* The guest has buffers again, after it had too few.  NULL: no matter. */
    void (*room)(void *who);

    /* A program of the guest has opened the port, or closed it.  NULL: no matter. */
    void (*opened)(void *who, bool is_open);
    void *who;
};

struct virtio_console_options {
    struct loop *loop;                       /* borrowed */
    const struct virtio_console_port *ports; /* copied; the first is port 0 */
    unsigned count;                          /* 1.. */
    uint16_t cols, rows;                     /* of terminals; 0: nobody knows */
};

int virtio_console_create(const struct virtio_console_options *o,
                          struct virtio_device **ret, struct err *e);

/* Bytes for the guest: how many there were buffers for. */
uint32_t virtio_console_type(struct virtio_device *d, unsigned port, const void *bytes,
                             uint32_t n);

/* `output` of a port can take bytes again. */
void virtio_console_more(struct virtio_device *d, unsigned port);

/* Somebody is at the host's end of a port, or nobody any more. */
void virtio_console_open(struct virtio_device *d, unsigned port, bool is_open);

void virtio_console_resize(struct virtio_device *d, uint16_t cols, uint16_t rows);

#endif
