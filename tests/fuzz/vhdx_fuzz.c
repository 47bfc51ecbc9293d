/* vhdx_fuzz.c - any parts are a VHDX image or an error.
 *
 * The input has the parts one after the other: header, regions, table of metadata, its
 * items, table of blocks, log.  They are put where an image has them, with the
 * checksums that they would be refused without. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "tests/fuzz/image.h"
#include "tests/fuzz/target.h"

#define MIB ((uint64_t)1 << 20)

static const struct {
    size_t bytes;
    size_t room; /* that its checksum covers; 0: it has none */
    uint64_t at;
} places[] = {
    {96, 4096, 65536},         {112, 65536, 196608}, {256, 0, 2 * MIB},
    {512, 0, 2 * MIB + 65536}, {64, 0, 3 * MIB},
};

#define PLACES (sizeof places / sizeof places[0])
#define PIECE  4096u
#define LOG_AT MIB

static void mend(uint8_t *bytes, size_t count)
{
    uint32_t sum;

    memset(bytes + 4, 0, 4);
    sum = crc32c(0, bytes, count);
    for (unsigned i = 0; i < 4; i++) {
        bytes[4 + i] = (uint8_t)(sum >> (8 * i));
    }
}

/* Entries in a row, each as long as it says. */
static void mend_log(uint8_t *log, size_t bytes)
{
    size_t at = 0;

    while (at + PIECE <= bytes) {
        size_t n = log[at + 8] | (size_t)log[at + 9] << 8 | (size_t)log[at + 10] << 16;

        if (n < PIECE || n > bytes - at) {
            n = PIECE;
        } else {
            mend(log + at, n);
        }
        at += n / PIECE * PIECE;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_part parts[PLACES + 2] = {{(const uint8_t *)"vhdxfile", 8, 0}};
    uint8_t *copies[PLACES + 1] = {0};
    size_t log_bytes;

    for (unsigned i = 0; i < PLACES; i++) {
        size_t n = size < places[i].bytes ? size : places[i].bytes;
        size_t room = places[i].room != 0 ? places[i].room : places[i].bytes;

        copies[i] = calloc(1, room);
        memcpy(copies[i], data, n);
        if (places[i].room != 0) {
            mend(copies[i], room);
        }
        parts[i + 1] = (struct image_part){copies[i], room, places[i].at};
        data += n;
        size -= n;
    }
    log_bytes = (size + PIECE - 1) / PIECE * PIECE;
    log_bytes = log_bytes < MIB ? log_bytes : MIB;
    copies[PLACES] = calloc(1, log_bytes + 1);
    memcpy(copies[PLACES], data, size < log_bytes ? size : log_bytes);
    mend_log(copies[PLACES], log_bytes);
    parts[PLACES + 1] = (struct image_part){copies[PLACES], log_bytes, LOG_AT};
    image_fuzz("vhdx", parts, PLACES + 2, 5 * MIB);
    for (unsigned i = 0; i <= PLACES; i++) {
        free(copies[i]);
    }
    return 0;
}
