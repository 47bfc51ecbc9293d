/* chain.c - the bytes of a chain. */
#include "virtio/chain.h"

#include <string.h>

#include "virtio/space.h"

/* The part of a piece that lies behind `off`, at most `bytes`; `off` becomes what is left
 * of it for the next pieces. */
static struct iovec part_of(struct iovec piece, uint64_t *off, uint64_t bytes)
{
    uint64_t skip = *off < piece.iov_len ? *off : piece.iov_len;

    *off -= skip;
    piece.iov_base = (char *)piece.iov_base + skip;
    piece.iov_len -= (size_t)skip;
    if (piece.iov_len > bytes) {
        piece.iov_len = (size_t)bytes;
    }
    return piece;
}

uint64_t virtio_chain_read(const struct virtq_chain *c, uint64_t off, void *to,
                           uint64_t bytes)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < c->reads && done < bytes; i++) {
        struct iovec p = part_of(c->iov[i], &off, bytes - done);

        virtio_copy_once((char *)to + done, p.iov_base, p.iov_len);
        done += p.iov_len;
    }
    return done;
}

uint64_t virtio_chain_write(struct virtq *q, const struct virtq_chain *c, uint64_t off,
                            const void *from, uint64_t bytes)
{
    struct virtio_space *s = q->s.space;
    uint64_t done = 0;

    for (unsigned i = c->reads; i < c->reads + c->writes && done < bytes; i++) {
        struct iovec p = part_of(c->iov[i], &off, bytes - done);

        if (p.iov_len == 0) {
            continue;
        }
        memcpy(p.iov_base, (const char *)from + done, p.iov_len);
        if (s->wrote != NULL) {
            s->wrote(s, p.iov_base, p.iov_len);
        }
        done += p.iov_len;
    }
    return done;
}

void virtio_chain_skip(struct virtq_chain *c, uint64_t bytes)
{
    for (unsigned i = 0; i < c->reads && bytes > 0; i++) {
        struct iovec *p = &c->iov[i];
        size_t n = bytes < p->iov_len ? (size_t)bytes : p->iov_len;

        p->iov_base = (char *)p->iov_base + n;
        p->iov_len -= n;
        c->read_bytes -= n;
        bytes -= n;
    }
}
