/* place.c - the addresses in tables: which they are, and who makes them right.
 *
 * A monitor that knows where the tables go adds that place to each (`acpi_place`).  Firmware
 * chooses the place itself, and is told by a list of commands of 128 bytes: allocate a file,
 * add its place to the number at an offset of a file, make a sum zero (QEMU
 * hw/acpi/bios-linker-loader.c; SeaBIOS src/fw/romfile_loader.c; OVMF AcpiPlatformDxe). */
#include <errno.h>
#include <string.h>

#include "virt/monitor/acpi/tables.h"

#define LINKS_MOST 16
#define SUMS_MOST  16

#define TABLE_LENGTH   4
#define TABLE_SUM      9
#define TABLE_HEAD     36
#define RSDP_SUM       8
#define RSDP_SUM_BYTES 20 /* of the first revision */
#define RSDP_XSDT      24
#define RSDP_SUM_ALL   32
#define FADT_FACS      36
#define FADT_DSDT      40
#define FADT_X_DSDT    140

#define COMMAND_BYTES 128
#define FILE_BYTES    56
#define ALLOCATE      1u
#define ADD_POINTER   2u
#define ADD_SUM       3u
#define ZONE_HIGH     1
#define ZONE_LOW      2 /* where an RSDP is looked for */
#define ALIGN_FACS    64u
#define ALIGN_RSDP    16u

struct map {
    struct link {
        uint32_t at;
        uint8_t bytes;
    } link[LINKS_MOST];

    unsigned links;

    struct sum {
        uint32_t at, start, bytes;
    } sum[SUMS_MOST];

    unsigned sums;
};

static uint32_t get(const struct aml *a, uint32_t at)
{
    uint32_t v;

    memcpy(&v, a->bytes + at, sizeof v);
    return v;
}

static void add_link(struct map *m, uint32_t at, uint8_t bytes)
{
    m->link[m->links++] = (struct link){at, bytes};
}

static void add_table(struct map *m, const struct aml *a, uint32_t at)
{
    m->sum[m->sums++] = (struct sum){at + TABLE_SUM, at, get(a, at + TABLE_LENGTH)};
}

/* Our own bytes, so that every number is where it should be. */
static void find(const struct aml *a, struct map *m)
{
    uint32_t xsdt = get(a, RSDP_XSDT);
    uint32_t end = xsdt + get(a, xsdt + TABLE_LENGTH);

    add_table(m, a, xsdt);
    for (uint32_t at = xsdt + TABLE_HEAD; at < end; at += 8) {
        uint32_t table = get(a, at);

        add_link(m, at, 8);
        add_table(m, a, table);
        if (memcmp(a->bytes + table, "FACP", 4) == 0) {
            add_link(m, table + FADT_FACS, 4);
            add_link(m, table + FADT_DSDT, 4);
            add_link(m, table + FADT_X_DSDT, 8);
            add_table(m, a, get(a, table + FADT_DSDT));
        }
    }
}

static void add_sum(struct aml *a, uint32_t at, uint32_t start, uint32_t bytes)
{
    uint8_t v = 0;

    a->bytes[at] = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        v = (uint8_t)(v + a->bytes[start + i]);
    }
    a->bytes[at] = (uint8_t)-v;
}

void acpi_place(struct aml *a, uint32_t base)
{
    struct map m = {0};

    find(a, &m);
    add_link(&m, RSDP_XSDT, 8);
    for (unsigned i = 0; i < m.links; i++) {
        uint32_t v = get(a, m.link[i].at) + base;

        memcpy(a->bytes + m.link[i].at, &v, sizeof v);
    }
    for (unsigned i = 0; i < m.sums; i++) {
        add_sum(a, m.sum[i].at, m.sum[i].start, m.sum[i].bytes);
    }
    add_sum(a, RSDP_SUM, 0, RSDP_SUM_BYTES);
    add_sum(a, RSDP_SUM_ALL, 0, ACPI_RSDP_BYTES);
}

/* ---- commands ---- */

static void put_number(struct aml *a, uint32_t v)
{
    aml_put(a, &v, sizeof v);
}

static void put_file(struct aml *a, const char *name)
{
    char file[FILE_BYTES] = "";

    (void)strncpy(file, name, sizeof file - 1);
    aml_put(a, file, sizeof file);
}

static void end_command(struct aml *a)
{
    while (a->count % COMMAND_BYTES != 0 && !a->failed) {
        aml_byte(a, 0);
    }
}

static void allocate(struct aml *a, const char *file, uint32_t align, uint8_t zone)
{
    put_number(a, ALLOCATE);
    put_file(a, file);
    put_number(a, align);
    aml_byte(a, zone);
    end_command(a);
}

static void add_pointer(struct aml *a, const char *file, uint32_t at, uint8_t bytes)
{
    put_number(a, ADD_POINTER);
    put_file(a, file);
    put_file(a, ACPI_TABLES_FILE);
    put_number(a, at);
    aml_byte(a, bytes);
    end_command(a);
}

static void make_sum(struct aml *a, const char *file, uint32_t at, uint32_t start,
                     uint32_t bytes)
{
    put_number(a, ADD_SUM);
    put_file(a, file);
    put_number(a, at);
    put_number(a, start);
    put_number(a, bytes);
    end_command(a);
}

int acpi_make_commands(struct aml *tables, struct aml *ret)
{
    struct aml a = {0};
    struct map m = {0};

    find(tables, &m);
    allocate(&a, ACPI_TABLES_FILE, ALIGN_FACS, ZONE_HIGH);
    allocate(&a, ACPI_RSDP_FILE, ALIGN_RSDP, ZONE_LOW);
    for (unsigned i = 0; i < m.links; i++) {
        add_pointer(&a, ACPI_TABLES_FILE, m.link[i].at, m.link[i].bytes);
    }
    add_pointer(&a, ACPI_RSDP_FILE, RSDP_XSDT, 8);
    for (unsigned i = 0; i < m.sums; i++) {
        tables->bytes[m.sum[i].at] = 0;
        make_sum(&a, ACPI_TABLES_FILE, m.sum[i].at, m.sum[i].start, m.sum[i].bytes);
    }
    tables->bytes[RSDP_SUM] = tables->bytes[RSDP_SUM_ALL] = 0;
    make_sum(&a, ACPI_RSDP_FILE, RSDP_SUM, 0, RSDP_SUM_BYTES);
    make_sum(&a, ACPI_RSDP_FILE, RSDP_SUM_ALL, 0, ACPI_RSDP_BYTES);
    if (a.failed) {
        aml_fini(&a);
        return -ENOMEM;
    }
    *ret = a;
    return 0;
}
