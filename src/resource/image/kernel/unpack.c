/* unpack.c - gzip, zstd, xz and LZ4 into memory that is there already.
 *
 * Every format is undone in one call between two buffers; what a library allocates it gets
 * from `unpack_init`, before the first foreign byte is read, so that the work itself needs
 * no system call (`confine.c`).  xz asks for its dictionary when the bytes have told how
 * large it is: it gets the room of `own`, and no more.
 *
 * LZ4 is in its legacy frame: blocks of 8 MiB, each behind its packed size
 * (lz4_Frame_format.md, "Legacy frame").  What follows the last block - a kernel's build
 * puts the plain size there - is not looked at where it is shorter than a block's head. */
#include "resource/image/kernel/unpack.h"

#include <errno.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include "base/err.h"

#define LZ4_BLOCK   (8u << 20)
#define OWN_BYTES   (160u << 20) /* a dictionary of 128 MiB: what `xz -9` twice over asks */
#define OWN_ALIGN   64u
#define MAGIC_BYTES 6

struct unpack_format {
    uint8_t magic[MAGIC_BYTES];
    unsigned magic_bytes;
    int (*init)(struct unpack *u); /* NULL: nothing to take */
    int64_t (*run)(struct unpack *u);
    void (*fini)(struct unpack *u); /* NULL: nothing was taken */
};

static int gzip_init(struct unpack *u)
{
    u->state = libdeflate_alloc_decompressor();
    return u->state == NULL ? -ENOMEM : 0;
}

static int64_t gzip_run(struct unpack *u)
{
    size_t n = 0;

    return libdeflate_gzip_decompress(u->state, u->in, u->bytes, u->out, u->room, &n) ==
                   LIBDEFLATE_SUCCESS
               ? (int64_t)n
               : -EBADMSG;
}

static void gzip_fini(struct unpack *u)
{
    libdeflate_free_decompressor(u->state);
}

static int zstd_init(struct unpack *u)
{
    u->state = ZSTD_createDCtx();
    return u->state == NULL ? -ENOMEM : 0;
}

static int64_t zstd_run(struct unpack *u)
{
    unsigned long long frame = ZSTD_findFrameCompressedSize(u->in, u->bytes);
    size_t n;

    if (ZSTD_isError(frame)) {
        return -EBADMSG;
    }
    n = ZSTD_decompressDCtx(u->state, u->out, u->room, u->in, frame);
    return ZSTD_isError(n) ? -EBADMSG : (int64_t)n;
}

static void zstd_fini(struct unpack *u)
{
    (void)ZSTD_freeDCtx(u->state);
}

static int xz_init(struct unpack *u)
{
    u->own = mmap(NULL, OWN_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (u->own == MAP_FAILED) {
        u->own = NULL;
        return -ENOMEM;
    }
    u->own_left = OWN_BYTES;
    return 0;
}

/* Nothing is given back: one stream is one life. */
static void *xz_alloc(void *who, size_t n, size_t bytes)
{
    struct unpack *u = who;
    size_t all = n * bytes; /* lzma_allocator: nmemb is always 1 */

    if (n != 1 || all > u->own_left - OWN_ALIGN || u->own_left < OWN_ALIGN) {
        return NULL;
    }
    all = (all + OWN_ALIGN - 1) & ~(size_t)(OWN_ALIGN - 1);
    u->own_left -= all;
    return u->own + u->own_left;
}

static void xz_free(void *who, void *what)
{
    (void)who;
    (void)what;
}

static int64_t xz_run(struct unpack *u)
{
    const lzma_allocator own = {xz_alloc, xz_free, u};
    uint64_t memory = OWN_BYTES;
    size_t in = 0;
    size_t out = 0;

    return lzma_stream_buffer_decode(&memory, 0, &own, u->in, &in, u->bytes, u->out, &out,
                                     u->room) == LZMA_OK
               ? (int64_t)out
               : -EBADMSG;
}

static void xz_fini(struct unpack *u)
{
    if (u->own != NULL) {
        (void)munmap(u->own, OWN_BYTES);
    }
}

static int64_t lz4_run(struct unpack *u)
{
    size_t at = 4;
    size_t out = 0;

    while (u->bytes - at > 4) {
        size_t room = u->room - out < LZ4_BLOCK ? u->room - out : LZ4_BLOCK;
        uint32_t n;
        int made;

        memcpy(&n, u->in + at, sizeof n);
        at += sizeof n;
        if (n == 0 || n > u->bytes - at) {
            return -EBADMSG;
        }
        made = LZ4_decompress_safe((const char *)u->in + at, (char *)u->out + out, (int)n,
                                   (int)room);
        if (made < 0) {
            return -EBADMSG;
        }
        out += (size_t)made;
        at += n;
    }
    return (int64_t)out;
}

static const struct unpack_format formats[] = {
    {{0x1f, 0x8b}, 2, gzip_init, gzip_run, gzip_fini},
    {{0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_init, zstd_run, zstd_fini},
    {{0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz_init, xz_run, xz_fini},
    {{0x02, 0x21, 0x4c, 0x18}, 4, NULL, lz4_run, NULL},
};

const struct unpack_format *unpack_recognize(const uint8_t *in, size_t bytes)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (bytes > MAGIC_BYTES + 4 &&
            memcmp(in, formats[i].magic, formats[i].magic_bytes) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

int unpack_init(struct unpack *u)
{
    return u->format->init != NULL ? u->format->init(u) : 0;
}

void unpack_fini(struct unpack *u)
{
    if (u->format != NULL && u->format->fini != NULL) {
        u->format->fini(u);
    }
}

int64_t unpack_run(struct unpack *u)
{
    return u->format->run(u);
}
