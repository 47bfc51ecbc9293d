/* server.c - requests of the kernel come in and go out.
 *
 * All on one thread: each read(2) of /dev/fuse brings one request, each writev(2) one answer.
 * What has come is taken in one turn, goes to the disk at once and, where the disk
 * need not wait, is answered on the spot.  A request is read so that the data of a write,
 * which follow a head of fixed length, lie on a page of their own: nothing is
 * copied on the way to the disk.
 *
 * Whatever the kernel sends, at most `FUSE_FLIGHT_MOST` requests are in work; reading stops
 * until one of them is done, and the kernel keeps the others.
 *
 * The file is gone when the kernel says -ENODEV: unmounted, and the last file closed.  If
 * this process dies instead, the kernel ends all requests with -ECONNABORTED and gives -ENOTCONN
 * from then on: nobody hangs.  The mount stays until umount(2) (`umount -l` while files
 * are open).
 *
 * A socket with packets (SOCK_SEQPACKET) does as well as /dev/fuse, for tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/fuse/private.h"

#define ROOM_BYTES                                                                       \
    (FUSE_HEAD_BYTES + FUSE_PAGE_BYTES + FUSE_DATA_MOST + 2 * BLK_BLOCK_MOST_BYTES)
#define TAKES_A_TURN 16     /* before others have their turn */
#define SOON_NS      200000 /* a client that comes back so fast is waited for awake */

/* ---- requests ---- */

static struct call *make_call(struct fuse_server *s)
{
    struct call *c = fault_calloc(1, sizeof *c);

    if (c == NULL) {
        return NULL;
    }
    c->room = fault_malloc(ROOM_BYTES); /* pages that no request touches take no memory */
    if (c->room == NULL) {
        free(c);
        return NULL;
    }
    c->server = s;
    c->data = c->room + FUSE_HEAD_BYTES;
    c->data += -(uintptr_t)c->data & (FUSE_PAGE_BYTES - 1);
    return c;
}

static struct call *get_call(struct fuse_server *s)
{
    struct call *c = s->free;

    if (c != NULL) {
        s->free = c->next;
    } else {
        c = make_call(s);
        if (c == NULL) {
            return NULL;
        }
    }
    c->next = NULL;
    c->writes = false;
    s->flight++;
    return c;
}

static void put_call(struct call *c)
{
    struct fuse_server *s = c->server;

    c->next = s->free;
    s->free = c;
    s->flight--;
    if (s->flight == 0) {
        (void)strand_wake_all(&s->all_answered);
    }
    if (s->watch.events == 0 && !s->ending) {
        loop_later(s->loop, &s->answer_task); /* reading goes on */
    }
}

void fuse_no_reply(struct call *c)
{
    c->server->counts.served++;
    put_call(c);
}

void fuse_reply(struct call *c, int result, const void *body, size_t bytes)
{
    struct fuse_out_header head = {.error = result, .unique = c->in.unique};
    struct iovec iov[2] = {{&head, sizeof head}, {(void *)(uintptr_t)body, bytes}};
    int count = result == 0 && bytes > 0 ? 2 : 1;
    ssize_t n;

    head.len = (uint32_t)(sizeof head + (count == 2 ? bytes : 0));
    do { /* -ENOENT: who had asked was killed; -ENODEV: the end; both are seen elsewhere */
        n = writev(c->server->watch.fd, iov, count);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == ENOMEM && count == 2) { /* the kernel has no room to take it */
        head.len = sizeof head;
        head.error = -ENOMEM;
        (void)!writev(c->server->watch.fd, iov, 1);
    }
    fuse_no_reply(c);
}

/* ---- in ---- */

static void tell_gone(struct loop_task *t)
{
    struct fuse_server *s =
        (struct fuse_server *)((char *)t - offsetof(struct fuse_server, gone_task));

    if (s->options.gone != NULL) {
        s->options.gone(s->options.arg);
    }
}

static void stop_reading(struct fuse_server *s)
{
    if (!s->ending) {
        s->ending = true;
        loop_poller_remove(s->loop, &s->poller);
        loop_unwatch(&s->watch);
    }
}

static void end(struct fuse_server *s)
{
    stop_reading(s);
    s->counts.gone = true;
    loop_later(s->loop, &s->gone_task);
}

enum fetched {
    FETCHED_ONE,
    FETCHED_NOTHING,
    FETCHED_NONSENSE, /* or one that was taken back while it was taken */
    FETCHED_END
};

static enum fetched fetch(struct call *c)
{
    char *at = c->data - FUSE_HEAD_BYTES;
    ssize_t n = read(c->server->watch.fd, at, FUSE_HEAD_BYTES + FUSE_DATA_MOST);

    if (n < 0) {
        return errno == EAGAIN                     ? FETCHED_NOTHING
               : errno == EINTR || errno == ENOENT ? FETCHED_NONSENSE
                                                   : FETCHED_END;
    }
    if ((size_t)n < sizeof c->in) {
        return n == 0 ? FETCHED_END : FETCHED_NONSENSE;
    }
    memcpy(&c->in, at, sizeof c->in);
    c->arg = at + sizeof c->in;
    c->arg_bytes = (size_t)n - sizeof c->in;
    return c->in.len == (size_t)n ? FETCHED_ONE : FETCHED_NONSENSE;
}

static void answer_finished(struct fuse_server *s)
{
    for (struct blk_request *b = blk_reap(&s->queue); b != NULL;) {
        struct blk_request *next = b->next;

        fuse_data_done((struct call *)b);
        b = next;
    }
}

/* Whether anything had come. */
static bool take(struct fuse_server *s)
{
    bool any = false;

    for (unsigned i = 0; i < TAKES_A_TURN && !s->ending; i++) {
        struct call *c = s->flight < FUSE_FLIGHT_MOST ? get_call(s) : NULL;
        enum fetched got;

        if (c == NULL) { /* some are in work, as one was made with the server */
            (void)loop_watch_change(&s->watch, 0);
            break;
        }
        got = fetch(c);
        if (got == FETCHED_ONE) {
            any = true;
            fuse_operate(c);
            answer_finished(s);
            continue;
        }
        put_call(c);
        if (got == FETCHED_END) {
            end(s);
        }
        if (got != FETCHED_NONSENSE) {
            break;
        }
    }
    return any;
}

static void note_pace(struct fuse_server *s)
{
    uint64_t now = loop_now_ns(s->loop);

    if (now - s->last_ns < SOON_NS) {
        loop_expect_more(s->loop);
    }
    s->last_ns = now;
}

static bool look(struct loop_poller *p)
{
    struct fuse_server *s =
        (struct fuse_server *)((char *)p - offsetof(struct fuse_server, poller));

    if ((s->watch.events & EPOLLIN) == 0 || !take(s)) {
        return false;
    }
    note_pace(s);
    return true;
}

static void came(struct loop_watch *w, uint32_t events)
{
    struct fuse_server *s =
        (struct fuse_server *)((char *)w - offsetof(struct fuse_server, watch));

    (void)events; /* also of an error: `fetch` tells which */
    if (take(s)) {
        note_pace(s);
    }
}

/* ---- and out ---- */

static void ready(struct blk_queue *q)
{
    struct fuse_server *s =
        (struct fuse_server *)((char *)q - offsetof(struct fuse_server, queue));

    loop_later(s->loop, &s->answer_task);
}

static void answer(struct loop_task *t)
{
    struct fuse_server *s =
        (struct fuse_server *)((char *)t - offsetof(struct fuse_server, answer_task));

    answer_finished(s);
    if (!s->ending && s->flight < FUSE_FLIGHT_MOST && s->watch.events == 0) {
        (void)loop_watch_change(&s->watch, EPOLLIN);
    }
}

/* ---- life ---- */

static void init(struct fuse_server *s, struct loop *l, int fd,
                 const struct fuse_options *o)
{
    s->loop = l;
    s->options = *o;
    s->options.read_only = o->read_only || blk_is_read_only(o->disk);
    s->options.resizable = o->resizable && !s->options.read_only;
    s->made_s = (uint64_t)time(NULL);
    s->queue = (struct blk_queue){.disk = o->disk, .ready = ready};
    s->watch = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = came};
    s->poller.fn = look;
    s->answer_task.fn = answer;
    s->gone_task.fn = tell_gone;
    s->edge = (struct blk_edge){
        .user = "FUSE export",
        .uses = s->options.read_only ? (unsigned)BLK_USE_READ
                                     : BLK_USE_READ | BLK_USE_WRITE |
                                           (s->options.resizable ? BLK_USE_RESIZE : 0u),
        .lets = BLK_USE_ALL,
    };
}

/* All but the disk. */
static void release(struct fuse_server *s)
{
    (void)close(s->watch.fd);
    while (s->free != NULL) {
        struct call *c = s->free;

        s->free = c->next;
        free(c->room);
        free(c);
    }
    free(s);
}

int fuse_server_create(struct loop *l, int take_fd, const struct fuse_options *o,
                       struct fuse_server **ret_server, struct err *e)
{
    struct fuse_server *s = fault_calloc(1, sizeof *s);
    int flags = fcntl(take_fd, F_GETFL);
    int r = s == NULL ? -ENOMEM : 0;

    if (r == 0 && (flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
        r = -errno;
    }
    if (r != 0) {
        (void)close(take_fd);
        free(s);
        return err_sys(e, r, "cannot serve a disk as a file");
    }
    init(s, l, take_fd, o);
    s->free = make_call(s); /* there is always one: an empty server can read */
    r = s->free == NULL ? -ENOMEM : loop_watch(l, &s->watch);
    r = r != 0 ? err_sys(e, r, "cannot serve a disk as a file")
               : blk_attach(&s->edge, o->disk, e);
    if (r != 0) {
        loop_unwatch(&s->watch);
        release(s);
        return r;
    }
    loop_poller_add(l, &s->poller);
    *ret_server = s;
    return 0;
}

struct fuse_counts fuse_server_counts(const struct fuse_server *s)
{
    return s->counts;
}

void fuse_server_destroy(struct fuse_server *s)
{
    if (s == NULL) {
        return;
    }
    stop_reading(s);
    while (s->flight > 0) {
        strand_wait(loop_strands(s->loop), &s->all_answered);
    }
    do { /* whoever woke us returns first, and what is to be done at the end of a turn is */
        loop_sleep(s->loop, 1);
    } while (s->answer_task.queued || s->gone_task.queued);
    blk_detach(&s->edge);
    release(s);
}
