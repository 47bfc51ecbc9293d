/* derive.c - keys from passphrases, hashes, and the anti-forensic split.
 *
 * Costs come from a header, that is from anybody: those that would hold a processor or
 * the memory of a host for minutes are refused.  Sources: LUKS1 On-Disk Format 1.2.3,
 * 2.4 (split) and 3 (keys); LUKS2 On-Disk Format 1.1.1, 3 (objects); RFC 9106. */
#include <argon2.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/luks/private.h"

#define PBKDF2_ROUNDS_MOST  50000000u
#define ARGON2_ROUNDS_MOST  64u
#define ARGON2_MEMORY_MOST  (2u * 1024 * 1024) /* KiB */
#define ARGON2_THREADS_MOST 16u

static const EVP_MD *hash_of(const char *name)
{
    static const char *const known[] = {"sha1",      "sha256", "sha512",
                                        "ripemd160", "sha224", "sha384"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], name) == 0) {
            return EVP_get_digestbyname(name);
        }
    }
    return NULL;
}

bool luks_hash_is_known(const char *name)
{
    return hash_of(name) != NULL;
}

bool luks_cost_is_bearable(const struct luks_kdf *kdf)
{
    if (kdf->kind == LUKS_PBKDF2) {
        return kdf->rounds > 0 && kdf->rounds <= PBKDF2_ROUNDS_MOST;
    }
    return kdf->rounds > 0 && kdf->rounds <= ARGON2_ROUNDS_MOST && kdf->memory_kib >= 8 &&
           kdf->memory_kib <= ARGON2_MEMORY_MOST && kdf->threads > 0 &&
           kdf->threads <= ARGON2_THREADS_MOST && kdf->salt_bytes >= 8;
}

int luks_random(void *to, size_t bytes)
{
    uint8_t *at = to;

    while (bytes > 0) {
        ssize_t n = getrandom(at, bytes, 0);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        at += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int luks_derive(const struct luks_kdf *kdf, const struct luks_secret *secret, void *to,
                size_t bytes)
{
    int r;

    if (kdf->kind == LUKS_PBKDF2) {
        const EVP_MD *md = hash_of(kdf->hash);

        if (md == NULL) {
            return -EOPNOTSUPP;
        }
        r = PKCS5_PBKDF2_HMAC(secret->bytes, (int)secret->count, kdf->salt,
                              (int)kdf->salt_bytes, (int)kdf->rounds, md, (int)bytes, to);
        return r == 1 ? 0 : -EIO;
    }
    r = (kdf->kind == LUKS_ARGON2I ? argon2i_hash_raw : argon2id_hash_raw)(
        kdf->rounds, kdf->memory_kib, kdf->threads, secret->bytes, secret->count,
        kdf->salt, kdf->salt_bytes, to, bytes);
    if (r == ARGON2_MEMORY_ALLOCATION_ERROR) {
        return -ENOMEM;
    }
    return r == ARGON2_OK ? 0 : -EIO;
}

int luks_hash(const char *name, const void *from, size_t bytes, uint8_t *to)
{
    const EVP_MD *md = hash_of(name);
    unsigned n = 0;

    if (md == NULL) {
        return -EOPNOTSUPP;
    }
    return EVP_Digest(from, bytes, to, &n, md, NULL) == 1 ? (int)n : -EIO;
}

/* Each piece of the length of a hash becomes the hash of its number and itself. */
static int diffuse(const EVP_MD *md, uint8_t *block, size_t bytes)
{
    size_t step = (size_t)EVP_MD_get_size(md);
    uint8_t in[4 + EVP_MAX_MD_SIZE];
    uint8_t out[EVP_MAX_MD_SIZE];

    for (size_t at = 0; at < bytes; at += step) {
        size_t n = bytes - at < step ? bytes - at : step;
        uint32_t number = htobe32((uint32_t)(at / step));

        memcpy(in, &number, 4);
        memcpy(in + 4, block + at, n);
        if (EVP_Digest(in, 4 + n, out, NULL, md, NULL) != 1) {
            return -EIO;
        }
        memcpy(block + at, out, n);
    }
    return 0;
}

static void add(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        to[i] ^= from[i];
    }
}

/* The sum of all stripes but the last, diffused after each. */
static int sum_up(const char *hash, const uint8_t *from, size_t bytes, uint32_t stripes,
                  uint8_t *sum)
{
    const EVP_MD *md = hash_of(hash);
    int r = md == NULL ? -EOPNOTSUPP : 0;

    memset(sum, 0, bytes);
    for (uint32_t i = 0; r == 0 && i + 1 < stripes; i++) {
        add(sum, from + (size_t)i * bytes, bytes);
        r = diffuse(md, sum, bytes);
    }
    return r;
}

int luks_split(const char *hash, const uint8_t *key, size_t bytes, uint32_t stripes,
               uint8_t *to)
{
    uint8_t *last = to + (size_t)(stripes - 1) * bytes;
    int r = luks_random(to, (size_t)(stripes - 1) * bytes);

    r = r == 0 ? sum_up(hash, to, bytes, stripes, last) : r;
    add(last, key, bytes);
    return r;
}

int luks_merge(const char *hash, const uint8_t *from, size_t bytes, uint32_t stripes,
               uint8_t *key)
{
    int r = sum_up(hash, from, bytes, stripes, key);

    add(key, from + (size_t)(stripes - 1) * bytes, bytes);
    return r;
}
