/* tables.h - what the machine tells its operating system by ACPI. */
#ifndef VIRT_MONITOR_ACPI_TABLES_H
#define VIRT_MONITOR_ACPI_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/monitor/acpi/aml.h"

struct err;

#define ACPI_WINDOWS 4

struct acpi_config {
    unsigned cpus;   /* APIC identifiers 0.. */
    uint64_t absent; /* of the first 64 those that are not there yet */
    bool plugs_cpus; /* processors come and go: at most 64 */
    unsigned slots;  /* of PCI bus 0, the first ones, whose pins are described */
    unsigned slot_first, plug_slots; /* ... in which functions come and go; 0: none */
    uint64_t ecam_base;              /* of bus 0 */

    struct acpi_window {
        uint64_t first, last;
    } window[ACPI_WINDOWS]; /* of PCI memory; `last` 0: no more */

    bool has_screen;                 /* and a keyboard */
    uint64_t plug_first, plug_bytes; /* where memory may come; 0 bytes: nowhere */
    bool watches;                    /* there is a watchdog */
    uint64_t generation;             /* where its generation is told; 0: nowhere */
    bool hides;                      /* who made them */
};

/* Where they are loaded; the RSDP comes first, on a boundary of 16 bytes. */
#define ACPI_BASE  0xe0000u
#define ACPI_BYTES 0xf000u

/* Behind them; and its event. */
#define ACPI_GENERATION       0xef000u
#define ACPI_GENERATION_EVENT 5u

#define ACPI_PIN_LINE(slot, pin) (16 + (((slot) + (pin)) & 7))

/* The bytes, with addresses that count from the first one; the RSDP is there.  -ENOSPC, -ENOMEM.
 * `ret` is filled and owned by the caller. */
int acpi_make(const struct acpi_config *c, struct aml *ret, struct err *e);

/* Make those addresses ones of tables that lie at `base`. */
void acpi_place(struct aml *tables, uint32_t base);

/* What firmware is told to place them itself: two files and the commands for both, which ask
 * for what `acpi_place` does.  `tables` is changed.  -ENOMEM; `ret` is filled and owned by the caller. */
#define ACPI_RSDP_BYTES    36
#define ACPI_TABLES_FILE   "etc/acpi/tables" /* all bytes */
#define ACPI_RSDP_FILE     "etc/acpi/rsdp"   /* the first ones */
#define ACPI_COMMANDS_FILE "etc/table-loader"
int acpi_make_commands(struct aml *tables, struct aml *ret);

#endif
