/* acpi_dump.c - writes each ACPI table of a machine to a file of its own, for another
 * implementation to read: of so many processors, and with a second word of a machine into which
 * things are plugged while it runs, with a watchdog and a generation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "virt/monitor/acpi/tables.h"

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, 4);
    return v;
}

static int dump(const uint8_t *table)
{
    char name[16];
    FILE *f;

    (void)snprintf(name, sizeof name, "%.4s.dat", (const char *)table);
    f = fopen(name, "wb");
    if (f == NULL || fwrite(table, 1, get32(table + 4), f) != get32(table + 4)) {
        return 1;
    }
    return fclose(f);
}

int main(int argc, char **argv)
{
    const struct acpi_config c = {
        .cpus = argc > 1 ? (unsigned)atoi(argv[1]) : 2,
        .absent = argc > 2 ? 0xe : 0,
        .plugs_cpus = argc > 2,
        .watches = argc > 2,
        .generation = argc > 2 ? UINT64_C(0x3000ef000) : 0,
        .has_screen = argc > 2,
        .plug_first = UINT64_C(0x100000000),
        .plug_bytes = argc > 2 ? UINT64_C(640) << 20 : 0,
        .slots = 8,
        .slot_first = argc > 2 ? 24 : 0,
        .plug_slots = argc > 2 ? 6 : 0,
        .ecam_base = 0xe0000000,
        .window = {{0xc0000000, 0xdfffffff},
                   {UINT64_C(0x140000000), UINT64_C(0x53fffffff)}},
    };
    struct err e = {0};
    struct aml a;
    const uint8_t *xsdt;
    int r = acpi_make(&c, &a, &e);

    if (r != 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    acpi_place(&a, ACPI_BASE);
    xsdt = a.bytes + (get32(a.bytes + 24) - ACPI_BASE);
    r = dump(xsdt);
    for (uint32_t at = 36; r == 0 && at < get32(xsdt + 4); at += 8) {
        const uint8_t *table = a.bytes + (get32(xsdt + at) - ACPI_BASE);

        r = dump(table);
        if (r == 0 && memcmp(table, "FACP", 4) == 0) {
            r = dump(a.bytes + (get32(table + 40) - ACPI_BASE));
            r = r == 0 ? dump(a.bytes + (get32(table + 36) - ACPI_BASE)) : r;
        }
    }
    aml_fini(&a);
    return r;
}
