/* plug.c - what comes and goes while the machine runs (ACPI 6.5, 5.6.4 events, 6.3 removal,
 * 8.4 processors).
 *
 * Each kind of thing has a block of registers (plug/plug.h), and here:
 *
 *   a mutex      since the registers show one thing at a time: whoever selects holds it
 *   a container  with the methods that all things of the kind share: status and end of one,
 *                and for the event: whoever came or is wanted back is notified
 *   a device     for each thing that may be there, with nothing but its number
 */
#include <stdio.h>

#include "virt/monitor/acpi/private.h"
#include "virt/monitor/acpi/tables.h"
#include "virt/monitor/plug/plug.h"

#define NOTIFY_CHECK 1u /* ACPI 6.5, 5.6.6 */
#define NOTIFY_EJECT 3u
#define STATUS_THERE 0xfu /* present, enabled, shown, working: 6.3.7 */

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

/* ---- processors ---- */

static void cpu_registers(struct aml *a)
{
    size_t fields;

    aml_ports(a, "CREG", PLUG_CPUS_PORT, PLUG_CPUS_BYTES);
    fields = aml_fields(a, "CREG", 1);
    aml_field(a, NULL, 32);
    aml_field(a, "CTHR", 1); /* it is there */
    aml_field(a, "CCAM", 1); /* it came; a one: it was told */
    aml_field(a, "CWAN", 1); /* it is wanted back; likewise */
    aml_field(a, "CEJE", 1); /* a one: it goes */
    aml_field(a, NULL, 4);
    aml_field(a, "CCMD", 8);
    aml_end(a, fields);
    fields = aml_fields(a, "CREG", 4);
    aml_field(a, "CSEL", 32);
    aml_field(a, NULL, 32);
    aml_field(a, "CDAT", 32);
    aml_end(a, fields);
    aml_mutex(a, "CLCK");
}

static void cpu_status(struct aml *a)
{
    size_t method = aml_method(a, "CSTA", 1, true);
    size_t block;

    aml_acquire(a, "CLCK");
    store_argument(a, 0, "CSEL");
    store_local(a, 0, 0);
    block = aml_if(a);
    aml_name(a, "CTHR");
    store_local(a, STATUS_THERE, 0);
    aml_end(a, block);
    aml_release(a, "CLCK");
    return_local(a, 0);
    aml_end(a, method);
}

static void cpu_eject(struct aml *a)
{
    size_t method = aml_method(a, "CEJT", 1, true);

    aml_acquire(a, "CLCK");
    store_argument(a, 0, "CSEL");
    store_integer(a, 1, "CEJE");
    aml_release(a, "CLCK");
    aml_end(a, method);
}

/* Tell Arg1 to the device whose number Arg0 is. */
static void cpu_notify(struct aml *a, unsigned cpus)
{
    size_t method = aml_method(a, "CTFY", 2, true);
    char name[12];

    for (unsigned i = 0; i < cpus; i++) {
        size_t block = aml_if(a);

        (void)snprintf(name, sizeof name, "C%03X", i);
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

static void notify_selected(struct aml *a, unsigned what, const char *told)
{
    aml_name(a, "CTFY");
    aml_name(a, "CDAT");
    aml_integer(a, what);
    store_integer(a, 1, told);
    store_local(a, 1, 0);
}

/* As long as there is one to tell of. */
static void cpu_scan(struct aml *a)
{
    size_t method = aml_method(a, "CSCN", 0, true);
    size_t loop, one, other;

    aml_acquire(a, "CLCK");
    store_integer(a, 0, "CSEL");
    store_local(a, 1, 0);
    loop = aml_while(a);
    aml_byte(a, AML_LOCAL);
    store_local(a, 0, 0);
    store_integer(a, 0, "CCMD");
    one = aml_if(a);
    aml_name(a, "CCAM");
    notify_selected(a, NOTIFY_CHECK, "CCAM");
    aml_end(a, one);
    other = aml_else(a);
    one = aml_if(a);
    aml_name(a, "CWAN");
    notify_selected(a, NOTIFY_EJECT, "CWAN");
    aml_end(a, one);
    aml_end(a, other);
    aml_end(a, loop);
    aml_release(a, "CLCK");
    aml_end(a, method);
}

static void cpu_device(struct aml *a, unsigned n)
{
    char name[12];
    size_t device;
    size_t buffer;

    (void)snprintf(name, sizeof name, "C%03X", n);
    device = aml_device(a, name);
    aml_name_string(a, "_HID", "ACPI0007");
    aml_name_integer(a, "_UID", n);
    method_of(a, "_STA", "CSTA", n);
    aml_byte(a, AML_NAME); /* its row of the MADT, once it is there */
    aml_name(a, "_MAT");
    buffer = aml_buffer(a, 8);
    aml_put(a, (const uint8_t[]){0, 8, (uint8_t)n, (uint8_t)n, 1, 0, 0, 0}, 8);
    aml_end(a, buffer);
    if (n > 0) {
        method_of(a, "_EJ0", "CEJT", n);
    }
    aml_end(a, device);
}

static void describe_cpus(struct aml *a, unsigned cpus)
{
    size_t device = aml_device(a, "CPUS");

    aml_name_string(a, "_HID", "ACPI0010");
    aml_name_eisa_id(a, "_CID", "PNP0A05");
    cpu_registers(a);
    cpu_status(a);
    cpu_eject(a);
    cpu_notify(a, cpus);
    cpu_scan(a);
    for (unsigned i = 0; i < cpus; i++) {
        cpu_device(a, i);
    }
    aml_end(a, device);
}

/* ---- all of them ---- */

void acpi_describe_plugs(struct aml *a, const struct acpi_config *c)
{
    if (c->plugs_cpus) {
        describe_cpus(a, c->cpus);
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

    if (c->plugs_cpus) {
        event(a, "_E02", "\\_SB.CPUS.CSCN");
    }
    aml_end(a, scope);
}
