/* unpack.c - the payload of a bzImage: gzip, zstd, xz or LZ4, with its size behind it.
 *
 * The size (32 bits, at the end of the payload) is a claim: what unpacks to more is
 * refused, and 512 MiB is the most.  LZ4 is in its legacy frame: blocks of 8 MiB, each
 * after its packed size (lz4_Frame_format.md, "Legacy frame"). */
#include <errno.h>
#include <libdeflate.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/err.h"
#include "base/fault.h"
#include "virt/monitor/boot/private.h"

#define MOST_BYTES     (UINT64_C(512) << 20)
#define LZ4_LEGACY     0x184c2102u
#define LZ4_BLOCK      (8u << 20)
#define XZ_MEMORY_MOST (UINT64_C(256) << 20)

struct packed {
    const uint8_t *in;
    size_t bytes;
    uint8_t *out;
    size_t room;
};

/* Each answers how much there is, or -EBADMSG. */
static int64_t unpack_gzip(const struct packed *p)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    size_t n = 0;
    int r = -1;

    if (d == NULL) {
        return -ENOMEM;
    }
    r = libdeflate_gzip_decompress(d, p->in, p->bytes, p->out, p->room, &n);
    libdeflate_free_decompressor(d);
    return r == LIBDEFLATE_SUCCESS ? (int64_t)n : -EBADMSG;
}

static int64_t unpack_zstd(const struct packed *p)
{
    unsigned long long frame = ZSTD_findFrameCompressedSize(p->in, p->bytes);
    size_t n;

    if (ZSTD_isError(frame)) {
        return -EBADMSG;
    }
    n = ZSTD_decompress(p->out, p->room, p->in, frame);
    return ZSTD_isError(n) ? -EBADMSG : (int64_t)n;
}

static int64_t unpack_xz(const struct packed *p)
{
    uint64_t memory = XZ_MEMORY_MOST;
    size_t in = 0;
    size_t out = 0;
    lzma_ret r = lzma_stream_buffer_decode(&memory, 0, NULL, p->in, &in, p->bytes, p->out,
                                           &out, p->room);

    return r == LZMA_OK ? (int64_t)out : -EBADMSG;
}

static int64_t unpack_lz4(const struct packed *p)
{
    size_t at = 4;
    size_t out = 0;

    while (p->bytes - at > 4) {
        uint32_t n = boot_get32(p->in + at);
        size_t room = p->room - out < LZ4_BLOCK ? p->room - out : LZ4_BLOCK;
        int made;

        at += 4;
        if (n == 0 || n > p->bytes - at) {
            return -EBADMSG;
        }
        made = LZ4_decompress_safe((const char *)p->in + at, (char *)p->out + out, (int)n,
                                   (int)room);
        if (made < 0) {
            return -EBADMSG;
        }
        out += (size_t)made;
        at += n;
    }
    return (int64_t)out;
}

static const struct format {
    uint8_t magic[6];
    unsigned bytes;
    int64_t (*unpack)(const struct packed *p);
} formats[] = {
    {{0x1f, 0x8b}, 2, unpack_gzip},
    {{0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd},
    {{0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz},
    {{0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4},
};

static const struct format *find(const uint8_t *in, size_t bytes)
{
    for (unsigned i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (bytes > formats[i].bytes + 4 &&
            memcmp(in, formats[i].magic, formats[i].bytes) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

int unpack(const uint8_t *in, size_t bytes, uint8_t **ret, size_t *ret_bytes,
           struct err *e)
{
    const struct format *f = find(in, bytes);
    struct packed p = {.in = in, .bytes = bytes};
    int64_t n;

    if (f == NULL) {
        return err_set(e, -ENOTSUP, "cannot unpack the kernel: its packing is not known");
    }
    p.room = boot_get32(in + bytes - 4);
    if (p.room == 0 || p.room > MOST_BYTES) {
        return err_set(e, -EINVAL, "cannot unpack the kernel: it is damaged");
    }
    p.out = fault_malloc(p.room);
    if (p.out == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    n = f->unpack(&p);
    if (n < 0) {
        free(p.out);
        return err_set(e, n == -ENOMEM ? -ENOMEM : -EINVAL,
                       "cannot unpack the kernel: it is damaged");
    }
    *ret = p.out;
    *ret_bytes = (size_t)n;
    return 0;
}
