/* aml.c - bytes of the ACPI machine language. */
#include "virt/monitor/acpi/aml.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define OP_NAME      0x08u
#define OP_BYTE      0x0au
#define OP_WORD      0x0bu
#define OP_DWORD     0x0cu
#define OP_STRING    0x0du
#define OP_QWORD     0x0eu
#define OP_SCOPE     0x10u
#define OP_BUFFER    0x11u
#define OP_PACKAGE   0x12u
#define OP_METHOD    0x14u
#define OP_DUAL      0x2eu
#define OP_MULTI     0x2fu
#define OP_IF        0xa0u
#define OP_ELSE      0xa1u
#define OP_WHILE     0xa2u
#define OP_EXT       0x5bu
#define OP_MUTEX     0x01u /* behind it */
#define OP_ACQUIRE   0x23u
#define OP_RELEASE   0x27u
#define OP_REGION    0x80u
#define OP_FIELD     0x81u
#define OP_DEVICE    0x82u
#define LENGTH_BYTES 3 /* of every PkgLength: up to 2^20 - 1 */

void aml_fini(struct aml *a)
{
    free(a->bytes);
    *a = (struct aml){0};
}

void aml_put(struct aml *a, const void *bytes, size_t n)
{
    if (!a->failed && a->count + n > a->room) {
        size_t room = (a->count + n) * 2 + 1024;
        uint8_t *more = fault_realloc(a->bytes, room);

        if (more == NULL) {
            a->failed = true;
        } else {
            a->bytes = more;
            a->room = room;
        }
    }
    if (!a->failed) {
        memcpy(a->bytes + a->count, bytes, n);
        a->count += n;
    }
}

void aml_byte(struct aml *a, uint8_t v)
{
    aml_put(a, &v, 1);
}

static void put_little(struct aml *a, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        aml_byte(a, (uint8_t)(v >> (i * 8)));
    }
}

static void segment(struct aml *a, const char *name, size_t n)
{
    for (size_t i = 0; i < 4; i++) {
        aml_byte(a, i < n ? (uint8_t)name[i] : '_');
    }
}

void aml_name(struct aml *a, const char *path)
{
    unsigned segments = 1;

    if (*path == '\\') {
        aml_byte(a, (uint8_t)*path++);
    }
    for (const char *c = path; *c != '\0'; c++) {
        segments += *c == '.';
    }
    if (segments == 2) {
        aml_byte(a, OP_DUAL);
    } else if (segments > 2) {
        aml_byte(a, OP_MULTI);
        aml_byte(a, (uint8_t)segments);
    }
    while (segments-- > 0) {
        size_t n = strcspn(path, ".");

        segment(a, path, n);
        path += n + (path[n] == '.');
    }
}

/* ---- blocks ---- */

static size_t open_block(struct aml *a)
{
    static const uint8_t room[LENGTH_BYTES] = {0};
    size_t mark = a->count;

    aml_put(a, room, sizeof room);
    return mark;
}

void aml_end(struct aml *a, size_t mark)
{
    size_t length = a->count - mark;

    if (a->failed) {
        return;
    }
    a->bytes[mark] = (uint8_t)(2u << 6 | (length & 15));
    a->bytes[mark + 1] = (uint8_t)(length >> 4);
    a->bytes[mark + 2] = (uint8_t)(length >> 12);
}

size_t aml_scope(struct aml *a, const char *path)
{
    size_t mark;

    aml_byte(a, OP_SCOPE);
    mark = open_block(a);
    aml_name(a, path);
    return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
    size_t mark;

    aml_byte(a, OP_EXT);
    aml_byte(a, OP_DEVICE);
    mark = open_block(a);
    aml_name(a, name);
    return mark;
}

size_t aml_method(struct aml *a, const char *name, unsigned arguments, bool serialized)
{
    size_t mark;

    aml_byte(a, OP_METHOD);
    mark = open_block(a);
    aml_name(a, name);
    aml_byte(a, (uint8_t)(arguments | (serialized ? 8 : 0)));
    return mark;
}

size_t aml_package(struct aml *a, unsigned elements)
{
    size_t mark;

    aml_byte(a, OP_PACKAGE);
    mark = open_block(a);
    aml_byte(a, (uint8_t)elements);
    return mark;
}

/* ---- values ---- */

void aml_integer(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        aml_byte(a, (uint8_t)v); /* ZeroOp, OneOp */
    } else if (v <= UINT8_MAX) {
        aml_byte(a, OP_BYTE);
        put_little(a, v, 1);
    } else if (v <= UINT16_MAX) {
        aml_byte(a, OP_WORD);
        put_little(a, v, 2);
    } else if (v <= UINT32_MAX) {
        aml_byte(a, OP_DWORD);
        put_little(a, v, 4);
    } else {
        aml_byte(a, OP_QWORD);
        put_little(a, v, 8);
    }
}

void aml_string(struct aml *a, const char *text)
{
    aml_byte(a, OP_STRING);
    aml_put(a, text, strlen(text) + 1);
}

static unsigned hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* ACPI 6.5, 19.3.4: three letters of five bits, four digits; big end first. */
void aml_eisa_id(struct aml *a, const char *id)
{
    uint32_t v = ((uint32_t)id[0] & 31) << 26 | ((uint32_t)id[1] & 31) << 21 |
                 ((uint32_t)id[2] & 31) << 16 | hex(id[3]) << 12 | hex(id[4]) << 8 |
                 hex(id[5]) << 4 | hex(id[6]);

    aml_byte(a, OP_DWORD);
    put_little(a, __builtin_bswap32(v), 4);
}

void aml_name_integer(struct aml *a, const char *name, uint64_t v)
{
    aml_byte(a, OP_NAME);
    aml_name(a, name);
    aml_integer(a, v);
}

void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
    aml_byte(a, OP_NAME);
    aml_name(a, name);
    aml_eisa_id(a, id);
}

void aml_name_string(struct aml *a, const char *name, const char *text)
{
    aml_byte(a, OP_NAME);
    aml_name(a, name);
    aml_string(a, text);
}

/* ---- resources ---- */

/* The buffer's size is a word that `aml_resources_end` fills in. */
size_t aml_resources(struct aml *a)
{
    size_t mark;

    aml_byte(a, OP_NAME);
    aml_name(a, "_CRS");
    aml_byte(a, OP_BUFFER);
    mark = open_block(a);
    aml_byte(a, OP_WORD);
    put_little(a, 0, 2);
    return mark;
}

void aml_resources_end(struct aml *a, size_t mark)
{
    size_t at = mark + LENGTH_BYTES + 1;
    size_t bytes;

    put_little(a, 0x0079, 2); /* end tag; 0: no checksum */
    if (!a->failed) {
        bytes = a->count - (at + 2);
        a->bytes[at] = (uint8_t)bytes;
        a->bytes[at + 1] = (uint8_t)(bytes >> 8);
    }
    aml_end(a, mark);
}

void aml_io(struct aml *a, uint16_t port, uint8_t count)
{
    aml_byte(a, 0x47);
    aml_byte(a, 1); /* 16 bits are decoded */
    put_little(a, port, 2);
    put_little(a, port, 2);
    aml_byte(a, 1);
    aml_byte(a, count);
}

void aml_irq(struct aml *a, unsigned line)
{
    aml_byte(a, 0x22); /* edge, high */
    put_little(a, UINT64_C(1) << line, 2);
}

void aml_fixed_memory(struct aml *a, uint32_t base, uint32_t bytes)
{
    aml_byte(a, 0x86);
    put_little(a, 9, 2);
    aml_byte(a, 1);
    put_little(a, base, 4);
    put_little(a, bytes, 4);
}

void aml_range(struct aml *a, enum aml_range kind, uint64_t first, uint64_t last)
{
    bool is_long = last > UINT32_MAX;
    unsigned width = kind == AML_RANGE_MEMORY ? (is_long ? 8 : 4) : 2;

    aml_byte(a, width == 8 ? 0x8a : width == 4 ? 0x87 : 0x88);
    put_little(a, 3 + 5 * width, 2);
    aml_byte(a, (uint8_t)kind);
    aml_byte(a, 0x0c); /* fixed at both ends, produced */
    aml_byte(a, kind == AML_RANGE_MEMORY ? (is_long ? 3 : 1)
                : kind == AML_RANGE_IO   ? 3
                                         : 0);
    put_little(a, 0, width);
    put_little(a, first, width);
    put_little(a, last, width);
    put_little(a, 0, width);
    put_little(a, last - first + 1, width);
}

/* ---- registers and methods ---- */

static size_t open_op(struct aml *a, uint8_t op)
{
    aml_byte(a, op);
    return open_block(a);
}

size_t aml_if(struct aml *a)
{
    return open_op(a, OP_IF);
}

size_t aml_else(struct aml *a)
{
    return open_op(a, OP_ELSE);
}

size_t aml_while(struct aml *a)
{
    return open_op(a, OP_WHILE);
}

size_t aml_buffer(struct aml *a, uint8_t bytes)
{
    size_t mark = open_op(a, OP_BUFFER);

    aml_integer(a, bytes);
    return mark;
}

void aml_ports(struct aml *a, const char *name, uint16_t first, uint8_t ports)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, OP_REGION);
    aml_name(a, name);
    aml_byte(a, 1); /* I/O space */
    aml_integer(a, first);
    aml_integer(a, ports);
}

size_t aml_fields(struct aml *a, const char *region, unsigned width)
{
    size_t mark;

    aml_byte(a, OP_EXT);
    mark = open_op(a, OP_FIELD);
    aml_name(a, region);
    aml_byte(a, (uint8_t)((width == 4 ? 3 : width == 2 ? 2 : 1) | 2u << 5));
    return mark;
}

void aml_field(struct aml *a, const char *name, unsigned bits)
{
    if (name != NULL) {
        aml_name(a, name);
    } else {
        aml_byte(a, 0);
    }
    if (bits > 63) {
        aml_byte(a, (uint8_t)(1u << 6 | (bits & 15)));
        bits >>= 4;
    }
    aml_byte(a, (uint8_t)bits);
}

void aml_mutex(struct aml *a, const char *name)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, OP_MUTEX);
    aml_name(a, name);
    aml_byte(a, 0);
}

void aml_acquire(struct aml *a, const char *name)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, OP_ACQUIRE);
    aml_name(a, name);
    put_little(a, 0xffff, 2);
}

void aml_release(struct aml *a, const char *name)
{
    aml_byte(a, OP_EXT);
    aml_byte(a, OP_RELEASE);
    aml_name(a, name);
}
