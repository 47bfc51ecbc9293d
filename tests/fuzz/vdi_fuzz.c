/* vdi_fuzz.c - any bytes are a VDI or a VHD image, or an error.
 *
 * What begins as a VHD gets the checksums that it would be refused without. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/image.h"
#include "tests/fuzz/target.h"

static void mend(uint8_t *bytes, size_t count, size_t at)
{
    uint32_t sum = 0;

    memset(bytes + at, 0, 4);
    for (size_t i = 0; i < count; i++) {
        sum += bytes[i];
    }
    sum = ~sum;
    for (unsigned i = 0; i < 4; i++) {
        bytes[at + i] = (uint8_t)(sum >> (24 - 8 * i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_part all = {data, size, 0};
    uint8_t *copy;

    if (size < 1536 || memcmp(data, "conectix", 8) != 0) {
        image_fuzz("vdi", &all, 1, size);
        return 0;
    }
    copy = malloc(size);
    memcpy(copy, data, size);
    mend(copy, 512, 64); /* the footer's copy, then the header of a dynamic disk */
    mend(copy + 512, 1024, 36);
    all.data = copy;
    image_fuzz("vhd", &all, 1, size);
    free(copy);
    return 0;
}
