/* luks2.c - the header of version 2 (LUKS2 On-Disk Format Specification 1.1.1).
 *
 * Two copies, each a binary part of 4096 bytes and JSON behind it, under one checksum:
 *
 *       0 magic  6 version  8 size of a copy  16 seqid  24 label  72 checksum's name
 *     104 salt 168 UUID 208 subsystem 256 own offset 448 checksum
 *
 * Big endian.  Members of the JSON that are not known stay as they are; a keyslot of
 * another kind is left alone; a requirement that is not known refuses the header. */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/luks/private.h"

#define BINARY_BYTES 4096u
#define CSUM_AT      448u
#define COPY_BYTES   16384u
#define DATA_BYTES   (16u * 1024 * 1024)
#define AREAS_MOST   (128u * 1024 * 1024)
#define TEXT_MOST    300u /* of a base64 member */
#define MAGIC_BYTES  6u

static const uint8_t magics[2][MAGIC_BYTES] = {
    {'L', 'U', 'K', 'S', 0xba, 0xbe},
    {'S', 'K', 'U', 'L', 0xba, 0xbe},
};

static uint64_t get_64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return be64toh(v);
}

static void put_64(uint8_t *at, uint64_t v)
{
    v = htobe64(v);
    memcpy(at, &v, sizeof v);
}

/* ---- the checksum ---- */

static int sum_of(const uint8_t *raw, size_t bytes, uint8_t sum[LUKS_DIGEST_MOST])
{
    static const uint8_t none[64];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned n = 0;
    bool ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(c, raw, CSUM_AT) == 1 &&
              EVP_DigestUpdate(c, none, sizeof none) == 1 &&
              EVP_DigestUpdate(c, raw + CSUM_AT + 64, bytes - CSUM_AT - 64) == 1 &&
              EVP_DigestFinal_ex(c, sum, &n) == 1;

    EVP_MD_CTX_free(c);
    return ok ? 0 : -EIO;
}

bool luks2_may_be(const uint8_t *head, size_t bytes, bool secondary)
{
    return memcmp(head, magics[secondary], MAGIC_BYTES) == 0 && head[6] == 0 &&
           head[7] == 2 && get_64(head + 8) == bytes &&
           get_64(head + 256) == (secondary ? bytes : 0) &&
           strncmp((const char *)head + 72, "sha256", 32) == 0;
}

int luks2_check(const uint8_t *raw, size_t bytes, bool secondary, uint64_t *ret_seqid)
{
    uint8_t sum[LUKS_DIGEST_MOST];

    if (!luks2_may_be(raw, bytes, secondary)) {
        return -EUCLEAN;
    }
    if (sum_of(raw, bytes, sum) != 0 || memcmp(sum, raw + CSUM_AT, 32) != 0) {
        return -EUCLEAN;
    }
    *ret_seqid = get_64(raw + 16);
    return 0;
}

void luks2_seal(struct luks *k, uint8_t *to, bool secondary)
{
    memcpy(to, k->raw, k->raw_bytes);
    memcpy(to, magics[secondary], MAGIC_BYTES);
    put_64(to + 16, k->seqid);
    put_64(to + 256, secondary ? k->raw_bytes : 0);
    (void)luks_random(to + 104, 64);
    memset(to + CSUM_AT, 0, 64);
    (void)sum_of(to, k->raw_bytes, to + CSUM_AT);
}

/* ---- members ---- */

static const char *text_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text != NULL ? text : "";
}

static bool is_text(const json_t *o, const char *name, const char *value)
{
    return strcmp(text_of(o, name), value) == 0;
}

/* 64-bit numbers are strings of digits. */
static bool get_number(const json_t *o, const char *name, uint64_t *ret)
{
    const char *text = text_of(o, name);
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

static bool get_small(const json_t *o, const char *name, uint32_t *ret)
{
    const json_t *j = json_object_get(o, name);
    json_int_t v = json_integer_value(j);

    if (!json_is_integer(j) || v < 0 || v > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static bool get_name(const json_t *o, const char *name, char to[LUKS_HASH_BYTES])
{
    const char *text = text_of(o, name);

    if (strlen(text) >= LUKS_HASH_BYTES || !luks_hash_is_known(text)) {
        return false;
    }
    (void)strcpy(to, text);
    return true;
}

static bool get_bytes(const json_t *o, const char *name, uint8_t *to, size_t room,
                      size_t *ret_bytes)
{
    const char *text = text_of(o, name);
    size_t n = strlen(text);
    uint8_t out[TEXT_MOST];
    int got;

    if (n == 0 || n > TEXT_MOST || n % 4 != 0) {
        return false;
    }
    got = EVP_DecodeBlock(out, (const uint8_t *)text, (int)n);
    got -= (text[n - 1] == '=') + (text[n - 2] == '=');
    if (got <= 0 || (size_t)got > room) {
        return false;
    }
    memcpy(to, out, (size_t)got);
    *ret_bytes = (size_t)got;
    return true;
}

static json_t *bytes_member(const uint8_t *from, size_t bytes)
{
    uint8_t text[TEXT_MOST];

    (void)EVP_EncodeBlock(text, from, (int)bytes);
    return json_string((const char *)text);
}

static json_t *number_member(uint64_t v)
{
    return json_sprintf("%llu", (unsigned long long)v);
}

/* ---- keyslots ---- */

static bool parse_kdf(const json_t *o, struct luks_kdf *kdf)
{
    bool ok;

    if (is_text(o, "type", "pbkdf2")) {
        kdf->kind = LUKS_PBKDF2;
        ok = get_small(o, "iterations", &kdf->rounds) && get_name(o, "hash", kdf->hash);
    } else {
        kdf->kind = is_text(o, "type", "argon2i") ? LUKS_ARGON2I : LUKS_ARGON2ID;
        ok = (kdf->kind == LUKS_ARGON2I || is_text(o, "type", "argon2id")) &&
             get_small(o, "time", &kdf->rounds) &&
             get_small(o, "memory", &kdf->memory_kib) &&
             get_small(o, "cpus", &kdf->threads);
    }
    return ok && get_bytes(o, "salt", kdf->salt, sizeof kdf->salt, &kdf->salt_bytes);
}

/* Areas lie between the two copies and the end of what `config` says. */
static bool is_inside(const struct luks *k, uint64_t areas, uint64_t off, uint64_t bytes)
{
    uint64_t first = 2 * k->raw_bytes;

    return off >= first && off % LUKS_ALIGN == 0 && bytes <= areas &&
           off - first <= areas - bytes;
}

static int parse_slot(struct luks *k, struct luks_slot *s, const json_t *o,
                      uint64_t areas)
{
    const json_t *af = json_object_get(o, "af");
    const json_t *area = json_object_get(o, "area");
    uint32_t key_bytes = 0;

    s->active = true;
    if (!get_number(area, "offset", &s->off) || !get_number(area, "size", &s->bytes) ||
        !is_inside(k, areas, s->off, s->bytes)) {
        return -EUCLEAN;
    }
    s->foreign = true; /* until all of it is understood */
    if (!is_text(o, "type", "luks2") || !is_text(area, "type", "raw") ||
        !is_text(area, "encryption", "aes-xts-plain64") ||
        !is_text(af, "type", "luks1")) {
        return 0;
    }
    if (!get_small(o, "key_size", &key_bytes) || key_bytes != k->key_bytes) {
        return key_bytes == 0 ? -EUCLEAN : 0;
    }
    if (!get_small(area, "key_size", &s->area_key_bytes) ||
        (s->area_key_bytes != 32 && s->area_key_bytes != 64) ||
        !get_small(af, "stripes", &s->stripes) || s->stripes != LUKS_STRIPES ||
        !get_name(af, "hash", s->hash) || (uint64_t)key_bytes * s->stripes > s->bytes ||
        !parse_kdf(json_object_get(o, "kdf"), &s->kdf)) {
        return -EUCLEAN;
    }
    s->foreign = false;
    return 0;
}

static int parse_slots(struct luks *k, uint64_t areas)
{
    const json_t *all = json_object_get(k->json, "keyslots");
    const char *name;
    json_t *o;

    if (!json_is_object(all)) {
        return -EUCLEAN;
    }
    json_object_foreach((json_t *)(uintptr_t)all, name, o)
    {
        char *end;
        unsigned long n = strtoul(name, &end, 10);
        int r;

        if (*name < '0' || *name > '9' || *end != '\0' || n >= LUKS_SLOTS) {
            return -EUCLEAN;
        }
        r = parse_slot(k, &k->slot[n], o, areas);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* ---- segment, digest, config ---- */

static int parse_segment(struct luks *k, struct err *e)
{
    const json_t *all = json_object_get(k->json, "segments");
    const json_t *o = json_object_get(all, "0");

    if (json_object_size(all) != 1 || !is_text(o, "type", "crypt") ||
        !is_text(o, "encryption", "aes-xts-plain64") || !is_text(o, "size", "dynamic") ||
        json_object_get(o, "integrity") != NULL) {
        return err_set(e, -EOPNOTSUPP,
                       "cannot open a LUKS header: its data is not one whole of "
                       "aes-xts-plain64");
    }
    if (!get_number(o, "offset", &k->data_off) ||
        !get_number(o, "iv_tweak", &k->iv_tweak) ||
        !get_small(o, "sector_size", &k->sector_bytes) || k->sector_bytes < 512 ||
        k->sector_bytes > 4096 || (k->sector_bytes & (k->sector_bytes - 1)) != 0 ||
        k->data_off % 4096 != 0 || k->data_off > 4u * AREAS_MOST) {
        return err_set(e, -EUCLEAN,
                       "cannot open a LUKS header: its segment makes no "
                       "sense");
    }
    return 0;
}

static bool lists(const json_t *array, const char *text)
{
    size_t i;
    json_t *v;

    json_array_foreach((json_t *)(uintptr_t)array, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), text) == 0) {
            return true;
        }
    }
    return false;
}

/* The digest of the volume key is the one that has segment 0. */
static int parse_digest(struct luks *k)
{
    json_t *all = json_object_get(k->json, "digests");
    const char *name;
    json_t *o;

    json_object_foreach(all, name, o)
    {
        if (!lists(json_object_get(o, "segments"), "0")) {
            continue;
        }
        k->digest_kdf.kind = LUKS_PBKDF2;
        if (strlen(name) >= sizeof k->digest_name || !is_text(o, "type", "pbkdf2") ||
            !get_small(o, "iterations", &k->digest_kdf.rounds) ||
            !get_name(o, "hash", k->digest_kdf.hash) ||
            !get_bytes(o, "salt", k->digest_kdf.salt, sizeof k->digest_kdf.salt,
                       &k->digest_kdf.salt_bytes) ||
            !get_bytes(o, "digest", k->digest, sizeof k->digest, &k->digest_bytes) ||
            !luks_cost_is_bearable(&k->digest_kdf)) {
            return -EUCLEAN;
        }
        (void)strcpy(k->digest_name, name);
        for (unsigned i = 0; i < LUKS_SLOTS; i++) { /* other keys are not ours */
            char slot[8];

            (void)snprintf(slot, sizeof slot, "%u", i);
            k->slot[i].foreign =
                k->slot[i].foreign || !lists(json_object_get(o, "keyslots"), slot);
        }
        return 0;
    }
    return -EUCLEAN;
}

/* The volume key is as long as that of the first slot that has it. */
static int find_key_bytes(struct luks *k)
{
    json_t *all = json_object_get(k->json, "keyslots");
    const char *name;
    json_t *o;

    json_object_foreach(all, name, o)
    {
        uint32_t n = 0;

        if (get_small(o, "key_size", &n) && (n == 32 || n == 64)) {
            k->key_bytes = n;
            return 0;
        }
    }
    return -EUCLEAN;
}

static int parse_config(const struct luks *k, uint64_t *ret_areas, struct err *e)
{
    const json_t *o = json_object_get(k->json, "config");
    const json_t *needs =
        json_object_get(json_object_get(o, "requirements"), "mandatory");
    uint64_t json = 0;

    if (json_array_size(needs) > 0) {
        return err_set(e, -EOPNOTSUPP, "cannot open a LUKS header: it requires '%s'",
                       json_is_string(json_array_get(needs, 0))
                           ? json_string_value(json_array_get(needs, 0))
                           : "?");
    }
    if (!get_number(o, "json_size", &json) || json != k->raw_bytes - BINARY_BYTES ||
        !get_number(o, "keyslots_size", ret_areas) || *ret_areas > AREAS_MOST) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS header: its sizes make no sense");
    }
    return 0;
}

int luks2_parse(struct luks *k, struct err *e)
{
    const char *text = (const char *)k->raw + BINARY_BYTES;
    size_t room = k->raw_bytes - BINARY_BYTES;
    uint64_t areas = 0;
    int r;

    k->slots = LUKS_SLOTS;
    (void)snprintf(k->uuid, sizeof k->uuid, "%.39s", (const char *)k->raw + 168);
    if (strnlen(text, room) == room) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS header: its JSON has no end");
    }
    k->json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(k->json)) {
        return err_set(e, -EUCLEAN, "cannot open a LUKS header: its JSON is damaged");
    }
    r = parse_config(k, &areas, e);
    r = r == 0 ? parse_segment(k, e) : r;
    if (r != 0) {
        return r;
    }
    r = find_key_bytes(k);
    r = r == 0 ? parse_slots(k, areas) : r;
    r = r == 0 ? parse_digest(k) : r;
    if (r == 0 && k->data_off != 0 && k->data_off < 2 * k->raw_bytes + areas) {
        r = -EUCLEAN;
    }
    return r == 0 ? 0
                  : err_set(e, r,
                            "cannot open a LUKS header: a slot or digest makes "
                            "no sense");
}

/* ---- changes ---- */

static uint64_t split_bytes(uint32_t key_bytes)
{
    uint64_t n = (uint64_t)key_bytes * LUKS_STRIPES;

    return (n + LUKS_ALIGN - 1) / LUKS_ALIGN * LUKS_ALIGN;
}

int luks2_place(const struct luks *k, unsigned slot, struct luks_slot *s)
{
    uint64_t areas = 0;
    bool moved = true;

    (void)slot;
    s->bytes = split_bytes(k->key_bytes);
    s->off = 2 * k->raw_bytes;
    s->kdf.salt_bytes = 32;
    (void)get_number(json_object_get(k->json, "config"), "keyslots_size", &areas);
    while (moved) { /* past every slot that it would meet */
        moved = false;
        for (unsigned i = 0; i < LUKS_SLOTS; i++) {
            const struct luks_slot *o = &k->slot[i];

            if (o->active && s->off < o->off + o->bytes && o->off < s->off + s->bytes) {
                s->off = (o->off + o->bytes + LUKS_ALIGN - 1) / LUKS_ALIGN * LUKS_ALIGN;
                moved = true;
            }
        }
    }
    return is_inside(k, areas, s->off, s->bytes) ? 0 : -ENOSPC;
}

static json_t *kdf_member(const struct luks_kdf *kdf)
{
    json_t *salt = bytes_member(kdf->salt, kdf->salt_bytes);

    if (kdf->kind == LUKS_PBKDF2) {
        return json_pack("{s:s, s:s, s:i, s:o}", "type", "pbkdf2", "hash", kdf->hash,
                         "iterations", (int)kdf->rounds, "salt", salt);
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:o}", "type",
                     kdf->kind == LUKS_ARGON2I ? "argon2i" : "argon2id", "time",
                     (int)kdf->rounds, "memory", (int)kdf->memory_kib, "cpus",
                     (int)kdf->threads, "salt", salt);
}

static json_t *slot_member(const struct luks *k, const struct luks_slot *s)
{
    return json_pack("{s:s, s:i, s:{s:s, s:i, s:s}, s:{s:s, s:o, s:o, s:s, s:i}, s:o}",
                     "type", "luks2", "key_size", (int)k->key_bytes, "af", "type",
                     "luks1", "stripes", (int)s->stripes, "hash", s->hash, "area", "type",
                     "raw", "offset", number_member(s->off), "size",
                     number_member(s->bytes), "encryption", "aes-xts-plain64", "key_size",
                     (int)s->area_key_bytes, "kdf", kdf_member(&s->kdf));
}

/* The JSON as text goes into `raw`. */
static int render(struct luks *k)
{
    char *text = json_dumps(k->json, JSON_COMPACT);
    size_t room = k->raw_bytes - BINARY_BYTES;
    size_t n = text != NULL ? strlen(text) : 0;
    int r = text == NULL ? -ENOMEM : n >= room ? -ENOSPC : 0;

    if (r == 0) {
        memset(k->raw + BINARY_BYTES, 0, room);
        memcpy(k->raw + BINARY_BYTES, text, n);
        k->seqid++;
    }
    free(text);
    return r;
}

static void unlist(json_t *array, const char *text)
{
    for (size_t i = json_array_size(array); i > 0; i--) {
        const char *t = json_string_value(json_array_get(array, i - 1));

        if (t != NULL && strcmp(t, text) == 0) {
            (void)json_array_remove(array, i - 1);
        }
    }
}

int luks2_set_slot(struct luks *k, unsigned n)
{
    json_t *all = json_object_get(k->json, "keyslots");
    json_t *digest = json_object_get(json_object_get(k->json, "digests"), k->digest_name);
    json_t *listed = json_object_get(digest, "keyslots");
    char name[8];

    (void)snprintf(name, sizeof name, "%u", n);
    unlist(listed, name);
    if (!k->slot[n].active) {
        (void)json_object_del(all, name);
    } else if (json_object_set_new(all, name, slot_member(k, &k->slot[n])) != 0 ||
               json_array_append_new(listed, json_string(name)) != 0) {
        return -ENOMEM;
    }
    return render(k);
}

static json_t *first_json(const struct luks *k, const struct luks_format *o)
{
    return json_pack(
        "{s:{}, s:{}, s:{s:{s:s, s:o, s:s, s:s, s:s, s:i}}, "
        "s:{s:{s:s, s:[], s:[s], s:s, s:i, s:o, s:o}}, s:{s:o, s:o}}",
        "keyslots", "tokens", "segments", "0", "type", "crypt", "offset",
        number_member(k->data_off), "size", "dynamic", "iv_tweak", "0", "encryption",
        "aes-xts-plain64", "sector_size", (int)k->sector_bytes, "digests", "0", "type",
        "pbkdf2", "keyslots", "segments", "0", "hash", k->digest_kdf.hash, "iterations",
        (int)k->digest_kdf.rounds, "salt",
        bytes_member(k->digest_kdf.salt, k->digest_kdf.salt_bytes), "digest",
        bytes_member(k->digest, k->digest_bytes), "config", "json_size",
        number_member(COPY_BYTES - BINARY_BYTES), "keyslots_size",
        number_member((o->detached ? DATA_BYTES : k->data_off) - 2 * COPY_BYTES));
}

int luks2_make(struct luks *k, const struct luks_format *o)
{
    k->raw = fault_calloc(1, COPY_BYTES);
    if (k->raw == NULL) {
        return -ENOMEM;
    }
    k->raw_bytes = COPY_BYTES;
    k->slots = LUKS_SLOTS;
    k->data_off = o->detached ? 0 : DATA_BYTES;
    k->digest_bytes = 32;
    (void)strcpy(k->digest_name, "0");
    memcpy(k->raw, magics[0], MAGIC_BYTES);
    k->raw[7] = 2;
    put_64(k->raw + 8, COPY_BYTES);
    (void)strcpy((char *)k->raw + 72, "sha256");
    memcpy(k->raw + 168, k->uuid, sizeof k->uuid);
    k->json = first_json(k, o);
    return k->json == NULL ? -ENOMEM : render(k);
}
