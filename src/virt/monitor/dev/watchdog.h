/* watchdog.h - a timer that the guest has to set back, lest it be taken for hung.
 *
 * Four registers of 32 bits, which the table WDAT tells drivers of. */
#ifndef VIRT_MONITOR_DEV_WATCHDOG_H
#define VIRT_MONITOR_DEV_WATCHDOG_H

#include "virt/monitor/dev/dev.h"

#define WATCHDOG_PORT    0x5f0u
#define WATCHDOG_PORTS   16u
#define WATCHDOG_CONTROL 0x0u /* bit 0: it runs */
#define WATCHDOG_COUNT   0x4u /* periods until it is over, from the next store on */
#define WATCHDOG_LEFT    0x8u /* periods left; any store: from the beginning */
#define WATCHDOG_STATUS                                                                  \
    0xcu /* bit 0: it was over, before the last reset; a store clears */
#define WATCHDOG_MOST      0xffffu
#define WATCHDOG_PERIOD_MS 100u

struct watchdog_config {
    void (*over)(
        void *who); /* under the board's lock, on the loop's thread; it stopped */
    void *who;      /* borrowed */
};

extern const struct dev_class dev_watchdog;

#endif
