/* aml.h - bytes of the ACPI machine language, as far as our tables need it.
 *
 * ACPI 6.5, chapter 20 (AML), 6.4 (resource descriptors).  A block is opened, filled and
 * closed; its length is written when it is closed.  After a failure (no memory) everything
 * does nothing, and `failed` says so. */
#ifndef VIRT_MONITOR_ACPI_AML_H
#define VIRT_MONITOR_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *bytes; /* owned */
    size_t count, room;
    bool failed;
};

void aml_fini(struct aml *a);
void aml_put(struct aml *a, const void *bytes, size_t n);
void aml_byte(struct aml *a, uint8_t v);

/* A name of segments of up to four letters, dots between, `\` before: "\_SB.PCI0". */
void aml_name(struct aml *a, const char *path);

/* Blocks: returns a mark for `aml_end`. */
size_t aml_scope(struct aml *a, const char *path);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, unsigned arguments, bool serialized);
size_t aml_package(struct aml *a, unsigned elements);
void aml_end(struct aml *a, size_t mark);

void aml_integer(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *text);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0A08" */

void aml_name_integer(struct aml *a, const char *name, uint64_t v);
void aml_name_eisa_id(struct aml *a, const char *name, const char *id);
void aml_name_string(struct aml *a, const char *name, const char *text);

/* Name(_CRS, ResourceTemplate(){...}): the descriptors between. */
size_t aml_resources(struct aml *a);
void aml_resources_end(struct aml *a, size_t mark);
void aml_io(struct aml *a, uint16_t port, uint8_t count);
void aml_irq(struct aml *a, unsigned line);
void aml_fixed_memory(struct aml *a, uint32_t base, uint32_t bytes);

enum aml_range {
    AML_RANGE_MEMORY = 0,
    AML_RANGE_IO = 1,
    AML_RANGE_BUS = 2,
};

/* An address range that a bridge hands down. */
void aml_range(struct aml *a, enum aml_range kind, uint64_t first, uint64_t last);

/* Terms of a method's body, by their bytes (ACPI 6.5, 20.3). */
enum aml_op {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_LOCAL = 0x60, /* the first of eight */
    AML_ARG = 0x68,   /* ... of seven */
    AML_STORE = 0x70, /* from, to */
    AML_INCREMENT = 0x75,
    AML_AND = 0x7b,    /* of two; into, or AML_ZERO */
    AML_NOTIFY = 0x86, /* whom, what */
    AML_EQUAL = 0x93,
    AML_LESS = 0x95,
    AML_RETURN = 0xa4,
};

/* More blocks; the condition comes first in what follows. */
size_t aml_if(struct aml *a);
size_t aml_else(struct aml *a);
size_t aml_while(struct aml *a);
size_t aml_buffer(struct aml *a, uint8_t bytes);

/* Registers: `ports` of I/O space from there on, and their parts.  `width` is the bytes of an
 * access; writing a part, the bits around it are written as zeros.  NULL: nobody's bits. */
void aml_ports(struct aml *a, const char *name, uint16_t first, uint8_t ports);
size_t aml_fields(struct aml *a, const char *region, unsigned width);
void aml_field(struct aml *a, const char *name, unsigned bits);

void aml_mutex(struct aml *a, const char *name);
void aml_acquire(struct aml *a, const char *name); /* however long that takes */
void aml_release(struct aml *a, const char *name);

#endif
