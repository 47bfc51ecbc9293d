/* reply.c - answers: their heads, their order, and their way to the socket.
 *
 * An answer is a head and perhaps data, sent in the order in which requests were
 * finished.  A sendmsg takes as many answers as it may have pieces; what the socket
 * does not take waits until it is writable. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define PIECES_MOST 256
#define SEND_BYTES  (64u * 1024) /* answers of so many bytes leave at once */

/* Errors that the protocol knows, "Error values". */
static uint32_t wire_error(int result)
{
    switch (-result) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
    case EACCES:
        return 1;
    case ENOMEM:
        return 12;
    case EINVAL:
    case ERANGE:
        return 22;
    case ENOSPC:
    case EDQUOT:
        return 28;
    case EOVERFLOW:
        return 75;
    case EOPNOTSUPP:
        return 95;
    case ESHUTDOWN:
        return 108;
    default:
        return 5; /* EIO */
    }
}

static void queue_answer(struct request *r)
{
    struct connection *c = r->c;

    r->next = NULL;
    if (c->out_first == NULL) {
        c->out_first = r;
    } else {
        c->out_last->next = r;
    }
    c->out_last = r;
    c->out_bytes += r->command == NBD_CMD_WRITE ? (size_t)r->bytes : r->data_bytes;
    loop_later(c->server->loop, &c->send_task);
}

/* The head of a chunk that ends the answer; `offset` counts for extended heads. */
static void chunk_head(struct request *r, uint16_t type, uint64_t length)
{
    char *h = r->head;

    nbd_put32(h, r->c->extended ? NBD_EXT_CHUNK_MAGIC : NBD_CHUNK_MAGIC);
    nbd_put16(h + 4, NBD_CHUNK_DONE);
    nbd_put16(h + 6, type);
    nbd_put64(h + 8, r->cookie);
    if (r->c->extended) {
        nbd_put64(h + 16, r->off);
        nbd_put64(h + 24, length);
        r->head_bytes = 32;
    } else {
        nbd_put32(h + 16, (uint32_t)length);
        r->head_bytes = 20;
    }
}

static void simple_head(struct request *r, uint32_t error)
{
    nbd_put32(r->head, NBD_SIMPLE_MAGIC);
    nbd_put32(r->head + 4, error);
    nbd_put64(r->head + 8, r->cookie);
    r->head_bytes = 16;
}

static void chunk_error(struct request *r, uint32_t error)
{
    chunk_head(r, NBD_CHUNK_ERROR, 6);
    nbd_put32(r->head + r->head_bytes, error);
    nbd_put16(r->head + r->head_bytes + 4, 0);
    r->head_bytes += 6;
}

void nbd_reply(struct request *r, int result)
{
    struct connection *c = r->c;
    bool reads = r->command == NBD_CMD_READ;
    bool chunk =
        c->extended || (c->structured && (reads || r->command == NBD_CMD_BLOCK_STATUS));

    r->data_bytes = reads && result == 0 ? (size_t)r->bytes : 0;
    r->data = r->buf;
    if (!chunk) {
        simple_head(r, wire_error(result));
    } else if (result != 0) {
        chunk_error(r, wire_error(result));
    } else if (reads) {
        chunk_head(r, NBD_CHUNK_DATA, 8 + r->bytes);
        nbd_put64(r->head + r->head_bytes, r->off);
        r->head_bytes += 8;
    } else {
        chunk_head(r, NBD_CHUNK_NONE, 0);
    }
    c->server->counts.served++;
    queue_answer(r);
}

void nbd_reply_text(struct request *r, uint16_t type, char *take_text, size_t bytes)
{
    r->text = take_text;
    r->data = take_text;
    r->data_bytes = bytes;
    chunk_head(r, type, bytes);
    r->c->server->counts.served++;
    queue_answer(r);
}

/* The first answer's data are pages of a file and their turn has come. */
static bool is_pages_turn(const struct connection *c)
{
    const struct request *r = c->out_first;

    return r->file >= 0 && c->out_sent >= r->head_bytes;
}

static ssize_t send_file(const struct connection *c)
{
    const struct request *r = c->out_first;
    size_t done = c->out_sent - r->head_bytes;
    off_t at = (off_t)(r->file_at + done);
    ssize_t n = sendfile(c->fd, r->file, &at, r->data_bytes - done);

    return n < 0 ? -errno : (n == 0 ? -EIO : n); /* 0: the file became shorter */
}

/* The pieces of the answers that wait, from the first byte that has not gone, up to the
 * first that are pages of a file. */
static int gather(const struct connection *c, struct iovec *pieces)
{
    size_t skip = c->out_sent;
    int n = 0;

    for (struct request *r = c->out_first; r != NULL && n + 2 <= PIECES_MOST;
         r = r->next) {
        if (skip < r->head_bytes) {
            pieces[n++] = (struct iovec){r->head + skip, r->head_bytes - skip};
            skip = 0;
        } else {
            skip -= r->head_bytes;
        }
        if (r->file >= 0) {
            break;
        }
        if (r->data_bytes > skip) {
            pieces[n++] =
                (struct iovec){(char *)(uintptr_t)r->data + skip, r->data_bytes - skip};
        }
        skip = 0;
    }
    return n;
}

/* So many bytes more have gone. */
static void advance(struct connection *c, size_t bytes)
{
    c->out_sent += bytes;
    while (c->out_first != NULL &&
           c->out_sent >= c->out_first->head_bytes + c->out_first->data_bytes) {
        struct request *r = c->out_first;

        c->out_sent -= r->head_bytes + r->data_bytes;
        c->out_first = r->next;
        nbd_request_put(r);
    }
}

static void drop_all(struct connection *c)
{
    while (c->out_first != NULL) {
        struct request *r = c->out_first;

        c->out_first = r->next;
        nbd_request_put(r);
    }
    c->out_sent = 0;
}

void nbd_reply_send(struct connection *c)
{
    struct iovec pieces[PIECES_MOST];

    c->out_bytes = 0;
    while (c->out_first != NULL && !c->out_blocked && !c->broken) {
        ssize_t n =
            is_pages_turn(c) ? send_file(c) : nbd_send(c, pieces, gather(c, pieces));

        if (n > 0) {
            advance(c, (size_t)n);
        } else if (n == -EAGAIN) {
            c->out_blocked = true;
            (void)loop_watch_change(&c->watch, c->watch.events | EPOLLOUT);
        } else if (n != -EINTR) {
            c->broken = true;
        }
    }
    if (c->broken) {
        drop_all(c);
        if (c->phase == PHASE_TRANSMIT) {
            nbd_connection_end(c);
        }
    }
}

void nbd_reply_send_if_many(struct connection *c)
{
    if (c->out_bytes >= SEND_BYTES) {
        nbd_reply_send(c);
    }
}

/* What has not gone comes to memory.  False: it does not. */
static bool fetch_pages(struct request *r)
{
    struct connection *c = r->c;
    size_t at = c->out_first == r && c->out_sent > r->head_bytes
                    ? c->out_sent - r->head_bytes
                    : 0;

    if (!nbd_request_room(r)) {
        return false;
    }
    while (at < r->data_bytes) {
        ssize_t n =
            pread(r->file, r->buf + at, r->data_bytes - at, (off_t)(r->file_at + at));

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false; /* the file became shorter */
        }
        at += n > 0 ? (size_t)n : 0;
    }
    r->file = -1;
    r->data = r->buf;
    return true;
}

void nbd_reply_pages(struct request *r)
{
    struct connection *c = r->c;

    nbd_reply(r, 0);
    nbd_reply_send(c);
    if (c->out_first != NULL && c->out_last == r && !fetch_pages(r)) {
        c->broken = true;
        nbd_reply_send(c);
    }
}
