/* source.c - decompress and hash in one thread, read in another.
 *
 * A ring of pieces between the two: the maker fills slots[made % n] and then
 * counts `made` up, the reader uses slots[taken % n] and gives it back at the
 * next call by counting `taken` up.  Both counters, `stop`, `end` and the error
 * are guarded by `lock`; `more` wakes the reader, `room` the maker.  A slot
 * belongs to one side at a time, so its bytes need no lock. */
#include "resource/image/pack/source.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/sha256.h"
#include "resource/image/pack/decode.h"

#define SLOTS             8
#define RATIO_FLOOR_BYTES (1ull << 30) /* below, no ratio is too good */

struct slot {
    uint8_t *bytes; /* owned */
    size_t len;
};

struct source {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, room;
    struct slot slots[SLOTS];
    uint64_t made, taken; /* pieces */
    bool stop;            /* the reader has gone */
    bool end;             /* no piece follows */
    bool held;            /* the reader still uses slots[taken % SLOTS] */
    bool started;
    struct err error; /* of the maker */
    uint64_t stored;  /* bytes taken from the file so far */

    /* The maker's own, until it has ended. */
    struct decode decode;
    struct source_limits limits;
    struct sha256 sum;
    uint64_t bytes;
};

static int check_limits(const struct source *s, struct err *e)
{
    if (s->bytes > s->limits.max_bytes) {
        return err_set(e, -EFBIG, "it has more than %llu bytes",
                       (unsigned long long)s->limits.max_bytes);
    }
    if (s->bytes > RATIO_FLOOR_BYTES &&
        s->bytes / s->limits.max_ratio > s->decode.in.total) {
        return err_set(e, -EFBIG, "it grows more than %llu times when decompressed",
                       (unsigned long long)s->limits.max_ratio);
    }
    return 0;
}

/* A full slot, or less at the end; the length or -errno. */
static long fill_slot(struct source *s, struct slot *slot, struct err *e)
{
    slot->len = 0;
    while (slot->len < SOURCE_PIECE_BYTES) {
        long n = decode_fill(&s->decode, slot->bytes + slot->len,
                             SOURCE_PIECE_BYTES - slot->len, e);

        if (n < 0) {
            return n;
        }
        if (n == 0) {
            break;
        }
        slot->len += (size_t)n;
    }
    sha256_add(&s->sum, slot->bytes, slot->len);
    s->bytes += slot->len;
    return check_limits(s, e) < 0 ? -EFBIG : (long)slot->len;
}

static bool await_room(struct source *s)
{
    bool go;

    pthread_mutex_lock(&s->lock);
    while (!s->stop && s->made - s->taken == SLOTS) {
        pthread_cond_wait(&s->room, &s->lock);
    }
    go = !s->stop;
    pthread_mutex_unlock(&s->lock);
    return go;
}

static void *make(void *arg)
{
    struct source *s = arg;
    struct err e = {0};
    long n = 1;

    while (n > 0 && await_room(s)) {
        n = fill_slot(s, &s->slots[s->made % SLOTS], &e);
        pthread_mutex_lock(&s->lock);
        s->stored = s->decode.in.total;
        if (n > 0) {
            s->made++;
        } else {
            s->end = true;
            s->error = e;
        }
        pthread_cond_signal(&s->more);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static int begin(struct source *s, int fd, struct err *e)
{
    int r = decode_open(&s->decode, fd, NULL, 0, e);

    for (size_t i = 0; r == 0 && i < SLOTS; i++) {
        s->slots[i].bytes = fault_malloc(SOURCE_PIECE_BYTES);
        if (s->slots[i].bytes == NULL) {
            r = err_set(e, -ENOMEM, "out of memory");
        }
    }
    if (r == 0) {
        r = -pthread_create(&s->thread, NULL, make, s);
        s->started = r == 0;
        r = r < 0 ? err_sys(e, r, "cannot start a thread") : 0;
    }
    return r;
}

int source_open(int fd, const struct source_limits *limits, struct source **ret,
                struct err *e)
{
    struct source *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    pthread_cond_init(&s->room, NULL);
    sha256_init(&s->sum);
    s->limits = *limits;
    r = begin(s, fd, e);
    if (r < 0) {
        source_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

int source_next(struct source *s, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&s->lock);
    if (s->held) {
        s->held = false;
        s->taken++;
        pthread_cond_signal(&s->room);
    }
    while (!s->end && s->made == s->taken) {
        pthread_cond_wait(&s->more, &s->lock);
    }
    *ret_len = 0;
    if (s->made > s->taken) {
        *ret = s->slots[s->taken % SLOTS].bytes;
        *ret_len = s->slots[s->taken % SLOTS].len;
        s->held = true;
    } else if (s->error.code != 0) {
        r = err_set(e, s->error.code, "%s", s->error.text);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

uint64_t source_stored(struct source *s)
{
    uint64_t n;

    pthread_mutex_lock(&s->lock);
    n = s->stored;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int source_finish(struct source *s, char ret_digest[72], uint64_t *ret_bytes,
                  struct err *e)
{
    uint8_t sum[SHA256_BYTES];
    const uint8_t *piece;
    size_t len = 1;
    int r = 0;

    while (r == 0 && len > 0) {
        r = source_next(s, &piece, &len, e);
    }
    if (r < 0) {
        return r;
    }
    (void)pthread_join(s->thread, NULL);
    s->started = false;
    sha256_end(&s->sum, sum);
    memcpy(ret_digest, "sha256:", 7);
    sha256_hex(sum, ret_digest + 7);
    *ret_bytes = s->bytes;
    return 0;
}

const char *source_coding(const struct source *s)
{
    return s->decode.ops->name;
}

void source_close(struct source *s)
{
    if (s == NULL) {
        return;
    }
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->room);
        pthread_mutex_unlock(&s->lock);
        (void)pthread_join(s->thread, NULL);
    }
    decode_close(&s->decode);
    for (size_t i = 0; i < SLOTS; i++) {
        free(s->slots[i].bytes);
    }
    pthread_cond_destroy(&s->room);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
