/* gzip.c - gzip streams of one or many members (RFC 1952).
 *
 * ISA-L inflates about three times as fast as zlib; a build without it takes
 * zlib.  Both check each member's CRC and length. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/image/pack/decode.h"

#ifdef HAVE_ISAL
#    include <isa-l/igzip_lib.h>
#else
#    include <zlib.h>
#endif

static bool gzip_knows(const uint8_t *head, size_t len)
{
    return len >= 3 && head[0] == 0x1f && head[1] == 0x8b && head[2] == 8;
}

static int ends_early(struct err *e)
{
    return err_set(e, -EBADMSG, "gzip data ends early");
}

/* Zeros after the last member are padding (tape blocks); they end the stream. */
static bool is_padding(struct decode *d)
{
    return d->in.bytes[0] == 0;
}

#ifdef HAVE_ISAL

struct gzip_state {
    struct inflate_state z;
    bool inside; /* of a member */
};

static int gzip_open(struct decode *d, struct err *e)
{
    struct gzip_state *st = fault_malloc(sizeof *st);

    if (st == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    d->state = st;
    isal_inflate_init(&st->z);
    st->z.crc_flag = ISAL_GZIP;
    st->inside = false;
    return 0;
}

static int begin_member(struct decode *d, struct gzip_state *st)
{
    if (!st->inside) {
        if (is_padding(d)) {
            return 0;
        }
        isal_inflate_reset(&st->z);
        st->z.crc_flag = ISAL_GZIP;
        st->inside = true;
    }
    return 1;
}

static long gzip_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    struct gzip_state *st = d->state;
    size_t done = 0;

    while (done < cap) {
        size_t want = cap - done;
        int r = decode_more(&d->in, e);

        if (r < 0) {
            return r;
        }
        /* Bytes may still wait inside the state when no input is left. */
        if (r == 0 && !st->inside) {
            break;
        }
        if (r > 0 && begin_member(d, st) == 0) {
            break;
        }
        st->z.next_in = (uint8_t *)(uintptr_t)d->in.bytes;
        st->z.avail_in = (uint32_t)d->in.len;
        st->z.next_out = out + done;
        st->z.avail_out = (uint32_t)want;
        if (isal_inflate(&st->z) != ISAL_DECOMP_OK) {
            return err_set(e, -EBADMSG, "damaged gzip data");
        }
        d->in.bytes = st->z.next_in;
        d->in.len = st->z.avail_in;
        done += want - st->z.avail_out;
        if (st->z.block_state == ISAL_BLOCK_FINISH) {
            st->inside = false;
        } else if (r == 0 && st->z.avail_out == want) {
            return ends_early(e);
        }
    }
    return (long)done;
}

static void gzip_close(struct decode *d)
{
    free(d->state);
}

#else

struct gzip_state {
    z_stream z;
    bool ready, inside;
};

static int gzip_open(struct decode *d, struct err *e)
{
    struct gzip_state *st = fault_calloc(1, sizeof *st);

    d->state = st;
    if (st == NULL || inflateInit2(&st->z, 15 + 16) != Z_OK) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    st->ready = true;
    return 0;
}

static long gzip_fill(struct decode *d, uint8_t *out, size_t cap, struct err *e)
{
    struct gzip_state *st = d->state;

    st->z.next_out = out;
    st->z.avail_out = (uInt)cap;
    while (st->z.avail_out > 0) {
        int r = decode_more(&d->in, e);

        if (r < 0) {
            return r;
        }
        if (r == 0 && st->inside && st->z.avail_out == cap) {
            return ends_early(e);
        }
        if (r == 0 || (!st->inside && is_padding(d))) {
            break;
        }
        if (!st->inside) {
            (void)inflateReset(&st->z);
            st->inside = true;
        }
        st->z.next_in = (Bytef *)(uintptr_t)d->in.bytes;
        st->z.avail_in = (uInt)d->in.len;
        r = inflate(&st->z, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) {
            return err_set(e, -EBADMSG, "damaged gzip data");
        }
        d->in.bytes = st->z.next_in;
        d->in.len = st->z.avail_in;
        st->inside = r != Z_STREAM_END;
    }
    return (long)(cap - st->z.avail_out);
}

static void gzip_close(struct decode *d)
{
    struct gzip_state *st = d->state;

    if (st != NULL && st->ready) {
        (void)inflateEnd(&st->z);
    }
    free(st);
}

#endif

const struct decode_ops decode_gzip_ops = {
    .name = "gzip",
    .knows = gzip_knows,
    .open = gzip_open,
    .fill = gzip_fill,
    .close = gzip_close,
};
