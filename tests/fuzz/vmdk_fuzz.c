/* vmdk_fuzz.c - any bytes are a VMDK image or an error. */
#include "tests/fuzz/image.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_part all = {data, size, 0};

    image_fuzz("vmdk", &all, 1, size);
    return 0;
}
