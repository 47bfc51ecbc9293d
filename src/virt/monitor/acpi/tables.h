/* tables.h - what the machine tells its operating system by ACPI. */
#ifndef VIRT_MONITOR_ACPI_TABLES_H
#define VIRT_MONITOR_ACPI_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/monitor/acpi/aml.h"

struct err;

struct acpi_config {
    unsigned cpus;                   /* APIC identifiers 0.. */
    uint64_t absent;                 /* of the first 64 those that are not there yet */
    bool plugs_cpus;                 /* processors come and go: at most 64 */
    unsigned slots;                  /* of PCI bus 0 whose pins are described */
    uint64_t ecam_base;              /* of bus 0 */
    uint64_t low_first, low_last;    /* PCI memory below 4 GiB */
    uint64_t high_first, high_last;  /* above; 0: none */
    uint64_t plug_first, plug_bytes; /* where memory may come; 0 bytes: nowhere */
    bool watches;                    /* there is a watchdog */
    bool hides;                      /* who made them */
};

/* Where they are loaded; the RSDP comes first, on a boundary of 16 bytes. */
#define ACPI_BASE  0xe0000u
#define ACPI_BYTES 0x10000u

#define ACPI_PIN_LINE(slot, pin) (16 + (((slot) + (pin)) & 7))

/* The bytes for `ACPI_BASE`; -ENOSPC, -ENOMEM.  `ret` is filled and owned by the caller. */
int acpi_make(const struct acpi_config *c, struct aml *ret, struct err *e);

#endif
