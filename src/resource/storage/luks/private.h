/* private.h - what the files of LUKS share: a header in memory, whatever its version. */
#ifndef RESOURCE_STORAGE_LUKS_PRIVATE_H
#define RESOURCE_STORAGE_LUKS_PRIVATE_H

#include <jansson.h>

#include "base/strand.h"
#include "resource/storage/luks/luks.h"

#define LUKS_KEY_MOST    64u
#define LUKS_SALT_MOST   128u
#define LUKS_DIGEST_MOST 64u
#define LUKS_HASH_BYTES  32u /* a name */
#define LUKS1_SLOTS      8u
#define LUKS_STRIPES     4000u
#define LUKS_ALIGN       4096u

enum luks_kdf_kind {
    LUKS_PBKDF2,
    LUKS_ARGON2I,
    LUKS_ARGON2ID
};

struct luks_kdf {
    enum luks_kdf_kind kind;
    char hash[LUKS_HASH_BYTES]; /* PBKDF2 */
    uint32_t rounds;
    uint32_t memory_kib;
    uint32_t threads;
    uint8_t salt[LUKS_SALT_MOST];
    size_t salt_bytes;
};

struct luks_slot {
    bool active;
    bool foreign; /* of a kind that is not known here: left alone */
    struct luks_kdf kdf;
    char hash[LUKS_HASH_BYTES]; /* of the anti-forensic split */
    uint32_t stripes;
    uint64_t off;   /* of the split key, on the header's disk */
    uint64_t bytes; /* room there */
    uint32_t area_key_bytes;
};

struct luks {
    struct loop *loop;
    struct blk *disk; /* borrowed */
    struct strand_lock lock;
    unsigned version;
    char uuid[LUKS_UUID_BYTES];
    uint32_t key_bytes;
    uint32_t sector_bytes;
    uint64_t data_off;
    uint64_t iv_tweak;
    struct luks_slot slot[LUKS_SLOTS];
    unsigned slots; /* that there may be */
    struct luks_kdf digest_kdf;
    uint8_t digest[LUKS_DIGEST_MOST];
    size_t digest_bytes;
    uint8_t *raw; /* owned: the header as it is on the disk, `raw_bytes` */
    size_t raw_bytes;
    json_t *json; /* owned; version 2 */
    uint64_t seqid;
    char digest_name[16]; /* version 2: its key in the JSON */
    uint8_t key[LUKS_KEY_MOST];
    struct luks_cipher *cipher; /* owned; NULL: locked */
};

/* ---- derive.c ---- */

int luks_derive(const struct luks_kdf *kdf, const struct luks_secret *secret, void *to,
                size_t bytes);
bool luks_hash_is_known(const char *name);
bool luks_cost_is_bearable(const struct luks_kdf *kdf);
int luks_random(void *to, size_t bytes);

/* Hash of `bytes` into `to`, which has LUKS_DIGEST_MOST; its length, or -errno. */
int luks_hash(const char *name, const void *from, size_t bytes, uint8_t *to);

/* A key spread over `stripes`, so that losing any part loses it (LUKS1, 2.4). */
int luks_split(const char *hash, const uint8_t *key, size_t bytes, uint32_t stripes,
               uint8_t *to);
int luks_merge(const char *hash, const uint8_t *from, size_t bytes, uint32_t stripes,
               uint8_t *key);

/* ---- luks1.c, luks2.c: the header's form ---- */

/* `raw` of `k` has the header's first bytes, all that the size says for version 2. */
int luks1_parse(struct luks *k, struct err *e);
int luks2_parse(struct luks *k, struct err *e);

/* Make a new header in `raw`; the digest of the key is there. */
int luks1_make(struct luks *k, const struct luks_format *o);
int luks2_make(struct luks *k, const struct luks_format *o);

/* Where a new slot's split key may lie; -ENOSPC. */
int luks1_place(const struct luks *k, unsigned slot, struct luks_slot *s);
int luks2_place(const struct luks *k, unsigned slot, struct luks_slot *s);

/* Bring `raw` up to date with slot `n`. */
int luks1_set_slot(struct luks *k, unsigned n);
int luks2_set_slot(struct luks *k, unsigned n);

/* Version 2: whether the first bytes are of a copy of that size. */
bool luks2_may_be(const uint8_t *head, size_t bytes, bool secondary);

/* Version 2: the copy that is believed of a primary and a secondary header. */
int luks2_check(const uint8_t *raw, size_t bytes, bool secondary, uint64_t *ret_seqid);
void luks2_seal(struct luks *k, uint8_t *to, bool secondary);

#endif
