/* cipher.c - sectors by AES-XTS with plain64: the tweak is the sector's number in units of
 * 512 bytes, little endian (dm-crypt's name; IEEE 1619 for XTS). */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/fault.h"
#include "resource/storage/luks/private.h"

struct luks_cipher {
    EVP_CIPHER_CTX *way[2]; /* owned: decrypt, encrypt */
    uint32_t sector_bytes;
    uint64_t iv_tweak;
};

void luks_cipher_destroy(struct luks_cipher *c)
{
    if (c != NULL) {
        EVP_CIPHER_CTX_free(c->way[0]);
        EVP_CIPHER_CTX_free(c->way[1]);
        free(c);
    }
}

int luks_cipher_create(const void *key, size_t key_bytes, uint32_t sector_bytes,
                       uint64_t iv_tweak, struct luks_cipher **ret)
{
    const EVP_CIPHER *kind = key_bytes == 64 ? EVP_aes_256_xts() : EVP_aes_128_xts();
    struct luks_cipher *c;

    if ((key_bytes != 32 && key_bytes != 64) || sector_bytes < 512 ||
        sector_bytes > 4096 || (sector_bytes & (sector_bytes - 1)) != 0) {
        return -EINVAL;
    }
    c = fault_calloc(1, sizeof *c);
    if (c == NULL) {
        return -ENOMEM;
    }
    c->sector_bytes = sector_bytes;
    c->iv_tweak = iv_tweak;
    for (int i = 0; i < 2; i++) {
        c->way[i] = EVP_CIPHER_CTX_new();
        if (c->way[i] == NULL ||
            EVP_CipherInit_ex(c->way[i], kind, NULL, key, NULL, i) != 1) {
            int r = c->way[i] == NULL ? -ENOMEM : -EINVAL;

            luks_cipher_destroy(c);
            return r;
        }
    }
    *ret = c;
    return 0;
}

static int run(struct luks_cipher *c, int way, const uint8_t *from, uint8_t *to,
               size_t bytes, uint64_t off)
{
    if (bytes % c->sector_bytes != 0 || off % c->sector_bytes != 0) {
        return -EINVAL;
    }
    for (size_t at = 0; at < bytes; at += c->sector_bytes) {
        uint64_t iv[2] = {htole64((off + at) / 512 + c->iv_tweak), 0};
        int n = 0;

        if (EVP_CipherInit_ex(c->way[way], NULL, NULL, NULL, (const uint8_t *)iv, way) !=
                1 ||
            EVP_CipherUpdate(c->way[way], to + at, &n, from + at, (int)c->sector_bytes) !=
                1) {
            return -EIO;
        }
    }
    return 0;
}

int luks_encrypt(struct luks_cipher *c, const void *from, void *to, size_t bytes,
                 uint64_t off)
{
    return run(c, 1, from, to, bytes, off);
}

int luks_decrypt(struct luks_cipher *c, const void *from, void *to, size_t bytes,
                 uint64_t off)
{
    return run(c, 0, from, to, bytes, off);
}
