/* flash.h - a flash memory with Intel's commands: where UEFI firmware keeps its variables. */
#ifndef VIRT_MONITOR_FIRMWARE_FLASH_H
#define VIRT_MONITOR_FIRMWARE_FLASH_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

#define FLASH_BLOCK_BYTES 4096u

struct flash_config {
    uint64_t base;  /* where it lies */
    uint8_t *bytes; /* what it holds; borrowed, and written by the guest */
    uint64_t count; /* whole blocks */
};

extern const struct dev_class dev_flash;

#endif
