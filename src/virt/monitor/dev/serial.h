/* serial.h - a 16550A serial port. */
#ifndef VIRT_MONITOR_DEV_SERIAL_H
#define VIRT_MONITOR_DEV_SERIAL_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

struct serial_config {
    uint16_t port; /* 0x3f8 ... */
    unsigned line;

    /* Bytes that the guest sent, in order; under the board's lock, must not block. */
    void (*send)(void *who, const uint8_t *bytes, unsigned n);
    void *who; /* borrowed */
};

extern const struct dev_class dev_serial;

/* How many bytes it has room for, and give it so many; takes the board's lock. */
unsigned serial_room(struct dev *d);
void serial_receive(struct dev *d, const uint8_t *bytes, unsigned n);

#endif
