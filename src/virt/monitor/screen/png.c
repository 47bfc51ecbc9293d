/* png.c - a picture as PNG: eight bits for each of three colors, one stream of rows.
 *
 * Each row is written as it differs from the one above it (filter "Up"): screens have many rows
 * that are alike.  Source: ISO/IEC 15948:2004 (PNG), 5 and 11.2; RFC 1950. */
#include "virt/monitor/screen/png.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/display.h"

#define COLORS    3u
#define TRUECOLOR 2u
#define FILTER_UP 2u
#define LEVEL     3 /* of 9 */
#define OUT_BYTES 65536u

struct head {
    uint32_t width, height; /* big-endian */
    uint8_t bits, colors, compression, filter, interlace;
} __attribute__((packed));

struct file {
    int fd;
    off_t at;
    z_stream z;
    uint32_t pixel[DISPLAY_WIDTH_MOST];
    uint8_t above[DISPLAY_WIDTH_MOST * COLORS];
    uint8_t row[1 + DISPLAY_WIDTH_MOST * COLORS];
    uint8_t out[OUT_BYTES];
};

static int put(struct file *f, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;

    while (n > 0) {
        ssize_t done = pwrite(f->fd, from, n, f->at);

        if (done < 0) {
            return -errno;
        }
        from += done;
        n -= (size_t)done;
        f->at += done;
    }
    return 0;
}

static int put_chunk(struct file *f, const char type[4], const void *bytes, size_t n)
{
    uint32_t length = htobe32((uint32_t)n);
    uLong sum = crc32(crc32(0, (const Bytef *)type, 4), bytes, (uInt)n);
    uint32_t check = htobe32((uint32_t)sum);
    int r = put(f, &length, sizeof length);

    r = r == 0 ? put(f, type, 4) : r;
    r = r == 0 ? put(f, bytes, n) : r;
    return r == 0 ? put(f, &check, sizeof check) : r;
}

/* What is packed so far, in pieces; at the end all of it. */
static int pack(struct file *f, int flush)
{
    int r = 0;

    while (r == 0) {
        int z = deflate(&f->z, flush);
        bool is_full = f->z.avail_out == 0;

        if (z == Z_STREAM_ERROR) {
            return -EIO;
        }
        if (is_full || z == Z_STREAM_END) {
            r = put_chunk(f, "IDAT", f->out, OUT_BYTES - f->z.avail_out);
            f->z.next_out = f->out;
            f->z.avail_out = OUT_BYTES;
        }
        if (z == Z_STREAM_END || (!is_full && flush == Z_NO_FLUSH)) {
            return r;
        }
    }
    return r;
}

static int put_row(struct file *f, uint32_t width)
{
    uint8_t *to = f->row;

    *to++ = FILTER_UP;
    for (uint32_t i = 0; i < width * COLORS; i++) {
        uint8_t v = (uint8_t)(f->pixel[i / COLORS] >> (16 - i % COLORS * 8));

        *to++ = (uint8_t)(v - f->above[i]);
        f->above[i] = v;
    }
    f->z.next_in = f->row;
    f->z.avail_in = 1 + width * COLORS;
    return pack(f, Z_NO_FLUSH);
}

static int put_picture(struct file *f, struct display *d, const struct display_size *size)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const struct head head = {
        htobe32(size->width), htobe32(size->height), 8, TRUECOLOR, 0, 0, 0};
    int r = put(f, signature, sizeof signature);

    r = r == 0 ? put_chunk(f, "IHDR", &head, sizeof head) : r;
    f->z.next_out = f->out;
    f->z.avail_out = OUT_BYTES;
    for (uint32_t y = 0; r == 0 && y < size->height; y++) {
        d->ops->draw(d, y, f->pixel);
        r = put_row(f, size->width);
    }
    r = r == 0 ? pack(f, Z_FINISH) : r;
    return r == 0 ? put_chunk(f, "IEND", "", 0) : r;
}

int png_write(struct display *d, int fd, struct err *e)
{
    struct file *f = fault_calloc(1, sizeof *f);
    struct display_size size;
    int r = f == NULL || deflateInit(&f->z, LEVEL) != Z_OK ? -ENOMEM : 0;

    if (r == 0) {
        f->fd = fd;
        d->ops->look(d, &size);
        r = put_picture(f, d, &size);
        (void)deflateEnd(&f->z);
    }
    free(f);
    return r == 0 ? 0 : err_sys(e, r, "cannot write a picture of the screen");
}
