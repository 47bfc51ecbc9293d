/* private.h - parts of the DSDT. */
#ifndef VIRT_MONITOR_ACPI_PRIVATE_H
#define VIRT_MONITOR_ACPI_PRIVATE_H

struct acpi_config;
struct aml;

/* plug.c: what comes and goes; inside the bus PCI0, the scope \_SB, and the methods of their
 * events. */
void acpi_describe_slots(struct aml *a, const struct acpi_config *c);
void acpi_describe_plugs(struct aml *a, const struct acpi_config *c);
void acpi_describe_events(struct aml *a, const struct acpi_config *c);

#endif
