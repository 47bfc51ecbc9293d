/* sha256.h - SHA-256 (FIPS 180-4), with the processor's instructions where it has them. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES     32
#define SHA256_HEX_BYTES 65 /* with the NUL */

struct sha256 {
    bool fast; /* the processor's own instructions are used */
    uint32_t h[8];
    uint64_t len;      /* bytes so far */
    uint8_t block[64]; /* the first len % 64 bytes of it are waiting */
};

void sha256_init(struct sha256 *s);

/* The same without special instructions, for tests of that way. */
void sha256_init_portable(struct sha256 *s);

void sha256_add(struct sha256 *s, const void *bytes, size_t len);
void sha256_end(struct sha256 *s, uint8_t ret[SHA256_BYTES]);

/* All at once. */
void sha256_sum(const void *bytes, size_t len, uint8_t ret[SHA256_BYTES]);

/* Lower-case hex digits and a NUL. */
void sha256_hex(const uint8_t sum[SHA256_BYTES], char ret[SHA256_HEX_BYTES]);

#endif
