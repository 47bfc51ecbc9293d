/* plug.c - what comes and goes while the machine runs (ACPI 6.5, 5.6.4 events, 6.3 removal,
 * 8.4 processors).
 *
 * Each kind of thing has a block of registers (plug/plug.h), and a container here, in which are
 *
 *   SEL, THR...  the registers
 *   LCK          a mutex, since they show one thing at a time: whoever selects holds it
 *   STAT, EJCT   the status of one, and that it goes
 *   SCAN         for the event: whoever came or is wanted back is notified, by TELL
 *   P000..       a device for each thing that may be there, with little but its number
 */
#include <stdio.h>

#include "virt/monitor/acpi/private.h"
#include "virt/monitor/acpi/tables.h"
#include "virt/monitor/plug/plug.h"

#define NOTIFY_CHECK   1u /* ACPI 6.5, 5.6.6 */
#define NOTIFY_EJECT   3u
#define NOTIFY_CHANGED 0x80u /* of a device's own */
#define STATUS_THERE   0xfu  /* present, enabled, shown, working: 6.3.7 */

static void store_integer(struct aml *a, uint64_t v, const char *to)
{
    aml_byte(a, AML_STORE);
    aml_integer(a, v);
    aml_name(a, to);
}

static void store_argument(struct aml *a, unsigned n, const char *to)
{
    aml_byte(a, AML_STORE);
    aml_byte(a, (uint8_t)(AML_ARG + n));
    aml_name(a, to);
}

static void store_local(struct aml *a, uint64_t v, unsigned local)
{
    aml_byte(a, AML_STORE);
    aml_integer(a, v);
    aml_byte(a, (uint8_t)(AML_LOCAL + local));
}

static void return_local(struct aml *a, unsigned local)
{
    aml_byte(a, AML_RETURN);
    aml_byte(a, (uint8_t)(AML_LOCAL + local));
}

/* METHOD(n) of `of`, as a method of a device: answering what that says, or nothing. */
static void method_of(struct aml *a, const char *name, const char *of, unsigned n)
{
    bool is_eject = name[1] == 'E';
    size_t method = aml_method(a, name, is_eject ? 1 : 0, true);

    if (!is_eject) {
        aml_byte(a, AML_RETURN);
    }
    aml_name(a, of);
    aml_integer(a, n);
    aml_end(a, method);
}

/* ---- what all kinds have ---- */

static void status_method(struct aml *a)
{
    size_t method = aml_method(a, "STAT", 1, true);
    size_t block;

    aml_acquire(a, "LCK");
    store_argument(a, 0, "SEL");
    store_local(a, 0, 0);
    block = aml_if(a);
    aml_name(a, "THR");
    store_local(a, STATUS_THERE, 0);
    aml_end(a, block);
    aml_release(a, "LCK");
    return_local(a, 0);
    aml_end(a, method);
}

/* Tell Arg1 to the device whose number Arg0 is. */
static void tell_method(struct aml *a, unsigned things)
{
    size_t method = aml_method(a, "TELL", 2, true);
    char name[12];

    for (unsigned i = 0; i < things; i++) {
        size_t block = aml_if(a);

        (void)snprintf(name, sizeof name, "P%03X", i);
        aml_byte(a, AML_EQUAL);
        aml_byte(a, AML_ARG);
        aml_integer(a, i);
        aml_byte(a, AML_NOTIFY);
        aml_name(a, name);
        aml_byte(a, AML_ARG + 1);
        aml_end(a, block);
    }
    aml_end(a, method);
}

static size_t thing(struct aml *a, unsigned n)
{
    char name[12];
    size_t device;

    (void)snprintf(name, sizeof name, "P%03X", n);
    device = aml_device(a, name);
    aml_name_integer(a, "_UID", n);
    method_of(a, "_STA", "STAT", n);
    return device;
}

/* ---- processors ---- */

static void cpu_registers(struct aml *a)
{
    size_t fields;

    aml_ports(a, "REGS", PLUG_CPUS_PORT, PLUG_CPUS_BYTES);
    fields = aml_fields(a, "REGS", 1);
    aml_field(a, NULL, 32);
    aml_field(a, "THR", 1); /* it is there */
    aml_field(a, "CAM", 1); /* it came; a one: it was told */
    aml_field(a, "WAN", 1); /* it is wanted back; likewise */
    aml_field(a, "EJE", 1); /* a one: it goes */
    aml_field(a, NULL, 4);
    aml_field(a, "CMD", 8);
    aml_end(a, fields);
    fields = aml_fields(a, "REGS", 4);
    aml_field(a, "SEL", 32);
    aml_field(a, NULL, 32);
    aml_field(a, "DAT", 32);
    aml_end(a, fields);
    aml_mutex(a, "LCK");
}

static void cpu_eject(struct aml *a)
{
    size_t method = aml_method(a, "EJCT", 1, true);

    aml_acquire(a, "LCK");
    store_argument(a, 0, "SEL");
    store_integer(a, 1, "EJE");
    aml_release(a, "LCK");
    aml_end(a, method);
}

static void tell_selected(struct aml *a, unsigned what, const char *told)
{
    aml_name(a, "TELL");
    aml_name(a, "DAT");
    aml_integer(a, what);
    store_integer(a, 1, told);
    store_local(a, 1, 0);
}

/* As long as there is one to tell of. */
static void cpu_scan(struct aml *a)
{
    size_t method = aml_method(a, "SCAN", 0, true);
    size_t loop, one, other;

    aml_acquire(a, "LCK");
    store_integer(a, 0, "SEL");
    store_local(a, 1, 0);
    loop = aml_while(a);
    aml_byte(a, AML_LOCAL);
    store_local(a, 0, 0);
    store_integer(a, 0, "CMD");
    one = aml_if(a);
    aml_name(a, "CAM");
    tell_selected(a, NOTIFY_CHECK, "CAM");
    aml_end(a, one);
    other = aml_else(a);
    one = aml_if(a);
    aml_name(a, "WAN");
    tell_selected(a, NOTIFY_EJECT, "WAN");
    aml_end(a, one);
    aml_end(a, other);
    aml_end(a, loop);
    aml_release(a, "LCK");
    aml_end(a, method);
}

static void cpu_device(struct aml *a, unsigned n)
{
    size_t device = thing(a, n);
    size_t buffer;

    aml_name_string(a, "_HID", "ACPI0007");
    aml_byte(a, AML_NAME); /* its row of the MADT, once it is there */
    aml_name(a, "_MAT");
    buffer = aml_buffer(a, 8);
    aml_put(a, (const uint8_t[]){0, 8, (uint8_t)n, (uint8_t)n, 1, 0, 0, 0}, 8);
    aml_end(a, buffer);
    if (n > 0) {
        method_of(a, "_EJ0", "EJCT", n);
    }
    aml_end(a, device);
}

static void describe_cpus(struct aml *a, unsigned cpus)
{
    size_t device = aml_device(a, "CPUS");

    aml_name_string(a, "_HID", "ACPI0010");
    aml_name_eisa_id(a, "_CID", "PNP0A05");
    cpu_registers(a);
    status_method(a);
    cpu_eject(a);
    tell_method(a, cpus);
    cpu_scan(a);
    for (unsigned i = 0; i < cpus; i++) {
        cpu_device(a, i);
    }
    aml_end(a, device);
}

/* ---- memory ---- */

static void memory_registers(struct aml *a)
{
    size_t fields;

    aml_ports(a, "REGS", PLUG_MEMORY_PORT, PLUG_MEMORY_BYTES);
    fields = aml_fields(a, "REGS", 1);
    aml_field(a, NULL, 160);
    aml_field(a, "THR", 1);
    aml_field(a, "CAM", 1);
    aml_end(a, fields);
    fields = aml_fields(a, "REGS", 4);
    aml_field(a, "SEL", 32);
    aml_end(a, fields);
    aml_mutex(a, "LCK");
}

/* One slot after the other. */
static void memory_scan(struct aml *a, unsigned slots)
{
    size_t method = aml_method(a, "SCAN", 0, true);
    size_t loop, one;

    aml_acquire(a, "LCK");
    store_local(a, 0, 0);
    loop = aml_while(a);
    aml_byte(a, AML_LESS);
    aml_byte(a, AML_LOCAL);
    aml_integer(a, slots);
    aml_byte(a, AML_STORE);
    aml_byte(a, AML_LOCAL);
    aml_name(a, "SEL");
    one = aml_if(a);
    aml_name(a, "CAM");
    aml_name(a, "TELL");
    aml_byte(a, AML_LOCAL);
    aml_integer(a, NOTIFY_CHECK);
    store_integer(a, 1, "CAM");
    aml_end(a, one);
    aml_byte(a, AML_INCREMENT);
    aml_byte(a, AML_LOCAL);
    aml_end(a, loop);
    aml_release(a, "LCK");
    aml_end(a, method);
}

static void memory_device(struct aml *a, const struct acpi_config *c, unsigned n)
{
    uint64_t first = c->plug_first + n * plug_memory_slot(c->plug_bytes);
    size_t device = thing(a, n);
    size_t resources;

    aml_name_eisa_id(a, "_HID", "PNP0C80");
    resources = aml_resources(a);
    aml_range(a, AML_RANGE_MEMORY, first,
              first + plug_memory_bytes(c->plug_bytes, n) - 1);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

static void describe_memory(struct aml *a, const struct acpi_config *c)
{
    unsigned slots = plug_memory_count(c->plug_bytes, c->plug_bytes);
    size_t device = aml_device(a, "MEMS");

    aml_name_eisa_id(a, "_HID", "PNP0A06");
    memory_registers(a);
    status_method(a);
    tell_method(a, slots);
    memory_scan(a, slots);
    for (unsigned i = 0; i < slots; i++) {
        memory_device(a, c, i);
    }
    aml_end(a, device);
}

/* ---- slots of PCI: all are told of at once, by bits ---- */

static void slot_registers(struct aml *a)
{
    size_t fields;

    aml_ports(a, "REGS", PLUG_SLOTS_PORT, PLUG_SLOTS_BYTES);
    fields = aml_fields(a, "REGS", 4);
    aml_field(a, "CAM", 32); /* came; read once */
    aml_field(a, "WAN", 32); /* wanted back */
    aml_field(a, "EJE", 32); /* a one: it goes */
    aml_field(a, NULL, 32);
    aml_field(a, "SEL", 32); /* of which bus */
    aml_end(a, fields);
    aml_mutex(a, "LCK");
}

/* Tell Arg1 to the slots whose bits Arg0 has. */
static void slot_tell(struct aml *a, const struct acpi_config *c)
{
    size_t method = aml_method(a, "TELL", 2, true);
    char name[12];

    for (unsigned i = c->slot_first; i < c->slot_first + c->plug_slots; i++) {
        size_t block = aml_if(a);

        (void)snprintf(name, sizeof name, "P%03X", i);
        aml_byte(a, AML_AND);
        aml_byte(a, AML_ARG);
        aml_integer(a, UINT64_C(1) << i);
        aml_byte(a, AML_ZERO);
        aml_byte(a, AML_NOTIFY);
        aml_name(a, name);
        aml_byte(a, AML_ARG + 1);
        aml_end(a, block);
    }
    aml_end(a, method);
}

static void slot_scan(struct aml *a)
{
    size_t method = aml_method(a, "SCAN", 0, true);

    aml_acquire(a, "LCK");
    store_integer(a, 0, "SEL");
    aml_name(a, "TELL");
    aml_name(a, "CAM");
    aml_integer(a, NOTIFY_CHECK);
    aml_name(a, "TELL");
    aml_name(a, "WAN");
    aml_integer(a, NOTIFY_EJECT);
    aml_release(a, "LCK");
    aml_end(a, method);
}

static void slot_eject(struct aml *a)
{
    size_t method = aml_method(a, "EJCT", 1, true);

    aml_acquire(a, "LCK");
    store_integer(a, 0, "SEL");
    store_argument(a, 0, "EJE");
    aml_release(a, "LCK");
    aml_end(a, method);
}

void acpi_describe_slots(struct aml *a, const struct acpi_config *c)
{
    if (c->plug_slots == 0) {
        return;
    }
    slot_registers(a);
    slot_eject(a);
    slot_tell(a, c);
    slot_scan(a);
    for (unsigned i = c->slot_first; i < c->slot_first + c->plug_slots; i++) {
        char name[12];
        size_t device;

        (void)snprintf(name, sizeof name, "P%03X", i);
        device = aml_device(a, name);
        aml_name_integer(a, "_ADR", (uint64_t)i << 16);
        aml_name_integer(a, "_SUN", i);
        method_of(a, "_EJ0", "EJCT", UINT32_C(1) << i);
        aml_end(a, device);
    }
}

/* ---- all of them ---- */

void acpi_describe_plugs(struct aml *a, const struct acpi_config *c)
{
    if (c->plugs_cpus) {
        describe_cpus(a, c->cpus);
    }
    if (c->plug_bytes != 0) {
        describe_memory(a, c);
    }
}

static void event(struct aml *a, const char *name, const char *scan)
{
    size_t method = aml_method(a, name, 0, true);

    aml_name(a, scan);
    aml_end(a, method);
}

void acpi_describe_events(struct aml *a, const struct acpi_config *c)
{
    size_t scope = aml_scope(a, "\\_GPE");

    if (c->plug_slots != 0) {
        event(a, "_E01", "\\_SB.PCI0.SCAN");
    }
    if (c->plugs_cpus) {
        event(a, "_E02", "\\_SB.CPUS.SCAN");
    }
    if (c->plug_bytes != 0) {
        event(a, "_E03", "\\_SB.MEMS.SCAN");
    }
    if (c->generation != 0) {
        size_t method = aml_method(a, "_E05", 0, true);

        aml_byte(a, AML_NOTIFY);
        aml_name(a, "\\_SB.VGEN");
        aml_integer(a, NOTIFY_CHANGED);
        aml_end(a, method);
    }
    aml_end(a, scope);
}
