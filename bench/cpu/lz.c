/* lz.c - a byte-wise Lempel-Ziv compressor with a hash of four bytes, and its
 * inverse, over text made of random words. */
#include "cpu.h"

#define TEXT_BYTES (256 * 1024)
#define HASH_BITS  13
#define MATCH_MAX  258
#define WINDOW     65535
#define ROUNDS     CPU_ROUNDS(35)

static uint8_t text[TEXT_BYTES], packed[TEXT_BYTES * 2], again[TEXT_BYTES];
static uint32_t head[1 << HASH_BITS];

static void make_text(void)
{
    uint64_t seed = 99;
    uint8_t words[256][8];
    unsigned i, j;

    for (i = 0; i < 256; i++) {
        for (j = 0; j < 8; j++) {
            words[i][j] = (uint8_t)('a' + cpu_random(&seed) % 26);
        }
    }
    for (i = 0; i + 10 < TEXT_BYTES;) {
        unsigned w = (cpu_random(&seed) >> 20) & (cpu_random(&seed) >> 20) & 255;

        for (j = 0; j < 3 + (w & 4); j++) {
            text[i++] = words[w][j];
        }
        text[i++] = ' ';
    }
}

static uint32_t load4(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
           (uint32_t)p[3] << 24;
}

static uint32_t match_length(uint32_t a, uint32_t b)
{
    uint32_t n = 0;

    while (n < MATCH_MAX && b + n < TEXT_BYTES && text[a + n] == text[b + n]) {
        n++;
    }
    return n;
}

/* A literal is 0 and the byte; a match is its length less 3, and two bytes back. */
static uint32_t compress(void)
{
    uint32_t at = 0, out = 0;

    while (at < TEXT_BYTES) {
        uint32_t n = 0, from = 0;

        if (at + 4 <= TEXT_BYTES) {
            uint32_t *slot = &head[load4(text + at) * 2654435761u >> (32 - HASH_BITS)];

            from = *slot;
            *slot = at;
            n = from < at && at - from <= WINDOW ? match_length(from, at) : 0;
        }
        if (n < 4) {
            packed[out++] = 0;
            packed[out++] = text[at++];
            continue;
        }
        packed[out++] = (uint8_t)(n - 3);
        packed[out++] = (uint8_t)(at - from);
        packed[out++] = (uint8_t)((at - from) >> 8);
        at += n;
    }
    return out;
}

static uint32_t expand(uint32_t bytes)
{
    uint32_t in = 0, at = 0;

    while (in < bytes) {
        uint32_t n = packed[in++];

        if (n == 0) {
            again[at++] = packed[in++];
            continue;
        }
        n += 3;
        uint32_t back = (uint32_t)packed[in] | (uint32_t)packed[in + 1] << 8;

        for (in += 2; n > 0; n--, at++) {
            again[at] = again[at - back];
        }
    }
    return at;
}

uint64_t work(void)
{
    uint64_t sum = 0;
    unsigned i, round;

    make_text();
    for (round = 0; round < ROUNDS; round++) {
        uint32_t n = compress();

        sum = cpu_mix(sum, n);
        sum = cpu_mix(sum, expand(n));
        text[round * 1000] ^= 3;
    }
    for (i = 0; i < TEXT_BYTES; i++) {
        sum = cpu_mix(sum, again[i]);
    }
    return sum;
}
