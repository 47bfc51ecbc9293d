/* known.c - volume keys that were found, for the layers of one disk.
 *
 * A snapshot or a clone has the header of the layer below it, so a chain of encrypted layers has
 * one volume key.  A header tells by its digest whether a key is its own; one with the same
 * digest, salt and number of rounds as a header that was unlocked has the same key, which
 * is taken without a derivation, if the secret is the same, too. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/luks/private.h"

#define KNOWN_MOST 16 /* chains have one, or one for each time that they changed hands */

struct luks_known {
    struct luks_known *next;
    struct luks_kdf kdf; /* of the digest */
    uint8_t digest[LUKS_DIGEST_MOST];
    size_t digest_bytes;
    uint32_t key_bytes;
    uint8_t key[LUKS_KEY_MOST];
    uint8_t secret[LUKS_DIGEST_MOST]; /* its hash */
};

static bool is_of(const struct luks_known *x, const struct luks *k,
                  const uint8_t secret[LUKS_DIGEST_MOST])
{
    const struct luks_kdf *a = &x->kdf;
    const struct luks_kdf *b = &k->digest_kdf;

    return x->key_bytes == k->key_bytes && x->digest_bytes == k->digest_bytes &&
           memcmp(x->digest, k->digest, k->digest_bytes) == 0 && a->kind == b->kind &&
           strcmp(a->hash, b->hash) == 0 && a->rounds == b->rounds &&
           a->salt_bytes == b->salt_bytes &&
           memcmp(a->salt, b->salt, b->salt_bytes) == 0 &&
           CRYPTO_memcmp(x->secret, secret, LUKS_DIGEST_MOST) == 0;
}

/* What is not remembered is found again the next time. */
static void remember(struct luks_known **known, const struct luks *k,
                     const uint8_t secret[LUKS_DIGEST_MOST])
{
    struct luks_known *x;
    unsigned count = 0;

    for (x = *known; x != NULL; x = x->next) {
        count++;
    }
    x = count < KNOWN_MOST ? fault_calloc(1, sizeof *x) : NULL;
    if (x != NULL) {
        x->kdf = k->digest_kdf;
        memcpy(x->digest, k->digest, sizeof x->digest);
        x->digest_bytes = k->digest_bytes;
        x->key_bytes = k->key_bytes;
        memcpy(x->key, k->key, sizeof x->key);
        memcpy(x->secret, secret, sizeof x->secret);
        x->next = *known;
        *known = x;
    }
}

int luks_unlock_known(struct luks *k, const struct luks_secret *secret,
                      struct luks_known **known, struct err *e)
{
    uint8_t hash[LUKS_DIGEST_MOST] = {0};
    int r = luks_hash("sha256", secret->bytes, secret->count, hash);

    for (const struct luks_known *x = *known; r > 0 && x != NULL; x = x->next) {
        if (k->cipher == NULL && is_of(x, k, hash)) {
            memcpy(k->key, x->key, k->key_bytes);
            r = luks_cipher_create(k->key, k->key_bytes, k->sector_bytes, k->iv_tweak,
                                   &k->cipher);
            OPENSSL_cleanse(hash, sizeof hash);
            return r;
        }
    }
    r = r < 0 ? r : luks_unlock(k, secret, e);
    if (r >= 0) {
        remember(known, k, hash);
    }
    OPENSSL_cleanse(hash, sizeof hash);
    return r < 0 ? r : 0;
}

void luks_known_free(struct luks_known *known)
{
    while (known != NULL) {
        struct luks_known *next = known->next;

        OPENSSL_cleanse(known, sizeof *known);
        free(known);
        known = next;
    }
}
