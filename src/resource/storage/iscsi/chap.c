/* chap.c - the initiator proves that it knows a secret, and the target if asked
 * (RFC 7143 12.1.3, RFC 1994).  Algorithms: 5 MD5, 7 SHA-256. */
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "base/sha256.h"
#include "resource/storage/iscsi/private.h"

#define MD5         5
#define SHA256      7
#define SECRET_MOST 256

static size_t sum_bytes(unsigned algorithm)
{
    return algorithm == MD5 ? 16 : 32;
}

/* The response to a challenge: a sum of id, secret and challenge. */
static void respond(unsigned algorithm, uint8_t id, const char *secret,
                    const uint8_t *challenge, size_t bytes, uint8_t *ret)
{
    uint8_t all[1 + SECRET_MOST + CHAP_CHALLENGE_MOST];
    size_t n = strlen(secret);

    all[0] = id;
    memcpy(all + 1, secret, n);
    memcpy(all + 1 + n, challenge, bytes);
    if (algorithm == MD5) {
        if (EVP_Digest(all, 1 + n + bytes, ret, NULL, EVP_md5(), NULL) != 1) {
            ssize_t got = getrandom(ret, 16, 0); /* MD5 is forbidden: nobody can know */

            (void)got; /* never fails for so few bytes */
        }
    } else {
        sha256_sum(all, 1 + n + bytes, ret);
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "0x..." as bytes, or "0b..." in base 64; how many, -1: neither, or too many. */
static int read_hex(const char *text, uint8_t *ret, size_t most)
{
    size_t n = strlen(text);

    if (n % 2 != 0 || n / 2 > most) {
        return -1;
    }
    for (size_t i = 0; i < n; i += 2) {
        int high = digit(text[i]);
        int low = digit(text[i + 1]);

        if (high < 0 || low < 0) {
            return -1;
        }
        ret[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (int)(n / 2);
}

static int read_base64(const char *text, uint8_t *ret, size_t most)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;

    for (; *text != '\0' && *text != '='; text++) {
        const char *at = strchr(digits, *text);

        if (at == NULL) {
            return -1;
        }
        bits = bits << 6 | (uint32_t)(at - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (n == most) {
                return -1;
            }
            ret[n++] = (uint8_t)(bits >> have);
        }
    }
    return (int)n;
}

static int read_binary(const char *text, uint8_t *ret, size_t most)
{
    if (text[0] != '0') {
        return -1;
    }
    if ((text[1] | 0x20) == 'x') {
        return read_hex(text + 2, ret, most);
    }
    return (text[1] | 0x20) == 'b' ? read_base64(text + 2, ret, most) : -1;
}

static void put_binary(struct text *t, const char *key, const uint8_t *data, size_t bytes)
{
    char text[3 + 2 * CHAP_SUM_MOST] = "0x";

    for (size_t i = 0; i < bytes; i++) {
        text[2 + 2 * i] = "0123456789abcdef"[data[i] >> 4];
        text[3 + 2 * i] = "0123456789abcdef"[data[i] & 15];
    }
    text[2 + 2 * bytes] = '\0';
    iscsi_text_put(t, key, text);
}

/* The first algorithm of the list that is known here. */
static unsigned choose(const char *list)
{
    for (const char *at = list; *at != '\0';) {
        size_t n = strcspn(at, ",");

        if (n == 1 && (*at == '0' + MD5 || *at == '0' + SHA256)) {
            return (unsigned)(*at - '0');
        }
        at += n + (at[n] == ',');
    }
    return 0;
}

static unsigned begin(struct chap *h, const char *algorithms, struct text *t)
{
    h->algorithm = choose(algorithms);
    if (h->algorithm == 0) {
        return ISCSI_LOGIN_DENIED;
    }
    if (getrandom(h->challenge, sizeof h->challenge, 0) != sizeof h->challenge ||
        getrandom(&h->id, 1, 0) != 1) {
        return ISCSI_LOGIN_NO_RESOURCES;
    }
    iscsi_text_put_number(t, "CHAP_A", h->algorithm);
    iscsi_text_put_number(t, "CHAP_I", h->id);
    put_binary(t, "CHAP_C", h->challenge, sum_bytes(h->algorithm));
    return 0;
}

/* Without telling by its time where it differs. */
static bool same(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    unsigned differs = 0;

    for (size_t i = 0; i < bytes; i++) {
        differs |= (unsigned)(a[i] ^ b[i]);
    }
    return differs == 0;
}

static bool is_proof(const struct chap *h, const struct target *x,
                     const struct chap_keys *k)
{
    uint8_t wanted[CHAP_SUM_MOST];
    uint8_t got[CHAP_SUM_MOST];
    size_t n = sum_bytes(h->algorithm);

    respond(h->algorithm, h->id, x->secret, h->challenge, n, wanted);
    return read_binary(k->response, got, sizeof got) == (int)n && same(got, wanted, n) &&
           strcmp(k->name, x->user) == 0;
}

/* The target's own proof; a challenge that is ours comes from somebody who wants the
 * answer for himself. */
static unsigned answer_back(const struct chap *h, const struct target *x,
                            const struct chap_keys *k, struct text *t)
{
    uint8_t challenge[CHAP_CHALLENGE_MOST];
    uint8_t sum[CHAP_SUM_MOST];
    size_t own = sum_bytes(h->algorithm);
    unsigned id = 0;
    int n = read_binary(k->challenge, challenge, sizeof challenge);

    for (const char *at = k->id; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || id > 255) {
            return ISCSI_LOGIN_DENIED;
        }
        id = id * 10 + (unsigned)(*at - '0');
    }
    if (n <= 0 || id > 255 || x->own_user == NULL ||
        ((size_t)n == own && memcmp(challenge, h->challenge, own) == 0)) {
        return ISCSI_LOGIN_DENIED;
    }
    respond(h->algorithm, (uint8_t)id, x->own_secret, challenge, (size_t)n, sum);
    iscsi_text_put(t, "CHAP_N", x->own_user);
    put_binary(t, "CHAP_R", sum, own);
    return 0;
}

unsigned iscsi_chap_step(struct chap *h, const struct target *x,
                         const struct chap_keys *k, struct text *t)
{
    if (k->algorithms != NULL && h->algorithm == 0) {
        return begin(h, k->algorithms, t);
    }
    if (k->name == NULL && k->response == NULL) {
        return 0;
    }
    if (h->algorithm == 0 || h->proved || k->name == NULL || k->response == NULL ||
        !is_proof(h, x, k)) {
        return ISCSI_LOGIN_DENIED;
    }
    h->proved = true;
    if (k->id != NULL && k->challenge != NULL) {
        return answer_back(h, x, k, t);
    }
    return 0;
}
