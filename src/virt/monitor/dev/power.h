/* power.h - ACPI's fixed hardware: power button, sleep, the PM timer. */
#ifndef VIRT_MONITOR_DEV_POWER_H
#define VIRT_MONITOR_DEV_POWER_H

#include <stdint.h>

#include "virt/monitor/dev/dev.h"

/* Where ACPI's tables say they are. */
#define POWER_EVENT_PORT   0x600u /* PM1a: status, enable */
#define POWER_CONTROL_PORT 0x604u
#define POWER_TIMER_PORT   0x608u
#define POWER_GPE_PORT     0x620u /* 2 bytes of status, 2 of enables */
#define POWER_RESET_PORT   0xcf9u /* the chipset's: pci/bus.c */
#define POWER_RESET_VALUE  0x06u
#define POWER_LINE         9u /* the SCI */
#define POWER_SLEEP_S5     5u /* SLP_TYP of "off" in the DSDT */
#define POWER_SLEEP_OVMF   0u /* ... and what OVMF writes, which reads no DSDT */

struct power_config {
    void (*off)(void *who); /* the guest switched itself off */
    void *who;              /* borrowed */
};

extern const struct dev_class dev_power;

/* Press the power button; a general event, 0..15.  From the loop's thread. */
void power_press(struct dev *d);
void power_event(struct dev *d, unsigned gpe);

#endif
