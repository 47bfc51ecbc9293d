/* md5.c - MD5 (RFC 1321), for CHAP only: a proof of a secret, not of contents. */
#include <string.h>

#include "resource/storage/iscsi/private.h"

static const uint32_t sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
    0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
    0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
    0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
    0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
    0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
    0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
    0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
    0xeb86d391};

static uint32_t turn(uint32_t v, unsigned by)
{
    return v << by | v >> (32 - by);
}

static void mix(uint32_t h[4], const uint8_t *block)
{
    static const uint8_t turns[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t w[16];
    uint32_t a = h[0];
    uint32_t b = h[1];
    uint32_t c = h[2];
    uint32_t d = h[3];

    memcpy(w, block, sizeof w);
    for (unsigned i = 0; i < 64; i++) {
        const unsigned round = i / 16;
        const uint32_t f[4] = {(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d,
                               c ^ (b | ~d)};
        const unsigned at[4] = {i, 5 * i + 1, 3 * i + 5, 7 * i};
        uint32_t sum = a + f[round] + sines[i] + w[at[round] % 16];

        a = d;
        d = c;
        c = b;
        b += turn(sum, turns[round][i % 4]);
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
}

void iscsi_md5(const void *data, size_t bytes, uint8_t ret[16])
{
    uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    const uint8_t *at = data;
    uint8_t last[128] = {0};
    size_t left = bytes % 64;
    size_t room = left < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)bytes * 8;

    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        mix(h, at + i);
    }
    memcpy(last, at + bytes - left, left);
    last[left] = 0x80;
    memcpy(last + room - 8, &bits, sizeof bits);
    for (size_t i = 0; i < room; i += 64) {
        mix(h, last + i);
    }
    memcpy(ret, h, sizeof h);
}
