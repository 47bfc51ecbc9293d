/* blk_vec.c - windows on lists of memory pieces. */
#include "contract/blk_vec.h"

#include <assert.h>
#include <string.h>

struct blk_vec blk_vec_of(struct iovec *piece, void *buf, size_t bytes)
{
    *piece = (struct iovec){.iov_base = buf, .iov_len = bytes};
    return (struct blk_vec){.iov = piece, .bytes = bytes};
}

struct blk_vec blk_vec_part(struct blk_vec v, size_t off, size_t bytes)
{
    assert(off <= v.bytes && bytes <= v.bytes - off);
    v.skip += off;
    v.bytes = bytes;
    while (v.bytes > 0 && v.skip >= v.iov->iov_len) {
        v.skip -= v.iov->iov_len;
        v.iov++;
    }
    return v;
}

/* The next piece of a walk; `v` becomes what is behind it. */
static struct iovec step(struct blk_vec *v)
{
    struct iovec piece;

    while (v->skip >= v->iov->iov_len) {
        v->skip -= v->iov->iov_len;
        v->iov++;
    }
    piece.iov_base = (char *)v->iov->iov_base + v->skip;
    piece.iov_len = v->iov->iov_len - v->skip;
    if (piece.iov_len > v->bytes) {
        piece.iov_len = v->bytes;
    }
    v->skip += piece.iov_len;
    v->bytes -= piece.iov_len;
    return piece;
}

unsigned blk_vec_pieces(struct blk_vec v, struct iovec *ret, unsigned most)
{
    unsigned n = 0;

    while (v.bytes > 0 && n < most) {
        ret[n++] = step(&v);
    }
    return n;
}

void *blk_vec_flat(struct blk_vec v)
{
    struct iovec piece;

    if (v.bytes == 0) {
        return NULL;
    }
    piece = step(&v);
    return v.bytes == 0 ? piece.iov_base : NULL;
}

bool blk_vec_is_aligned(struct blk_vec v, size_t align)
{
    while (v.bytes > 0) {
        struct iovec piece = step(&v);

        if ((((uintptr_t)piece.iov_base | piece.iov_len) & (align - 1)) != 0) {
            return false;
        }
    }
    return true;
}

void blk_vec_take(struct blk_vec from, void *to)
{
    char *at = to;

    while (from.bytes > 0) {
        struct iovec piece = step(&from);

        memcpy(at, piece.iov_base, piece.iov_len);
        at += piece.iov_len;
    }
}

void blk_vec_put(struct blk_vec to, const void *from)
{
    const char *at = from;

    while (to.bytes > 0) {
        struct iovec piece = step(&to);

        memcpy(piece.iov_base, at, piece.iov_len);
        at += piece.iov_len;
    }
}

void blk_vec_copy(struct blk_vec to, struct blk_vec from)
{
    assert(to.bytes == from.bytes);
    while (to.bytes > 0) {
        struct iovec piece = step(&to);

        blk_vec_take(blk_vec_part(from, 0, piece.iov_len), piece.iov_base);
        from = blk_vec_part(from, piece.iov_len, from.bytes - piece.iov_len);
    }
}

void blk_vec_zero(struct blk_vec v)
{
    while (v.bytes > 0) {
        struct iovec piece = step(&v);

        memset(piece.iov_base, 0, piece.iov_len);
    }
}

static bool piece_is_zero(const unsigned char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

bool blk_vec_is_zero(struct blk_vec v)
{
    while (v.bytes > 0) {
        struct iovec piece = step(&v);

        if (!piece_is_zero(piece.iov_base, piece.iov_len)) {
            return false;
        }
    }
    return true;
}

bool blk_vec_equals(struct blk_vec a, struct blk_vec b)
{
    struct iovec x = {0};
    struct iovec y = {0};

    assert(a.bytes == b.bytes);
    while (a.bytes > 0 || x.iov_len > 0) {
        size_t n;

        x = x.iov_len > 0 ? x : step(&a);
        y = y.iov_len > 0 ? y : step(&b);
        n = x.iov_len < y.iov_len ? x.iov_len : y.iov_len;
        if (memcmp(x.iov_base, y.iov_base, n) != 0) {
            return false;
        }
        x = (struct iovec){(char *)x.iov_base + n, x.iov_len - n};
        y = (struct iovec){(char *)y.iov_base + n, y.iov_len - n};
    }
    return true;
}
