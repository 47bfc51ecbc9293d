/* vmdk_header.c - the header of a sparse extent and descriptors that we write.
 *
 * VMware, Virtual Disk Format 5.0, "Hosted Sparse Extent Header" and "The Descriptor
 * File". */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "resource/storage/format/bytes.h"
#include "resource/storage/format/vmdk_parts.h"

#define VERSION_MOST 3
#define HEADS        16u
#define TRACK        63u
#define CYLINDERS    16383u

enum {
    AT_VERSION = 4,
    AT_FLAGS = 8,
    AT_CAPACITY = 12,
    AT_GRAIN = 20,
    AT_DESCRIPTOR = 28,
    AT_DESCRIPTOR_SECTORS = 36,
    AT_TABLE_ENTRIES = 44,
    AT_REDUNDANT = 48,
    AT_DIRECTORY = 56,
    AT_OVERHEAD = 64,
    AT_UNCLEAN = 72,
    AT_NEWLINES = 73,
    AT_COMPRESSION = 77
};

static const char newlines[4] = {'\n', ' ', '\r', '\n'};

int vmdk_header_parse(const void *from, struct vmdk_header *ret)
{
    const char *h = from;

    if (bytes_le32(h) != VMDK_MAGIC) {
        return -EUCLEAN;
    }
    *ret = (struct vmdk_header){
        .version = bytes_le32(h + AT_VERSION),
        .flags = bytes_le32(h + AT_FLAGS),
        .capacity = bytes_le64(h + AT_CAPACITY),
        .grain = bytes_le64(h + AT_GRAIN),
        .descriptor = bytes_le64(h + AT_DESCRIPTOR),
        .descriptor_sectors = bytes_le64(h + AT_DESCRIPTOR_SECTORS),
        .table_entries = bytes_le32(h + AT_TABLE_ENTRIES),
        .redundant_directory = bytes_le64(h + AT_REDUNDANT),
        .directory = bytes_le64(h + AT_DIRECTORY),
        .overhead = bytes_le64(h + AT_OVERHEAD),
        .compression = bytes_le16(h + AT_COMPRESSION),
    };
    if (ret->version == 0 || ret->version > VERSION_MOST) {
        return -EOPNOTSUPP;
    }
    if ((ret->flags & VMDK_FLAG_NEWLINE) != 0 &&
        memcmp(h + AT_NEWLINES, newlines, sizeof newlines) != 0) {
        return -EUCLEAN;
    }
    return 0;
}

void vmdk_header_put(const struct vmdk_header *x, void *to)
{
    char *h = to;

    memset(h, 0, VMDK_HEADER_BYTES);
    bytes_put_le32(h, VMDK_MAGIC);
    bytes_put_le32(h + AT_VERSION, x->version);
    bytes_put_le32(h + AT_FLAGS, x->flags);
    bytes_put_le64(h + AT_CAPACITY, x->capacity);
    bytes_put_le64(h + AT_GRAIN, x->grain);
    bytes_put_le64(h + AT_DESCRIPTOR, x->descriptor);
    bytes_put_le64(h + AT_DESCRIPTOR_SECTORS, x->descriptor_sectors);
    bytes_put_le32(h + AT_TABLE_ENTRIES, x->table_entries);
    bytes_put_le64(h + AT_REDUNDANT, x->redundant_directory);
    bytes_put_le64(h + AT_DIRECTORY, x->directory);
    bytes_put_le64(h + AT_OVERHEAD, x->overhead);
    h[AT_UNCLEAN] = 0;
    memcpy(h + AT_NEWLINES, newlines, sizeof newlines);
    bytes_put_le16(h + AT_COMPRESSION, x->compression);
}

uint32_t vmdk_new_id(void)
{
    uint32_t id = 0;

    if (getrandom(&id, sizeof id, 0) != sizeof id || id == VMDK_NO_PARENT) {
        id = 1;
    }
    return id;
}

unsigned vmdk_text_make(char *to, unsigned room, uint64_t sectors, bool stream)
{
    const char *kind = stream ? "streamOptimized" : "monolithicSparse";
    uint64_t cylinders = sectors / ((uint64_t)HEADS * TRACK);
    int n =
        snprintf(to, room,
                 "# Disk DescriptorFile\nversion=1\nCID=%08" PRIx32
                 "\nparentCID=ffffffff\ncreateType=\"%s\"\n\n# Extent description\n"
                 "RW %" PRIu64 " SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n"
                 "ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"%" PRIu64
                 "\"\nddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"%u\"\n"
                 "ddb.adapterType = \"ide\"\n",
                 vmdk_new_id(), kind, sectors,
                 cylinders < CYLINDERS ? cylinders : CYLINDERS, HEADS, TRACK);
    return (unsigned)n;
}
