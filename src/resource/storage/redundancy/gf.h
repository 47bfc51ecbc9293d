/* gf.h - arithmetic of bytes in GF(2^8), for the second parity of an array. */
#ifndef RESOURCE_STORAGE_REDUNDANCY_GF_H
#define RESOURCE_STORAGE_REDUNDANCY_GF_H

#include <stddef.h>
#include <stdint.h>

uint8_t gf_mul(uint8_t a, uint8_t b);
uint8_t gf_div(uint8_t a, uint8_t b); /* b is not 0 */
uint8_t gf_power(unsigned n);         /* 2 to the n-th */
unsigned gf_log(uint8_t a);           /* a is not 0; 0..254 */

/* to[i] ^= from[i] */
void gf_add(uint8_t *to, const uint8_t *from, size_t bytes);

/* to[i] ^= by * from[i] */
void gf_mul_add(uint8_t *to, const uint8_t *from, uint8_t by, size_t bytes);

/* to[i] = by * to[i] */
void gf_scale(uint8_t *to, uint8_t by, size_t bytes);

/* The ways of `gf_mul_add`, for tests: 0 byte by byte, 1 SSSE3, 2 AVX2.  -1: the
 * processor does not have it. */
int gf_mul_add_way(unsigned way, uint8_t *to, const uint8_t *from, uint8_t by,
                   size_t bytes);

#endif
