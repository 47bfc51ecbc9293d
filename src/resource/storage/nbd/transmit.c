/* transmit.c - requests come in, go to the disk, and their answers to the socket.
 *
 * All on one thread: one recv brings as many requests as have come; each goes to the
 * disk at once and, where the disk need not wait, is done on the spot; at the end of
 * the loop's turn all answers leave in one sendmsg.  This is what makes the server
 * fast: no hand-over between threads and less than one call of the kernel per request for each
 * direction.
 *
 * Payloads of small writes are copied out of the input buffer.  Once payloads are
 * big, exactly the bytes of a payload and of the next head are asked for, so that they
 * land where they belong.
 *
 * Whatever a client announces, at most `NBD_FLIGHT_MOST` requests and `NBD_HELD_MOST`
 * bytes (and one request) are in work for it; reading stops until some are done. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/nbd/private.h"
#include "resource/storage/nbd/protocol.h"

#define BIG_BYTES    32768u         /* payloads from here on are received in place */
#define KEEP_BYTES   (1024u * 1024) /* larger buffers are not kept for the next request */
#define SOON_NS      200000 /* a client that comes back so fast is waited for awake */
#define TAKES_A_TURN 8      /* calls of recv before others have their turn */

/* What the disk has finished gets its answers. */
static void answer_finished(struct connection *c)
{
    for (struct blk_request *b = blk_reap(&c->queue); b != NULL;) {
        struct blk_request *next = b->next;

        nbd_reply((struct request *)b, b->result);
        b = next;
    }
}

/* ---- requests ---- */

struct request *nbd_request_get(struct connection *c)
{
    struct request *r = c->free;

    if (r != NULL) {
        c->free = r->next;
    } else {
        r = fault_calloc(1, sizeof *r);
        if (r == NULL) {
            return NULL;
        }
        r->c = c;
    }
    r->next = NULL;
    r->filled = 0;
    r->head_bytes = 0;
    r->data_bytes = 0;
    r->file = -1;
    c->flight++;
    return r;
}

void nbd_request_put(struct request *r)
{
    struct connection *c = r->c;

    c->held -= r->held;
    r->held = 0;
    nbd_pipe_leave(r, false);
    free(r->text);
    r->text = NULL;
    if (r->room > KEEP_BYTES) {
        free(r->buf);
        r->buf = NULL;
        r->room = 0;
    }
    r->next = c->free;
    c->free = r;
    c->flight--;
}

bool nbd_request_room(struct request *r)
{
    size_t bytes = (size_t)r->bytes;

    if (r->room < bytes) {
        size_t room = (bytes + 4095) & ~(size_t)4095;

        free(r->buf);
        r->buf = fault_aligned(4096, room);
        r->room = r->buf != NULL ? room : 0;
    }
    r->held = r->room;
    r->c->held += r->held;
    return r->room >= bytes;
}

static bool is_full(const struct connection *c)
{
    return c->flight >= NBD_FLIGHT_MOST || c->held >= NBD_HELD_MOST ||
           c->pipes_used == NBD_PIPES;
}

/* ---- to the disk ---- */

static void submit(struct request *r, enum blk_kind kind, unsigned flags)
{
    struct connection *c = r->c;

    r->piece = (struct iovec){r->buf, (size_t)r->bytes};
    r->blk = (struct blk_request){
        .kind = kind,
        .flags = flags | ((r->flags & NBD_CMD_FUA) != 0 ? BLK_FUA : 0u),
        .off = r->off,
        .bytes = r->bytes,
        .vec = {.iov = &r->piece, .bytes = (size_t)r->bytes},
    };
    c->queue.disk = c->export->edge.disk;
    blk_submit(&c->queue, &r->blk);
}

static void resize(void *arg)
{
    struct request *r = arg;

    nbd_reply(r, blk_resize(r->c->export->edge.disk, r->off, NULL));
    loop_later(r->c->server->loop, &r->c->send_task);
}

static void status(void *arg)
{
    struct request *r = arg;

    nbd_block_status(r);
    loop_later(r->c->server->loop, &r->c->send_task);
}

static void in_strand(struct request *r, void (*fn)(void *arg))
{
    if (strand_start(loop_strands(r->c->server->loop), fn, r) != 0) {
        nbd_reply(r, -ENOMEM);
    }
}

static void write_zeroes(struct request *r)
{
    unsigned flags = 0;

    if ((r->flags & NBD_CMD_NO_HOLE) == 0) {
        flags |= BLK_UNMAP;
    }
    if ((r->flags & NBD_CMD_FAST_ZERO) != 0) {
        flags |= BLK_NO_SLOW;
    }
    submit(r, BLK_ZERO, flags);
}

/* What a request may not be, whatever the disk says: the error, or 0. */
static int check(const struct request *r)
{
    static const uint16_t known[] = {
        [NBD_CMD_READ] = NBD_CMD_DF,
        [NBD_CMD_WRITE] = NBD_CMD_FUA,
        [NBD_CMD_FLUSH] = 0,
        [NBD_CMD_TRIM] = NBD_CMD_FUA,
        [NBD_CMD_CACHE] = 0,
        [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FUA | NBD_CMD_NO_HOLE | NBD_CMD_FAST_ZERO,
        [NBD_CMD_BLOCK_STATUS] = NBD_CMD_REQ_ONE,
        [NBD_CMD_RESIZE] = NBD_CMD_FUA,
    };
    const struct export *x = r->c->export;
    bool writes = r->command == NBD_CMD_WRITE || r->command == NBD_CMD_TRIM ||
                  r->command == NBD_CMD_WRITE_ZEROES || r->command == NBD_CMD_RESIZE;

    if (r->command > NBD_CMD_RESIZE || r->command == NBD_CMD_DISC ||
        (r->flags & ~(known[r->command] | NBD_CMD_FUA)) != 0) {
        return -EINVAL;
    }
    if (writes && (x->read_only || (r->command == NBD_CMD_RESIZE && !x->resizable))) {
        return -EPERM;
    }
    if (r->command == NBD_CMD_FLUSH || r->command == NBD_CMD_RESIZE) {
        return 0;
    }
    if (r->off > blk_size(x->edge.disk) || r->bytes > blk_size(x->edge.disk) - r->off) {
        return r->command == NBD_CMD_WRITE || r->command == NBD_CMD_WRITE_ZEROES
                   ? -ENOSPC
                   : -EINVAL;
    }
    if (r->bytes == 0 || (r->command == NBD_CMD_READ && r->bytes > NBD_PAYLOAD_MOST)) {
        return -EINVAL;
    }
    return 0;
}

/* That of the loop is the one of its turn, which may have many reads. */
static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Big reads of what lies in the page cache are sent from there, where the client gains by it. */
static bool send_pages(struct request *r)
{
    struct connection *c = r->c;

    if (r->command != NBD_CMD_READ || r->bytes < BIG_BYTES || c->ssl != NULL ||
        blk_pages(c->export->edge.disk, r->off, r->bytes, &r->file, &r->file_at) != 0) {
        return false;
    }
    if (!nbd_pages_wanted(&c->pages, r->bytes, now_ns())) {
        r->file = -1;
        return false;
    }
    nbd_reply_pages(r);
    return true;
}

static void perform(struct request *r)
{
    int error = check(r);

    if (error == 0 && send_pages(r)) {
        return;
    }
    if (error == 0 && r->command == NBD_CMD_READ && !nbd_request_room(r)) {
        error = -ENOMEM;
    }
    if (error != 0) {
        nbd_reply(r, error);
        return;
    }
    switch (r->command) {
    case NBD_CMD_READ:
        submit(r, BLK_READ, 0);
        break;
    case NBD_CMD_WRITE:
        if (r->pipe != NULL) {
            nbd_pipe_write(r);
        } else {
            submit(r, BLK_WRITE, 0);
        }
        break;
    case NBD_CMD_FLUSH:
        submit(r, BLK_FLUSH, 0);
        break;
    case NBD_CMD_TRIM:
        submit(r, BLK_DISCARD, 0);
        break;
    case NBD_CMD_WRITE_ZEROES:
        write_zeroes(r);
        break;
    case NBD_CMD_BLOCK_STATUS:
        in_strand(r, status);
        break;
    case NBD_CMD_RESIZE:
        in_strand(r, resize);
        break;
    default: /* cache: the page cache looks after itself */
        nbd_reply(r, 0);
    }
}

/* ---- from the socket ---- */

/* The head at `at` has come whole.  -errno: the client makes no sense, or leaves. */
static int take_head(struct connection *c, const char *at)
{
    struct request *r;

    if (nbd_get32(at) != (c->extended ? NBD_EXTENDED_MAGIC : NBD_REQUEST_MAGIC)) {
        return -EBADMSG;
    }
    if (nbd_get16(at + 6) == NBD_CMD_DISC) {
        return -ECONNRESET;
    }
    r = nbd_request_get(c);
    if (r == NULL) {
        return -ENOMEM;
    }
    r->flags = nbd_get16(at + 4);
    r->command = nbd_get16(at + 6);
    r->cookie = nbd_get64(at + 8);
    r->off = nbd_get64(at + 16);
    r->bytes = c->extended ? nbd_get64(at + 24) : nbd_get32(at + 24);
    if (r->command != NBD_CMD_WRITE || r->bytes == 0) {
        perform(r);
        return 0;
    }
    c->big = r->bytes >= BIG_BYTES;
    if (r->bytes > NBD_PAYLOAD_MOST ||
        !((c->big && nbd_pipe_takes(r)) || nbd_request_room(r))) {
        nbd_request_put(r); /* what follows cannot be told from requests */
        return -EMSGSIZE;
    }
    c->incoming = r;
    return 0;
}

/* Move payload bytes that are in the buffer already; true: the write is whole. */
static bool take_payload(struct connection *c)
{
    struct request *r = c->incoming;
    size_t want = (size_t)r->bytes - r->filled;
    size_t have = c->in_end - c->in_at;
    size_t n = want < have ? want : have;

    if (n == 0) {
        return r->filled == r->bytes;
    }
    memcpy(r->buf + r->filled, c->in + c->in_at, n);
    r->filled += n;
    c->in_at += n;
    return r->filled == r->bytes;
}

/* Handle all that is in the buffer.  0, or why the connection ends. */
static int digest(struct connection *c)
{
    size_t head = c->extended ? NBD_EXT_REQUEST_BYTES : NBD_REQUEST_BYTES;
    int r = 0;

    while (r == 0 && c->phase == PHASE_TRANSMIT) {
        if (c->incoming != NULL) {
            struct request *w = c->incoming;

            if (!take_payload(c)) {
                break;
            }
            c->incoming = NULL;
            perform(w);
            answer_finished(c);
            nbd_reply_send_if_many(c);
        } else if (c->in_end - c->in_at >= head && !is_full(c)) {
            c->in_at += head;
            r = take_head(c, c->in + c->in_at - head);
            answer_finished(c);
            nbd_reply_send_if_many(c);
        } else {
            break;
        }
    }
    return r;
}

/* One recv: into the payload that is coming in, and behind it into the buffer. */
static ssize_t fetch(struct connection *c)
{
    size_t head = c->extended ? NBD_EXT_REQUEST_BYTES : NBD_REQUEST_BYTES;
    struct iovec iov[2];
    int count = 0;
    size_t direct = 0;
    size_t room;
    ssize_t n;

    if (c->incoming != NULL && c->incoming->pipe != NULL) {
        return nbd_pipe_fetch(c);
    }
    if (c->in_at == c->in_end) {
        c->in_at = 0;
        c->in_end = 0;
    } else if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
        c->in_end -= c->in_at;
        c->in_at = 0;
    }
    if (c->incoming != NULL) {
        direct = (size_t)c->incoming->bytes - c->incoming->filled;
        iov[count++] = (struct iovec){c->incoming->buf + c->incoming->filled, direct};
    }
    room = NBD_IN_BYTES - c->in_end;
    if (c->big && c->in_end < head) {
        room = head - c->in_end;
    }
    iov[count++] = (struct iovec){c->in + c->in_end, room};
    n = nbd_recv(c, iov, c->ssl != NULL ? 1 : count);
    if (n > 0) {
        size_t got = (size_t)n;
        size_t in_place = got < direct ? got : direct;

        if (c->incoming != NULL) {
            c->incoming->filled += in_place;
        }
        c->in_end += got - in_place;
    }
    return n;
}

static ssize_t fetch_unless_full(struct connection *c)
{
    if (is_full(c)) {
        (void)loop_watch_change(&c->watch, c->watch.events & ~(uint32_t)EPOLLIN);
        return -EAGAIN;
    }
    return fetch(c);
}

/* Handle what is in the buffer; false: the connection has ended. */
static bool digest_or_end(struct connection *c)
{
    if (digest(c) == 0) {
        return c->phase == PHASE_TRANSMIT;
    }
    nbd_connection_end(c);
    return false;
}

/* Each fetch is digested at once: what came with the last one wakes nobody. */
bool nbd_transmit_take(struct connection *c)
{
    bool any = false;
    bool goes_on = digest_or_end(c);

    for (unsigned i = 0; i < TAKES_A_TURN && goes_on; i++) {
        ssize_t n = fetch_unless_full(c);

        if (n == -EAGAIN) {
            break;
        }
        any = true;
        if (n == -EINTR) {
            continue;
        }
        if (n <= 0) {
            c->broken = n < 0;
            nbd_connection_end(c);
            break;
        }
        goes_on = digest_or_end(c);
        if (c->ssl == NULL && c->incoming == NULL && (size_t)n < NBD_IN_BYTES &&
            !c->big) {
            break; /* all that was there: another recv would find nothing */
        }
    }
    return any;
}

/* A client that keeps coming back at once is waited for without sleeping. */
static void note_pace(struct connection *c)
{
    uint64_t now = loop_now_ns(c->server->loop);

    if (now - c->last_ns < SOON_NS) {
        loop_expect_more(c->server->loop);
    }
    c->last_ns = now;
}

static bool look(struct loop_poller *p)
{
    struct connection *c =
        (struct connection *)((char *)p - offsetof(struct connection, poller));

    if ((c->watch.events & EPOLLIN) == 0 || !nbd_transmit_take(c)) {
        return false;
    }
    note_pace(c);
    return true;
}

static void came(struct loop_watch *w, uint32_t events)
{
    struct connection *c =
        (struct connection *)((char *)w - offsetof(struct connection, watch));

    if ((events & EPOLLOUT) != 0) {
        c->out_blocked = false;
        (void)loop_watch_change(w, w->events & ~(uint32_t)EPOLLOUT);
        loop_later(c->server->loop, &c->send_task);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    if (c->phase == PHASE_TRANSMIT) {
        (void)nbd_transmit_take(c);
        note_pace(c);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        c->broken = true;
        (void)loop_watch_change(w, 0);
        nbd_connection_maybe_free(c);
    }
}

/* ---- and back ---- */

static void ready(struct blk_queue *q)
{
    struct connection *c =
        (struct connection *)((char *)q - offsetof(struct connection, queue));

    loop_later(c->server->loop, &c->send_task);
}

static void send_answers(struct loop_task *t)
{
    struct connection *c =
        (struct connection *)((char *)t - offsetof(struct connection, send_task));
    bool was_full = is_full(c);

    answer_finished(c);
    nbd_reply_send(c);
    if (c->phase == PHASE_TRANSMIT && (was_full || (c->watch.events & EPOLLIN) == 0) &&
        !is_full(c)) {
        (void)loop_watch_change(&c->watch, c->watch.events | EPOLLIN);
        (void)nbd_transmit_take(c); /* what is in the buffer does not wake us */
    }
    nbd_connection_maybe_free(c);
}

int nbd_transmit_begin(struct connection *c)
{
    struct loop *l = c->server->loop;
    int r;

    c->phase = PHASE_TRANSMIT;
    c->queue.disk = c->export->edge.disk;
    c->queue.ready = ready;
    c->send_task.fn = send_answers;
    c->poller.fn = look;
    c->watch = (struct loop_watch){.fd = c->fd, .events = EPOLLIN, .fn = came};
    loop_poller_add(l, &c->poller);
    r = loop_watch(l, &c->watch);
    if (r == 0) {
        loop_later(l, &c->send_task); /* requests may have come with the last option */
        (void)nbd_transmit_take(c);
    }
    return r;
}
