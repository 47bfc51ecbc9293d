/* luks1.c - the header of version 1 (LUKS On-Disk Format Specification 1.2.3, 2).
 *
 *       0 magic  6 version  8 cipher  40 mode  72 hash  104 data (sectors)  108 key bytes
 *     112 digest 132 its salt 164 its rounds 168 UUID 208 eight slots of 48 bytes:
 *         0 active  4 rounds  8 salt  40 key material (sectors)  44 stripes
 *
 * Big endian; one hash for everything. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/luks/private.h"

#define HEAD_BYTES   1024u /* whole blocks; 592 are used */
#define SLOT_AT      208u
#define SLOT_BYTES   48u
#define SALT_BYTES   32u
#define DIGEST_BYTES 20u
#define SLOT_ON      0x00ac71f3u
#define SLOT_OFF     0x0000deadu
#define DATA_SECTORS 4096u
#define FIRST_SECTOR 8u
#define SECTORS_MOST (64u * 2048) /* of the data's offset: 64 MiB */

static uint32_t get_32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return be32toh(v);
}

static void put_32(uint8_t *at, uint32_t v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof v);
}

/* A name that ends inside its field. */
static bool copy_name(char *to, size_t room, const uint8_t *from, size_t bytes)
{
    size_t n = strnlen((const char *)from, bytes);

    if (n == bytes || n >= room) {
        return false;
    }
    memcpy(to, from, n + 1);
    return true;
}

static uint64_t split_sectors(uint32_t key_bytes)
{
    uint64_t sectors = ((uint64_t)key_bytes * LUKS_STRIPES + 511) / 512;

    return (sectors + FIRST_SECTOR - 1) / FIRST_SECTOR * FIRST_SECTOR;
}

static int parse_slot(struct luks *k, unsigned n, const char *hash)
{
    const uint8_t *at = k->raw + SLOT_AT + n * SLOT_BYTES;
    struct luks_slot *s = &k->slot[n];

    if (get_32(at) != SLOT_ON) {
        return get_32(at) == SLOT_OFF ? 0 : -EUCLEAN;
    }
    s->active = true;
    s->kdf.kind = LUKS_PBKDF2;
    s->kdf.rounds = get_32(at + 4);
    s->kdf.salt_bytes = SALT_BYTES;
    memcpy(s->kdf.salt, at + 8, SALT_BYTES);
    (void)strcpy(s->kdf.hash, hash);
    (void)strcpy(s->hash, hash);
    s->off = (uint64_t)get_32(at + 40) * 512;
    s->stripes = get_32(at + 44);
    s->area_key_bytes = k->key_bytes;
    s->bytes = split_sectors(k->key_bytes) * 512;
    if (s->stripes != LUKS_STRIPES || s->off < HEAD_BYTES ||
        (k->data_off != 0 &&
         s->off + (uint64_t)k->key_bytes * s->stripes > k->data_off)) {
        return -EUCLEAN;
    }
    return 0;
}

static int check_names(const struct luks *k, char *hash, struct err *e)
{
    char cipher[32];
    char mode[32];

    if (!copy_name(cipher, sizeof cipher, k->raw + 8, 32) ||
        !copy_name(mode, sizeof mode, k->raw + 40, 32) ||
        !copy_name(hash, LUKS_HASH_BYTES, k->raw + 72, 32)) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS header: a name has no end");
    }
    if (strcmp(cipher, "aes") != 0 || strcmp(mode, "xts-plain64") != 0 ||
        !luks_hash_is_known(hash)) {
        return err_set(e, -EOPNOTSUPP, "cannot open a LUKS header: %s-%s with %s", cipher,
                       mode, hash);
    }
    return 0;
}

int luks1_parse(struct luks *k, struct err *e)
{
    char hash[LUKS_HASH_BYTES];
    uint32_t data = get_32(k->raw + 104);
    int r = check_names(k, hash, e);

    if (r != 0) {
        return r;
    }
    k->slots = LUKS1_SLOTS;
    k->key_bytes = get_32(k->raw + 108);
    k->sector_bytes = 512;
    k->data_off = (uint64_t)data * 512;
    k->digest_kdf =
        (struct luks_kdf){.rounds = get_32(k->raw + 164), .salt_bytes = SALT_BYTES};
    memcpy(k->digest_kdf.salt, k->raw + 132, SALT_BYTES);
    (void)strcpy(k->digest_kdf.hash, hash);
    memcpy(k->digest, k->raw + 112, DIGEST_BYTES);
    k->digest_bytes = DIGEST_BYTES;
    if ((k->key_bytes != 32 && k->key_bytes != 64) || data > SECTORS_MOST ||
        !luks_cost_is_bearable(&k->digest_kdf) ||
        !copy_name(k->uuid, sizeof k->uuid, k->raw + 168, 40)) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS header: it makes no sense");
    }
    for (unsigned i = 0; r == 0 && i < LUKS1_SLOTS; i++) {
        r = parse_slot(k, i, hash);
    }
    return r == 0 ? 0 : err_set(e, r, "cannot open a LUKS header: a slot is damaged");
}

int luks1_place(const struct luks *k, unsigned slot, struct luks_slot *s)
{
    const uint8_t *at = k->raw + SLOT_AT + slot * SLOT_BYTES;

    s->off = (uint64_t)get_32(at + 40) * 512;
    s->bytes = split_sectors(k->key_bytes) * 512;
    s->kdf.salt_bytes = SALT_BYTES;
    (void)strcpy(s->kdf.hash, k->digest_kdf.hash); /* one hash for everything */
    (void)strcpy(s->hash, k->digest_kdf.hash);
    if (s->off < HEAD_BYTES || (k->data_off != 0 && s->off + s->bytes > k->data_off)) {
        return -EUCLEAN;
    }
    return 0;
}

int luks1_set_slot(struct luks *k, unsigned n)
{
    uint8_t *at = k->raw + SLOT_AT + n * SLOT_BYTES;
    const struct luks_slot *s = &k->slot[n];

    put_32(at, s->active ? SLOT_ON : SLOT_OFF);
    put_32(at + 4, s->active ? s->kdf.rounds : 0);
    memset(at + 8, 0, SALT_BYTES);
    if (s->active) {
        memcpy(at + 8, s->kdf.salt, SALT_BYTES);
    }
    return 0;
}

int luks1_make(struct luks *k, const struct luks_format *o)
{
    static const uint8_t magic[8] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1};
    uint8_t *raw = fault_calloc(1, HEAD_BYTES);

    if (raw == NULL) {
        return -ENOMEM;
    }
    k->raw = raw;
    k->raw_bytes = HEAD_BYTES;
    k->slots = LUKS1_SLOTS;
    k->data_off = o->detached ? 0 : (uint64_t)DATA_SECTORS * 512;
    k->digest_bytes = DIGEST_BYTES;
    memcpy(raw, magic, sizeof magic);
    (void)strcpy((char *)raw + 8, "aes");
    (void)strcpy((char *)raw + 40, "xts-plain64");
    (void)strcpy((char *)raw + 72, k->digest_kdf.hash);
    put_32(raw + 104, (uint32_t)(k->data_off / 512));
    put_32(raw + 108, k->key_bytes);
    memcpy(raw + 112, k->digest, DIGEST_BYTES);
    memcpy(raw + 132, k->digest_kdf.salt, SALT_BYTES);
    put_32(raw + 164, k->digest_kdf.rounds);
    memcpy(raw + 168, k->uuid, sizeof k->uuid);
    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        uint8_t *at = raw + SLOT_AT + i * SLOT_BYTES;

        put_32(at, SLOT_OFF);
        put_32(at + 40, (uint32_t)(FIRST_SECTOR + i * split_sectors(k->key_bytes)));
        put_32(at + 44, LUKS_STRIPES);
    }
    return 0;
}
