/* exit.h - ports by which a guest ends or resets its machine, and says that it failed. */
#ifndef VIRT_MONITOR_DEV_EXIT_H
#define VIRT_MONITOR_DEV_EXIT_H

#include "virt/monitor/dev/dev.h"

#define EXIT_PANICKED 1u /* QEMU docs/specs/pvpanic.rst, bit 0 */

struct exit_config {
    void (*end)(void *who, unsigned code); /* the debug-exit port: its lowest byte */
    void (*reset)(void *who);              /* the keyboard controller's, or port 0x92's */
    void (*panic)(void *who,
                  unsigned events); /* pvpanic: bit 0 panicked, 1 crash loaded */
    void *who;                      /* borrowed */
    bool has_keyboard;              /* a controller is there, which resets itself */
    bool is_plain;                  /* only what a PC has: no debug-exit, no pvpanic */
};

extern const struct dev_class dev_exit;

#endif
