/* fwcfg.h - what a machine tells its firmware: QEMU's fw_cfg device. */
#ifndef VIRT_MONITOR_FIRMWARE_FWCFG_H
#define VIRT_MONITOR_FIRMWARE_FWCFG_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

struct mem;

#define FWCFG_NAME_BYTES 56 /* of a file, its zero included */
#define FWCFG_FILES_MOST 32

/* Numbers of items: those below 0x20 that firmware looks at, and of the first file. */
#define FWCFG_MEMORY     0x03u
#define FWCFG_CPUS       0x05u
#define FWCFG_BOOT_MENU  0x0eu
#define FWCFG_CPUS_MOST  0x0fu
#define FWCFG_FILE_FIRST 0x20u

struct fwcfg_item {
    uint16_t key;      /* of an item without a name */
    const char *name;  /* NULL: none; else a file, numbered in the order of the list */
    const void *bytes; /* borrowed while the device lives */
    uint32_t count;
};

struct fwcfg_config {
    struct mem *mem;               /* borrowed: where transfers go */
    const struct fwcfg_item *item; /* borrowed while the device lives */
    unsigned items;

    /* A file is about to be read: its bytes may be changed, not their count.  Under the
     * board's lock.  NULL: nothing to do. */
    void (*refresh)(void *who);
    void *who; /* borrowed */
};

extern const struct dev_class dev_fwcfg;

#endif
