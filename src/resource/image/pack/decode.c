/* decode.c - recognize a compression; plain, zstd and, by libarchive, the rest. */
#include "resource/image/pack/decode.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/err.h"
#include "base/fault.h"

#define INPUT_BYTES     (256u << 10)
#define ZSTD_WINDOW_LOG 27 /* 128 MiB: what `zstd --long` asks a reader to allow */

/* In the order of trial; the last one takes everything. */
static const struct decode_ops *const table[] = {
    &decode_gzip_ops,
    &decode_zstd_ops,
    &decode_other_ops,
    &decode_plain_ops,
};

int decode_more(struct decode_input *in, struct err *e)
{
    ssize_t n;

    if (in->len > 0) {
        return 1;
    }
    if (in->ended || in->fd < 0) {
        return 0;
    }
    do {
        n = read(in->fd, in->buf, INPUT_BYTES);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return err_sys(e, -errno, "cannot read");
    }
    in->ended = n == 0;
    in->bytes = in->buf;
    in->len = (size_t)n;
    in->total += (uint64_t)n;
    return n > 0;
}

/* The first bytes must be there together: pipes give them in small pieces. */
static int read_head(struct decode_input *in, struct err *e)
{
    size_t have = 0;

    while (in->fd >= 0 && have < DECODE_MAGIC_BYTES) {
        ssize_t n = read(in->fd, in->buf + have, INPUT_BYTES - have);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_sys(e, -errno, "cannot read");
        }
        in->ended = n == 0;
        have += (size_t)n;
        in->bytes = in->buf;
        in->len = in->total = have;
        if (n == 0) {
            break;
        }
    }
    return 0;
}

int decode_open(struct decode *d, int fd, const uint8_t *bytes, size_t len, struct err *e)
{
    int r;

    *d = (struct decode){.in = {.fd = fd, .bytes = bytes, .len = len}};
    if (fd < 0) {
        d->in.total = len;
    } else {
        d->in.buf = fault_malloc(INPUT_BYTES);
        if (d->in.buf == NULL) {
            return err_set(e, -ENOMEM, "out of memory");
        }
    }
    r = read_head(&d->in, e);
    if (r < 0) {
        decode_close(d);
        return r;
    }
    for (size_t i = 0; d->ops == NULL; i++) {
        if (table[i]->knows(d->in.bytes, d->in.len)) {
            d->ops = table[i];
        }
    }
    r = d->ops->open(d, e);
    if (r < 0) {
        decode_close(d);
    }
    return r;
}

long decode_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    return d->ops->fill(d, out, cap, e);
}

void decode_close(struct decode *d)
{
    if (d->ops != NULL) {
        d->ops->close(d);
    }
    free(d->in.buf);
    *d = (struct decode){.in = {.fd = -1}};
}

/* ---- plain ---- */

static bool plain_knows(const uint8_t *head, size_t len)
{
    (void)head;
    (void)len;
    return true;
}

static int plain_open(struct decode *d, struct err *e)
{
    (void)d;
    (void)e;
    return 0;
}

/* What waits is copied; then the file is read straight into `out`. */
static long plain_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    struct decode_input *in = &d->in;
    size_t n = in->len < cap ? in->len : cap;
    ssize_t r;

    if (n > 0) {
        memcpy(out, in->bytes, n);
        in->bytes += n;
        in->len -= n;
        return (long)n;
    }
    if (in->fd < 0) {
        return 0;
    }
    do {
        r = read(in->fd, out, cap);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        return err_sys(e, -errno, "cannot read");
    }
    in->total += (uint64_t)r;
    return r;
}

static void plain_close(struct decode *d)
{
    (void)d;
}

const struct decode_ops decode_plain_ops = {
    .name = "plain",
    .knows = plain_knows,
    .open = plain_open,
    .fill = plain_fill,
    .close = plain_close,
};

/* ---- zstd ---- */

struct zstd_state {
    ZSTD_DStream *z;
    bool inside; /* of a frame */
};

static bool zstd_knows(const uint8_t *head, size_t len)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd}; /* RFC 8878, 3.1.1 */

    return len >= sizeof magic && memcmp(head, magic, sizeof magic) == 0;
}

static int zstd_open(struct decode *d, struct err *e)
{
    struct zstd_state *st = fault_calloc(1, sizeof *st);

    d->state = st;
    if (st != NULL) {
        st->z = ZSTD_createDStream();
    }
    if (st == NULL || st->z == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    (void)ZSTD_DCtx_setParameter(st->z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    return 0;
}

static long zstd_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    struct zstd_state *st = d->state;
    ZSTD_outBuffer to = {out, cap, 0};

    while (to.pos < to.size) {
        ZSTD_inBuffer from;
        size_t left;
        int r = decode_more(&d->in, e);

        if (r < 0) {
            return r;
        }
        if (r == 0) {
            return st->inside && to.pos == 0
                       ? err_set(e, -EBADMSG, "zstd data ends early")
                       : (long)to.pos;
        }
        from = (ZSTD_inBuffer){d->in.bytes, d->in.len, 0};
        left = ZSTD_decompressStream(st->z, &to, &from);
        if (ZSTD_isError(left)) {
            return err_set(e, -EBADMSG, "damaged zstd data: %s", ZSTD_getErrorName(left));
        }
        st->inside = left != 0;
        d->in.bytes += from.pos;
        d->in.len -= from.pos;
    }
    return (long)to.pos;
}

static void zstd_close(struct decode *d)
{
    struct zstd_state *st = d->state;

    if (st != NULL) {
        (void)ZSTD_freeDStream(st->z);
        free(st);
    }
}

const struct decode_ops decode_zstd_ops = {
    .name = "zstd",
    .knows = zstd_knows,
    .open = zstd_open,
    .fill = zstd_fill,
    .close = zstd_close,
};

/* ---- xz, bzip2, lz4, lzip: rare, so a library that knows them all ---- */

static bool other_knows(const uint8_t *head, size_t len)
{
    static const struct {
        uint8_t bytes[DECODE_MAGIC_BYTES];
        size_t n;
    } magics[] = {
        {{0xfd, '7', 'z', 'X', 'Z', 0}, 6},
        {{'B', 'Z', 'h'}, 3},
        {{0x04, 0x22, 0x4d, 0x18}, 4},
        {{'L', 'Z', 'I', 'P'}, 4},
    };

    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        if (len >= magics[i].n && memcmp(head, magics[i].bytes, magics[i].n) == 0) {
            return true;
        }
    }
    return false;
}

static la_ssize_t other_read(struct archive *a, void *arg, const void **ret)
{
    struct decode *d = arg;
    struct decode_input *in = &d->in;
    struct err e = {0};
    int r = decode_more(in, &e);
    la_ssize_t n;

    if (r < 0) {
        archive_set_error(a, -r, "%s", e.text);
        return ARCHIVE_FATAL;
    }
    *ret = in->bytes;
    n = (la_ssize_t)in->len;
    in->len = 0;
    return n;
}

static int other_fail(struct archive *a, struct err *e)
{
    const char *text = archive_error_string(a);

    return err_set(e, -EBADMSG, "damaged archive: %s", text != NULL ? text : "unknown");
}

static int other_open(struct decode *d, struct err *e)
{
    struct archive *a = archive_read_new();
    struct archive_entry *x;

    if (a == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    d->state = a;
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_lz4(a);
    archive_read_support_filter_lzip(a);
    archive_read_support_format_raw(a);
    if (archive_read_open(a, d, NULL, other_read, NULL) != ARCHIVE_OK ||
        archive_read_next_header(a, &x) != ARCHIVE_OK) {
        return other_fail(a, e);
    }
    return 0;
}

static long other_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    la_ssize_t n = archive_read_data(d->state, out, cap);

    return n < 0 ? other_fail(d->state, e) : (long)n;
}

static void other_close(struct decode *d)
{
    if (d->state != NULL) {
        (void)archive_read_free(d->state);
    }
}

const struct decode_ops decode_other_ops = {
    .name = "other",
    .knows = other_knows,
    .open = other_open,
    .fill = other_fill,
    .close = other_close,
};
