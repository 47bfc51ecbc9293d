/* luks.h - encrypted disks in the format of LUKS, versions 1 and 2.
 *
 * A header holds the volume key, wrapped once for each passphrase (key slot); the data
 * is AES-XTS.  The header lies in front of the data or on a disk of its own.
 *
 * Secrets are bytes: a passphrase without its newline, or the content of a key file.
 * All functions in a strand, on the disks' thread; what takes long runs on another.
 *
 * Errors: -EUCLEAN the header is damaged or makes no sense, -EACCES no slot opens with
 * this secret, -EOPNOTSUPP a cipher, hash or feature that is not known here. */
#ifndef RESOURCE_STORAGE_LUKS_LUKS_H
#define RESOURCE_STORAGE_LUKS_LUKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct luks;
struct luks_cipher;
struct luks_known; /* volume keys that were found; NULL: none yet */

#define LUKS_SLOTS             32u /* version 1 has 8 of them */
#define LUKS_SECRET_MOST_BYTES (8u * 1024 * 1024)
#define LUKS_UUID_BYTES        40

struct luks_secret {
    const void *bytes; /* borrowed */
    size_t count;
};

/* What it costs to try one passphrase; zeros: RFC 9106, 4 (second choice) for
 * Argon2id, a million rounds for PBKDF2. */
struct luks_cost {
    bool pbkdf2; /* version 1 always */
    uint32_t rounds;
    uint32_t memory_kib; /* Argon2id */
    uint32_t threads;
};

struct luks_format {
    unsigned version;      /* 1, 2; 0: 2 */
    uint32_t sector_bytes; /* 512, or in version 2 up to 4096; 0: 512 */
    uint32_t key_bytes;    /* 32: AES-128, 64: AES-256; 0: 64 */
    bool detached;         /* the data begins at 0 of another disk */
    struct luks_cost cost;
};

/* Write a new header with one slot; whatever the disk had is lost. */
int luks_format(struct loop *l, struct blk *header, const struct luks_format *o,
                const struct luks_secret *secret, struct err *e);

/* Read a header; the disk is borrowed until `luks_close`. */
int luks_open(struct loop *l, struct blk *header, struct luks **ret, struct err *e);
void luks_close(struct luks *k); /* NULL is allowed */

struct luks_info {
    unsigned version;
    char uuid[LUKS_UUID_BYTES];
    uint32_t slots; /* a bit for each that has a key */
    uint64_t data_off;
    uint32_t sector_bytes;
    uint32_t key_bytes;
};

void luks_info(const struct luks *k, struct luks_info *ret);

/* Find the volume key; the number of the slot that had it. */
int luks_unlock(struct luks *k, const struct luks_secret *secret, struct err *e);

/* The same, 0; nothing is derived when `known`, which gets what is found, has the volume key by
 * the same secret: of another layer of the disk. */
int luks_unlock_known(struct luks *k, const struct luks_secret *secret,
                      struct luks_known **known, struct err *e);
void luks_known_free(struct luks_known *known); /* wipes them */

/* Unlocked: the cipher of the data; from now on the caller's, and the header is locked. */
struct luks_cipher *luks_take_cipher(struct luks *k);

/* Unlocked: another passphrase; the number of its slot.  -ENOSPC: all are taken.  A
 * power cut leaves the header as it was or with the new slot. */
int luks_add_key(struct luks *k, const struct luks_secret *secret,
                 const struct luks_cost *cost, struct err *e);

/* Destroy what a slot has.  -EBUSY: it is the last one. */
int luks_remove_key(struct luks *k, unsigned slot, struct err *e);

/* The old secret's slot is removed once the new one is durable: its number. */
int luks_change_key(struct luks *k, const struct luks_secret *from,
                    const struct luks_secret *to, const struct luks_cost *cost,
                    struct err *e);

/* A disk in clear over an encrypted one.  Takes `data`, also on failure; `header`:
 * a detached one, borrowed for this call; NULL: it is in front of the data. */
int luks_disk_create(struct loop *l, struct blk *take_data, struct blk *header,
                     const struct luks_secret *secret, struct blk **ret_disk,
                     struct err *e);

/* ---- one range of sectors at a time, for formats that encrypt inside ---- */

/* The key is copied.  32 or 64 bytes; sectors of 512 to 4096. */
int luks_cipher_create(const void *key, size_t key_bytes, uint32_t sector_bytes,
                       uint64_t iv_tweak, struct luks_cipher **ret);
void luks_cipher_destroy(struct luks_cipher *c);

/* Whole sectors; `off` is where they lie, which the cipher depends on (plain64: in
 * units of 512 bytes).  `to` may be `from`.  -EINVAL, -EIO. */
int luks_encrypt(struct luks_cipher *c, const void *from, void *to, size_t bytes,
                 uint64_t off);
int luks_decrypt(struct luks_cipher *c, const void *from, void *to, size_t bytes,
                 uint64_t off);

#endif
