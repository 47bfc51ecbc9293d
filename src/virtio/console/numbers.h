/* numbers.h - the numbers of the virtio console device: VIRTIO 1.2, 5.3. */
#ifndef VIRTIO_CONSOLE_NUMBERS_H
#define VIRTIO_CONSOLE_NUMBERS_H

#include <stdint.h>

#define VIRTIO_CONSOLE_ID    3
#define VIRTIO_CONSOLE_CLASS 0x00078000u /* communication, other */

/* Features: 5.3.3. */
#define VIRTIO_CONSOLE_F_SIZE        ((uint64_t)1 << 0)
#define VIRTIO_CONSOLE_F_MULTIPORT   ((uint64_t)1 << 1)
#define VIRTIO_CONSOLE_F_EMERG_WRITE ((uint64_t)1 << 2)

/* Queues: 5.3.2.  Of port 0 are 0 and 1, of port n from 1 on 2 + 2n and 3 + 2n. */
#define VIRTIO_CONSOLE_CONTROL_IN  2u /* to the guest */
#define VIRTIO_CONSOLE_CONTROL_OUT 3u

/* 5.3.4 */
struct virtio_console_config {
    uint16_t cols;
    uint16_t rows;
    uint32_t ports;
    uint32_t emergency;
};

/* Events of the control queues: 5.3.6.2. */
enum virtio_console_event {
    VIRTIO_CONSOLE_DEVICE_READY,
    VIRTIO_CONSOLE_PORT_ADD,
    VIRTIO_CONSOLE_PORT_REMOVE,
    VIRTIO_CONSOLE_PORT_READY,
    VIRTIO_CONSOLE_CONSOLE_PORT,
    VIRTIO_CONSOLE_RESIZE,
    VIRTIO_CONSOLE_PORT_OPEN,
    VIRTIO_CONSOLE_PORT_NAME,
    VIRTIO_CONSOLE_EVENT_COUNT
};

struct virtio_console_message {
    uint32_t port;
    uint16_t event;
    uint16_t value;
};

#endif
