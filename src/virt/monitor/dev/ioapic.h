/* ioapic.h - the I/O APIC: 24 inputs, each a message to local APICs. */
#ifndef VIRT_MONITOR_DEV_IOAPIC_H
#define VIRT_MONITOR_DEV_IOAPIC_H

#include <stdint.h>

#include "virt/monitor/dev/apic.h"
#include "virt/monitor/dev/dev.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_ID   0 /* of MADT and register 0 */

/* Its configuration is a `struct apic_bus`. */
extern const struct dev_class dev_ioapic;

/* A level-triggered vector was ended by a processor; takes the board's lock. */
void ioapic_eoi(struct dev *d, uint8_t vector);

#endif
