/* tables.c - RSDP, XSDT, FADT, FACS, MADT, MCFG, DSDT (ACPI 6.5, 5.2; PCI Firmware 3.3, 4.1.2),
 * WDAT (Microsoft, Hardware Watchdog Timers Design Specification 1.0).
 *
 * Tables lie one behind the other; the addresses in them count from the first byte, until they
 * are placed (place.c). */
#include "virt/monitor/acpi/tables.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "virt/monitor/acpi/private.h"
#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/dev/watchdog.h"

#define HEAD_BYTES  36
#define FADT_BYTES  276
#define PLAIN_MAKER "PC    "

#define FADT_REV   6
#define SLOTS_MOST 32
#define ECAM_BYTES 0x100000u /* of one bus */

#define LOCAL_ENABLED 1u /* flags of a processor in the MADT */
#define LOCAL_CAPABLE 2u /* it may come later */

static void put(struct aml *a, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        aml_byte(a, i < 8 ? (uint8_t)(v >> (i * 8)) : 0);
    }
}

static void align(struct aml *a, size_t n)
{
    while (a->count % n != 0 && !a->failed) {
        aml_byte(a, 0);
    }
}

static uint8_t sum(const uint8_t *bytes, size_t n)
{
    uint8_t v = 0;

    while (n-- > 0) {
        v = (uint8_t)(v + *bytes++);
    }
    return v;
}

/* The head of a table; its place. */
static size_t begin(struct aml *a, const char *signature, uint8_t revision)
{
    size_t at;

    align(a, 16);
    at = a->count;
    aml_put(a, signature, 4);
    put(a, 0, 4);
    aml_byte(a, revision);
    aml_byte(a, 0);
    aml_put(a, "STRATA", 6);
    aml_put(a, "MACHINE ", 8);
    put(a, 1, 4);
    aml_put(a, "STRA", 4);
    put(a, 1, 4);
    return at;
}

static uint32_t end(struct aml *a, size_t at)
{
    uint32_t length = (uint32_t)(a->count - at);

    if (!a->failed) {
        memcpy(a->bytes + at + 4, &length, 4);
        a->bytes[at + 9] = (uint8_t)-sum(a->bytes + at, length);
    }
    return (uint32_t)at;
}

/* A maker's name that tells nothing. */
static void conceal(struct aml *a, uint32_t at)
{
    uint8_t *p = a->bytes + at;
    uint32_t length;

    memcpy(&length, p + 4, 4);
    memcpy(p + 10, PLAIN_MAKER, 6);
    memcpy(p + 28, PLAIN_MAKER, 4);
    p[9] = 0;
    p[9] = (uint8_t)-sum(p, length);
}

/* ---- DSDT ---- */

static void pins_of(struct aml *a, unsigned slot)
{
    for (unsigned pin = 0; pin < 4; pin++) {
        size_t one = aml_package(a, 4);

        aml_integer(a, (uint64_t)slot << 16 | 0xffff);
        aml_integer(a, pin);
        aml_integer(a, 0);
        aml_integer(a, ACPI_PIN_LINE(slot, pin));
        aml_end(a, one);
    }
}

static void pins(struct aml *a, const struct acpi_config *c)
{
    unsigned slots = c->slots < SLOTS_MOST ? c->slots : SLOTS_MOST;
    unsigned first = c->slot_first > slots ? c->slot_first : slots;
    unsigned end = c->slot_first + c->plug_slots;
    size_t all;

    aml_byte(a, 0x08);
    aml_name(a, "_PRT");
    all = aml_package(a, (slots + (end > first ? end - first : 0)) * 4);
    for (unsigned slot = 0; slot < slots; slot++) {
        pins_of(a, slot);
    }
    for (unsigned slot = first; slot < end; slot++) {
        pins_of(a, slot);
    }
    aml_end(a, all);
}

static void host_bridge(struct aml *a, const struct acpi_config *c)
{
    size_t device = aml_device(a, "PCI0");
    size_t resources;

    aml_name_eisa_id(a, "_HID", "PNP0A08");
    aml_name_eisa_id(a, "_CID", "PNP0A03");
    aml_name_integer(a, "_SEG", 0);
    aml_name_integer(a, "_BBN", 0);
    aml_name_integer(a, "_UID", 0);
    resources = aml_resources(a);
    aml_range(a, AML_RANGE_BUS, 0, 0);
    aml_io(a, 0xcf8, 8);
    aml_range(a, AML_RANGE_IO, 0, 0xcf7);
    aml_range(a, AML_RANGE_IO, 0xd00, 0xffff);
    if (c->has_screen) {
        aml_range(a, AML_RANGE_MEMORY, 0xa0000, 0xbffff);
    }
    for (unsigned i = 0; i < ACPI_WINDOWS && c->window[i].last != 0; i++) {
        aml_range(a, AML_RANGE_MEMORY, c->window[i].first, c->window[i].last);
    }
    aml_resources_end(a, resources);
    pins(a, c);
    acpi_describe_slots(a, c);
    aml_end(a, device);
}

static void legacy_device(struct aml *a, const char *name, const char *id, uint16_t port,
                          unsigned line)
{
    size_t device = aml_device(a, name);
    size_t resources;

    aml_name_eisa_id(a, "_HID", id);
    aml_name_integer(a, "_UID", line);
    resources = aml_resources(a);
    aml_io(a, port, port == 0x70 ? 2 : 8);
    aml_irq(a, line);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

/* Who starts an operating system looks for it, not at its ports. */
static void keyboard(struct aml *a)
{
    size_t device = aml_device(a, "KBD");
    size_t resources;

    aml_name_eisa_id(a, "_HID", "PNP0303");
    resources = aml_resources(a);
    aml_io(a, 0x60, 1);
    aml_io(a, 0x64, 1);
    aml_irq(a, 1);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

/* What is in use besides: Linux wants ECAM to be named here. */
static void motherboard(struct aml *a, const struct acpi_config *c)
{
    size_t device = aml_device(a, "MBRD");
    size_t resources;

    aml_name_eisa_id(a, "_HID", "PNP0C02");
    aml_name_integer(a, "_UID", 0);
    resources = aml_resources(a);
    aml_fixed_memory(a, (uint32_t)c->ecam_base, ECAM_BYTES);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

/* Microsoft, Virtual Machine Generation ID (2012): _CID, _DDN, ADDR, and 0x80 when it changed. */
static void generation(struct aml *a, uint64_t at)
{
    size_t device = aml_device(a, "VGEN");
    size_t address;

    aml_name_string(a, "_HID", "STRA0001");
    aml_name_string(a, "_CID", "VM_Gen_Counter");
    aml_name_string(a, "_DDN", "VM_Gen_Counter");
    aml_byte(a, AML_NAME);
    aml_name(a, "ADDR");
    address = aml_package(a, 2);
    aml_integer(a, at & UINT32_MAX);
    aml_integer(a, at >> 32);
    aml_end(a, address);
    aml_end(a, device);
}

static uint32_t dsdt(struct aml *a, const struct acpi_config *c)
{
    size_t table = begin(a, "DSDT", 2);
    size_t scope = aml_scope(a, "\\_SB");
    size_t off;

    host_bridge(a, c);
    motherboard(a, c);
    legacy_device(a, "COM1", "PNP0501", 0x3f8, 4);
    legacy_device(a, "COM2", "PNP0501", 0x2f8, 3);
    legacy_device(a, "RTC", "PNP0B00", 0x70, 8);
    if (c->has_screen) {
        keyboard(a);
    }
    acpi_describe_plugs(a, c);
    if (c->generation != 0) {
        generation(a, c->generation);
    }
    aml_end(a, scope);
    acpi_describe_events(a, c);
    aml_byte(a, 0x08);
    aml_name(a, "\\_S5");
    off = aml_package(a, 4);
    aml_integer(a, POWER_SLEEP_S5);
    aml_integer(a, POWER_SLEEP_S5);
    aml_integer(a, 0);
    aml_integer(a, 0);
    aml_end(a, off);
    return end(a, table);
}

/* ---- the others ---- */

/* Generic address of a port: 5.2.3.2. */
static void address(struct aml *a, uint16_t port, uint8_t bits, uint8_t size)
{
    aml_byte(a, 1); /* system I/O */
    aml_byte(a, bits);
    aml_byte(a, 0);
    aml_byte(a, port == 0 ? 0 : size);
    put(a, port, 8);
}

#define FADT_WBINVD      (1u << 0)
#define FADT_C1          (1u << 2)
#define FADT_NO_SLEEP    (1u << 5) /* no fixed sleep button */
#define FADT_TIMER_32    (1u << 8)
#define FADT_RESET       (1u << 10)
#define BOOT_ARCH_8042   0x02u
#define BOOT_ARCH_NO_VGA 0x04u

static uint32_t facs(struct aml *a)
{
    size_t at;

    align(a, 64);
    at = a->count;
    aml_put(a, "FACS", 4);
    put(a, 64, 4);
    put(a, 0, 24);
    aml_byte(a, 2);
    put(a, 0, 31);
    return (uint32_t)at;
}

static uint32_t fadt(struct aml *a, const struct acpi_config *c, uint32_t facs_at,
                     uint32_t dsdt_at)
{
    size_t table = begin(a, "FACP", FADT_REV);

    put(a, facs_at, 4);
    put(a, dsdt_at, 4);
    put(a, 0, 2);
    put(a, POWER_LINE, 2);
    put(a, 0, 4 + 4); /* no SMI: ACPI is always on */
    put(a, POWER_EVENT_PORT, 4);
    put(a, 0, 4);
    put(a, POWER_CONTROL_PORT, 4);
    put(a, 0, 4 + 4);
    put(a, POWER_TIMER_PORT, 4);
    put(a, POWER_GPE_PORT, 4);
    put(a, 0, 4);
    aml_put(a, (const uint8_t[]){4, 2, 0, 4, 4, 0, 0, 0}, 8); /* lengths of the blocks */
    put(a, 0xffff, 2);                                        /* C2, C3: none */
    put(a, 0xffff, 2);
    put(a, 0, 2 + 2 + 1 + 1 + 1 + 1);
    aml_byte(a, 0x32); /* the century's byte */
    put(a, c->has_screen ? BOOT_ARCH_8042 : BOOT_ARCH_NO_VGA, 2);
    aml_byte(a, 0);
    put(a, FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP | FADT_TIMER_32 | FADT_RESET, 4);
    address(a, POWER_RESET_PORT, 8, 1);
    aml_byte(a, POWER_RESET_VALUE);
    put(a, 0, 2 + 1);
    put(a, 0, 8); /* FACS: the 32-bit field counts */
    put(a, dsdt_at, 8);
    address(a, POWER_EVENT_PORT, 32, 2);
    address(a, 0, 0, 0);
    address(a, POWER_CONTROL_PORT, 16, 2);
    address(a, 0, 0, 0);
    address(a, 0, 0, 0);
    address(a, POWER_TIMER_PORT, 32, 3);
    address(a, POWER_GPE_PORT, 32, 1);
    address(a, 0, 0, 0);
    address(a, 0, 0, 0); /* sleep control, sleep status */
    address(a, 0, 0, 0);
    put(a, 0, 8); /* hypervisor's name */
    return end(a, table);
}

static void processor(struct aml *a, unsigned id, bool is_absent)
{
    uint8_t flags = is_absent ? LOCAL_CAPABLE : LOCAL_ENABLED;

    if (id < 255) {
        aml_put(a, (const uint8_t[]){0, 8, (uint8_t)id, (uint8_t)id, flags, 0, 0, 0}, 8);
        return;
    }
    aml_put(a, (const uint8_t[]){9, 16, 0, 0}, 4);
    put(a, id, 4);
    put(a, 1, 4);
    put(a, id, 4);
}

static uint32_t madt(struct aml *a, const struct acpi_config *c)
{
    size_t table = begin(a, "APIC", 5);

    put(a, LAPIC_BASE, 4);
    put(a, 1, 4); /* there is an 8259 pair, too */
    for (unsigned i = 0; i < c->cpus; i++) {
        processor(a, i, i < 64 && (c->absent >> i & 1) != 0);
    }
    aml_put(a, (const uint8_t[]){1, 12, IOAPIC_ID, 0}, 4);
    put(a, IOAPIC_BASE, 4);
    put(a, 0, 4);
    aml_put(a, (const uint8_t[]){2, 10, 0, 0, 2, 0, 0, 0, 0, 0}, 10); /* timer: input 2 */
    aml_put(a, (const uint8_t[]){2, 10, 0, POWER_LINE, POWER_LINE, 0, 0, 0, 13, 0}, 10);
    aml_put(a, (const uint8_t[]){4, 6, 0xff, 0, 0, 1}, 6); /* NMI at LINT1 */
    return end(a, table);
}

static uint32_t mcfg(struct aml *a, const struct acpi_config *c)
{
    size_t table = begin(a, "MCFG", 1);

    put(a, 0, 8);
    put(a, c->ecam_base, 8);
    put(a, 0, 2);
    put(a, 0, 1 + 1); /* buses 0..0 */
    put(a, 0, 4);
    return end(a, table);
}

#define WATCH_READ       0u /* instructions: whether it reads as that value, */
#define WATCH_READ_COUNT 1u /* ... what it reads as, */
#define WATCH_WRITE      2u /* ... that value is written, */
#define WATCH_SET_COUNT  3u /* ... what the caller says */

/* What a driver does to which register, for each of its actions. */
static const struct {
    uint8_t action, instruction, reg;
    uint32_t value, mask;
} watch_rows[] = {
    /* clang-format off */
    { 1, WATCH_WRITE,      WATCHDOG_LEFT,    1, UINT32_MAX},    /* set it back */
    { 4, WATCH_READ_COUNT, WATCHDOG_LEFT,    0, UINT32_MAX},    /* what is left */
    { 5, WATCH_READ_COUNT, WATCHDOG_COUNT,   0, UINT32_MAX},    /* of how much */
    { 6, WATCH_SET_COUNT,  WATCHDOG_COUNT,   0, UINT32_MAX},
    { 8, WATCH_READ,       WATCHDOG_CONTROL, 1, 1},             /* it runs */
    { 9, WATCH_WRITE,      WATCHDOG_CONTROL, 1, 1},
    {10, WATCH_READ,       WATCHDOG_CONTROL, 0, 1},             /* it does not */
    {11, WATCH_WRITE,      WATCHDOG_CONTROL, 0, 1},
    {32, WATCH_READ,       WATCHDOG_STATUS,  1, 1},             /* it was over */
    {33, WATCH_WRITE,      WATCHDOG_STATUS,  0, 1},             /* ... which is known */
    /* clang-format on */
};

static uint32_t wdat(struct aml *a)
{
    unsigned rows = sizeof watch_rows / sizeof watch_rows[0];
    size_t table = begin(a, "WDAT", 1);

    put(a, 32, 4);   /* bytes of what is said of all */
    put(a, 0xff, 2); /* no function of PCI */
    put(a, 0xffffff, 3 + 3);
    put(a, WATCHDOG_PERIOD_MS, 4);
    put(a, WATCHDOG_MOST, 4);
    put(a, 1, 4);
    put(a, 0x81, 4); /* it can be used, and stands while the machine sleeps */
    put(a, rows, 4);
    for (unsigned i = 0; i < rows; i++) {
        aml_byte(a, watch_rows[i].action);
        aml_byte(a, watch_rows[i].instruction);
        put(a, 0, 2);
        address(a, (uint16_t)(WATCHDOG_PORT + watch_rows[i].reg), 32, 3);
        put(a, watch_rows[i].value, 4);
        put(a, watch_rows[i].mask, 4);
    }
    return end(a, table);
}

static void rsdp(struct aml *a, uint32_t xsdt_at, bool hides)
{
    uint8_t *p = a->bytes;

    memcpy(p, "RSD PTR ", 8);
    memcpy(p + 9, hides ? PLAIN_MAKER : "STRATA", 6);
    p[15] = 2;
    p[20] = ACPI_RSDP_BYTES;
    memcpy(p + 24, &xsdt_at, 4);
    p[8] = (uint8_t)-sum(p, 20);
    p[32] = (uint8_t)-sum(p, ACPI_RSDP_BYTES);
}

int acpi_make(const struct acpi_config *c, struct aml *ret, struct err *e)
{
    struct aml a = {0};
    uint32_t at[4];
    unsigned tables = 3;
    uint32_t facs_at, dsdt_at;
    uint32_t xsdt_at;
    size_t table;

    for (unsigned i = 0; i < ACPI_RSDP_BYTES; i++) {
        aml_byte(&a, 0);
    }
    facs_at = facs(&a);
    dsdt_at = dsdt(&a, c);
    at[0] = fadt(&a, c, facs_at, dsdt_at);
    at[1] = madt(&a, c);
    at[2] = mcfg(&a, c);
    if (c->watches) {
        at[tables++] = wdat(&a);
    }
    table = begin(&a, "XSDT", 1);
    for (unsigned i = 0; i < tables; i++) {
        put(&a, at[i], 8);
    }
    xsdt_at = end(&a, table);
    if (a.failed || a.count > ACPI_BYTES) {
        aml_fini(&a);
        return err_set(e, a.failed ? -ENOMEM : -ENOSPC, "cannot make the ACPI tables");
    }
    for (unsigned i = 0; c->hides && i < tables; i++) {
        conceal(&a, at[i]);
    }
    if (c->hides) {
        conceal(&a, dsdt_at);
        conceal(&a, xsdt_at);
    }
    rsdp(&a, xsdt_at, c->hides);
    *ret = a;
    return 0;
}
