/* sink.c - plain bytes in, a compressed and hashed blob out.
 *
 * The caller's thread hashes the plain bytes (the diff id) and fills pieces; a
 * thread of its own compresses each piece by itself and writes the blob.  A gzip
 * blob is a row of members, a zstd blob a row of frames: both are read as one
 * stream by everyone, and no state is carried from piece to piece.
 *
 * The ring works as in source.c: slots[made % SLOTS] belongs to the caller until
 * `made` is counted up, slots[done % SLOTS] to the thread until `done` is.
 * `made`, `done`, `end`, `stop` and `error` are guarded by `lock`. */
#include <errno.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/sha256.h"
#include "resource/image/pack/pack_private.h"

#define SLOTS       4
#define PIECE_BYTES (2u << 20)
#define GZIP_LEVEL  5
#define ZSTD_LEVEL  3

struct sink_slot {
    uint8_t *bytes; /* owned */
    size_t len;
};

struct sink {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, room;
    struct sink_slot slots[SLOTS];
    uint64_t made, done;
    bool end, stop, started;
    struct err error; /* of the thread */

    struct sha256 sum; /* the caller's */

    /* The thread's own, until it has ended. */
    enum pack_coding coding;
    struct pack_blob *blob;
    struct libdeflate_compressor *deflate;
    ZSTD_CCtx *zstd;
    uint8_t *out; /* owned; one compressed piece */
    size_t out_cap;
};

static int compress_piece(struct sink *k, const struct sink_slot *in, const void **ret,
                          size_t *ret_len)
{
    *ret = k->out;
    switch (k->coding) {
    case PACK_GZIP:
        *ret_len =
            libdeflate_gzip_compress(k->deflate, in->bytes, in->len, k->out, k->out_cap);
        return *ret_len == 0 ? -EIO : 0;
    case PACK_ZSTD:
        *ret_len = ZSTD_compress2(k->zstd, k->out, k->out_cap, in->bytes, in->len);
        return ZSTD_isError(*ret_len) ? -EIO : 0;
    default:
        *ret = in->bytes;
        *ret_len = in->len;
        return 0;
    }
}

/* Wait for a piece; false when there is none any more. */
static bool await_piece(struct sink *k)
{
    bool go;

    pthread_mutex_lock(&k->lock);
    while (k->made == k->done && !k->end && !k->stop) {
        pthread_cond_wait(&k->more, &k->lock);
    }
    go = !k->stop && k->made > k->done;
    pthread_mutex_unlock(&k->lock);
    return go;
}

static void *run(void *arg)
{
    struct sink *k = arg;
    struct err e = {0};

    while (await_piece(k)) {
        const void *bytes;
        size_t len = 0;
        int r = compress_piece(k, &k->slots[k->done % SLOTS], &bytes, &len);

        r = r < 0 ? err_set(&e, r, "cannot compress a layer")
                  : pack_blob_write(k->blob, bytes, len, &e);
        pthread_mutex_lock(&k->lock);
        k->done++;
        if (r < 0) {
            k->error = e;
            k->stop = true;
        }
        pthread_cond_signal(&k->room);
        pthread_mutex_unlock(&k->lock);
    }
    return NULL;
}

static int prepare(struct sink *k, struct image_store *s, struct err *e)
{
    int r = pack_blob_begin(s, NULL, &k->blob, e);
    bool bad = false;

    if (r < 0) {
        return r;
    }
    k->out_cap = ZSTD_compressBound(PIECE_BYTES);
    if (k->coding == PACK_GZIP) {
        k->deflate = libdeflate_alloc_compressor(GZIP_LEVEL);
        bad = k->deflate == NULL;
        k->out_cap = bad ? 0 : libdeflate_gzip_compress_bound(k->deflate, PIECE_BYTES);
    } else if (k->coding == PACK_ZSTD) {
        k->zstd = ZSTD_createCCtx();
        bad = k->zstd == NULL;
        if (!bad) {
            (void)ZSTD_CCtx_setParameter(k->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
        }
    }
    k->out = fault_malloc(k->out_cap + 1);
    bad = bad || k->out == NULL;
    for (int i = 0; i < SLOTS; i++) {
        k->slots[i].bytes = fault_malloc(PIECE_BYTES);
        bad = bad || k->slots[i].bytes == NULL;
    }
    if (bad) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = -pthread_create(&k->thread, NULL, run, k);
    k->started = r == 0;
    return r < 0 ? err_sys(e, r, "cannot start a thread") : 0;
}

int sink_open(struct image_store *s, enum pack_coding coding, struct sink **ret,
              struct err *e)
{
    struct sink *k = fault_calloc(1, sizeof *k);
    int r;

    if (k == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->more, NULL);
    pthread_cond_init(&k->room, NULL);
    sha256_init(&k->sum);
    k->coding = coding;
    r = prepare(k, s, e);
    if (r < 0) {
        sink_abort(k);
        return r;
    }
    *ret = k;
    return 0;
}

/* Hand the piece over and wait for a free one. */
static int turn(struct sink *k, struct err *e)
{
    int r = 0;

    pthread_mutex_lock(&k->lock);
    k->made++;
    pthread_cond_signal(&k->more);
    while (k->made - k->done == SLOTS && !k->stop) {
        pthread_cond_wait(&k->room, &k->lock);
    }
    if (k->error.code != 0) {
        r = err_set(e, k->error.code, "%s", k->error.text);
    }
    pthread_mutex_unlock(&k->lock);
    k->slots[k->made % SLOTS].len = 0;
    return r;
}

int sink_write(struct sink *k, const void *bytes, size_t len, struct err *e)
{
    const uint8_t *p = bytes;

    sha256_add(&k->sum, bytes, len);
    while (len > 0) {
        struct sink_slot *slot = &k->slots[k->made % SLOTS];
        size_t n = PIECE_BYTES - slot->len < len ? PIECE_BYTES - slot->len : len;

        memcpy(slot->bytes + slot->len, p, n);
        slot->len += n;
        p += n;
        len -= n;
        if (slot->len == PIECE_BYTES) {
            int r = turn(k, e);

            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

static int join(struct sink *k, bool stop, struct err *e)
{
    pthread_mutex_lock(&k->lock);
    k->end = true;
    k->stop = k->stop || stop;
    pthread_cond_signal(&k->more);
    pthread_mutex_unlock(&k->lock);
    (void)pthread_join(k->thread, NULL);
    k->started = false;
    return k->error.code != 0 ? err_set(e, k->error.code, "%s", k->error.text) : 0;
}

static void free_sink(struct sink *k)
{
    libdeflate_free_compressor(k->deflate);
    (void)ZSTD_freeCCtx(k->zstd);
    for (int i = 0; i < SLOTS; i++) {
        free(k->slots[i].bytes);
    }
    free(k->out);
    pthread_cond_destroy(&k->room);
    pthread_cond_destroy(&k->more);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

void sink_abort(struct sink *k)
{
    if (k == NULL) {
        return;
    }
    if (k->started) {
        (void)join(k, true, NULL);
    }
    pack_blob_abort(k->blob, false);
    free_sink(k);
}

int sink_commit(struct sink *k, struct image_layer *ret, struct err *e)
{
    static const char *const types[] = {PACK_TYPE_LAYER, PACK_TYPE_LAYER_GZ,
                                        PACK_TYPE_LAYER_ZST};
    struct image_layer l = {0};
    uint8_t sum[SHA256_BYTES];
    int r = k->slots[k->made % SLOTS].len > 0 ? turn(k, e) : 0;

    r = r < 0 ? r : join(k, false, e);
    if (r < 0) {
        sink_abort(k);
        return r;
    }
    r = pack_blob_commit(k->blob, l.blob.digest, &l.blob.size, e);
    sha256_end(&k->sum, sum);
    pack_print_digest(sum, l.diff_id);
    (void)str_print(l.blob.media_type, sizeof l.blob.media_type, "%s", types[k->coding]);
    free_sink(k);
    if (r == 0) {
        *ret = l;
    }
    return r;
}
