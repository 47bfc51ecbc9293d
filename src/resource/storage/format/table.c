/* table.c - the formats by name. */
#include "resource/storage/format/format.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "resource/storage/format/bytes.h"
#include "resource/storage/format/raw.h"
#include "resource/storage/format/vdi.h"
#include "resource/storage/format/vhd.h"
#include "resource/storage/format/vhdx.h"
#include "resource/storage/format/vmdk.h"

const struct format_row format_table[] = {
    {"raw", "the bytes of the disk, nothing else", true, raw_open, raw_create, NULL},
    {"vmdk", "VMware, sparse in one file; read: also flat and split", true, vmdk_open,
     vmdk_create, NULL},
    {"vmdk-stream", "VMware, stream-optimised: compressed, for OVF and OVA", false,
     vmdk_open, NULL, vmdk_stream_create},
    {"vhdx", "Hyper-V", false, vhdx_open, NULL, NULL},
    {"vhd", "Virtual PC, Hyper-V, Azure", false, vhd_open, NULL, NULL},
    {"vdi", "VirtualBox", false, vdi_open, NULL, NULL},
};

const unsigned format_count = sizeof format_table / sizeof format_table[0];

const struct format_row *format_find(const char *name, struct err *e)
{
    for (unsigned i = 0; i < format_count; i++) {
        if (strcmp(format_table[i].name, name) == 0) {
            return &format_table[i];
        }
    }
    (void)err_set(e, -EINVAL, "no format is called '%.40s'", name);
    return NULL;
}

static const struct {
    unsigned at;
    const char *bytes;
    unsigned count;
    const char *name;
} signs[] = {
    {0, "QFI\xfb", 4, "qcow2"},
    {0, "KDMV", 4, "vmdk"},
    {0, "# Disk DescriptorFile", 21, "vmdk"},
    {0, "vhdxfile", 8, "vhdx"},
    {0, "conectix", 8, "vhd"},
    {64, "\x7f\x10\xda\xbe", 4, "vdi"},
};

const char *format_probe(const void *first, size_t bytes)
{
    for (unsigned i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (bytes >= signs[i].at + signs[i].count &&
            memcmp((const char *)first + signs[i].at, signs[i].bytes, signs[i].count) ==
                0) {
            return signs[i].name;
        }
    }
    return "raw";
}
