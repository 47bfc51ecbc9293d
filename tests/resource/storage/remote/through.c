/* through.c - a filter over a client, and sockets for its server. */
#include "tests/resource/storage/remote/through.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <sys/socket.h>

#include "tests/contract/blk_suite.h"

static struct blk *below(struct blk *b)
{
    return ((struct through *)b)->client.disk;
}

static int through_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(below(b), to, off);
}

static int through_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    return blk_writev(below(b), from, off, flags);
}

static int through_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return blk_zero(below(b), off, bytes, flags);
}

static int through_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return blk_discard(below(b), off, bytes);
}

static int through_flush(struct blk *b)
{
    return blk_flush(below(b));
}

static int through_status(struct blk *b, uint64_t off, uint64_t bytes,
                          struct blk_extent *ret)
{
    return blk_status(below(b), off, bytes, ret);
}

static void through_destroy(struct blk *b)
{
    struct through *t = (struct through *)b;

    blk_detach(&t->client);
    t->release(t);
}

static const struct blk_ops through_ops = {
    .name = "through",
    .read = through_read,
    .write = through_write,
    .zero = through_zero,
    .discard = through_discard,
    .flush = through_flush,
    .status = through_status,
    .destroy = through_destroy,
};

void through_init(struct through *t, struct blk *take_client)
{
    blk_init_like(&t->blk, &through_ops, take_client);
    t->blk.does_fua = true;
    t->blk.zeroes_fast = take_client->zeroes_fast;
    t->client = (struct blk_edge){.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    must_be_0(blk_attach(&t->client, take_client, NULL));
}

int through_listen(unsigned *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0 && bind(fd, (struct sockaddr *)&a, size) == 0);
    must_be_0(listen(fd, 16));
    must_be_0(getsockname(fd, (struct sockaddr *)&a, &size));
    *ret_port = ntohs(a.sin_port);
    return fd;
}
