/* debug_port.h - the port that firmware writes its log to. */
#ifndef VIRT_MONITOR_FIRMWARE_DEBUG_PORT_H
#define VIRT_MONITOR_FIRMWARE_DEBUG_PORT_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

struct debug_port_config {
    /* Bytes in order; under the board's lock, must not block. */
    void (*send)(void *who, const uint8_t *bytes, unsigned n);
    void *who; /* borrowed */
};

extern const struct dev_class dev_debug_port;

#endif
