/* replay.c - a trace is read, and its requests are made again.
 *
 * Requests run in strands, `depth` at most.  A request that had ended in the trace before
 * another began is waited for before that one: what depended on it then may do so
 * again.  The rest runs side by side as it did. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/log.h"
#include "resource/storage/filter/log_private.h"
#include "resource/storage/safe/bytes.h"

#define DEPTH_DEFAULT 64u
#define DEPTH_MOST    256u
#define ROOM_BYTES    (64u * 1024)
#define PIECES        ((unsigned)BLK_VEC_PIECES_MOST)
#define BYTES_MOST    ((uint64_t)ROOM_BYTES * PIECES)

/* ---- reading ---- */

/* 1: a record, 0: none, -EUCLEAN. */
static int get_record(const char *at, struct filter_log_record *r)
{
    uint32_t what = bytes_get32(at + 36);

    if (what == 0) {
        return 0;
    }
    *r = (struct filter_log_record){
        .at_ns = bytes_get64(at),
        .off = bytes_get64(at + 8),
        .bytes = bytes_get64(at + 16),
        .took_ns = bytes_get64(at + 24),
        .result = (int32_t)bytes_get32(at + 32),
        .flags = what >> 16,
    };
    if ((what & 0xffff) > BLK_KIND_COUNT || r->at_ns > INT64_MAX ||
        r->took_ns > INT64_MAX || r->result > 0 || r->off > BLK_SIZE_MOST_BYTES ||
        r->bytes > BLK_SIZE_MOST_BYTES) {
        return -EUCLEAN;
    }
    r->kind = (enum blk_kind)((what & 0xffff) - 1);
    return 1;
}

static int take_records(const char *room,
                        int (*take)(void *arg, const struct filter_log_record *r),
                        void *arg, uint64_t *last_ns)
{
    for (unsigned i = 0; i < LOG_PAGE_RECORDS; i++) {
        struct filter_log_record x;
        int r = get_record(room + i * LOG_RECORD_BYTES, &x);

        if (r <= 0) {
            return r;
        }
        if (x.at_ns < *last_ns) {
            return -EUCLEAN;
        }
        *last_ns = x.at_ns;
        r = take(arg, &x);
        if (r != 0) {
            return r;
        }
    }
    return 1; /* full: there may be more */
}

static int read_pages(struct blk *trace, char *room,
                      int (*take)(void *arg, const struct filter_log_record *r),
                      void *arg)
{
    struct filter_page_mark mark = {LOG_PAGE_KIND, 0, 0};
    uint64_t units = blk_size(trace) / FILTER_PAGE_UNIT_BYTES;
    uint64_t last_ns = 0;
    int r = 1;

    for (uint64_t u = 0; r == 1 && u < units; u++) {
        int got =
            blk_read(trace, room, FILTER_PAGE_UNIT_BYTES, u * FILTER_PAGE_UNIT_BYTES);

        for (unsigned i = u == 0 ? 1 : 0;
             got == 0 && r == 1 && i < FILTER_PAGE_UNIT_PAGES; i++) {
            char *page = room + i * FILTER_PAGE_BYTES;

            if (u == 0 && i == 1) {
                mark.life = bytes_get64(room + 8);
            }
            mark.number = u * FILTER_PAGE_UNIT_PAGES + i;
            r = filter_page_check(page, &mark);
            if (r == 1) {
                r = take_records(filter_page_room(page), take, arg, &last_ns);
            }
        }
        r = got != 0 ? got : r;
    }
    return r == 1 ? 0 : r;
}

int filter_log_read(struct blk *trace,
                    int (*take)(void *arg, const struct filter_log_record *r), void *arg,
                    struct err *e)
{
    SCOPED(scope_free) char *room = fault_malloc(FILTER_PAGE_UNIT_BYTES);
    struct filter_page_mark mark = {LOG_HEAD_KIND, 0, 0};
    int r = room == NULL ? -ENOMEM : 0;

    if (r == 0 && blk_size(trace) == 0) {
        return 0; /* made, and nobody has used the disk since */
    }
    if (r == 0 && blk_size(trace) < FILTER_PAGE_UNIT_BYTES) {
        r = -EUCLEAN;
    }
    r = r == 0 ? blk_read(trace, room, FILTER_PAGE_UNIT_BYTES, 0) : r;
    if (r == 0) {
        mark.life = bytes_get64(room + 8);
        r = mark.life != 0 && filter_page_check(room, &mark) == 1 &&
                    bytes_get32(filter_page_room(room)) == LOG_PAGE_RECORDS
                ? 0
                : -EUCLEAN;
    }
    if (r != 0) {
        return r == -EUCLEAN ? err_set(e, r, "cannot read a trace: it has no head")
                             : err_sys(e, r, "cannot read a trace");
    }
    r = read_pages(trace, room, take, arg);
    return r == -EUCLEAN ? err_set(e, r, "cannot read a trace: a page is damaged")
           : r == 0      ? 0
                         : err_sys(e, r, "cannot read a trace");
}

/* ---- making it again ---- */

struct player;

struct task {
    struct player *player;
    struct filter_log_record record;
    uint64_t ended_ns; /* then, in the trace */
    bool busy;
};

struct player {
    struct filter_log_replay *io;
    struct loop *loop;
    struct blk *onto;
    uint64_t began_ns;
    char *room;        /* owned: what is written; what is read goes to `sink` */
    char *sink;        /* owned */
    struct task *task; /* owned: `depth` */
    struct strand_queue waiter;
};

static int make_again(struct task *t)
{
    struct player *p = t->player;
    const struct filter_log_record *x = &t->record;
    SCOPED(scope_free) struct iovec *piece = NULL;
    struct blk_vec v;

    switch (x->kind) {
    case BLK_ZERO:
        return blk_zero(p->onto, x->off, x->bytes, x->flags & (BLK_FUA | BLK_UNMAP));
    case BLK_DISCARD:
        return blk_discard(p->onto, x->off, x->bytes);
    case BLK_FLUSH:
        return blk_flush(p->onto);
    default:
        break;
    }
    piece = fault_calloc(x->bytes / ROOM_BYTES + 1, sizeof *piece);
    if (piece == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i * ROOM_BYTES < x->bytes; i++) {
        uint64_t left = x->bytes - i * ROOM_BYTES;

        piece[i] = (struct iovec){x->kind == BLK_READ ? p->sink : p->room,
                                  left < ROOM_BYTES ? (size_t)left : ROOM_BYTES};
    }
    v = (struct blk_vec){.iov = piece, .bytes = (size_t)x->bytes};
    return x->kind == BLK_READ ? blk_readv(p->onto, v, x->off)
                               : blk_writev(p->onto, v, x->off, x->flags & BLK_FUA);
}

static void run_task(void *arg)
{
    struct task *t = arg;
    struct player *p = t->player;
    int r = make_again(t);

    p->io->failed += r != 0;
    t->busy = false;
    (void)strand_wake_all(&p->waiter);
}

/* A free task, once nothing runs that had ended before `at_ns`. */
static struct task *next_task(struct player *p, uint64_t at_ns)
{
    for (;;) {
        struct task *found = NULL;
        bool wait = false;

        for (unsigned i = 0; i < p->io->depth; i++) {
            struct task *t = &p->task[i];

            if (!t->busy) {
                found = t;
            } else if (t->ended_ns <= at_ns) {
                wait = true;
            }
        }
        if (found != NULL && !wait) {
            return found;
        }
        strand_wait(loop_strands(p->loop), &p->waiter);
    }
}

static bool is_for(const struct player *p, const struct filter_log_record *x)
{
    uint64_t size = blk_size(p->onto);
    uint32_t block = blk_block_bytes(p->onto);

    if (x->kind != BLK_READ && (p->io->reads_only || blk_is_read_only(p->onto))) {
        return false;
    }
    if ((x->kind == BLK_READ || x->kind == BLK_WRITE) && x->bytes > BYTES_MOST) {
        return false;
    }
    return x->off % block == 0 && x->bytes % block == 0 && x->off <= size &&
           x->bytes <= size - x->off;
}

static int play(void *arg, const struct filter_log_record *x)
{
    struct player *p = arg;
    struct task *t;

    if (!is_for(p, x)) {
        p->io->skipped++;
        return 0;
    }
    t = next_task(p, x->at_ns);
    if (!p->io->at_once) {
        uint64_t now = loop_now_ns(p->loop) - p->began_ns;

        if (now < x->at_ns) {
            loop_sleep(p->loop, x->at_ns - now);
        }
    }
    t->record = *x;
    t->ended_ns = x->at_ns + x->took_ns;
    t->busy = true;
    p->io->count++;
    if (strand_start(loop_strands(p->loop), run_task, t) != 0) {
        t->busy = false;
        return -ENOMEM;
    }
    return 0;
}

static void wait_for_all(struct player *p)
{
    for (unsigned i = 0; i < p->io->depth; i++) {
        while (p->task[i].busy) {
            strand_wait(loop_strands(p->loop), &p->waiter);
        }
    }
}

int filter_log_replay(struct loop *l, struct blk *trace, struct blk *onto,
                      struct filter_log_replay *io, struct err *e)
{
    struct player p = {.io = io, .loop = l, .onto = onto};
    int r;

    io->depth = io->depth == 0 ? DEPTH_DEFAULT : io->depth;
    if (io->depth > DEPTH_MOST) {
        return err_set(e, -EINVAL, "cannot replay a trace: %u requests at a time",
                       io->depth);
    }
    io->count = io->failed = io->skipped = 0;
    p.room = fault_aligned(4096, ROOM_BYTES);
    p.sink = fault_aligned(4096, ROOM_BYTES);
    p.task = fault_calloc(io->depth, sizeof *p.task);
    if (p.room == NULL || p.sink == NULL || p.task == NULL) {
        r = err_sys(e, -ENOMEM, "cannot replay a trace");
    } else {
        memset(p.room, 0x5a, ROOM_BYTES);
        for (unsigned i = 0; i < io->depth; i++) {
            p.task[i].player = &p;
        }
        p.began_ns = loop_now_ns(l);
        r = filter_log_read(trace, play, &p, e);
        wait_for_all(&p);
        io->took_ns = loop_now_ns(l) - p.began_ns;
    }
    free(p.room);
    free(p.sink);
    free(p.task);
    return r;
}
