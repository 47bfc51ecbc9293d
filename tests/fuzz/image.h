/* image.h - any bytes as the file of an image: open it, read all of it.
 *
 * The files that it names have the same bytes, three deep. */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* A part of the file, at `at`. */
struct image_part {
    const uint8_t *data;
    size_t bytes;
    uint64_t at;
};

/* `size`: of the file. */
void image_fuzz(const char *format, const struct image_part *parts, unsigned count,
                uint64_t size);

#endif
