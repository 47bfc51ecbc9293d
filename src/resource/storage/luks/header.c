/* header.c - open a header, find its key, and change its slots, for both versions.
 *
 * Order of a change, so that a power cut leaves one that opens: a new slot's split
 * key is durable before the header that names it; of version 2's two copies one is
 * durable before the other is written.  Changing a passphrase adds the new one
 * first and removes the old one last.
 *
 * What takes long (deriving keys) and what needs a deep stack (JSON) runs on another
 * thread, with the header locked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk.h"
#include "contract/blk_ops.h"
#include "host/loop/file_io.h"
#include "host/loop/loop.h"
#include "resource/storage/luks/private.h"

#define HEAD1_BYTES    1024u
#define COPY2_LEAST    16384u
#define COPY2_MOST     (4u * 1024 * 1024)
#define DIGEST_ROUNDS  10000u /* of a random key: they add nothing */
#define PBKDF2_DEFAULT 1000000u
#define ARGON2_ROUNDS  3u           /* RFC 9106, 4 */
#define ARGON2_MEMORY  (64u * 1024) /* KiB; RFC 9106, 4 */
#define ARGON2_THREADS 4u           /* RFC 9106, 4 */

/* ---- bytes of the disk ---- */

static int read_bytes(struct luks *k, uint64_t off, void *to, size_t bytes)
{
    uint64_t size = blk_size(k->disk);

    if (off > size || bytes > size - off) {
        return -EUCLEAN;
    }
    return blk_read(k->disk, to, bytes, off);
}

/* Whole units of 4096 bytes, whatever the disk's blocks; durable. */
static int write_bytes(struct luks *k, uint64_t off, const void *from, size_t bytes)
{
    uint64_t first = off / LUKS_ALIGN * LUKS_ALIGN;
    size_t all =
        (size_t)((off + bytes + LUKS_ALIGN - 1) / LUKS_ALIGN * LUKS_ALIGN - first);
    SCOPED(scope_free) uint8_t *room = fault_malloc(all);
    int r = room == NULL ? -ENOMEM : read_bytes(k, first, room, all);

    if (r == 0) {
        memcpy(room + (off - first), from, bytes);
        r = blk_write(k->disk, room, all, first, 0);
    }
    return r == 0 ? blk_flush(k->disk) : r;
}

static int write_header(struct luks *k)
{
    SCOPED(scope_free) uint8_t *copy = NULL;
    int r = 0;

    if (k->version == 1) {
        return write_bytes(k, 0, k->raw, k->raw_bytes);
    }
    copy = fault_malloc(k->raw_bytes);
    if (copy == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        luks2_seal(k, copy, i == 1);
        r = write_bytes(k, i * k->raw_bytes, copy, k->raw_bytes);
    }
    return r;
}

/* ---- open ---- */

static int take_raw(struct luks *k, size_t bytes)
{
    free(k->raw);
    k->raw = fault_calloc(1, bytes);
    k->raw_bytes = bytes;
    return k->raw == NULL ? -ENOMEM : 0;
}

/* One copy of version 2: 0 when it is whole.  Most places have none: look at the first
 * bytes before the rest. */
static int read_copy(struct luks *k, uint64_t off, size_t bytes, uint8_t *to,
                     uint64_t *ret_seqid)
{
    int r = read_bytes(k, off, to, LUKS_ALIGN);

    if (r == 0 && !luks2_may_be(to, bytes, off != 0)) {
        r = -EUCLEAN;
    }
    r = r == 0 ? read_bytes(k, off, to, bytes) : r;
    return r == 0 ? luks2_check(to, bytes, off != 0, ret_seqid) : r;
}

/* The newer of the two copies that are whole.  The first one may be lost with its size:
 * the second lies at one of few places. */
static int read_newer(struct luks *k)
{
    SCOPED(scope_free) uint8_t *other = fault_malloc(COPY2_MOST);
    bool found = false;

    if (other == NULL) {
        return -ENOMEM;
    }
    for (size_t bytes = COPY2_LEAST; bytes <= COPY2_MOST; bytes *= 2) {
        for (unsigned i = 0; i < 2; i++) {
            uint64_t seqid = 0;
            int r = read_copy(k, i * bytes, bytes, other, &seqid);

            if (r != 0 && r != -EUCLEAN) {
                return r;
            }
            if (r != 0 || (found && seqid <= k->seqid)) {
                continue;
            }
            r = take_raw(k, bytes);
            if (r != 0) {
                return r;
            }
            memcpy(k->raw, other, bytes);
            k->seqid = seqid;
            found = true;
        }
    }
    return found ? 0 : -EUCLEAN;
}

struct job {
    struct luks *k;
    struct err *e;
    const struct luks_secret *secret;
    struct luks_slot *slot;
    const uint8_t *area;
    uint8_t *to;
    uint8_t *split;
    int (*fn)(struct job *j);
};

static int do_job(void *arg)
{
    struct job *j = arg;

    return j->fn(j);
}

static int run_job(struct job *j, int (*fn)(struct job *j))
{
    j->fn = fn;
    return file_io_call(j->k->loop, do_job, j);
}

static int parse_job(struct job *j)
{
    return j->k->version == 1 ? luks1_parse(j->k, j->e) : luks2_parse(j->k, j->e);
}

static int read_header(struct luks *k, struct err *e)
{
    static const uint8_t magic[7] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0};
    struct job j = {.k = k, .e = e};
    uint8_t head[4096] __attribute__((aligned(4096)));
    int r = read_bytes(k, 0, head, sizeof head);

    if (r != 0 && r != -EUCLEAN) {
        return err_sys(e, r, "cannot read a LUKS header");
    }
    if (r == 0 && memcmp(head, magic, sizeof magic) == 0 && head[7] == 1) {
        k->version = 1;
        r = take_raw(k, HEAD1_BYTES);
        if (r == 0) {
            memcpy(k->raw, head, HEAD1_BYTES);
        }
    } else {
        k->version = 2;
        r = read_newer(k);
    }
    if (r != 0) {
        return r == -EUCLEAN ? err_set(e, r,
                                       "cannot open a LUKS header: there is none, "
                                       "or it is damaged")
                             : err_sys(e, r, "cannot read a LUKS header");
    }
    r = run_job(&j, parse_job);
    return r == 0 ? 0 : err_sys(e, r, "cannot open a LUKS header");
}

static int new_header(struct loop *l, struct blk *disk, struct luks **ret, struct err *e)
{
    struct luks *k = fault_calloc(1, sizeof *k);

    if (k == NULL) {
        return err_sys(e, -ENOMEM, "cannot open a LUKS header");
    }
    k->loop = l;
    k->disk = disk;
    *ret = k;
    return 0;
}

int luks_open(struct loop *l, struct blk *header, struct luks **ret, struct err *e)
{
    struct luks *k = NULL;
    int r = new_header(l, header, &k, e);

    if (r == 0) {
        r = read_header(k, e);
    }
    if (r != 0) {
        luks_close(k);
        return r;
    }
    *ret = k;
    return 0;
}

void luks_close(struct luks *k)
{
    if (k == NULL) {
        return;
    }
    luks_cipher_destroy(k->cipher);
    OPENSSL_cleanse(k->key, sizeof k->key);
    json_decref(k->json);
    free(k->raw);
    free(k);
}

void luks_info(const struct luks *k, struct luks_info *ret)
{
    *ret = (struct luks_info){
        .version = k->version,
        .data_off = k->data_off,
        .sector_bytes = k->sector_bytes,
        .key_bytes = k->key_bytes,
    };
    (void)strcpy(ret->uuid, k->uuid);
    for (unsigned i = 0; i < k->slots; i++) {
        ret->slots |= k->slot[i].active ? 1u << i : 0;
    }
}

struct luks_cipher *luks_take_cipher(struct luks *k)
{
    struct luks_cipher *c = k->cipher;

    k->cipher = NULL;
    OPENSSL_cleanse(k->key, sizeof k->key);
    return c;
}

/* ---- the volume key ---- */

static int digest_of(const struct luks *k, const uint8_t *key,
                     uint8_t to[LUKS_DIGEST_MOST])
{
    struct luks_secret s = {key, k->key_bytes};

    return luks_derive(&k->digest_kdf, &s, to, k->digest_bytes);
}

/* Try a secret on one slot: 0, -EACCES. */
static int try_job(struct job *j)
{
    const struct luks_slot *s = j->slot;
    size_t bytes = (size_t)s->stripes * j->k->key_bytes;
    uint8_t wrap[LUKS_KEY_MOST];
    uint8_t digest[LUKS_DIGEST_MOST];
    struct luks_cipher *c = NULL;
    int r = luks_derive(&s->kdf, j->secret, wrap, s->area_key_bytes);

    r = r == 0 ? luks_cipher_create(wrap, s->area_key_bytes, 512, 0, &c) : r;
    r = r == 0 ? luks_decrypt(c, j->area, j->split, bytes, 0) : r;
    r = r == 0 ? luks_merge(s->hash, j->split, j->k->key_bytes, s->stripes, j->to) : r;
    r = r == 0 ? digest_of(j->k, j->to, digest) : r;
    if (r == 0 && CRYPTO_memcmp(digest, j->k->digest, j->k->digest_bytes) != 0) {
        r = -EACCES;
    }
    luks_cipher_destroy(c);
    OPENSSL_cleanse(wrap, sizeof wrap);
    OPENSSL_cleanse(j->split, bytes);
    return r;
}

/* Whole sectors of the split key, and whole units of the disk that they lie in. */
static int try_slot(struct luks *k, struct luks_slot *s, const struct luks_secret *secret,
                    uint8_t key[LUKS_KEY_MOST])
{
    uint64_t first = s->off / LUKS_ALIGN * LUKS_ALIGN;
    size_t split = (size_t)s->stripes * k->key_bytes;
    size_t all =
        (size_t)((s->off + split + LUKS_ALIGN - 1) / LUKS_ALIGN * LUKS_ALIGN - first);
    SCOPED(scope_free) uint8_t *area = fault_malloc(all);
    SCOPED(scope_free) uint8_t *room = fault_malloc(split);
    struct job j = {.k = k, .secret = secret, .slot = s, .to = key, .split = room};
    int r;

    if (area == NULL || room == NULL) {
        return -ENOMEM;
    }
    r = read_bytes(k, first, area, all);
    j.area = area + (s->off - first);
    return r == 0 ? run_job(&j, try_job) : r;
}

static int find_key(struct luks *k, const struct luks_secret *secret, struct err *e)
{
    uint8_t key[LUKS_KEY_MOST];
    unsigned skipped = 0;

    if (secret->count > LUKS_SECRET_MOST_BYTES) {
        return err_set(e, -EINVAL, "cannot unlock: the secret is too long");
    }
    for (unsigned i = 0; i < k->slots; i++) {
        int r;

        if (!k->slot[i].active || k->slot[i].foreign) {
            continue;
        }
        if (!luks_cost_is_bearable(&k->slot[i].kdf)) {
            skipped++;
            continue;
        }
        r = try_slot(k, &k->slot[i], secret, key);
        if (r == 0 && k->cipher == NULL) {
            memcpy(k->key, key, k->key_bytes);
            r = luks_cipher_create(key, k->key_bytes, k->sector_bytes, k->iv_tweak,
                                   &k->cipher);
        }
        OPENSSL_cleanse(key, sizeof key);
        if (r == 0) {
            return (int)i;
        }
        if (r != -EACCES) {
            return err_sys(e, r, "cannot unlock slot %u", i);
        }
    }
    return skipped > 0 ? err_set(e, -EUCLEAN,
                                 "cannot unlock: %u slots ask for more work "
                                 "than is reasonable",
                                 skipped)
                       : err_set(e, -EACCES,
                                 "cannot unlock: no slot opens with this "
                                 "secret");
}

int luks_unlock(struct luks *k, const struct luks_secret *secret, struct err *e)
{
    struct strand_pool *strands = loop_strands(k->loop);
    int r;

    strand_lock(strands, &k->lock);
    r = find_key(k, secret, e);
    strand_unlock(&k->lock);
    return r;
}

/* ---- slots ---- */

static int set_cost(struct luks *k, struct luks_kdf *kdf, const struct luks_cost *cost)
{
    if (k->version == 1 || cost->pbkdf2) {
        kdf->kind = LUKS_PBKDF2;
        kdf->rounds = cost->rounds != 0 ? cost->rounds : PBKDF2_DEFAULT;
        (void)strcpy(kdf->hash, k->digest_kdf.hash);
    } else {
        kdf->kind = LUKS_ARGON2ID;
        kdf->rounds = cost->rounds != 0 ? cost->rounds : ARGON2_ROUNDS;
        kdf->memory_kib = cost->memory_kib != 0 ? cost->memory_kib : ARGON2_MEMORY;
        kdf->threads = cost->threads != 0 ? cost->threads : ARGON2_THREADS;
    }
    return luks_random(kdf->salt, kdf->salt_bytes);
}

static int wrap_job(struct job *j)
{
    const struct luks_slot *s = j->slot;
    size_t bytes = (size_t)s->stripes * j->k->key_bytes;
    uint8_t wrap[LUKS_KEY_MOST];
    struct luks_cipher *c = NULL;
    int r = luks_derive(&s->kdf, j->secret, wrap, s->area_key_bytes);

    r = r == 0 ? luks_cipher_create(wrap, s->area_key_bytes, 512, 0, &c) : r;
    r = r == 0 ? luks_split(s->hash, j->k->key, j->k->key_bytes, s->stripes, j->split)
               : r;
    r = r == 0 ? luks_encrypt(c, j->split, j->split, bytes, 0) : r;
    luks_cipher_destroy(c);
    OPENSSL_cleanse(wrap, sizeof wrap);
    return r;
}

static int fill_slot(struct luks *k, unsigned n, struct luks_slot *s,
                     const struct luks_secret *secret)
{
    size_t bytes = (size_t)s->stripes * k->key_bytes;
    SCOPED(scope_free) uint8_t *room = fault_calloc(1, bytes);
    struct job j = {.k = k, .secret = secret, .slot = s, .split = room};
    int r = room == NULL ? -ENOMEM : run_job(&j, wrap_job);

    r = r == 0 ? write_bytes(k, s->off, room, bytes) : r;
    if (r != 0) {
        return r;
    }
    k->slot[n] = *s;
    r = k->version == 1 ? luks1_set_slot(k, n) : luks2_set_slot(k, n);
    return r == 0 ? write_header(k) : r;
}

/* After a failure the header in memory is what it was, too. */
static int undo_slot(struct luks *k, unsigned n, const struct luks_slot *was, int r)
{
    k->slot[n] = *was;
    (void)(k->version == 1 ? luks1_set_slot(k, n) : luks2_set_slot(k, n));
    return r;
}

static int add_locked(struct luks *k, const struct luks_secret *secret,
                      const struct luks_cost *cost, struct err *e)
{
    static const struct luks_cost usual;
    struct luks_slot s = {.active = true, .stripes = LUKS_STRIPES};
    struct luks_slot was = {0};
    unsigned n = 0;
    int r;

    if (k->cipher == NULL || secret->count > LUKS_SECRET_MOST_BYTES) {
        return err_set(e, -EINVAL, "cannot add a key: %s",
                       k->cipher == NULL ? "it is locked" : "the secret is too long");
    }
    while (n < k->slots && k->slot[n].active) {
        n++;
    }
    if (n == k->slots) {
        return err_set(e, -ENOSPC, "cannot add a key: all %u slots are taken", n);
    }
    s.area_key_bytes = k->key_bytes;
    (void)strcpy(s.hash, k->digest_kdf.hash);
    r = k->version == 1 ? luks1_place(k, n, &s) : luks2_place(k, n, &s);
    r = r == 0 ? set_cost(k, &s.kdf, cost != NULL ? cost : &usual) : r;
    if (r == 0 && !luks_cost_is_bearable(&s.kdf)) {
        r = -EINVAL;
    }
    if (r == 0) {
        r = fill_slot(k, n, &s, secret);
        r = r != 0 ? undo_slot(k, n, &was, r) : 0;
    }
    return r == 0 ? (int)n : err_sys(e, r, "cannot add a key");
}

int luks_add_key(struct luks *k, const struct luks_secret *secret,
                 const struct luks_cost *cost, struct err *e)
{
    int r;

    strand_lock(loop_strands(k->loop), &k->lock);
    r = add_locked(k, secret, cost, e);
    strand_unlock(&k->lock);
    return r;
}

static unsigned count_slots(const struct luks *k)
{
    unsigned n = 0;

    for (unsigned i = 0; i < k->slots; i++) {
        n += k->slot[i].active;
    }
    return n;
}

static int remove_locked(struct luks *k, unsigned slot, struct err *e)
{
    struct luks_slot was;
    SCOPED(scope_free) uint8_t *noise = NULL;
    int r;

    if (slot >= k->slots || !k->slot[slot].active) {
        return err_set(e, -ENOENT, "cannot remove slot %u: it has no key", slot);
    }
    if (count_slots(k) == 1) {
        return err_set(e, -EBUSY, "cannot remove slot %u: nothing else opens the disk",
                       slot);
    }
    was = k->slot[slot];
    noise = fault_malloc((size_t)was.bytes);
    r = noise == NULL ? -ENOMEM : luks_random(noise, (size_t)was.bytes);
    r = r == 0 ? write_bytes(k, was.off, noise, (size_t)was.bytes) : r;
    if (r == 0) {
        k->slot[slot] = (struct luks_slot){0};
        r = k->version == 1 ? luks1_set_slot(k, slot) : luks2_set_slot(k, slot);
        r = r == 0 ? write_header(k) : r;
        r = r != 0 ? undo_slot(k, slot, &was, r) : 0;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot remove slot %u", slot);
}

int luks_remove_key(struct luks *k, unsigned slot, struct err *e)
{
    int r;

    strand_lock(loop_strands(k->loop), &k->lock);
    r = remove_locked(k, slot, e);
    strand_unlock(&k->lock);
    return r;
}

int luks_change_key(struct luks *k, const struct luks_secret *from,
                    const struct luks_secret *to, const struct luks_cost *cost,
                    struct err *e)
{
    int old;
    int r;

    strand_lock(loop_strands(k->loop), &k->lock);
    old = find_key(k, from, e);
    r = old < 0 ? old : add_locked(k, to, cost, e);
    if (r >= 0) {
        int gone = remove_locked(k, (unsigned)old, e);

        r = gone != 0 ? gone : r;
    }
    strand_unlock(&k->lock);
    return r;
}

/* ---- format ---- */

static int new_uuid(char to[LUKS_UUID_BYTES])
{
    uint8_t b[16];
    int r = luks_random(b, sizeof b);

    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 4122, 4.4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(to, LUKS_UUID_BYTES,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
                   b[11], b[12], b[13], b[14], b[15]);
    return r;
}

static int digest_job(struct job *j)
{
    return digest_of(j->k, j->k->key, j->k->digest);
}

/* A volume key, its digest, a header without slots. */
static int make_header(struct luks *k, const struct luks_format *o)
{
    struct job j = {.k = k};
    int r = luks_random(k->key, k->key_bytes);

    r = r == 0 ? new_uuid(k->uuid) : r;
    k->digest_kdf =
        (struct luks_kdf){.kind = LUKS_PBKDF2, .rounds = DIGEST_ROUNDS, .salt_bytes = 32};
    (void)strcpy(k->digest_kdf.hash, "sha256");
    r = r == 0 ? luks_random(k->digest_kdf.salt, k->digest_kdf.salt_bytes) : r;
    k->digest_bytes = k->version == 1 ? 20 : 32;
    r = r == 0 ? run_job(&j, digest_job) : r;
    r = r == 0 ? (k->version == 1 ? luks1_make : luks2_make)(k, o) : r;
    return r == 0
               ? luks_cipher_create(k->key, k->key_bytes, k->sector_bytes, 0, &k->cipher)
               : r;
}

static int check_format(const struct luks *k, const struct luks_format *o, struct err *e)
{
    uint32_t s = k->sector_bytes;

    if (k->version < 1 || k->version > 2 || (k->key_bytes != 32 && k->key_bytes != 64) ||
        s < 512 || s > 4096 || (s & (s - 1)) != 0 || (k->version == 1 && s != 512)) {
        return err_set(e, -EINVAL,
                       "cannot format LUKS %u with sectors of %u and a key of %u bytes",
                       k->version, s, k->key_bytes);
    }
    if (k->version == 1 && o->cost.memory_kib != 0) {
        return err_set(e, -EINVAL, "cannot format LUKS 1 with Argon2id");
    }
    return 0;
}

static int format(struct luks *k, const struct luks_format *o,
                  const struct luks_secret *secret, struct err *e)
{
    uint64_t bytes = k->version == 1 ? 4096 * 512 : 16u * 1024 * 1024;
    int r;

    if (blk_size(k->disk) < bytes) {
        return err_set(e, -ENOSPC, "cannot format LUKS: a header takes %llu bytes",
                       (unsigned long long)bytes);
    }
    r = make_header(k, o);
    r = r == 0 ? blk_zero(k->disk, 0, bytes, 0) : r;
    if (r != 0) {
        return err_sys(e, r, "cannot format LUKS");
    }
    r = add_locked(k, secret, &o->cost, e);
    return r < 0 ? r : 0;
}

int luks_format(struct loop *l, struct blk *header, const struct luks_format *o,
                const struct luks_secret *secret, struct err *e)
{
    struct luks *k = NULL;
    int r = new_header(l, header, &k, e);

    if (r != 0) {
        return r;
    }
    k->version = o->version != 0 ? o->version : 2;
    k->sector_bytes = o->sector_bytes != 0 ? o->sector_bytes : 512;
    k->key_bytes = o->key_bytes != 0 ? o->key_bytes : 64;
    r = check_format(k, o, e);
    r = r == 0 ? format(k, o, secret, e) : r;
    luks_close(k);
    return r;
}
