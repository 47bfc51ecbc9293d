/* job.c - one job for every level: compress, hash, count primes.
 *
 * A static program without arguments of its host: as a process, in a container, and as the
 * first process of a machine, where it is called "/init" and switches the machine off at its
 * end.  What it works on is made by a formula, so that every level must find the same.
 *
 *     job [UNITS]      one unit: 256 KiB of text, and the numbers below 200,000
 *
 * It prints "job begin" before anything else, then "job end BYTES SHA256 PRIMES KIB": bytes
 * of the packed text, its hash, the primes, and the most memory that it used itself. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include "base/sha256.h"

#define TEXT_BYTES (256 * 1024)
#define NUMBERS    200000
#define UNITS_MOST 100000

/* Words of a small vocabulary: it packs about as well as prose. */
static void write_text(uint8_t *to, uint32_t seed)
{
    static const char letters[] = "etaoinshrdlucmfw";
    size_t at = 0;

    while (at < TEXT_BYTES) {
        uint32_t word;
        unsigned n;

        seed = seed * 1664525 + 1013904223;
        word = (seed >> 16) % 4096;
        n = 2 + word % 7;
        for (unsigned i = 0; i < n && at < TEXT_BYTES; i++) {
            to[at++] = (uint8_t)letters[(word * 2654435761U >> (4 * i)) & 15];
        }
        if (at < TEXT_BYTES) {
            to[at++] = word % 11 == 0 ? '\n' : ' ';
        }
    }
}

static unsigned count_primes(uint8_t *sieve)
{
    unsigned count = 0;

    memset(sieve, 1, NUMBERS);
    for (unsigned i = 2; i < NUMBERS; i++) {
        count += sieve[i];
        for (unsigned k = 2 * i; sieve[i] != 0 && k < NUMBERS; k += i) {
            sieve[k] = 0;
        }
    }
    return count;
}

int main(int argc, char **argv)
{
    static uint8_t text[TEXT_BYTES];
    static uint8_t packed[TEXT_BYTES + TEXT_BYTES / 8];
    static uint8_t sieve[NUMBERS];
    unsigned long units = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    unsigned long bytes = 0;
    uint8_t sum[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    struct rusage used = {0};
    struct sha256 hash;
    unsigned primes = 0;

    (void)puts("job begin");
    (void)fflush(stdout);
    sha256_init(&hash);
    for (unsigned long i = 0; i < units && units <= UNITS_MOST; i++) {
        uLongf n = sizeof packed;

        write_text(text, (uint32_t)i);
        if (compress2(packed, &n, text, sizeof text, Z_DEFAULT_COMPRESSION) != Z_OK) {
            return 1;
        }
        sha256_add(&hash, packed, n);
        bytes += n;
        primes = count_primes(sieve);
    }
    sha256_end(&hash, sum);
    sha256_hex(sum, hex);
    (void)getrusage(RUSAGE_SELF, &used);
    (void)printf("job end %lu %s %u %ld\n", bytes, hex, primes, used.ru_maxrss);
    (void)fflush(stdout);
    if (strcmp(argv[0], "/init") == 0) {
        sync();
        (void)reboot(RB_POWER_OFF);
    }
    return 0;
}
