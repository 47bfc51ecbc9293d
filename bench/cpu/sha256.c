/* sha256.c - the compression function of SHA-256 (FIPS 180-4, 6.2) over a buffer:
 * rotates, adds and logic on 32 bits. */
#include "cpu.h"

#define BUFFER_BYTES 65536
#define ROUNDS       CPU_ROUNDS(160)

static uint8_t buffer[BUFFER_BYTES];
static uint32_t k[64];

/* floor(x^power / 2^(32 * power)), for x below 2^37; in limbs of 32 bits, since not every
 * compiler has wider integers. */
static uint64_t power_of(uint64_t x, int power)
{
    uint32_t limb[5] = {1};
    int n, i;

    for (n = 0; n < power; n++) {
        uint64_t carry = 0, before = 0;

        for (i = 0; i < 5; i++) {
            uint64_t sum = limb[i] * (x & 0xffffffff) + carry;

            carry = sum >> 32;
            sum = (sum & 0xffffffff) + before * (x >> 32); /* x >> 32 is below 32 */
            before = limb[i];
            limb[i] = (uint32_t)sum;
            carry += sum >> 32;
        }
    }
    return limb[power] | (uint64_t)limb[power + 1] << 32;
}

/* The first 32 bits of the fractional part of the `power`th root of `prime`, by
 * bisection in integers: floor(root * 2^32) mod 2^32. */
static uint32_t root_bits(uint64_t prime, int power)
{
    uint64_t low = 0, high = UINT64_C(1) << 37;

    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;

        if (power_of(middle, power) < prime) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (uint32_t)low;
}

static void make_constants(uint32_t *state)
{
    unsigned n = 0, candidate, d;

    for (candidate = 2; n < 64; candidate++) {
        for (d = 2; d * d <= candidate && candidate % d != 0; d++) {
        }
        if (d * d > candidate) {
            if (n < 8) {
                state[n] = root_bits(candidate, 2);
            }
            k[n++] = root_bits(candidate, 3);
        }
    }
}

static inline uint32_t rotate(uint32_t x, int n)
{
    return (x >> n) | (x << (32 - n));
}

static void compress(uint32_t *state, const uint8_t *block)
{
    uint32_t w[64], s[8];
    int i;

    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];

        w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3)) +
               (rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10));
    }
    for (i = 0; i < 8; i++) {
        s[i] = state[i];
    }
    for (i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

        s[7] = s[6];
        s[6] = s[5];
        s[5] = s[4];
        s[4] = s[3] + t1;
        s[3] = s[2];
        s[2] = s[1];
        s[1] = s[0];
        s[0] = t1 + t2;
    }
    for (i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

uint64_t work(void)
{
    uint32_t state[8];
    unsigned i, round;

    make_constants(state);
    for (i = 0; i < BUFFER_BYTES; i++) {
        buffer[i] = (uint8_t)(i * 7);
    }
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < BUFFER_BYTES; i += 64) {
            compress(state, buffer + i);
        }
    }
    return (uint64_t)state[0] << 32 | state[7];
}
