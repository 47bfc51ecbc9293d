/* pipe.c - big payloads of writes that never come to memory of this process.
 *
 * The kernel moves the pages of the socket to a pipe, and copies them once, from there to
 * the page cache of the file: half of the work of receiving and writing them.  A payload
 * is gathered first, as a request that waits for its client would hold up a drain of the
 * disk.
 *
 * Payloads go to memory when they would not fit, when the pipe is full of small pieces
 * before all has come, and for a while after the disk could not take from one.
 *
 * Tried, and no gain on two processors, one of them the client's: that copy on another
 * thread while the next payload comes in; payloads in pieces of 64 KiB, between which the
 * socket has its turn (a tenth slower).
 *
 * Sources: splice(2), pipe(7). */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contract/blk_ops.h"
#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define PIPE_BYTES (1024 * 1024) /* pipe-max-size of a kernel that nobody has tuned */
#define SHY_WRITES 64u           /* that go to memory after the disk took none */

static bool open_pipe(struct payload_pipe *p)
{
    int fd[2];
    int room;

    if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) != 0) {
        return false;
    }
    p->from = fd[0];
    p->to = fd[1];
    room = fcntl(fd[1], F_SETPIPE_SZ, PIPE_BYTES);
    if (room < 0) {
        room = fcntl(fd[1], F_GETPIPE_SZ);
    }
    p->room = room > 0 ? (size_t)room : 1;
    return true;
}

static void close_pipe(struct payload_pipe *p)
{
    if (p->room > 0) {
        (void)close(p->from);
        (void)close(p->to);
        p->room = 0;
    }
}

void nbd_pipe_close(struct connection *c)
{
    for (unsigned i = 0; i < NBD_PIPES; i++) {
        close_pipe(&c->pipe[i]);
    }
}

void nbd_pipe_leave(struct request *r, bool empty)
{
    if (r->pipe == NULL) {
        return;
    }
    if (!empty) {
        close_pipe(r->pipe);
    }
    r->pipe->used = false;
    r->pipe = NULL;
    r->c->pipes_used--;
}

bool nbd_pipe_takes(struct request *r)
{
    struct connection *c = r->c;
    struct payload_pipe *p = c->pipe;

    if (c->ssl != NULL || c->in_at < c->in_end || c->pipes_used == NBD_PIPES ||
        c->export->edge.disk->ops->write_pipe == NULL) {
        return false;
    }
    if (c->pipe_shy > 0) {
        c->pipe_shy--;
        return false;
    }
    while (p->used) {
        p++;
    }
    if (p->room == 0 && !open_pipe(p)) {
        c->pipe_shy = SHY_WRITES;
        return false;
    }
    if (r->bytes > p->room) {
        return false;
    }
    p->used = true;
    r->pipe = p;
    c->pipes_used++;
    return true;
}

/* The bytes that the pipe holds come to memory. */
static int to_memory(struct request *r, size_t bytes)
{
    size_t at = 0;

    if (!nbd_request_room(r)) {
        return -ENOMEM;
    }
    while (at < bytes) {
        ssize_t n = read(r->pipe->from, r->buf + at, bytes - at);

        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return -EIO;
        }
    }
    nbd_pipe_leave(r, true);
    return 0;
}

static ssize_t move(struct connection *c)
{
    struct request *r = c->incoming;
    ssize_t n = splice(c->fd, NULL, r->pipe->to, NULL, (size_t)r->bytes - r->filled,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

    if (n > 0) {
        r->filled += (size_t)n;
    }
    return n < 0 ? -errno : n;
}

/* -EAGAIN of splice: the socket is empty or the pipe is full. */
ssize_t nbd_pipe_fetch(struct connection *c)
{
    ssize_t n = move(c);
    char one;
    int e;

    if (n == -EAGAIN) {
        if (recv(c->fd, &one, 1, MSG_PEEK | MSG_DONTWAIT) < 0) {
            return n;
        }
        n = move(c); /* it may have come in between */
    }
    if (n != -EAGAIN && n != -EINVAL) {
        return n;
    }
    e = to_memory(c->incoming, c->incoming->filled);
    return e != 0 ? e : -EINTR;
}

static void write_it(void *arg)
{
    struct request *r = arg;
    struct connection *c = r->c;
    struct blk *disk = c->export->edge.disk;
    unsigned flags = (r->flags & NBD_CMD_FUA) != 0 ? BLK_FUA : 0u;
    int e = blk_write_pipe(disk, r->pipe->from, r->bytes, r->off, flags);

    if (e == -EOPNOTSUPP) {
        c->pipe_shy = SHY_WRITES;
        e = to_memory(r, (size_t)r->bytes);
        e = e != 0 ? e : blk_write(disk, r->buf, (size_t)r->bytes, r->off, flags);
    }
    nbd_pipe_leave(r, e == 0);
    nbd_reply(r, e);
    nbd_reply_send_if_many(c);
}

void nbd_pipe_write(struct request *r)
{
    if (strand_start(loop_strands(r->c->server->loop), write_it, r) != 0) {
        nbd_reply(r, -ENOMEM);
    }
}
