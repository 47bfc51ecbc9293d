/* partition_fuzz.c - any bytes are a table of partitions or none; what is found lies on the disk.
 *
 * The first byte is the number of the partition, the second says the size of blocks and whether the
 * checksums of a GPT are made right, as they would keep all of it out. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "host/attach/attach.h"
#include "tests/fuzz/target.h"

#define DISK_BYTES (64u * 1024)

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t x)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(x >> 8 * i);
    }
}

/* The header in block 1 and the list behind it get checksums that are right. */
static void seal(uint8_t *disk, uint32_t block)
{
    uint8_t *head = disk + block;
    uint64_t list = get32(head + 72) % (DISK_BYTES / block) * (uint64_t)block;
    uint64_t bytes = (uint64_t)get32(head + 80) * get32(head + 84);
    uint32_t size = get32(head + 12);

    memcpy(head, "EFI PART", 8);
    put32(head + 24, 1);
    put32(head + 28, 0);
    put32(disk + 508, 0xAA550000u);
    disk[446 + 4] = 0xEE;
    if (bytes <= DISK_BYTES - list) {
        put32(head + 88, crc32_of(disk + list, (size_t)bytes));
    }
    if (size >= 92 && size <= block) {
        put32(head + 16, 0);
        put32(head + 16, crc32_of(head, size));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *disk = calloc(1, DISK_BYTES);
    int fd = memfd_create("disk", MFD_CLOEXEC);
    size_t most = size > 2 ? size - 2 : 0;
    struct attach_part part;
    struct err e = {0};
    uint32_t block;
    int r;

    if (disk == NULL || fd < 0 || size < 2) {
        goto done;
    }
    block = (data[1] & 1) != 0 ? 4096 : 512;
    memcpy(disk, data + 2, most < DISK_BYTES ? most : DISK_BYTES);
    if ((data[1] & 2) != 0) {
        seal(disk, block);
    }
    assert(write(fd, disk, DISK_BYTES) == DISK_BYTES);
    r = attach_partition(fd, data[0], block, &part, &e);
    if (r == 0) {
        assert(part.off > 0 && part.bytes > 0 && part.off < DISK_BYTES &&
               part.bytes <= DISK_BYTES - part.off);
    } else {
        assert(e.text[0] != '\0');
    }
done:
    free(disk);
    if (fd >= 0) {
        (void)close(fd);
    }
    return 0;
}
