/* apic.h - messages on the interrupt bus: what I/O APIC, MSI and ICR send to local APICs.
 *
 * Intel SDM (September 2023), volume 3A, 11.5.1 (ICR), 11.11 (MSI). */
#ifndef VIRT_MONITOR_DEV_APIC_H
#define VIRT_MONITOR_DEV_APIC_H

#include <stdbool.h>
#include <stdint.h>

enum apic_mode {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
};

struct apic_message {
    uint32_t dest; /* an identifier, or a set when `is_logical` */
    uint8_t vector;
    uint8_t mode; /* `enum apic_mode` */
    bool is_logical;
    bool is_level;
};

struct apic_bus {
    void (*send)(void *who, const struct apic_message *msg); /* from any thread */
    void *who;                                               /* borrowed */
};

/* As the address and data of an MSI say; extended destinations in address bits 5..11
 * (KVM's CPUID bit MSI_EXT_DEST_ID). */
struct apic_message apic_from_msi(uint64_t address, uint32_t data);

#endif
